//! From the client to the daemon: which streams may be opened, and what else passes.

use crate::inject::buildkit::Call;

use super::connection::{
    Calls, Connection, MAX_BACKLOG_BYTES, MAX_OWN_BACKLOG_BYTES, MAX_STREAMS, Start,
};
use super::error::{Code, ConnectionError};
use super::flow::Flow;
use super::frame::{Frame, PREFACE, flag, kind, setting};
use super::hpack::{Head, Step};
use super::stream::{Edit, Stream};

impl<C: Calls> Connection<'_, C> {
    /// Takes what has come from the client; how many bytes of it were used. The rest is to come
    /// again, with more behind it or after the daemon has said something.
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

    /// Whether anything of the client is taken now: not while much waits to be written, since a
    /// frame of few bytes may become many. Where it is not known yet that the daemon
    /// speaks HTTP/2, it gets the preface alone: it might look for requests in the frames behind
    /// it, and find what the client has put there.
    pub(crate) fn listens_to_client(&self) -> bool {
        self.to_daemon.len() <= MAX_BACKLOG_BYTES
            && self.to_client.len() <= MAX_OWN_BACKLOG_BYTES
            && (!self.has_preface || self.start == Start::Upgrade || self.is_spoken())
    }

    fn client_frame(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.client.begin(frame)?;
        match self.client.blocks.take(frame)? {
            Step::None => (),
            Step::Part => return Ok(()),
            Step::Whole(head) => return self.client_head(head),
        }
        match frame.kind {
            kind::DATA => return self.client_data(frame),
            kind::SETTINGS => self.client_settings(frame)?,
            kind::PUSH_PROMISE => {
                return Err(ConnectionError::protocol("a client cannot push"));
            }
            kind::PRIORITY | kind::PING | kind::GOAWAY => self.to_daemon.raw(frame.raw),
            kind::RST_STREAM => {
                self.check_opened(frame)?;
                if self.close(frame.stream).is_some() {
                    self.to_daemon.raw(frame.raw);
                }
            }
            kind::WINDOW_UPDATE => {
                if frame.number() == 0 {
                    return Err(ConnectionError::protocol("a window is raised by nothing"));
                }
                if frame.stream != 0 {
                    self.check_opened(frame)?;
                }
                if frame.stream == 0 || self.streams.contains_key(&frame.stream) {
                    self.to_daemon.raw(frame.raw);
                }
            }
            // RFC 9113 section 5.5: what is not known is discarded.
            _ => (),
        }
        Ok(())
    }

    /// Checks that a frame is on a stream that the client has opened, now or before.
    pub(super) fn check_opened(&self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        match frame.stream % 2 == 1 && frame.stream <= self.last_stream {
            true => Ok(()),
            false => {
                let (kind, stream) = (frame.kind, frame.stream);
                let what = format!("a frame of type {kind} is on stream {stream}, which is idle");
                Err(ConnectionError::protocol(what))
            }
        }
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

    /// A header block: it opens a stream, or there is nothing right about it.
    fn client_head(&mut self, mut head: Head) -> Result<(), ConnectionError> {
        let id = head.stream;
        if id.is_multiple_of(2) {
            let what = format!("stream {id} is not the client's to open");
            return Err(ConnectionError::protocol(what));
        }
        if id <= self.last_stream {
            // Trailers, which no call of gRPC has, or too late.
            if self.close(id).is_some() {
                self.to_client.reset(id, Code::Protocol);
                self.to_daemon.reset(id, Code::Cancel);
            }
            return Ok(());
        }
        self.last_stream = id;
        if let Some(code) = self.rejection(&head) {
            log::debug!("#{} stream {id} is rejected: {code:?}", self.number);
            self.to_client.reset(id, code);
            return Ok(());
        }
        let path = head.fields.get(":path").unwrap_or_default();
        let call = self.calls.call(path);
        log::debug!("#{} stream {id} {path:?}: {call:?}", self.number);
        let edit = match call {
            Call::Pass => None,
            Call::Edit(method) => Some(Edit::new(method)),
            Call::Refuse(status) => {
                self.refuse(id, &status, false, head.ends_stream);
                return Ok(());
            }
        };
        if edit.is_some() {
            head.fields.remove("content-length");
        }
        let flow = Flow::new(self.initial_window.client(), self.initial_window.daemon);
        let stream = Stream::new(edit, flow, head.ends_stream);
        self.streams.insert(id, stream);
        let block = head.fields.encode();
        self.to_daemon.headers(id, &block, head.ends_stream);
        Ok(())
    }

    /// Why a stream cannot be opened.
    fn rejection(&self, head: &Head) -> Option<Code> {
        if !head.fields.are_request() {
            return Some(Code::Protocol);
        }
        if self.streams.len() >= MAX_STREAMS {
            return Some(Code::RefusedStream);
        }
        let kind = head.fields.get("content-type").unwrap_or_default();
        // As the daemon tells them apart; everything else is for its HTTP API, which is looked
        // into in HTTP/1.1 alone.
        match self.start == Start::PriorKnowledge && !kind.starts_with("application/grpc") {
            true => Some(Code::Http11Required),
            false => None,
        }
    }
}
