//! What is known of the two peers: what they may send, and what of their settings matters here.

use super::error::{Code, ConnectionError};
use super::frame::{Frame, MIN_MAX_PAYLOAD, flag, kind};
use super::hpack::Blocks;

/// The window that streams have until a setting says otherwise (RFC 9113 section 6.9.2).
pub(super) const DEFAULT_WINDOW: i64 = 65_535;

/// The largest header block of a client, and what it may decode to. Those of BuildKit's clients
/// have a few hundred bytes; the decoder takes its time for each Huffman-coded string.
const CLIENT_BLOCK_BYTES: usize = 16 * 1024;
const CLIENT_FIELDS_BYTES: usize = 256 * 1024;

/// The same for the daemon: errors of a build hold the Dockerfile and come as a trailer. It is as
/// much as gRPC's Go client takes.
const DAEMON_BLOCK_BYTES: usize = 16 * 1024 * 1024;

/// What comes from one peer.
pub(super) struct Peer {
    pub(super) blocks: Blocks,
    /// Whether its first frame, its settings, has come.
    pub(super) has_begun: bool,
    /// The largest payload that it may send.
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

    /// Sees to it that the first frame is a `SETTINGS` frame (RFC 9113 section 3.4).
    pub(super) fn begin(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.has_begun |= frame.kind == kind::SETTINGS && !frame.has(flag::ACK);
        match self.has_begun {
            true => Ok(()),
            false => Err(ConnectionError::protocol("the first frame is no SETTINGS")),
        }
    }
}

/// The window that streams have at first, as the daemon sets it, and as the client knows it.
#[derive(Debug)]
pub(super) struct InitialWindow {
    pub(super) daemon: i64,
    /// What the client has acknowledged, and behind it what it has not: it may still keep to the
    /// one, and already to the other.
    known: Vec<i64>,
}

/// More settings than this are not left unacknowledged by a client that is alive.
const MAX_UNACKNOWLEDGED: usize = 100;

impl InitialWindow {
    pub(super) fn new() -> InitialWindow {
        InitialWindow {
            daemon: DEFAULT_WINDOW,
            known: vec![DEFAULT_WINDOW],
        }
    }

    /// The most that the client may go by.
    pub(super) fn client(&self) -> i64 {
        self.known.iter().copied().max().unwrap_or(DEFAULT_WINDOW)
    }

    /// The daemon's settings are on their way to the client.
    pub(super) fn announced(&mut self) -> Result<(), ConnectionError> {
        self.known.push(self.daemon);
        match self.known.len() > MAX_UNACKNOWLEDGED {
            true => Err(ConnectionError::new(
                Code::EnhanceYourCalm,
                "the client does not acknowledge settings",
            )),
            false => Ok(()),
        }
    }

    /// The client has acknowledged the oldest of them.
    pub(super) fn acknowledged(&mut self) {
        if self.known.len() > 1 {
            self.known.remove(0);
        }
    }
}
