//! gRPC over HTTP/2: the messages that a call carries, the status that ends it, and [`Calls`], by
//! which others say which calls are edited and how. Knows neither services nor connections.

use std::collections::VecDeque;
use std::fmt;

use crate::limits::MAX_MESSAGE_BYTES;

use super::hpack::Fields;

/// The length of what precedes a message: a byte that says whether it is compressed, and its
/// length in four bytes.
const PREFIX_BYTES: usize = 5;

/// The calls of one connection: which of them are edited, and how. The value that implements this
/// carries what editing depends on, such as who the client is.
pub(crate) trait Calls {
    /// A method whose messages are edited, as the log shows it.
    type Method: Copy + fmt::Display;

    /// What to remember of a message until its call has ended.
    type Notice;

    /// Decides what to do with a call to this `:path`.
    fn decide(&self, path: &str) -> Decision<Self::Method>;

    /// Edits one message of a call, without its prefix.
    ///
    /// # Errors
    /// With the status that ends the call instead.
    fn edit(&self, method: Self::Method, message: &[u8]) -> Result<Edited<Self::Notice>, Status>;

    /// Writes the log line for a call that the daemon has ended. `status` is the gRPC status code,
    /// if the daemon gave a number.
    fn log_line(&self, notice: &Self::Notice, status: Option<u32>) -> String;
}

/// What to do with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision<M> {
    /// Pass it on as it comes.
    Pass,
    /// Edit its messages one by one.
    Edit(M),
    /// Refuse it: the daemon never hears of it.
    Refuse(Status),
}

/// An edited message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edited<N> {
    pub(crate) message: Vec<u8>,
    /// What to log when the call has ended, if anything.
    pub(crate) notice: Option<N>,
}

/// A gRPC status code, as far as the proxy answers with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusCode {
    /// The message is malformed, or means different things to different readers.
    InvalidArgument = 3,
    /// The message, or something in it, is beyond a limit.
    ResourceExhausted = 8,
    /// The message is well-formed, but its kind cannot be edited.
    FailedPrecondition = 9,
    /// The call is unknown, or is written in a way that the proxy does not read.
    Unimplemented = 12,
}

/// Why the proxy ends a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: StatusCode,
    /// What the client is told, without the program's name.
    pub(crate) message: String,
}

impl Status {
    pub(crate) fn new(code: StatusCode, message: impl Into<String>) -> Status {
        Status {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Status {
        Status::new(StatusCode::InvalidArgument, message)
    }

    /// The header fields that end a call with this status: a whole answer, or the trailers alone
    /// if the daemon's answer has begun (`is_answered`).
    pub(super) fn to_fields(&self, is_answered: bool) -> Fields {
        let mut fields = Fields::default();
        if !is_answered {
            fields.push(":status", "200");
            fields.push("content-type", "application/grpc");
        }
        fields.push("grpc-status", (self.code as u32).to_string());
        let message = format!("{}: {}", env!("CARGO_PKG_NAME"), self.message);
        fields.push("grpc-message", percent_encoded(&message));
        fields
    }
}

/// Encodes text as a value of `grpc-message`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        match b {
            b' '..=b'~' if b != b'%' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}

/// The bytes of a call that arrived but are not yet cut into messages.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// How many of the bytes belong to messages that were cut off.
    used: usize,
}

impl Unread {
    /// Appends bytes of the call.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The memory that the bytes take.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no part of a message is left.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.used
    }

    /// Cuts off the next message, without its prefix. Returns `None` while it is incomplete.
    ///
    /// # Errors
    /// When the message is compressed or too long.
    pub(super) fn next_message(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let Some((&[compressed, l0, l1, l2, l3], rest)) =
            self.bytes[self.used..].split_first_chunk::<PREFIX_BYTES>()
        else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if compressed != 0 {
            return Err(Status::new(
                StatusCode::Unimplemented,
                "a compressed message cannot be read; send it uncompressed",
            ));
        }
        if len > MAX_MESSAGE_BYTES {
            return Err(Status::new(
                StatusCode::ResourceExhausted,
                format!(
                    "a message of {len} bytes is too long; send {MAX_MESSAGE_BYTES} bytes at most"
                ),
            ));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let message = rest[..len].to_vec();
        self.used += PREFIX_BYTES + len;
        if self.is_empty() {
            *self = Unread::default();
        }
        Ok(Some(message))
    }
}

/// Appends a message with its prefix.
pub(super) fn put_message(message: &[u8], out: &mut VecDeque<u8>) {
    out.push_back(0);
    out.extend((message.len() as u32).to_be_bytes());
    out.extend(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_out_of_any_pieces() {
        let mut bytes = VecDeque::new();
        put_message(b"one", &mut bytes);
        put_message(b"", &mut bytes);
        put_message(&[7; 300], &mut bytes);
        let bytes: Vec<u8> = bytes.into();
        for size in 1..=bytes.len() {
            let mut unread = Unread::default();
            let mut messages = Vec::new();
            for piece in bytes.chunks(size) {
                unread.push(piece);
                while let Some(message) = unread.next_message().unwrap() {
                    messages.push(message);
                }
            }
            assert!(unread.is_empty());
            assert_eq!(messages, [b"one".to_vec(), vec![], vec![7; 300]], "{size}");
        }
    }

    #[test]
    fn a_prefix_is_enough_to_refuse_a_message() {
        for (prefix, expected) in [
            ([1, 0, 0, 0, 0], Err(StatusCode::Unimplemented)),
            ([2, 0, 0, 0, 0], Err(StatusCode::Unimplemented)),
            ([0, 1, 0, 0, 0], Ok(None)),
            ([0, 1, 0, 0, 1], Err(StatusCode::ResourceExhausted)),
            ([0, 255, 255, 255, 255], Err(StatusCode::ResourceExhausted)),
        ] {
            let mut unread = Unread::default();
            unread.push(&prefix);
            let result = unread.next_message().map_err(|status| status.code);
            assert_eq!(result, expected, "{prefix:?}");
        }
    }
}
