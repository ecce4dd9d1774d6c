//! Tests of the connection between a client and a daemon that are as strict as can be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::connection::{Connection, MAX_STREAMS, Start};
use super::error::{Code, ConnectionError};
use super::frame::{Frame, FrameWriter, MAX_WINDOW, MIN_MAX_PAYLOAD, PREFACE, flag, kind, setting};
use super::grpc::{
    Calls, Decision, Edited, MAX_MESSAGE_BYTES, Status, StatusCode, Unread, put_message,
};
use super::hpack::{Blocks, Fields, Head, Step};
use super::settings::DEFAULT_WINDOW;

/// Calls to `/pass/*` pass; to `/edit/N` have N bytes added to their messages, or are refused if
/// they say so; all others are refused.
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

fn headers(stream: u32, path: &str) -> Vec<u8> {
    let mut out = FrameWriter::default();
    out.headers(stream, &request(path).encode(), false);
    drain(&mut out)
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

/// A connection on which both ends have said hello, played frame by frame.
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

#[test]
fn what_is_not_ours_passes_as_it_comes() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    for bytes in [
        frame(kind::DATA, 0, 1, b"\0\0\0\0\x05he"),
        frame(kind::DATA, flag::END_STREAM, 1, b"llo"),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::PRIORITY, 0, 9, b"12345"),
        window_update(0, 10),
        window_update(1, 10),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 10), (77, 1)]),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        frame(kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0bye"),
    ] {
        assert_eq!(play.connection.take_from_client(&bytes), Ok(bytes.len()));
        assert_eq!(drain(&mut play.connection.to_daemon), bytes);
        assert!(play.connection.to_client.is_empty());
    }
    let answer = [(":status", "200"), ("x", "y")];
    let mut fields = Fields::default();
    answer
        .iter()
        .for_each(|(name, value)| fields.push(name, *value));
    let mut out = FrameWriter::default();
    out.headers(1, &fields.encode(), false);
    let (client, daemon) = play.daemon(&drain(&mut out));
    assert_eq!((client, daemon), (vec![head(1, false, &answer)], vec![]));
    for bytes in [
        frame(kind::DATA, flag::PADDED, 1, b"\x02progress.."),
        frame(kind::PING, flag::ACK, 0, b"12345678"),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 70_000)]),
        window_update(0, 10),
        window_update(1, 10),
        frame(kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0"),
        frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 0]),
    ] {
        assert_eq!(play.connection.take_from_daemon(&bytes), Ok(bytes.len()));
        assert_eq!(drain(&mut play.connection.to_client), bytes);
        assert!(play.connection.to_daemon.is_empty());
    }
}

#[test]
fn a_message_is_edited_when_it_is_whole() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/3");
    let whole = message(b"hello");
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 1, &whole[..7]));
    assert_eq!((client, daemon), (vec![raised(0, 7), raised(1, 7)], vec![]));
    let rest = [&whole[7..], &message(b"")].concat();
    let (client, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, 1, &rest));
    assert_eq!(client, [raised(0, 8)]);
    let edited = [message(b"hello+++"), message(b"+++")].concat();
    assert_eq!(daemon, [data(1, true, &edited)]);
    assert_eq!(*rules.edited.borrow(), [5, 0]);
    // The daemon gives back what the client never sent.
    assert_eq!(play.daemon(&window_update(0, 20)), (vec![], vec![]));
    assert_eq!(
        play.daemon(&window_update(0, 2)),
        (vec![raised(0, 1)], vec![])
    );
    assert_eq!(
        play.daemon(&window_update(1, 22)),
        (vec![raised(1, 1)], vec![])
    );
}

#[test]
fn the_end_of_a_call_is_noticed_with_its_status() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let answer = |id, pairs: &[(&str, &str)], ends| {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name, *value);
        }
        let mut out = FrameWriter::default();
        out.headers(id, &fields.encode(), ends);
        drain(&mut out)
    };
    for (id, path, status) in [
        (1, "/edit/1", Some("0")),
        (3, "/edit/1", Some("13")),
        (5, "/edit/1", Some("much text")),
        (7, "/edit/1", None),
        (9, "/edit/2", Some("0")),
    ] {
        play.open(id, path);
        let text = vec![b'x'; id as usize];
        play.client(&frame(kind::DATA, flag::END_STREAM, id, &message(&text)));
        play.daemon(&answer(id, &[(":status", "200")], false));
        assert!(
            !rules
                .ended
                .borrow()
                .iter()
                .any(|(len, _)| *len == text.len())
        );
        let trailers = status.map(|status| ("grpc-status", status));
        play.daemon(&answer(id, trailers.as_slice(), true));
    }
    let expected = [(1, Some(0)), (3, Some(13)), (5, None), (7, None)];
    assert_eq!(*rules.ended.borrow(), expected);
}

#[test]
fn the_end_may_come_by_itself() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    for (id, path) in [(1, "/edit/0"), (3, "/pass/x")] {
        play.open(id, path);
        let (_, daemon) = play.client(&frame(kind::DATA, 0, id, &message(b"m")));
        assert_eq!(daemon, [data(id, false, &message(b"m"))]);
        let (_, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, id, b""));
        assert_eq!(daemon, [data(id, true, b"")]);
    }
    let mut out = FrameWriter::default();
    out.headers(5, &request("/edit/0").encode(), true);
    let (_, daemon) = play.client(&drain(&mut out));
    assert!(matches!(daemon[..], [Seen::Head(5, true, _)]));
}

#[test]
fn a_refused_call_never_reaches_the_daemon() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let (client, daemon) = play.client(&headers(1, "/what"));
    assert_eq!(client, [head(1, true, &REFUSED), reset(1, Code::No)]);
    assert_eq!(daemon, []);
    // What was on its way already is swallowed, and the window given back.
    let more = [
        frame(kind::DATA, flag::END_STREAM, 1, b"12345"),
        window_update(1, 5),
        frame(kind::RST_STREAM, 0, 1, &[0; 4]),
    ];
    assert_eq!(play.client(&more.concat()), (vec![raised(0, 5)], vec![]));
    let mut out = FrameWriter::default();
    out.headers(3, &request("/what").encode(), true);
    let (client, daemon) = play.client(&drain(&mut out));
    assert_eq!((client, daemon), (vec![head(3, true, &REFUSED)], vec![]));
    play.open(5, "/pass/x");
}

#[test]
fn a_refused_message_ends_the_call_at_both_ends() {
    let rules = Rules::default();
    let long = (MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes();
    let long = [&[0][..], &long].concat();
    let cut = [&message(b"x")[..], &[0, 0]].concat();
    for (flags, bytes, status) in [
        (0, message(b"bad"), "3"),
        (flag::END_STREAM, message(b"bad"), "3"),
        (0, vec![1, 0, 0, 0, 0], "12"),
        (0, long, "8"),
        (flag::END_STREAM, cut, "3"),
    ] {
        let mut play = Play::new(&rules);
        play.open(1, "/edit/0");
        let (client, daemon) = play.client(&frame(kind::DATA, flags, 1, &bytes));
        assert_eq!(daemon, [reset(1, Code::Cancel)], "{bytes:?}");
        let Seen::Head(1, true, fields) = &client[1] else {
            panic!("{client:?}");
        };
        assert_eq!(fields[2], ("grpc-status".to_owned(), status.to_owned()));
        let rest: &[Seen] = if flags == 0 {
            &[reset(1, Code::No)]
        } else {
            &[]
        };
        assert_eq!(client[2..], *rest);
        // What the daemon says of it is too late, and its window is given back.
        let mut out = FrameWriter::default();
        out.headers(1, &Fields::default().encode(), false);
        out.raw(&frame(kind::DATA, 0, 1, b"1234"));
        out.raw(&window_update(1, 7));
        out.raw(&frame(kind::RST_STREAM, 0, 1, &[0; 4]));
        let seen = play.daemon(&drain(&mut out));
        assert_eq!(seen, (vec![], vec![raised(0, 4)]));
    }
}

#[test]
fn a_second_message_may_be_refused_behind_the_answer() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/0");
    play.client(&frame(kind::DATA, 0, 1, &message(b"good")));
    let mut out = FrameWriter::default();
    out.headers(1, &Fields::default().encode(), false);
    play.daemon(&drain(&mut out));
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 1, &message(b"bad")));
    assert_eq!(daemon, [reset(1, Code::Cancel)]);
    let trailers = [
        ("grpc-status", "3"),
        ("grpc-message", "docker-label-proxy: bad message"),
    ];
    assert_eq!(client[1..], [head(1, true, &trailers), reset(1, Code::No)]);

    // Where the daemon has had the last word, there is nothing to answer.
    play.open(3, "/edit/0");
    let mut out = FrameWriter::default();
    out.headers(3, &Fields::default().encode(), true);
    play.daemon(&drain(&mut out));
    let (client, _) = play.client(&frame(kind::DATA, 0, 3, &message(b"bad")));
    assert_eq!(client[1..], [reset(3, Code::No)]);
}

#[test]
fn a_client_waits_once_its_frames_have_become_many_bytes() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let sent: Vec<u8> = (0..1000)
        .flat_map(|n| headers(2 * n + 1, &format!("/{}", "x".repeat(8000))))
        .collect();
    let mut rest = &sent[..];
    let mut waits = 0;
    while !rest.is_empty() {
        let used = play.connection.take_from_client(rest).unwrap();
        assert!(used > 0);
        rest = &rest[used..];
        waits += usize::from(!rest.is_empty());
        play.seen();
    }
    assert_eq!(waits, 0, "short answers need no waiting");

    let sent: Vec<u8> = (0..100)
        .flat_map(|n| headers(2 * n + 2001, &format!("/pass/{}", "x".repeat(8000))))
        .collect();
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let used = play.connection.take_from_client(rest).unwrap();
        assert!(used > 0);
        assert!(play.connection.to_daemon.len() < 150 * 1024);
        rest = &rest[used..];
        waits += usize::from(!rest.is_empty());
        play.seen();
    }
    assert!(waits > 3, "{waits}");
}

#[test]
fn an_interim_answer_does_not_take_the_place_of_the_status() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/0");
    let mut out = FrameWriter::default();
    let mut interim = Fields::default();
    interim.push(":status", "100");
    out.headers(1, &interim.encode(), false);
    play.daemon(&drain(&mut out));
    let (to_client, _) = play.client(&frame(kind::DATA, 1, 1, &message(b"bad")));
    let Some(Seen::Head(1, true, fields)) =
        to_client.iter().find(|seen| matches!(seen, Seen::Head(..)))
    else {
        panic!("no answer: {to_client:?}")
    };
    assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
}

#[test]
fn what_is_no_request_of_grpc_is_rejected() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let mut twice = request("/pass/x");
    twice.0.insert(0, (b":path".to_vec(), b"/pass/y".to_vec()));
    let mut out = FrameWriter::default();
    out.headers(1, &twice.encode(), false);
    let seen = play.client(&drain(&mut out));
    assert_eq!(seen, (vec![reset(1, Code::Protocol)], vec![]));

    // Trailers of the client.
    play.open(3, "/edit/0");
    let seen = play.client(&headers(3, "/edit/0"));
    let expected = (vec![reset(3, Code::Protocol)], vec![reset(3, Code::Cancel)]);
    assert_eq!(seen, expected);
    assert_eq!(play.client(&headers(3, "/pass/x")), (vec![], vec![]));
    assert_eq!(play.client(&headers(1, "/pass/x")), (vec![], vec![]));
}

#[test]
fn an_edited_call_has_no_length() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let mut fields = request("/edit/1");
    fields.push("content-length", "6");
    let mut out = FrameWriter::default();
    out.headers(1, &fields.encode(), false);
    let (_, daemon) = play.client(&drain(&mut out));
    assert_eq!(daemon, Reader::new().read(&headers(1, "/edit/1")));
}

#[test]
fn streams_end_and_are_forgotten() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let answer = |id| {
        let mut out = FrameWriter::default();
        out.headers(id, &Fields::default().encode(), true);
        drain(&mut out)
    };
    let end = |id| frame(kind::DATA, flag::END_STREAM, id, b"");
    for id in (1..4000).step_by(4) {
        play.open(id, "/pass/x");
        play.open(id + 2, "/edit/0");
        play.client(&end(id));
        play.daemon(&answer(id));
        play.daemon(&answer(id + 2));
        play.client(&end(id + 2));
        assert_eq!(play.connection.streams.len(), 0);
    }
    for (id, by) in [(4001, true), (4003, false)] {
        play.open(id, "/pass/x");
        let bytes = frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
        let (client, daemon) = match by {
            true => play.client(&bytes),
            false => play.daemon(&bytes),
        };
        assert_eq!([client, daemon].concat(), [reset(id, Code::Cancel)]);
        assert_eq!(play.connection.streams.len(), 0);
    }
}

#[test]
fn there_are_only_so_many_streams() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let last = MAX_STREAMS as u32 * 2 + 1;
    for id in (1..last).step_by(2) {
        play.open(id, "/pass/x");
    }
    let seen = play.client(&headers(last, "/pass/x"));
    assert_eq!(seen, (vec![reset(last, Code::RefusedStream)], vec![]));
    play.client(&frame(kind::RST_STREAM, 0, 1, &[0; 4]));
    play.open(last + 2, "/pass/x");
}

#[test]
fn hostile_frames_end_the_connection() {
    let rules = Rules::default();
    let data = |stream, len| frame(kind::DATA, 0, stream, &vec![0; len]);
    let block = |flags, stream, bytes: &[u8]| frame(kind::HEADERS, flags, stream, bytes);
    let opened = headers(1, "/pass/x");
    let flood = [
        block(0, 1, b""),
        frame(kind::CONTINUATION, 0, 1, &[0; 16_000]).repeat(5),
    ];
    let empty_flood = [
        block(0, 1, b""),
        frame(kind::CONTINUATION, 0, 1, &[]).repeat(8000),
    ];
    let bomb = [&b"\x40\x01a\x7f\x80\x1e"[..], &[b'x'; 3967], &[0xbe; 1000]];
    let full = [&opened[..], &data(1, 16_384).repeat(4)].concat();
    for (what, bytes, expected) in [
        ("even stream", headers(2, "/pass/x"), Code::Protocol),
        ("stream 0", headers(0, "/pass/x"), Code::Protocol),
        ("idle data", data(1, 1), Code::Protocol),
        (
            "even data",
            [&headers(3, "/pass/x")[..], &data(2, 1)].concat(),
            Code::Protocol,
        ),
        (
            "idle reset",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
            Code::Protocol,
        ),
        ("idle window", window_update(1, 1), Code::Protocol),
        ("no increment", window_update(0, 0), Code::Protocol),
        (
            "push",
            frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]),
            Code::Protocol,
        ),
        (
            "continuation",
            frame(kind::CONTINUATION, 4, 1, b""),
            Code::Protocol,
        ),
        (
            "within a block",
            [block(0, 1, b""), settings(&[])].concat(),
            Code::Protocol,
        ),
        ("long frame", data(1, 16_385), Code::FrameSize),
        (
            "short ping",
            frame(kind::PING, 0, 0, b"1234567"),
            Code::FrameSize,
        ),
        (
            "settings",
            frame(kind::SETTINGS, 0, 0, b"12345"),
            Code::FrameSize,
        ),
        (
            "frame size",
            settings(&[(setting::MAX_FRAME_SIZE, 1)]),
            Code::Protocol,
        ),
        (
            "window",
            settings(&[(setting::INITIAL_WINDOW_SIZE, u32::MAX)]),
            Code::FlowControl,
        ),
        (
            "padding",
            [&opened[..], &frame(kind::DATA, flag::PADDED, 1, b"\x05...")].concat(),
            Code::Protocol,
        ),
        (
            "padded head",
            block(flag::PADDED | flag::END_HEADERS, 1, b"\x05..."),
            Code::Protocol,
        ),
        (
            "bad block",
            block(flag::END_HEADERS, 1, b"\xff"),
            Code::Compression,
        ),
        ("flood", flood.concat(), Code::EnhanceYourCalm),
        ("empty flood", empty_flood.concat(), Code::EnhanceYourCalm),
        (
            "bomb",
            block(flag::END_HEADERS, 1, &bomb.concat()),
            Code::EnhanceYourCalm,
        ),
        ("overrun", full, Code::FlowControl),
        (
            "behind the end",
            [opened, frame(kind::DATA, 1, 1, b""), data(1, 0)].concat(),
            Code::StreamClosed,
        ),
    ] {
        let mut play = Play::new(&rules);
        assert_eq!(play.client_error(&bytes), Some(expected), "{what}");
        let error = ConnectionError::new(expected, "why");
        drain(&mut play.connection.to_client);
        play.connection.fail(&error);
        let seen = play.client.read(&drain(&mut play.connection.to_client));
        let code = (expected as u32).to_be_bytes();
        let last = play.connection.last_stream.to_be_bytes();
        let payload = [&last[..], &code, b"why"].concat();
        assert_eq!(seen, [Seen::Frame(kind::GOAWAY, 0, 0, payload)]);
    }
}

#[test]
fn a_wrong_beginning_ends_the_connection() {
    let rules = Rules::default();
    for hello in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_vec(),
        [PREFACE, &frame(kind::PING, 0, 0, b"12345678")].concat(),
        [PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, b"")].concat(),
    ] {
        let mut connection = connection(&rules);
        let result = connection.take_from_client(&hello);
        assert_eq!(code(result), Some(Code::Protocol));
    }
}

#[test]
fn a_daemon_that_breaks_the_rules_ends_the_connection() {
    let rules = Rules::default();
    let mut out = FrameWriter::default();
    out.headers(3, &Fields::default().encode(), false);
    for bytes in [
        drain(&mut out),
        frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]),
        window_update(0, MAX_WINDOW as u32),
        frame(kind::DATA, 0, 1, &[0; 16_385]),
        settings(&[]).repeat(101),
    ] {
        let mut play = Play::new(&rules);
        play.open(1, "/pass/x");
        assert!(play.connection.take_from_daemon(&bytes).is_err());
    }
    let mut connection = connection(&rules);
    let ping = frame(kind::PING, 0, 0, b"12345678");
    assert!(connection.take_from_daemon(&ping).is_err());
}

#[test]
fn unknown_frames_are_discarded() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    let bytes = frame(0x10, 0xff, 1, b"anything");
    assert_eq!(play.client(&bytes), (vec![], vec![]));
    assert_eq!(play.daemon(&bytes), (vec![], vec![]));
}

#[test]
fn padding_of_the_client_is_dropped_and_its_window_given_back() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    let padded = frame(kind::DATA, flag::PADDED, 1, b"\x03abc...");
    let (client, daemon) = play.client(&padded);
    assert_eq!(client, [raised(1, 4), raised(0, 4)]);
    assert_eq!(daemon, [data(1, false, b"abc")]);
}

#[test]
fn prior_knowledge_is_for_grpc_alone() {
    let rules = Rules::default();
    let mut connection = Connection::new(1, &rules, Start::PriorKnowledge);
    let hello = [PREFACE, &settings(&[])].concat();
    // A daemon that does not speak HTTP/2 gets nothing that it might take for a request.
    assert_eq!(connection.take_from_client(&hello), Ok(PREFACE.len()));
    assert!(!connection.listens_to_client());
    assert_eq!(drain(&mut connection.to_daemon), PREFACE);
    connection.take_from_daemon(&settings(&[])).unwrap();
    assert!(connection.listens_to_client());
    connection.take_from_client(&settings(&[])).unwrap();
    let mut play = Play {
        connection,
        client: Reader::new(),
        daemon: Reader::new(),
    };
    play.seen();
    for (id, kind) in [
        (1, Some("application/json")),
        (3, Some("Application/grpc")),
        (5, None),
    ] {
        let mut fields = request("/containers/create");
        fields.remove("content-type");
        if let Some(kind) = kind {
            fields.push("content-type", kind);
            fields.push("content-type", "application/grpc");
        }
        let mut out = FrameWriter::default();
        out.headers(id, &fields.encode(), false);
        let seen = play.client(&drain(&mut out));
        assert_eq!(seen, (vec![reset(id, Code::Http11Required)], vec![]));
    }
    play.open(7, "/pass/x");
    let (client, _) = play.client(&headers(9, "/containers/create"));
    assert_eq!(client, [head(9, true, &REFUSED), reset(9, Code::No)]);
}

/// A conversation of a client, with all that matters to how it is cut into pieces.
fn conversation() -> Vec<u8> {
    let mut long = request("/pass/long");
    long.push("x", vec![b'x'; 16_000]);
    let mut out = FrameWriter::default();
    out.headers(7, &long.encode(), false);
    [
        PREFACE.to_vec(),
        settings(&[(setting::HEADER_TABLE_SIZE, 100)]),
        headers(1, "/edit/20"),
        frame(kind::DATA, 0, 1, &message(b"hello")[..3]),
        headers(3, "/pass/x"),
        frame(kind::DATA, flag::PADDED, 3, b"\x03abc..."),
        frame(kind::DATA, flag::END_STREAM, 1, &message(b"hello")[3..]),
        headers(5, "/refused"),
        drain(&mut out),
        frame(kind::DATA, 0, 5, b"late"),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::DATA, flag::END_STREAM, 3, &[7; 9000]),
        headers(2, "/even"),
    ]
    .concat()
}

/// What both ends get, and how it ends, when the client's bytes come in pieces of these sizes.
fn in_pieces(
    bytes: &[u8],
    mut size: impl FnMut() -> usize,
) -> (Vec<u8>, Vec<u8>, Option<ConnectionError>) {
    let rules = Rules::default();
    let mut connection = connection(&rules);
    connection.take_from_daemon(&settings(&[])).unwrap();
    let (mut from, mut to) = (0, 0);
    let mut error = None;
    while to < bytes.len() && error.is_none() {
        to = bytes.len().min(to + size());
        match connection.take_from_client(&bytes[from..to]) {
            Ok(n) => from += n,
            Err(what) => error = Some(what),
        }
    }
    let (to_client, to_daemon) = (&mut connection.to_client, &mut connection.to_daemon);
    (drain(to_client), drain(to_daemon), error)
}

#[test]
fn any_split_of_the_bytes_gives_the_same() {
    let bytes = conversation();
    let whole = in_pieces(&bytes, || usize::MAX / 2);
    assert_eq!(
        whole.2.as_ref().map(|error| error.code),
        Some(Code::Protocol)
    );
    assert!(whole.1.len() > 25_000);
    for size in 1..600 {
        assert!(in_pieces(&bytes, || size) == whole, "{size}");
    }
    for cut in 0..1000 {
        let mut sizes = [cut.max(1), usize::MAX / 2].into_iter().cycle();
        assert!(
            in_pieces(&bytes, || sizes.next().unwrap()) == whole,
            "{cut}"
        );
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}

/// Asserts that the daemon is sent whole frames behind the preface, and no message of an edited
/// call that has not been edited.
fn expect_edited(to_daemon: &[u8]) {
    let Some(frames) = to_daemon.strip_prefix(PREFACE) else {
        assert!(to_daemon.is_empty());
        return;
    };
    let mut reader = Reader::new();
    let mut calls: BTreeMap<u32, (usize, Unread)> = BTreeMap::new();
    for seen in reader.read(frames) {
        match seen {
            Seen::Head(id, _, fields) => {
                let mut fields = fields.iter();
                let path = fields.find_map(|(name, value)| (name == ":path").then_some(value));
                let growth = path.and_then(|path| path.strip_prefix("/edit/"));
                if let Some(growth) = growth {
                    calls.insert(id, (growth.parse().unwrap(), Unread::default()));
                }
            }
            Seen::Frame(kind::DATA, _, id, payload) => {
                let Some((growth, unread)) = calls.get_mut(&id) else {
                    continue;
                };
                unread.push(&payload);
                while let Some(message) = unread.next_message().unwrap() {
                    assert!(message.ends_with(&vec![b'+'; *growth]));
                }
            }
            Seen::Frame(..) => (),
        }
    }
    assert!(reader.bytes.is_empty());
}

/// Changes up to four bytes at random.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(400).min(bytes.len() - 1);
        match random.below(3) {
            0 => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
}

#[test]
fn damaged_bytes_do_no_harm() {
    let bytes = conversation();
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        damage(&mut damaged, &mut random);
        let whole = in_pieces(&damaged, || usize::MAX / 2);
        expect_edited(&whole.1);
        let pieces = in_pieces(&damaged, || 1 + random.below(50));
        assert!(pieces == whole);
    }
}

#[test]
fn a_damaged_answer_does_no_harm() {
    let mut out = FrameWriter::default();
    for id in [1, 3, 5] {
        out.headers(id, &request("/answer").encode(), false);
        out.raw(&frame(kind::DATA, flag::PADDED, id, b"\x02progress.."));
        out.raw(&window_update(id, 1000));
    }
    out.raw(&settings(&[
        (setting::INITIAL_WINDOW_SIZE, 3),
        (setting::MAX_FRAME_SIZE, 20_000),
    ]));
    out.raw(&window_update(0, 100));
    out.headers(1, &request("/end").encode(), true);
    out.raw(&frame(kind::RST_STREAM, 0, 3, &[0; 4]));
    out.raw(&frame(kind::GOAWAY, 0, 0, &[0; 8]));
    let bytes = drain(&mut out);
    let client = conversation();
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..2000 {
        let rules = Rules::default();
        let mut connection = connection(&rules);
        let mut damaged = bytes.clone();
        damage(&mut damaged, &mut random);
        let (mut from_client, mut from_daemon) = (&client[..], &damaged[..]);
        connection.take_from_daemon(&settings(&[])).unwrap();
        let mut goes_on = true;
        while goes_on && (!from_client.is_empty() || !from_daemon.is_empty()) {
            for (bytes, is_client) in [(&mut from_client, true), (&mut from_daemon, false)] {
                let n = 1 + random.below(30_000);
                let piece = &bytes[..bytes.len().min(n)];
                let result = match is_client {
                    true => connection.take_from_client(piece),
                    false => connection.take_from_daemon(piece),
                };
                match result {
                    // A frame that is larger than the piece has to come in one.
                    Ok(0) if piece.len() == bytes.len() => *bytes = &[],
                    Ok(n) => *bytes = &bytes[n..],
                    Err(_) => goes_on = false,
                }
            }
        }
        expect_edited(&drain(&mut connection.to_daemon));
        let mut reader = Reader::new();
        reader.read(&drain(&mut connection.to_client));
        assert!(reader.bytes.is_empty());
    }
}

/// A client that sends as much as it may, and a daemon that lets no byte more than that pass.
struct Strict {
    connection: i64,
    first: i64,
    streams: BTreeMap<u32, i64>,
}

impl Strict {
    fn new() -> Strict {
        Strict {
            connection: DEFAULT_WINDOW,
            first: DEFAULT_WINDOW,
            streams: BTreeMap::new(),
        }
    }

    fn stream(&mut self, id: u32) -> &mut i64 {
        self.streams.entry(id).or_insert(self.first)
    }

    fn raise(&mut self, id: u32, increment: i64) {
        let window = match id {
            0 => &mut self.connection,
            id => self.stream(id),
        };
        *window += increment;
        assert!(*window <= MAX_WINDOW);
    }

    fn resize(&mut self, first: i64) {
        let change = first - std::mem::replace(&mut self.first, first);
        for window in self.streams.values_mut() {
            *window += change;
        }
    }

    fn use_up(&mut self, id: u32, n: usize) {
        self.connection -= n as i64;
        *self.stream(id) -= n as i64;
        let is_right = n == 0 || self.connection >= 0 && *self.stream(id) >= 0;
        assert!(is_right, "stream {id} is overrun");
    }
}

/// Plays calls through windows of 64 KiB until nothing moves any more; `lazy` is how much the
/// daemon lets come together before it gives a window back. What the daemon has got is returned.
fn play_calls(calls: &[(&str, Vec<u8>)], lazy: i64, resizes: &[u32]) -> BTreeMap<u32, Vec<u8>> {
    let rules = Rules::default();
    let mut connection = connection(&rules);
    let (mut client, mut daemon) = (Strict::new(), Strict::new());
    let (mut client_reader, mut daemon_reader) = (Reader::new(), Reader::new());
    let mut unsent: BTreeMap<u32, &[u8]> = BTreeMap::new();
    let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut kept: BTreeMap<u32, i64> = BTreeMap::new();
    let mut resizes = resizes.iter();

    connection
        .take_from_client(&[PREFACE, &settings(&[])].concat())
        .unwrap();
    connection.take_from_daemon(&settings(&[])).unwrap();
    drain(&mut connection.to_daemon);
    let mut ids = (1..).step_by(2);
    for (path, bytes) in calls {
        let id = ids.next().unwrap();
        connection.take_from_client(&headers(id, path)).unwrap();
        unsent.insert(id, bytes);
    }
    loop {
        let mut moved = false;
        // The client sends a frame on each stream.
        for (&id, rest) in &mut unsent {
            let room = client.connection.min(*client.stream(id)).clamp(0, 16_384) as usize;
            let n = rest.len().min(room);
            if n == 0 {
                continue;
            }
            moved = true;
            client.use_up(id, n);
            let flags = u8::from(n == rest.len());
            let bytes = frame(kind::DATA, flags, id, &rest[..n]);
            *rest = &rest[n..];
            assert_eq!(connection.take_from_client(&bytes), Ok(bytes.len()));
        }
        // The daemon reads, and gives windows back.
        let mut answer = Vec::new();
        for seen in daemon_reader.read(&drain(&mut connection.to_daemon)) {
            let Seen::Frame(kind::DATA, _, id, payload) = seen else {
                continue;
            };
            moved = true;
            assert!(payload.len() <= MIN_MAX_PAYLOAD);
            daemon.use_up(id, payload.len());
            got.entry(id).or_default().extend(&payload);
            for id in [0, id] {
                *kept.entry(id).or_default() += payload.len() as i64;
            }
        }
        for (&id, kept) in &mut kept {
            if *kept > lazy {
                answer.extend(window_update(id, *kept as u32));
                daemon.raise(id, std::mem::take(kept));
            }
        }
        if let Some(&first) = resizes.next() {
            answer.extend(settings(&[(setting::INITIAL_WINDOW_SIZE, first)]));
            daemon.resize(i64::from(first));
            moved = true;
        }
        assert_eq!(connection.take_from_daemon(&answer), Ok(answer.len()));
        // The client learns of its windows.
        for seen in client_reader.read(&drain(&mut connection.to_client)) {
            match seen {
                Seen::Frame(kind::WINDOW_UPDATE, _, id, payload) => {
                    let increment = u32::from_be_bytes(payload.try_into().unwrap());
                    client.raise(id, i64::from(increment));
                }
                Seen::Frame(kind::SETTINGS, 0, _, payload) => {
                    if let Ok(pair) = <[u8; 6]>::try_from(payload) {
                        let first = u32::from_be_bytes(pair[2..].try_into().unwrap());
                        client.resize(i64::from(first));
                    }
                    let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
                    connection.take_from_client(&ack).unwrap();
                }
                seen => panic!("{seen:?}"),
            }
        }
        if !moved {
            break;
        }
    }
    assert!(
        unsent.values().all(|rest| rest.is_empty()),
        "the client is stuck"
    );
    assert!(!connection.has_waiting(), "the proxy is stuck");
    // All windows are again what they were but for what the daemon keeps.
    let kept = kept.get(&0).copied().unwrap_or_default();
    assert_eq!(daemon.connection, DEFAULT_WINDOW - kept);
    assert!(client.connection >= daemon.connection);
    assert!(client.connection <= DEFAULT_WINDOW);
    got
}

#[test]
fn large_messages_flow_through_small_windows() {
    let large: Vec<u8> = (0..MAX_MESSAGE_BYTES).map(|i| (i / 251) as u8).collect();
    let passed = vec![9; 1_000_000];
    let edited = |growth| [&large[..], &vec![b'+'; growth]].concat();
    let calls = [
        ("/pass/1", passed.clone()),
        ("/edit/1000000", message(&large)),
        ("/edit/0", message(&large)),
        ("/pass/2", passed.clone()),
    ];
    for lazy in [0, 65_534] {
        let got = play_calls(&calls, lazy, &[]);
        assert!(got[&1] == passed && got[&7] == passed);
        assert!(got[&3] == message(&edited(1_000_000)));
        assert!(got[&5] == message(&large));
    }
}

#[test]
fn small_messages_may_grow_beyond_the_window() {
    let small = [message(b"a"), message(b"b"), message(b"c")].concat();
    let calls = [("/edit/100000", small), ("/pass/1", vec![1; 70_000])];
    for lazy in [0, 65_534] {
        let got = play_calls(&calls, lazy, &[]);
        assert_eq!(got[&1].len(), 3 * 100_006);
        assert_eq!(got[&3].len(), 70_000);
    }
}

#[test]
fn windows_may_change_on_the_way() {
    let calls = [
        ("/edit/100000", message(&vec![5; 300_000])),
        ("/pass/1", vec![1; 300_000]),
    ];
    for resizes in [
        &[0, 100_000][..],
        &[1_000_000, 10, 65_535],
        &[0, 0, 0, 1],
        &[200_000, 1, 100, 65_535, 20_000],
    ] {
        let got = play_calls(&calls, 0, resizes);
        assert_eq!(got[&1].len(), 400_005);
        assert_eq!(got[&3].len(), 300_000);
    }
}

#[test]
fn a_stream_that_ends_gives_back_what_waits_on_it() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/65535");
    play.open(3, "/pass/x");
    play.client(&frame(kind::DATA, flag::END_STREAM, 1, &message(b"")));
    // The daemon's window is used up, the client's is not.
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 3, &[1; 1000]));
    assert_eq!((client, daemon), (vec![], vec![]));
    let bytes = frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    let (client, daemon) = play.client(&bytes);
    assert_eq!(
        (client, daemon),
        (vec![raised(0, 1000)], vec![reset(3, Code::Cancel)])
    );
    let (client, daemon) = play.daemon(&window_update(0, 65_535));
    assert_eq!(client, []);
    assert_eq!(daemon, []);
    // Five bytes of the message are left for want of a window of the stream.
    let (_, daemon) = play.daemon(&window_update(1, 5));
    assert_eq!(daemon, [data(1, true, b"+++++")]);
}

#[test]
fn what_is_held_is_bounded() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let start = [0, 0, 0xff, 0xff, 0xff];
    let mut held = 0;
    'all: for id in (1..).step_by(2) {
        play.open(id, "/edit/0");
        play.client(&frame(kind::DATA, 0, id, &start));
        for _ in 0..1023 {
            let (client, daemon) = play.client(&frame(kind::DATA, 0, id, &[0; 16_384]));
            held += 16_384;
            if !daemon.is_empty() {
                assert_eq!(daemon, [reset(id, Code::Cancel)]);
                let is_8 = |(name, value): &(String, String)| name == "grpc-status" && value == "8";
                assert!(
                    matches!(&client[1], Seen::Head(_, true, fields) if fields.iter().any(is_8))
                );
                break 'all;
            }
        }
    }
    assert!((63 << 20..65 << 20).contains(&held), "{held}");
}

#[test]
fn frames_are_as_large_as_the_daemon_takes_them() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/30000");
    play.daemon(&settings(&[(setting::MAX_FRAME_SIZE, 20_000)]));
    let (_, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, 1, &message(b"")));
    let lens = daemon.iter().map(|seen| match seen {
        Seen::Frame(kind::DATA, _, 1, payload) => payload.len(),
        seen => panic!("{seen:?}"),
    });
    assert_eq!(lens.collect::<Vec<_>>(), [20_000, 10_005]);
    // And the client may send them as large.
    play.open(3, "/pass/x");
    let large = frame(kind::DATA, 0, 3, &[1; 20_000]);
    assert_eq!(play.client(&large).1, [data(3, false, &[1; 20_000])]);
}

#[test]
fn both_windows_hold_the_client() {
    let rules = Rules::default();
    for (raised, ids) in [(0, [1, 1]), (1, [1, 3])] {
        // The window that is not tested is wide open.
        let mut play = Play::new(&rules);
        play.open(1, "/pass/x");
        play.open(3, "/pass/x");
        play.daemon(&window_update(raised, 1_000_000));
        for id in [ids[0], ids[0], ids[1]] {
            play.client(&frame(kind::DATA, 0, id, &[0; 16_384]));
        }
        play.client(&frame(kind::DATA, 0, ids[1], &[0; 16_383]));
        let one_more = frame(kind::DATA, 0, ids[1], b"x");
        assert_eq!(
            play.client_error(&one_more),
            Some(Code::FlowControl),
            "{raised}"
        );
    }
}

#[test]
fn a_lower_window_holds_the_client_once_it_knows_of_it() {
    let rules = Rules::default();
    for (acknowledged, expected) in [(false, None), (true, Some(Code::FlowControl))] {
        let mut play = Play::new(&rules);
        play.client(&frame(kind::SETTINGS, flag::ACK, 0, b""));
        play.open(1, "/edit/0");
        play.daemon(&settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]));
        if acknowledged {
            play.client(&frame(kind::SETTINGS, flag::ACK, 0, b""));
        }
        play.open(3, "/edit/0");
        for id in [1, 3] {
            let bytes = frame(kind::DATA, 0, id, &message(&[1; 10])[..11]);
            assert_eq!(play.client_error(&bytes), expected, "{id}");
        }
    }
}
