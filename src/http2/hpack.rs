//! Header blocks: gathers them from their frames, decodes them (HPACK, RFC 7541), and encodes them
//! again without a dynamic table. So the proxy can leave a block out or insert one of its own, and
//! the peer's decoder does not notice.

use std::fmt;

use loona_hpack::Decoder;

use super::error::{Code, ConnectionError};
use super::frame::{Frame, HEADER_BYTES, flag, kind};

/// The initial size of a decoder's dynamic table, in bytes (RFC 9113 section 6.5.2).
const DEFAULT_TABLE_BYTES: u32 = 4096;

/// Header fields in their order, with lower-case names as HTTP/2 requires.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// The first value of a field, if it is UTF-8.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        let (_, value) = all.find(|(n, _)| n == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    pub(crate) fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.as_bytes().to_vec(), value.into()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name.as_bytes());
    }

    /// Whether these can be the fields of a request (RFC 9113 section 8.3.1): each pseudo-header
    /// occurs once, before all others. Given two paths, daemons differ in which they follow.
    pub(crate) fn are_request(&self) -> bool {
        const PSEUDO: [&[u8]; 4] = [b":method", b":scheme", b":path", b":authority"];
        let name_is_right = |(name, _): &(Vec<u8>, Vec<u8>)| {
            !name.is_empty() && !name.iter().any(u8::is_ascii_uppercase)
        };
        let pseudo: Vec<&[u8]> = self.0.iter().map(|(name, _)| &**name).collect();
        let len = pseudo
            .iter()
            .take_while(|name| name.starts_with(b":"))
            .count();
        let (pseudo, rest) = pseudo.split_at(len);
        let count = |name: &&[u8]| pseudo.iter().filter(|n| *n == name).count();
        self.0.iter().all(name_is_right)
            && !rest.iter().any(|name| name.starts_with(b":"))
            && pseudo.iter().all(|name| PSEUDO.contains(name))
            && PSEUDO[..3].iter().all(|name| count(name) == 1)
            && count(&PSEUDO[3]) <= 1
    }

    /// Encodes the fields as a block. Each field is a literal that is never indexed, since the
    /// proxy does not know which of them must be (RFC 7541 section 6.2.3). Each block first
    /// declares an empty dynamic table, as one must after the peer has lowered its limit (RFC 9113
    /// section 4.3.1).
    pub(crate) fn encode(&self) -> Vec<u8> {
        const SIZE_0: u8 = 0x20;
        const NEVER_INDEXED: u8 = 0x10;
        let mut block = Vec::new();
        if !self.0.is_empty() {
            // Some decoders reject a block that has nothing else.
            block.push(SIZE_0);
        }
        for (name, value) in &self.0 {
            block.push(NEVER_INDEXED);
            for text in [name, value] {
                encode_len(text.len(), &mut block);
                block.extend_from_slice(text);
            }
        }
        block
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_map()
            .entries(self.0.iter().map(|(n, v)| (text(n), text(v))))
            .finish()
    }
}

/// Writes the length of a string that is not Huffman-coded, as an integer with a prefix of seven
/// bits (RFC 7541 section 5.1).
fn encode_len(len: usize, out: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    let Some(mut rest) = len.checked_sub(PREFIX) else {
        out.push(len as u8);
        return;
    };
    out.push(PREFIX as u8);
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A decoded header block, and its stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) stream: u32,
    pub(crate) ends_stream: bool,
    pub(crate) fields: Fields,
}

/// What a frame adds to the header blocks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is another frame.
    None,
    /// A part of a block.
    Part,
    /// The end of a block.
    Whole(Head),
}

/// The header blocks from one peer.
pub(crate) struct Blocks {
    decoder: Decoder<'static>,
    /// The largest block as it arrives, in bytes.
    max_bytes: usize,
    /// The largest sum of all fields, counted as in RFC 9113 section 6.5.2. A small block may hold
    /// many one-byte references to a large entry of the table.
    max_decoded_bytes: usize,
    max_table_bytes: u32,
    open: Option<Open>,
}

/// A block whose end is still to come.
struct Open {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
    /// Its size, including frame headers: so empty frames cannot go on forever.
    counted: usize,
}

impl Blocks {
    pub(crate) fn new(max_bytes: usize, max_decoded_bytes: usize) -> Blocks {
        let mut blocks = Blocks {
            decoder: Decoder::new(),
            max_bytes,
            max_decoded_bytes,
            max_table_bytes: 0,
            open: None,
        };
        blocks.allow_table(DEFAULT_TABLE_BYTES);
        blocks
    }

    /// Takes note of the size that the other peer allows for the sender's dynamic table. The limit
    /// is never lowered: the sender says in its next block when it has applied a lower one.
    pub(crate) fn allow_table(&mut self, bytes: u32) {
        self.max_table_bytes = self.max_table_bytes.max(bytes);
        let max = usize::try_from(self.max_table_bytes).unwrap_or(usize::MAX);
        self.decoder.set_max_allowed_table_size(max);
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// When it may not occur within a block, or only there, or when a block is too large or cannot
    /// be decoded. The decoder is of no use then, for any stream.
    pub(crate) fn take(&mut self, frame: &Frame<'_>) -> Result<Step, ConnectionError> {
        let mut open = match (self.open.take(), frame.kind) {
            (None, kind::HEADERS) => Open {
                stream: frame.stream,
                ends_stream: frame.has(flag::END_STREAM),
                bytes: Vec::new(),
                counted: 0,
            },
            (Some(open), kind::CONTINUATION) if open.stream == frame.stream => open,
            (None, kind) if kind != kind::CONTINUATION => return Ok(Step::None),
            _ => {
                let what = "the frames of a header block do not follow one another";
                return Err(ConnectionError::protocol(what));
            }
        };
        let content = match frame.kind {
            kind::HEADERS => frame.content()?,
            _ => frame.payload,
        };
        open.counted += HEADER_BYTES + content.len();
        if open.counted > self.max_bytes {
            return Err(too_large());
        }
        open.bytes.extend_from_slice(content);
        if !frame.has(flag::END_HEADERS) {
            self.open = Some(open);
            return Ok(Step::Part);
        }
        Ok(Step::Whole(Head {
            stream: open.stream,
            ends_stream: open.ends_stream,
            fields: self.decode(&open.bytes)?,
        }))
    }

    fn decode(&mut self, block: &[u8]) -> Result<Fields, ConnectionError> {
        let mut fields = Fields::default();
        let mut left = Some(self.max_decoded_bytes);
        let decoded = self.decoder.decode_with_cb(block, |name, value| {
            left = left.and_then(|left| left.checked_sub(name.len() + value.len() + 32));
            if left.is_some() {
                fields.0.push((name.into_owned(), value.into_owned()));
            }
        });
        decoded.map_err(|err| {
            let what = format!("a header block cannot be decoded: {err}");
            ConnectionError::new(Code::Compression, what)
        })?;
        left.map(|_| fields).ok_or_else(too_large)
    }
}

fn too_large() -> ConnectionError {
    ConnectionError::new(Code::EnhanceYourCalm, "a header block is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name, *value);
        }
        fields
    }

    /// A block in one frame.
    fn take(blocks: &mut Blocks, block: &[u8]) -> Result<Step, ConnectionError> {
        blocks.take(&Frame {
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream: 1,
            payload: block,
            raw: &[],
        })
    }

    fn decode(blocks: &mut Blocks, block: &[u8]) -> Result<Fields, Code> {
        match take(blocks, block) {
            Ok(Step::Whole(head)) => Ok(head.fields),
            Ok(step) => panic!("{step:?}"),
            Err(error) => Err(error.code),
        }
    }

    fn code(result: Result<Step, ConnectionError>) -> Option<Code> {
        result.err().map(|error| error.code)
    }

    #[test]
    fn the_requests_of_rfc_7541_appendix_c_4_are_decoded() {
        let mut blocks = Blocks::new(1000, 1000);
        let mut expected = fields(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ]);
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decode(&mut blocks, first), Ok(expected.clone()));
        expected.push("cache-control", "no-cache");
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        assert_eq!(decode(&mut blocks, second), Ok(expected));
    }

    #[test]
    fn encoded_fields_are_decoded_the_same() {
        let mut blocks = Blocks::new(1 << 20, 1 << 20);
        for len in [0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_511, 300_000] {
            let mut written = fields(&[(":status", "200"), ("empty", ""), ("", "no name")]);
            let value: Vec<u8> = (0..len).map(|i| i as u8).collect();
            written.push("any", value);
            assert_eq!(decode(&mut blocks, &written.encode()), Ok(written));
        }
    }

    #[test]
    fn a_block_of_ours_leaves_the_table_of_the_peer_alone() {
        // A decoder that has seen an entry and then one of our blocks has an empty table, since
        // later it gets our blocks alone.
        let mut blocks = Blocks::new(1000, 1000);
        decode(&mut blocks, b"\x40\x01a\x01b").unwrap();
        assert_eq!(decode(&mut blocks, b"\xbe"), Ok(fields(&[("a", "b")])));
        decode(&mut blocks, &fields(&[("c", "d")]).encode()).unwrap();
        assert_eq!(decode(&mut blocks, b"\xbe"), Err(Code::Compression));
    }

    #[test]
    fn malformed_blocks_are_compression_errors() {
        for block in [
            &b"\x80"[..],
            b"\xbe",
            b"\xff\x80\x80\x80\x80\x80\x01",
            b"\x40\x05ab",
            b"\x00\x01a",
            b"\x3f",
            b"\x00\x81\x00\x00",
            // The table would be larger than allowed.
            b"\x3f\xe2\x1f\x82",
        ] {
            let result = decode(&mut Blocks::new(1000, 1000), block);
            assert_eq!(result, Err(Code::Compression), "{block:x?}");
        }
    }

    #[test]
    fn the_table_may_grow_as_far_as_it_is_allowed() {
        let mut blocks = Blocks::new(1000, 1000);
        blocks.allow_table(4097);
        blocks.allow_table(0);
        decode(&mut blocks, b"\x3f\xe2\x1f\x82").unwrap();
        assert_eq!(
            decode(&mut blocks, b"\x3f\xe3\x1f\x82"),
            Err(Code::Compression)
        );
    }

    #[test]
    fn blocks_are_bounded_before_and_after_they_are_decoded() {
        let mut blocks = Blocks::new(100, 1 << 20);
        assert_eq!(decode(&mut blocks, &[0x82; 91]).map(|f| f.0.len()), Ok(91));
        assert_eq!(decode(&mut blocks, &[0x82; 92]), Err(Code::EnhanceYourCalm));

        let mut blocks = Blocks::new(1 << 20, 420);
        assert_eq!(decode(&mut blocks, &[0x82; 10]).map(|f| f.0.len()), Ok(10));
        assert_eq!(decode(&mut blocks, &[0x82; 11]), Err(Code::EnhanceYourCalm));
    }

    #[test]
    fn a_block_may_have_many_frames_but_not_endlessly() {
        let frame = |kind, flags, stream, payload| Frame {
            kind,
            flags,
            stream,
            payload,
            raw: &[],
        };
        let mut blocks = Blocks::new(100, 1000);
        let start = frame(kind::HEADERS, flag::END_STREAM, 3, b"\x40\x01".as_slice());
        let part = frame(kind::CONTINUATION, 0, 3, b"a\x01");
        let end = frame(kind::CONTINUATION, flag::END_HEADERS, 3, b"b");
        assert_eq!(blocks.take(&start), Ok(Step::Part));
        assert_eq!(blocks.take(&part), Ok(Step::Part));
        let head = Head {
            stream: 3,
            ends_stream: true,
            fields: fields(&[("a", "b")]),
        };
        assert_eq!(blocks.take(&end), Ok(Step::Whole(head)));

        assert_eq!(code(blocks.take(&part)), Some(Code::Protocol));
        for other in [
            frame(kind::CONTINUATION, 0, 5, b""),
            frame(kind::HEADERS, 0, 3, b""),
            frame(kind::DATA, 0, 3, b""),
            frame(77, 0, 0, b""),
        ] {
            blocks.take(&start).unwrap();
            assert_eq!(code(blocks.take(&other)), Some(Code::Protocol), "{other:?}");
            blocks.open = None;
        }

        blocks.take(&start).unwrap();
        let flood = (0..100).find_map(|_| {
            let empty = frame(kind::CONTINUATION, 0, 3, b"");
            code(blocks.take(&empty))
        });
        assert_eq!(flood, Some(Code::EnhanceYourCalm));
    }

    #[test]
    fn requests_have_each_pseudo_header_once_and_first() {
        let base = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m")];
        let with = |more: &[(&str, &str)]| fields(&[&base, more].concat()).are_request();
        assert!(with(&[]));
        assert!(with(&[(":authority", ""), ("te", "trailers"), ("te", "x")]));
        assert!(!fields(&base[..2]).are_request());
        assert!(!fields(&[base[0], base[2]]).are_request());
        for more in [
            &[(":path", "/other")][..],
            &[(":authority", "a"), (":authority", "b")],
            &[("te", "trailers"), (":authority", "")],
            &[(":protocol", "x")],
            &[(":status", "200")],
            &[("Te", "trailers")],
            &[("", "x")],
        ] {
            assert!(!with(more), "{more:?}");
        }
    }
}
