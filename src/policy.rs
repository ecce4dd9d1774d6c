//! What the operator wants of every create, as plain data.

use std::path::PathBuf;

use crate::labels::Labels;

/// What the operator wants of every create.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) labels: Labels,
    /// Whether what cannot be labelled is refused.
    pub(crate) is_strict: bool,
    /// The cgroup that containers are put under.
    pub(crate) cgroup_parent: Option<String>,
    /// The sockets, where bind mounts of the daemon's are to be replaced by the proxy's.
    pub(crate) socket_mounts: Option<Sockets>,
}

/// The paths of the two sockets, both absolute.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) daemon: PathBuf,
    pub(crate) proxy: PathBuf,
}
