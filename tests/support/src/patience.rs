//! Waiting for what must happen, with one limit for all tests.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The longest that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Checks `condition` repeatedly and returns once it holds.
///
/// # Panics
/// If it still does not hold after [`PATIENCE`]. The message contains `what`.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Polls `socket` for `flags`. Returns whether one of them was reported within `timeout`; so are
/// errors, and a hangup of both directions, even if `flags` is empty.
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
