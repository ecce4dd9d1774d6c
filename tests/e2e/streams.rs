//! Streams between a client and a container: hijacked connections and endless responses. Bytes pass
//! live in both directions, and streams end when they should.

use serde_json::Value;
use support::{Kind, Message, Wire, find};

use crate::case::{Case, UNTIL_RELEASED};
use crate::command::{Running, finish, in_terminal, succeed};
use crate::engine::{engine, json_request};
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("stream/run/output and exit code arrive", run_output),
        test(
            "stream/run/echo foo | docker run -i cat ends by itself",
            run_cat,
        ),
        test(
            "stream/run/output after the end of stdin arrives",
            run_late_output,
        ),
        test("stream/run/a dialogue through docker run -i", run_dialogue),
        test("stream/run/docker run -it in a terminal", run_terminal),
        test("stream/exec/without -i", exec_plain),
        test(
            "stream/exec/without -i while stdin stays open",
            exec_open_stdin,
        ),
        test("stream/exec/with -i", exec_interactive),
        test("stream/exec/with -t", || exec_terminal(&["-t"])),
        test("stream/exec/with -it", || exec_terminal(&["-it"])),
        test("stream/attach/docker attach", attach_command),
        test("stream/attach/with an Upgrade header", || {
            attach_raw(UPGRADE, 101)
        }),
        test("stream/attach/without an Upgrade header", || {
            attach_raw("", 200)
        }),
        test(
            "stream/attach/stdin sent along, with an Upgrade header",
            || attach_early(UPGRADE, 101),
        ),
        test(
            "stream/attach/stdin sent along, without an Upgrade header",
            || attach_early("", 200),
        ),
        test("stream/attach/over websocket", attach_websocket),
        test(
            "stream/attach/an unknown container is an error",
            attach_nothing,
        ),
        test("stream/logs -f/lines arrive live", logs),
        test("stream/events/arrive live", events),
        test("stream/events/docker events prints them", events_command),
        test(
            "stream/wait/responds at once and reports the exit code at the end",
            wait,
        ),
        test("stream/wait/docker wait prints the exit code", wait_command),
        test("stream/stats/samples arrive live", stats),
    ]
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

/// `docker run` of a script, without a network, which could only add failures.
fn run(case: &Case, options: &[&str], script: &str) -> std::process::Command {
    let name = case.name("run");
    let start = ["run", "--rm", "--network", "none", "--name", &name];
    case.docker(&[&start, options, &[&engine().image, "sh", "-c", script]].concat())
}

fn run_output() {
    let case = Case::new();
    let finished = finish(run(&case, &[], "echo out; echo err >&2; exit 7"));
    assert_eq!((&*finished.stdout, &*finished.stderr), ("out\n", "err\n"));
    assert_eq!(finished.code, Some(7));
}

fn run_cat() {
    let case = Case::new();
    let mut running = Running::start(run(&case, &["-i"], "cat"));
    running.input("foo\n");
    running.close_input();
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout, &*finished.stderr),
        (Some(0), "foo\n", "")
    );
}

fn run_late_output() {
    let case = Case::new();
    let mut running = Running::start(run(&case, &["-i"], "cat; sleep 1; echo late"));
    running.input("early\n");
    running.close_input();
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout),
        (Some(0), "early\nlate\n")
    );
}

fn run_dialogue() {
    let case = Case::new();
    let mut running = Running::start(run(
        &case,
        &["-i"],
        "while read l; do echo got $l; done; exit 5",
    ));
    for line in ["one", "two", "three"] {
        running.input(&format!("{line}\n"));
        running.expect(&format!("got {line}\n"));
    }
    assert!(running.is_running());
    running.close_input();
    assert_eq!(running.wait().code, Some(5));
}

fn run_terminal() {
    let case = Case::new();
    let script = "stty -echo; test -t 0 && echo terminal; read l; echo got $l; exit 3";
    let mut running = Running::start(in_terminal(&run(&case, &["-it"], script)));
    running.expect("terminal\r\n");
    running.input("typed\n");
    running.expect("got typed\r\n");
    assert_eq!(running.wait().code, Some(3));
}

fn exec_plain() {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let finished = finish(case.docker(&[
        "exec",
        &container,
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]));
    assert_eq!(
        (finished.code, &*finished.stdout, &*finished.stderr),
        (Some(7), "out\n", "err\n")
    );
}

fn exec_open_stdin() {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let script = "echo first; sleep 0.3; echo last";
    let mut running = Running::start(case.docker(&["exec", &container, "sh", "-c", script]));
    running.expect("first\n");
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout),
        (Some(0), "first\nlast\n")
    );
}

fn exec_interactive() {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let script = "while read l; do echo got $l; done; sleep 0.3; echo late; exit 4";
    let mut running = Running::start(case.docker(&["exec", "-i", &container, "sh", "-c", script]));
    running.input("one\n");
    running.expect("got one\n");
    running.input("two\n");
    running.expect("got two\n");
    running.close_input();
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout),
        (Some(4), "got one\ngot two\nlate\n")
    );
}

fn exec_terminal(options: &[&str]) {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let script = match options {
        ["-t"] => "test -t 1 && echo terminal; exit 3",
        _ => "stty -echo; test -t 0 && echo terminal; read l; echo got $l; exit 3",
    };
    let exec = case.docker(&[&["exec"], options, &[&container, "sh", "-c", script]].concat());
    let mut running = Running::start(in_terminal(&exec));
    running.expect("terminal\r");
    if options == ["-it"] {
        running.input("typed\n");
        running.expect("got typed\r\n");
    }
    assert_eq!(running.wait().code, Some(3));
}

const DIALOGUE: &str = "while read l; do echo got $l; done; sleep 0.3; echo late";

fn attach_command() {
    let case = Case::new();
    let container = case.running_container(DIALOGUE);
    let mut running = Running::start(case.docker(&["attach", &container]));
    for line in ["one", "two"] {
        running.input(&format!("{line}\n"));
        running.expect(&format!("got {line}\n"));
    }
    running.close_input();
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout),
        (Some(0), "got one\ngot two\nlate\n")
    );
}

fn attach_request(container: &str, headers: &str) -> String {
    format!(
        "POST /containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n\
         {headers}Content-Length: 0\r\n\r\n"
    )
}

/// Reads what the container prints, without the engine's frames, until it ends with `text`.
fn expect_output(wire: &mut Wire, text: &str) {
    let mut output = Vec::new();
    while !output.ends_with(text.as_bytes()) {
        let frame = wire.take(8);
        assert!(
            matches!(frame[..4], [1, 0, 0, 0] | [2, 0, 0, 0]),
            "a frame: {frame:?}"
        );
        let length = u32::from_be_bytes(frame[4..].try_into().unwrap());
        output.extend(wire.take(length as usize));
        assert!(
            output.len() <= text.len(),
            "{text:?} expected, got {:?}",
            String::from_utf8_lossy(&output)
        );
    }
    assert_eq!(output, text.as_bytes());
}

fn attach_raw(headers: &str, status: u16) {
    let case = Case::new();
    let container = case.container(DIALOGUE);
    let mut wire = case.connect();
    wire.send(attach_request(&container, headers));
    assert_eq!(Message::new(wire.head()).status(), status);
    case.start(&container);
    for line in ["one", "two"] {
        wire.send(format!("{line}\n"));
        expect_output(&mut wire, &format!("got {line}\n"));
    }
    wire.half_close();
    expect_output(&mut wire, "late\n");
    wire.expect_end();
}

fn attach_early(headers: &str, status: u16) {
    let case = Case::new();
    let container = case.running_container(DIALOGUE);
    let mut wire = case.connect();
    wire.send(format!(
        "{}early\nbirds\n",
        attach_request(&container, headers)
    ));
    wire.half_close();
    assert_eq!(Message::new(wire.head()).status(), status);
    expect_output(&mut wire, "got early\ngot birds\nlate\n");
    wire.expect_end();
}

fn attach_websocket() {
    let case = Case::new();
    let container = case.container(DIALOGUE);
    let mut wire = case.connect();
    wire.send(format!(
        "GET /containers/{container}/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://d\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    let head = Message::new(wire.head());
    assert_eq!(head.status(), 101);
    // The Sec-WebSocket-Accept for that key (RFC 6455, section 1.3).
    assert_eq!(
        head.header("sec-websocket-accept"),
        ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    );
    case.start(&container);
    for line in ["one", "two"] {
        let text = format!("{line}\n");
        // A text frame, masked with zeros.
        wire.send(
            [
                &[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0],
                text.as_bytes(),
            ]
            .concat(),
        );
        let expected = format!("got {line}\n");
        let mut output = Vec::new();
        while output.len() < expected.len() {
            let frame = wire.take(2);
            assert!(
                matches!(frame[0], 0x81 | 0x82) && frame[1] < 126,
                "a short frame: {frame:?}"
            );
            output.extend(wire.take(frame[1].into()));
        }
        assert_eq!(output, expected.as_bytes());
    }
}

fn attach_nothing() {
    let case = Case::new();
    for (headers, status) in [(UPGRADE, 404), ("", 404)] {
        let mut wire = case.connect();
        wire.send(attach_request("nobody-has-this", headers));
        assert_eq!(Message::new(wire.head()).status(), status);
        let body = wire.rest();
        assert!(
            find(&body, b"No such container: nobody-has-this").is_some(),
            "{}",
            body.escape_ascii()
        );
    }
    let finished = finish(case.docker(&["attach", "nobody-has-this"]));
    assert_eq!(finished.code, Some(1));
    assert!(
        finished
            .stderr
            .contains("No such container: nobody-has-this"),
        "{}",
        finished.stderr
    );
}

fn logs() {
    let case = Case::new();
    let container = case.running_container(&format!("echo first; {UNTIL_RELEASED}; echo last"));
    let mut running = Running::start(case.docker(&["logs", "--follow", &container]));
    running.expect("first\n");
    assert!(running.is_running());
    case.release(&container);
    let finished = running.wait();
    assert_eq!(
        (finished.code, &*finished.stdout),
        (Some(0), "first\nlast\n")
    );
}

fn events() {
    let case = Case::new();
    let container = case.container(UNTIL_RELEASED);
    let mut wire = case.connect();
    let filters = format!("{{%22container%22:[%22{container}%22]}}");
    wire.send(json_request(
        "GET",
        &format!("/events?filters={filters}"),
        None,
    ));
    // The head comes before the first event.
    assert_eq!(Message::new(wire.head()).status(), 200);
    for action in ["pause", "unpause"] {
        if action == "pause" {
            case.start(&container);
            assert_eq!(next_json(&mut wire)["Action"], "start");
        }
        let (status, answer) =
            engine().ask("POST", &format!("/containers/{container}/{action}"), None);
        assert_eq!(status, 204, "{answer}");
        assert_eq!(next_json(&mut wire)["Action"], action);
    }
}

/// Reads the next object of an endless body, which is one chunk.
fn next_json(wire: &mut Wire) -> Value {
    let chunk = wire.chunk();
    serde_json::from_slice(&chunk).unwrap_or_else(|_| panic!("no JSON: {}", chunk.escape_ascii()))
}

fn events_command() {
    let case = Case::new();
    let container = case.container(UNTIL_RELEASED);
    let filter = format!("container={container}");
    let mut running = Running::start(case.docker(&[
        "events",
        "--since",
        "2000-01-01",
        "--filter",
        &filter,
        "--format",
        "{{.Action}}",
    ]));
    running.expect("create\n");
    case.start(&container);
    running.expect("start\n");
    assert!(running.is_running());
}

fn wait() {
    let case = Case::new();
    let container = case.running_container(&format!("{UNTIL_RELEASED}; exit 7"));
    let mut wire = case.connect();
    wire.send(json_request(
        "POST",
        &format!("/containers/{container}/wait"),
        None,
    ));
    assert_eq!(Message::new(wire.head()).status(), 200);
    wire.expect_silence();
    case.release(&container);
    assert_eq!(next_json(&mut wire)["StatusCode"], 7);
    assert!(wire.chunk().is_empty());
    case.assert_next_create_is_labelled(&mut wire);
}

fn wait_command() {
    let case = Case::new();
    let container = case.running_container(&format!("{UNTIL_RELEASED}; exit 7"));
    let mut running = Running::start(case.docker(&["wait", &container]));
    assert!(running.is_running());
    case.release(&container);
    let finished = running.wait();
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "7\n"));
}

fn stats() {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let mut wire = case.connect();
    wire.send(json_request(
        "GET",
        &format!("/containers/{container}/stats?stream=1"),
        None,
    ));
    assert_eq!(Message::new(wire.head()).status(), 200);
    let (first, second) = (next_json(&mut wire), next_json(&mut wire));
    assert_eq!(first["name"], format!("/{container}"));
    assert_ne!(first["read"], second["read"]);
    let table =
        succeed(case.docker(&["stats", "--no-stream", "--format", "{{.Name}}", &container]));
    assert_eq!(table, container);
    assert!(engine().inspect(Kind::Container, &container).is_some());
}
