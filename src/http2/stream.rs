//! What is known of one stream, and the messages that are gathered on it.

use std::collections::VecDeque;

use crate::inject::buildkit::Status;

use super::flow::Flow;

/// The largest message that is edited: as much as BuildKit's clients send.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// What stands before a message: whether it is compressed, and its length (gRPC over HTTP/2).
const PREFIX_BYTES: usize = 5;

/// A stream that the daemon knows and that is open at one of its ends at least.
#[derive(Debug)]
pub(crate) struct Stream<M> {
    /// How the messages of the client are edited; without, they pass.
    pub(crate) edit: Option<Edit<M>>,
    pub(crate) flow: Flow,
    /// What is to be sent to the daemon when it has room.
    pub(crate) queue: VecDeque<u8>,
    /// Whether the client has sent its last byte.
    pub(crate) client_ended: bool,
    /// Whether the daemon has been told so.
    pub(crate) told_end: bool,
    /// Whether the head of the daemon's answer has been passed on.
    pub(crate) answered: bool,
    /// Whether the daemon has sent its last byte.
    pub(crate) daemon_ended: bool,
}

impl<M> Stream<M> {
    pub(crate) fn new(edit: Option<Edit<M>>, flow: Flow, client_ended: bool) -> Stream<M> {
        Stream {
            edit,
            flow,
            queue: VecDeque::new(),
            client_ended,
            told_end: client_ended,
            answered: false,
            daemon_ended: false,
        }
    }

    /// Whether nothing more will come of it from either side.
    pub(crate) fn is_over(&self) -> bool {
        self.told_end && self.daemon_ended
    }

    /// The bytes that the proxy holds on to for the sake of editing.
    pub(crate) fn held(&self) -> usize {
        self.edit
            .as_ref()
            .map_or(0, |edit| edit.bytes.len() + self.queue.len())
    }
}

/// A call whose messages are edited.
#[derive(Debug)]
pub(crate) struct Edit<M> {
    pub(crate) method: M,
    /// What has come of the message that is not whole yet.
    bytes: Vec<u8>,
    /// How much of it has been cut off.
    used: usize,
    /// The names of the image that the call makes if it succeeds.
    pub(crate) image: Option<String>,
    /// What the client will get back of the stream's window when the queue is empty.
    pub(crate) owed: usize,
}

impl<M> Edit<M> {
    pub(crate) fn new(method: M) -> Edit<M> {
        Edit {
            method,
            bytes: Vec::new(),
            used: 0,
            image: None,
            owed: 0,
        }
    }

    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether it stands between two messages.
    pub(crate) fn is_between(&self) -> bool {
        self.bytes.len() == self.used
    }

    /// Cuts the next message off, without its prefix, if it is whole.
    ///
    /// # Errors
    /// When it is compressed, or too large.
    pub(crate) fn next_message(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let Some((&[compressed, l0, l1, l2, l3], rest)) =
            self.bytes[self.used..].split_first_chunk::<PREFIX_BYTES>()
        else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if compressed != 0 {
            let what = "a compressed message cannot be labelled; send it uncompressed";
            return Err(Status::new(Status::UNIMPLEMENTED, what));
        }
        if len > MAX_MESSAGE_BYTES {
            let what = format!(
                "a message of {len} bytes is larger than {MAX_MESSAGE_BYTES}, so it cannot be labelled"
            );
            return Err(Status::new(Status::RESOURCE_EXHAUSTED, what));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let message = rest[..len].to_vec();
        self.used += PREFIX_BYTES + len;
        if self.is_between() {
            self.bytes = Vec::new();
            self.used = 0;
        }
        Ok(Some(message))
    }
}

/// Appends a message with its prefix.
pub(crate) fn put_message(message: &[u8], out: &mut VecDeque<u8>) {
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
            let mut edit = Edit::new(());
            let mut messages = Vec::new();
            for piece in bytes.chunks(size) {
                edit.gather(piece);
                while let Some(message) = edit.next_message().unwrap() {
                    messages.push(message);
                }
            }
            assert!(edit.is_between());
            assert_eq!(messages, [b"one".to_vec(), vec![], vec![7; 300]], "{size}");
        }
    }

    #[test]
    fn what_cannot_be_edited_is_known_by_its_prefix() {
        for (prefix, expected) in [
            ([1, 0, 0, 0, 0], Err(Status::UNIMPLEMENTED)),
            ([2, 0, 0, 0, 0], Err(Status::UNIMPLEMENTED)),
            ([0, 1, 0, 0, 0], Ok(None)),
            ([0, 1, 0, 0, 1], Err(Status::RESOURCE_EXHAUSTED)),
            ([0, 255, 255, 255, 255], Err(Status::RESOURCE_EXHAUSTED)),
        ] {
            let mut edit = Edit::new(());
            edit.gather(&prefix);
            let result = edit.next_message().map_err(|status| status.code);
            assert_eq!(result, expected, "{prefix:?}");
        }
    }
}
