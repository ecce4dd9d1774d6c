//! What docker's own clients do not send to BuildKit, from a gRPC client that writes its own
//! frames: builds of bare steps (LLB), with and without an image configuration, and calls that are
//! refused.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use loona_hpack::Decoder;
use support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GRPC, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    SWITCHED, block, frame, message, next,
};
use support::{Kind, Wire};

use super::{Covered, On, own, path, rule};
use crate::case::{Case, LabelMap};
use crate::command::succeed;
use crate::engine::{JOB, engine};

const CONTROL_SOLVE: &str = "/moby.buildkit.v1.Control/Solve";
pub(super) const BRIDGE: &str = "/moby.buildkit.v1.frontend.LLBBridge";

pub fn cases() -> Vec<Covered> {
    let row = "POST /grpc";
    vec![
        path(row, "a result without a configuration", On::Docker, || {
            steered(&[], &[], &[]);
        }),
        path(row, "a result with other labels", On::Docker, || {
            // containerd's image store wants the platform.
            let config = format!(
                r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"own":"1","{JOB}":"mine"}}}}}}"#
            );
            steered(&[("containerimage.config", &config)], &[], &[("own", "1")]);
        }),
        path(row, "an exporter with a configuration", On::Docker, || {
            let evil = r#"{"config":{"Labels":{"evil":"1"}}}"#;
            steered(&[], &[("containerimage.config", evil)], &[]);
        }),
        rule(row, "bare build steps are refused", On::Docker, bare),
        rule(
            row,
            "unknown calls and compressed messages are refused",
            On::Docker,
            unknown,
        ),
    ]
}

/// Encodes a field of a protobuf message: a string, bytes or a message.
pub(super) fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut out = varint(usize::from(number) << 3 | 2);
    out.extend(varint(value.len()));
    out.extend_from_slice(value);
    out
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// Encodes a map of strings as field `map`.
pub(super) fn entries(map: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| field(map, [field(1, key), field(2, value)].concat());
    pairs.iter().flat_map(entry).collect()
}

/// Returns the value of a field in a message that has only strings, bytes and messages.
fn get(mut message: &[u8], wanted: u8) -> Vec<u8> {
    let take = |message: &mut &[u8]| {
        let mut n = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = message.split_first().expect("a whole message");
            *message = rest;
            n |= usize::from(byte & 127) << shift;
            if byte < 128 {
                return n;
            }
        }
        unreachable!()
    };
    while !message.is_empty() {
        let tag = take(&mut message);
        assert_eq!(tag & 7, 2, "{message:?}");
        let len = take(&mut message);
        let (value, rest) = message.split_at(len);
        message = rest;
        if tag >> 3 == usize::from(wanted) {
            return value.to_vec();
        }
    }
    panic!("no field {wanted}")
}

/// What came of a call.
#[derive(Debug, Default)]
struct Answer {
    data: Vec<u8>,
    fields: BTreeMap<String, String>,
    has_ended: bool,
}

impl Answer {
    fn status(&self) -> (&str, &str) {
        let get = |name| self.fields.get(name).map(String::as_str);
        (
            get("grpc-status").unwrap_or("none"),
            get("grpc-message").unwrap_or(""),
        )
    }

    /// The message of a call that must have succeeded.
    fn message(&self) -> &[u8] {
        assert_eq!(self.status().0, "0", "{self:?}");
        &self.data[5..]
    }
}

struct Client {
    wire: Wire,
    decoder: Decoder<'static>,
    last: u32,
    answers: BTreeMap<u32, Answer>,
}

impl Client {
    fn new(mut wire: Wire) -> Client {
        wire.send(GRPC);
        wire.expect(SWITCHED);
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        let decoder = Decoder::new();
        let (last, answers) = (0, BTreeMap::new());
        let mut client = Client {
            wire,
            decoder,
            last,
            answers,
        };
        // After a first response the settings are exchanged.
        let info = client.start("/moby.buildkit.v1.Control/ListWorkers", "", &message(b""));
        client.end(info).message();
        client
    }

    /// Starts a call that belongs to `build`, or to none if that is empty. Returns its stream.
    fn start(&mut self, path: &str, build: &str, data: &[u8]) -> u32 {
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "d"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("buildkit-controlapi-buildid", build),
        ];
        let fields = if build.is_empty() {
            &fields[..6]
        } else {
            &fields
        };
        let head = frame(HEADERS, END_HEADERS, self.last, &block(fields));
        self.wire.send(head);
        self.wire.send(frame(DATA, END_STREAM, self.last, data));
        self.answers.insert(self.last, Answer::default());
        self.last
    }

    /// Waits for the end of the call on `stream`.
    fn end(&mut self, stream: u32) -> Answer {
        while !self.answers[&stream].has_ended {
            let frame = next(&mut self.wire);
            match (frame.kind, frame.flags & ACK) {
                (SETTINGS, 0) => self
                    .wire
                    .send(support::frames::frame(SETTINGS, ACK, 0, b"")),
                (PING, 0) => self
                    .wire
                    .send(support::frames::frame(PING, ACK, 0, &frame.payload)),
                _ => (),
            }
            let Some(answer) = self.answers.get_mut(&frame.stream) else {
                continue;
            };
            let ends = frame.flags & END_STREAM != 0;
            match frame.kind {
                DATA => answer.data.extend(frame.payload),
                HEADERS => {
                    let text = |bytes| String::from_utf8(bytes).unwrap();
                    let fields = self.decoder.decode(&frame.payload).unwrap().into_iter();
                    answer
                        .fields
                        .extend(fields.map(|(name, value)| (text(name), text(value))));
                }
                RST_STREAM => answer.has_ended = true,
                _ => continue,
            }
            answer.has_ended |= ends;
        }
        self.answers.remove(&stream).unwrap()
    }

    fn call(&mut self, path: &str, build: &str, data: &[u8]) -> Answer {
        let stream = self.start(path, build, &message(data));
        self.end(stream)
    }
}

/// Build steps whose result is the image of the run.
fn definition(case: &Case) -> Vec<u8> {
    let image = format!("docker-image://docker.io/library/{}:latest", engine().image);
    let attrs = entries(2, &[("image.resolvemode", "local")]);
    let source = field(3, [field(1, image), attrs].concat());
    fs::write(case.dir.join("step"), &source).unwrap();
    let mut sum = Command::new("sha256sum");
    sum.arg(case.dir.join("step"));
    let sum = succeed(sum);
    let digest = format!("sha256:{}", sum.split_once(' ').unwrap().0);
    let end = field(1, field(1, digest));
    [field(1, source), field(1, end)].concat()
}

/// A `Control/Solve` that exports an image of this name, for old daemons and new ones.
fn solve(case: &Case, image: &str, attrs: &[(&str, &str)]) -> Vec<u8> {
    let attrs = [&[("name", image)], attrs].concat();
    let exporter = [field(1, "moby"), entries(2, &attrs)].concat();
    [
        field(1, case.name("build")),
        field(3, "moby"),
        entries(4, &attrs),
        field(13, exporter),
    ]
    .concat()
}

/// Builds bare steps with a client that steers the build. `metadata` belong to the result, `attrs`
/// to the exporter. Asserts that the image has `labels` and the operator's.
fn steered(metadata: &[(&str, &str)], attrs: &[(&str, &str)], labels: &[(&str, &str)]) {
    let case = Case::new();
    let (image, build) = (case.name("i"), case.name("build"));
    let mut client = Client::new(case.connect());
    let ended = client.start(
        CONTROL_SOLVE,
        &build,
        &message(&solve(&case, &image, attrs)),
    );
    client
        .call(&format!("{BRIDGE}/Ping"), &build, b"")
        .message();
    // Sets allowResultReturn and allowResultArrayRef.
    let request = [field(1, definition(&case)), vec![0x28, 1, 0x30, 1]].concat();
    let solved = client.call(&format!("{BRIDGE}/Solve"), &build, &request);
    let mut result = get(solved.message(), 3);
    result.extend(entries(10, metadata));
    let returned = client.call(&format!("{BRIDGE}/Return"), &build, &field(1, result));
    returned.message();
    client.end(ended).message();
    let labels = if labels.is_empty() {
        LabelMap::new()
    } else {
        own(labels)
    };
    case.assert_labels(Kind::Image, &image, &labels);
}

fn bare() {
    let case = Case::new();
    let image = case.name("i");
    let request = [solve(&case, &image, &[]), field(2, definition(&case))].concat();
    let mut client = Client::new(case.connect());
    let answer = client.call(CONTROL_SOLVE, "", &request);
    let (status, text) = answer.status();
    assert_eq!(status, "9", "{answer:?}");
    assert!(
        text.starts_with("docker-label-proxy: an image that is not built"),
        "{text}"
    );
    assert!(engine().inspect(Kind::Image, &image).is_none());
    // Without the proxy the daemon creates it.
    let mut client = Client::new(engine().connect());
    client.call(CONTROL_SOLVE, "", &request).message();
    assert!(engine().inspect(Kind::Image, &image).is_some());
}

fn unknown() {
    let case = Case::new();
    let mut client = Client::new(case.connect());
    let image = case.name("i");
    let mut compressed = message(&solve(&case, &image, &[]));
    compressed[0] = 1;
    for (path, data, why) in [
        (CONTROL_SOLVE, compressed, "a compressed message"),
        (
            "/containerd.services.images.v1.Images/Create",
            message(b""),
            "the call ",
        ),
    ] {
        let stream = client.start(path, "", &data);
        let answer = client.end(stream);
        let (status, text) = answer.status();
        assert_eq!(status, "12", "{answer:?}");
        assert!(
            text.starts_with(&format!("docker-label-proxy: {why}")),
            "{text}"
        );
    }
    // The connection goes on.
    client
        .call("/moby.buildkit.v1.Control/ListWorkers", "", b"")
        .message();
}
