//! HTTP/2 frames and gRPC messages as tests write and read them, one by one.

use loona_hpack::Decoder;

use crate::wire::Wire;

pub const GRPC: &str = "POST /grpc HTTP/1.1\r\nHost: \r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
     Content-Length: 0\r\n\r\n";
pub const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    frame.extend_from_slice(payload);
    frame
}

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

pub fn fields(block: &[u8]) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let fields = Decoder::new().decode(block).unwrap();
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

pub fn message(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &len[..], bytes].concat()
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

pub fn next(wire: &mut Wire) -> Frame {
    let header = wire.take(9);
    let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    Frame {
        kind: header[3],
        flags: header[4],
        stream: u32::from_be_bytes(header[5..].try_into().unwrap()),
        payload: wire.take(len as usize),
    }
}
