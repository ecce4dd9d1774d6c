//! The messages that a client sends in calls that are edited.

use crate::limits::MAX_HELD_BYTES;

use super::connection::Connection;
use super::error::Code;
use super::grpc::{Calls, Status, StatusCode, put_message};
use super::stream::Stream;

impl<C: Calls> Connection<C> {
    /// Edits the messages of a stream that are complete, and sends them on.
    pub(super) fn edit_messages(&mut self, id: u32) {
        let held: usize = self.streams.values().map(Stream::held).sum();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let result = if held > MAX_HELD_BYTES {
            Err(too_much())
        } else {
            edit_complete(&self.calls, self.number, stream)
        };
        match result {
            Ok(()) => self.push(id),
            Err(status) => self.cancel(id, &status),
        }
    }

    /// Ends a call whose message is refused, at both ends.
    fn cancel(&mut self, id: u32, status: &Status) {
        let Some(stream) = self.close(id) else {
            return;
        };
        self.to_daemon.reset(id, Code::Cancel);
        if stream.daemon_ended {
            self.to_client.reset(id, Code::No);
        } else {
            self.refuse(id, status, stream.answered, stream.client_ended);
        }
    }
}

fn too_much() -> Status {
    Status::new(
        StatusCode::ResourceExhausted,
        format!(
            "more than {MAX_HELD_BYTES} bytes of messages are under way on this connection; \
             let some calls end first"
        ),
    )
}

/// Moves the complete messages of a stream to its queue, edited.
fn edit_complete<C: Calls>(calls: &C, number: u64, stream: &mut Stream<C>) -> Result<(), Status> {
    let Some(edit) = &mut stream.edit else {
        return Ok(());
    };
    while let Some(message) = edit.unread.next_message()? {
        let edited = calls.edit(edit.method, &message)?;
        let change = if edited.message == message {
            "unchanged"
        } else {
            "edited"
        };
        log::debug!("#{number} {change} message: {}", edit.method);
        edit.notice = edited.notice;
        put_message(&edited.message, &mut stream.queue);
        if stream.queue.len() > MAX_HELD_BYTES {
            return Err(too_much());
        }
    }
    if stream.client_ended && !edit.unread.is_empty() {
        return Err(Status::invalid("the call ends in the middle of a message"));
    }
    Ok(())
}
