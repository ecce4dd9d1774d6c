//! One end of a connection, as a test drives it: the client's or the daemon's, step by step.
//!
//! A test that holds both ends in one thread states the order of events by the order of its
//! lines. What it reads is taken apart here without mercy: anything that is not exactly HTTP
//! framing is a failure of the test.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::support::PATIENCE;

/// One end of a connection.
pub struct Wire {
    stream: UnixStream,
    /// Read from the socket and not taken by the test yet.
    unread: Vec<u8>,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire {
            stream,
            unread: Vec::new(),
        }
    }

    /// Writes all of `bytes`.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the other end reads");
    }

    /// Writes `bytes` if the other end still reads them; an end that has closed is no failure.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes `piece` so that no read of the other end returns it together with what is sent
    /// next: the kernel never joins what follows to bytes that a descriptor is attached to.
    pub fn send_apart(&mut self, piece: &[u8]) {
        let null = File::open("/dev/null").unwrap();
        let start = Instant::now();
        let mut rest = piece;
        while !rest.is_empty() {
            let fds = [null.as_raw_fd()];
            let message = [ControlMessage::ScmRights(&fds)];
            let slices = [IoSlice::new(rest)];
            let fd = self.stream.as_raw_fd();
            match sendmsg::<()>(fd, &slices, &message, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(n) => rest = &rest[n..],
                // An ordinary user may have only so many descriptors on the way.
                Err(nix::Error::EINTR) => (),
                Err(nix::Error::ETOOMANYREFS) if start.elapsed() < PATIENCE => {
                    std::thread::yield_now();
                }
                // It has answered and closed already.
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => return,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }

    /// Reads more; false at the end.
    pub fn fill(&mut self) -> bool {
        let mut buf = [0; 1 << 16];
        match self.stream.read(&mut buf) {
            Ok(0) => false,
            Ok(n) => {
                self.unread.extend_from_slice(&buf[..n]);
                true
            }
            // What a UNIX socket says when the other end closed with something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // A process that is stopped and goes on may see this where a time limit is set.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("{error}; so far unread: {:?}", Text(&self.unread)),
        }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(
                self.fill(),
                "ended after {:?}, {n} bytes expected",
                Text(&self.unread)
            );
        }
        self.unread.drain(..n).collect()
    }

    /// Asserts that the next bytes are `bytes`.
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        assert_eq!(Text(&self.take(bytes.len())), Text(bytes));
    }

    /// All that comes until the end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// Asserts that the other end closes, or half-closes, and sends nothing before.
    pub fn expect_end(&mut self) {
        assert_eq!(Text(&self.rest()), Text(b""));
    }

    /// Whether there is something to be read now, or the end.
    pub fn is_ready(&self) -> bool {
        !self.unread.is_empty() || happens(&self.stream, PollFlags::POLLIN, PollTimeout::ZERO)
    }

    /// Asserts that nothing is there to be read now, and no end either.
    pub fn expect_silence(&mut self) {
        if self.is_ready() {
            let open = self.has_more();
            panic!("open: {open}, {:?}", Text(&self.unread));
        }
    }

    /// Returns when both directions are closed by the other end.
    pub fn expect_hangup(&self) {
        let patience = PATIENCE.try_into().unwrap();
        let closed = happens(&self.stream, PollFlags::empty(), patience);
        assert!(closed, "the other end still reads or sends");
    }

    /// Another handle of the same end, for a thread that sends while this one reads.
    pub fn try_clone(&self) -> Wire {
        Wire::new(self.stream.try_clone().unwrap())
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The bytes of the next head, its empty line included.
    pub fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                return self.take(at + 4);
            }
            assert!(self.fill(), "ended within a head: {:?}", Text(&self.unread));
        }
    }

    /// The next request with its body.
    pub fn request(&mut self) -> Message {
        let mut message = Message::new(self.head());
        match message.framing() {
            Framing::Length(n) => message.body = self.take(n),
            Framing::Chunked => message.body = self.chunks(),
            Framing::None => (),
        }
        message
    }

    /// Whether anything more comes before the end.
    pub fn has_more(&mut self) -> bool {
        !self.unread.is_empty() || self.fill()
    }

    /// The next final response with its body, which must be framed; to a GET or POST.
    pub fn final_response(&mut self) -> Message {
        loop {
            let response = self.response();
            if response.status() >= 200 {
                return response;
            }
        }
    }

    /// The next response, interim ones too.
    pub fn response(&mut self) -> Message {
        let mut message = Message::new(self.head());
        match message.framing() {
            _ if matches!(message.status(), 100..=199 | 204 | 304) => (),
            Framing::Length(n) => message.body = self.take(n),
            Framing::Chunked => message.body = self.chunks(),
            Framing::None => panic!("no length: {message:?}"),
        }
        message
    }

    /// The content of the next chunk; empty for the last one.
    pub fn chunk(&mut self) -> Vec<u8> {
        let line = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break self.take(at + 2);
            }
            assert!(self.fill(), "ended within a chunk size");
        };
        let digits = str::from_utf8(&line[..line.len() - 2]).unwrap();
        assert!(
            digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "chunk size {digits:?}"
        );
        let content = self.take(usize::from_str_radix(digits, 16).unwrap());
        self.expect("\r\n");
        content
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // To close alone is not enough: a child process that another test is about to start
        // holds the descriptor too for a moment. Ends all handles there are.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Whether something happens on the socket within the time; that it is closed both ways does
/// always count.
pub fn happens(socket: &impl AsFd, flags: PollFlags, timeout: PollTimeout) -> bool {
    loop {
        let mut fds = [PollFd::new(socket.as_fd(), flags)];
        match poll(&mut fds, timeout) {
            Ok(n) => return n > 0,
            Err(nix::Error::EINTR) => (),
            Err(error) => panic!("cannot poll: {error}"),
        }
    }
}

/// A request or response as it arrived, its body without the framing.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Message {
    pub fn new(head: Vec<u8>) -> Message {
        Message {
            head,
            body: Vec::new(),
        }
    }

    /// The request line or the status line.
    pub fn line(&self) -> String {
        let end = find(&self.head, b"\r\n").unwrap();
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// The values of all header fields `name`, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.head).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        lines.next();
        lines
            .map(|line| {
                line.split_once(':')
                    .unwrap_or_else(|| panic!("no colon: {line:?}"))
            })
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    pub fn status(&self) -> u16 {
        self.line()
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status")
    }

    /// How the body is framed; exactly one way.
    pub fn framing(&self) -> Framing {
        match (
            &self.header("content-length")[..],
            &self.header("transfer-encoding")[..],
        ) {
            ([], []) => Framing::None,
            ([length], []) => Framing::Length(length.parse().unwrap()),
            ([], [coding]) if coding == "chunked" => Framing::Chunked,
            _ => panic!("ambiguous framing: {self:?}"),
        }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", Text(&self.head), Text(&self.body))
    }
}

/// Bytes to be compared and shown as text, cut where they are many.
#[derive(PartialEq, Eq)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(2000)];
        write!(
            f,
            "\"{}\"",
            shown
                .escape_ascii()
                .to_string()
                .replace("\\r\\n", "\\r\\n\n")
        )?;
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// Where `needle` starts in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
