//! What stands between the two ends of an HTTP/2 connection: frames of both in, frames to both
//! out. Knows no sockets. This file holds what the two directions share: the streams, and what is
//! sent to the daemon when it has room.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::inject::buildkit::{Call, Status};

use super::error::ConnectionError;
use super::flow::Flow;
use super::frame::{FrameWriter, MIN_MAX_PAYLOAD, flag, kind};
use super::hpack::Fields;
use super::settings::{DEFAULT_WINDOW, InitialWindow, Peer};
use super::stream::Stream;

/// The streams a client may have open; arbitrary, builds need a dozen each.
pub(super) const MAX_STREAMS: usize = 1000;

/// While more than this waits to be written to one end, in bytes, the other is not read.
pub(crate) const MAX_BACKLOG_BYTES: usize = 128 * 1024;

/// While more than this waits to be written to the client, it is not read either: what the proxy
/// says to it by itself must not pile up.
pub(super) const MAX_OWN_BACKLOG_BYTES: usize = 1024 * 1024;

/// What may be held of messages that are edited, in bytes: four of the largest.
pub(super) const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// Which calls are edited, and how.
pub(crate) trait Calls {
    type Method: Copy + fmt::Debug + fmt::Display;

    /// Tells what is done with a call to this `:path`.
    fn call(&self, path: &str) -> Call<Self::Method>;

    /// The names of the image that a message of a call has made, to be put into the log.
    fn image(&self, method: Self::Method, message: &[u8]) -> Option<String>;

    /// Edits one message of a call.
    ///
    /// # Errors
    /// When it cannot be labelled.
    fn edit(&self, method: Self::Method, message: &[u8]) -> Result<Vec<u8>, Status>;
}

/// How the connection came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// By an upgrade to gRPC, which the daemon has agreed to.
    Upgrade,
    /// The client began with HTTP/2. That the daemon speaks it is to be seen, and it would take
    /// any of its requests so.
    PriorKnowledge,
}

/// The state of a connection.
pub(crate) struct Connection<'c, C: Calls> {
    /// Names the connection in the log.
    pub(crate) number: u64,
    pub(super) calls: &'c C,
    pub(crate) start: Start,
    /// Whether the client's preface has come.
    pub(super) has_preface: bool,
    pub(super) client: Peer,
    pub(super) daemon: Peer,
    /// The largest payload that the daemon takes.
    pub(super) daemon_takes: usize,
    pub(super) streams: BTreeMap<u32, Stream<C::Method>>,
    /// The last stream that the client has opened.
    pub(super) last_stream: u32,
    /// The windows of the connection.
    pub(super) flow: Flow,
    pub(super) initial_window: InitialWindow,
    /// Streams with something in their queue.
    waiting: BTreeSet<u32>,
    /// What is to be sent to each end.
    pub(crate) to_client: FrameWriter,
    pub(crate) to_daemon: FrameWriter,
}

impl<'c, C: Calls> Connection<'c, C> {
    pub(crate) fn new(number: u64, calls: &'c C, start: Start) -> Connection<'c, C> {
        Connection {
            number,
            calls,
            start,
            has_preface: false,
            client: Peer::client(),
            daemon: Peer::daemon(),
            daemon_takes: MIN_MAX_PAYLOAD,
            streams: BTreeMap::new(),
            last_stream: 0,
            flow: Flow::new(DEFAULT_WINDOW, DEFAULT_WINDOW),
            initial_window: InitialWindow::new(),
            waiting: BTreeSet::new(),
            to_client: FrameWriter::default(),
            to_daemon: FrameWriter::default(),
        }
    }

    /// Whether the daemon has shown that it speaks HTTP/2.
    pub(crate) fn is_spoken(&self) -> bool {
        self.daemon.has_begun
    }

    /// Whether something is still to be sent to the daemon when it has room.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends the connection: the client learns why.
    pub(crate) fn fail(&mut self, error: &ConnectionError) {
        self.to_client.goaway(self.last_stream, error);
    }

    /// Gives the client a part of the connection's window back.
    pub(super) fn credit(&mut self, n: usize) {
        self.flow.credited(n);
        self.to_client.window_update(0, n as u32);
    }

    /// Forgets a stream. What waits on it will not reach the daemon.
    pub(super) fn close(&mut self, id: u32) -> Option<Stream<C::Method>> {
        let stream = self.streams.remove(&id)?;
        self.waiting.remove(&id);
        if stream.edit.is_none() {
            self.credit(stream.queue.len());
        }
        Some(stream)
    }

    /// Forgets a stream on which all is said.
    pub(super) fn close_if_over(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.close(id);
        }
    }

    /// Sends what waits on a stream, as far as there is room.
    pub(super) fn push(&mut self, id: u32) {
        while self.push_frame(id) {}
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.queue.is_empty() {
            self.waiting.insert(id);
            return;
        }
        self.waiting.remove(&id);
        if let Some(edit) = &mut stream.edit {
            let owed = std::mem::take(&mut edit.owed);
            stream.flow.credited(owed);
            if !stream.client_ended {
                self.to_client.window_update(id, owed as u32);
            }
        }
        if stream.client_ended && !stream.told_end {
            stream.told_end = true;
            self.to_daemon.header(kind::DATA, flag::END_STREAM, id, 0);
        }
        self.close_if_over(id);
    }

    /// Sends what waits on all streams, by turns.
    pub(super) fn push_all(&mut self) {
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for id in self.waiting.clone() {
                goes_on |= self.push_frame(id);
            }
        }
        for id in self.waiting.clone() {
            self.push(id);
        }
    }

    /// Sends one frame of what waits on a stream, if there is room.
    fn push_frame(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        let room = self.flow.room().min(stream.flow.room());
        let n = stream.queue.len().min(room).min(self.daemon_takes);
        if n == 0 {
            return false;
        }
        stream.told_end = stream.client_ended && n == stream.queue.len();
        let flags = if stream.told_end { flag::END_STREAM } else { 0 };
        self.to_daemon.header(kind::DATA, flags, id, n);
        self.to_daemon.extend(stream.queue.drain(..n));
        for flow in [&mut self.flow, &mut stream.flow] {
            match stream.edit {
                Some(_) => flow.sent(n),
                None => flow.passed(n),
            }
        }
        true
    }

    /// Answers a call in the daemon's place, with what gRPC has for errors: trailers alone, or
    /// behind what the daemon has answered so far.
    pub(super) fn answer(&mut self, id: u32, status: &Status, is_answered: bool) {
        let mut fields = Fields::default();
        if !is_answered {
            fields.push(":status", "200");
            fields.push("content-type", "application/grpc");
        }
        fields.push("grpc-status", status.code.to_string());
        let message = format!("{}: {}", env!("CARGO_PKG_NAME"), status.message);
        fields.push("grpc-message", percent_encoded(&message));
        self.to_client.headers(id, &fields.encode(), true);
    }
}

/// A text as the value of `grpc-message`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        match b {
            b' '..=b'~' if b != b'%' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}
