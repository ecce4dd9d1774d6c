//! What the operator wants of every create, as plain data.

use std::path::PathBuf;

use crate::labels::Labels;

/// What the operator wants of every create.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) labels: Labels,
    /// The cgroup that containers are put under.
    pub(crate) cgroup_parent: Option<String>,
    /// Where the daemon's socket and the proxy's own are, when bind mounts of the one are to be
    /// replaced by the other.
    pub(crate) redirect: Option<Redirect>,
}

/// The two sockets, as absolute paths.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) daemon: PathBuf,
    pub(crate) proxy: PathBuf,
}
