//! HTTP/2 between a client and the daemon: frames pass, and the messages of some calls are edited
//! on the way. Which calls, and how, is left to [`crate::buildkit`].
//!
//! ```text
//!  client ──► relay ──► mediator: upward ──► streams opened or refused, messages edited ──► daemon
//!         ◄──       ◄──           downward ◄── all passes, but windows are kept right   ◄──
//! ```
//!
//! It is one connection on both sides: settings, pings and the rest are between the two ends.
//! The streams keep their numbers; those that are refused are never opened towards the daemon.

mod data;
mod downward;
mod error;
mod fields;
mod flow;
mod frame;
mod mediator;
mod peer;
mod relay;
mod stream;
#[cfg(test)]
mod tests;
mod upward;

use crate::buildkit::{self, Call, Method, Status};
use crate::create::Policy;
use crate::wire::Input;

pub(crate) use mediator::Origin;
use mediator::{Calls, Mediator};
pub(crate) use relay::End;

/// Whether a connection begins with HTTP/2; `head` is all up to the first empty line.
pub(crate) fn begins_with(head: &[u8]) -> bool {
    !head.is_empty() && frame::PREFACE.starts_with(head)
}

/// Mediates until the client or the daemon is done.
pub(crate) fn run(
    number: u64,
    policy: &Policy,
    origin: Origin,
    client: &mut Input,
    daemon: &mut Input,
) -> End {
    relay::run(Mediator::new(number, policy, origin), client, daemon)
}

/// The calls of BuildKit, with the operator's labels.
impl Calls for Policy {
    type Method = Method;

    fn call(&self, path: &str) -> Call {
        buildkit::call(path)
    }

    fn image(&self, method: Method, message: &[u8]) -> Option<String> {
        buildkit::image(method, message)
    }

    fn edit(&self, method: Method, message: &[u8]) -> Result<Vec<u8>, Status> {
        buildkit::edit(method, message, self)
    }
}

/// Plays the bytes to a connection, by turns as the client and as the daemon: a byte says which,
/// and how many follow.
#[cfg(fuzzing)]
pub(crate) fn fuzz(policy: &Policy, mut bytes: &[u8]) {
    let mut mediator = Mediator::new(1, policy, Origin::Upgrade);
    let settings = [0, 0, 0, frame::kind::SETTINGS, 0, 0, 0, 0, 0];
    let mut client = [frame::PREFACE, &settings].concat();
    let mut daemon = settings.to_vec();
    loop {
        let (Ok(taken), Ok(given)) = (
            mediator.take_from_client(&client),
            mediator.take_from_daemon(&daemon),
        ) else {
            return;
        };
        client.drain(..taken);
        daemon.drain(..given);
        mediator.to_client.clear();
        mediator.to_daemon.clear();
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
