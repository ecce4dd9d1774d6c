//! Waiting for sockets: until one can be read or written, until the other side is gone, or until
//! time is over. Reads and writes nothing.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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
    pub(crate) const NONE: Interest = Interest {
        read: false,
        write: false,
        gone: false,
    };
    pub(crate) const READ: Interest = Interest {
        read: true,
        ..Interest::NONE
    };
    pub(crate) const WRITE: Interest = Interest {
        write: true,
        ..Interest::NONE
    };
    pub(crate) const GONE: Interest = Interest {
        gone: true,
        ..Interest::NONE
    };

    /// Whether anything is looked for, or has happened.
    pub(crate) fn is_any(self) -> bool {
        self != Interest::NONE
    }

    fn flags(self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.read);
        flags.set(PollFlags::POLLOUT, self.write);
        flags
    }

    /// What of this has happened. Where the other side is gone, a read or a write is of use too:
    /// it tells why.
    fn of(self, fd: &PollFd<'_>) -> Interest {
        // `None` stands for flags that nix does not know: something has happened.
        let happened = |flags| fd.revents().is_none_or(|events| events.intersects(flags));
        let gone = happened(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
        Interest {
            read: self.read && (gone || happened(PollFlags::POLLIN)),
            write: self.write && (gone || happened(PollFlags::POLLOUT)),
            gone,
        }
    }
}

/// How long something is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Patience<'p> {
    /// The socket of the one for whom it is waited: the wait ends when its other side is gone.
    pub(crate) peer: Option<&'p UnixStream>,
    /// When the wait ends.
    pub(crate) deadline: Option<Instant>,
}

impl Patience<'_> {
    /// Waits until `deadline`, for nobody in particular.
    pub(crate) fn until(deadline: Instant) -> Patience<'static> {
        Patience {
            peer: None,
            deadline: Some(deadline),
        }
    }
}

/// Waits until something that is looked for happens on one of the sockets, or the time is over.
/// Returns what has happened on each: nothing on any when the time is over, or at once when nothing
/// is looked for.
pub(crate) fn wait<const N: usize>(
    sockets: [(&UnixStream, Interest); N],
    timeout: Option<Duration>,
) -> io::Result<[Interest; N]> {
    // A socket that is gone would end each wait at once if it were looked at for nothing.
    let looked_at = || sockets.iter().filter(|(_, interest)| interest.is_any());
    let Some(&last) = looked_at().next_back() else {
        return Ok([Interest::NONE; N]);
    };
    let (n, mut next) = (looked_at().count(), looked_at());
    let mut fds = sockets.map(|_| {
        let &(socket, interest) = next.next().unwrap_or(&last);
        PollFd::new(socket.as_fd(), interest.flags())
    });
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
    };
    uninterrupted(|| poll(&mut fds[..n], timeout))?;
    let mut fds = fds.iter();
    Ok(sockets.map(|(_, interest)| {
        if interest.is_any() {
            fds.next().map(|fd| interest.of(fd)).unwrap_or_default()
        } else {
            Interest::NONE
        }
    }))
}

/// What has happened on one socket so far.
pub(crate) fn now(socket: &UnixStream, interest: Interest) -> io::Result<Interest> {
    wait([(socket, interest)], Some(Duration::ZERO)).map(|[event]| event)
}

/// Waits until something that is looked for happens on `socket`, no longer than `patience` says.
///
/// # Errors
/// `TimedOut` when the deadline has passed, also where there is something already: one that always
/// has something to read must not get past the deadline by that. `BrokenPipe` when the peer is gone
/// before.
pub(crate) fn wait_for(
    socket: &UnixStream,
    interest: Interest,
    patience: Patience<'_>,
) -> io::Result<()> {
    let left = patience
        .deadline
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let peer_interest = match patience.peer {
        Some(_) => Interest::GONE,
        None => Interest::NONE,
    };
    let peer = patience.peer.unwrap_or(socket);
    let [event, of_peer] = wait([(socket, interest), (peer, peer_interest)], left)?;
    if event.is_any() {
        Ok(())
    } else if of_peer.is_any() {
        Err(io::ErrorKind::BrokenPipe.into())
    } else {
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Makes a system call again while signals interrupt it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => (),
            result => return result.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn the_events_of_two_sockets_are_told_apart() {
        let ((mut daemon, daemon_socket), (client, socket)) = (pair(), pair());
        let look = |of_daemon, of_client| {
            let sockets = [(&daemon_socket, of_daemon), (&socket, of_client)];
            wait(sockets, Some(Duration::ZERO)).unwrap()
        };
        let nothing = [Interest::NONE; 2];
        assert_eq!(look(Interest::READ, Interest::READ), nothing);
        assert_eq!(
            look(Interest::READ, Interest::WRITE),
            [Interest::NONE, Interest::WRITE]
        );
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            look(Interest::READ, Interest::READ),
            [Interest::NONE, Interest::READ],
            "an end can be read"
        );
        assert_eq!(look(Interest::READ, Interest::GONE), nothing);
        drop(client);
        assert_eq!(
            look(Interest::READ, Interest::GONE),
            [Interest::NONE, Interest::GONE]
        );
        assert_eq!(
            look(Interest::READ, Interest::NONE),
            nothing,
            "one that is gone is not looked at"
        );
        daemon.write_all(b"x").unwrap();
        let gone_and_readable = Interest {
            gone: true,
            ..Interest::READ
        };
        assert_eq!(
            look(Interest::READ, Interest::READ),
            [Interest::READ, gone_and_readable]
        );
    }

    #[test]
    fn a_wait_for_nothing_does_not_wait() {
        let (_daemon, socket) = pair();
        assert_eq!(
            wait([(&socket, Interest::NONE)], None).unwrap(),
            [Interest::NONE]
        );
    }

    #[test]
    fn a_socket_comes_before_the_end_of_its_peer_and_the_deadline_before_both() {
        let ((mut daemon, daemon_socket), (client, socket)) = (pair(), pair());
        drop(client);
        let patience = |deadline| Patience {
            peer: Some(&socket),
            deadline,
        };
        let kind = |result: io::Result<()>| result.map_err(|err| err.kind());
        let wait = |deadline| kind(wait_for(&daemon_socket, Interest::READ, patience(deadline)));
        assert_eq!(wait(None), Err(io::ErrorKind::BrokenPipe));
        daemon.write_all(b"x").unwrap();
        assert_eq!(wait(None), Ok(()));
        assert_eq!(wait(Some(Instant::now())), Err(io::ErrorKind::TimedOut));
    }
}
