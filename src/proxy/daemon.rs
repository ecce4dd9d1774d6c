//! The proxy's own questions to the daemon, on the connection that the client's create will take.
//! Whether one is asked again is left to [`crate::proxy::connection`].

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::{Reason, Refusal};
use crate::http1;
use crate::http1::body::ResponseBody;
use crate::http1::head::{HeadEnd, ResponseHead};
use crate::inject::request::Answer;
use crate::proxy::socket::{self, Input};

/// The largest answer that is read, in bytes: the description of an image or a container.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long the daemon may take to answer. It may be busy, but these are quick questions; to
/// create a volume with an unknown driver takes it 15 s.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subrequest<'q> {
    pub(crate) method: &'q str,
    pub(crate) target: &'q str,
    /// What is sent as JSON.
    pub(crate) body: Option<&'q str>,
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

/// Sends a question on behalf of `client` and reads the answer; whether the connection can be used
/// again comes with it. Nobody waits for the answer longer than the client does.
///
/// # Errors
/// 502 when the daemon gives no answer that can be read, 504 when it takes longer than `limit`.
pub(crate) fn ask(
    question: Subrequest<'_>,
    daemon: &mut Input,
    client: Option<&UnixStream>,
    limit: Duration,
) -> Result<(Answer, bool), Failure> {
    let Subrequest { method, target, .. } = question;
    let deadline = Instant::now() + limit;
    let fail = |err: io::Error| match err.kind() {
        io::ErrorKind::TimedOut => {
            let what = format!("the daemon did not answer a question in {limit:?}");
            Refusal::new(Reason::DaemonTimeout, what)
        }
        _ if client.is_some_and(socket::is_closed) => {
            Refusal::bad_request("the client is gone; it is not asked any further for it")
        }
        _ => broken(&err),
    };
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n");
    if let Some(body) = question.body {
        let len = body.len();
        request +=
            &format!("Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}");
    } else {
        request += "\r\n";
    }
    let socket = daemon.socket().clone();
    if let Err(err) = socket::write_all_for(&socket, request.as_bytes(), client, deadline) {
        return Err(Failure {
            is_unanswered: err.kind() == io::ErrorKind::BrokenPipe,
            refusal: fail(err),
        });
    }
    let mut is_first = true;
    let head = loop {
        let mut end = HeadEnd::default();
        let len = loop {
            let found = end.find(daemon.buffered());
            if let Some(len) = found.map_err(unreadable)? {
                break len;
            }
            match daemon.fill_for(client, deadline) {
                Ok(1..) => (),
                end => {
                    let err = end
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Err(Failure {
                        is_unanswered: is_first
                            && daemon.buffered().is_empty()
                            && err.kind() != io::ErrorKind::TimedOut,
                        refusal: fail(err),
                    });
                }
            }
        };
        let head = ResponseHead::parse(&daemon.buffered()[..len]).map_err(unreadable)?;
        daemon.consume(len);
        is_first = false;
        match head.status {
            101 => return Err(odd("it switches protocols").into()),
            100..200 => (),
            _ => break head,
        }
    };
    let mut framing = ResponseBody::of(&head, method).map_err(unreadable)?;
    let mut body = Vec::new();
    loop {
        let (used, content) = framing.read(daemon.buffered()).map_err(unreadable)?;
        body.extend_from_slice(&content);
        daemon.consume(used);
        if framing.is_done() {
            break;
        }
        if body.len() > MAX_ANSWER_BYTES {
            return Err(odd("it is too large").into());
        }
        if daemon.fill_for(client, deadline).map_err(fail)? == 0 {
            match framing {
                ResponseBody::UntilClose => break,
                _ => return Err(odd("it breaks off").into()),
            }
        }
    }
    let reusable = framing.is_done() && head.is_persistent();
    let is_podman = head.headers.has("libpod-api-version");
    Ok((
        Answer {
            status: head.status,
            is_podman,
            body,
        },
        reusable,
    ))
}

fn broken(err: &io::Error) -> Refusal {
    Refusal::bad_gateway(format!(
        "the daemon closed the connection at a question: {err}"
    ))
}

fn unreadable(error: http1::Error) -> Refusal {
    odd(&error.to_string())
}

fn odd(what: &str) -> Refusal {
    Refusal::bad_gateway(format!(
        "the daemon's answer to a question cannot be read: {what}"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    const QUESTION: Subrequest<'_> = Subrequest {
        method: "GET",
        target: "/version",
        body: None,
    };

    /// What becomes of a question to a daemon that has said `answer` and leaves it at that.
    fn asked(answer: &str, limit: Duration) -> Result<(Answer, bool), Failure> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer.as_bytes()).unwrap();
        let (_client, client) = UnixStream::pair().unwrap();
        let mut daemon = Input::new(Arc::new(ours));
        ask(QUESTION, &mut daemon, Some(&client), limit)
    }

    #[test]
    fn a_daemon_that_is_silent_is_waited_for_up_to_the_limit() {
        let failure = asked("", Duration::ZERO).unwrap_err();
        assert_eq!(
            failure.refusal.to_string(),
            "the daemon did not answer a question in 0ns"
        );
        assert!(!failure.is_unanswered, "it may be busy with it");
    }

    #[test]
    fn interim_answers_are_none() {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let (answer, reusable) = asked(answer, ANSWER_LIMIT).unwrap();
        assert_eq!(
            (answer.status, &answer.body[..], reusable),
            (200, &b"{}"[..], true)
        );
    }

    #[test]
    fn a_client_that_goes_takes_its_question_with_it() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (gone, client) = UnixStream::pair().unwrap();
        drop(gone);
        let mut daemon = Input::new(Arc::new(ours));
        let failure = ask(QUESTION, &mut daemon, Some(&client), ANSWER_LIMIT).unwrap_err();
        assert!(
            failure.refusal.message.starts_with("the client is gone"),
            "{failure:?}"
        );
    }
}
