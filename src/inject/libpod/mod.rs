//! Creates of Podman's own API, libpod, where it differs from Docker's: containers and pods are a
//! `SpecGenerator` and a `PodSpecGenerator` (podman pkg/specgen), whose volumes carry no labels
//! and so are created before them; the others are labelled in lower case, or in the query.

pub(crate) mod container;
pub(crate) mod objects;
pub(crate) mod pod;
mod spec;
