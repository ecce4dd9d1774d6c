//! HTTP/2 frames (RFC 9113) and gRPC messages, written and read one by one. Header blocks are
//! written as literals that use no table (RFC 7541, section 6.2.2).

use loona_hpack::Decoder;

use crate::Wire;

/// The request that upgrades a connection to HTTP/2 for BuildKit.
pub const GRPC: &str = "POST /grpc HTTP/1.1\r\nHost: \r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
     Content-Length: 0\r\n\r\n";
/// The daemon's response to [`GRPC`].
pub const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
/// The first bytes of a client over HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of a DATA frame (section 6.1).
pub const DATA: u8 = 0;
/// The type of a HEADERS frame (section 6.2).
pub const HEADERS: u8 = 1;
/// The type of a RST_STREAM frame (section 6.4).
pub const RST_STREAM: u8 = 3;
/// The type of a SETTINGS frame (section 6.5).
pub const SETTINGS: u8 = 4;
/// The type of a PING frame (section 6.7).
pub const PING: u8 = 6;
/// The type of a GOAWAY frame (section 6.8).
pub const GOAWAY: u8 = 7;
/// The type of a WINDOW_UPDATE frame (section 6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// A flag of [`DATA`] and [`HEADERS`].
pub const END_STREAM: u8 = 1;
/// A flag of [`SETTINGS`] and [`PING`].
pub const ACK: u8 = 1;
/// A flag of [`HEADERS`].
pub const END_HEADERS: u8 = 4;

/// Encodes a frame of type `kind`.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = length(payload);
    let mut frame = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    frame.extend_from_slice(payload);
    frame
}

/// Encodes a header block of fields that are shorter than 127 bytes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Decodes a header block that does not refer to earlier ones.
pub fn fields(block: &[u8]) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).expect("a field in UTF-8");
    let fields = Decoder::new().decode(block).expect("a header block");
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Encodes an uncompressed gRPC message: its prefix and `bytes`.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], &length(bytes)[..], bytes].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("a length of 32 bits")
        .to_be_bytes()
}

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// What follows its header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number that the payload begins with: the increment of a [`WINDOW_UPDATE`], the error
    /// code of an [`RST_STREAM`].
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }
}

/// Reads the next frame.
pub fn next(wire: &mut Wire) -> Frame {
    let header = wire.take(9);
    let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    Frame {
        kind: header[3],
        flags: header[4],
        stream: u32::from_be_bytes(header[5..].try_into().expect("four bytes")),
        payload: wire.take(len as usize),
    }
}
