//! The label injector: which requests create something, and how the labels get into them. Reading
//! and sending requests is left to `proxy`, so recipes are tested without sockets.
//!
//! Read `routes` first, then `recipe` and `request`, then the recipe of your choice: a folder or
//! file of the thing that is created. They share `overlay` (the labels as JSON), `engine` (what the
//! daemon is), `mounts`, `volume_store` and `socket_mounts` (what containers bring along).

pub(crate) mod buildkit;
pub(crate) mod check;
pub(crate) mod container;
mod engine;
pub(crate) mod expected;
pub(crate) mod image;
pub(crate) mod image_memory;
pub(crate) mod libpod;
mod mounts;
pub(crate) mod network;
pub(crate) mod object;
mod overlay;
mod platform;
pub(crate) mod recipe;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod service_update;
pub(crate) mod socket_mounts;
pub(crate) mod swarm;
#[cfg(test)]
pub(crate) mod test;
pub(crate) mod volume;
mod volume_store;
