//! What the proxy asks the daemon before it sends a create, and what it keeps from the daemon
//! when it is told to be strict.

use crate::daemon::{Ends, FakeDaemon, LABELS, OK, expect_error, pair};
use crate::support::Proxy;

const CREATE: &str = "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"Image\":\"i\"}";
const QUESTION: &str = "GET /v1.41/images/i/json HTTP/1.1\r\nHost: docker\r\n\r\n";
const VOLUMES: &str = r#"{"Config":{"Volumes":{"/data":{}}}}"#;
const LABELLED: &str = r#"{"Image":"i","HostConfig":{"Mounts":[{"Type":"volume","Target":"/data","VolumeOptions":{"Labels":{"com.docker.volume.anonymous":"","job":"42"}}}]},"Labels":{"job":"42"}}"#;

fn answer(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
}

#[test]
fn the_image_is_asked_for_its_volumes_on_the_connection_of_the_create() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send([CREATE, CREATE].concat());
    let mut conn = daemon.accept();
    for volumes in [
        answer("", VOLUMES),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n{VOLUMES}\r\n0\r\n\r\n"
        ),
    ] {
        conn.expect(QUESTION);
        conn.send(volumes);
        assert_eq!(conn.request().text(), LABELLED);
        conn.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_daemon_that_closes_after_its_answer_gets_the_create_on_another_connection() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(CREATE);
    let mut conn = daemon.accept();
    conn.expect(QUESTION);
    conn.send(answer("Connection: close\r\n", VOLUMES));
    let mut conn = daemon.accept();
    assert_eq!(conn.request().text(), LABELLED);
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn a_no_to_the_question_is_the_answer_to_the_create() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send([CREATE, "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"].concat());
    let mut conn = daemon.accept();
    conn.expect(QUESTION);
    let no = r#"{"message":"No such image: i"}"#;
    let length = no.len();
    conn.send(format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{no}"
    ));
    let response = client.response();
    assert_eq!((response.status(), response.text()), (404, no));
    // The create is not sent: the next thing that comes is the next request.
    assert_eq!(conn.request().line(), "GET /_ping HTTP/1.1");
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn a_question_without_an_answer_refuses_the_create() {
    let (proxy, daemon) = pair();
    for sent in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        "nonsense\r\n\r\n",
        &answer("", "[]"),
    ] {
        let mut client = proxy.client();
        client.send(CREATE);
        let mut conn = daemon.accept();
        conn.expect(QUESTION);
        conn.send(sent);
        drop(conn);
        expect_error(&client.response(), 502);
    }
}

#[test]
fn what_cannot_be_labelled_passes_with_a_warning() {
    let (proxy, daemon) = pair();
    for target in [
        "/images/load",
        "/v1.41/plugins/pull?remote=x",
        "/frobnicate",
    ] {
        let mut client = proxy.client();
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 1\r\n\r\nx");
        client.send(&request);
        let mut conn = daemon.accept();
        conn.expect(&request);
        conn.send(OK);
        client.expect(OK);
        let path = target.split('?').next().unwrap();
        let warning = format!("passed on without labels: POST {path:?}");
        assert!(proxy.log().contains(&warning), "{target}: {}", proxy.log());
    }
}

#[test]
fn what_cannot_be_labelled_is_refused_by_strict() {
    let daemon = FakeDaemon::new();
    let proxy = Proxy::start(daemon.path(), &[LABELS, &["--strict"]].concat());
    for target in [
        "/images/load",
        "/v1.41/plugins/pull?remote=x",
        "/frobnicate",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 1\r\n\r\nx"
        ));
        let message = expect_error(&client.response(), 403);
        assert!(message.contains("refused by --strict"), "{message}");
    }
    daemon.expect_untouched();
    for pull in [
        "/images/create?fromImage=x&tag=y",
        "/libpod/images/pull?reference=x",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST {pull} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
        ));
        let mut conn = daemon.accept();
        assert_eq!(conn.request().line(), format!("POST {pull} HTTP/1.1"));
        conn.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_start_that_could_make_volumes_is_refused() {
    let (proxy, daemon) = pair();
    let start = |version: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {version}/containers/x/start HTTP/1.1\r\nHost: docker\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for body in ["{\"Binds\":[\"v:/d\"]}", "{}"] {
        let mut client = proxy.client();
        client.send(start("/v1.23", body));
        let message = expect_error(&client.response(), 400);
        assert!(message.contains("1.24 or later"), "{message}");
    }
    daemon.expect_untouched();
    for request in [start("/v1.23", ""), start("/v1.41", "{}"), start("", "")] {
        let mut client = proxy.client();
        client.send(&request);
        let mut conn = daemon.accept();
        conn.expect(&request);
        conn.send(OK);
        client.expect(OK);
    }
}
