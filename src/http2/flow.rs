//! Flow control between a client that sends, a daemon that receives, and a proxy between them that
//! changes the number of bytes (RFC 9113 section 6.9).
//!
//! While data pass as they come, the client's window and the daemon's are the same, and the
//! daemon's `WINDOW_UPDATE`s pass too. When the proxy gathers data to edit them, it gives the
//! client its window back at once. What it sends instead takes from the daemon's window alone. The
//! daemon later returns this credit, but it is not the client's. It is the **debt**: as much of
//! the daemon's updates is kept from the client. At any time `client + queued == daemon + debt`,
//! where queued is what passes but waits for the daemon.

use super::error::{Code, ConnectionError};
use super::frame::MAX_WINDOW;

/// The windows of a connection, or of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// How much more the client may send.
    client: i64,
    /// How much more the daemon takes.
    daemon: i64,
    /// What the daemon will return for bytes that were not the client's.
    debt: i64,
}

impl Flow {
    pub(crate) fn new(client: i64, daemon: i64) -> Flow {
        Flow {
            client,
            daemon,
            debt: 0,
        }
    }

    /// How many bytes the daemon takes now.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.daemon).unwrap_or(0)
    }

    /// Counts data that arrived from the client.
    ///
    /// # Errors
    /// When they exceed its window.
    pub(crate) fn received(&mut self, n: usize) -> Result<(), ConnectionError> {
        self.client -= n as i64;
        if n > 0 && self.client < 0 {
            let what = "the data exceed the window";
            return Err(ConnectionError::new(Code::FlowControl, what));
        }
        Ok(())
    }

    /// Counts data of the client that went to the daemon, which will return the window.
    pub(crate) fn passed(&mut self, n: usize) {
        self.daemon -= n as i64;
    }

    /// Counts data of the proxy's own that went to the daemon.
    pub(crate) fn sent(&mut self, n: usize) {
        self.daemon -= n as i64;
        self.debt += n as i64;
    }

    /// Counts what the proxy gives back to the client.
    pub(crate) fn credited(&mut self, n: usize) {
        self.client += n as i64;
    }

    /// Counts what the daemon has raised its window by. Returns the client's part of it.
    ///
    /// # Errors
    /// When the window becomes larger than a window may be.
    pub(crate) fn granted(&mut self, increment: u32) -> Result<u32, ConnectionError> {
        self.daemon += i64::from(increment);
        if self.daemon > MAX_WINDOW {
            return Err(too_large());
        }
        let kept = self.debt.min(i64::from(increment));
        self.debt -= kept;
        let rest = i64::from(increment) - kept;
        self.client += rest;
        Ok(rest as u32)
    }

    /// Applies changes of the initial window, on either side.
    ///
    /// # Errors
    /// When the window becomes larger than a window may be.
    pub(crate) fn resize(&mut self, client: i64, daemon: i64) -> Result<(), ConnectionError> {
        self.client += client;
        self.daemon += daemon;
        if self.daemon > MAX_WINDOW {
            return Err(too_large());
        }
        Ok(())
    }
}

fn too_large() -> ConnectionError {
    ConnectionError::new(Code::FlowControl, "a window is larger than 2^31-1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_gives_back_data_that_pass() {
        let mut flow = Flow::new(100, 100);
        flow.received(100).unwrap();
        flow.passed(100);
        assert_eq!(flow.room(), 0);
        assert_eq!(flow.granted(70), Ok(70));
        assert_eq!(flow, Flow::new(70, 70));
    }

    #[test]
    fn the_proxy_gives_back_data_that_are_edited() {
        let mut flow = Flow::new(100, 100);
        flow.received(60).unwrap();
        flow.credited(60);
        flow.sent(90);
        assert_eq!(flow.room(), 10);
        assert_eq!(flow.granted(50), Ok(0));
        assert_eq!(flow.granted(50), Ok(10));
        assert_eq!(flow, Flow::new(110, 110));
    }

    #[test]
    fn windows_are_neither_overrun_nor_too_large() {
        let code = |result: Result<_, ConnectionError>| result.map_err(|error| error.code);
        let mut flow = Flow::new(10, 10);
        assert_eq!(code(flow.received(10)), Ok(()));
        assert_eq!(code(flow.received(0)), Ok(()));
        assert_eq!(code(flow.received(1)), Err(Code::FlowControl));
        let mut flow = Flow::new(MAX_WINDOW - 5, MAX_WINDOW - 5);
        assert_eq!(flow.granted(5), Ok(5));
        assert_eq!(flow.granted(1).unwrap_err().code, Code::FlowControl);
        let mut flow = Flow::new(0, 1);
        assert_eq!(
            code(flow.resize(MAX_WINDOW, MAX_WINDOW)),
            Err(Code::FlowControl)
        );
    }

    #[test]
    fn a_window_may_be_below_nothing() {
        let mut flow = Flow::new(100, 100);
        flow.received(80).unwrap();
        flow.passed(80);
        flow.resize(-50, -50).unwrap();
        assert_eq!(flow.room(), 0);
        // An empty frame, to end the stream, may still come.
        flow.received(0).unwrap();
        assert_eq!(flow.granted(40), Ok(40));
        assert_eq!(flow.room(), 10);
    }
}
