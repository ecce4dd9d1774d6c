//! HTTP/2 frames (RFC 9113 section 6): finds where one ends, checks that its length and its stream
//! are what its type allows, and writes the few that the proxy makes.

use std::collections::VecDeque;

use super::error::{Code, ConnectionError};

/// What a client sends first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's header, in bytes.
pub(crate) const HEADER_BYTES: usize = 9;

/// The payload that every endpoint takes, in bytes (RFC 9113 section 4.2).
pub(crate) const MIN_MAX_PAYLOAD: usize = 16_384;

/// The largest window (RFC 9113 section 6.9.1).
pub(crate) const MAX_WINDOW: i64 = (1 << 31) - 1;

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
}

/// Settings (RFC 9113 section 6.5.2) that matter to the proxy.
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
}

/// A frame whose length and stream are what its type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'b> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: &'b [u8],
    /// The whole frame as it arrived.
    pub(crate) raw: &'b [u8],
}

impl<'b> Frame<'b> {
    /// Reads the frame at the start of `buf`. Returns `None` while it is incomplete.
    ///
    /// # Errors
    /// When its payload is larger than `max_payload`, or its type does not allow its length or its
    /// stream. For some of these it would be enough to end the stream; section 5.4.1 allows to end
    /// the connection.
    pub(crate) fn parse(
        buf: &'b [u8],
        max_payload: usize,
    ) -> Result<Option<Frame<'b>>, ConnectionError> {
        let Some((header, rest)) = buf.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *header;
        let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        if len > max_payload {
            return Err(ConnectionError::new(
                Code::FrameSize,
                format!("a frame of {len} bytes is larger than {max_payload}"),
            ));
        }
        check_len(kind, flags, len)?;
        check_stream(kind, stream)?;
        Ok(rest.get(..len).map(|payload| Frame {
            kind,
            flags,
            stream,
            payload,
            raw: &buf[..HEADER_BYTES + len],
        }))
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of a `DATA` or `HEADERS` frame without its padding and priority.
    ///
    /// # Errors
    /// When the frame is too short for them.
    pub(crate) fn content(&self) -> Result<&'b [u8], ConnectionError> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (&len, rest) = content.split_first().ok_or_else(too_short)?;
            (padding, content) = (usize::from(len), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or_else(too_short)?;
        }
        let len = content
            .len()
            .checked_sub(padding)
            .ok_or_else(|| ConnectionError::protocol("the padding is longer than its frame"))?;
        Ok(&content[..len])
    }

    /// The increment of a `WINDOW_UPDATE`: 31 bits of the first four bytes.
    pub(crate) fn number(&self) -> u32 {
        let bytes = self.payload.first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes(bytes) & 0x7fff_ffff
    }

    /// Checks the values of a `SETTINGS` frame (RFC 9113 section 6.5.2).
    ///
    /// # Errors
    /// When one is out of range.
    pub(crate) fn check_settings(&self) -> Result<(), ConnectionError> {
        for (id, value) in self.settings() {
            match id {
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => {
                    let what = format!("a window of {value} bytes is too large");
                    return Err(ConnectionError::new(Code::FlowControl, what));
                }
                setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    let what = format!("a maximum frame size of {value} bytes is not allowed");
                    return Err(ConnectionError::protocol(what));
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// The pairs of a `SETTINGS` frame.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        self.payload.chunks_exact(6).map(|pair| {
            let id = u16::from_be_bytes([pair[0], pair[1]]);
            (id, u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
        })
    }
}

fn too_short() -> ConnectionError {
    ConnectionError::new(Code::FrameSize, "a frame is too short for its flags")
}

fn check_len(kind: u8, flags: u8, len: usize) -> Result<(), ConnectionError> {
    let is_right = match kind {
        kind::PRIORITY => len == 5,
        kind::RST_STREAM | kind::WINDOW_UPDATE => len == 4,
        kind::SETTINGS if flags & flag::ACK != 0 => len == 0,
        kind::SETTINGS => len.is_multiple_of(6),
        kind::PING => len == 8,
        kind::GOAWAY => len >= 8,
        _ => true,
    };
    if !is_right {
        let what = format!("a frame of type {kind} cannot have {len} bytes");
        return Err(ConnectionError::new(Code::FrameSize, what));
    }
    Ok(())
}

fn check_stream(kind: u8, stream: u32) -> Result<(), ConnectionError> {
    let is_right = match kind {
        kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION => {
            stream != 0
        }
        kind::SETTINGS | kind::PING | kind::GOAWAY => stream == 0,
        _ => true,
    };
    if !is_right {
        let what = format!("a frame of type {kind} cannot be on stream {stream}");
        return Err(ConnectionError::protocol(what));
    }
    Ok(())
}

/// Writes frames, and holds them until they are sent to a peer.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter(VecDeque<u8>);

impl FrameWriter {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first bytes, as many as are contiguous in memory.
    pub(crate) fn front(&self) -> &[u8] {
        self.0.as_slices().0
    }

    /// Marks the first `n` bytes as sent.
    pub(crate) fn consume(&mut self, n: usize) {
        self.0.drain(..n);
        if self.0.is_empty() {
            // A large message leaves a large buffer behind.
            self.0.shrink_to(MIN_MAX_PAYLOAD);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    /// Appends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends bytes from an iterator.
    pub(crate) fn extend(&mut self, bytes: impl Iterator<Item = u8>) {
        self.0.extend(bytes);
    }

    /// Appends the header of a frame. The payload, of `len` bytes, must follow.
    pub(crate) fn header(&mut self, kind: u8, flags: u8, stream: u32, len: usize) {
        let [_, l0, l1, l2] = (len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = stream.to_be_bytes();
        self.raw(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]);
    }

    fn number(&mut self, kind: u8, stream: u32, number: u32) {
        self.header(kind, 0, stream, 4);
        self.raw(&number.to_be_bytes());
    }

    /// Appends a `WINDOW_UPDATE`, unless the increment is 0.
    pub(crate) fn window_update(&mut self, stream: u32, increment: u32) {
        if increment > 0 {
            self.number(kind::WINDOW_UPDATE, stream, increment);
        }
    }

    /// Appends a `RST_STREAM`.
    pub(crate) fn reset(&mut self, stream: u32, code: Code) {
        self.number(kind::RST_STREAM, stream, code as u32);
    }

    /// Appends a `GOAWAY` that says why.
    pub(crate) fn goaway(&mut self, last_stream: u32, error: &ConnectionError) {
        let text = error.what.as_bytes();
        self.header(kind::GOAWAY, 0, 0, 8 + text.len());
        self.raw(&last_stream.to_be_bytes());
        self.raw(&(error.code as u32).to_be_bytes());
        self.raw(text);
    }

    /// Appends a header block, in as many frames as it needs.
    pub(crate) fn headers(&mut self, stream: u32, block: &[u8], end_stream: bool) {
        let mut kind = kind::HEADERS;
        let mut flags = if end_stream { flag::END_STREAM } else { 0 };
        let mut rest = block;
        loop {
            let piece;
            (piece, rest) = rest.split_at(rest.len().min(MIN_MAX_PAYLOAD));
            if rest.is_empty() {
                flags |= flag::END_HEADERS;
            }
            self.header(kind, flags, stream, piece.len());
            self.raw(piece);
            if rest.is_empty() {
                return;
            }
            (kind, flags) = (kind::CONTINUATION, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = FrameWriter::default();
        out.header(kind, flags, stream, payload.len());
        out.raw(payload);
        out.0.into()
    }

    fn code(kind: u8, flags: u8, stream: u32, len: usize) -> Option<Code> {
        let bytes = bytes(kind, flags, stream, &vec![0; len]);
        Frame::parse(&bytes, 100).err().map(|error| error.code)
    }

    #[test]
    fn a_frame_is_found_when_it_is_whole() {
        let bytes = bytes(kind::DATA, flag::END_STREAM, 0x8000_0003, b"payload");
        for len in 0..bytes.len() {
            assert_eq!(Frame::parse(&bytes[..len], 7), Ok(None), "{len}");
        }
        let more = [&bytes, &b"more"[..]].concat();
        let expected = Frame {
            kind: kind::DATA,
            flags: flag::END_STREAM,
            stream: 3,
            payload: b"payload",
            raw: &bytes,
        };
        assert_eq!(Frame::parse(&more, 7), Ok(Some(expected)));
        assert_eq!(
            Frame::parse(&bytes[..9], 6).unwrap_err().code,
            Code::FrameSize
        );
    }

    #[test]
    fn lengths_and_streams_are_those_of_the_type() {
        for (kind, flags, stream, len, expected) in [
            (kind::DATA, 0, 1, 100, None),
            (kind::DATA, 0, 1, 101, Some(Code::FrameSize)),
            (kind::DATA, 0, 0, 1, Some(Code::Protocol)),
            (kind::HEADERS, 0, 0, 1, Some(Code::Protocol)),
            (kind::CONTINUATION, 0, 0, 1, Some(Code::Protocol)),
            (kind::PRIORITY, 0, 1, 5, None),
            (kind::PRIORITY, 0, 1, 4, Some(Code::FrameSize)),
            (kind::PRIORITY, 0, 0, 5, Some(Code::Protocol)),
            (kind::RST_STREAM, 0, 1, 4, None),
            (kind::RST_STREAM, 0, 1, 5, Some(Code::FrameSize)),
            (kind::RST_STREAM, 0, 0, 4, Some(Code::Protocol)),
            (kind::SETTINGS, 0, 0, 0, None),
            (kind::SETTINGS, 0, 0, 12, None),
            (kind::SETTINGS, 0, 0, 7, Some(Code::FrameSize)),
            (kind::SETTINGS, flag::ACK, 0, 0, None),
            (kind::SETTINGS, flag::ACK, 0, 6, Some(Code::FrameSize)),
            (kind::SETTINGS, 0, 1, 6, Some(Code::Protocol)),
            (kind::PING, 0, 0, 8, None),
            (kind::PING, 0, 0, 7, Some(Code::FrameSize)),
            (kind::PING, 0, 2, 8, Some(Code::Protocol)),
            (kind::GOAWAY, 0, 0, 8, None),
            (kind::GOAWAY, 0, 0, 7, Some(Code::FrameSize)),
            (kind::GOAWAY, 0, 1, 8, Some(Code::Protocol)),
            (kind::WINDOW_UPDATE, 0, 0, 4, None),
            (kind::WINDOW_UPDATE, 0, 1, 3, Some(Code::FrameSize)),
            (99, 255, 1, 3, None),
        ] {
            let what = format!("{kind} {flags} {stream} {len}");
            assert_eq!(code(kind, flags, stream, len), expected, "{what}");
        }
    }

    #[test]
    fn content_excludes_padding_and_priority() {
        const PADDED_PRIORITY: u8 = flag::PADDED | flag::PRIORITY;
        for (kind, flags, payload, expected) in [
            (kind::DATA, 0, &b"abc"[..], Ok(&b"abc"[..])),
            (kind::DATA, flag::PADDED, b"\x02abc..", Ok(b"abc")),
            (kind::DATA, flag::PADDED, b"\x02..", Ok(b"")),
            (kind::DATA, flag::PADDED, b"\x03..", Err(Code::Protocol)),
            (kind::DATA, flag::PADDED, b"", Err(Code::FrameSize)),
            (kind::DATA, flag::PRIORITY, b"01234abc", Ok(b"01234abc")),
            (kind::HEADERS, flag::PRIORITY, b"01234abc", Ok(b"abc")),
            (kind::HEADERS, flag::PRIORITY, b"0123", Err(Code::FrameSize)),
            (kind::HEADERS, PADDED_PRIORITY, b"\x0101234abc.", Ok(b"abc")),
            (
                kind::HEADERS,
                PADDED_PRIORITY,
                b"\x0101234",
                Err(Code::Protocol),
            ),
        ] {
            let bytes = bytes(kind, flags, 1, payload);
            let frame = Frame::parse(&bytes, 100).unwrap().unwrap();
            assert_eq!(
                frame.content().map_err(|error| error.code),
                expected,
                "{payload:?}"
            );
        }
    }

    #[test]
    fn settings_are_checked() {
        for (id, value, expected) in [
            (setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff, None),
            (
                setting::INITIAL_WINDOW_SIZE,
                0x8000_0000,
                Some(Code::FlowControl),
            ),
            (setting::MAX_FRAME_SIZE, 16_383, Some(Code::Protocol)),
            (setting::MAX_FRAME_SIZE, 16_384, None),
            (setting::MAX_FRAME_SIZE, 16_777_215, None),
            (setting::MAX_FRAME_SIZE, 16_777_216, Some(Code::Protocol)),
            (99, u32::MAX, None),
        ] {
            let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
            let bytes = bytes(kind::SETTINGS, 0, 0, &payload);
            let frame = Frame::parse(&bytes, 100).unwrap().unwrap();
            let code = frame.check_settings().err().map(|error| error.code);
            assert_eq!(code, expected, "{id} {value}");
        }
    }

    #[test]
    fn a_long_block_takes_several_frames() {
        for (len, lens) in [
            (0, &[0][..]),
            (1, &[1]),
            (MIN_MAX_PAYLOAD, &[MIN_MAX_PAYLOAD]),
            (MIN_MAX_PAYLOAD + 1, &[MIN_MAX_PAYLOAD, 1]),
            (2 * MIN_MAX_PAYLOAD, &[MIN_MAX_PAYLOAD, MIN_MAX_PAYLOAD]),
        ] {
            let mut out = FrameWriter::default();
            out.headers(7, &vec![1; len], true);
            let bytes: Vec<u8> = out.0.into();
            let mut rest = &bytes[..];
            let mut found = Vec::new();
            while let Some(frame) = Frame::parse(rest, MIN_MAX_PAYLOAD).unwrap() {
                rest = &rest[frame.raw.len()..];
                let is_first = found.is_empty();
                assert_eq!(frame.kind == kind::HEADERS, is_first);
                assert_eq!(frame.has(flag::END_STREAM), is_first);
                assert_eq!(frame.has(flag::END_HEADERS), rest.is_empty());
                found.push(frame.payload.len());
            }
            assert_eq!(found, lens);
        }
    }
}
