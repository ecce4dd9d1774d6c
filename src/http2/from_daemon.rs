//! From the daemon to the client: everything passes, except what the daemon says of streams that
//! the proxy has ended, and the part of its window updates that is not the client's.

use super::connection::Connection;
use super::error::ConnectionError;
use super::frame::{Frame, flag, kind, setting};
use super::grpc::Calls;
use super::hpack::{Head, Step};

impl<C: Calls> Connection<C> {
    /// Takes bytes from the daemon. Returns the bytes consumed. Pass the rest again once there is
    /// more.
    ///
    /// # Errors
    /// When the connection cannot go on.
    pub(crate) fn take_from_daemon(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let mut used = 0;
        while let Some(frame) = Frame::parse(&bytes[used..], self.daemon.max_payload)? {
            used += frame.raw.len();
            self.daemon_frame(&frame)?;
        }
        Ok(used)
    }

    fn daemon_frame(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.daemon.begin(frame)?;
        if frame.stream > self.last_stream {
            let what = format!("the daemon opens stream {}", frame.stream);
            return Err(ConnectionError::protocol(what));
        }
        match self.daemon.blocks.take(frame)? {
            Step::None => (),
            Step::Part => return Ok(()),
            Step::Whole(head) => {
                self.daemon_head(&head);
                return Ok(());
            }
        }
        match frame.kind {
            kind::DATA => self.daemon_data(frame),
            kind::SETTINGS => return self.daemon_settings(frame),
            kind::WINDOW_UPDATE => return self.daemon_window_update(frame),
            kind::PUSH_PROMISE => return Err(ConnectionError::protocol("the daemon pushes")),
            kind::RST_STREAM if self.close(frame.stream).is_none() => (),
            kind::RST_STREAM | kind::PRIORITY | kind::PING | kind::GOAWAY => {
                self.to_client.raw(frame.raw);
            }
            // RFC 9113 section 5.5: unknown frames are discarded.
            _ => (),
        }
        Ok(())
    }

    fn daemon_head(&mut self, head: &Head) {
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            return;
        };
        // An interim answer, such as 100, is followed by one more head with a status.
        let status = head.fields.get(":status").unwrap_or_default();
        stream.answered |= !status.starts_with('1');
        stream.daemon_ended |= head.ends_stream;
        if head.ends_stream
            && let Some(notice) = stream.edit.as_mut().and_then(|edit| edit.notice.take())
        {
            let status = head.fields.get("grpc-status");
            let status = status.and_then(|status| status.parse().ok());
            let line = self.calls.log_line(&notice, status);
            log::info!("#{} {line}", self.number);
        }
        let block = head.fields.encode();
        self.to_client
            .headers(head.stream, &block, head.ends_stream);
        self.close_if_over(head.stream);
    }

    fn daemon_data(&mut self, frame: &Frame<'_>) {
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            // The client never sees these, so it cannot give the window back.
            self.to_daemon.window_update(0, frame.payload.len() as u32);
            return;
        };
        stream.daemon_ended |= frame.has(flag::END_STREAM);
        self.to_client.raw(frame.raw);
        self.close_if_over(frame.stream);
    }

    fn daemon_settings(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.to_client.raw(frame.raw);
        if frame.has(flag::ACK) {
            return Ok(());
        }
        frame.check_settings()?;
        let before = (self.initial_window.client(), self.initial_window.daemon);
        for (id, value) in frame.settings() {
            match id {
                setting::HEADER_TABLE_SIZE => self.client.blocks.allow_table(value),
                setting::INITIAL_WINDOW_SIZE => self.initial_window.daemon = i64::from(value),
                setting::MAX_FRAME_SIZE => {
                    self.daemon_takes = value as usize;
                    self.client.max_payload = self.client.max_payload.max(value as usize);
                }
                _ => (),
            }
        }
        self.initial_window.announced()?;
        let client = self.initial_window.client() - before.0;
        let daemon = self.initial_window.daemon - before.1;
        for stream in self.streams.values_mut() {
            stream.flow.resize(client, daemon)?;
        }
        self.push_all();
        Ok(())
    }

    fn daemon_window_update(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        let id = frame.stream;
        if id == 0 {
            let increment = self.flow.granted(frame.number())?;
            self.to_client.window_update(0, increment);
            self.push_all();
        } else if let Some(stream) = self.streams.get_mut(&id) {
            let increment = stream.flow.granted(frame.number())?;
            self.to_client.window_update(id, increment);
            self.push(id);
        }
        Ok(())
    }
}
