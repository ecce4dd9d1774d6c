//! HTTP/2 and the messages of BuildKit's calls.

use super::policy;
use crate::http2::frame::{PREFACE, kind};
use crate::http2::{Connection, Start};
use crate::inject::buildkit::BuildKitCalls;
use crate::inject::buildkit::calls::{BRIDGE_RETURN, BRIDGE_SOLVE, CONTROL_SOLVE};

/// Bytes of both ends of an HTTP/2 connection, by turns: one byte says whose turn it is, and how
/// many bytes follow. Nothing panics, whatever they are.
pub fn frames(mut bytes: &[u8]) {
    let policy = policy();
    let calls = BuildKitCalls { policy: &policy };
    let mut connection = Connection::new(1, calls, Start::Upgrade);
    let settings = [0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0];
    let mut client = [PREFACE, &settings].concat();
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

/// A gRPC message: nothing panics, and a message that was edited once stays as it is.
pub fn messages(bytes: &[u8]) {
    let Some((first, message)) = bytes.split_first() else {
        return;
    };
    let edited = [&CONTROL_SOLVE, &BRIDGE_SOLVE, &BRIDGE_RETURN];
    let call = edited[usize::from(first % 3)];
    if let Ok(once) = (call.label)(message, &policy()) {
        let twice = (call.label)(&once, &policy());
        assert_eq!(
            twice.as_ref(),
            Ok(&once),
            "an edited message is edited again"
        );
    }
}
