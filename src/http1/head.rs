//! HTTP/1.1 heads: where one ends in a stream of bytes, what it says, and how a request head is
//! written again from its parts. Stricter than httparse where two readers could differ; leaves
//! the meaning of the fields to others.

use crate::http1::error::Error;
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS, USUAL_HEADERS};

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
    pub(crate) fn find(&mut self, buf: &[u8]) -> Result<Option<usize>, Error> {
        while let Some(n) = buf[self.scanned..].iter().position(|&b| b == b'\n') {
            let lf = self.scanned + n;
            if lf >= MAX_HEAD_BYTES {
                break;
            }
            if lf == 0 || buf[lf - 1] != b'\r' {
                return Err(Error::BareLf);
            }
            if lf == 1 {
                return Err(Error::LeadingEmptyLine);
            }
            self.scanned = lf + 1;
            if lf >= 3 && buf[lf - 2] == b'\n' {
                return Ok(Some(lf + 1));
            }
        }
        self.scanned = buf.len();
        if buf.len() >= MAX_HEAD_BYTES {
            return Err(Error::HeadTooLarge);
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

    /// Whether a list header such as `Connection` has this token, in any case. Blanks separate tokens
    /// as commas do, in Go too (`hasToken` in net/http).
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
    /// When it does not follow the grammar of RFC 9112 for HTTP/1.0 or HTTP/1.1 without its
    /// leniencies: folded lines, white space before a colon or around the parts of the request line.
    pub(crate) fn parse(head: &[u8]) -> Result<RequestHead, Error> {
        if head.starts_with(b"PRI * HTTP/2") {
            return Err(Error::Http2);
        }
        with_headers(|headers| {
            let mut request = httparse::Request::new(headers);
            complete(request.parse(head))?;
            let (Some(method), Some(target), Some(minor_version)) =
                (request.method, request.path, request.version)
            else {
                return Err(Error::TruncatedHead);
            };
            Ok(RequestHead {
                method: method.to_owned(),
                target: target.to_owned(),
                minor_version,
                headers: owned(request.headers),
            })
        })
    }

    /// Whether the connection may carry another request after this one (RFC 9112 section 9.3).
    pub(crate) fn is_persistent(&self) -> bool {
        is_persistent(self.minor_version, &self.headers)
    }

    /// Checks that there is one `Host` line, or none with HTTP/1.0 (RFC 9112 section 3.2). Its value
    /// does not matter: clients send nothing, names or the path of the socket.
    ///
    /// # Errors
    /// When it is missing or repeated.
    pub(crate) fn check_host(&self) -> Result<(), Error> {
        match (self.headers.all("host").count(), self.minor_version) {
            (1, _) | (0, 0) => Ok(()),
            (0, _) => Err(Error::MissingHost),
            _ => Err(Error::RepeatedHost),
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section
    /// 10.1.1).
    ///
    /// # Errors
    /// When it expects something else.
    pub(crate) fn expects_continue(&self) -> Result<bool, Error> {
        let is_continue = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        match self.headers.all("expect").find(|value| !is_continue(value)) {
            None => Ok(self.headers.has("expect") && self.minor_version > 0),
            Some(value) => Err(Error::UnsupportedExpectation(
                value.escape_ascii().to_string(),
            )),
        }
    }

    /// Removes an upgrade, with all of `Connection` but whether the connection persists.
    pub(crate) fn remove_upgrade(&mut self) {
        if !self.headers.has("upgrade") && !self.headers.lists("connection", "upgrade") {
            return;
        }
        let is_persistent = self.is_persistent();
        let keep_alive = self.minor_version == 0 && is_persistent;
        self.headers.remove("upgrade");
        self.headers.remove("connection");
        if !is_persistent {
            self.headers.push("Connection", "close");
        } else if keep_alive {
            self.headers.push("Connection", "keep-alive");
        }
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
    /// When it is not a response head of HTTP/1.0 or HTTP/1.1.
    pub(crate) fn parse(head: &[u8]) -> Result<ResponseHead, Error> {
        with_headers(|headers| {
            let mut response = httparse::Response::new(headers);
            complete(response.parse(head))?;
            let (Some(status), Some(minor_version)) = (response.code, response.version) else {
                return Err(Error::TruncatedHead);
            };
            // RFC 9110 section 15 has no lower one, and a reader would take it for final.
            if status < 100 {
                return Err(Error::InvalidStatus(status));
            }
            Ok(ResponseHead {
                status,
                minor_version,
                headers: owned(response.headers),
            })
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

/// Runs a parser with room for the usual number of header lines, then with room for the most.
fn with_headers<'h, T>(
    mut parse: impl FnMut(&mut [httparse::Header<'h>]) -> Result<T, Error>,
) -> Result<T, Error> {
    match parse(&mut [httparse::EMPTY_HEADER; USUAL_HEADERS]) {
        Err(Error::TooManyHeaders) => parse(&mut vec![httparse::EMPTY_HEADER; MAX_HEADERS]),
        result => result,
    }
}

fn complete(result: httparse::Result<usize>) -> Result<(), Error> {
    match result? {
        httparse::Status::Complete(_) => Ok(()),
        httparse::Status::Partial => Err(Error::TruncatedHead),
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
            (&b"GET / HTTP/1.1\n"[..], Error::BareLf),
            (b"GET / HTTP/1.1\r\nHost: x\n\r\n", Error::BareLf),
            (b"\r\nGET / HTTP/1.1\r\n", Error::LeadingEmptyLine),
            (b"\n", Error::BareLf),
        ] {
            assert_eq!(HeadEnd::default().find(head), Err(expected));
        }
        let long = vec![b'x'; MAX_HEAD_BYTES];
        assert_eq!(HeadEnd::default().find(&long), Err(Error::HeadTooLarge));
        assert_eq!(HeadEnd::default().find(&long[1..]), Ok(None));
        let mut ends_too_late = vec![b'x'; MAX_HEAD_BYTES - 2];
        ends_too_late.extend_from_slice(b"\r\n\r\n");
        assert_eq!(
            HeadEnd::default().find(&ends_too_late),
            Err(Error::HeadTooLarge)
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
    fn the_grammar_is_taken_at_its_word() {
        use httparse::Error as Syntax;
        let malformed = Error::MalformedHead;
        for (head, expected) in [
            ("GET  / HTTP/1.1\r\n\r\n", malformed(Syntax::Token)),
            ("GET / HTTP/1.1 \r\n\r\n", malformed(Syntax::NewLine)),
            ("GET / HTTP/1.2\r\n\r\n", Error::UnsupportedVersion),
            ("GET / HTTP/2.0\r\n\r\n", Error::UnsupportedVersion),
            ("GET /\r\n\r\n", malformed(Syntax::Token)),
            ("GET / HTTP/1.1\r\n", Error::TruncatedHead),
            ("PRI * HTTP/2.0\r\n\r\n", Error::Http2),
            ("GET /\u{1} HTTP/1.1\r\n\r\n", malformed(Syntax::Token)),
            (
                "GET / HTTP/1.1\r\nA : b\r\n\r\n",
                malformed(Syntax::HeaderName),
            ),
            (
                "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
                malformed(Syntax::HeaderName),
            ),
            (
                "GET / HTTP/1.1\r\n: b\r\n\r\n",
                malformed(Syntax::HeaderName),
            ),
            (
                "GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
                malformed(Syntax::HeaderValue),
            ),
            (
                "GET / HTTP/1.1\r\nA: b\u{1}\r\n\r\n",
                malformed(Syntax::HeaderValue),
            ),
            (
                "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
                malformed(Syntax::HeaderValue),
            ),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", malformed(Syntax::HeaderName)),
        ] {
            assert_eq!(
                RequestHead::parse(head.as_bytes()),
                Err(expected),
                "{head:?}"
            );
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
            RequestHead::parse(head(1025).as_bytes()),
            Err(Error::TooManyHeaders)
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
    fn a_request_has_one_host() {
        for (lines, minor_version, expected) in [
            ("Host: x\r\n", 1, Ok(())),
            ("Host:\r\n", 1, Ok(())),
            ("", 0, Ok(())),
            ("", 1, Err(Error::MissingHost)),
            ("Host: x\r\nhost: x\r\n", 1, Err(Error::RepeatedHost)),
            ("Host: x\r\nhost: x\r\n", 0, Err(Error::RepeatedHost)),
        ] {
            let head = format!("GET / HTTP/1.{minor_version}\r\n{lines}\r\n");
            let head = RequestHead::parse(head.as_bytes()).unwrap();
            assert_eq!(head.check_host(), expected, "{minor_version} {lines}");
        }
    }

    #[test]
    fn only_100_continue_is_expected() {
        let other = || Err(Error::UnsupportedExpectation("a\\xff".to_owned()));
        for (lines, minor_version, expected) in [
            (&b""[..], 1, Ok(false)),
            (b"Expect: 100-Continue\r\n", 1, Ok(true)),
            (b"Expect: 100-continue\r\n", 0, Ok(false)),
            (b"Expect: 100-continue\r\nExpect: a\xff\r\n", 1, other()),
            (b"Expect: a\xff\r\n", 0, other()),
        ] {
            let start = format!("GET / HTTP/1.{minor_version}\r\n");
            let head = [start.as_bytes(), lines, b"\r\n"].concat();
            let head = RequestHead::parse(&head).unwrap();
            assert_eq!(head.expects_continue(), expected, "{head:?}");
        }
    }

    #[test]
    fn an_upgrade_is_removed_without_changing_what_persists() {
        for (version, connection, expected) in [
            ("1.1", "Connection: x\r\n", "Connection: x\r\n"),
            ("1.1", "Connection: Upgrade\r\nUpgrade: tcp\r\n", ""),
            ("1.1", "Upgrade: tcp\r\n", ""),
            (
                "1.1",
                "Connection: upgrade, close\r\n",
                "Connection: close\r\n",
            ),
            (
                "1.0",
                "Connection: upgrade, keep-alive\r\n",
                "Connection: keep-alive\r\n",
            ),
            ("1.0", "Connection: upgrade\r\n", "Connection: close\r\n"),
        ] {
            let head = |fields: &str| format!("GET / HTTP/{version}\r\nA: b\r\n{fields}\r\n");
            let mut parsed = RequestHead::parse(head(connection).as_bytes()).unwrap();
            parsed.remove_upgrade();
            let mut written = Vec::new();
            parsed.write(&mut written);
            assert_eq!(String::from_utf8(written).unwrap(), head(expected));
        }
    }

    #[test]
    fn a_response_head_is_read() {
        let head = ResponseHead::parse(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n").unwrap();
        assert_eq!((head.status, head.headers.has("upgrade")), (101, true));
        for (bad, expected) in [
            ("SSH-2.0-x", Error::UnsupportedVersion),
            ("HTTP/1.1 011 x", Error::InvalidStatus(11)),
            ("HTTP/1.1 000", Error::InvalidStatus(0)),
            (
                "HTTP/1.1 20 x",
                Error::MalformedHead(httparse::Error::Status),
            ),
        ] {
            let head = format!("{bad}\r\n\r\n");
            let parsed = ResponseHead::parse(head.as_bytes());
            assert_eq!(parsed, Err(expected), "{bad}");
        }
    }
}
