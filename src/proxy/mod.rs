//! The proxy itself: sockets, connections, and the bytes between them.
//!
//! Read `connection` first: it uses `client` and `request` for one end, `daemon` and `subrequest` for
//! the other, and hands bytes to `exchange`, `tunnel` or `http2`. All of them wait in `poll` and read
//! and write through `socket`. `listener` accepts the clients.

pub(crate) mod cgroup;
pub(crate) mod client;
pub(crate) mod client_watch;
pub(crate) mod connection;
mod create;
pub(crate) mod daemon;
pub(crate) mod exchange;
mod held;
pub(crate) mod http2;
pub(crate) mod listener;
pub(crate) mod log_throttle;
mod name_locks;
pub(crate) mod poll;
pub(crate) mod read;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod subrequest;
pub(crate) mod tunnel;
pub(crate) mod upload;
