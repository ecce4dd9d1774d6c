//! Which bytes after a head are its body (RFC 9112 section 6), and counting them off as they
//! pass. Refuses a request whose body two readers could end in different places.

use crate::http1::chunked::Chunked;
use crate::http1::error::Error;
use crate::http1::head::{Headers, RequestHead, ResponseHead};

/// How the length of a request's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    /// No body: neither header is there.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl RequestFraming {
    /// Reads the framing of a request.
    ///
    /// # Errors
    /// When both headers or one of them twice are there, when the length is not made of digits
    /// only, when a coding other than `chunked` is named, or with any coding on HTTP/1.0.
    pub(crate) fn of(head: &RequestHead) -> Result<RequestFraming, Error> {
        let mut codings = head.headers.all("transfer-encoding");
        let mut lengths = head.headers.all("content-length");
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(RequestFraming::None),
            (Some(_), Some(_)) => Err(Error::LengthAndCoding),
            (Some(_), None) if head.minor_version == 0 => Err(Error::CodingWithHttp10),
            (Some(coding), None) => {
                if codings.next().is_some() {
                    return Err(Error::RepeatedCoding);
                }
                if !coding.eq_ignore_ascii_case(b"chunked") {
                    let coding = coding.escape_ascii().to_string();
                    return Err(Error::UnsupportedCoding(coding));
                }
                Ok(RequestFraming::Chunked)
            }
            (None, Some(length)) => {
                if lengths.next().is_some() {
                    return Err(Error::RepeatedLength);
                }
                let decimal = decimal(length).map(RequestFraming::Length);
                decimal.ok_or_else(|| Error::InvalidLength(length.escape_ascii().to_string()))
            }
        }
    }
}

/// What remains of a response body on its way to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// This many bytes are still to come; 0 where a response has no body.
    Length(u64),
    Chunked(Chunked),
    /// All that comes until the daemon closes.
    UntilClose,
}

impl ResponseBody {
    /// The body of the final response `head` to a request with this method (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// When the daemon gives a length that cannot be understood, or two.
    pub(crate) fn of(head: &ResponseHead, method: &str) -> Result<ResponseBody, Error> {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return Ok(ResponseBody::Length(0));
        }
        let length = one_length(&head.headers)?;
        if let Some(last) = head.headers.all("transfer-encoding").last() {
            // Clients differ in which of the two they go by, and so in where the next answer is.
            if length.is_some() {
                return Err(Error::LengthAndCoding);
            }
            if head.minor_version == 0 {
                return Err(Error::CodingWithHttp10);
            }
            let coding = last.rsplit(|&b| b == b',').next().unwrap_or(last);
            return Ok(match coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                true => ResponseBody::Chunked(Chunked::default()),
                false => ResponseBody::UntilClose,
            });
        }
        match length {
            Some(length) => Ok(ResponseBody::Length(length)),
            None => Ok(ResponseBody::UntilClose),
        }
    }

    /// Counts off what of `bytes`, the next ones from the daemon, belongs to this body.
    ///
    /// # Errors
    /// When the bytes are no chunked coding.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        match self {
            ResponseBody::Length(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= n as u64;
                Ok(n)
            }
            ResponseBody::Chunked(chunked) => {
                let mut passed = 0;
                while passed < bytes.len() && !chunked.is_done() {
                    let step = chunked.step(&bytes[passed..])?;
                    passed += step.used;
                }
                Ok(passed)
            }
            ResponseBody::UntilClose => Ok(bytes.len()),
        }
    }

    /// Reads the content of what of `bytes` belongs to this body; how many bytes that are, and
    /// the content.
    ///
    /// # Errors
    /// When the bytes are no chunked coding.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(usize, Vec<u8>), Error> {
        let ResponseBody::Chunked(chunked) = self else {
            let n = self.advance(bytes)?;
            return Ok((n, bytes[..n].to_vec()));
        };
        let (mut used, mut content) = (0, Vec::new());
        while used < bytes.len() && !chunked.is_done() {
            let step = chunked.step(&bytes[used..])?;
            content.extend_from_slice(&bytes[used..][step.data]);
            used += step.used;
        }
        Ok((used, content))
    }

    /// Whether all of it has passed; never so before the daemon closes where that is its end.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            ResponseBody::Length(left) => *left == 0,
            ResponseBody::Chunked(chunked) => chunked.is_done(),
            ResponseBody::UntilClose => false,
        }
    }
}

fn one_length(headers: &Headers) -> Result<Option<u64>, Error> {
    let mut lengths = headers.all("content-length");
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    match decimal(first) {
        Some(length) if lengths.all(|other| other == first) => Ok(Some(length)),
        _ => Err(Error::InvalidLength(first.escape_ascii().to_string())),
    }
}

/// A number of digits only, at most `i64::MAX` as in Go; `str::parse` would take a sign too.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(minor_version: u8, headers: &str) -> Result<RequestFraming, Error> {
        let head = format!("POST / HTTP/1.{minor_version}\r\n{headers}\r\n");
        RequestFraming::of(&RequestHead::parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn a_request_has_one_framing() {
        assert_eq!(request(1, ""), Ok(RequestFraming::None));
        assert_eq!(
            request(1, "Content-Length: 0\r\n"),
            Ok(RequestFraming::Length(0))
        );
        assert_eq!(
            request(0, "Content-Length: 0042\r\n"),
            Ok(RequestFraming::Length(42))
        );
        assert_eq!(
            request(1, "Transfer-Encoding: Chunked\r\n"),
            Ok(RequestFraming::Chunked)
        );
        assert_eq!(
            request(1, "Content-Length: 9223372036854775807\r\n"),
            Ok(RequestFraming::Length(i64::MAX as u64))
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
            let mut body = ResponseBody::of(&head, method).unwrap();
            let n = body.advance(b"1\r\nx\r\n0\r\n\r\nHT").unwrap();
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
            let body = ResponseBody::of(&parsed, "GET").map(|_| ());
            assert_eq!(body, Err(expected), "{head}");
        }
    }
}
