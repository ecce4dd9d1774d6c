//! Many requests on one connection: each is inspected, whatever the daemon answered before it.

use support::{Kind, Message, Wire, wait_until};

use crate::case::{Case, UNTIL_RELEASED};
use crate::engine::{engine, json, json_request};
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test(
            "connection/each of three creates is labelled",
            three_creates,
        ),
        test(
            "connection/a create after HEAD /_ping is labelled",
            after_head,
        ),
        test("connection/a create after 404s is labelled", after_404),
        test(
            "connection/a create after 204 and 304 is labelled",
            after_no_content,
        ),
        test(
            "connection/a create after a refused create is labelled",
            after_conflict,
        ),
        test(
            "connection/a create after a refused exec start is labelled",
            after_refused_exec,
        ),
        test(
            "connection/a create after a detached exec start is labelled",
            after_detached_exec,
        ),
        test(
            "connection/a create after a refused websocket is labelled",
            after_refused_websocket,
        ),
        test(
            "connection/a create after an Upgrade that the engine ignores is labelled",
            behind_ignored_upgrade,
        ),
        test(
            "connection/pipelined requests are answered in order, creates labelled",
            pipelined,
        ),
        test(
            "connection/Connection: close ends the connection",
            connection_close,
        ),
    ]
}

fn create(wire: &mut Wire, path: &str, body: &serde_json::Value) {
    wire.send(json_request("POST", path, Some(&body.to_string())));
    let response = wire.response();
    assert_eq!(response.status(), 201, "{response:?}");
}

fn three_creates() {
    let case = Case::new();
    let mut wire = case.connect();
    let name = case.name("all");
    create(
        &mut wire,
        "/volumes/create",
        &serde_json::json!({ "Name": name }),
    );
    create(
        &mut wire,
        "/networks/create",
        &serde_json::json!({ "Name": name, "Internal": true }),
    );
    let container = serde_json::json!({ "Image": engine().image, "Cmd": ["true"] });
    create(
        &mut wire,
        &format!("/containers/create?name={name}"),
        &container,
    );
    for kind in [Kind::Volume, Kind::Network, Kind::Container] {
        case.assert_labelled(kind, &name);
    }
}

fn after_head() {
    let case = Case::new();
    let mut wire = case.connect();
    for _ in 0..3 {
        wire.send(json_request("HEAD", "/_ping", None));
        let head = Message::new(wire.head());
        assert_eq!(head.status(), 200);
        // The length announces a body that does not come.
        assert!(!head.header("api-version").is_empty(), "{head:?}");
        case.assert_next_create_is_labelled(&mut wire);
        let (status, _) = engine().ask("DELETE", &format!("/volumes/{}", case.name("after")), None);
        assert_eq!(status, 204);
    }
}

fn after_404() {
    let case = Case::new();
    let mut wire = case.connect();
    for (method, target) in [
        ("GET", "/containers/nobody-has-this/json"),
        ("POST", "/containers/nobody-has-this/start"),
        ("DELETE", "/networks/nobody-has-this"),
        ("GET", "/no/such/page"),
    ] {
        wire.send(json_request(method, target, None));
        assert_eq!(wire.response().status(), 404);
    }
    case.assert_next_create_is_labelled(&mut wire);
}

fn after_no_content() {
    let case = Case::new();
    let container = case.container(UNTIL_RELEASED);
    let mut wire = case.connect();
    for expected in [204, 304] {
        wire.send(json_request(
            "POST",
            &format!("/containers/{container}/start"),
            None,
        ));
        assert_eq!(wire.response().status(), expected);
    }
    case.assert_next_create_is_labelled(&mut wire);
}

fn after_conflict() {
    let case = Case::new();
    let mut wire = case.connect();
    let target = format!("/containers/create?name={}", case.name("none"));
    wire.send(json_request(
        "POST",
        &target,
        Some(r#"{"Image":"nobody-has-this"}"#),
    ));
    assert_eq!(wire.response().status(), 404);
    case.assert_next_create_is_labelled(&mut wire);
}

const EXEC_START: &str = r#"{"Detach":false,"Tty":false}"#;

fn after_refused_exec() {
    let case = Case::new();
    let mut wire = case.connect();
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
        let length = EXEC_START.len();
        wire.send(format!(
            "POST /exec/nobody-has-this/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             {upgrade}Content-Length: {length}\r\n\r\n{EXEC_START}"
        ));
        let response = wire.response();
        assert_eq!(response.status(), 404, "{response:?}");
        assert!(
            json(&response)["message"]
                .as_str()
                .unwrap()
                .contains("No such exec"),
            "{response:?}"
        );
    }
    case.assert_next_create_is_labelled(&mut wire);
}

fn after_detached_exec() {
    let case = Case::new();
    let container = case.running_container(UNTIL_RELEASED);
    let body = r#"{"Cmd":["sh","-c","exit 7"]}"#;
    let (status, exec) = engine().ask("POST", &format!("/containers/{container}/exec"), Some(body));
    assert_eq!(status, 201);
    let mut wire = case.connect();
    let exec = format!("/exec/{}", exec["Id"].as_str().unwrap());
    wire.send(json_request(
        "POST",
        &format!("{exec}/start"),
        Some(r#"{"Detach":true}"#),
    ));
    let response = wire.response();
    assert_eq!(response.status(), 200, "{response:?}");
    case.assert_next_create_is_labelled(&mut wire);
    let state = || engine().get(&format!("{exec}/json")).unwrap();
    wait_until("the command has run", || state()["ExitCode"] == 7);
}

fn after_refused_websocket() {
    let case = Case::new();
    let mut wire = case.connect();
    wire.send(
        "GET /containers/nobody-has-this/attach/ws?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nOrigin: http://d\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let response = wire.response();
    assert_eq!(response.status(), 404, "{response:?}");
    case.assert_next_create_is_labelled(&mut wire);
}

fn behind_ignored_upgrade() {
    let case = Case::new();
    let mut wire = case.connect();
    let name = case.name("behind");
    let body = serde_json::json!({ "Name": name }).to_string();
    let create = json_request("POST", "/volumes/create", Some(&body));
    wire.send(format!(
        "GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n{create}"
    ));
    assert_eq!(wire.response().text(), "OK");
    assert_eq!(wire.response().status(), 201);
    case.assert_labelled(Kind::Volume, &name);
}

fn pipelined() {
    let case = Case::new();
    let names = ["a", "b", "c"].map(|name| case.name(name));
    let mut requests = json_request("GET", "/_ping", None);
    for name in &names {
        let body = serde_json::json!({ "Name": name }).to_string();
        requests += &json_request("POST", "/volumes/create", Some(&body));
        requests += &json_request("GET", "/version", None);
    }
    let mut wire = case.connect();
    wire.send(requests);
    assert_eq!(wire.response().text(), "OK");
    for name in &names {
        assert_eq!(json(&wire.response())["Name"], **name);
        assert_eq!(json(&wire.response())["ApiVersion"], *engine().api);
    }
    for name in &names {
        case.assert_labelled(Kind::Volume, name);
    }
}

fn connection_close() {
    let case = Case::new();
    let mut wire = case.connect();
    let name = case.name("close");
    let body = serde_json::json!({ "Name": name }).to_string();
    wire.send(format!(
        "POST /volumes/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(wire.response().status(), 201);
    wire.expect_end();
    case.assert_labelled(Kind::Volume, &name);
}
