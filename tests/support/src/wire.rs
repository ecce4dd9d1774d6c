//! One end of a connection, the client's or the daemon's, driven step by step.
//!
//! A test that holds both ends in one thread fixes the order of events by the order of its lines.
//! Anything read here that is not exactly HTTP framing fails the test.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{Framing, Message, PATIENCE, Text, find, happens};

/// One end of a connection. Dropping it closes both directions.
pub struct Wire {
    stream: UnixStream,
    /// Read from the socket, but not taken by the test yet.
    unread: Vec<u8>,
}

impl Wire {
    /// Takes over `stream`. Reads and writes fail after [`PATIENCE`].
    pub fn new(stream: UnixStream) -> Wire {
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&stream, Some(PATIENCE)).expect("a socket takes a time limit");
        }
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

    /// Writes all of `bytes` unless the other end has closed. Returns whether it could.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Writes `piece` in such a way that the other end never reads it together with what is sent
    /// next: a descriptor is attached to it, and the kernel lets no read go beyond that.
    pub fn send_apart(&mut self, piece: &[u8]) {
        let null = File::open("/dev/null").expect("/dev/null can be opened");
        let start = Instant::now();
        let mut rest = piece;
        while !rest.is_empty() {
            let fds = [null.as_raw_fd()];
            let message = [ControlMessage::ScmRights(&fds)];
            let slices = [IoSlice::new(rest)];
            let fd = self.stream.as_raw_fd();
            match sendmsg::<()>(fd, &slices, &message, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(n) => rest = &rest[n..],
                Err(nix::Error::EINTR) => (),
                // The number of descriptors in flight is limited, but for root.
                Err(nix::Error::ETOOMANYREFS) if start.elapsed() < PATIENCE => {
                    std::thread::yield_now();
                }
                // The other end has answered and closed already.
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => return,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }

    /// Reads more from the socket. Returns false at the end.
    pub fn fill(&mut self) -> bool {
        let mut buf = [0; 1 << 16];
        match self.stream.read(&mut buf) {
            Ok(0) => false,
            Ok(n) => {
                self.unread.extend_from_slice(&buf[..n]);
                true
            }
            // A UNIX socket reports this if the other end closed with something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // signal(7): a read with a time limit fails like this after SIGSTOP and SIGCONT.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("{error}; so far unread: {:?}", Text(&self.unread)),
        }
    }

    /// Reads the next `n` bytes.
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

    /// Reads everything up to the end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// Asserts that the other end closes or half-closes, and sends nothing before that.
    pub fn expect_end(&mut self) {
        assert_eq!(Text(&self.rest()), Text(b""));
    }

    /// Returns whether there is something to read now, or the end.
    pub fn is_ready(&self) -> bool {
        !self.unread.is_empty() || happens(&self.stream, PollFlags::POLLIN, PollTimeout::ZERO)
    }

    /// Asserts that there is nothing to read now, and that the other end is open.
    pub fn expect_silence(&mut self) {
        if self.is_ready() {
            let open = self.has_more();
            panic!("open: {open}, {:?}", Text(&self.unread));
        }
    }

    /// Returns once the other end has closed both directions.
    pub fn expect_hangup(&self) {
        let patience = PATIENCE.try_into().expect("a time that poll can wait");
        let closed = happens(&self.stream, PollFlags::empty(), patience);
        assert!(closed, "the other end still reads or sends");
    }

    /// Another handle of the same end, for a thread that sends while this one reads.
    pub fn try_clone(&self) -> Wire {
        Wire::new(self.stream.try_clone().expect("a socket can be cloned"))
    }

    /// Closes the sending direction.
    pub fn half_close(&mut self) {
        let shutdown = self.stream.shutdown(Shutdown::Write);
        shutdown.expect("the connection is open");
    }

    /// Reads the next head, including the empty line that ends it.
    pub fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                return self.take(at + 4);
            }
            assert!(self.fill(), "ended within a head: {:?}", Text(&self.unread));
        }
    }

    /// Reads the next request with its body.
    pub fn request(&mut self) -> Message {
        let mut message = Message::new(self.head());
        match message.framing() {
            Framing::Length(n) => message.body = self.take(n),
            Framing::Chunked => message.body = self.chunks(),
            Framing::None => (),
        }
        message
    }

    /// Waits for more. Returns false if the end comes instead.
    pub fn has_more(&mut self) -> bool {
        !self.unread.is_empty() || self.fill()
    }

    /// Reads responses up to the next final one, and returns that as [`Wire::response`] does.
    pub fn final_response(&mut self) -> Message {
        loop {
            let response = self.response();
            if response.status() >= 200 {
                return response;
            }
        }
    }

    /// Reads the next response to a GET or POST, which may be an interim one, with its body.
    ///
    /// # Panics
    /// If it may have a body and does not frame it.
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

    /// Reads the content of the next chunk. That of the last chunk is empty.
    pub fn chunk(&mut self) -> Vec<u8> {
        let line = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break self.take(at + 2);
            }
            assert!(self.fill(), "ended within a chunk size");
        };
        let digits = str::from_utf8(&line[..line.len() - 2]).expect("a chunk size in UTF-8");
        assert!(
            digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "chunk size {digits:?}"
        );
        let size = usize::from_str_radix(digits, 16).expect("a chunk size");
        let content = self.take(size);
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
        // Closing the descriptor is not enough: a child that another test is just starting holds
        // a copy for a moment. This ends all copies.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
