//! One request on its way to the daemon and its response on the way back, both passed on as they
//! come. Leaves what is asked for, and what becomes of the connection, to [`crate::proxy::connection`].

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::error::{Reason, Refusal};
use crate::http1::head::ResponseHead;
use crate::http1::{self, Body};
use crate::limits::STACK_BYTES;
use crate::proxy::client_watch::ClientWatch;
use crate::proxy::poll::Interest;
use crate::proxy::read::{self, ReadError};
use crate::proxy::refusal::{unanswered, unreadable_answer};
use crate::proxy::socket::{self, CloseOnPanic, Input};
use crate::proxy::upload::upload;

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

/// Gets the status of the final response before the client does.
pub(crate) type Answered<'h> = dyn Fn(u16) + 'h;

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

/// Sends the request and passes the response on.
///
/// # Errors
/// When nothing of a final response has been passed on and nothing will be.
pub(crate) fn run(
    exchange: &Exchange<'_>,
    outgoing: Outgoing,
    client: &mut Input,
    daemon: &mut Input,
    answered: &Answered<'_>,
) -> Result<End, Refusal> {
    let client_socket = &*client.socket().clone();
    // Where this fails the daemon may still have an answer, so it is the response that decides.
    let sent = socket::write_some(daemon.socket(), &outgoing.bytes);
    let n_sent = *sent.as_ref().unwrap_or(&outgoing.bytes.len());
    let is_sent = outgoing.rest.is_done() && n_sent == outgoing.bytes.len();
    // A half-close is the client's word on this exchange only if nothing else of it is on its way
    // to us: another request, or bytes for the tunnel to be.
    let is_last = is_sent && client.buffered().is_empty();
    let interest = if is_last && !exchange.can_hijack {
        Interest::READ
    } else {
        Interest::GONE
    };
    let uploading = AtomicBool::new(!is_sent);
    let mut response = Response {
        exchange,
        answered,
        daemon,
        watch: ClientWatch {
            client: client_socket,
            uploading: &uploading,
            interest,
        },
        awaits_continue: exchange.expects_continue,
    };
    let end = if is_sent {
        response.pass_on()?
    } else {
        response.pass_on_and_upload(outgoing, n_sent, client)?
    };
    Ok(if sent.is_err() && end == End::Reusable {
        End::Closed
    } else {
        end
    })
}

/// The response side of an exchange.
struct Response<'a> {
    exchange: &'a Exchange<'a>,
    answered: &'a Answered<'a>,
    daemon: &'a mut Input,
    watch: ClientWatch<'a>,
    /// Whether the client still waits for `100 Continue`.
    awaits_continue: bool,
}

impl Response<'_> {
    /// Passes on the response while another thread sends what is left of the request: the daemon may
    /// answer before it has read all, or without ever doing so.
    fn pass_on_and_upload(
        &mut self,
        mut outgoing: Outgoing,
        n_sent: usize,
        client: &mut Input,
    ) -> Result<End, Refusal> {
        let (client_socket, uploading) = (self.watch.client, self.watch.uploading);
        let daemon_socket = &*self.daemon.socket().clone();
        let upload = || {
            let _guard = CloseOnPanic(client_socket, daemon_socket);
            let whole = socket::deliver(daemon_socket, &outgoing.bytes[n_sent..], client_socket)
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
        let (end, whole) = thread::scope(|scope| {
            let _guard = CloseOnPanic(client_socket, daemon_socket);
            let upload = thread::Builder::new()
                .name("upload".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, upload)
                .map_err(|err| {
                    Refusal::new(Reason::Busy, format!("cannot start a thread: {err}"))
                })?;
            let end = self.pass_on();
            self.end_upload(&end);
            let whole = upload.join();
            Ok::<_, Refusal>((
                end,
                whole.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())),
            ))
        })?;
        match (end, whole) {
            // The daemon has nothing to say to what it never got whole; the client made it so.
            (Err(_), Err(err)) if err.kind() == io::ErrorKind::InvalidData => {
                Err(Refusal::bad_request(err.to_string()))
            }
            (Ok(End::Reusable), Err(_)) => Ok(End::Closed),
            (Ok(End::Tunnel), Err(_)) => Ok(End::Cut),
            (end, _) => end,
        }
    }

    fn pass_on(&mut self) -> Result<End, Refusal> {
        loop {
            let (len, head) = self.read_head()?;
            match head.status {
                101 if self.exchange.can_hijack => {
                    (self.answered)(101);
                    return Ok(self.hijack(len));
                }
                101 => {
                    return Err(Refusal::bad_gateway(
                        "the daemon switched protocols without being asked",
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
                    (self.answered)(status);
                    // Without Upgrade, attach and exec take the connection over behind a 200 that
                    // has no length: moby's hijack in containers/attach and exec/start.
                    if self.exchange.can_hijack && status == 200 && body == Body::UntilClose {
                        return Ok(self.hijack(len));
                    }
                    let end = if head.is_persistent() {
                        End::Reusable
                    } else {
                        End::Closed
                    };
                    return Ok(self.pass_on_body(len, body).unwrap_or(end));
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

    /// Passes on the head, which is the first `head_len` buffered bytes, and the body. Returns `None`
    /// when all of it has come and the head says what becomes of the connection.
    fn pass_on_body(&mut self, head_len: usize, mut body: Body) -> Option<End> {
        let mut len = head_len;
        loop {
            match body.pass(&self.daemon.buffered()[len..]) {
                Ok(n) => len += n,
                Err(err) => {
                    log::warn!("the daemon's answer breaks off: {err}");
                    return Some(End::Cut);
                }
            }
            if self.write(len).is_err() {
                return Some(self.client_gone());
            }
            len = 0;
            if body.is_done() {
                return None;
            }
            match self.watch.fill(self.daemon) {
                Ok(0) if body == Body::UntilClose => return Some(End::Closed),
                Ok(0) | Err(_) => {
                    if self.watch.interest.is_any() {
                        log::warn!("the daemon's answer breaks off");
                    }
                    return Some(End::Cut);
                }
                Ok(_) => (),
            }
        }
    }

    /// Makes the upload end where it would wait for a client or a daemon that has no use for it.
    fn end_upload(&self, end: &Result<End, Refusal>) {
        let client = self.watch.client;
        match end {
            // The client takes the answer for a no and will not send the body.
            Ok(End::Reusable | End::Closed) if self.awaits_continue => {
                socket::shutdown(client, Shutdown::Read);
            }
            Ok(End::Reusable | End::Tunnel) => (),
            Ok(End::Closed) => socket::shutdown(client, Shutdown::Write),
            Ok(End::Cut) => socket::shutdown(client, Shutdown::Both),
            Err(_) => socket::shutdown(self.daemon.socket(), Shutdown::Both),
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
            Err(ReadError::Io(_) | ReadError::TooLarge) => {
                Err(unanswered(self.exchange.method, self.daemon.buffered()))
            }
        }
    }

    /// Writes the first `n` buffered bytes to the client.
    fn write(&mut self, n: usize) -> io::Result<()> {
        let mut client = self.watch.client;
        client.write_all(&self.daemon.buffered()[..n])?;
        self.daemon.consume(n);
        Ok(())
    }

    fn client_gone(&self) -> End {
        socket::shutdown(self.daemon.socket(), Shutdown::Both);
        End::Cut
    }
}
