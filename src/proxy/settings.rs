//! What all connections share.

use std::path::PathBuf;
use std::time::Duration;

use crate::inject::image_memory::ImageMemory;
use crate::limits::{HEAD_LIMIT, LINGER_LIMIT, REPLY_LIMIT, REWRITTEN_BODY_LIMIT, TURN_AWAY_LIMIT};
use crate::policy::Policy;
use crate::proxy::name_locks::NameLocks;

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

/// How long a client may hold a thread that waits for nobody else.
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
