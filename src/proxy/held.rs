//! A create whose answer is held until what was created has been checked. Other than an exchange it
//! does not end with its client: what the daemon may have made is looked at all the same.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::{Reason, Refusal};
use crate::http1::Body;
use crate::http1::head::ResponseHead;
use crate::inject::request::Answer;
use crate::limits::MAX_HELD_ANSWER_BYTES;
use crate::proxy::poll::{self, Interest, Patience};
use crate::proxy::read::{self, ReadError};
use crate::proxy::refusal::{unanswered, unreadable_answer};
use crate::proxy::socket::{self, Input};

/// An answer that the client has not got yet.
#[derive(Debug)]
pub(crate) struct Held {
    /// All of it as it came, interim answers too.
    pub(crate) bytes: Vec<u8>,
    /// What it says.
    pub(crate) answer: Answer,
    /// Whether the connection to the daemon can go on.
    pub(crate) is_reusable: bool,
}

/// Sends a create, which is `request` in whole, and reads the answer to its end.
///
/// # Errors
/// When there is no whole answer. The daemon may have done what was asked then. When the client has
/// gone and the daemon has not answered within `limit` from then on.
pub(crate) fn send(
    request: &[u8],
    client: &UnixStream,
    daemon: &mut Input,
    limit: Duration,
) -> Result<Held, Refusal> {
    let socket = daemon.socket().clone();
    let patience = Patience {
        peer: Some(client),
        deadline: None,
    };
    // What the daemon has got only a part of, it does not carry out. It may have an answer though.
    if socket::write_within(&socket, request, patience).is_err() && socket::is_closed(client) {
        return Err(Refusal::bad_request(
            "the client disconnected before its request was sent",
        ));
    }
    let mut wait = Wait {
        client,
        limit,
        deadline: None,
    };
    let mut bytes = Vec::new();
    let head = loop {
        let read = read::head(daemon, |daemon| wait.fill(daemon));
        let len = read.map_err(|err| wait.no_answer(err, daemon))?;
        let head = ResponseHead::parse(&daemon.buffered()[..len]);
        let head = head.map_err(|err| unreadable_answer(&err))?;
        bytes.extend_from_slice(&daemon.buffered()[..len]);
        daemon.consume(len);
        match head.status {
            101 => {
                let what = "the daemon switches protocols unasked";
                return Err(Refusal::bad_gateway(what));
            }
            100..200 => (),
            _ => break head,
        }
    };
    let mut body = Body::of_response(&head, "POST").map_err(|err| unreadable_answer(&err))?;
    let content = wait.body(daemon, &mut body, &mut bytes)?;
    Ok(Held {
        bytes,
        answer: Answer {
            status: head.status,
            is_podman: head.headers.has("libpod-api-version"),
            body: content,
        },
        is_reusable: body.is_done() && head.is_persistent(),
    })
}

/// The wait for the daemon.
struct Wait<'c> {
    client: &'c UnixStream,
    limit: Duration,
    /// When it ends: not as long as the client is there.
    deadline: Option<Instant>,
}

impl Wait<'_> {
    /// Reads from the daemon.
    fn fill(&mut self, daemon: &mut Input) -> io::Result<usize> {
        while self.deadline.is_none() {
            let sockets = [
                (&**daemon.socket(), Interest::READ),
                (self.client, Interest::GONE),
            ];
            let [readable, sign] = poll::wait(sockets, None)?;
            if readable.is_any() {
                return daemon.fill();
            }
            if sign.gone {
                self.deadline = Some(Instant::now() + self.limit);
            }
        }
        daemon.fill_within(Patience {
            peer: None,
            deadline: self.deadline,
        })
    }

    /// Reads the body to its end, adds it to `bytes` as it comes, and returns its content.
    fn body(
        &mut self,
        daemon: &mut Input,
        body: &mut Body,
        bytes: &mut Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut content = Vec::new();
        loop {
            let used = body.read(daemon.buffered(), &mut content);
            let used = used.map_err(|err| unreadable_answer(&err))?;
            bytes.extend_from_slice(&daemon.buffered()[..used]);
            daemon.consume(used);
            if bytes.len() > MAX_HELD_ANSWER_BYTES {
                return Err(Refusal::bad_gateway("the daemon's answer is too large"));
            }
            if body.is_done() {
                return Ok(content);
            }
            match self.fill(daemon) {
                Ok(0) if *body == Body::UntilClose => return Ok(content),
                Ok(0) => {
                    let err = ReadError::Io(io::ErrorKind::UnexpectedEof.into());
                    return Err(self.no_answer(err, daemon));
                }
                Err(err) => return Err(self.no_answer(ReadError::Io(err), daemon)),
                Ok(_) => (),
            }
        }
    }

    fn no_answer(&self, err: ReadError, daemon: &Input) -> Refusal {
        match err {
            ReadError::Malformed(err) => unreadable_answer(&err),
            ReadError::Io(err) if err.kind() == io::ErrorKind::TimedOut => Refusal::new(
                Reason::DaemonTimeout,
                format!(
                    "the client has gone and the daemon has not answered within {:?} from then on; \
                     what it makes is not checked",
                    self.limit
                ),
            ),
            ReadError::Io(_) | ReadError::TooLarge => unanswered("POST", daemon.buffered()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use super::*;

    const REQUEST: &[u8] = b"POST /containers/create HTTP/1.1\r\n\r\n";

    /// What becomes of a create to a daemon that has said `answer`, and no more.
    fn send_to(answer: &str) -> Result<Held, Refusal> {
        let (_client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        daemon.write_all(answer.as_bytes()).unwrap();
        daemon.shutdown(std::net::Shutdown::Write).unwrap();
        let mut input = Input::new(Arc::new(daemon_socket));
        send(REQUEST, &client_socket, &mut input, Duration::ZERO)
    }

    #[test]
    fn an_answer_is_held_as_it_came() {
        let length = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        let chunked =
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\n{}\r\n0\r\n\r\n";
        let until_close = "HTTP/1.1 201 Created\r\n\r\n{}";
        let closes = "HTTP/1.1 409 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        let interim = format!("HTTP/1.1 103 Early\r\nA: b\r\n\r\n{length}");
        for (bytes, is_reusable) in [
            (length, true),
            (chunked, true),
            (until_close, false),
            (closes, false),
            (&interim, true),
        ] {
            let held = send_to(bytes).unwrap();
            assert_eq!(held.bytes, bytes.as_bytes());
            assert_eq!(held.answer.body, b"{}");
            assert_eq!(held.is_reusable, is_reusable, "{bytes}");
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        let large = format!(
            "HTTP/1.1 201 Created\r\nContent-Length: 9999999\r\n\r\n{}",
            "x".repeat(MAX_HELD_ANSWER_BYTES)
        );
        for (answer, what) in [
            ("", "without an answer"),
            ("HTTP/1.1 201", "within the head"),
            (
                "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{}",
                "without an answer",
            ),
            ("HTTP/1.1 101 Up\r\n\r\n", "unasked"),
            ("x\r\n\r\n", "cannot be read"),
        ] {
            let refusal = send_to(answer).unwrap_err();
            assert_eq!(refusal.reason, Reason::BadDaemon, "{answer}");
            assert!(refusal.message.contains(what), "{refusal}");
        }
        let (_client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let _ = daemon.write_all(large.as_bytes());
        });
        let mut input = Input::new(Arc::new(daemon_socket));
        let refusal = send(REQUEST, &client_socket, &mut input, Duration::ZERO).unwrap_err();
        assert!(refusal.message.contains("too large"), "{refusal}");
        drop(input);
        writer.join().unwrap();
    }

    #[test]
    fn a_client_that_goes_does_not_take_its_create_with_it() {
        let (client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        let answering = std::thread::spawn(move || {
            daemon.read_exact(&mut [0; REQUEST.len()]).unwrap();
            drop(client);
            daemon
                .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
                .unwrap();
            daemon
        });
        let mut input = Input::new(Arc::new(daemon_socket));
        let limit = Duration::from_secs(60);
        let held = send(REQUEST, &client_socket, &mut input, limit).unwrap();
        assert_eq!(held.answer.status, 201);
        answering.join().unwrap();
    }

    #[test]
    fn an_answer_is_not_waited_for_without_end_when_its_client_is_gone() {
        let (client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        let gone = std::thread::spawn(move || {
            daemon.read_exact(&mut [0; REQUEST.len()]).unwrap();
            drop(client);
            daemon
        });
        let mut input = Input::new(Arc::new(daemon_socket));
        let refusal = send(REQUEST, &client_socket, &mut input, Duration::ZERO).unwrap_err();
        assert_eq!(refusal.reason, Reason::DaemonTimeout);
        gone.join().unwrap();
    }
}
