//! HTTP/2 between a client and the daemon: frames pass, and the messages of some calls are edited
//! on the way. Which calls, and how, is left to [`crate::inject::buildkit`].
//!
//! ```text
//!  client ──► relay ──► from_client ──► streams opened or refused, messages edited ──► daemon
//!         ◄──       ◄──           downward ◄── all passes, but windows are kept right   ◄──
//! ```
//!
//! It is one connection on both sides: settings, pings and the rest are between the two ends.
//! The streams keep their numbers; those that are refused are never opened towards the daemon.

pub(crate) mod connection;
pub(crate) mod error;
mod flow;
pub(crate) mod frame;
mod from_client;
mod from_daemon;
mod hpack;
mod messages;
mod settings;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
use crate::policy::Policy;

#[cfg(fuzzing)]
use connection::Connection;
pub(crate) use connection::Start;

/// Whether a connection begins with HTTP/2; `head` is all up to the first empty line.
pub(crate) fn begins_with(head: &[u8]) -> bool {
    !head.is_empty() && frame::PREFACE.starts_with(head)
}

/// Plays the bytes to a connection, by turns as the client and as the daemon: a byte says which,
/// and how many follow.
#[cfg(fuzzing)]
pub(crate) fn fuzz(policy: &Policy, mut bytes: &[u8]) {
    let mut connection = Connection::new(1, policy, Start::Upgrade);
    let settings = [0, 0, 0, frame::kind::SETTINGS, 0, 0, 0, 0, 0];
    let mut client = [frame::PREFACE, &settings].concat();
    let mut daemon = settings.to_vec();
    loop {
        let (Ok(taken), Ok(given)) = (
            connection.take_from_client(&client),
            connection.take_from_daemon(&daemon),
        ) else {
            return;
        };
        client.drain(..taken);
        daemon.drain(..given);
        connection.to_client.clear();
        connection.to_daemon.clear();
        let Some((turn, rest)) = bytes.split_first() else {
            return;
        };
        let n = usize::from(turn >> 1).min(rest.len());
        let side = if turn & 1 == 0 {
            &mut client
        } else {
            &mut daemon
        };
        side.extend_from_slice(&rest[..n]);
        bytes = &rest[n..];
    }
}
