//! The client's side of a connection: reading its requests, and the answers of the proxy's own.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Reason, Refusal};
use crate::limits::MAX_REWRITTEN_BODY_BYTES;
use crate::proxy::poll::Patience;
use crate::proxy::read::{self, ReadError};
use crate::proxy::refusal::unreadable_request;
use crate::proxy::request::Request;
use crate::proxy::response::{self, Then};
use crate::proxy::settings::ClientTimes;
use crate::proxy::socket::{self, Input};

/// A client.
#[derive(Debug)]
pub(crate) struct Client<'s> {
    /// Names the connection in the log.
    number: u64,
    times: &'s ClientTimes,
    pub(crate) input: Input,
}

impl<'s> Client<'s> {
    pub(crate) fn new(socket: Arc<UnixStream>, number: u64, times: &'s ClientTimes) -> Client<'s> {
        Client {
            number,
            times,
            input: Input::new(socket),
        }
    }
}

impl Client<'_> {
    /// Waits for the first byte, and returns whether it has come in time.
    pub(crate) fn has_asked(&mut self) -> bool {
        let patience = Patience::until(Instant::now() + self.times.turn_away);
        matches!(self.input.fill_within(patience), Ok(1..))
    }

    /// Reads the next head, which stays in the buffer, and returns its length, or `None` when the
    /// client is done. The wait for its first byte has no limit: clients keep connections open for
    /// hours.
    ///
    /// # Errors
    /// 408 when it takes too long, and when it is not a head.
    pub(crate) fn read_head(&mut self) -> Result<Option<usize>, Refusal> {
        self.input.shrink();
        if self.input.buffered().is_empty() && !matches!(self.input.fill(), Ok(1..)) {
            return Ok(None);
        }
        let patience = Patience::until(Instant::now() + self.times.head);
        match read::head(&mut self.input, |input| input.fill_within(patience)) {
            Ok(len) => Ok(Some(len)),
            Err(ReadError::Malformed(err)) => Err(unreadable_request(err)),
            Err(ReadError::Io(err)) if err.kind() == io::ErrorKind::TimedOut => {
                let what = format!("the request head took longer than {:?}", self.times.head);
                Err(Refusal::new(Reason::Timeout, what))
            }
            Err(ReadError::Io(_) | ReadError::TooLarge) => Ok(None),
        }
    }

    /// Reads the whole body of a request that is to be rewritten, or `None` when the client goes
    /// before its end.
    ///
    /// # Errors
    /// 413 when it is too large, 408 when it takes too long, and when its coding is broken.
    pub(crate) fn read_body(&mut self, request: &mut Request) -> Result<Option<Vec<u8>>, Refusal> {
        let patience = Patience::until(Instant::now() + self.times.rewritten_body);
        let expects_continue = &mut request.expects_continue;
        let fill = |input: &mut Input| {
            if std::mem::take(expects_continue) {
                socket::write_within(input.socket(), response::CONTINUE, patience)?;
            }
            input.fill_within(patience)
        };
        let limit = MAX_REWRITTEN_BODY_BYTES;
        let (reason, what) = match read::body(&mut self.input, &mut request.body, limit, fill) {
            Ok(content) => return Ok(Some(content)),
            Err(ReadError::Malformed(err)) => return Err(unreadable_request(err)),
            Err(ReadError::TooLarge) => (
                Reason::TooLarge,
                format!("the request body is larger than {limit} bytes, so it cannot be labelled"),
            ),
            Err(ReadError::Io(err)) if err.kind() == io::ErrorKind::TimedOut => {
                let limit = self.times.rewritten_body;
                let what = format!("the request body took longer than {limit:?}");
                (Reason::Timeout, what)
            }
            Err(ReadError::Io(_)) => return Ok(None),
        };
        Err(Refusal::new(reason, what))
    }

    /// Reads a small body of which nobody is to wait for the rest, or returns `None` when the client
    /// goes before its end.
    pub(crate) fn read_small_body(&mut self, request: &mut Request) -> Option<Vec<u8>> {
        let limit = usize::try_from(request.body.remaining()?).ok()?;
        read::body(&mut self.input, &mut request.body, limit, Input::fill).ok()
    }

    /// Refuses a request, and logs that.
    pub(crate) fn refuse(&mut self, refusal: &Refusal, method: &str, then: Then) -> Then {
        let status = response::status(refusal.reason);
        log::info!("#{} refused: {status} {refusal}", self.number);
        self.reply(&response::refusal(refusal, method, then), then)
    }

    /// Sends an answer of the proxy's own, and returns what becomes of the connection.
    pub(crate) fn reply(&mut self, reply: &[u8], then: Then) -> Then {
        let patience = Patience::until(Instant::now() + self.times.reply);
        if socket::write_within(self.input.socket(), reply, patience).is_err() {
            return Then::Close;
        }
        if then == Then::Close {
            self.linger();
        }
        then
    }

    /// Ends the connection towards the client and lets it finish sending, so that it sees the answer
    /// instead of a broken pipe.
    pub(crate) fn linger(&mut self) {
        socket::shutdown(self.input.socket(), Shutdown::Write);
        let patience = Patience::until(Instant::now() + self.times.linger);
        loop {
            self.input.consume(self.input.buffered().len());
            if !matches!(self.input.fill_within(patience), Ok(1..)) {
                return;
            }
        }
    }
}
