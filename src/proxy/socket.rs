//! Bytes in and out of the two sockets of a connection: connecting, buffered reading, and writing
//! that notices when nobody waits for the bytes any more. Knows no HTTP.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect as try_connect, recv, send,
    socket as new_socket,
};

use crate::limits::{DIAL_PAUSE, LARGE_BUFFER_BYTES, SMALL_BUFFER_BYTES, UNDELIVERED_LIMIT};
use crate::proxy::poll::{self, Interest, Patience, uninterrupted};

/// Connects to the socket at `path`. While the queue of its listener is full (a daemon that hangs,
/// or has very much to do) it is tried again and again: nothing can be polled for that.
///
/// # Errors
/// `TimedOut` when the queue is still full at the `deadline`, `BrokenPipe` when the other side of
/// `peer` is gone before; all else at once.
pub(crate) fn connect(
    path: &Path,
    peer: Option<&UnixStream>,
    deadline: Instant,
) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    // Where it may wait, the call would wait for good, and not see the peer go.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = new_socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    loop {
        match try_connect(socket.as_raw_fd(), &address) {
            Ok(()) => break,
            Err(Errno::EINTR) => (),
            Err(Errno::EAGAIN) if Instant::now() >= deadline => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(Errno::EAGAIN) => pause(peer)?,
            Err(err) => return Err(err.into()),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Waits for [`DIAL_PAUSE`], or until the other side of `peer` is gone, which is an error.
fn pause(peer: Option<&UnixStream>) -> io::Result<()> {
    let Some(peer) = peer else {
        thread::sleep(DIAL_PAUSE);
        return Ok(());
    };
    let [event] = poll::wait([(peer, Interest::GONE)], Some(DIAL_PAUSE))?;
    if event.gone {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// What comes from a socket, with a buffer that holds what was read but not yet used.
#[derive(Debug)]
pub(crate) struct Input {
    socket: Arc<UnixStream>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the last read filled the buffer, so that more is likely to be there.
    was_filled: bool,
}

impl Input {
    pub(crate) fn new(socket: Arc<UnixStream>) -> Input {
        Input {
            socket,
            buf: vec![0; SMALL_BUFFER_BYTES],
            start: 0,
            end: 0,
            was_filled: false,
        }
    }

    /// The socket that is read.
    pub(crate) fn socket(&self) -> &Arc<UnixStream> {
        &self.socket
    }

    /// What was read but not yet used.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Marks the first `n` buffered bytes as used.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.buffered().len(), "only what was read can be used");
        self.start += n;
    }

    /// Gives back a buffer that streaming has made large, when nothing is in it.
    pub(crate) fn shrink(&mut self) {
        if self.start == self.end && self.buf.len() > SMALL_BUFFER_BYTES {
            *self = Input::new(Arc::clone(&self.socket));
        }
    }

    /// Reads once, behind what is buffered, and waits for bytes if there are none. 0 is the end.
    /// The buffer grows as long as nothing is used: a caller that gathers sets its own limit.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.was_filled && self.buf.len() < LARGE_BUFFER_BYTES {
                self.buf.resize(LARGE_BUFFER_BYTES, 0);
            }
        }
        if self.end == self.buf.len() {
            if self.start > 0 {
                self.buf.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.buf.resize(self.buf.len() * 2, 0);
            }
        }
        let free = &mut self.buf[self.end..];
        let n = uninterrupted(|| recv(self.socket.as_raw_fd(), free, MsgFlags::empty()))?;
        self.was_filled = n == free.len();
        self.end += n;
        Ok(n)
    }

    /// Like [`fill`](Self::fill), but waits no longer than `patience` says, however much there is to
    /// read.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed, `BrokenPipe` when the peer is gone before there
    /// are bytes.
    pub(crate) fn fill_within(&mut self, patience: Patience<'_>) -> io::Result<usize> {
        poll::wait_for(&self.socket, Interest::READ, patience)?;
        self.fill()
    }
}

/// Whether the other side of a readable socket will send no more; if not, it has sent more.
pub(crate) fn has_ended(socket: &UnixStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(socket.as_raw_fd(), &mut [0], flags) == Ok(0)
}

/// Whether the other side of the socket has closed both directions, or sent what nobody asked
/// for: an idle connection to the daemon that says so is of no use any more.
pub(crate) fn is_stale(socket: &UnixStream) -> bool {
    poll::now(socket, Interest::READ).map_or(true, Interest::is_any)
}

/// Whether the other side has closed both directions.
pub(crate) fn is_closed(socket: &UnixStream) -> bool {
    poll::now(socket, Interest::GONE).map_or(true, Interest::is_any)
}

/// Waits until the other side has closed both directions, or this side has.
pub(crate) fn wait_until_closed(socket: &UnixStream) {
    // Where it cannot be waited for there is nothing to wait for.
    let _ = poll::wait([(socket, Interest::GONE)], None);
}

/// Writes what the socket takes without waiting; 0 if it takes nothing now.
///
/// # Errors
/// When the other side is gone.
pub(crate) fn write_some(socket: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match uninterrupted(|| send(socket.as_raw_fd(), bytes, flags)) {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// Writes all bytes to `socket`, and waits no longer than `patience` says.
///
/// # Errors
/// `TimedOut` when the deadline has passed, `BrokenPipe` when an end is gone.
pub(crate) fn write_within(
    socket: &UnixStream,
    bytes: &[u8],
    patience: Patience<'_>,
) -> io::Result<()> {
    write_all(socket, bytes, || {
        poll::wait_for(socket, Interest::WRITE, patience)
    })
}

/// Writes all bytes that came from `source` to `socket`, waiting while it takes none.
///
/// # Errors
/// `BrokenPipe` when the other side is gone, or when `source` is gone and nothing has been taken
/// for [`UNDELIVERED_LIMIT`].
pub(crate) fn deliver(socket: &UnixStream, bytes: &[u8], source: &UnixStream) -> io::Result<()> {
    write_all(socket, bytes, || {
        let sockets = [(socket, Interest::WRITE), (source, Interest::GONE)];
        let [event, _] = poll::wait(sockets, None)?;
        if event.is_any() {
            return Ok(());
        }
        let [event] = poll::wait([(socket, Interest::WRITE)], Some(UNDELIVERED_LIMIT))?;
        if event.is_any() {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    })
}

fn write_all(
    socket: &UnixStream,
    mut bytes: &[u8],
    wait: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_some(socket, bytes)? {
            0 => wait()?,
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

/// Shuts directions of a socket down. It is fine if they are already.
pub(crate) fn shutdown(socket: &UnixStream, how: Shutdown) {
    let _ = socket.shutdown(how);
}

/// Closes both sockets of a connection when a panic goes by, so that the thread of the other
/// direction ends too instead of being waited for.
pub(crate) struct CloseOnPanic<'s>(pub(crate) &'s UnixStream, pub(crate) &'s UnixStream);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            shutdown(self.0, Shutdown::Both);
            shutdown(self.1, Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    fn pair() -> (UnixStream, Arc<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (theirs, Arc::new(ours))
    }

    #[test]
    fn a_read_keeps_what_is_not_used_and_grows_for_it() {
        let (mut peer, socket) = pair();
        let mut input = Input::new(socket);
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| i as u8).collect();
        peer.write_all(&bytes).unwrap();
        drop(peer);
        while input.fill().unwrap() > 0 {}
        assert_eq!(input.buffered(), bytes);
        input.consume(19_999);
        assert_eq!(input.buffered(), &bytes[19_999..]);
        input.consume(1);
        input.shrink();
        assert_eq!(input.buf.len(), SMALL_BUFFER_BYTES);
    }

    #[test]
    fn a_deadline_ends_a_wait_and_what_does_not_wait() {
        let (mut peer, socket) = pair();
        let mut input = Input::new(socket);
        for _ in 0..2 {
            let err = input
                .fill_within(Patience::until(Instant::now()))
                .unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::TimedOut);
            peer.write_all(b"more and more").unwrap();
        }
    }

    /// A time that does not come while a test runs.
    fn never() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn a_wait_for_a_peer_ends_when_the_peer_is_gone() {
        let (_daemon, daemon_socket) = pair();
        let (client, socket) = pair();
        drop(client);
        let for_client = Patience {
            peer: Some(&socket),
            deadline: Some(never()),
        };
        let broken = |result: io::Result<()>| result.unwrap_err().kind();
        let mut input = Input::new(Arc::clone(&daemon_socket));
        let read = input.fill_within(for_client).map(drop);
        assert_eq!(broken(read), io::ErrorKind::BrokenPipe);
        let many = vec![0; 16 * 1024 * 1024];
        let written = write_within(&daemon_socket, &many, for_client);
        assert_eq!(broken(written), io::ErrorKind::BrokenPipe);
        let written = write_within(&daemon_socket, &many, Patience::until(Instant::now()));
        assert_eq!(broken(written), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_full_queue_is_waited_for_no_longer_than_the_peer_does() {
        let dir = std::env::temp_dir().join(format!("dlp-queue.{}", std::process::id()));
        let listener = UnixListener::bind(&dir).unwrap();
        // As full as it can be with one that waits.
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let (client, socket) = pair();
        let connect = |deadline| connect(&dir, Some(&socket), deadline);
        let first = connect(never()).unwrap();
        let err = connect(Instant::now()).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        drop(client);
        let err = connect(never()).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
        // Nothing of these tries is left: there is one connection, and it waits for its reader.
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"x").unwrap();
        assert_eq!(Input::new(Arc::new(first)).fill().unwrap(), 1);
        connect(Instant::now()).unwrap();
        std::fs::remove_file(&dir).unwrap();
    }

    #[test]
    fn a_panic_closes_both_sockets() {
        let ((mut one, ours), (mut two, theirs)) = (pair(), pair());
        let thread = thread::spawn(move || {
            let _guard = CloseOnPanic(&ours, &theirs);
            // Others hold the sockets still.
            std::mem::forget((Arc::clone(&ours), Arc::clone(&theirs)));
            panic!("as a bug would");
        });
        assert!(thread.join().is_err());
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        assert_eq!(two.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn the_ends_of_a_peer_are_told_apart() {
        let (mut client, socket) = pair();
        assert!(!is_stale(&socket));
        client.write_all(b"x").unwrap();
        assert!(!has_ended(&socket));
        assert!(is_stale(&socket));
        (&*socket).read_exact(&mut [0]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(has_ended(&socket));
        assert!(!is_closed(&socket));
        drop(client);
        assert!(is_closed(&socket));
        assert!(is_stale(&socket));
        wait_until_closed(&socket);
    }

    #[test]
    fn a_write_waits_for_a_slow_reader() {
        let (mut daemon, daemon_socket) = pair();
        let (_client, socket) = pair();
        let bytes = vec![7; 4 * 1024 * 1024];
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            daemon.read_to_end(&mut all).unwrap();
            all
        });
        deliver(&daemon_socket, &bytes, &socket).unwrap();
        shutdown(&daemon_socket, Shutdown::Write);
        assert!(reader.join().unwrap() == bytes);
    }
}
