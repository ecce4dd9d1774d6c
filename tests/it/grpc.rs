//! HTTP/2 through the proxy: connections that upgrade at `/grpc` and connections that begin with
//! HTTP/2. The daemon is played frame by frame.

use std::thread;

use support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, GRPC, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, SWITCHED, WINDOW_UPDATE, block, fields, frame, message, next,
};
use support::{Proxy, Wire, find, wait_until};

use crate::daemon::{CREATE, CREATED, FakeDaemon, OK, expect_error, pair};

const STATUS: &str = "/moby.buildkit.v1.Control/Status";
const SOLVE: &str = "/moby.buildkit.v1.frontend.LLBBridge/Solve";
const CONTROL_SOLVE: &str = "/moby.buildkit.v1.Control/Solve";
const UNKNOWN: &str = "/moby.buildkit.v1.Control/CreateAll";

/// The HEADERS frame of a call.
fn call(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", ""),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// A `Solve` for the Dockerfile frontend, with a field of `more` bytes that means nothing.
fn solve(more: usize) -> Vec<u8> {
    let mut message = b"\x12\x0ddockerfile.v0".to_vec();
    if more > 0 {
        // Field 13, a string.
        message.push(0x6a);
        let mut len = more;
        while len >= 128 {
            message.push(len as u8 | 128);
            len >>= 7;
        }
        message.push(len as u8);
        message.resize(message.len() + more, 0);
    }
    message
}

/// Reads the next frame and asserts that it is of type `kind`.
fn expect(wire: &mut Wire, kind: u8) -> Frame {
    let frame = next(wire);
    assert_eq!(frame.kind, kind, "{frame:?}");
    frame
}

/// Returns both ends of a connection that was upgraded to HTTP/2, after the exchange of settings.
/// `first_window` is the initial window that the daemon announces.
fn upgraded(proxy: &Proxy, daemon: &FakeDaemon, first_window: u32) -> (Wire, Wire) {
    let mut client = proxy.client();
    client.send(GRPC);
    let mut conn = daemon.accept();
    conn.expect(GRPC);
    conn.send(SWITCHED);
    client.expect(SWITCHED);
    settle(&mut client, &mut conn, first_window);
    (client, conn)
}

fn settle(client: &mut Wire, conn: &mut Wire, first_window: u32) {
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    client.send(&hello);
    conn.expect(PREFACE);
    let window = [&[0, 4], &first_window.to_be_bytes()[..]].concat();
    let settings = frame(SETTINGS, 0, 0, &window);
    conn.send(&settings);
    client.expect(&settings);
    conn.expect(frame(SETTINGS, 0, 0, b""));
    let ack = frame(SETTINGS, ACK, 0, b"");
    client.send(&ack);
    conn.expect(&ack);
    conn.send(&ack);
    client.expect(&ack);
}

fn expect_call(conn: &mut Wire, stream: u32, path: &str) {
    let head = expect(conn, HEADERS);
    assert_eq!((head.stream, head.flags), (stream, END_HEADERS));
    let fields = fields(&head.payload);
    assert_eq!(fields[2], (":path".to_owned(), path.to_owned()));
    assert_eq!(fields.len(), 6);
}

/// Reads the data of a stream up to its end and opens the windows again at once.
fn read_stream(conn: &mut Wire, stream: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let data = expect(conn, DATA);
        assert_eq!(data.stream, stream);
        bytes.extend_from_slice(&data.payload);
        if data.flags & END_STREAM != 0 {
            return bytes;
        }
        let len = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
        for stream in [0, stream] {
            conn.send(frame(WINDOW_UPDATE, 0, stream, &len));
        }
    }
}

#[test]
fn the_message_of_a_build_is_labelled() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    client.send(call(1, SOLVE));
    expect_call(&mut conn, 1, SOLVE);
    let bytes = frame(DATA, END_STREAM, 1, &message(&solve(0)));
    for piece in bytes.chunks(5) {
        client.send_apart(piece);
    }
    let labelled = read_stream(&mut conn, 1);
    assert!(labelled.len() > solve(0).len() + 5);
    assert_eq!(labelled[..5], message(&labelled[5..])[..5]);
    assert!(labelled[5..].starts_with(&solve(0)));
    let label = find(&labelled, b"\x0a\x09label:job\x12\x0242");
    assert!(label.is_some(), "{labelled:?}");
    let answer = [
        frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")])),
        frame(DATA, 0, 1, &message(b"")),
    ];
    conn.send(answer.concat());
    let trailers = block(&[("grpc-status", "0")]);
    conn.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    assert_eq!(expect(&mut client, WINDOW_UPDATE).stream, 0);
    let head = expect(&mut client, HEADERS);
    assert_eq!(fields(&head.payload), [(":status".into(), "200".into())]);
    client.expect(&answer[1]);
    let head = expect(&mut client, HEADERS);
    assert_eq!(fields(&head.payload), [("grpc-status".into(), "0".into())]);
    assert_eq!(head.flags, END_HEADERS | END_STREAM);
}

#[test]
fn a_build_is_one_line_in_the_log_once_it_has_ended() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    // The exporter "moby" with names, no exporter at all, and one that writes files.
    let image = b"\x6a\x1b\x0a\x04moby\x12\x13\x0a\x04name\x12\x0bapp:1,app:2";
    let files = b"\x6a\x05\x0a\x03tar";
    for (stream, request, status) in [
        (1, &image[..], "0"),
        (3, image, "2"),
        (5, b"", "0"),
        (7, files, "0"),
    ] {
        client.send(call(stream, CONTROL_SOLVE));
        expect_call(&mut conn, stream, CONTROL_SOLVE);
        client.send(frame(DATA, END_STREAM, stream, &message(request)));
        read_stream(&mut conn, stream);
        conn.send(frame(
            HEADERS,
            END_HEADERS,
            stream,
            &block(&[(":status", "200")]),
        ));
        let trailers = block(&[("grpc-status", status)]);
        conn.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers));
        expect(&mut client, WINDOW_UPDATE);
        expect(&mut client, HEADERS);
        expect(&mut client, HEADERS);
    }
    drop((client, conn));
    proxy.wait_idle();
    wait_until("the log has the end of the connection", || {
        proxy.log().contains("#2 closed")
    });
    let log = proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("INFO") && line.contains("image"));
    let lines: Vec<&str> = lines
        .map(|line| line.split_once("#2 ").unwrap().1)
        .collect();
    assert_eq!(
        lines,
        [
            r#"labelled image "app:1", "app:2""#,
            r#"did not create image "app:1", "app:2": gRPC status 2"#
        ],
        "{log}"
    );
}

/// Makes the call `path` with the body `data` and asserts that it is refused. Returns the gRPC
/// status and the message.
fn refusal(path: &str, data: &[u8]) -> (String, String) {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    client.send(call(1, path));
    client.send(frame(DATA, END_STREAM, 1, data));
    let head = loop {
        let frame = next(&mut client);
        match frame.kind {
            WINDOW_UPDATE => (),
            kind => {
                assert_eq!((kind, frame.flags), (HEADERS, END_HEADERS | END_STREAM));
                break fields(&frame.payload);
            }
        }
    };
    // The daemon has received the head of the call at most, and its reset.
    client.half_close();
    while conn.fill() {
        if !conn.is_ready() {
            proxy.wait_idle();
        }
    }
    let sent = conn.rest();
    assert!(find(&sent, b"containerimage").is_none() && find(&sent, b"moby\x12").is_none());
    let value = |name: &str| head.iter().find(|(n, _)| n == name).unwrap().1.clone();
    (value("grpc-status"), value("grpc-message"))
}

#[test]
fn calls_that_cannot_be_labelled_are_refused_with_a_status_and_a_reason() {
    let image = b"\x6a\x14\x0a\x04moby\x12\x0c\x0a\x04name\x12\x04app1".to_vec();
    let raw = message(&[&b"\x12\x05\x0a\x03abc"[..], &image].concat());
    let gateway = message(&[&b"\x32\x0agateway.v0"[..], &image].concat());
    let mut compressed = message(&image);
    compressed[0] = 1;
    for (path, data, status, why) in [
        (
            CONTROL_SOLVE,
            &raw,
            "9",
            "an image that is not built from a Dockerfile",
        ),
        (
            CONTROL_SOLVE,
            &gateway,
            "9",
            "an image that is not built from a Dockerfile",
        ),
        (
            CONTROL_SOLVE,
            &compressed,
            "12",
            "a compressed message cannot be read",
        ),
        (
            SOLVE,
            &compressed,
            "12",
            "a compressed message cannot be read",
        ),
        (
            SOLVE,
            &message(b"\x50\x01"),
            "9",
            "a final LLBBridge/Solve cannot be labelled",
        ),
        (UNKNOWN, &message(b""), "12", "the call "),
    ] {
        let (code, message) = refusal(path, data);
        assert_eq!(code, status, "{path} {message}");
        assert!(
            message.starts_with(&format!("docker-label-proxy: {why}")),
            "{message}"
        );
    }
}

#[test]
fn frames_sent_along_with_the_upgrade_are_looked_at() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let early = [GRPC.as_bytes(), &hello, &call(1, UNKNOWN), &call(3, STATUS)].concat();
    client.send(&early);
    let mut conn = daemon.accept();
    conn.expect(GRPC);
    conn.send([SWITCHED.as_bytes(), &frame(SETTINGS, 0, 0, b"")].concat());
    client.expect(SWITCHED);
    conn.expect(&hello);
    expect_call(&mut conn, 3, STATUS);
}

#[test]
fn a_refused_call_is_answered_and_the_others_go_on() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    client.send(call(1, STATUS));
    expect_call(&mut conn, 1, STATUS);
    client.send(call(3, UNKNOWN));
    let head = expect(&mut client, HEADERS);
    assert_eq!((head.stream, head.flags), (3, END_HEADERS | END_STREAM));
    let fields = fields(&head.payload);
    assert_eq!(fields[0], (":status".into(), "200".into()));
    assert_eq!(fields[2], ("grpc-status".into(), "12".into()));
    assert_eq!(fields[3].0, "grpc-message");
    assert!(fields[3].1.starts_with("docker-label-proxy: the call "));
    let reset = expect(&mut client, RST_STREAM);
    assert_eq!((reset.stream, reset.number()), (3, 0));
    for _ in 0..3 {
        for bytes in [
            frame(DATA, 0, 1, &message(b"request")),
            frame(PING, 0, 0, b"12345678"),
        ] {
            client.send(&bytes);
            conn.expect(&bytes);
        }
        for bytes in [
            frame(DATA, 0, 1, &message(b"progress")),
            frame(PING, ACK, 0, b"12345678"),
        ] {
            conn.send(&bytes);
            client.expect(&bytes);
        }
    }
}

#[test]
fn progress_arrives_while_a_message_is_half_sent() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    client.send([call(1, STATUS), call(3, SOLVE)].concat());
    expect_call(&mut conn, 1, STATUS);
    expect_call(&mut conn, 3, SOLVE);
    let (half, rest) = (&message(&solve(100))[..50], &message(&solve(100))[50..]);
    client.send(frame(DATA, 0, 3, half));
    for stream in [0, 3] {
        let update = expect(&mut client, WINDOW_UPDATE);
        assert_eq!((update.stream, update.number()), (stream, 50));
    }
    let progress = frame(DATA, 0, 1, &message(b"progress"));
    conn.send(&progress);
    client.expect(&progress);
    proxy.wait_idle();
    conn.expect_silence();
    client.send(frame(DATA, END_STREAM, 3, rest));
    assert!(find(&read_stream(&mut conn, 3), b"label:job").is_some());
    let cancel = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    client.send(&cancel);
    conn.expect(&cancel);
}

#[test]
fn a_message_of_16_mib_goes_through_windows_of_64_kib() {
    const MORE: usize = 16 * 1024 * 1024 - 100;
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    let whole = message(&solve(MORE));
    let sent = whole.clone();
    let sender = thread::spawn(move || {
        client.send(call(1, SOLVE));
        let (mut windows, mut rest) = ([65_535_usize; 2], &sent[..]);
        while !rest.is_empty() {
            let n = rest.len().min(windows[0]).min(windows[1]).min(16_384);
            if n > 0 {
                let flags = if n == rest.len() { END_STREAM } else { 0 };
                client.send(frame(DATA, flags, 1, &rest[..n]));
                rest = &rest[n..];
                windows = windows.map(|window| window - n);
                continue;
            }
            let update = expect(&mut client, WINDOW_UPDATE);
            windows[update.stream as usize] += update.number() as usize;
        }
        client
    });
    expect_call(&mut conn, 1, SOLVE);
    let labelled = read_stream(&mut conn, 1);
    assert!(labelled[5..].starts_with(&whole[5..]));
    assert!(find(&labelled[whole.len()..], b"label:job").is_some());
    drop(sender.join().unwrap());
    conn.expect_hangup();
}

#[test]
fn a_protocol_error_gets_a_goaway_and_closes_both_ends() {
    let (proxy, daemon) = pair();
    for (bytes, code) in [
        (call(2, STATUS), 1),
        (frame(DATA, 0, 1, b"x"), 1),
        (frame(PING, 0, 0, b"x"), 6),
        (frame(HEADERS, END_HEADERS, 1, b"\xff"), 9),
        (vec![0xff; 100], 6),
    ] {
        let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
        client.send(&bytes);
        let goaway = expect(&mut client, GOAWAY);
        assert_eq!(goaway.payload[4..8], [0, 0, 0, code], "{goaway:?}");
        client.expect_end();
        conn.expect_end();
        conn.expect_hangup();
    }
}

#[test]
fn an_end_that_closes_closes_the_other() {
    let (proxy, daemon) = pair();
    let progress = frame(DATA, 0, 1, &message(b"late progress"));
    let open = || {
        let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
        client.send(call(1, STATUS));
        expect_call(&mut conn, 1, STATUS);
        (client, conn)
    };

    let (mut client, conn) = open();
    client.send(frame(DATA, 0, 1, b"the last"));
    drop(client);
    let mut conn = conn;
    assert_eq!(expect(&mut conn, DATA).payload, b"the last");
    conn.expect_end();
    conn.expect_hangup();

    let (mut client, mut conn) = open();
    conn.send(&progress);
    drop(conn);
    client.expect(&progress);
    client.expect_end();
    client.expect_hangup();

    let (mut client, mut conn) = open();
    client.half_close();
    conn.expect_end();
    conn.send(&progress);
    client.expect(&progress);
    drop(conn);
    client.expect_end();
    client.expect_hangup();

    let (mut client, mut conn) = open();
    conn.half_close();
    client.expect_end();
    client.send(frame(DATA, 0, 1, b"more"));
    assert_eq!(expect(&mut conn, DATA).payload, b"more");
    drop(client);
    conn.expect_end();
}

#[test]
fn bytes_that_wait_for_a_window_are_sent_after_a_half_close() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 0);
    client.send(call(1, SOLVE));
    expect_call(&mut conn, 1, SOLVE);
    let raised = frame(WINDOW_UPDATE, 0, 1, &90_u32.to_be_bytes());
    conn.send(&raised);
    client.expect(&raised);
    client.send(frame(DATA, END_STREAM, 1, &message(&solve(60))));
    let first = expect(&mut conn, DATA);
    assert_eq!((first.payload.len(), first.flags), (90, 0));
    client.half_close();
    proxy.wait_idle();
    conn.expect_silence();
    conn.send(frame(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes()));
    let rest = expect(&mut conn, DATA);
    assert_eq!(rest.flags, END_STREAM);
    conn.expect_end();
}

#[test]
fn bytes_that_a_client_does_not_read_wait_in_the_daemon() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = upgraded(&proxy, &daemon, 65_535);
    client.send(call(1, STATUS));
    expect_call(&mut conn, 1, STATUS);
    let before = proxy.usage().peak_memory;
    let progress = frame(DATA, 0, 1, &[7; 16_000]);
    let mut sender = conn.try_clone();
    let bytes = progress.repeat(4000);
    thread::scope(|scope| {
        let blocked = scope.spawn(move || sender.try_send(bytes));
        client.expect(&progress);
        // Meanwhile the other direction is open.
        for _ in 0..10 {
            let request = frame(DATA, 0, 1, &[1; 3000]);
            client.send(&request);
            conn.expect(&request);
        }
        proxy.wait_idle();
        client.expect(&progress);
        drop(client);
        assert!(!blocked.join().unwrap(), "nobody has read all that");
    });
    conn.expect_hangup();
    let grown = proxy.usage().peak_memory - before;
    assert!(grown < 4 << 20, "{grown}");
}

#[test]
fn a_client_may_begin_with_http_2_if_the_daemon_does() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let early = [PREFACE, &frame(SETTINGS, 0, 0, b""), CREATE.as_bytes()].concat();
    client.send(&early);
    let mut conn = daemon.accept();
    conn.expect(PREFACE);
    proxy.wait_idle();
    conn.expect_silence();
    conn.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let error = expect_error(&client.final_response(), 505);
    assert!(error.starts_with("the daemon does not speak HTTP/2"));
    client.expect_end();
    conn.expect_end();

    let mut client = proxy.client();
    client.send(PREFACE);
    let conn = daemon.accept();
    drop(conn);
    expect_error(&client.final_response(), 505);

    let mut client = proxy.client();
    client.send(PREFACE);
    let mut conn = daemon.accept();
    conn.expect(PREFACE);
    conn.send(frame(SETTINGS, 0, 0, b""));
    client.expect(frame(SETTINGS, 0, 0, b""));
    client.send(frame(SETTINGS, 0, 0, b""));
    conn.expect(frame(SETTINGS, 0, 0, b""));
    let rest = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/containers/create"),
        (":authority", ""),
        ("content-type", "application/json"),
    ]);
    client.send(frame(HEADERS, END_HEADERS, 1, &rest));
    let reset = expect(&mut client, RST_STREAM);
    assert_eq!((reset.stream, reset.number()), (1, 0xd));
    client.send([frame(DATA, END_STREAM, 1, b"{}"), call(3, SOLVE)].concat());
    expect_call(&mut conn, 3, SOLVE);
    client.send(frame(DATA, END_STREAM, 3, &message(&solve(0))));
    assert!(find(&read_stream(&mut conn, 3), b"label:job").is_some());
}

#[test]
fn a_refused_upgrade_leaves_http() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(GRPC);
    let mut conn = daemon.accept();
    conn.expect(GRPC);
    conn.send(OK);
    client.expect(OK);
    client.send(CREATE);
    assert_eq!(conn.request().text(), CREATED);
}
