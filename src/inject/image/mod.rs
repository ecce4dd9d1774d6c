//! Images of the daemon's own API: built, committed and imported. Those of BuildKit's gRPC calls
//! are in `inject::buildkit`.

pub(crate) mod build;
pub(crate) mod commit;
pub(crate) mod dockerfile_changes;
pub(crate) mod import;
pub(crate) mod podman_build;
