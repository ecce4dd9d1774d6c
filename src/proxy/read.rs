//! Reading what comes whole: a head, or a body that is gathered. How to wait for more bytes, and
//! for how long, is the caller's `fill`.

use std::io;

use crate::http1::head::HeadEnd;
use crate::http1::{self, Body};
use crate::proxy::socket::Input;

/// Why there is no whole head or body.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The bytes are not HTTP/1.1.
    Malformed(http1::Error),
    /// The body is larger than the limit.
    TooLarge,
    /// The end came before that of the head or body (`UnexpectedEof`), or reading failed.
    Io(io::Error),
}

impl From<http1::Error> for ReadError {
    fn from(error: http1::Error) -> ReadError {
        ReadError::Malformed(error)
    }
}

/// Reads until a head is at the start of the buffer, and returns its length.
///
/// # Errors
/// [`ReadError::Malformed`] or [`ReadError::Io`].
pub(crate) fn head(
    input: &mut Input,
    mut fill: impl FnMut(&mut Input) -> io::Result<usize>,
) -> Result<usize, ReadError> {
    let mut end = HeadEnd::default();
    loop {
        if let Some(len) = end.find(input.buffered())? {
            return Ok(len);
        }
        if fill(input).map_err(ReadError::Io)? == 0 {
            return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Reads the whole body, and returns its content of at most `limit` bytes. A body that tells that
/// it is larger is given up before it is read.
///
/// # Errors
/// Any [`ReadError`].
pub(crate) fn body(
    input: &mut Input,
    body: &mut Body,
    limit: usize,
    mut fill: impl FnMut(&mut Input) -> io::Result<usize>,
) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    loop {
        let used = body.read(input.buffered(), &mut content)?;
        input.consume(used);
        let told = (content.len() as u64).saturating_add(body.remaining().unwrap_or(0));
        if told > limit as u64 {
            return Err(ReadError::TooLarge);
        }
        if body.is_done() {
            return Ok(content);
        }
        match fill(input).map_err(ReadError::Io)? {
            0 if *body == Body::UntilClose => return Ok(content),
            0 => return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::http1::chunked::Chunked;

    /// What is read of a body that comes as `bytes` and then ends; and the bytes behind it.
    fn gather(mut framing: Body, bytes: &[u8], limit: usize) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        peer.write_all(bytes).unwrap();
        drop(peer);
        let mut input = Input::new(Arc::new(socket));
        input.fill().unwrap();
        let read = body(&mut input, &mut framing, limit, Input::fill);
        read.map(|content| (content, input.buffered().to_vec()))
            .map_err(|err| format!("{err:?}"))
    }

    #[test]
    fn a_body_is_gathered_up_to_its_end_and_the_limit() {
        let chunked = || Body::Chunked(Chunked::default());
        let whole = |content: &str, rest: &str| Ok((content.into(), rest.into()));
        let too_large = || Err("TooLarge".to_owned());
        let broken_off = Err("Io(Kind(UnexpectedEof))".to_owned());
        for (framing, bytes, expected) in [
            (Body::Length(0), "GET", whole("", "GET")),
            (Body::Length(4), "abcdGET", whole("abcd", "GET")),
            (Body::Length(4), "abc", broken_off.clone()),
            (Body::Length(5), "abcde", too_large()),
            (Body::UntilClose, "abcd", whole("abcd", "")),
            (Body::UntilClose, "abcde", too_large()),
            (chunked(), "4\r\nabcd\r\n0\r\n\r\nGET", whole("abcd", "GET")),
            (chunked(), "4\r\nabcd\r\n", broken_off),
            (chunked(), "5\r\n", too_large()),
            (chunked(), "3\r\nabc\r\n2\r\n", too_large()),
            // The sum is larger than any number.
            (chunked(), "1\r\na\r\nffffffffffffffff\r\nbc", too_large()),
        ] {
            let what = format!("{framing:?} {bytes}");
            assert_eq!(gather(framing, bytes.as_bytes(), 4), expected, "{what}");
        }
    }

    #[test]
    fn a_body_that_is_too_large_is_given_up_before_it_is_waited_for() {
        let (_peer, socket) = UnixStream::pair().unwrap();
        let mut input = Input::new(Arc::new(socket));
        let read = body(&mut input, &mut Body::Length(5), 4, |_| {
            panic!("waits for more")
        });
        assert!(matches!(read, Err(ReadError::TooLarge)), "{read:?}");
    }
}
