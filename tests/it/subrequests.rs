//! Subrequests: what the proxy asks the daemon before it forwards a create, and that a create is
//! refused unless the response is understood.

use support::{Proxy, Wire};

use crate::daemon::{FakeDaemon, OK, PING, expect_error, pair};

/// A create that needs a subrequest.
const CREATE: &str = "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 76\r\n\r\n{\"Image\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
/// The subrequest for [`CREATE`].
const SUBREQUEST: &str = "GET /v1.41/images/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/json HTTP/1.1\r\nHost: docker\r\n\r\n";
/// A response to [`SUBREQUEST`]: the image declares a volume.
const VOLUMES: &str = r#"{"Config":{"Volumes":{"/data":{}}}}"#;
/// The body that the daemon should receive for [`CREATE`] after [`VOLUMES`].
const LABELLED: &str = r#"{"Image":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","HostConfig":{"Mounts":[{"Type":"volume","Target":"/data","VolumeOptions":{"Labels":{"com.docker.volume.anonymous":"","job":"42"}}}]},"Labels":{"job":"42"}}"#;

fn answer(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
}

#[test]
fn the_subrequest_for_an_image_goes_on_the_connection_of_the_create() {
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
        conn.expect(SUBREQUEST);
        conn.send(volumes);
        assert_eq!(conn.request().text(), LABELLED);
        conn.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_daemon_that_closes_after_its_response_gets_the_create_on_another_connection() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(CREATE);
    let mut conn = daemon.accept();
    conn.expect(SUBREQUEST);
    conn.send(answer("Connection: close\r\n", VOLUMES));
    let mut conn = daemon.accept();
    assert_eq!(conn.request().text(), LABELLED);
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn an_error_of_a_subrequest_answers_the_create() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send([CREATE, "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"].concat());
    let mut conn = daemon.accept();
    conn.expect(SUBREQUEST);
    let no = r#"{"message":"No such image: i"}"#;
    let length = no.len();
    conn.send(format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{no}"
    ));
    let response = client.response();
    assert_eq!((response.status(), response.text()), (404, no));
    // The create is not forwarded: the next thing that arrives is the next request.
    assert_eq!(conn.request().line(), "GET /_ping HTTP/1.1");
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn a_subrequest_without_a_response_refuses_the_create() {
    let (proxy, daemon) = pair();
    for sent in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 101 UPGRADED\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        // Responses that a client would misread if they answered its create.
        "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
        &answer("", "[]"),
        &answer("", ""),
        &answer("", "{\"Config\":"),
        &answer("", "{} {}"),
    ] {
        let mut client = proxy.client();
        client.send(CREATE);
        let mut conn = daemon.accept();
        conn.expect(SUBREQUEST);
        conn.send(sent);
        drop(conn);
        expect_error(&client.response(), 502);
        daemon.expect_untouched();
    }
}

#[test]
fn a_response_of_unexpected_types_refuses_the_create() {
    let (proxy, daemon) = pair();
    let ask = |path: &str, body: &str, odd: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "POST /v1.41{path} HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let mut conn = daemon.accept();
        conn.request();
        let podman = if path.starts_with("/libpod/") {
            "Libpod-API-Version: 4.9.3\r\n"
        } else {
            ""
        };
        conn.send(answer(podman, odd));
        let message = expect_error(&client.response(), 502);
        drop((client, conn));
        daemon.expect_untouched();
        let what =
            message.strip_prefix("the daemon's answer to a subrequest cannot be understood: ");
        what.unwrap_or_else(|| panic!("{message}")).to_owned()
    };
    let twice =
        |field: &str| format!("the member {field} is given twice, in whatever case; give it once");
    for (odd, message) in [
        (r#"{"Config":[]}"#, "Config must be an object".to_owned()),
        (
            r#"{"Config":{"Volumes":[]}}"#,
            "Volumes must be an object".to_owned(),
        ),
        (
            r#"{"Config":{"Volumes":"/data"}}"#,
            "Volumes must be an object".to_owned(),
        ),
        (
            r#"{"Config":{"Volumes":{}},"config":{"Volumes":{"/data":{}}}}"#,
            twice("Config"),
        ),
    ] {
        let image = ask("/containers/create", r#"{"Image":"i"}"#, odd);
        assert_eq!(image, message, "{odd}");
    }
    let named = r#"{"HostConfig":{"VolumesFrom":["x"]},"Volumes":{"/data":{}}}"#;
    for (path, body, odd, message) in [
        (
            "/containers/create",
            named,
            r#"{"Mounts":[{"Destination":1}]}"#,
            "Destination must be a string".to_owned(),
        ),
        (
            "/containers/create",
            r#"{"Binds":["a:/b"]}"#,
            r#"{"ApiVersion":1.41}"#,
            "ApiVersion must be a string".to_owned(),
        ),
        (
            "/libpod/containers/create",
            r#"{"pod":"p"}"#,
            r#"{"CreateCgroup":1}"#,
            "CreateCgroup must be a boolean".to_owned(),
        ),
        (
            "/libpod/containers/create",
            r#"{"volumes":[{"Dest":"/b"}]}"#,
            r#"{"Name":1}"#,
            "Name must be a string".to_owned(),
        ),
        (
            "/networks/create",
            r#"{"ConfigFrom":{"Network":"c"}}"#,
            r#"[{"Name":"c","ConfigOnly":1}]"#,
            "ConfigOnly must be a boolean".to_owned(),
        ),
        (
            "/networks/create",
            r#"{"ConfigFrom":{"Network":"c"}}"#,
            r#"[{"Name":"c","ConfigOnly":true,"Labels":[]}]"#,
            "Labels must be an object of strings".to_owned(),
        ),
        (
            "/swarm/update?version=1",
            "{}",
            r#"{"Spec":{"Labels":[]}}"#,
            "Labels must be an object of strings".to_owned(),
        ),
        (
            "/swarm/update?version=1",
            "{}",
            r#"{"Spec":{},"spec":{}}"#,
            twice("Spec"),
        ),
    ] {
        assert_eq!(ask(path, body, odd), message, "{path} {odd}");
    }
}

/// A rollback of the service `web`, described at version 7.
const ROLLBACK: &str = "POST /v1.41/services/web/update?rollback=previous&version=7 HTTP/1.1\r\n\
     Host: docker\r\nContent-Length: 2\r\n\r\n{}";
const SERVICE: &str = "GET /v1.41/services/web HTTP/1.1\r\nHost: docker\r\n\r\n";

fn service(version: u32, previous: &str) -> String {
    let service = format!(
        r#"{{"ID":"x1","Version":{{"Index":{version}}},"Spec":{{}},"PreviousSpec":{previous}}}"#
    );
    answer("", &service)
}

#[test]
fn a_rollback_is_sent_to_the_very_service_that_was_described() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(ROLLBACK);
    let mut conn = daemon.accept();
    conn.expect(SERVICE);
    conn.send(service(7, r#"{"Labels":{"job":"42","own":"1"}}"#));
    let request = conn.request();
    let line = "POST /v1.41/services/x1/update?rollback=previous&version=7 HTTP/1.1";
    assert_eq!(request.line(), line);
    assert_eq!(request.text(), r#"{"Labels":{"job":"42"}}"#);
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn a_rollback_to_what_lacks_the_labels_is_refused() {
    let (proxy, daemon) = pair();
    for (version, previous, status) in [
        (7, r#"{"Labels":{"job":"41"}}"#, 403),
        (6, r#"{"Labels":{"job":"42"}}"#, 400),
    ] {
        let mut client = proxy.client();
        client.send(ROLLBACK);
        let mut conn = daemon.accept();
        conn.expect(SERVICE);
        conn.send(service(version, previous));
        let message = expect_error(&client.response(), status);
        assert!(message.starts_with("the service \"web\" "), "{message}");
        // The update is not sent.
        client.send(PING);
        conn.expect(PING);
    }
}

#[test]
fn a_response_that_is_too_large_refuses_the_create() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(CREATE);
    let mut conn = daemon.accept();
    conn.expect(SUBREQUEST);
    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
    let filler = vec![b' '; 1 << 20];
    // It stops reading instead of taking everything.
    assert!((0..40).any(|_| !conn.try_send(&filler)));
    let message = expect_error(&client.response(), 502);
    assert!(message.ends_with("it is too large"), "{message}");
}

#[test]
fn errors_of_any_form_answer_the_create() {
    let (proxy, daemon) = pair();
    for (status, body) in [
        (404, ""),
        (404, "404 page not found\n"),
        (500, "{\"message\":\"busy\"}"),
        (503, "<html>"),
    ] {
        let mut client = proxy.client();
        client.send(CREATE);
        let mut conn = daemon.accept();
        conn.expect(SUBREQUEST);
        let length = body.len();
        conn.send(format!(
            "HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let response = client.response();
        assert_eq!((response.status(), response.text()), (status, body));
        // The create is not forwarded.
        client.send(PING);
        conn.expect(PING);
    }
}

/// A create of a container with a named volume, which the proxy creates first.
const WITH_VOLUME: &str = "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 43\r\n\r\n{\"HostConfig\":{\"Binds\":[\"volume:/data:z\"]}}";

/// Returns a client and the daemon's end of its connection, which has served a request before.
fn kept(proxy: &Proxy, daemon: &FakeDaemon) -> (Wire, Wire) {
    let mut client = proxy.client();
    client.send(PING);
    let mut conn = daemon.accept();
    conn.expect(PING);
    conn.send(OK);
    client.expect(OK);
    (client, conn)
}

#[test]
fn a_reading_subrequest_is_repeated_when_a_kept_connection_closes() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = kept(&proxy, &daemon);
    client.send(CREATE);
    conn.expect(SUBREQUEST);
    drop(conn);
    let mut conn = daemon.accept();
    conn.expect(SUBREQUEST);
    conn.send(answer("", VOLUMES));
    assert_eq!(conn.request().text(), LABELLED);
    conn.send(OK);
    client.expect(OK);
    // Repeated only once, and not after a part of a response.
    client.send(CREATE);
    conn.expect(SUBREQUEST);
    drop(conn);
    let mut conn = daemon.accept();
    conn.expect(SUBREQUEST);
    drop(conn);
    expect_error(&client.response(), 502);
    daemon.expect_untouched();
    let (mut client, mut conn) = kept(&proxy, &daemon);
    client.send(CREATE);
    conn.expect(SUBREQUEST);
    conn.send("HTTP/1.1 2");
    drop(conn);
    expect_error(&client.response(), 502);
    daemon.expect_untouched();
}

#[test]
fn a_creating_subrequest_is_never_repeated() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = kept(&proxy, &daemon);
    client.send(WITH_VOLUME);
    let volume = conn.request();
    assert_eq!(volume.line(), "POST /v1.41/volumes/create HTTP/1.1");
    assert_eq!(volume.text(), r#"{"Name":"volume","Labels":{"job":"42"}}"#);
    drop(conn);
    expect_error(&client.response(), 502);
    daemon.expect_untouched();
}
