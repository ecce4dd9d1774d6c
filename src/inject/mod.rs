//! The label injector: which requests create something, and how the labels get into them. Pure
//! functions from the client's request to the labelled one. Reading and sending requests is left
//! to `proxy`, so recipes are tested without sockets.
//!
//! Read `routes` first, then `recipe`, then the recipe of your choice.

pub(crate) mod buildkit;
pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod libpod;
mod mounts;
pub(crate) mod network;
pub(crate) mod object;
mod overlay;
pub(crate) mod recipe;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod socket_mounts;
pub(crate) mod swarm;
#[cfg(test)]
pub(crate) mod test;
pub(crate) mod volume;
mod volume_store;
