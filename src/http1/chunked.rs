//! The chunked transfer coding (RFC 9112 section 7.1), read step by step from bytes that arrive
//! in pieces. Knows no sockets; stricter than the RFC where daemons have read it differently.

use std::ops::Range;

use crate::http1::error::Error;
use crate::limits::{MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES};

/// A body in the chunked coding, as far as it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the line, or of all trailer lines, that is being read.
    line_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size.
    Size {
        size: u64,
        digits: u32,
    },
    /// In the extensions behind a size.
    Extension {
        size: u64,
    },
    /// After the CR that ends the line of a size.
    SizeLf {
        size: u64,
    },
    /// In a chunk, with this many bytes to come.
    Data {
        left: u64,
    },
    /// At the CR behind a chunk.
    DataCr,
    /// After that CR.
    DataLf,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    /// In the name of a trailer.
    TrailerName,
    /// In the value of a trailer.
    Trailer,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the empty line that ends the body.
    EndLf,
    Done,
}

/// How far a step through the bytes of a body has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many bytes of the input are done with.
    pub(crate) used: usize,
    /// Where in the input there is content, perhaps empty.
    pub(crate) data: Range<usize>,
}

impl Default for Chunked {
    fn default() -> Self {
        Chunked {
            state: State::Size { size: 0, digits: 0 },
            line_bytes: 0,
        }
    }
}

impl Chunked {
    /// Whether the empty line at the end has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the current chunk are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Reads up to the end of the next run of content, or all of `input` if there is none.
    ///
    /// # Errors
    /// When a size is not 1 to 16 hexadecimal digits, a line does not end in CRLF, or the lines
    /// between the chunks are too long.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<Progress, Error> {
        let mut used = 0;
        while used < input.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let n = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(input.len() - used);
                self.state = match left - n as u64 {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                return Ok(Progress {
                    used: used + n,
                    data: used..used + n,
                });
            }
            self.state = self.next(input[used])?;
            used += 1;
        }
        Ok(Progress {
            used,
            data: used..used,
        })
    }

    /// The state after a byte that is not content.
    fn next(&mut self, byte: u8) -> Result<State, Error> {
        self.line_bytes += 1;
        let state = match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(Error::ChunkSizeTooLong(byte));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Error::MissingChunkSize(byte)),
            (State::Size { size, .. }, b';') => State::Extension { size },
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Size { .. }, _) => return Err(Error::InvalidChunkSize(byte)),
            (State::Extension { .. }, b'\t' | b' '..=0x7e | 0x80..) => self.state,
            (State::Extension { .. }, _) => return Err(Error::InvalidChunkExtension(byte)),
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                State::TrailerName
            }
            (State::TrailerName, b':') => State::Trailer,
            (State::TrailerStart | State::TrailerName, _) => {
                return Err(Error::InvalidTrailerName(byte));
            }
            (State::Trailer, b'\t' | b' '..=0x7e | 0x80..) => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::Trailer, _) => return Err(Error::InvalidTrailerValue(byte)),
            (State::EndLf, b'\n') => State::Done,
            (State::SizeLf { .. } | State::DataLf | State::TrailerLf | State::EndLf, _) => {
                return Err(Error::BareCr(byte));
            }
            (State::Data { .. } | State::DataCr | State::Done, _) => {
                return Err(Error::ChunkTooLong(byte));
            }
        };
        self.check_line(state)?;
        Ok(state)
    }

    /// Checks the length of the line that the byte before `next` is in.
    fn check_line(&mut self, next: State) -> Result<(), Error> {
        let is_over = match next {
            State::Data { .. } | State::DataLf => true,
            State::TrailerStart => self.state != State::TrailerLf,
            _ => false,
        };
        if is_over {
            self.line_bytes = 0;
        }
        let limit = match next {
            State::TrailerStart
            | State::TrailerName
            | State::Trailer
            | State::TrailerLf
            | State::EndLf
            | State::Done => MAX_TRAILER_BYTES,
            _ => MAX_CHUNK_LINE_BYTES,
        };
        if self.line_bytes > limit {
            return Err(Error::ChunkLineTooLong);
        }
        Ok(())
    }
}

/// Whether the byte may be part of a field name (RFC 9110 section 5.6.2, `tchar`).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `pieces` one after the other; the content and what is left behind the body.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Error> {
        let mut chunked = Chunked::default();
        let (mut content, mut used) = (Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() && !chunked.is_done() {
                let step = chunked.advance(&piece[at..])?;
                content.extend_from_slice(&piece[at..][step.data]);
                at += step.used;
            }
            used += at;
        }
        Ok((content, used, chunked.is_done()))
    }

    #[test]
    fn a_body_reads_the_same_whole_split_anywhere_and_byte_by_byte() {
        let body =
            b"5\r\nhello\r\n000000000000000a;x=\"y\"\r\n, world!\r\n\r\n0;z\r\nA: b\r\nC:\r\n\r\n";
        let expected = (b"hello, world!\r\n".to_vec(), body.len(), true);
        let mut with_next = body.to_vec();
        with_next.extend_from_slice(b"GET ");
        assert_eq!(decode(&[&with_next]).unwrap(), expected);
        for i in 0..body.len() {
            assert_eq!(decode(&[&body[..i], &body[i..]]).unwrap(), expected, "{i}");
            assert!(!decode(&[&body[..i]]).unwrap().2, "{i}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap(), expected);
    }

    #[test]
    fn bodies_that_daemons_have_read_differently_are_refused() {
        for (body, expected) in [
            (&b"\r\n"[..], Error::MissingChunkSize(b'\r')),
            (b";x\r\n", Error::MissingChunkSize(b';')),
            (b"+5\r\n", Error::MissingChunkSize(b'+')),
            (b"0x5\r\n", Error::InvalidChunkSize(b'x')),
            (b" 5\r\n", Error::MissingChunkSize(b' ')),
            (b"5 \r\n", Error::InvalidChunkSize(b' ')),
            (b"5\n", Error::InvalidChunkSize(b'\n')),
            (b"5\rx", Error::BareCr(b'x')),
            (b"00000000000000005\r\n", Error::ChunkSizeTooLong(b'5')),
            (b"g\r\n", Error::MissingChunkSize(b'g')),
            (b"5;a\nb\r\n", Error::InvalidChunkExtension(b'\n')),
            (b"5;a\0\r\n", Error::InvalidChunkExtension(0)),
            (b"1\r\nxx", Error::ChunkTooLong(b'x')),
            (b"1\r\nx\n", Error::ChunkTooLong(b'\n')),
            (b"1\r\nx\rx", Error::BareCr(b'x')),
            (b"0\r\n\n", Error::InvalidTrailerName(b'\n')),
            (b"0\r\nA: b\n", Error::InvalidTrailerValue(b'\n')),
            (b"0\r\nA: \0", Error::InvalidTrailerValue(0)),
            (b"0\r\nA\r\n", Error::InvalidTrailerName(b'\r')),
            (b"0\r\nA : b\r\n", Error::InvalidTrailerName(b' ')),
            (b"0\r\n: b\r\n", Error::InvalidTrailerName(b':')),
            (b"0\r\n A: b\r\n", Error::InvalidTrailerName(b' ')),
            (b"0\r\nA: b\r\n c\r\n", Error::InvalidTrailerName(b' ')),
            (b"0\r\n\rx", Error::BareCr(b'x')),
        ] {
            assert_eq!(decode(&[body]), Err(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let extension = |n: usize| [b"1;", vec![b'x'; n].as_slice(), b"\r\nx\r\n"].concat();
        assert!(decode(&[&extension(MAX_CHUNK_LINE_BYTES - 4)]).is_ok());
        assert_eq!(
            decode(&[&extension(MAX_CHUNK_LINE_BYTES)]),
            Err(Error::ChunkLineTooLong)
        );
        let trailers = |n: usize| {
            [
                b"0\r\n".to_vec(),
                b"abcdef: 1\r\n".repeat(n),
                b"\r\n".to_vec(),
            ]
            .concat()
        };
        assert!(decode(&[&trailers(MAX_TRAILER_BYTES / 11 - 1)]).unwrap().2);
        assert_eq!(
            decode(&[&trailers(MAX_TRAILER_BYTES / 11 + 1)]),
            Err(Error::ChunkLineTooLong)
        );
    }

    #[test]
    fn a_size_of_sixteen_digits_does_not_overflow() {
        let mut chunked = Chunked::default();
        chunked.advance(b"ffffffffffffffff\r\n").unwrap();
        assert_eq!(chunked.state, State::Data { left: u64::MAX });
    }
}
