//! The check of a container behind the daemon's answer and before the client's: what it asks, what
//! it takes back, and what the client is told.

use std::thread;

use support::{Message, Proxy, Wire, wait_until};

use crate::PROXY;
use crate::daemon::{FakeDaemon, LABELS, PING, expect_error, pair};

const INSPECT: &str = "GET /containers/c1/json";
const REMOVE: &str = "DELETE /containers/c1?force=1&v=1";
const IMAGE: &str = "GET /v1.41/images/i/json";
const CREATE: &str = "POST /v1.41/containers/create";
const VOLUME: &str = "GET /volumes/v";
const REMOVE_VOLUME: &str = "DELETE /volumes/v";
const CREATE_VOLUME: &str = "POST /v1.41/volumes/create";
const CREATED: &str = r#"{"Id":"c1","Warnings":[]}"#;
const NO_VOLUMES: &str = r#"{"Id":"sha256:1","Config":{}}"#;
const LABELLED: &str = r#"{"Name":"v","Labels":{"own":"1","job":"42"}}"#;
const UNLABELLED: &str = r#"{"Name":"v","Labels":null}"#;
/// A create with a volume that the daemon labels as it makes it.
const NAMED: &str = r#"{"HostConfig":{"Binds":["v:/v"]}}"#;
/// A create with a volume that is created before.
const BOUND: &str = r#"{"HostConfig":{"Binds":["v:/v:z"]}}"#;

fn create(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn request(body: &str) -> String {
    create("/v1.41/containers/create", body)
}

/// What the daemon says of a container with this image, and these names of volumes, each mounted at
/// `/NAME`.
fn container(image: &str, volumes: &[&str]) -> String {
    let mount = |name| format!(r#"{{"Type":"volume","Name":"{name}","Destination":"/{name}"}}"#);
    let mounts: Vec<String> = volumes.iter().map(mount).collect();
    format!(
        r#"{{"Id":"c1","Image":"{image}","Config":{{"Labels":{{"job":"42"}}}},"Mounts":[{}]}}"#,
        mounts.join(",")
    )
}

/// Asserts that the proxy asks this, answers it, and returns it.
fn answer(conn: &mut Wire, question: &str, status: u16, body: &str) -> Message {
    answer_as(conn, question, status, "", body)
}

fn podman(conn: &mut Wire, question: &str, status: u16, body: &str) -> Message {
    answer_as(
        conn,
        question,
        status,
        "Libpod-API-Version: 4.9.3\r\n",
        body,
    )
}

fn answer_as(conn: &mut Wire, question: &str, status: u16, fields: &str, body: &str) -> Message {
    let request = conn.request();
    assert_eq!(request.line(), format!("{question} HTTP/1.1"));
    let length = body.len();
    conn.send(format!(
        "HTTP/1.1 {status} x\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    request
}

/// A proxy, its daemon, a client that has sent a create with this body, and the daemon's end.
fn sent(body: &str, arguments: &[&str]) -> (Proxy, FakeDaemon, Wire, Wire) {
    let daemon = FakeDaemon::new();
    let proxy = PROXY.start(daemon.path(), &[LABELS, arguments].concat());
    let mut client = proxy.client();
    client.send(request(body));
    let conn = daemon.accept();
    (proxy, daemon, client, conn)
}

/// Asserts that the client gets the daemon's answer.
fn expect_created(client: &mut Wire) {
    let response = client.response();
    assert_eq!((response.status(), response.text()), (201, CREATED));
}

fn expect_warning(proxy: &Proxy, what: &str) {
    wait_until(what, || proxy.log().contains(what));
}

/// Takes the container back.
fn taken_back(conn: &mut Wire) {
    answer(conn, REMOVE, 204, "");
    answer(conn, INSPECT, 404, "{}");
}

#[test]
fn a_create_by_a_tag_is_checked_and_its_image_remembered() {
    let (_proxy, _daemon, mut client, mut conn) = sent(r#"{"Image":"i"}"#, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    for _ in 0..2 {
        let sent = answer(&mut conn, CREATE, 201, CREATED);
        assert_eq!(sent.text(), r#"{"Image":"i","Labels":{"job":"42"}}"#);
        assert!(!client.is_ready(), "the answer is held");
        answer(&mut conn, INSPECT, 200, &container("sha256:1", &[]));
        expect_created(&mut client);
        client.send(request(r#"{"Image":"i"}"#));
    }
}

#[test]
fn the_answer_passes_byte_for_byte() {
    let (_proxy, _daemon, mut client, mut conn) = sent(NAMED, &[]);
    conn.request();
    let sent = "HTTP/1.1 201 Made\r\nX-Odd:  a\t\r\nTransfer-Encoding: chunked\r\n\r\n\
                4;x\r\n{\"Id\r\n7\r\n\":\"c1\"}\r\n0\r\n\r\n";
    conn.send(sent);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, LABELLED);
    client.expect(sent);
    client.send(PING);
    conn.expect(PING);
}

#[test]
fn a_volume_that_is_made_again_meanwhile_is_taken_back() {
    let (proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    taken_back(&mut conn);
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    answer(&mut conn, REMOVE_VOLUME, 204, "");
    let message = expect_error(&client.response(), 503);
    assert!(
        message.contains("\"v\" was deleted and made again"),
        "{message}"
    );
    assert!(
        message.ends_with("removed again, try once more"),
        "{message}"
    );
    expect_warning(&proxy, &message);
    client.send(PING);
    conn.expect(PING);
}

#[test]
fn a_volume_that_another_container_uses_stays_and_is_named() {
    let (_proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    taken_back(&mut conn);
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    answer(&mut conn, REMOVE_VOLUME, 409, "{}");
    let message = expect_error(&client.response(), 503);
    assert!(
        message.ends_with("not removed: the volume \"v\" (it is in use)"),
        "{message}"
    );
}

#[test]
fn a_volume_that_is_labelled_by_then_is_not_removed() {
    let (_proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    taken_back(&mut conn);
    // A neighbour has made it once more.
    answer(&mut conn, VOLUME, 200, LABELLED);
    expect_error(&client.response(), 503);
    client.send(PING);
    conn.expect(PING);
}

#[test]
fn the_volumes_of_a_container_that_is_gone_are_checked() {
    for (last, status) in [(LABELLED, 201), (UNLABELLED, 503)] {
        let (_proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
        answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
        answer(&mut conn, CREATE, 201, CREATED);
        answer(&mut conn, INSPECT, 404, "{}");
        answer(&mut conn, VOLUME, 200, last);
        if status == 503 {
            answer(&mut conn, REMOVE, 404, "{}");
            answer(&mut conn, INSPECT, 404, "{}");
            answer(&mut conn, VOLUME, 200, last);
            answer(&mut conn, REMOVE_VOLUME, 204, "");
        }
        assert_eq!(client.response().status(), status);
    }
    let (_proxy, _daemon, mut client, mut conn) = sent(NAMED, &[]);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 404, "{}");
    answer(&mut conn, VOLUME, 404, "{}");
    expect_created(&mut client);
}

#[test]
fn a_removal_that_is_under_way_is_waited_for() {
    let (_proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    let unlabelled = container("", &["v"]).replace("job", "other");
    answer(&mut conn, INSPECT, 200, &unlabelled);
    answer(&mut conn, VOLUME, 200, LABELLED);
    for _ in 0..2 {
        answer(&mut conn, REMOVE, 409, "{}");
        answer(&mut conn, INSPECT, 200, &unlabelled);
    }
    taken_back(&mut conn);
    let message = expect_error(&client.response(), 503);
    assert!(
        message.contains("the container has not got the labels"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_taken_back_is_named() {
    let (proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    let daemon = thread::spawn(move || {
        while conn.has_more() {
            let (status, body) = match conn.request().line().starts_with("DELETE") {
                true => (500, "{}".to_owned()),
                false => (200, container("", &["v"])),
            };
            let length = body.len();
            conn.send(format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
    });
    let message = expect_error(&client.response(), 503);
    let end = "not removed: the container \"c1\" (the daemon answered 500)";
    assert!(message.ends_with(end), "{message}");
    expect_warning(&proxy, &message);
    drop(client);
    daemon.join().unwrap();
}

#[test]
fn a_volume_that_was_unlabelled_before_is_warned_of_or_refused() {
    // Known before the create.
    let (proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, UNLABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    expect_created(&mut client);
    expect_warning(&proxy, "\"v\" was there before, without the labels");

    let (_proxy, _daemon, mut client, mut conn) = sent(BOUND, &["--strict"]);
    answer(&mut conn, CREATE_VOLUME, 201, UNLABELLED);
    let message = expect_error(&client.response(), 403);
    assert!(message.contains("refused by --strict"), "{message}");
    client.send(PING);
    conn.expect(PING);

    // Known only from the check.
    let (proxy, _daemon, mut client, mut conn) = sent(NAMED, &[]);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    expect_created(&mut client);
    expect_warning(&proxy, "\"v\" was there before, without the labels");

    let (_proxy, _daemon, mut client, mut conn) = sent(NAMED, &["--strict"]);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    taken_back(&mut conn);
    let message = expect_error(&client.response(), 403);
    assert!(message.contains("--strict"), "{message}");
    // The volume stays.
    client.send(PING);
    conn.expect(PING);
}

#[test]
fn a_volume_of_another_job_is_used_and_told() {
    for (body, is_bound) in [(BOUND, true), (NAMED, false)] {
        let (proxy, _daemon, mut client, mut conn) = sent(body, &["--strict"]);
        let others = r#"{"Labels":{"job":"41"}}"#;
        if is_bound {
            answer(&mut conn, CREATE_VOLUME, 201, others);
        }
        answer(&mut conn, CREATE, 201, CREATED);
        answer(&mut conn, INSPECT, 200, &container("", &["v"]));
        answer(&mut conn, VOLUME, 200, others);
        expect_created(&mut client);
        expect_warning(&proxy, "uses the volume \"v\", which has job=\"41\"");
    }
}

/// The daemon's answer to a create of an image that is another one than is remembered.
fn other_image(conn: &mut Wire) {
    answer(conn, CREATE, 201, CREATED);
    let moved = container("sha256:2", &["anonymous"]);
    let moved = moved.replace("\"Config\":{", "\"Config\":{\"Volumes\":{\"/data\":{}},");
    answer(conn, INSPECT, 200, &moved);
    answer(conn, "GET /volumes/anonymous", 200, UNLABELLED);
    taken_back(conn);
    answer(conn, "GET /volumes/anonymous", 404, "{}");
}

const WITH_VOLUME: &str = r#"{"Id":"sha256:2","Config":{"Volumes":{"/data":{}}}}"#;

#[test]
fn a_create_whose_tag_has_moved_is_sent_once_more() {
    let body = r#"{"Image":"i"}"#;
    let (_proxy, _daemon, mut client, mut conn) = sent(body, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("sha256:1", &[]));
    expect_created(&mut client);
    client.send(request(body));
    other_image(&mut conn);
    answer(&mut conn, IMAGE, 200, WITH_VOLUME);
    let again = answer(&mut conn, CREATE, 201, CREATED);
    assert!(again.text().contains(r#""Target":"/data""#), "{again:?}");
    let made = container("sha256:2", &["data"]);
    answer(&mut conn, INSPECT, 200, &made);
    expect_created(&mut client);
    // What is remembered is the new one.
    client.send(request(body));
    let next = answer(&mut conn, CREATE, 201, CREATED);
    assert_eq!(next.text(), again.text());
    answer(&mut conn, INSPECT, 200, &made);
    expect_created(&mut client);
}

#[test]
fn a_create_whose_tag_keeps_moving_is_refused() {
    let (_proxy, _daemon, mut client, mut conn) = sent(r#"{"Image":"i"}"#, &[]);
    for _ in 0..2 {
        answer(&mut conn, IMAGE, 200, NO_VOLUMES);
        other_image(&mut conn);
    }
    let message = expect_error(&client.response(), 503);
    assert!(message.contains("its image is another one"), "{message}");
}

#[test]
fn a_create_is_not_sent_again_before_the_first_container_is_gone() {
    let (_proxy, daemon, mut client, mut conn) = sent(r#"{"Image":"i"}"#, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    answer(&mut conn, CREATE, 201, CREATED);
    let moved = container("sha256:2", &[]);
    let moved = moved.replace("\"Config\":{", "\"Config\":{\"Volumes\":{\"/data\":{}},");
    answer(&mut conn, INSPECT, 200, &moved);
    drop(conn);
    drop(daemon);
    let message = expect_error(&client.response(), 503);
    assert!(
        message.contains("not removed: the container \"c1\""),
        "{message}"
    );
}

#[test]
fn another_image_with_the_same_volumes_passes() {
    let (_proxy, _daemon, mut client, mut conn) = sent(r#"{"Image":"i"}"#, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("sha256:2", &[]));
    expect_created(&mut client);
}

#[test]
fn an_image_that_is_gone_is_asked_for_again() {
    let body = r#"{"Image":"i"}"#;
    let (_proxy, _daemon, mut client, mut conn) = sent(body, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    answer(&mut conn, CREATE, 404, r#"{"message":"No such image: i"}"#);
    let response = client.response();
    assert_eq!(
        (response.status(), response.text()),
        (404, r#"{"message":"No such image: i"}"#)
    );
    client.send(request(body));
    answer(&mut conn, IMAGE, 404, "{}");
    assert_eq!(client.response().status(), 404);
}

#[test]
fn an_image_that_is_named_by_its_id_needs_no_check() {
    let id = "a".repeat(64);
    let body = format!("{{\"Image\":\"sha256:{id}\"}}");
    let (_proxy, _daemon, mut client, mut conn) = sent(&body, &[]);
    for _ in 0..2 {
        let question = format!("GET /v1.41/images/sha256:{id}/json");
        answer(&mut conn, &question, 200, NO_VOLUMES);
        answer(&mut conn, CREATE, 201, CREATED);
        expect_created(&mut client);
        client.send(request(&body));
    }
}

#[test]
fn a_replaced_container_of_volumes_from_is_noticed() {
    let body = r#"{"HostConfig":{"VolumesFrom":["/f:ro"]}}"#;
    let from = "GET /containers/f/json";
    let (_proxy, _daemon, mut client, mut conn) = sent(body, &[]);
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["a"]));
    answer(&mut conn, from, 200, &container("", &["a"]));
    expect_created(&mut client);
    // No daemon has a container of such a name, but it is not the proxy that says so.
    client.send(request(&body.replace("/f", "../f")));
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &[]));
    answer(&mut conn, "GET /containers/..%2Ff/json", 301, "");
    expect_created(&mut client);
    for (labels, status) in [(LABELLED, 201), (UNLABELLED, 503)] {
        client.send(request(body));
        answer(&mut conn, CREATE, 201, CREATED);
        answer(&mut conn, INSPECT, 200, &container("", &["b"]));
        answer(&mut conn, from, 200, &container("", &["a"]));
        answer(&mut conn, "GET /volumes/b", 200, labels);
        if status == 503 {
            taken_back(&mut conn);
            answer(&mut conn, "GET /volumes/b", 404, "{}");
        }
        assert_eq!(client.response().status(), status);
    }
}

#[test]
fn a_client_that_goes_does_not_take_the_check_with_it() {
    let (_proxy, _daemon, client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    assert_eq!(conn.request().line(), format!("{CREATE} HTTP/1.1"));
    drop(client);
    let length = CREATED.len();
    conn.send(format!(
        "HTTP/1.1 201 x\r\nContent-Length: {length}\r\n\r\n{CREATED}"
    ));
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    taken_back(&mut conn);
    answer(&mut conn, VOLUME, 200, UNLABELLED);
    answer(&mut conn, REMOVE_VOLUME, 204, "");
    conn.expect_end();
}

#[test]
fn a_daemon_that_goes_during_the_check_is_asked_to_take_it_back() {
    let (_proxy, daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 201, CREATED);
    conn.request();
    drop(conn);
    // Asked again, as any question that reads.
    let mut conn = daemon.accept();
    conn.request();
    drop(conn);
    let mut conn = daemon.accept();
    taken_back(&mut conn);
    let message = expect_error(&client.response(), 502);
    assert!(message.contains("could not be checked"), "{message}");
    assert!(message.contains("removed again"), "{message}");
}

#[test]
fn an_answer_to_the_check_that_cannot_be_understood_takes_the_container_back() {
    for odd in ["[]", r#"{"Config":{"Labels":[]}}"#, r#"{"Mounts":[1]}"#] {
        let (_proxy, _daemon, mut client, mut conn) = sent(NAMED, &[]);
        answer(&mut conn, CREATE, 201, CREATED);
        answer(&mut conn, INSPECT, 200, odd);
        taken_back(&mut conn);
        expect_error(&client.response(), 502);
    }
    let (_proxy, _daemon, mut client, mut conn) = sent(NAMED, &[]);
    answer(&mut conn, CREATE, 201, "OK");
    let message = expect_error(&client.response(), 502);
    assert!(message.contains("its ID is not known"), "{message}");
}

#[test]
fn a_create_that_is_refused_leaves_what_it_says_or_nothing() {
    let (proxy, _daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    answer(&mut conn, CREATE, 400, r#"{"message":"no such network"}"#);
    assert_eq!(client.response().status(), 400);
    expect_warning(
        &proxy,
        "volumes were made or found: \"v\"; they stay, labelled",
    );

    // Podman's anonymous ones have names that nobody else can know.
    let body = r#"{"Image":"i","Volumes":{"/a":{}}}"#;
    client.send(request(body));
    podman(&mut conn, IMAGE, 200, NO_VOLUMES);
    podman(&mut conn, CREATE_VOLUME, 201, r#"{"Name":"made"}"#);
    podman(&mut conn, CREATE, 500, "{}");
    podman(&mut conn, "DELETE /volumes/made", 204, "");
    assert_eq!(client.response().status(), 500);
}

#[test]
fn a_name_that_is_taken_is_refused_before_volumes_are_made() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(create("/v1.41/containers/create?name=%2Fn", BOUND));
    let mut conn = daemon.accept();
    answer(&mut conn, "GET /containers/n/json", 200, r#"{"Name":"/n"}"#);
    let message = expect_error(&client.response(), 409);
    assert!(message.contains("already in use"), "{message}");
    // The ID of another one begins so.
    client.send(create("/v1.41/containers/create?name=c", BOUND));
    answer(&mut conn, "GET /containers/c/json", 200, r#"{"Name":"/n"}"#);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
}

#[test]
fn podman_is_checked_too() {
    let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/v"]}}"#;
    let (_proxy, _daemon, mut client, mut conn) = sent(body, &[]);
    podman(&mut conn, IMAGE, 200, NO_VOLUMES);
    for is_made_again in [false, true] {
        podman(&mut conn, CREATE_VOLUME, 201, LABELLED);
        podman(&mut conn, CREATE, 201, CREATED);
        podman(&mut conn, INSPECT, 200, &container("1", &["v"]));
        if is_made_again {
            podman(&mut conn, VOLUME, 200, UNLABELLED);
            podman(&mut conn, REMOVE, 204, "");
            podman(&mut conn, INSPECT, 404, "{}");
            podman(&mut conn, VOLUME, 200, UNLABELLED);
            podman(&mut conn, REMOVE_VOLUME, 204, "");
            expect_error(&client.response(), 503);
        } else {
            podman(&mut conn, VOLUME, 200, LABELLED);
            expect_created(&mut client);
            client.send(request(body));
        }
    }
}

#[test]
fn podmans_own_api_is_checked_too() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let body = r#"{"image":"i","volumes":[{"Name":"v","Dest":"/v"},{"Dest":"/a"}]}"#;
    client.send(create("/v4.0.0/libpod/containers/create", body));
    let mut conn = daemon.accept();
    let question = "GET /v4.0.0/libpod/images/i/json";
    podman(&mut conn, question, 200, NO_VOLUMES);
    podman(&mut conn, "POST /v4.0.0/volumes/create", 201, LABELLED);
    podman(
        &mut conn,
        "POST /v4.0.0/volumes/create",
        201,
        r#"{"Name":"made"}"#,
    );
    podman(
        &mut conn,
        "POST /v4.0.0/libpod/containers/create",
        201,
        CREATED,
    );
    let inspect = "GET /v4.0.0/libpod/containers/c1/json";
    podman(&mut conn, inspect, 200, &container("1", &["v", "made"]));
    podman(&mut conn, "GET /volumes/made", 200, LABELLED);
    podman(&mut conn, VOLUME, 200, UNLABELLED);
    let remove = "DELETE /v4.0.0/libpod/containers/c1?force=true&v=true";
    podman(&mut conn, remove, 200, "[]");
    podman(&mut conn, inspect, 404, "{}");
    podman(&mut conn, VOLUME, 200, UNLABELLED);
    podman(&mut conn, REMOVE_VOLUME, 204, "");
    podman(&mut conn, "DELETE /volumes/made", 204, "");
    expect_error(&client.response(), 503);

    let body = r#"{"name":"p","volumes":[{"Name":"v","Dest":"/v"}]}"#;
    client.send(create("/v4.0.0/libpod/pods/create", body));
    podman(&mut conn, "GET /v4.0.0/libpod/pods/p/json", 404, "{}");
    podman(&mut conn, "POST /v4.0.0/volumes/create", 201, LABELLED);
    podman(
        &mut conn,
        "POST /v4.0.0/libpod/pods/create",
        201,
        r#"{"Id":"c1"}"#,
    );
    let pod = "GET /v4.0.0/libpod/pods/c1/json";
    podman(
        &mut conn,
        pod,
        200,
        r#"{"Id":"c1","InfraContainerID":"infra"}"#,
    );
    let infra = "GET /v4.0.0/libpod/containers/infra/json";
    let unlabelled = container("", &["v"]).replace("job", "other");
    podman(&mut conn, infra, 200, &unlabelled);
    podman(&mut conn, VOLUME, 200, LABELLED);
    podman(
        &mut conn,
        "DELETE /v4.0.0/libpod/pods/c1?force=true",
        200,
        "{}",
    );
    podman(&mut conn, pod, 404, "{}");
    expect_error(&client.response(), 503);
}

#[test]
fn a_daemon_that_has_become_podman_gets_the_create_anew() {
    let body = r#"{"Image":"i"}"#;
    let (_proxy, _daemon, mut client, mut conn) = sent(body, &[]);
    answer(&mut conn, IMAGE, 200, NO_VOLUMES);
    podman(&mut conn, CREATE, 201, CREATED);
    podman(&mut conn, INSPECT, 200, &container("1", &[]));
    podman(&mut conn, REMOVE, 204, "");
    podman(&mut conn, INSPECT, 404, "{}");
    podman(&mut conn, IMAGE, 200, NO_VOLUMES);
    podman(&mut conn, CREATE, 201, CREATED);
    podman(&mut conn, INSPECT, 200, &container("1", &[]));
    expect_created(&mut client);
}

#[test]
fn the_image_is_asked_for_by_the_platform_of_the_create() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let target = "/v1.41/containers/create?platform=linux%2Farm64%2Fv8";
    client.send(create(target, r#"{"Image":"i"}"#));
    let mut conn = daemon.accept();
    let platform = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D";
    let question = format!("GET /images/i/json?platform={platform}");
    answer(&mut conn, &question, 200, WITH_VOLUME);
    let sent = conn.request();
    assert!(sent.text().contains(r#""Target":"/data""#), "{sent:?}");
    drop((client, conn));

    // It is remembered for this platform alone.
    let mut client = proxy.client();
    client.send(request(r#"{"Image":"i"}"#));
    let mut conn = daemon.accept();
    answer(&mut conn, IMAGE, 404, "{}");
    client.response();
    client.send(create(
        "/v1.41/containers/create?platform=a%2F",
        r#"{"Image":"i"}"#,
    ));
    expect_error(&client.response(), 400);
}

#[test]
fn requests_that_name_one_volume_go_one_after_the_other() {
    let (proxy, daemon, mut client, mut conn) = sent(BOUND, &[]);
    answer(&mut conn, CREATE_VOLUME, 201, LABELLED);
    let mut others = Vec::new();
    for request in [
        request(BOUND),
        create("/v1.41/volumes/create", r#"{"Name":"v"}"#),
        "DELETE /v1.41/volumes/v HTTP/1.1\r\nHost: docker\r\n\r\n".to_owned(),
        "DELETE /v4.0.0/libpod/volumes/v HTTP/1.1\r\nHost: docker\r\n\r\n".to_owned(),
    ] {
        let mut other = proxy.client();
        other.send(request);
        others.push(other);
    }
    // One that names another volume does not wait.
    let mut free = proxy.client();
    free.send(create("/v1.41/volumes/create", r#"{"Name":"w"}"#));
    let mut at_once = daemon.accept();
    answer(&mut at_once, CREATE_VOLUME, 201, r#"{"Name":"w"}"#);
    free.response();
    answer(&mut conn, CREATE, 201, CREATED);
    answer(&mut conn, INSPECT, 200, &container("", &["v"]));
    daemon.expect_untouched();
    // A client that goes does not wait any longer; the others have their turn.
    drop(others.remove(0));
    answer(&mut conn, VOLUME, 200, LABELLED);
    expect_created(&mut client);
    for _ in &others {
        let mut conn = daemon.accept();
        assert!(conn.request().line().contains("/volumes/"));
        conn.send("HTTP/1.1 204 No Content\r\n\r\n");
    }
    for mut other in others {
        assert_eq!(other.response().status(), 204);
    }
}

#[test]
fn a_create_names_a_limited_number_of_volumes() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let binds: Vec<String> = (0..1001).map(|i| format!("\"v{i}:/{i}\"")).collect();
    let body = format!("{{\"HostConfig\":{{\"Binds\":[{}]}}}}", binds.join(","));
    client.send(request(&body));
    let message = expect_error(&client.response(), 400);
    assert!(message.contains("more than 1000 volumes"), "{message}");
    daemon.expect_untouched();
}
