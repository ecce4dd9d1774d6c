//! Watching the client while its daemon is waited for, so that the daemon learns at once when its
//! client half-closes or goes.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::proxy::poll::{self, Interest};
use crate::proxy::socket::{self, Input};

/// Watches the client while the daemon is waited for.
pub(crate) struct ClientWatch<'a> {
    pub(crate) client: &'a UnixStream,
    /// Whether another thread still reads the request from the client, and so watches it.
    pub(crate) uploading: &'a AtomicBool,
    /// What the client may still do that the daemon must know of: [`Interest::READ`] stands for
    /// its half-close.
    pub(crate) interest: Interest,
}

impl ClientWatch<'_> {
    /// Reads from the daemon; meanwhile a client that half-closes or goes is made known to it. What
    /// the daemon has sent comes first.
    pub(crate) fn fill(&mut self, daemon: &mut Input) -> io::Result<usize> {
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
    use std::io::Write;
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
