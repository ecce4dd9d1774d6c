//! Which bytes after a head are its body (RFC 9112 section 6), and counting them off as they come:
//! one type for requests and responses. Yields counts rather than bytes, so that its users decide
//! whether bytes are kept, copied or passed on. Refuses a request whose body two readers could end
//! in different places.

use crate::http1::chunked::{Chunked, Progress};
use crate::http1::error::Error;
use crate::http1::head::{Headers, RequestHead, ResponseHead};

/// A body, and how much of it is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// This many bytes are still to come; 0 where there is no body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// All that comes until the daemon closes. Only responses have such bodies.
    UntilClose,
}

impl Body {
    /// The body of a request.
    ///
    /// # Errors
    /// When both headers or one of them twice are there, when the length is not made of digits
    /// only, when a coding other than `chunked` is named, or with any coding on HTTP/1.0.
    pub(crate) fn of_request(head: &RequestHead) -> Result<Body, Error> {
        let mut codings = head.headers.all("transfer-encoding");
        let mut lengths = head.headers.all("content-length");
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(Body::Length(0)),
            (Some(_), Some(_)) => Err(Error::LengthAndCoding),
            (Some(_), None) if head.minor_version == 0 => Err(Error::CodingWithHttp10),
            (Some(_), None) if codings.next().is_some() => Err(Error::RepeatedCoding),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Body::Chunked(Chunked::default()))
            }
            (Some(coding), None) => {
                Err(Error::UnsupportedCoding(coding.escape_ascii().to_string()))
            }
            (None, Some(_)) if lengths.next().is_some() => Err(Error::RepeatedLength),
            (None, Some(length)) => parse_length(length).map(Body::Length),
        }
    }

    /// The body of the final response `head` to a request with this method (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// When the daemon gives a length that cannot be understood, or two.
    pub(crate) fn of_response(head: &ResponseHead, method: &str) -> Result<Body, Error> {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return Ok(Body::Length(0));
        }
        let length = one_length(&head.headers)?;
        let Some(last) = head.headers.all("transfer-encoding").last() else {
            return Ok(length.map_or(Body::UntilClose, Body::Length));
        };
        // Clients differ in which of the two they go by, and so in where the next answer is.
        if length.is_some() {
            return Err(Error::LengthAndCoding);
        }
        if head.minor_version == 0 {
            return Err(Error::CodingWithHttp10);
        }
        let coding = last.rsplit(|&b| b == b',').next().unwrap_or(last);
        if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            Ok(Body::Chunked(Chunked::default()))
        } else {
            Ok(Body::UntilClose)
        }
    }

    /// Whether all of it has come; never so before the daemon closes where that is its end.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.is_done(),
            Body::UntilClose => false,
        }
    }

    /// How many bytes of content come next without framing between them, as far as that has been
    /// told: what is left of the length or of the current chunk. `None` where nothing but the
    /// close tells.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Body::Length(left) => Some(*left),
            Body::Chunked(chunked) => Some(chunked.remaining()),
            Body::UntilClose => None,
        }
    }

    /// Counts off the start of `bytes`, the next ones after the head, up to the end of the next run
    /// of content or of the body.
    ///
    /// # Errors
    /// When the bytes break the chunked coding.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        let n = match self {
            Body::Length(left) => {
                let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= n as u64;
                n
            }
            Body::Chunked(chunked) => return chunked.advance(bytes),
            Body::UntilClose => bytes.len(),
        };
        Ok(Progress {
            used: n,
            data: 0..n,
        })
    }

    /// Counts off all of `bytes` that belongs to the body, and returns how many bytes that is,
    /// framing included.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut used = 0;
        while used < bytes.len() && !self.is_done() {
            used += self.advance(&bytes[used..])?.used;
        }
        Ok(used)
    }

    /// Like [`pass`](Self::pass), and appends the content to `content`.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub(crate) fn read(&mut self, bytes: &[u8], content: &mut Vec<u8>) -> Result<usize, Error> {
        let mut used = 0;
        while used < bytes.len() && !self.is_done() {
            let progress = self.advance(&bytes[used..])?;
            content.extend_from_slice(&bytes[used..][progress.data]);
            used += progress.used;
        }
        Ok(used)
    }
}

/// The length of a response, which may be given several times if it is the same.
fn one_length(headers: &Headers) -> Result<Option<u64>, Error> {
    let mut lengths = headers.all("content-length");
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    if lengths.any(|other| other != first) {
        return Err(Error::InvalidLength(first.escape_ascii().to_string()));
    }
    parse_length(first).map(Some)
}

/// A number of digits only, at most `i64::MAX` as in Go; `str::parse` would take a sign too.
fn parse_length(digits: &[u8]) -> Result<u64, Error> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok())
        .filter(|&number| i64::try_from(number).is_ok())
        .ok_or_else(|| Error::InvalidLength(digits.escape_ascii().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(minor_version: u8, headers: &str) -> Result<Body, Error> {
        let head = format!("POST / HTTP/1.{minor_version}\r\n{headers}\r\n");
        Body::of_request(&RequestHead::parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn a_request_has_one_framing() {
        assert_eq!(request(1, ""), Ok(Body::Length(0)));
        assert_eq!(request(1, "Content-Length: 0\r\n"), Ok(Body::Length(0)));
        assert_eq!(request(0, "Content-Length: 0042\r\n"), Ok(Body::Length(42)));
        assert_eq!(
            request(1, "Transfer-Encoding: Chunked\r\n"),
            Ok(Body::Chunked(Chunked::default()))
        );
        assert_eq!(
            request(1, "Content-Length: 9223372036854775807\r\n"),
            Ok(Body::Length(i64::MAX as u64))
        );
    }

    #[test]
    fn an_ambiguous_request_is_refused() {
        let length = |value: &str| Error::InvalidLength(value.to_owned());
        let coding = |value: &str| Error::UnsupportedCoding(value.to_owned());
        for (headers, expected) in [
            (
                "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                Error::LengthAndCoding,
            ),
            (
                "Content-Length: 1\r\nContent-Length: 1\r\n",
                Error::RepeatedLength,
            ),
            ("Content-Length: 1, 1\r\n", length("1, 1")),
            ("Content-Length: +1\r\n", length("+1")),
            ("Content-Length: -1\r\n", length("-1")),
            ("Content-Length: 0x1\r\n", length("0x1")),
            ("Content-Length: \r\n", length("")),
            (
                "Content-Length: 9223372036854775808\r\n",
                length("9223372036854775808"),
            ),
            (
                "Content-Length: 99999999999999999999999\r\n",
                length("99999999999999999999999"),
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Error::RepeatedCoding,
            ),
            ("Transfer-Encoding: identity\r\n", coding("identity")),
            (
                "Transfer-Encoding: gzip, chunked\r\n",
                coding("gzip, chunked"),
            ),
            (
                "Transfer-Encoding: chunked, chunked\r\n",
                coding("chunked, chunked"),
            ),
            ("Transfer-Encoding: \r\n", coding("")),
        ] {
            assert_eq!(request(1, headers), Err(expected), "{headers}");
        }
        assert_eq!(
            request(0, "Transfer-Encoding: chunked\r\n"),
            Err(Error::CodingWithHttp10)
        );
    }

    #[test]
    fn a_response_body_ends_where_its_head_says() {
        for (status, method, headers, passed, done) in [
            (200, "HEAD", "Content-Length: 5\r\n", 0, true),
            (204, "GET", "", 0, true),
            (304, "GET", "Content-Length: 5\r\n", 0, true),
            (200, "GET", "Content-Length: 5\r\n", 5, true),
            (
                200,
                "GET",
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                5,
                true,
            ),
            (200, "GET", "Content-Length: 500\r\n", 13, false),
            (200, "GET", "", 13, false),
            (
                200,
                "GET",
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: x, Chunked\r\n",
                11,
                true,
            ),
            (
                200,
                "GET",
                "Transfer-Encoding: chunked, gzip\r\n",
                13,
                false,
            ),
        ] {
            let head = format!("HTTP/1.1 {status} X\r\n{headers}\r\n");
            let head = ResponseHead::parse(head.as_bytes()).unwrap();
            let mut body = Body::of_response(&head, method).unwrap();
            let n = body.pass(b"1\r\nx\r\n0\r\n\r\nHT").unwrap();
            assert_eq!(
                (n, body.is_done()),
                (passed, done),
                "{status} {method} {headers}"
            );
        }
        for (head, expected) in [
            (
                "HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                Error::InvalidLength("5".to_owned()),
            ),
            (
                "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Error::LengthAndCoding,
            ),
            (
                "HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                Error::CodingWithHttp10,
            ),
        ] {
            let parsed = ResponseHead::parse(head.as_bytes()).unwrap();
            let body = Body::of_response(&parsed, "GET").map(|_| ());
            assert_eq!(body, Err(expected), "{head}");
        }
    }

    #[test]
    fn a_body_tells_what_comes_next_without_framing() {
        let mut length = Body::Length(5);
        assert_eq!(length.remaining(), Some(5));
        let progress = Progress {
            used: 2,
            data: 0..2,
        };
        assert_eq!(length.advance(b"ab"), Ok(progress));
        assert_eq!(length.remaining(), Some(3));

        let mut chunked = Body::Chunked(Chunked::default());
        assert_eq!(chunked.remaining(), Some(0), "the size is still to come");
        let progress = Progress {
            used: 5,
            data: 3..5,
        };
        assert_eq!(chunked.advance(b"a\r\nbc"), Ok(progress));
        assert_eq!(chunked.remaining(), Some(8));

        let mut until_close = Body::UntilClose;
        assert_eq!(until_close.pass(b"abc"), Ok(3));
        assert_eq!(
            (until_close.remaining(), until_close.is_done()),
            (None, false)
        );
    }

    #[test]
    fn the_content_of_a_body_is_read_up_to_its_end() {
        for (mut body, bytes, used, content) in [
            (Body::Length(3), &b"abcd"[..], 3, &b"abc"[..]),
            (Body::Length(0), b"abcd", 0, b""),
            (
                Body::Chunked(Chunked::default()),
                b"1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\nHTTP",
                20,
                b"abc",
            ),
            (Body::UntilClose, b"abc", 3, b"abc"),
        ] {
            let mut read = b"before ".to_vec();
            assert_eq!(body.read(bytes, &mut read), Ok(used));
            assert_eq!(read, [b"before ", content].concat());
        }
    }
}
