//! One request on its way to the daemon and its response on the way back, both passed on as they
//! come. Leaves what is asked for, and what becomes of the connection, to [`crate::proxy::connection`].

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::error::{Reason, Refusal};
use crate::http1;
use crate::http1::body::{RequestFraming, ResponseBody};
use crate::http1::chunked::Chunked;
use crate::http1::head::{HeadEnd, ResponseHead};
use crate::proxy::refusal::unreadable_answer;
use crate::proxy::socket::{self, CloseOnPanic, Input, Sign, Watch};

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
    pub(crate) rest: RequestFraming,
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
    outgoing: Outgoing,
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
    let is_sent = outgoing.rest == RequestFraming::None && unsent.is_empty();
    // A half-close is the client's word on this exchange only if nothing else of it is on its way
    // to us: another request, or bytes for the tunnel to be.
    let is_last = is_sent && client.buffered().is_empty();
    let watch = match is_last && !exchange.can_hijack {
        true => Watch::All,
        false => Watch::Gone,
    };
    let mut response = Response {
        exchange,
        client: client_socket,
        daemon,
        uploading: &uploading,
        watch,
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
            let whole = socket::write_all(daemon_socket, unsent, client_socket)
                .and_then(|()| upload(outgoing.rest, client, daemon_socket));
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

/// Passes the body of a request on as it comes.
///
/// # Errors
/// When the client closes or the chunked coding breaks before its end, or the daemon is gone.
fn upload(framing: RequestFraming, client: &mut Input, daemon: &UnixStream) -> io::Result<()> {
    let source = &*client.socket().clone();
    let mut left = match framing {
        RequestFraming::None => return Ok(()),
        RequestFraming::Length(left) => left,
        RequestFraming::Chunked => return upload_chunked(client, daemon),
    };
    while left > 0 {
        if client.buffered().is_empty() && client.fill_unless_gone(daemon)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let buffered = client.buffered();
        let n = buffered
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        socket::write_all(daemon, &buffered[..n], source)?;
        client.consume(n);
        left -= n as u64;
    }
    Ok(())
}

/// Passes a chunked body on in chunks of its own: what has arrived is one chunk. Extensions and
/// trailers, which no daemon reads, are dropped.
fn upload_chunked(client: &mut Input, daemon: &UnixStream) -> io::Result<()> {
    let source = &*client.socket().clone();
    let mut chunked = Chunked::default();
    let mut content = Vec::new();
    while !chunked.is_done() {
        if client.buffered().is_empty() && client.fill_unless_gone(daemon)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.clear();
        read_chunked(&mut chunked, client, &mut content)
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        let mut chunk = Vec::with_capacity(content.len() + 32);
        if !content.is_empty() {
            let _ = write!(chunk, "{:x}\r\n", content.len());
            chunk.extend_from_slice(&content);
            chunk.extend_from_slice(b"\r\n");
        }
        if chunked.is_done() {
            chunk.extend_from_slice(b"0\r\n\r\n");
        }
        socket::write_all(daemon, &chunk, source)?;
    }
    Ok(())
}

/// Appends the content of what is buffered to `content`, up to the end of the body.
pub(crate) fn read_chunked(
    chunked: &mut Chunked,
    client: &mut Input,
    content: &mut Vec<u8>,
) -> Result<(), http1::Error> {
    while !client.buffered().is_empty() && !chunked.is_done() {
        let buffered = client.buffered();
        let step = chunked.step(buffered)?;
        content.extend_from_slice(&buffered[step.data]);
        client.consume(step.used);
    }
    Ok(())
}

/// The response side of an exchange.
struct Response<'a> {
    exchange: &'a Exchange<'a>,
    client: &'a UnixStream,
    daemon: &'a mut Input,
    /// Whether another thread still reads the request from the client, and so watches it.
    uploading: &'a AtomicBool,
    watch: Watch,
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
                    let body = ResponseBody::of(&head, self.exchange.method)
                        .map_err(|err| unreadable_answer(&err))?;
                    answered(status);
                    // Without Upgrade, attach and exec take the connection over behind a 200 that
                    // has no length: moby's hijack in containers/attach and exec/start.
                    if self.exchange.can_hijack
                        && status == 200
                        && matches!(body, ResponseBody::UntilClose)
                    {
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
    fn pass_on_body(&mut self, head_len: usize, mut body: ResponseBody, persistent: bool) -> End {
        let mut len = head_len;
        loop {
            match body.advance(&self.daemon.buffered()[len..]) {
                Ok(n) => len += n,
                Err(what) => {
                    log::warn!("the daemon's answer breaks off: {what}");
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
            match self.fill() {
                Ok(0) if matches!(body, ResponseBody::UntilClose) => return End::Closed,
                Ok(0) | Err(_) => {
                    if self.watch != Watch::Off {
                        log::warn!("the daemon's answer breaks off");
                    }
                    return End::Cut;
                }
                Ok(_) => (),
            }
        }
    }

    /// Reads until a head is at the start of the buffer; its length and what it says.
    fn read_head(&mut self) -> Result<(usize, ResponseHead), Refusal> {
        let mut end = HeadEnd::default();
        loop {
            match end.find(self.daemon.buffered()) {
                Ok(None) => (),
                Ok(Some(len)) => {
                    let head = ResponseHead::parse(&self.daemon.buffered()[..len]);
                    let head = head.map(|head| (len, head));
                    return head.map_err(|err| unreadable_answer(&err));
                }
                Err(err) => return Err(unreadable_answer(&err)),
            }
            let n = self.fill();
            if !matches!(n, Ok(1..)) {
                return Err(self.unanswered());
            }
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

    /// Reads from the daemon; meanwhile a client that half-closes or goes is made known to it.
    fn fill(&mut self) -> io::Result<usize> {
        loop {
            let daemon = &**self.daemon.socket();
            match socket::readable_or_sign(daemon, self.client, self.watch)? {
                Sign::Ready => return self.daemon.fill(),
                Sign::MoreBytes => self.watch = Watch::Gone,
                Sign::HalfClosed => {
                    self.watch = Watch::Gone;
                    socket::shutdown(daemon, Shutdown::Write);
                }
                Sign::Gone => {
                    self.watch = Watch::Off;
                    if !self.uploading.load(Ordering::SeqCst) {
                        socket::shutdown(daemon, Shutdown::Both);
                    }
                }
            }
        }
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
