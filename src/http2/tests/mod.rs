//! Tests of the connection between a client and a daemon that are as strict as can be. This file
//! has what they share: rules for calls, both ends, and the frames that these send and see.

mod bounds;
mod calls;
mod passing;
mod pieces;
mod streams;
mod violations;
mod windows;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::limits::{MAX_MESSAGE_BYTES, MAX_STREAMS};

use super::connection::{Connection, Start};
use super::error::{Code, ConnectionError};
use super::frame::{Frame, FrameWriter, MAX_WINDOW, MIN_MAX_PAYLOAD, PREFACE, flag, kind, setting};
use super::grpc::{Calls, Decision, Edited, Status, StatusCode, Unread, put_message};
use super::hpack::{Blocks, Fields, Head, Step};
use super::settings::DEFAULT_WINDOW;

/// Calls to `/pass/*` pass. The messages of calls to `/edit/N` get N bytes more, or are refused if
/// they are `bad`; with `/edit/1` their end is noticed. All other calls are refused.
#[derive(Default)]
struct Rules {
    /// The lengths of the messages that were edited.
    edited: RefCell<Vec<usize>>,
    /// The notices of calls that have ended, and how.
    ended: RefCell<Vec<(usize, Option<u32>)>>,
}

impl Calls for &Rules {
    type Method = usize;
    type Notice = usize;

    fn decide(&self, path: &str) -> Decision<usize> {
        let growth = path.strip_prefix("/edit/");
        match growth.and_then(|growth| growth.parse().ok()) {
            Some(growth) => Decision::Edit(growth),
            None if path.starts_with("/pass/") => Decision::Pass,
            None => Decision::Refuse(Status::new(StatusCode::Unimplemented, "50% unknown\n")),
        }
    }

    fn edit(&self, growth: usize, message: &[u8]) -> Result<Edited<usize>, Status> {
        self.edited.borrow_mut().push(message.len());
        if message == b"bad" {
            return Err(Status::new(StatusCode::InvalidArgument, "bad message"));
        }
        Ok(Edited {
            message: [message, &vec![b'+'; growth]].concat(),
            notice: (growth == 1).then_some(message.len()),
        })
    }

    fn log_line(&self, len: &usize, status: Option<u32>) -> String {
        self.ended.borrow_mut().push((*len, status));
        String::new()
    }
}

fn connection(rules: &Rules) -> Connection<&Rules> {
    Connection::new(1, rules, Start::Upgrade)
}

fn drain(out: &mut FrameWriter) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !out.is_empty() {
        bytes.extend_from_slice(out.front());
        out.consume(out.front().len());
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = FrameWriter::default();
    out.header(kind, flags, stream, payload.len());
    out.raw(payload);
    drain(&mut out)
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pairs = pairs.iter();
    let payload = pairs.flat_map(|(id, value)| {
        let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
        [&id[..], &value].concat()
    });
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

fn request(path: &str) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("content-type", "application/grpc"),
    ] {
        fields.push(name, value);
    }
    fields
}

/// The head of a stream, with these fields.
fn head_frame(stream: u32, fields: &Fields, ends: bool) -> Vec<u8> {
    let mut out = FrameWriter::default();
    out.headers(stream, &fields.encode(), ends);
    drain(&mut out)
}

fn headers(stream: u32, path: &str) -> Vec<u8> {
    head_frame(stream, &request(path), false)
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let mut out = VecDeque::new();
    put_message(bytes, &mut out);
    out.into()
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// A frame as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Head(u32, bool, Vec<(String, String)>),
    /// Kind, flags, stream and payload of another.
    Frame(u8, u8, u32, Vec<u8>),
}

fn head(stream: u32, ends: bool, fields: &[(&str, &str)]) -> Seen {
    let fields = fields.iter();
    let owned = fields.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Seen::Head(stream, ends, owned.collect())
}

fn reset(stream: u32, code: Code) -> Seen {
    let code = (code as u32).to_be_bytes().to_vec();
    Seen::Frame(kind::RST_STREAM, 0, stream, code)
}

fn raised(stream: u32, increment: u32) -> Seen {
    let increment = increment.to_be_bytes().to_vec();
    Seen::Frame(kind::WINDOW_UPDATE, 0, stream, increment)
}

fn data(stream: u32, ends: bool, payload: &[u8]) -> Seen {
    Seen::Frame(kind::DATA, u8::from(ends), stream, payload.to_vec())
}

/// What a peer makes of the frames that it is sent.
struct Reader {
    blocks: Blocks,
    bytes: Vec<u8>,
}

impl Reader {
    fn new() -> Reader {
        Reader {
            blocks: Blocks::new(1 << 20, 1 << 20),
            bytes: Vec::new(),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.bytes.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        while let Some(frame) = Frame::parse(rest, 1 << 24).unwrap() {
            rest = &rest[frame.raw.len()..];
            match self.blocks.take(&frame).unwrap() {
                Step::Part => (),
                Step::Whole(Head {
                    stream,
                    ends_stream,
                    fields,
                }) => {
                    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
                    let fields = fields.0.iter().map(|(n, v)| (text(n), text(v)));
                    seen.push(Seen::Head(stream, ends_stream, fields.collect()));
                }
                Step::None => seen.push(Seen::Frame(
                    frame.kind,
                    frame.flags,
                    frame.stream,
                    frame.payload.to_vec(),
                )),
            }
        }
        self.bytes = rest.to_vec();
        seen
    }
}

/// A connection on which both ends have sent their settings, played frame by frame.
struct Play<'c> {
    connection: Connection<&'c Rules>,
    client: Reader,
    daemon: Reader,
}

impl<'c> Play<'c> {
    fn new(rules: &'c Rules) -> Play<'c> {
        let mut connection = connection(rules);
        let hello = [PREFACE, &settings(&[])].concat();
        assert_eq!(connection.take_from_client(&hello), Ok(hello.len()));
        assert_eq!(drain(&mut connection.to_daemon), hello);
        connection.take_from_daemon(&settings(&[])).unwrap();
        assert_eq!(drain(&mut connection.to_client), settings(&[]));
        Play {
            connection,
            client: Reader::new(),
            daemon: Reader::new(),
        }
    }

    /// What either end sees of what the client sends: the client, the daemon.
    fn client(&mut self, bytes: &[u8]) -> (Vec<Seen>, Vec<Seen>) {
        assert_eq!(self.connection.take_from_client(bytes), Ok(bytes.len()));
        self.seen()
    }

    /// What either end sees of what the daemon sends.
    fn daemon(&mut self, bytes: &[u8]) -> (Vec<Seen>, Vec<Seen>) {
        assert_eq!(self.connection.take_from_daemon(bytes), Ok(bytes.len()));
        self.seen()
    }

    fn seen(&mut self) -> (Vec<Seen>, Vec<Seen>) {
        let to_client = self.client.read(&drain(&mut self.connection.to_client));
        let to_daemon = self.daemon.read(&drain(&mut self.connection.to_daemon));
        (to_client, to_daemon)
    }

    /// Opens a stream.
    fn open(&mut self, stream: u32, path: &str) {
        let (client, daemon) = self.client(&headers(stream, path));
        assert_eq!(client, []);
        let sent = Reader::new().read(&headers(stream, path));
        assert_eq!(daemon, sent);
    }

    fn client_error(&mut self, bytes: &[u8]) -> Option<Code> {
        code(self.connection.take_from_client(bytes))
    }
}

fn code(result: Result<usize, ConnectionError>) -> Option<Code> {
    result.err().map(|error| error.code)
}

const REFUSED: [(&str, &str); 4] = [
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-status", "12"),
    ("grpc-message", "docker-label-proxy: 50%25 unknown%0A"),
];
