//! HTTP/2 between a client and the daemon: frames pass, and the messages of some calls are edited
//! on the way. Which calls, and how, the implementor of [`grpc::Calls`] says. Knows no sockets.
//!
//! ```text
//!  client ──► from_client ──► streams opened or refused, messages edited ──► daemon
//!         ◄── from_daemon ◄── everything passes, but windows are kept right ◄──
//! ```
//!
//! It is one connection on both sides: settings, pings and the rest are between the two ends.
//! Streams keep their numbers; those that are refused are never opened towards the daemon.
//!
//! Read `connection` first, then `from_client` and `messages`; `flow` explains the windows.

mod connection;
mod error;
mod flow;
pub(crate) mod frame;
mod from_client;
mod from_daemon;
pub(crate) mod grpc;
mod hpack;
mod messages;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Start};
pub(crate) use error::ConnectionError;

/// Whether a connection begins with HTTP/2. `head` is everything up to the first empty line.
pub(crate) fn begins_with(head: &[u8]) -> bool {
    !head.is_empty() && frame::PREFACE.starts_with(head)
}
