//! From the client to the daemon: data, and the messages in them that are edited.

use crate::inject::buildkit::Status;

use super::connection::{Calls, Connection, MAX_HELD_BYTES};
use super::error::{Code, ConnectionError};
use super::frame::{Frame, flag};
use super::stream::{Stream, put_message};

impl<C: Calls> Connection<'_, C> {
    pub(super) fn client_data(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        let (id, len) = (frame.stream, frame.payload.len());
        self.check_opened(frame)?;
        self.flow.received(len)?;
        let content = frame.content()?;
        let Some(stream) = self.streams.get_mut(&id) else {
            // It has been closed meanwhile, and the daemon is not to hear of it any more.
            self.credit(len);
            return Ok(());
        };
        if stream.client_ended {
            let what = format!("data on stream {id} behind its end");
            return Err(ConnectionError::new(Code::StreamClosed, what));
        }
        stream.flow.received(len)?;
        stream.client_ended = frame.has(flag::END_STREAM);
        if let Some(edit) = &mut stream.edit {
            edit.gather(content);
            edit.owed += len;
            self.credit(len);
            return self.edit_messages(id);
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

    /// Edits the messages that are whole, and sends them on.
    fn edit_messages(&mut self, id: u32) -> Result<(), ConnectionError> {
        let held: usize = self.streams.values().map(Stream::held).sum();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let result = match held > MAX_HELD_BYTES {
            true => Err(too_much()),
            false => edit_whole(self.calls, self.number, stream),
        };
        if let Err(status) = result {
            let (is_answered, is_ended) = (stream.answered, stream.client_ended);
            let is_over = stream.daemon_ended;
            self.close(id);
            self.to_daemon.reset(id, Code::Cancel);
            match is_over {
                true => self.to_client.reset(id, Code::No),
                false => self.refuse(id, &status, is_answered, is_ended),
            }
            return Ok(());
        }
        self.push(id);
        Ok(())
    }

    /// Answers a call with an error, and lets the client send no more.
    pub(super) fn refuse(&mut self, id: u32, status: &Status, is_answered: bool, is_ended: bool) {
        log::info!("#{} refused: {}", self.number, status.message);
        self.answer(id, status, is_answered);
        if !is_ended {
            // RFC 9113 section 8.1: the answer is whole, the rest of the request is not wanted.
            self.to_client.reset(id, Code::No);
        }
    }
}

fn too_much() -> Status {
    Status::new(
        Status::RESOURCE_EXHAUSTED,
        "too much is on its way on this connection",
    )
}

fn edit_whole<C: Calls>(
    calls: &C,
    number: u64,
    stream: &mut Stream<C::Method>,
) -> Result<(), Status> {
    let Some(edit) = &mut stream.edit else {
        return Ok(());
    };
    while let Some(message) = edit.next_message()? {
        let edited = calls.edit(edit.method, &message)?;
        match edited == message {
            true => log::debug!("#{number} nothing to label: {}", edit.method),
            false => log::debug!("#{number} labelled message: {}", edit.method),
        }
        edit.image = calls.image(edit.method, &message);
        put_message(&edited, &mut stream.queue);
        if stream.queue.len() > MAX_HELD_BYTES {
            return Err(too_much());
        }
    }
    match stream.client_ended && !edit.is_between() {
        true => Err(Status::new(
            Status::INVALID_ARGUMENT,
            "the call ends within a message",
        )),
        false => Ok(()),
    }
}
