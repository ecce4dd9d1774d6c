//! From the client to the daemon: which streams are opened, and how data and all other frames
//! pass.

use crate::limits::MAX_STREAMS;

use super::connection::{Connection, Start};
use super::error::{Code, ConnectionError};
use super::flow::Flow;
use super::frame::{Frame, PREFACE, flag, kind, setting};
use super::grpc::{Calls, Decision};
use super::hpack::{Head, Step};
use super::stream::{Edit, Stream};

impl<C: Calls> Connection<C> {
    /// Takes bytes from the client. Returns the bytes consumed. Pass the rest again once there is
    /// more, or the daemon has sent something.
    ///
    /// # Errors
    /// When the connection cannot go on.
    pub(crate) fn take_from_client(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let mut used = 0;
        if !self.has_preface {
            let len = bytes.len().min(PREFACE.len());
            if bytes[..len] != PREFACE[..len] {
                return Err(ConnectionError::protocol("the preface is wrong"));
            }
            if len < PREFACE.len() {
                return Ok(0);
            }
            self.has_preface = true;
            self.to_daemon.raw(PREFACE);
            used = PREFACE.len();
        }
        while self.listens_to_client()
            && let Some(frame) = Frame::parse(&bytes[used..], self.client.max_payload)?
        {
            used += frame.raw.len();
            self.client_frame(&frame)?;
        }
        Ok(used)
    }

    fn client_frame(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.client.begin(frame)?;
        match self.client.blocks.take(frame)? {
            Step::None => (),
            Step::Part => return Ok(()),
            Step::Whole(head) => return self.client_head(head),
        }
        match frame.kind {
            kind::DATA => self.client_data(frame),
            kind::SETTINGS => self.client_settings(frame),
            kind::PUSH_PROMISE => Err(ConnectionError::protocol("a client cannot push")),
            kind::RST_STREAM => self.client_reset(frame),
            kind::WINDOW_UPDATE => self.client_window_update(frame),
            kind::PRIORITY | kind::PING | kind::GOAWAY => {
                self.to_daemon.raw(frame.raw);
                Ok(())
            }
            // RFC 9113 section 5.5: unknown frames are discarded.
            _ => Ok(()),
        }
    }

    /// Takes a header block. Only one that opens a stream is valid: no call of gRPC has trailers
    /// of the client.
    fn client_head(&mut self, head: Head) -> Result<(), ConnectionError> {
        let id = head.stream;
        if id.is_multiple_of(2) {
            let what = format!("stream {id} is not the client's to open");
            return Err(ConnectionError::protocol(what));
        }
        if id <= self.last_stream {
            // Trailers, or the stream is closed already.
            if self.close(id).is_some() {
                self.to_client.reset(id, Code::Protocol);
                self.to_daemon.reset(id, Code::Cancel);
            }
            return Ok(());
        }
        self.last_stream = id;
        match self.rejection(&head) {
            Some(code) => {
                log::debug!("#{} stream {id} is rejected: {code:?}", self.number);
                self.to_client.reset(id, code);
            }
            None => self.open(head),
        }
        Ok(())
    }

    /// Why a stream cannot be opened, if so.
    fn rejection(&self, head: &Head) -> Option<Code> {
        if !head.fields.are_request() {
            return Some(Code::Protocol);
        }
        if self.streams.len() >= MAX_STREAMS {
            return Some(Code::RefusedStream);
        }
        // The daemon tells gRPC from its HTTP API in the same way. The API is inspected only in
        // HTTP/1.1.
        let kind = head.fields.get("content-type").unwrap_or_default();
        if self.start == Start::PriorKnowledge && !kind.starts_with("application/grpc") {
            return Some(Code::Http11Required);
        }
        None
    }

    /// Opens a stream towards the daemon, unless its call is refused.
    fn open(&mut self, mut head: Head) {
        let id = head.stream;
        let path = head.fields.get(":path").unwrap_or_default();
        let edit = match self.calls.decide(path) {
            Decision::Pass => {
                log::debug!("#{} stream {id} passes: {path}", self.number);
                None
            }
            Decision::Edit(method) => {
                log::debug!("#{} stream {id} is edited: {method}", self.number);
                head.fields.remove("content-length");
                Some(Edit::new(method))
            }
            Decision::Refuse(status) => {
                self.refuse(id, &status, false, head.ends_stream);
                return;
            }
        };
        let flow = Flow::new(self.initial_window.client(), self.initial_window.daemon);
        let stream = Stream::new(edit, flow, head.ends_stream);
        self.streams.insert(id, stream);
        let block = head.fields.encode();
        self.to_daemon.headers(id, &block, head.ends_stream);
    }

    fn client_data(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        let (id, len) = (frame.stream, frame.payload.len());
        self.check_opened(frame)?;
        self.flow.received(len)?;
        let content = frame.content()?;
        let Some(stream) = self.streams.get_mut(&id) else {
            // The stream has been closed meanwhile, and the daemon hears no more of it.
            self.credit(len);
            return Ok(());
        };
        if stream.client_ended {
            let what = format!("data on stream {id} after its end");
            return Err(ConnectionError::new(Code::StreamClosed, what));
        }
        stream.flow.received(len)?;
        stream.client_ended = frame.has(flag::END_STREAM);
        if let Some(edit) = &mut stream.edit {
            edit.unread.push(content);
            edit.owed += len;
            self.credit(len);
            self.edit_messages(id);
            return Ok(());
        }
        stream.queue.extend(content);
        // The daemon never sees the padding.
        let padding = len - content.len();
        stream.flow.credited(padding);
        if !stream.client_ended {
            self.to_client.window_update(id, padding as u32);
        }
        self.credit(padding);
        self.push(id);
        Ok(())
    }

    fn client_settings(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        if frame.has(flag::ACK) {
            let before = self.initial_window.client();
            self.initial_window.acknowledged();
            let change = self.initial_window.client() - before;
            for stream in self.streams.values_mut() {
                stream.flow.resize(change, 0)?;
            }
        }
        frame.check_settings()?;
        for (id, value) in frame.settings() {
            match id {
                setting::HEADER_TABLE_SIZE => self.daemon.blocks.allow_table(value),
                setting::MAX_FRAME_SIZE => {
                    self.daemon.max_payload = self.daemon.max_payload.max(value as usize);
                }
                _ => (),
            }
        }
        self.to_daemon.raw(frame.raw);
        Ok(())
    }

    fn client_reset(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.check_opened(frame)?;
        if self.close(frame.stream).is_some() {
            self.to_daemon.raw(frame.raw);
        }
        Ok(())
    }

    fn client_window_update(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        if frame.number() == 0 {
            return Err(ConnectionError::protocol("a window is raised by 0"));
        }
        if frame.stream != 0 {
            self.check_opened(frame)?;
        }
        if frame.stream == 0 || self.streams.contains_key(&frame.stream) {
            self.to_daemon.raw(frame.raw);
        }
        Ok(())
    }

    /// Checks that a frame is on a stream that the client has opened, now or before.
    fn check_opened(&self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        let (kind, stream) = (frame.kind, frame.stream);
        if stream % 2 == 1 && stream <= self.last_stream {
            return Ok(());
        }
        let what = format!("a frame of type {kind} is on stream {stream}, which is idle");
        Err(ConnectionError::protocol(what))
    }
}
