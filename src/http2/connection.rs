//! An HTTP/2 connection between a client and the daemon: takes the frames of both and makes the
//! frames for both. This file holds what the two directions share: the streams, and what is sent
//! to the daemon when it has room. Knows no sockets.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::{MAX_BACKLOG_BYTES, MAX_OWN_BACKLOG_BYTES};

use super::error::{Code, ConnectionError};
use super::flow::Flow;
use super::frame::{FrameWriter, MIN_MAX_PAYLOAD, flag, kind};
use super::grpc::{Calls, Status};
use super::settings::{DEFAULT_WINDOW, InitialWindow, Peer};
use super::stream::Stream;

/// How the connection came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// By an upgrade to gRPC, to which the daemon has agreed.
    Upgrade,
    /// The client began with HTTP/2. Whether the daemon speaks it is not known yet; if it does, it
    /// would serve its whole API over it.
    PriorKnowledge,
}

/// The state of a connection.
pub(crate) struct Connection<C: Calls> {
    /// Names the connection in the log.
    pub(crate) number: u64,
    pub(super) calls: C,
    pub(super) start: Start,
    /// Whether the client's preface has arrived.
    pub(super) has_preface: bool,
    pub(super) client: Peer,
    pub(super) daemon: Peer,
    /// The largest payload that the daemon takes, in bytes.
    pub(super) daemon_takes: usize,
    pub(super) streams: BTreeMap<u32, Stream<C>>,
    /// The last stream that the client has opened.
    pub(super) last_stream: u32,
    /// The windows of the connection.
    pub(super) flow: Flow,
    pub(super) initial_window: InitialWindow,
    /// Streams with something in their queue.
    waiting: BTreeSet<u32>,
    /// What to send to each end.
    pub(crate) to_client: FrameWriter,
    pub(crate) to_daemon: FrameWriter,
}

impl<C: Calls> Connection<C> {
    pub(crate) fn new(number: u64, calls: C, start: Start) -> Connection<C> {
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

    /// Whether the daemon is known to speak HTTP/2.
    pub(crate) fn is_spoken(&self) -> bool {
        self.start == Start::Upgrade || self.daemon.has_begun
    }

    /// Whether the client is read now. It is not while much waits to be written, since a small
    /// frame may become a large one. Nor is it, behind its preface, until the daemon is known to
    /// speak HTTP/2: a daemon that does not might take what follows for requests.
    pub(crate) fn listens_to_client(&self) -> bool {
        self.to_daemon.len() <= MAX_BACKLOG_BYTES
            && self.to_client.len() <= MAX_OWN_BACKLOG_BYTES
            && (!self.has_preface || self.is_spoken())
    }

    /// Whether the daemon is read now. It is not while much waits to be written to the client.
    pub(crate) fn listens_to_daemon(&self) -> bool {
        self.to_client.len() <= MAX_BACKLOG_BYTES
    }

    /// Whether something is left to send to the daemon when it has room.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends the connection and tells the client why.
    pub(crate) fn fail(&mut self, error: &ConnectionError) {
        self.to_client.goaway(self.last_stream, error);
    }

    /// Gives a part of the connection's window back to the client.
    pub(super) fn credit(&mut self, n: usize) {
        self.flow.credited(n);
        self.to_client.window_update(0, n as u32);
    }

    /// Forgets a stream. What waits on it will not reach the daemon.
    pub(super) fn close(&mut self, id: u32) -> Option<Stream<C>> {
        let stream = self.streams.remove(&id)?;
        self.waiting.remove(&id);
        if stream.edit.is_none() {
            self.credit(stream.queue.len());
        }
        Some(stream)
    }

    /// Forgets a stream if both sides are done with it.
    pub(super) fn close_if_over(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.close(id);
        }
    }

    /// Answers a call in the daemon's place, and lets the client send no more.
    pub(super) fn refuse(&mut self, id: u32, status: &Status, is_answered: bool, is_ended: bool) {
        log::info!("#{} refused: {}", self.number, status.message);
        let block = status.to_fields(is_answered).encode();
        self.to_client.headers(id, &block, true);
        if !is_ended {
            // RFC 9113 section 8.1: the answer is complete, the rest of the request is not wanted.
            self.to_client.reset(id, Code::No);
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

    /// Sends one frame of what waits on a stream. Returns whether there was room for it.
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
}
