//! What the daemon receives of a request, however the request is delivered.
//!
//! The requests are the corpus in tests/requests, each named for the rule that it keeps or breaks:
//!
//! - `valid/NAME.http` is forwarded; `NAME.forwarded` has what the daemon receives.
//! - `invalid/NAME.http` is refused, and the connection closed; `NAME.refused` has the status and
//!   the message of the refusal.
//! - `refused/NAME.http` is valid HTTP that cannot be labelled. It has a `NAME.refused` too, but
//!   the connection goes on.
//!
//! With `BLESS=1` in the environment the outcomes are written instead of compared: read the diff.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use support::{Framing, Message, Proxy, Text, Wire};

use crate::daemon::{CREATE, CREATED, FakeDaemon, PING, expect_error, pair};

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// The ways to deliver `bytes`: whole, line by line, in two pieces cut at each place, and byte by
/// byte.
fn deliveries(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let whole = std::iter::once(vec![bytes]);
    let in_lines = std::iter::once(bytes.split_inclusive(|&b| b == b'\n').collect());
    let in_two = (1..bytes.len()).map(|i| vec![&bytes[..i], &bytes[i..]]);
    let in_bytes = std::iter::once(bytes.chunks(1).collect());
    whole.chain(in_lines).chain(in_two).chain(in_bytes)
}

/// Whether the connection goes on after this request.
fn goes_on(request: &Message) -> bool {
    let connection = request.header("connection").join(",").to_ascii_lowercase();
    if request.line().ends_with("HTTP/1.0") {
        connection.contains("keep-alive")
    } else {
        !connection.contains("close")
    }
}

fn send(client: &mut Wire, pieces: &[&[u8]]) {
    for piece in pieces {
        client.send_apart(piece);
    }
}

/// The corpus files of a directory, each with the path of its outcome.
fn corpus(directory: &str, outcome: &str) -> Vec<(Vec<u8>, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/requests")
        .join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "http")
    });
    files.sort();
    assert!(files.len() > 20, "the corpus is missing");
    files
        .iter()
        .map(|path| (fs::read(path).unwrap(), path.with_extension(outcome)))
        .collect()
}

/// Returns the outcome at `path`, after writing `actual` there if `BLESS` is set.
fn expected(path: &Path, actual: &[u8]) -> Vec<u8> {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, actual).unwrap();
    }
    fs::read(path).unwrap_or_default()
}

/// Delivers one request or several, answers each, and returns what the daemon received.
fn exchange(
    proxy: &Proxy,
    daemon: &FakeDaemon,
    pieces: &[&[u8]],
    n_requests: usize,
) -> Vec<Message> {
    let mut client = proxy.client();
    let mut sender = client.try_clone();
    let (mut conn, requests) = thread::scope(|scope| {
        // Single bytes soon fill the socket while the proxy waits for a response.
        scope.spawn(|| send(&mut sender, pieces));
        let mut conn = daemon.accept();
        let mut requests = Vec::new();
        while requests.len() < n_requests {
            requests.push(conn.request());
            conn.send(NOT_FOUND);
            assert_eq!(client.final_response().status(), 404);
        }
        (conn, requests)
    });
    drop(sender);
    if n_requests > 1 {
        // Whatever the proxy makes of bytes after the last request has arrived by now.
        proxy.wait_idle();
    }
    drop(client);
    conn.expect_end();
    requests
}

#[test]
fn valid_requests_arrive_the_same_however_they_are_delivered() {
    let (proxy, daemon) = pair();
    for (bytes, outcome) in corpus("valid", "forwarded") {
        let name = outcome.display();
        let whole = exchange_all(&proxy, &daemon, &bytes);
        let forwarded: Vec<u8> = whole.iter().flat_map(to_bytes).collect();
        assert_eq!(
            Text(&forwarded),
            Text(&expected(&outcome, &forwarded)),
            "{name}"
        );
        for pieces in deliveries(&bytes) {
            let again = exchange(&proxy, &daemon, &pieces, whole.len());
            assert_eq!(again, whole, "{name}: {:?}", Text(pieces[0]));
        }
    }
}

#[test]
fn a_create_behind_a_valid_request_is_labelled() {
    let (proxy, daemon) = pair();
    for (bytes, outcome) in corpus("valid", "forwarded") {
        let name = outcome.display();
        let mut expected = exchange_all(&proxy, &daemon, &bytes);
        let is_last = !goes_on(expected.last().unwrap());
        let mut bytes = bytes;
        bytes.extend(CREATE.bytes());
        let mut all = exchange_all(&proxy, &daemon, &bytes);
        if !is_last {
            let create = all.pop().unwrap();
            assert_eq!(create.text(), CREATED, "{name}");
        }
        assert_eq!(all, expected, "{name}");
        if !is_last {
            expected.push(Message::new(Vec::new()));
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            let mut all = exchange(&proxy, &daemon, &pieces, expected.len());
            assert_eq!(all.pop().unwrap().text(), CREATED, "{name}");
        }
    }
}

/// Like [`exchange`], with as many requests as the proxy sees in `bytes`.
fn exchange_all(proxy: &Proxy, daemon: &FakeDaemon, bytes: &[u8]) -> Vec<Message> {
    let mut client = proxy.client();
    client.send(bytes);
    let mut conn = daemon.accept();
    let mut requests = Vec::new();
    while conn.has_more() {
        requests.push(conn.request());
        conn.send(NOT_FOUND);
        assert_eq!(client.final_response().status(), 404);
        proxy.wait_idle();
        if !conn.is_ready() {
            drop(client);
            conn.expect_end();
            break;
        }
    }
    requests
}

/// The bytes of a request, with a chunked body in one chunk: the proxy is free in cutting chunks.
fn to_bytes(message: &Message) -> Vec<u8> {
    let mut bytes = message.head.clone();
    match message.framing() {
        Framing::Chunked => {
            bytes.extend(format!("{:x}\r\n", message.body.len()).bytes());
            bytes.extend(&message.body);
            bytes.extend(b"\r\n0\r\n\r\n");
        }
        Framing::Length(_) | Framing::None => bytes.extend(&message.body),
    }
    bytes
}

#[test]
fn invalid_requests_are_refused_however_they_are_delivered() {
    let (proxy, daemon) = pair();
    for (bytes, outcome) in corpus("invalid", "refused") {
        let refused = |pieces: &[&[u8]]| {
            let mut client = proxy.client();
            send(&mut client, pieces);
            let response = client.final_response();
            let message = expect_error(&response, response.status());
            assert_eq!(
                response.header("connection"),
                ["close"],
                "{}",
                outcome.display()
            );
            client.expect_end();
            daemon.expect_untouched();
            format!("{} {message}\n", response.status())
        };
        let whole = refused(&[&bytes]);
        assert_eq!(
            Text(whole.as_bytes()),
            Text(&expected(&outcome, whole.as_bytes())),
            "{}",
            outcome.display()
        );
        for pieces in deliveries(&bytes) {
            assert_eq!(
                refused(&pieces),
                whole,
                "{}: {:?}",
                outcome.display(),
                Text(pieces[0])
            );
        }
        // Nothing after it is taken for a request.
        let with_create = [&bytes, CREATE.as_bytes()].concat();
        let status = |refused: &str| refused[..3].to_owned();
        for pieces in [vec![&with_create[..]], with_create.chunks(1).collect()] {
            let name = outcome.display();
            assert_eq!(status(&refused(&pieces)), status(&whole), "{name}");
        }
    }
}

#[test]
fn unlabellable_requests_are_refused_and_the_connection_goes_on() {
    let (proxy, daemon) = pair();
    for (bytes, outcome) in corpus("refused", "refused") {
        let name = outcome.display();
        let refused = |pieces: &[&[u8]]| {
            let mut client = proxy.client();
            let mut sender = client.try_clone();
            let response = thread::scope(|scope| {
                scope.spawn(|| send(&mut sender, pieces));
                client.final_response()
            });
            let message = expect_error(&response, response.status());
            assert!(response.header("connection").is_empty(), "{name}");
            daemon.expect_untouched();
            client.send(CREATE);
            let mut conn = daemon.accept();
            assert_eq!(conn.request().text(), CREATED, "{name}");
            conn.send(NOT_FOUND);
            assert_eq!(client.final_response().status(), 404, "{name}");
            format!("{} {message}\n", response.status())
        };
        let whole = refused(&[&bytes]);
        assert_eq!(
            Text(whole.as_bytes()),
            Text(&expected(&outcome, whole.as_bytes())),
            "{name}"
        );
        for pieces in deliveries(&bytes) {
            assert_eq!(refused(&pieces), whole, "{name}: {:?}", Text(pieces[0]));
        }
    }
}

#[test]
fn a_truncated_head_is_not_forwarded() {
    let (proxy, daemon) = pair();
    let bytes = PING.as_bytes();
    for n in 1..bytes.len() {
        let mut client = proxy.client();
        client.send(&bytes[..n]);
        client.half_close();
        client.rest();
        daemon.expect_untouched();
    }
}

#[test]
fn an_unclean_path_is_redirected_by_the_proxy_itself() {
    let (proxy, daemon) = pair();
    for (target, location) in [
        ("//containers/create", "/containers/create"),
        ("/./containers/create?name=x", "/containers/create?name=x"),
        ("/a/../containers/create", "/containers/create"),
        ("/v1.41//containers/create", "/v1.41/containers/create"),
        ("/containers/create/.", "/containers/create"),
        ("/%2Fcontainers/create", "/containers/create"),
        ("/%2e/containers/create", "/containers/create"),
        ("http://docker//containers/create", "/containers/create"),
        ("http://docker", "/"),
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        let response = client.response();
        assert_eq!(response.status(), 301, "{target}");
        assert_eq!(response.header("location"), [location], "{target}");
        drop(client);
        daemon.expect_untouched();
    }
}

#[test]
fn connect_is_refused() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send("CONNECT docker:80 HTTP/1.1\r\nHost: docker:80\r\n\r\n");
    expect_error(&client.response(), 400);
    drop(client);
    daemon.expect_untouched();
}

fn with_fields(fields: &str) -> String {
    format!("GET /_ping HTTP/1.1\r\nHost: docker\r\n{fields}\r\n")
}

#[test]
fn long_heads_pass() {
    let (proxy, daemon) = pair();
    let value = "x".repeat(200 * 1024);
    let many: String = (1..1024).map(|i| format!("X-{i}: {i}\r\n")).collect();
    for fields in [format!("X-Registry-Config: {value}\r\n"), many] {
        let request = with_fields(&fields);
        let got = exchange(&proxy, &daemon, &[request.as_bytes()], 1);
        assert_eq!(Text(&got[0].head), Text(request.as_bytes()));
    }
}

#[test]
fn endless_heads_are_refused() {
    let (proxy, daemon) = pair();
    let long = with_fields(&format!("X: {}\r\n", "x".repeat(1 << 20)));
    let many = with_fields(&"X: y\r\n".repeat(1024));
    // A head without an end is refused at the limit.
    let endless = &long[..1 << 20];
    for request in [&long, endless, &many] {
        let mut client = proxy.client();
        client.try_send(request);
        let message = expect_error(&client.response(), 431);
        assert!(
            message.contains("1048576 bytes") || message.contains("1024 lines"),
            "{message}"
        );
        client.expect_end();
        daemon.expect_untouched();
    }
}

#[test]
fn a_streamed_body_with_malformed_chunks_is_never_completed() {
    let (proxy, daemon) = pair();
    let head = "POST /images/load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bad in [
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc",
        "\r\n",
        "3\nabc",
        "3\r\nabcd\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(format!("{head}2\r\nok\r\n{bad}"));
        let mut conn = daemon.accept();
        conn.expect(head);
        let body = conn.rest();
        assert!(!body.ends_with(b"0\r\n\r\n"), "{bad:?}: {:?}", Text(&body));
        drop(conn);
        let response = client.response();
        assert!(response.status() >= 400, "{bad:?}: {response:?}");
        client.expect_end();
    }
}

#[test]
fn trailers_and_extensions_are_bounded() {
    let (proxy, daemon) = pair();
    let head =
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(5000));
    let trailer = format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5000));
    for body in [extension, trailer] {
        let mut client = proxy.client();
        client.try_send(format!("{head}{body}"));
        expect_error(&client.response(), 400);
        client.expect_end();
        daemon.expect_untouched();
    }
}

#[test]
fn a_chunk_that_makes_the_body_larger_than_any_number_is_refused() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\n{\r\nffffffffffffffff\r\nx",
    );
    expect_error(&client.response(), 413);
    daemon.expect_untouched();
}

#[test]
fn deep_json_passes_except_in_labels() {
    let (proxy, daemon) = pair();
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let create = |body: &str| {
        let length = body.len();
        format!(
            "POST /networks/create HTTP/1.1\r\nHost: docker\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let request = create(&format!("{{\"Name\":\"n\",\"x\":{deep}}}"));
    let got = exchange(&proxy, &daemon, &[request.as_bytes()], 1);
    let expected = format!("{{\"Name\":\"n\",\"x\":{deep},\"Labels\":{{\"job\":\"42\"}}}}");
    assert_eq!(got[0].text(), expected);
    for labels in [&deep, &format!("{{\"a\":{deep}}}")] {
        let mut client = proxy.client();
        client.send(create(&format!("{{\"Labels\":{labels}}}")));
        expect_error(&client.response(), 400);
        daemon.expect_untouched();
    }
}
