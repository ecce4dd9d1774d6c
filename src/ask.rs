//! The proxy's own questions to the daemon, on the connection that the client's create will take.

use std::io;
use std::time::{Duration, Instant};

use crate::create::Answer;
use crate::error::Refusal;
use crate::framing::ResponseBody;
use crate::head::{HeadEnd, ResponseHead};
use crate::wire::{self, Input};

/// The largest answer that is read, in bytes: the description of an image or a container.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long the daemon may take to answer. It may be busy, but these are quick questions; to
/// create a volume with an unknown driver takes it 15 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Sends a question and reads the answer; whether the connection can be used again comes with it.
///
/// # Errors
/// 502 when the daemon gives no answer that can be read, 504 when it takes too long.
pub(crate) fn ask(
    daemon: &mut Input,
    method: &str,
    target: &str,
    body: Option<&str>,
) -> Result<(Answer, bool), Refusal> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n");
    if let Some(body) = body {
        let len = body.len();
        request +=
            &format!("Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}");
    } else {
        request += "\r\n";
    }
    let socket = daemon.socket().clone();
    wire::write_all(&socket, request.as_bytes(), &socket).map_err(broken)?;
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut end = HeadEnd::default();
    let head_len = loop {
        match end.find(daemon.buffered()) {
            Ok(Some(len)) => break len,
            Ok(None) if fill(daemon, deadline)? > 0 => (),
            Ok(None) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Err(refusal) => return Err(unreadable(&refusal.message)),
        }
    };
    let head =
        ResponseHead::parse(&daemon.buffered()[..head_len]).map_err(|what| unreadable(&what))?;
    daemon.consume(head_len);
    let mut framing = ResponseBody::of(&head, method).map_err(|what| unreadable(&what))?;
    let mut body = Vec::new();
    loop {
        let (used, content) = framing
            .read(daemon.buffered())
            .map_err(|what| unreadable(&what))?;
        body.extend_from_slice(&content);
        daemon.consume(used);
        if framing.is_done() {
            break;
        }
        if body.len() > MAX_ANSWER_BYTES {
            return Err(unreadable("it is too large"));
        }
        if fill(daemon, deadline)? == 0 {
            match framing {
                ResponseBody::UntilClose => break,
                _ => return Err(unreadable("it breaks off")),
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

fn fill(daemon: &mut Input, deadline: Instant) -> Result<usize, Refusal> {
    daemon.fill_until(deadline).map_err(|err| match err.kind() {
        io::ErrorKind::TimedOut => Refusal::new(
            504,
            format!("the daemon did not answer a question in {ANSWER_LIMIT:?}"),
        ),
        _ => broken(err),
    })
}

fn broken(err: io::Error) -> Refusal {
    Refusal::bad_gateway(format!(
        "the daemon closed the connection at a question: {err}"
    ))
}

fn unreadable(what: &str) -> Refusal {
    Refusal::bad_gateway(format!(
        "the daemon's answer to a question cannot be read: {what}"
    ))
}
