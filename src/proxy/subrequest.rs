//! A request of the proxy's own to the daemon: sending it and reading its answer. Leaves the
//! connection that it goes on, and whether it is sent again, to others.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::{Reason, Refusal};
use crate::http1::Body;
use crate::http1::head::ResponseHead;
use crate::inject::request::Answer;
use crate::limits::{ANSWER_LIMIT, MAX_ANSWER_BYTES};
use crate::proxy::poll::Patience;
use crate::proxy::read::{self, ReadError};
use crate::proxy::socket::{self, Input};

/// A request of the proxy's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subrequest<'q> {
    pub(crate) method: &'q str,
    pub(crate) target: &'q str,
    /// What is sent as JSON.
    pub(crate) body: Option<&'q str>,
}

/// What the answer to a subrequest may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerLimits {
    /// The size of its body, in bytes.
    pub(crate) bytes: usize,
    /// The time from the first byte of the subrequest to the last of the answer.
    pub(crate) time: Duration,
}

impl Default for AnswerLimits {
    fn default() -> AnswerLimits {
        AnswerLimits {
            bytes: MAX_ANSWER_BYTES,
            time: ANSWER_LIMIT,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    /// Whether the daemon closed the connection without a byte.
    pub(crate) is_unanswered: bool,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure {
            refusal,
            is_unanswered: false,
        }
    }
}

impl Subrequest<'_> {
    /// Sends it, on behalf of `client` if there is one, and reads the answer. Returns whether the
    /// connection can be used again too. Nobody waits for the answer longer than the client does.
    ///
    /// # Errors
    /// 502 when the daemon gives no answer that can be read, 504 when it takes longer than the
    /// limit, 400 when the client goes.
    pub(crate) fn send(
        &self,
        daemon: &mut Input,
        client: Option<&UnixStream>,
        limits: AnswerLimits,
    ) -> Result<(Answer, bool), Failure> {
        let patience = Patience {
            peer: client,
            deadline: Some(Instant::now() + limits.time),
        };
        let refuse = |err| refuse(err, client, limits.time);
        let fill = |daemon: &mut Input| daemon.fill_within(patience);
        let socket = daemon.socket().clone();
        if let Err(err) = socket::write_within(&socket, &self.to_bytes(), patience) {
            return Err(Failure {
                is_unanswered: err.kind() == io::ErrorKind::BrokenPipe,
                refusal: refuse(ReadError::Io(err)),
            });
        }
        let len = read::head(daemon, fill).map_err(|err| Failure {
            is_unanswered: daemon.buffered().is_empty() && !is_timeout(&err),
            refusal: refuse(err),
        })?;
        let head = final_head(daemon, len, fill).map_err(refuse)?;
        if head.status == 101 {
            return Err(unreadable("it switches protocols").into());
        }
        let body = Body::of_response(&head, self.method);
        let mut body = body.map_err(|err| unreadable(&err.to_string()))?;
        let content = read::body(daemon, &mut body, limits.bytes, fill).map_err(refuse)?;
        let answer = Answer {
            status: head.status,
            is_podman: head.headers.has("libpod-api-version"),
            body: content,
        };
        Ok((answer, body.is_done() && head.is_persistent()))
    }

    fn to_bytes(self) -> Vec<u8> {
        let Subrequest { method, target, .. } = self;
        let start = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n");
        let rest = match self.body {
            None => "\r\n".to_owned(),
            Some(body) => {
                let len = body.len();
                format!("Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}")
            }
        };
        (start + &rest).into_bytes()
    }
}

/// The head of the final response, or of one that switches protocols. The first head has been read
/// and has `len` bytes; interim ones are skipped.
fn final_head(
    daemon: &mut Input,
    mut len: usize,
    fill: impl Fn(&mut Input) -> io::Result<usize>,
) -> Result<ResponseHead, ReadError> {
    loop {
        let head = ResponseHead::parse(&daemon.buffered()[..len])?;
        daemon.consume(len);
        if head.status == 101 || head.status >= 200 {
            return Ok(head);
        }
        len = read::head(daemon, &fill)?;
    }
}

fn is_timeout(err: &ReadError) -> bool {
    matches!(err, ReadError::Io(err) if err.kind() == io::ErrorKind::TimedOut)
}

fn refuse(err: ReadError, client: Option<&UnixStream>, limit: Duration) -> Refusal {
    match err {
        ReadError::Malformed(err) => unreadable(&err.to_string()),
        ReadError::TooLarge => unreadable("it is too large"),
        ReadError::Io(err) if err.kind() == io::ErrorKind::TimedOut => Refusal::new(
            Reason::DaemonTimeout,
            format!("the daemon did not answer a subrequest within {limit:?}"),
        ),
        ReadError::Io(_) if client.is_some_and(socket::is_closed) => {
            Refusal::bad_request("the client disconnected before its request could be prepared")
        }
        ReadError::Io(err) => Refusal::bad_gateway(format!(
            "the daemon closed the connection during a subrequest: {err}"
        )),
    }
}

fn unreadable(what: &str) -> Refusal {
    Refusal::bad_gateway(format!(
        "the daemon's answer to a subrequest cannot be read: {what}"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    const SUBREQUEST: Subrequest<'_> = Subrequest {
        method: "GET",
        target: "/version",
        body: None,
    };

    /// What becomes of a subrequest to a daemon that has said `answer` and leaves it at that.
    fn send(answer: &str, limits: AnswerLimits) -> Result<(Answer, bool), Failure> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer.as_bytes()).unwrap();
        let (_client, client) = UnixStream::pair().unwrap();
        let mut daemon = Input::new(Arc::new(ours));
        SUBREQUEST.send(&mut daemon, Some(&client), limits)
    }

    #[test]
    fn a_daemon_that_is_silent_is_waited_for_up_to_the_limit() {
        let limits = AnswerLimits {
            time: Duration::ZERO,
            ..AnswerLimits::default()
        };
        let failure = send("", limits).unwrap_err();
        assert_eq!(failure.refusal.reason, Reason::DaemonTimeout);
        assert!(
            failure.refusal.message.ends_with("within 0ns"),
            "{failure:?}"
        );
        assert!(!failure.is_unanswered, "it may be busy with it");
    }

    #[test]
    fn interim_answers_are_skipped() {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let (answer, reusable) = send(answer, AnswerLimits::default()).unwrap();
        assert_eq!(
            (answer.status, &answer.body[..], reusable),
            (200, &b"{}"[..], true)
        );
    }

    #[test]
    fn a_client_that_goes_takes_its_subrequest_with_it() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (gone, client) = UnixStream::pair().unwrap();
        drop(gone);
        let mut daemon = Input::new(Arc::new(ours));
        let sent = SUBREQUEST.send(&mut daemon, Some(&client), AnswerLimits::default());
        let failure = sent.unwrap_err();
        assert!(
            failure
                .refusal
                .message
                .starts_with("the client disconnected"),
            "{failure:?}"
        );
    }

    #[test]
    fn an_answer_may_be_as_large_as_the_caller_says() {
        let limits = |bytes| AnswerLimits {
            bytes,
            ..AnswerLimits::default()
        };
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(send(answer, limits(4)).unwrap().0.body, b"body");
        let failure = send(answer, limits(3)).unwrap_err();
        assert_eq!(failure.refusal.reason, Reason::BadDaemon);
        assert!(failure.refusal.message.ends_with("it is too large"));
    }
}
