//! HTTP/1.1 heads: where one ends in a stream of bytes, what it says, and how a request head is
//! written again from its parts. Stricter than httparse where two readers could differ; leaves
//! the meaning of the fields to others.

use crate::error::{Reason, Refusal};

/// The largest head that is read, in bytes; the same as Go's `http.DefaultMaxHeaderBytes`, so
/// that no request is refused that the daemon would take.
pub(crate) const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// The most header lines of a head. Far beyond any client: buildx repeats one a dozen times.
const MAX_HEADERS: usize = 1024;

/// Header lines tried first, since room for all costs 32 KiB a request.
const USUAL_HEADERS: usize = 64;

/// Finds the empty line that ends a head, in bytes that arrive in pieces.
#[derive(Debug, Default)]
pub(crate) struct HeadEnd {
    scanned: usize,
}

impl HeadEnd {
    /// The length of the head at the start of `buf`, empty line included, or `None` while it is
    /// incomplete. `buf` is the same bytes at each call, with more at the end.
    ///
    /// # Errors
    /// When a line ends in a bare LF (RFC 9112 section 2.2 lets a recipient accept it; readers
    /// differ, so it is refused), when the first line is empty, or when the head is too long.
    pub(crate) fn find(&mut self, buf: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(n) = buf[self.scanned..].iter().position(|&b| b == b'\n') {
            let lf = self.scanned + n;
            if lf >= MAX_HEAD_BYTES {
                break;
            }
            if lf == 0 || buf[lf - 1] != b'\r' {
                return Err(Refusal::bad_request(
                    "a line of the head ends in LF without CR",
                ));
            }
            if lf == 1 {
                return Err(Refusal::bad_request(
                    "an empty line stands before the request",
                ));
            }
            self.scanned = lf + 1;
            if lf >= 3 && buf[lf - 2] == b'\n' {
                return Ok(Some(lf + 1));
            }
        }
        self.scanned = buf.len();
        if buf.len() >= MAX_HEAD_BYTES {
            return Err(Refusal::new(
                Reason::HeadTooLarge,
                format!("the head is longer than {MAX_HEAD_BYTES} bytes"),
            ));
        }
        Ok(None)
    }
}

/// The header lines of a head, in their order, names as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// The values of all lines with this name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// Whether a line with this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Whether a list header such as `Connection` names this token, whatever its case. A blank parts
    /// tokens as a comma does, to Go too (`hasToken` in net/http).
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|b| matches!(b, b',' | b' ' | b'\t')))
            .any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub(crate) fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }
}

/// A request head (RFC 9112 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// The method, as sent: methods are case-sensitive.
    pub(crate) method: String,
    /// The request target, as sent.
    pub(crate) target: String,
    /// 0 or 1, for HTTP/1.0 and HTTP/1.1.
    pub(crate) minor_version: u8,
    pub(crate) headers: Headers,
}

impl RequestHead {
    /// Parses a complete head.
    ///
    /// # Errors
    /// When it is no HTTP/1.0 or HTTP/1.1 head by the grammar of RFC 9112 without its leniencies:
    /// no folded lines, no white space before a colon or around the request line's parts.
    pub(crate) fn parse(head: &[u8]) -> Result<RequestHead, Refusal> {
        if head.starts_with(b"PRI * HTTP/2") {
            // Not 403: a client that tries HTTP/2 first falls back on what looks like an old daemon.
            return Err(Refusal::new(
                Reason::UnknownVersion,
                "HTTP/2 is not spoken here; use HTTP/1.1",
            ));
        }
        with_headers(|headers| {
            let mut request = httparse::Request::new(headers);
            complete(request.parse(head))?;
            let (Some(method), Some(target), Some(minor_version)) =
                (request.method, request.path, request.version)
            else {
                return Err(ParseError::Other("incomplete".to_owned()));
            };
            Ok(RequestHead {
                method: method.to_owned(),
                target: target.to_owned(),
                minor_version,
                headers: owned(request.headers),
            })
        })
        .map_err(|err| match err {
            ParseError::TooManyHeaders => Refusal::new(
                Reason::HeadTooLarge,
                format!("the head has more than {MAX_HEADERS} lines"),
            ),
            ParseError::Version => Refusal::new(
                Reason::UnknownVersion,
                "the HTTP version is neither 1.0 nor 1.1",
            ),
            ParseError::Other(what) => {
                Refusal::bad_request(format!("malformed request head: {what}"))
            }
        })
    }

    /// Whether the connection may carry another request after this one (RFC 9112 section 9.3).
    pub(crate) fn is_persistent(&self) -> bool {
        is_persistent(self.minor_version, &self.headers)
    }

    /// Writes the head, empty line included.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for part in [&self.method, " ", &self.target, " HTTP/1."] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&[b'0' + self.minor_version, b'\r', b'\n']);
        for (name, value) in &self.headers.0 {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What a response head says about what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) minor_version: u8,
    pub(crate) headers: Headers,
}

impl ResponseHead {
    /// Parses a complete head.
    ///
    /// # Errors
    /// When it is no HTTP/1.x response head; the error is the text of what is wrong.
    pub(crate) fn parse(head: &[u8]) -> Result<ResponseHead, String> {
        with_headers(|headers| {
            let mut response = httparse::Response::new(headers);
            complete(response.parse(head))?;
            let (Some(status), Some(minor_version)) = (response.code, response.version) else {
                return Err(ParseError::Other("incomplete".to_owned()));
            };
            // RFC 9110 section 15 knows none below, and what is no interim response is final.
            if status < 100 {
                return Err(ParseError::Other(format!("the status is {status:03}")));
            }
            Ok(ResponseHead {
                status,
                minor_version,
                headers: owned(response.headers),
            })
        })
        .map_err(|err| match err {
            ParseError::TooManyHeaders => format!("more than {MAX_HEADERS} lines"),
            ParseError::Version => "the HTTP version is neither 1.0 nor 1.1".to_owned(),
            ParseError::Other(what) => what,
        })
    }

    /// Whether the connection may carry another response after this one.
    pub(crate) fn is_persistent(&self) -> bool {
        is_persistent(self.minor_version, &self.headers)
    }
}

fn is_persistent(minor_version: u8, headers: &Headers) -> bool {
    !headers.lists("connection", "close")
        && (minor_version > 0 || headers.lists("connection", "keep-alive"))
}

enum ParseError {
    TooManyHeaders,
    Version,
    Other(String),
}

/// Runs a parser with room for the usual number of header lines, then with room for the most.
fn with_headers<'h, T>(
    mut parse: impl FnMut(&mut [httparse::Header<'h>]) -> Result<T, ParseError>,
) -> Result<T, ParseError> {
    match parse(&mut [httparse::EMPTY_HEADER; USUAL_HEADERS]) {
        Err(ParseError::TooManyHeaders) => parse(&mut vec![httparse::EMPTY_HEADER; MAX_HEADERS]),
        result => result,
    }
}

fn complete(result: httparse::Result<usize>) -> Result<(), ParseError> {
    match result {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Ok(httparse::Status::Partial) => Err(ParseError::Other("incomplete".to_owned())),
        Err(httparse::Error::TooManyHeaders) => Err(ParseError::TooManyHeaders),
        Err(httparse::Error::Version) => Err(ParseError::Version),
        Err(err) => Err(ParseError::Other(err.to_string())),
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> Headers {
    Headers(
        headers
            .iter()
            .map(|header| (header.name.to_owned(), header.value.to_owned()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST /v1.41/containers/create?name=x HTTP/1.1\r\nHost: docker\r\nX-A:1\r\nx-a: 2 \r\nEmpty:\r\n\r\n";

    #[test]
    fn a_head_ends_where_its_empty_line_does_however_it_arrives() {
        let mut bytes = HEAD.to_vec();
        bytes.extend_from_slice(b"body\r\n\r\n");
        for first in 0..bytes.len() {
            let mut end = HeadEnd::default();
            let found = end.find(&bytes[..first]).unwrap();
            assert_eq!(
                found,
                (first >= HEAD.len()).then_some(HEAD.len()),
                "{first}"
            );
            if found.is_none() {
                assert_eq!(end.find(&bytes).unwrap(), Some(HEAD.len()), "{first}");
            }
        }
    }

    #[test]
    fn a_head_that_two_readers_end_differently_is_refused() {
        for (head, expected) in [
            (
                &b"GET / HTTP/1.1\n"[..],
                "a line of the head ends in LF without CR",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: x\n\r\n",
                "a line of the head ends in LF without CR",
            ),
            (
                b"\r\nGET / HTTP/1.1\r\n",
                "an empty line stands before the request",
            ),
            (b"\n", "a line of the head ends in LF without CR"),
        ] {
            assert_eq!(
                HeadEnd::default().find(head).unwrap_err().to_string(),
                expected
            );
        }
        let long = vec![b'x'; MAX_HEAD_BYTES];
        assert_eq!(
            HeadEnd::default().find(&long).unwrap_err().reason,
            Reason::HeadTooLarge
        );
        assert_eq!(HeadEnd::default().find(&long[1..]), Ok(None));
        let mut ends_too_late = vec![b'x'; MAX_HEAD_BYTES - 2];
        ends_too_late.extend_from_slice(b"\r\n\r\n");
        assert_eq!(
            HeadEnd::default().find(&ends_too_late).unwrap_err().reason,
            Reason::HeadTooLarge
        );
    }

    #[test]
    fn a_head_is_written_as_it_was_read_but_for_white_space() {
        let head = RequestHead::parse(HEAD).unwrap();
        assert_eq!((head.method.as_str(), head.minor_version), ("POST", 1));
        assert_eq!(head.headers.all("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
        let mut written = Vec::new();
        head.write(&mut written);
        assert_eq!(
            written,
            b"POST /v1.41/containers/create?name=x HTTP/1.1\r\nHost: docker\r\nX-A: 1\r\nx-a: 2\r\nEmpty: \r\n\r\n"
        );
        assert_eq!(RequestHead::parse(&written).unwrap(), head);
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for (head, status) in [
            ("GET  / HTTP/1.1\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1 \r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.2\r\n\r\n", Reason::UnknownVersion),
            ("GET / HTTP/2.0\r\n\r\n", Reason::UnknownVersion),
            ("GET /\r\n\r\n", Reason::Malformed),
            ("PRI * HTTP/2.0\r\n\r\n", Reason::UnknownVersion),
            ("GET /\u{1} HTTP/1.1\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA: b\u{1}\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Reason::Malformed),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", Reason::Malformed),
        ] {
            match RequestHead::parse(head.as_bytes()) {
                Err(refusal) => assert_eq!(refusal.reason, status, "{head:?}: {refusal}"),
                Ok(parsed) => panic!("{head:?}: {parsed:?}"),
            }
        }
    }

    #[test]
    fn many_header_lines_are_read_up_to_a_limit() {
        let head = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert_eq!(
            RequestHead::parse(head(1024).as_bytes())
                .unwrap()
                .headers
                .0
                .len(),
            1024
        );
        assert_eq!(
            RequestHead::parse(head(1025).as_bytes())
                .unwrap_err()
                .reason,
            Reason::HeadTooLarge
        );
    }

    #[test]
    fn a_connection_persists_as_its_version_and_tokens_say() {
        for (line, headers, expected) in [
            ("GET / HTTP/1.1", "", true),
            ("GET / HTTP/1.1", "Connection: keep-alive, Close\r\n", false),
            (
                "GET / HTTP/1.1",
                "Connection: x\r\nConnection: close\r\n",
                false,
            ),
            ("GET / HTTP/1.1", "Connection: Upgrade,x close\r\n", false),
            ("GET / HTTP/1.1", "Connection: x\tclose\r\n", false),
            ("GET / HTTP/1.1", "Connection: closed, x-close\r\n", true),
            ("GET / HTTP/1.0", "", false),
            ("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let head = RequestHead::parse(format!("{line}\r\n{headers}\r\n").as_bytes()).unwrap();
            assert_eq!(head.is_persistent(), expected, "{line} {headers}");
        }
    }

    #[test]
    fn a_response_head_is_read() {
        let head = ResponseHead::parse(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n").unwrap();
        assert_eq!((head.status, head.headers.has("upgrade")), (101, true));
        for bad in [
            "SSH-2.0-x",
            "HTTP/1.1 011 x",
            "HTTP/1.1 000",
            "HTTP/1.1 20 x",
        ] {
            let head = format!("{bad}\r\n\r\n");
            assert!(ResponseHead::parse(head.as_bytes()).is_err(), "{bad}");
        }
    }
}
