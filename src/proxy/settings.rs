//! What all connections share.

use std::path::PathBuf;
use std::time::Duration;

use crate::inject::image_memory::ImageMemory;
use crate::policy::Policy;
use crate::proxy::name_locks::NameLocks;

/// How long a client may take for a head, from its first byte on.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take for a body that is to be rewritten.
const REWRITTEN_BODY_LIMIT: Duration = Duration::from_secs(120);

/// How long a refused client may go on sending what nobody reads, so that it sees the answer
/// instead of a broken pipe.
const LINGER_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer of the proxy's own unread.
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// How long a client that is turned away may take for its first byte.
const TURN_AWAY_LIMIT: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The daemon's socket; dialled by its path each time, so that a restarted daemon is found.
    pub(crate) daemon: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) shared: Shared,
    pub(crate) client_times: ClientTimes,
}

/// What creates on all connections know of one another.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The images that are remembered.
    pub(crate) images: ImageMemory,
    /// The volumes that a request holds.
    pub(crate) volumes: NameLocks,
}

/// How long a client may hold a thread where nobody but it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientTimes {
    /// For a head, from its first byte on.
    pub(crate) head: Duration,
    /// For a body that is rewritten.
    pub(crate) rewritten_body: Duration,
    /// To go on sending when it has been refused.
    pub(crate) linger: Duration,
    /// To read an answer of the proxy's own.
    pub(crate) reply: Duration,
    /// For its first byte when it is turned away.
    pub(crate) turn_away: Duration,
}

impl Default for ClientTimes {
    fn default() -> ClientTimes {
        ClientTimes {
            head: HEAD_LIMIT,
            rewritten_body: REWRITTEN_BODY_LIMIT,
            linger: LINGER_LIMIT,
            reply: REPLY_LIMIT,
            turn_away: TURN_AWAY_LIMIT,
        }
    }
}
