//! Creates written by hand: every form in which a create can be sent, and every form in which a
//! client can give labels. The engine's reading of the same request without the proxy defines what
//! the client asked for.

use serde_json::{Value, json};
use support::{Kind, Message, Wire};

use crate::case::{Case, LabelMap, labels_of};
use crate::creates::comparable;
use crate::engine::{JOB, engine, json as json_of};
use crate::{Test, test};

/// Turns the plain path into the target that is sent.
type Target = fn(&str) -> String;

/// How the target of a create is written.
const TARGETS: &[(&str, Target)] = &[
    ("unversioned path", |path| path.to_owned()),
    ("versioned path", |path| format!("/v{}{path}", engine().api)),
    ("encoded version", |path| {
        format!("/v{}{path}", engine().api.replace('.', "%2E"))
    }),
    ("encoded letter", |path| {
        format!("/%{:02x}{}", path.as_bytes()[1], &path[2..])
    }),
    ("encoded slash", |path| {
        format!("/v{}%2f{}", engine().api, &path[1..])
    }),
    ("absolute form", |path| format!("http://docker{path}")),
    ("absolute form of another scheme", |path| {
        format!("x:{path}")
    }),
];

/// How the bytes of a create are sent.
#[derive(Clone, Copy)]
enum Sending {
    Whole,
    Chunked,
    ByteByByte,
    /// The body only after an interim response 100.
    Expecting,
}

const SENDINGS: &[(&str, Sending)] = &[
    ("body in chunks", Sending::Chunked),
    ("byte by byte", Sending::ByteByByte),
    ("Expect: 100-continue", Sending::Expecting),
];

/// Labels as members of a JSON body.
const LABELS: &[(&str, &str)] = &[
    ("missing", ""),
    ("null", r#","Labels":null"#),
    ("empty", r#","Labels":{}"#),
    (
        "of the client's own",
        r#","Labels":{"a":"1","b":"\"\\ $é"}"#,
    ),
    (
        "with the operator's keys",
        r#","Labels":{"e2e.job":"mine","a":"1","e2e.note":""}"#,
    ),
    (
        "with the operator's key, escaped",
        r#","Labels":{"e2e\u002ejob":"mine"}"#,
    ),
    ("with a key twice", r#","Labels":{"a":"1","a":"2"}"#),
    ("with a null value", r#","Labels":{"a":null}"#),
    ("in lower case", r#","labels":{"a":"1"}"#),
    ("in upper case", r#","LABELS":{"a":"1"}"#),
    ("with an escaped name", r#","\u004cabels":{"a":"1"}"#),
    (
        "with a long s",
        ",\"label\u{17f}\":{\"e2e.job\":\"mine\",\"a\":\"1\"}",
    ),
    ("twice", r#","Labels":{"a":"1","b":"1"},"Labels":{"a":"2"}"#),
    (
        "twice, first in lower case",
        r#","labels":{"a":"1","b":"1"},"Labels":{"a":"2"}"#,
    ),
    (
        "twice, then in lower case",
        r#","Labels":{"a":"1","b":"1"},"labels":{"e2e.job":"mine","a":"2"}"#,
    ),
    (
        "three times",
        r#","LABELS":{"a":"1"},"labels":{"a":"2"},"Labels":{"e2e.job":"mine"}"#,
    ),
    (
        "wiped by a later null",
        r#","Labels":{"a":"1"},"labels":null"#,
    ),
    ("after a null", r#","labels":null,"Labels":{"a":"1"}"#),
];

/// Labels that the engine and the proxy must refuse.
const NO_LABELS: &[(&str, &str)] = &[
    ("as a list", r#","Labels":[]"#),
    ("as a string", r#","Labels":"a=b""#),
    ("as a number", r#","Labels":7"#),
    ("with a number as a value", r#","Labels":{"a":1}"#),
    ("with an object as a value", r#","Labels":{"a":{}}"#),
    ("twice, then as a list", r#","Labels":{},"labels":[]"#),
];

/// Labels in the query of a build.
const BUILD_LABELS: &[(&str, &str)] = &[
    ("missing", ""),
    ("empty", "&labels="),
    ("null", "&labels=null"),
    ("as an empty object", "&labels={}"),
    ("of the client's own", "&labels=%7B%22a%22%3A%221+%26%22%7D"),
    (
        "with the operator's key",
        "&labels={%22e2e.job%22:%22mine%22,%22a%22:%221%22}",
    ),
    ("with an encoded name", "&l%61bels={%22a%22:%221%22}"),
];

/// Labels in the query of a build that must be refused.
const NO_BUILD_LABELS: &[(&str, &str)] = &[
    ("as a list", "&labels=[]"),
    ("not as JSON", "&labels=a%3Db"),
    ("with a number as a value", "&labels={%22a%22:1}"),
    // Docker reads the first, Podman the last.
    (
        "twice",
        "&labels={%22a%22:%221%22}&labels={%22a%22:%222%22,%22b%22:%222%22}",
    ),
    (
        "twice, first with an encoded name",
        "&%6cabels={%22a%22:%221%22}&labels={%22b%22:%222%22}",
    ),
    (
        "after an empty parameter",
        "&labels=&labels={%22e2e.job%22:%22mine%22}",
    ),
];

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for kind in Kind::ALL {
        for &(name, target) in TARGETS {
            tests.push(test(format!("create/{kind}/{name}"), move || {
                labelled(kind, "", target, Sending::Whole);
            }));
        }
        for &(name, sending) in SENDINGS {
            tests.push(test(format!("create/{kind}/{name}"), move || {
                labelled(kind, "", str::to_owned, sending);
            }));
        }
        let (good, bad) = match kind {
            Kind::Image => (BUILD_LABELS, NO_BUILD_LABELS),
            _ => (LABELS, NO_LABELS),
        };
        for &(name, labels) in good {
            tests.push(test(format!("create/{kind}/labels {name}"), move || {
                labelled(kind, labels, str::to_owned, Sending::Whole);
            }));
        }
        for &(name, labels) in bad {
            tests.push(test(
                format!("create/{kind}/labels {name}, refused"),
                move || refused(kind, labels),
            ));
        }
    }
    for (name, body) in [("empty", ""), ("null", "null"), ("an empty object", "{}")] {
        tests.push(test(format!("create/volume/body {name}"), move || {
            volume_of_defaults(body)
        }));
    }
    tests.push(test(
        "create/container/numbers and unknown members are unchanged",
        numbers_stay,
    ));
    tests.push(test(
        "create/image/BuildKit without a session",
        build_with_buildkit,
    ));
    tests
}

/// Returns the target, content type and body that create `name`. `labels` are members or
/// parameters.
fn request(case: &Case, kind: Kind, name: &str, labels: &str) -> (String, &'static str, Vec<u8>) {
    let json = "application/json";
    match kind {
        Kind::Container => {
            let body = format!(r#"{{"Image":"{}"{labels},"Cmd":["true"]}}"#, engine().image);
            (format!("/containers/create?name={name}"), json, body.into())
        }
        Kind::Network => {
            let body = format!(r#"{{"Name":"{name}"{labels},"Internal":true}}"#);
            ("/networks/create".to_owned(), json, body.into())
        }
        Kind::Volume => {
            let body = format!(r#"{{"Name":"{name}"{labels},"Driver":"local"}}"#);
            ("/volumes/create".to_owned(), json, body.into())
        }
        Kind::Image => {
            // A step of its own, so that no other case finds it in the build cache and removes it.
            let dockerfile = format!("FROM {}\nENV BUILT_BY={}\n", engine().image, case.job);
            (
                format!("/build?t={name}{labels}"),
                "application/x-tar",
                tar("Dockerfile", dockerfile.as_bytes()),
            )
        }
    }
}

/// Sends a create and returns the final response.
fn send(
    wire: &mut Wire,
    target: &str,
    content_type: &str,
    body: &[u8],
    sending: Sending,
) -> Message {
    let head = format!("POST {target} HTTP/1.1\r\nHost: d\r\nContent-Type: {content_type}\r\n");
    let with_length = format!("{head}Content-Length: {}\r\n", body.len());
    match sending {
        Sending::Whole => wire.send([format!("{with_length}\r\n").as_bytes(), body].concat()),
        Sending::Chunked => {
            wire.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            for piece in body.chunks(body.len().div_ceil(5)) {
                wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            wire.send("0\r\n\r\n");
        }
        Sending::ByteByByte => {
            for byte in [format!("{with_length}\r\n").as_bytes(), body].concat() {
                wire.send([byte]);
            }
        }
        Sending::Expecting => {
            wire.send(format!("{with_length}Expect: 100-continue\r\n\r\n"));
            assert_eq!(Message::new(wire.head()).status(), 100);
            wire.send(body);
        }
    }
    wire.response()
}

fn assert_created(kind: Kind, response: &Message) {
    let expected = if kind == Kind::Image { 200 } else { 201 };
    assert_eq!(response.status(), expected, "{response:?}");
}

/// Creates the same past the proxy and through it. The labels must be those that the engine took
/// from the plain request, overlaid with the operator's. Everything else must be equal.
fn labelled(kind: Kind, labels: &str, target: Target, sending: Sending) {
    let case = Case::new();
    let plain = case.name("plain");
    let (path, content_type, body) = request(&case, kind, &plain, labels);
    let response = send(
        &mut engine().connect(),
        &path,
        content_type,
        &body,
        Sending::Whole,
    );
    assert_created(kind, &response);
    let plain_object = engine().inspect(kind, &plain).unwrap();

    let name = case.name("proxied");
    let (path, content_type, body) = request(&case, kind, &name, labels);
    let response = send(
        &mut case.connect(),
        &target(&path),
        content_type,
        &body,
        sending,
    );
    assert_created(kind, &response);
    let object = engine()
        .inspect(kind, &name)
        .unwrap_or_else(|| panic!("no {kind}: {response:?}"));
    assert_eq!(
        labels_of(kind, &object),
        case.labels_over(&labels_of(kind, &plain_object))
    );
    assert_eq!(
        comparable(kind, &object, &name),
        comparable(kind, &plain_object, &plain)
    );
}

fn refused(kind: Kind, labels: &str) {
    let case = Case::new();
    let name = case.name("refused");
    let (path, content_type, body) = request(&case, kind, &name, labels);
    let response = send(
        &mut case.connect(),
        &path,
        content_type,
        &body,
        Sending::Whole,
    );
    assert_eq!(response.status(), 400, "{response:?}");
    let message = json_of(&response)["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("docker-label-proxy: ") && message.to_lowercase().contains("labels"),
        "{message}"
    );
    assert_eq!(engine().inspect(kind, &name), None);
}

fn volume_of_defaults(body: &str) {
    let case = Case::new();
    let mut wire = case.connect();
    let content_type = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let length = body.len();
    wire.send(format!(
        "POST /volumes/create HTTP/1.1\r\nHost: d\r\n{content_type}Content-Length: {length}\r\n\r\n{body}"
    ));
    let response = wire.response();
    assert_eq!(response.status(), 201, "{response:?}");
    let name = json_of(&response)["Name"].as_str().unwrap().to_owned();
    let object = engine().inspect(Kind::Volume, &name).unwrap();
    let mut labels = labels_of(Kind::Volume, &object);
    // Newer engines mark anonymous volumes with it.
    labels.remove("com.docker.volume.anonymous");
    assert_eq!(labels, case.labels_over(&LabelMap::new()));
}

fn numbers_stay() {
    let case = Case::new();
    let name = case.name("numbers");
    // 2^53 + 1, which no double can represent.
    let rate = 9_007_199_254_740_993_u64;
    let body = format!(
        r#"{{"Image":"{}","HostConfig":{{"BlkioDeviceReadBps":[{{"Path":"/dev/null","Rate":{rate}}}],"Unknown":1e400}},"Cmd":["a\u0000b","\u00e9"],"Unknown":[1.0]}}"#,
        engine().image
    );
    let target = format!("/containers/create?name={name}");
    let response = send(
        &mut case.connect(),
        &target,
        "application/json; charset=utf-8",
        body.as_bytes(),
        Sending::Whole,
    );
    assert_created(Kind::Container, &response);
    case.assert_labelled(Kind::Container, &name);
    let object = engine().inspect(Kind::Container, &name).unwrap();
    assert_eq!(object["Config"]["Cmd"], json!(["a\0b", "é"]));
    assert_eq!(
        object["HostConfig"]["BlkioDeviceReadBps"],
        json!([{"Path": "/dev/null", "Rate": rate}])
    );
}

fn build_with_buildkit() {
    let case = Case::new();
    let name = case.name("built");
    let (path, content_type, body) = request(
        &case,
        Kind::Image,
        &name,
        "&version=2&labels={%22a%22:%221%22}",
    );
    let response = send(
        &mut case.connect(),
        &path,
        content_type,
        &body,
        Sending::Whole,
    );
    assert_created(Kind::Image, &response);
    let object = engine()
        .inspect(Kind::Image, &name)
        .unwrap_or_else(|| panic!("no image: {response:?}"));
    let own = LabelMap::from([("a".to_owned(), "1".to_owned())]);
    assert_eq!(labels_of(Kind::Image, &object), case.labels_over(&own));
    assert_eq!(labels_of(Kind::Image, &object)[JOB], case.job);
    let env: &Value = &object["Config"]["Env"];
    assert!(
        env.as_array()
            .unwrap()
            .contains(&json!(format!("BUILT_BY={}", case.job))),
        "{env}"
    );
}

/// An archive of one file.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).unwrap();
    archive.into_inner().unwrap()
}
