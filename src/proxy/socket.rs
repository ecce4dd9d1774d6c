//! Bytes in and out of the two sockets of a connection: connecting, buffered reading, waiting for
//! one socket while the other is watched, and writing that notices when nobody waits for the bytes
//! any more. Knows no HTTP.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect as try_connect, recv, send,
    socket as new_socket,
};

/// The buffer of a connection at rest, in bytes: thousands of them are idle on a busy host.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;

/// The buffer of a connection that streams, in bytes. More makes nothing faster: a UNIX socket
/// holds about three of these.
const LARGE_BUFFER_BYTES: usize = 64 * 1024;

/// How long bytes of a client that is gone wait for a daemon that takes none of them.
const UNDELIVERED_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait before the next try to connect to a daemon whose queue is full.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

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
            Err(Errno::EAGAIN) => match peer {
                Some(peer) => {
                    let mut fds = [PollFd::new(peer.as_fd(), PollFlags::empty())];
                    if wait(&mut fds, Some(CONNECT_PAUSE))? > 0 {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                None => thread::sleep(CONNECT_PAUSE),
            },
            Err(err) => return Err(err.into()),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
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

    /// Like [`fill`](Self::fill), but not after `deadline`, however much there is to read.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed.
    pub(crate) fn fill_until(&mut self, deadline: Instant) -> io::Result<usize> {
        self.fill_for(None, deadline)
    }

    /// Like [`fill_until`](Self::fill_until), but gives up when the other side of `peer`, for
    /// whom it is, is gone.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed, `BrokenPipe` when the peer is gone before there
    /// are bytes.
    pub(crate) fn fill_for(
        &mut self,
        peer: Option<&UnixStream>,
        deadline: Instant,
    ) -> io::Result<usize> {
        wait_until(&self.socket, PollFlags::POLLIN, peer, deadline)?;
        self.fill()
    }

    /// Like [`fill`](Self::fill), but gives up when the other side of `peer` is gone.
    ///
    /// # Errors
    /// `BrokenPipe` when it is gone before there are bytes.
    pub(crate) fn fill_unless_gone(&mut self, peer: &UnixStream) -> io::Result<usize> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(peer.as_fd(), PollFlags::empty()),
        ];
        wait(&mut fds, None)?;
        match happened(&fds[0]) {
            true => self.fill(),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// What a watched socket has to tell while another one is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The socket that is waited for can be read.
    Ready,
    /// The peer has sent more, and it waits in the socket.
    MoreBytes,
    /// The peer will send no more, but still reads.
    HalfClosed,
    /// The peer has closed, or is no more.
    Gone,
}

/// What to look for on a watched socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Anything.
    All,
    /// Only that it is gone.
    Gone,
    /// Nothing.
    Off,
}

/// Waits until `socket` can be read or there is a sign of `watched`; readable comes first.
pub(crate) fn readable_or_sign(
    socket: &UnixStream,
    watched: &UnixStream,
    watch: Watch,
) -> io::Result<Sign> {
    let flags = match watch {
        Watch::All => PollFlags::POLLIN,
        Watch::Gone | Watch::Off => PollFlags::empty(),
    };
    let mut fds = [
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        PollFd::new(watched.as_fd(), flags),
    ];
    let watched_fds = if watch == Watch::Off { 1 } else { 2 };
    wait(&mut fds[..watched_fds], None)?;
    if happened(&fds[0]) {
        return Ok(Sign::Ready);
    }
    if is_gone(&fds[1]) {
        return Ok(Sign::Gone);
    }
    let peeked = recv(
        watched.as_raw_fd(),
        &mut [0],
        MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT,
    );
    Ok(if peeked == Ok(0) {
        Sign::HalfClosed
    } else {
        Sign::MoreBytes
    })
}

/// Whether the other side of the socket has closed both directions, or sent what nobody asked
/// for: an idle connection to the daemon that says so is of no use any more.
pub(crate) fn is_stale(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    wait(&mut fds, Some(Duration::ZERO)).is_err() || happened(&fds[0])
}

/// Whether the other side has closed both directions.
pub(crate) fn is_closed(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    wait(&mut fds, Some(Duration::ZERO)).is_err() || happened(&fds[0])
}

/// Waits until the other side has closed both directions, or this side has.
pub(crate) fn wait_until_closed(socket: &UnixStream) -> io::Result<()> {
    wait(&mut [PollFd::new(socket.as_fd(), PollFlags::empty())], None).map(|_| ())
}

/// Writes all bytes to `socket`, waiting while it takes none.
///
/// # Errors
/// `BrokenPipe` when the other side is gone, or when `source`, where the bytes came from, is
/// gone and nothing has been taken for [`UNDELIVERED_LIMIT`].
pub(crate) fn write_all(
    socket: &UnixStream,
    mut bytes: &[u8],
    source: &UnixStream,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match uninterrupted(|| send(socket.as_raw_fd(), bytes, flags)) {
            Ok(n) => bytes = &bytes[n..],
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => wait_to_write(socket, source)?,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Writes all bytes to `socket` on behalf of `peer`.
///
/// # Errors
/// `TimedOut` when the deadline has passed, `BrokenPipe` when an end is gone.
pub(crate) fn write_all_for(
    socket: &UnixStream,
    mut bytes: &[u8],
    peer: Option<&UnixStream>,
    deadline: Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_some(socket, bytes)? {
            0 => wait_until(socket, PollFlags::POLLOUT, peer, deadline)?,
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
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

/// What is looked for on a socket, or has happened on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// That it can be read, up to its end.
    pub(crate) read: bool,
    /// That it can be written.
    pub(crate) write: bool,
    /// That the other side has closed both directions.
    pub(crate) gone: bool,
}

impl Interest {
    fn flags(self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.read);
        flags.set(PollFlags::POLLOUT, self.write);
        flags
    }

    fn is_any(self) -> bool {
        self.read || self.write || self.gone
    }

    fn of(self, fd: &PollFd<'_>) -> Interest {
        let is = |flags| {
            fd.revents()
                .is_none_or(|happened| happened.intersects(flags))
        };
        let gone = is_gone(fd);
        Interest {
            read: self.read && (gone || is(PollFlags::POLLIN)),
            write: self.write && is(PollFlags::POLLOUT),
            gone,
        }
    }
}

/// Waits until something that is looked for happens on one of two sockets, and tells what; `None`
/// when the time is over, or nothing is looked for.
pub(crate) fn wait_for_either(
    (one, of_one): (&UnixStream, Interest),
    (two, of_two): (&UnixStream, Interest),
    timeout: Option<Duration>,
) -> io::Result<Option<(Interest, Interest)>> {
    // A socket that is gone would end each wait at once if it were looked at for nothing.
    let all = [(one, of_one), (two, of_two)];
    let watched = all.iter().filter(|(_, wish)| wish.is_any());
    let mut fds: Vec<PollFd<'_>> = watched
        .map(|(socket, wish)| PollFd::new(socket.as_fd(), wish.flags()))
        .collect();
    if fds.is_empty() || wait(&mut fds, timeout)? == 0 {
        return Ok(None);
    }
    let mut fds = fds.iter();
    let mut result = |wish: Interest| match wish.is_any() {
        true => fds.next().map(|fd| wish.of(fd)).unwrap_or_default(),
        false => Interest::default(),
    };
    Ok(Some((result(of_one), result(of_two))))
}

/// Waits until one of `flags` happens on `socket`.
///
/// # Errors
/// `TimedOut` when the deadline has passed, `BrokenPipe` when the other side of `peer` is gone
/// before.
fn wait_until(
    socket: &UnixStream,
    flags: PollFlags,
    peer: Option<&UnixStream>,
    deadline: Instant,
) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [
        PollFd::new(socket.as_fd(), flags),
        PollFd::new(peer.unwrap_or(socket).as_fd(), PollFlags::empty()),
    ];
    let n = if peer.is_some() { 2 } else { 1 };
    // One that always has something to read must not get past the deadline by that.
    if left.is_zero() || wait(&mut fds[..n], Some(left))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match happened(&fds[0]) {
        true => Ok(()),
        false => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn wait_to_write(socket: &UnixStream, source: &UnixStream) -> io::Result<()> {
    let mut fds = [
        PollFd::new(socket.as_fd(), PollFlags::POLLOUT),
        PollFd::new(source.as_fd(), PollFlags::empty()),
    ];
    wait(&mut fds, None)?;
    if !happened(&fds[0]) && wait(&mut fds[..1], Some(UNDELIVERED_LIMIT))? == 0 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Closes directions of a socket; one that is closed already is as well.
pub(crate) fn shutdown(socket: &UnixStream, how: Shutdown) {
    let _ = socket.shutdown(how);
}

fn happened(fd: &PollFd<'_>) -> bool {
    // `None` stands for flags that nix does not know: something happened.
    fd.revents().is_none_or(|flags| !flags.is_empty())
}

fn is_gone(fd: &PollFd<'_>) -> bool {
    fd.revents()
        .is_none_or(|flags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// Polls until something happens or the time is over; how many sockets have something to tell.
fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<i32> {
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
    };
    uninterrupted(|| poll(fds, timeout))
}

fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => (),
            result => return result.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

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
            let err = input.fill_until(Instant::now()).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::TimedOut);
            peer.write_all(b"more and more").unwrap();
        }
    }

    /// A time that does not come while a test runs.
    fn never() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn what_is_done_for_a_peer_ends_when_the_peer_is_gone() {
        let (_daemon, daemon_socket) = pair();
        let (client, socket) = pair();
        drop(client);
        let broken = |result: io::Result<()>| result.unwrap_err().kind();
        let mut input = Input::new(Arc::clone(&daemon_socket));
        let read = input.fill_for(Some(&socket), never()).map(drop);
        assert_eq!(broken(read), io::ErrorKind::BrokenPipe);
        let many = vec![0; 16 * 1024 * 1024];
        let written = write_all_for(&daemon_socket, &many, Some(&socket), never());
        assert_eq!(broken(written), io::ErrorKind::BrokenPipe);
        let written = write_all_for(&daemon_socket, &many, None, Instant::now());
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
    fn the_signs_of_a_peer_are_told_apart() {
        let (_daemon, daemon_socket) = pair();
        let (mut client, socket) = pair();
        let sign = |watch| readable_or_sign(&daemon_socket, &socket, watch).unwrap();
        client.write_all(b"x").unwrap();
        assert_eq!(sign(Watch::All), Sign::MoreBytes);
        (&*socket).read_exact(&mut [0]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(sign(Watch::All), Sign::HalfClosed);
        assert!(!is_closed(&socket));
        drop(client);
        assert_eq!(sign(Watch::All), Sign::Gone);
        assert_eq!(sign(Watch::Gone), Sign::Gone);
        assert!(is_closed(&socket));
        wait_until_closed(&socket).unwrap();
    }

    #[test]
    fn a_socket_that_can_be_read_comes_before_a_sign() {
        let (mut daemon, daemon_socket) = pair();
        let (client, socket) = pair();
        assert!(!is_stale(&daemon_socket));
        daemon.write_all(b"x").unwrap();
        drop(client);
        assert_eq!(
            readable_or_sign(&daemon_socket, &socket, Watch::All).unwrap(),
            Sign::Ready
        );
        assert!(is_stale(&daemon_socket));
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
        write_all(&daemon_socket, &bytes, &socket).unwrap();
        shutdown(&daemon_socket, Shutdown::Write);
        assert!(reader.join().unwrap() == bytes);
    }
}
