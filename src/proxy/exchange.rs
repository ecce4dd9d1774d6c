//! One request on its way to the daemon and its response on the way back, both passed on as they
//! come. Leaves what is asked for, and what becomes of the connection, to [`crate::proxy::connection`].

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::error::{Reason, Refusal};
use crate::http1::head::ResponseHead;
use crate::http1::{self, Body};
use crate::proxy::poll::{self, Interest, Patience};
use crate::proxy::read::{self, ReadError};
use crate::proxy::refusal::unreadable_answer;
use crate::proxy::socket::{self, CloseOnPanic, Input};

/// The stack of a thread that only moves bytes.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// What the response side must know of a request.
#[derive(Debug)]
pub(crate) struct Exchange<'r> {
    /// The method, since the response to `HEAD` has no body.
    pub(crate) method: &'r str,
    /// Whether the daemon may make a tunnel of the connection.
    pub(crate) can_hijack: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its head, and of its body what is at hand.
    pub(crate) bytes: Vec<u8>,
    /// What the client is still to send.
    pub(crate) rest: Body,
}

/// How an exchange ended that brought a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Whole, and both connections can go on.
    Reusable,
    /// Whole, but the connections must be closed: the daemon says so, or a part of the request
    /// was not wanted.
    Closed,
    /// Cut off: the client must not take it for whole.
    Cut,
    /// The connection is a tunnel from here on.
    Tunnel,
}

/// Sends the request and passes the response on. `answered` is told its status.
///
/// # Errors
/// When nothing of a final response has been passed on and nothing will be.
pub(crate) fn run(
    exchange: &Exchange<'_>,
    mut outgoing: Outgoing,
    client: &mut Input,
    daemon: &mut Input,
    answered: impl Fn(u16),
) -> Result<End, Refusal> {
    let client_socket = &*client.socket().clone();
    let daemon_socket = &*daemon.socket().clone();
    let uploading = AtomicBool::new(false);
    // Where this fails the daemon may still have an answer, so it is the response that decides.
    let sent = socket::write_some(daemon_socket, &outgoing.bytes);
    let unsent = &outgoing.bytes[*sent.as_ref().unwrap_or(&outgoing.bytes.len())..];
    let is_sent = outgoing.rest.is_done() && unsent.is_empty();
    // A half-close is the client's word on this exchange only if nothing else of it is on its way
    // to us: another request, or bytes for the tunnel to be.
    let is_last = is_sent && client.buffered().is_empty();
    let interest = if is_last && !exchange.can_hijack {
        Interest::READ
    } else {
        Interest::GONE
    };
    let mut response = Response {
        exchange,
        client: client_socket,
        daemon,
        watch: ClientWatch {
            client: client_socket,
            uploading: &uploading,
            interest,
        },
        awaits_continue: exchange.expects_continue,
    };
    if is_sent {
        let end = response.pass_on(answered)?;
        return Ok(if sent.is_err() && end == End::Reusable {
            End::Closed
        } else {
            end
        });
    }
    // The daemon may answer before it has read all, or without ever doing so.
    uploading.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let _guard = CloseOnPanic(client_socket, daemon_socket);
        let upload = || {
            let _guard = CloseOnPanic(client_socket, daemon_socket);
            let whole = socket::deliver(daemon_socket, unsent, client_socket)
                .and_then(|()| upload(&mut outgoing.rest, client, daemon_socket));
            if whole.is_err() {
                socket::shutdown(daemon_socket, Shutdown::Write);
            }
            // From here on the response side watches the client; a client that went before it
            // could is seen here.
            uploading.store(false, Ordering::SeqCst);
            if socket::is_closed(client_socket) {
                socket::shutdown(daemon_socket, Shutdown::Both);
            }
            whole
        };
        let upload = thread::Builder::new()
            .name("upload".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, upload)
            .map_err(|err| Refusal::new(Reason::Busy, format!("cannot start a thread: {err}")))?;
        let end = response.pass_on(answered);
        match &end {
            // The client takes the answer for a no and will not send the body.
            Ok(End::Reusable | End::Closed) if response.awaits_continue => {
                socket::shutdown(client_socket, Shutdown::Read);
            }
            Ok(End::Reusable | End::Tunnel) => (),
            Ok(End::Closed) => socket::shutdown(client_socket, Shutdown::Write),
            Ok(End::Cut) => socket::shutdown(client_socket, Shutdown::Both),
            Err(_) => socket::shutdown(daemon_socket, Shutdown::Both),
        }
        let whole = upload
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        match end {
            // The daemon has nothing to say to what it never got whole; the client made it so.
            Err(_) if is_malformed(&whole) => Err(Refusal::bad_request(
                whole.map_or_else(|err| err.to_string(), |()| String::new()),
            )),
            Ok(End::Reusable) if whole.is_err() => Ok(End::Closed),
            Ok(End::Tunnel) if whole.is_err() => Ok(End::Cut),
            end => end,
        }
    })
}

fn is_malformed(upload: &io::Result<()>) -> bool {
    matches!(upload, Err(err) if err.kind() == io::ErrorKind::InvalidData)
}

/// Passes the body of a request on as it comes. A chunked one is cut into chunks anew: what has
/// arrived is one chunk, and extensions and trailers, which no daemon reads, are dropped.
///
/// # Errors
/// When the client closes or the chunked coding breaks before its end, or the daemon is gone.
fn upload(body: &mut Body, client: &mut Input, daemon: &UnixStream) -> io::Result<()> {
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

/// The response side of an exchange.
struct Response<'a> {
    exchange: &'a Exchange<'a>,
    client: &'a UnixStream,
    daemon: &'a mut Input,
    watch: ClientWatch<'a>,
    /// Whether the client still waits for `100 Continue`.
    awaits_continue: bool,
}

impl Response<'_> {
    fn pass_on(&mut self, answered: impl Fn(u16)) -> Result<End, Refusal> {
        loop {
            let (len, head) = self.read_head()?;
            match head.status {
                101 if self.exchange.can_hijack => {
                    answered(101);
                    return Ok(self.hijack(len));
                }
                101 => {
                    return Err(Refusal::bad_gateway(
                        "the daemon switches protocols unasked",
                    ));
                }
                100..200 => {
                    self.awaits_continue &= head.status != 100;
                    if self.write(len).is_err() {
                        return Ok(self.client_gone());
                    }
                }
                status => {
                    let body = Body::of_response(&head, self.exchange.method)
                        .map_err(|err| unreadable_answer(&err))?;
                    answered(status);
                    // Without Upgrade, attach and exec take the connection over behind a 200 that
                    // has no length: moby's hijack in containers/attach and exec/start.
                    if self.exchange.can_hijack && status == 200 && body == Body::UntilClose {
                        return Ok(self.hijack(len));
                    }
                    return Ok(self.pass_on_body(len, body, head.is_persistent()));
                }
            }
        }
    }

    fn hijack(&mut self, head_len: usize) -> End {
        match self.write(head_len) {
            Ok(()) => End::Tunnel,
            Err(_) => self.client_gone(),
        }
    }

    /// Passes on the head, which is the first `head_len` buffered bytes, and the body.
    fn pass_on_body(&mut self, head_len: usize, mut body: Body, persistent: bool) -> End {
        let mut len = head_len;
        loop {
            match body.pass(&self.daemon.buffered()[len..]) {
                Ok(n) => len += n,
                Err(err) => {
                    log::warn!("the daemon's answer breaks off: {err}");
                    return End::Cut;
                }
            }
            if self.write(len).is_err() {
                return self.client_gone();
            }
            len = 0;
            if body.is_done() {
                return if persistent {
                    End::Reusable
                } else {
                    End::Closed
                };
            }
            match self.watch.fill(self.daemon) {
                Ok(0) if body == Body::UntilClose => return End::Closed,
                Ok(0) | Err(_) => {
                    if self.watch.interest.is_any() {
                        log::warn!("the daemon's answer breaks off");
                    }
                    return End::Cut;
                }
                Ok(_) => (),
            }
        }
    }

    /// Reads the next head, which stays in the buffer, and returns its length too.
    fn read_head(&mut self) -> Result<(usize, ResponseHead), Refusal> {
        let Response { daemon, watch, .. } = self;
        let unreadable = |err: http1::Error| unreadable_answer(&err);
        match read::head(daemon, |daemon| watch.fill(daemon)) {
            Ok(len) => {
                let head = ResponseHead::parse(&daemon.buffered()[..len]);
                head.map(|head| (len, head)).map_err(unreadable)
            }
            Err(ReadError::Malformed(err)) => Err(unreadable(err)),
            Err(ReadError::Io(_) | ReadError::TooLarge) => Err(self.unanswered()),
        }
    }

    /// The daemon is gone, and nobody knows how far it got. The client must know that: who asks
    /// again without a look may create a second time.
    fn unanswered(&self) -> Refusal {
        let what = match self.daemon.buffered() {
            [] => "without an answer",
            _ => "within the head of its answer",
        };
        let doubt = match self.exchange.method {
            "GET" | "HEAD" => "",
            _ => "; it may have done what was asked, or not",
        };
        Refusal::bad_gateway(format!("the daemon closed the connection {what}{doubt}"))
    }

    /// Writes the first `n` buffered bytes to the client.
    fn write(&mut self, n: usize) -> io::Result<()> {
        self.client.write_all(&self.daemon.buffered()[..n])?;
        self.daemon.consume(n);
        Ok(())
    }

    fn client_gone(&self) -> End {
        socket::shutdown(self.daemon.socket(), Shutdown::Both);
        End::Cut
    }
}

/// Watches the client while the daemon is waited for.
struct ClientWatch<'a> {
    client: &'a UnixStream,
    /// Whether another thread still reads the request from the client, and so watches it.
    uploading: &'a AtomicBool,
    /// What the client may still do that the daemon must know of: [`Interest::READ`] stands for
    /// its half-close.
    interest: Interest,
}

impl ClientWatch<'_> {
    /// Reads from the daemon; meanwhile a client that half-closes or goes is made known to it. What
    /// the daemon has sent comes first.
    fn fill(&mut self, daemon: &mut Input) -> io::Result<usize> {
        loop {
            let sockets = [
                (&**daemon.socket(), Interest::READ),
                (self.client, self.interest),
            ];
            let [readable, sign] = poll::wait(sockets, None)?;
            if readable.is_any() {
                return daemon.fill();
            }
            self.tell(daemon.socket(), sign.gone);
        }
    }

    /// Tells the daemon what its client has done: gone, half-closed, or sent more, which waits in
    /// the socket and is none of the daemon's business yet.
    fn tell(&mut self, daemon: &UnixStream, is_gone: bool) {
        if is_gone {
            self.interest = Interest::NONE;
            if !self.uploading.load(Ordering::SeqCst) {
                socket::shutdown(daemon, Shutdown::Both);
            }
        } else {
            self.interest = Interest::GONE;
            if socket::has_ended(self.client) {
                socket::shutdown(daemon, Shutdown::Write);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What the daemon sees of a client when `act` is done to it, and what is looked for then.
    fn told(
        uploading: bool,
        act: impl FnOnce(UnixStream) -> Option<UnixStream>,
    ) -> (Interest, Interest) {
        let (client, client_socket) = UnixStream::pair().unwrap();
        let (daemon, daemon_socket) = UnixStream::pair().unwrap();
        let client = act(client);
        let mut watch = ClientWatch {
            client: &client_socket,
            uploading: &AtomicBool::new(uploading),
            interest: Interest::READ,
        };
        watch.tell(&daemon_socket, client.is_none());
        let seen = poll::now(&daemon, Interest::READ).unwrap();
        (seen, watch.interest)
    }

    #[test]
    fn a_client_that_half_closes_or_goes_is_made_known_to_the_daemon() {
        let send = |mut client: UnixStream| {
            client.write_all(b"GET").unwrap();
            Some(client)
        };
        let half_close = |client: UnixStream| {
            client.shutdown(Shutdown::Write).unwrap();
            Some(client)
        };
        let go = |_| None;
        let closed = Interest {
            gone: true,
            ..Interest::READ
        };
        for (uploading, seen) in [(false, closed), (true, Interest::NONE)] {
            assert_eq!(told(uploading, send), (Interest::NONE, Interest::GONE));
            assert_eq!(
                told(uploading, half_close),
                (Interest::READ, Interest::GONE)
            );
            // While it uploads the other thread sees it.
            assert_eq!(told(uploading, go), (seen, Interest::NONE));
        }
    }

    #[test]
    fn an_answer_comes_before_the_end_of_its_client() {
        let (client, client_socket) = UnixStream::pair().unwrap();
        let (mut daemon, daemon_socket) = UnixStream::pair().unwrap();
        daemon.write_all(b"x").unwrap();
        drop(client);
        let mut watch = ClientWatch {
            client: &client_socket,
            uploading: &AtomicBool::new(false),
            interest: Interest::READ,
        };
        let mut input = Input::new(Arc::new(daemon_socket));
        assert_eq!(watch.fill(&mut input).unwrap(), 1);
        assert_eq!(watch.interest, Interest::READ, "nobody has looked yet");
        assert_eq!(poll::now(&daemon, Interest::READ).unwrap(), Interest::NONE);
    }
}
