//! Tunnels and long streams: which end may send when, and what one end sees when the other closes,
//! half-closes or vanishes.

use std::thread;

use support::{Proxy, Wire, find};

use crate::daemon::{
    CREATE, CREATED, FakeDaemon, OK, PING, expect_error, expect_labelled_create, pair, sent,
};

const ATTACH: &str = "POST /v1.41/containers/c/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: docker\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const HIJACKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n";
const EVENTS: &str = "GET /v1.41/events HTTP/1.1\r\nHost: docker\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

/// Like [`sent`], after `response` has come back unchanged.
fn answered(proxy: &Proxy, daemon: &FakeDaemon, request: &str, response: &str) -> (Wire, Wire) {
    let (mut client, mut conn) = sent(proxy, daemon, request);
    conn.send(response);
    client.expect(response);
    (client, conn)
}

fn expect_both_ways(client: &mut Wire, conn: &mut Wire) {
    for _ in 0..3 {
        client.send("\x01up\n");
        conn.expect("\x01up\n");
        conn.send("\0down\r\n\r\n");
        client.expect("\0down\r\n\r\n");
    }
    // In a tunnel a create is only bytes.
    client.send(CREATE);
    conn.expect(CREATE);
}

#[test]
fn an_upgrade_makes_a_tunnel() {
    let (proxy, daemon) = pair();
    for request in [
        ATTACH,
        "POST /exec/e/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
        "GET /containers/c/attach/ws HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
        "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ] {
        let (mut client, mut conn) = answered(&proxy, &daemon, request, UPGRADED);
        expect_both_ways(&mut client, &mut conn);
    }
}

#[test]
fn attach_takes_the_connection_over_without_an_upgrade_too() {
    let (proxy, daemon) = pair();
    let request = ATTACH.replace("Connection: Upgrade\r\nUpgrade: tcp\r\n", "");
    let (mut client, mut conn) = answered(&proxy, &daemon, &request, HIJACKED);
    expect_both_ways(&mut client, &mut conn);
}

#[test]
fn output_sent_along_with_the_switch_is_part_of_the_tunnel() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, ATTACH);
    conn.send(format!("{UPGRADED}early output"));
    client.expect(format!("{UPGRADED}early output"));
    expect_both_ways(&mut client, &mut conn);
}

#[test]
fn input_sent_too_early_waits_for_the_switch() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(format!("{ATTACH}early "));
    let mut conn = daemon.accept();
    conn.expect(ATTACH);
    client.send("input");
    client.half_close();
    proxy.wait_idle();
    conn.expect_silence();
    conn.send(UPGRADED);
    client.expect(UPGRADED);
    conn.expect("early input");
    conn.expect_end();
    conn.send("late output");
    drop(conn);
    client.expect("late output");
    client.expect_end();
}

#[test]
fn a_refused_upgrade_leaves_http() {
    let (proxy, daemon) = pair();
    for request in [
        ATTACH.to_owned(),
        ATTACH.replace("/containers/c/attach", "/exec/e/start"),
    ] {
        let (mut client, mut conn) = answered(&proxy, &daemon, &request, NOT_FOUND);
        expect_labelled_create(&mut client, &mut conn);
        client.send(format!("{request}{CREATE}"));
        conn.expect(&request);
        proxy.wait_idle();
        conn.expect_silence();
        conn.send(NOT_FOUND);
        client.expect(NOT_FOUND);
        assert_eq!(conn.request().text(), CREATED);
    }
}

#[test]
fn a_detached_exec_leaves_http() {
    let (proxy, daemon) = pair();
    let request = "POST /exec/e/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 15\r\n\r\n{\"Detach\":true}";
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (mut client, mut conn) = answered(&proxy, &daemon, request, response);
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn an_error_without_length_to_an_attach_ends_with_the_connection() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = answered(
        &proxy,
        &daemon,
        ATTACH,
        "HTTP/1.1 404 Not Found\r\n\r\nNo such container: c\r\n",
    );
    // This is not a tunnel: a create that the client sends now must not reach the daemon as it is.
    client.try_send(CREATE);
    proxy.wait_idle();
    conn.expect_silence();
    drop(conn);
    client.expect_end();
}

#[test]
fn upgrades_are_not_requested_at_other_endpoints() {
    let (proxy, daemon) = pair();
    for target in [
        "GET /info",
        "POST /containers/c/wait",
        "GET /containers/c/attach",
        "POST /images/create",
    ] {
        let mut client = proxy.client();
        let head = format!(
            "{target} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
        );
        client.send([&head, CREATE].concat());
        let mut conn = daemon.accept();
        let request = conn.request();
        assert_eq!(request.header("upgrade"), [""; 0]);
        assert!(
            !request
                .header("connection")
                .iter()
                .any(|value| value.eq_ignore_ascii_case("upgrade"))
        );
        conn.send(OK);
        client.expect(OK);
        assert_eq!(conn.request().text(), CREATED);
    }
    let mut client = proxy.client();
    client.send(CREATE.replace(
        "\r\n\r\n",
        "\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n",
    ));
    let request = daemon.accept().request();
    assert_eq!(
        (request.text(), request.header("upgrade").len()),
        (CREATED, 0)
    );
}

#[test]
fn the_end_of_stdin_is_passed_on_and_late_output_arrives() {
    let (proxy, daemon) = pair();
    for (request, response) in [(ATTACH, UPGRADED), (ATTACH, HIJACKED)] {
        let (mut client, mut conn) = answered(&proxy, &daemon, request, response);
        client.send("input");
        client.half_close();
        conn.expect("input");
        conn.expect_end();
        for _ in 0..3 {
            conn.send("late output");
            client.expect("late output");
        }
        drop(conn);
        client.expect_end();
    }
}

#[test]
fn the_end_of_output_is_passed_on_and_late_input_arrives() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = answered(&proxy, &daemon, ATTACH, UPGRADED);
    conn.send("output");
    conn.half_close();
    client.expect("output");
    client.expect_end();
    for _ in 0..3 {
        client.send("late input");
        conn.expect("late input");
    }
    drop(client);
    conn.expect_hangup();
}

#[test]
fn a_vanished_client_hangs_up_on_the_daemon_in_both_directions() {
    let (proxy, daemon) = pair();
    for (request, response) in [(ATTACH, UPGRADED), (EVENTS, STREAM), (EVENTS, "")] {
        let (client, conn) = answered(&proxy, &daemon, request, response);
        drop(client);
        conn.expect_hangup();
    }
    // A client that has half-closed before.
    let (mut client, mut conn) = answered(&proxy, &daemon, ATTACH, UPGRADED);
    client.half_close();
    conn.expect_end();
    drop(client);
    conn.expect_hangup();
    // A client that leaves before the daemon has answered its upgrade.
    let (client, conn) = sent(&proxy, &daemon, ATTACH);
    drop(client);
    conn.expect_hangup();
    // A client that has already sent the next request.
    let (mut client, conn) = sent(&proxy, &daemon, EVENTS);
    client.send(CREATE);
    proxy.wait_idle();
    drop(client);
    conn.expect_hangup();
}

#[test]
fn a_dead_daemon_ends_a_tunnel() {
    let (proxy, daemon) = pair();
    for response in [UPGRADED, HIJACKED] {
        let (mut client, mut conn) = answered(&proxy, &daemon, ATTACH, response);
        conn.send("last");
        drop(conn);
        client.expect("last");
        client.expect_end();
    }
}

#[test]
fn a_response_that_breaks_off_is_not_completed() {
    let (proxy, daemon) = pair();
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned(),
        format!("{STREAM}3\r\nabc\r\n"),
        format!("{STREAM}3\r\nabc\r\n0\r\n"),
        format!("{STREAM}5\r\nabc"),
        STREAM.to_owned(),
        // Malformed chunks: what follows could be the next response.
        format!("{STREAM}3\r\nabcdef\r\n0\r\n\r\n"),
    ] {
        let (mut client, mut conn) = sent(&proxy, &daemon, EVENTS);
        conn.send(&response);
        drop(conn);
        let got = client.rest();
        assert!(response.as_bytes().starts_with(&got), "{got:?}");
        assert_eq!(find(&got, LAST_CHUNK.as_bytes()), None);
        assert!(
            !client.try_send(PING) || client.rest().is_empty(),
            "goes on after it"
        );
    }
}

#[test]
fn each_piece_of_a_response_passes_before_the_rest_exists() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = answered(&proxy, &daemon, EVENTS, STREAM);
    for piece in ["1\r\na\r\n", "3", "\r\nab", "c\r", "\n", "0\r\n", "\r\n"] {
        conn.send(piece);
        client.expect(piece);
    }
    expect_labelled_create(&mut client, &mut conn);
    client.send(PING);
    conn.expect(PING);
    for piece in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        "a",
        "b",
        "c",
    ] {
        conn.send(piece);
        client.expect(piece);
    }
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn each_piece_of_a_body_passes_before_the_rest_exists() {
    let (proxy, daemon) = pair();
    let head = "POST /build HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxy.client();
    client.send(head);
    let mut conn = daemon.accept();
    conn.head();
    for piece in ["first", "x", "third"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(conn.chunk(), piece.as_bytes());
    }
    client.send("2\r\na");
    assert_eq!(conn.chunk(), b"a");
    client.send("b\r\n0\r\n\r\n");
    assert_eq!((conn.chunk(), conn.chunk()), (b"b".to_vec(), Vec::new()));
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);
}

/// More bytes than the sockets in between can hold.
const BIG: usize = 8 << 20;

/// The head of an upload of `n` bytes.
fn upload(n: usize) -> String {
    format!("POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: {n}\r\n\r\n")
}

#[test]
fn an_early_refusal_arrives_although_the_client_still_sends() {
    let (proxy, daemon) = pair();
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    for chunked in [false, true] {
        let mut client = proxy.client();
        if chunked {
            client.send(upload(1).replace("Content-Length: 1", "Transfer-Encoding: chunked"));
            client.send("5\r\nfirst\r\n");
        } else {
            client.send(upload(BIG));
            client.send("first");
        }
        let mut conn = daemon.accept();
        conn.head();
        conn.send(refusal);
        drop(conn);
        client.expect(refusal);
        client.expect_end();
    }
}

#[test]
fn the_rest_of_a_body_passes_after_an_early_response() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, &upload(BIG));
    conn.send(OK);
    client.expect(OK);
    thread::scope(|scope| {
        scope.spawn(|| client.send(vec![7; BIG]));
        assert!(conn.take(BIG) == vec![7; BIG]);
    });
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn a_response_arrives_while_the_daemon_reads_nothing() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let mut sender = client.try_clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            sender.send(upload(BIG));
            // Blocks until the connection is closed.
            sender.try_send(vec![0; BIG])
        });
        let mut conn = daemon.accept();
        conn.head();
        proxy.wait_idle();
        conn.send("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno");
        client.expect("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno");
        drop(client);
        conn.rest();
        conn.expect_hangup();
    });
}

#[test]
fn an_upload_cut_off_by_the_client_is_not_completed() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(upload(BIG));
    client.send("first");
    let mut conn = daemon.accept();
    conn.head();
    drop(client);
    assert_eq!(conn.rest(), b"first");
    conn.expect_hangup();

    let mut client = proxy.client();
    client.send(upload(1).replace("Content-Length: 1", "Transfer-Encoding: chunked"));
    client.send("5\r\nfirst\r\n");
    let mut conn = daemon.accept();
    conn.head();
    drop(client);
    assert_eq!(conn.rest(), b"5\r\nfirst\r\n");
    conn.expect_hangup();
}

#[test]
fn a_daemon_that_dies_during_an_upload_is_a_bad_gateway() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(upload(BIG));
    let mut conn = daemon.accept();
    conn.head();
    drop(conn);
    expect_error(&client.response(), 502);
    client.expect_end();
}

#[test]
fn a_client_that_reads_nothing_does_not_fill_the_memory() {
    let (proxy, daemon) = pair();
    let (mut client, conn) = answered(&proxy, &daemon, EVENTS, "HTTP/1.1 200 OK\r\n\r\n");
    let mut sender = conn.try_clone();
    let before = proxy.usage().peak_memory;
    thread::scope(|scope| {
        let blocked = scope.spawn(move || sender.try_send(vec![b'x'; 64 << 20]));
        proxy.wait_idle();
        client.expect("x");
        drop(client);
        assert!(!blocked.join().unwrap(), "nobody has read all that");
    });
    conn.expect_hangup();
    assert!(
        proxy.usage().peak_memory - before < 4 << 20,
        "grew from {before} to {}",
        proxy.usage().peak_memory
    );
}

#[test]
fn bodies_of_any_size_pass_in_constant_memory() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 100;
    let (proxy, daemon) = pair();
    let piece: Vec<u8> = (0..PIECE).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut client, mut conn) = sent(&proxy, &daemon, &upload(PIECE * PIECES));
    let before = proxy.usage().peak_memory;
    thread::scope(|scope| {
        scope.spawn(|| (0..PIECES).for_each(|_| client.send(&piece)));
        (0..PIECES).for_each(|_| assert!(conn.take(PIECE) == piece));
    });
    conn.send(STREAM);
    client.expect(STREAM);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..PIECES {
                conn.send(format!("{PIECE:x}\r\n"));
                conn.send(&piece);
                conn.send("\r\n");
            }
            conn.send(LAST_CHUNK);
        });
        (0..PIECES).for_each(|_| assert!(client.chunk() == piece));
        client.expect(LAST_CHUNK);
    });
    expect_labelled_create(&mut client, &mut conn);
    assert!(
        proxy.usage().peak_memory - before < 4 << 20,
        "grew from {before} to {}",
        proxy.usage().peak_memory
    );
}
