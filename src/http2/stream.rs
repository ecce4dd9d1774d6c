//! What is known of one stream.

use std::collections::VecDeque;

use super::flow::Flow;
use super::grpc::{Calls, Unread};

/// A stream that the daemon knows and that is open at one end at least.
pub(super) struct Stream<C: Calls> {
    /// How the client's messages are edited. Without this, its data pass.
    pub(super) edit: Option<Edit<C>>,
    pub(super) flow: Flow,
    /// What to send to the daemon when it has room.
    pub(super) queue: VecDeque<u8>,
    /// Whether the client has sent its last byte.
    pub(super) client_ended: bool,
    /// Whether the daemon has been told so.
    pub(super) told_end: bool,
    /// Whether the head of the daemon's answer has been passed on.
    pub(super) answered: bool,
    /// Whether the daemon has sent its last byte.
    pub(super) daemon_ended: bool,
}

impl<C: Calls> Stream<C> {
    pub(super) fn new(edit: Option<Edit<C>>, flow: Flow, client_ended: bool) -> Stream<C> {
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

    /// Whether both sides are done with it.
    pub(super) fn is_over(&self) -> bool {
        self.told_end && self.daemon_ended
    }

    /// The bytes that the proxy holds in order to edit messages.
    pub(super) fn held(&self) -> usize {
        self.edit
            .as_ref()
            .map_or(0, |edit| edit.unread.held() + self.queue.len())
    }
}

/// How the messages of a call are edited.
pub(super) struct Edit<C: Calls> {
    pub(super) method: C::Method,
    /// What has arrived of messages that are not complete yet.
    pub(super) unread: Unread,
    /// What to log when the call has ended.
    pub(super) notice: Option<C::Notice>,
    /// How much of the stream's window the client gets back when the queue is empty.
    pub(super) owed: usize,
}

impl<C: Calls> Edit<C> {
    pub(super) fn new(method: C::Method) -> Edit<C> {
        Edit {
            method,
            unread: Unread::default(),
            notice: None,
            owed: 0,
        }
    }
}
