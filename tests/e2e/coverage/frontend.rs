//! A frontend of our own, in an image that a Dockerfile names in `# syntax=`. It returns an image
//! with labels of its choice, without build steps.

use std::fs;

use support::Kind;
use support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, message,
};

use super::llb::{BRIDGE, entries, field};
use super::{Covered, On, own, path};
use crate::case::{Case, labels_of};
use crate::command::succeed;
use crate::engine::{JOB, engine};

pub fn cases() -> Vec<Covered> {
    vec![path(
        "POST /grpc",
        "docker buildx build, a frontend in # syntax=",
        On::Plugin("buildx"),
        frontend,
    )]
}

/// The frontend. The daemon speaks gRPC with it over stdin and stdout. It sends a prepared call,
/// and exits when it has seen the response: an empty message.
const SCRIPT: &str = r#"cat /call
seen=
while byte=$(dd bs=1 count=1 2>/dev/null | od -An -tx1) && [ -n "$byte" ]; do
    seen=$seen$byte
    case $seen in *" 00 00 05 00 00 00 00 00 01 00 00 00 00 00") exit 0 ;; esac
done
exit 1
"#;

/// The bytes of a connection on which `LLBBridge/Return` returns an image with this configuration.
fn call(config: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &*format!("{BRIDGE}/Return")),
        (":authority", "d"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let result = entries(10, &[("containerimage.config", config)]);
    [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, b""),
        frame(HEADERS, END_HEADERS, 1, &block(&fields)),
        frame(DATA, END_STREAM, 1, &message(&field(1, result))),
    ]
    .concat()
}

fn frontend() {
    let case = Case::new();
    let labels = own(&[("own", "1"), (JOB, "mine")]);
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["BY=frontend"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    fs::write(case.dir.join("call"), call(&config.to_string())).unwrap();
    fs::write(case.dir.join("script"), SCRIPT).unwrap();
    let dockerfile = "COPY call script /\nENTRYPOINT [\"sh\", \"/script\"]\n";
    let dockerfile = format!("FROM {}\n{dockerfile}", engine().image);
    fs::write(case.dir.join("Dockerfile"), dockerfile).unwrap();
    let frontend = case.name("frontend");
    succeed(case.buildx(&["build", "-t", &frontend, "."]));

    let text = format!("# syntax={frontend}\nFROM never\n");
    fs::write(case.dir.join("Dockerfile"), text).unwrap();
    let (past, through) = (case.name("past"), case.name("through"));
    succeed(case.buildx_past_the_proxy(&["build", "-t", &past, "."]));
    succeed(case.buildx(&["build", "-t", &through, "."]));
    assert_eq!(
        labels_of(Kind::Image, &case.image_object(&past)),
        labels,
        "without the proxy the frontend decides"
    );
    case.assert_labels(Kind::Image, &through, &own(&[("own", "1")]));
    let env = &case.image_object(&through)["Config"]["Env"];
    assert_eq!(*env, serde_json::json!(["BY=frontend"]));
}
