//! Passing the body of a request on to the daemon as it comes.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use crate::http1::Body;
use crate::proxy::poll::Patience;
use crate::proxy::socket::{self, Input};

/// Passes the body of a request on as it comes. A chunked one is cut into chunks anew: what has
/// arrived is one chunk, and extensions and trailers, which no daemon reads, are dropped.
///
/// # Errors
/// When the client closes or the chunked coding breaks before its end, or the daemon is gone.
pub(crate) fn upload(body: &mut Body, client: &mut Input, daemon: &UnixStream) -> io::Result<()> {
    let source = &*client.socket().clone();
    let for_daemon = Patience {
        peer: Some(daemon),
        deadline: None,
    };
    let is_chunked = matches!(body, Body::Chunked(_));
    let (mut content, mut chunk) = (Vec::new(), Vec::new());
    while !body.is_done() {
        if client.buffered().is_empty() && client.fill_within(for_daemon)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let malformed = |err| io::Error::new(io::ErrorKind::InvalidData, err);
        if is_chunked {
            content.clear();
            let used = body.read(client.buffered(), &mut content);
            client.consume(used.map_err(malformed)?);
            write_chunk(&content, body.is_done(), &mut chunk);
            socket::deliver(daemon, &chunk, source)?;
        } else {
            let progress = body.advance(client.buffered()).map_err(malformed)?;
            socket::deliver(daemon, &client.buffered()[progress.data], source)?;
            client.consume(progress.used);
        }
    }
    Ok(())
}

/// Makes `chunk` one of this content, perhaps empty, and with the end of the body behind it if it
/// is the last.
fn write_chunk(content: &[u8], is_last: bool, chunk: &mut Vec<u8>) {
    chunk.clear();
    if !content.is_empty() {
        let _ = write!(chunk, "{:x}\r\n", content.len());
        chunk.extend_from_slice(content);
        chunk.extend_from_slice(b"\r\n");
    }
    if is_last {
        chunk.extend_from_slice(b"0\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;
    use crate::http1::chunked::Chunked;

    /// What the daemon gets of a body that comes as `bytes`, and whether it is whole.
    fn uploaded(mut body: Body, bytes: &[u8]) -> (String, Result<(), io::ErrorKind>) {
        let (mut client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        client.write_all(bytes).unwrap();
        drop(client);
        let mut input = Input::new(Arc::new(client_socket));
        let result = upload(&mut body, &mut input, &daemon_socket);
        drop(daemon_socket);
        let mut got = String::new();
        daemon.read_to_string(&mut got).unwrap();
        (got, result.map_err(|err| err.kind()))
    }

    #[test]
    fn a_body_passes_up_to_its_end() {
        let chunked = || Body::Chunked(Chunked::default());
        for (body, bytes, got, result) in [
            (Body::Length(0), "GET", "", Ok(())),
            (Body::Length(3), "abcGET", "abc", Ok(())),
            (
                Body::Length(4),
                "abc",
                "abc",
                Err(io::ErrorKind::UnexpectedEof),
            ),
            (
                chunked(),
                "1;x\r\na\r\n2\r\nbc\r\n0\r\nA: b\r\n\r\nGET",
                "3\r\nabc\r\n0\r\n\r\n",
                Ok(()),
            ),
            (
                chunked(),
                "1\r\na\r\n2\r\nb",
                "2\r\nab\r\n",
                Err(io::ErrorKind::UnexpectedEof),
            ),
            (chunked(), "x", "", Err(io::ErrorKind::InvalidData)),
        ] {
            let what = format!("{body:?} {bytes}");
            assert_eq!(
                uploaded(body, bytes.as_bytes()),
                (got.to_owned(), result),
                "{what}"
            );
        }
    }
}
