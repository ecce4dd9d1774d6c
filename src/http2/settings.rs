//! What the two peers may send, and those of their settings that matter to the proxy.

use crate::limits::{
    CLIENT_BLOCK_BYTES, CLIENT_FIELDS_BYTES, DAEMON_BLOCK_BYTES, MAX_UNACKNOWLEDGED,
};

use super::error::{Code, ConnectionError};
use super::frame::{Frame, MIN_MAX_PAYLOAD, flag, kind};
use super::hpack::Blocks;

/// The window that streams have until a setting says otherwise (RFC 9113 section 6.9.2).
pub(super) const DEFAULT_WINDOW: i64 = 65_535;

/// What one peer may send.
pub(super) struct Peer {
    pub(super) blocks: Blocks,
    /// Whether its first frame, its settings, has arrived.
    pub(super) has_begun: bool,
    /// The largest payload that it may send, in bytes.
    pub(super) max_payload: usize,
}

impl Peer {
    pub(super) fn client() -> Peer {
        Peer::new(Blocks::new(CLIENT_BLOCK_BYTES, CLIENT_FIELDS_BYTES))
    }

    pub(super) fn daemon() -> Peer {
        Peer::new(Blocks::new(DAEMON_BLOCK_BYTES, DAEMON_BLOCK_BYTES))
    }

    fn new(blocks: Blocks) -> Peer {
        Peer {
            blocks,
            has_begun: false,
            max_payload: MIN_MAX_PAYLOAD,
        }
    }

    /// Checks that the first frame is a `SETTINGS` frame (RFC 9113 section 3.4).
    pub(super) fn begin(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.has_begun |= frame.kind == kind::SETTINGS && !frame.has(flag::ACK);
        if !self.has_begun {
            let what = "the first frame is not SETTINGS";
            return Err(ConnectionError::protocol(what));
        }
        Ok(())
    }
}

/// The window of a new stream, as the daemon sets it and as the client knows it.
#[derive(Debug)]
pub(super) struct InitialWindow {
    pub(super) daemon: i64,
    /// The value that the client has acknowledged, followed by those that it has not. It may still
    /// keep to the first, or already to one of the others.
    known: Vec<i64>,
}

impl InitialWindow {
    pub(super) fn new() -> InitialWindow {
        InitialWindow {
            daemon: DEFAULT_WINDOW,
            known: vec![DEFAULT_WINDOW],
        }
    }

    /// The largest value that the client may go by.
    pub(super) fn client(&self) -> i64 {
        self.known.iter().copied().max().unwrap_or(DEFAULT_WINDOW)
    }

    /// Takes note that the daemon's settings are on their way to the client.
    ///
    /// # Errors
    /// When the client has left too many unacknowledged.
    pub(super) fn announced(&mut self) -> Result<(), ConnectionError> {
        self.known.push(self.daemon);
        if self.known.len() > MAX_UNACKNOWLEDGED {
            let what = "the client does not acknowledge settings";
            return Err(ConnectionError::new(Code::EnhanceYourCalm, what));
        }
        Ok(())
    }

    /// Takes note that the client has acknowledged the oldest of them.
    pub(super) fn acknowledged(&mut self) {
        if self.known.len() > 1 {
            self.known.remove(0);
        }
    }
}
