//! Images of the daemon's own API: built, committed, imported, named and pushed. Those of BuildKit's gRPC calls
//! are in `inject::buildkit`.

pub(crate) mod build;
pub(crate) mod commit;
pub(crate) mod dockerfile_changes;
pub(crate) mod import;
pub(crate) mod podman_build;
pub(crate) mod push;
pub(crate) mod tag;
