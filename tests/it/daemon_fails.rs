//! Daemons that fail. Whatever they do, the client gets its response, a clear error or a closed
//! connection, no request gets the response to another, no create is sent twice, and everything is
//! given back as soon as the client disconnects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::socket::{Backlog, listen};
use support::{Proxy, TempDir, Wire, wait_until};

use crate::PROXY;
use crate::daemon::{
    CREATE, CREATED, FakeDaemon, LABELS, OK, PING, expect_error, expect_labelled_create, pair,
};

const ATTACH: &str = "POST /containers/c/attach?stream=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const GRPC: &str =
    "POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LOAD: &str = "POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: 1000000\r\n\r\n";
const LOAD_CHUNKED: &str =
    "POST /build HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

/// A create that needs a subrequest.
const RUN: &str = "POST /containers/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 76\r\n\r\n{\"Image\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
/// The subrequest for [`RUN`].
const SUBREQUEST: &str = "GET /images/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/json HTTP/1.1\r\nHost: docker\r\n\r\n";
/// The response to [`SUBREQUEST`].
const IMAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Sends `request` on a new connection. Returns the client's and the daemon's end.
fn opened(proxy: &Proxy, daemon: &FakeDaemon, request: &str) -> (Wire, Wire) {
    let mut client = proxy.client();
    client.send(request);
    (client, daemon.accept())
}

/// Returns the error that a ping gets.
fn refusal_of_a_ping(proxy: &Proxy) -> String {
    let mut client = proxy.client();
    client.send(PING);
    expect_error(&client.response(), 502)
}

#[test]
fn the_error_says_what_is_at_the_daemons_path() {
    let dir = TempDir::new();
    let path = dir.join("daemon.sock");
    let proxy = PROXY.start(&path, LABELS);
    let refused = |what: &str| {
        assert_eq!(
            refusal_of_a_ping(&proxy),
            format!("cannot connect to the daemon at {path:?}: {what}")
        );
    };
    refused("No such file or directory (os error 2)");
    fs::write(&path, "").unwrap();
    refused("Connection refused (os error 111)");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("Connection refused (os error 111)");
    fs::remove_dir(&path).unwrap();
    let other = UnixDatagram::bind(&path).unwrap();
    refused("Protocol wrong type for socket (os error 91)");
    drop(other);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    refused("Too many levels of symbolic links (os error 40)");
}

#[test]
fn the_error_says_that_connecting_is_not_permitted() {
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let daemon = FakeDaemon::at(&dir.join("daemon.sock"));
    fs::set_permissions(daemon.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = PROXY.command();
    if nix::unistd::geteuid().is_root() {
        // Root may connect anyway, so the proxy runs as another user. That user may not be allowed
        // to read the build directory, hence the copy.
        let binary = dir.join("proxy");
        fs::copy(command.get_program(), &binary).unwrap();
        command = Command::new(binary);
        command.uid(65_534).gid(65_534);
    }
    command.args(LABELS).arg("--daemon").arg(daemon.path());
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    let message = refusal_of_a_ping(&proxy);
    assert!(
        message.ends_with("Permission denied (os error 13)"),
        "{message}"
    );
}

#[test]
fn a_full_queue_of_the_daemon_is_waited_for_until_the_client_leaves() {
    let dir = TempDir::new();
    let path = dir.join("daemon.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let proxy = PROXY.start(&path, LABELS);
    let before = proxy.at_rest();
    let filler = UnixStream::connect(&path).unwrap();
    let mut client = proxy.client();
    client.send(CREATE);
    wait_until("it is about to connect", || {
        proxy.log().contains("POST \"/v1.41/networks/create\"")
    });
    drop(client);
    proxy.expect_at_rest(before);
    // A client that stays is served as soon as there is room.
    let mut client = proxy.client();
    client.send(CREATE);
    drop(listener.accept().unwrap());
    drop(filler);
    let mut conn = Wire::new(listener.accept().unwrap().0);
    assert_eq!(conn.request().text(), CREATED);
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn a_request_lost_with_the_daemon_is_reported_as_in_doubt() {
    let (proxy, daemon) = pair();
    let doubt = "; it may have done what was asked, or not";
    for (request, said, what) in [
        (CREATE, "", "without an answer"),
        (CREATE, "HTTP/1.1 201 Cre", "within the head of its answer"),
        (
            CREATE,
            "HTTP/1.1 102 Processing\r\n\r\n",
            "without an answer",
        ),
        (ATTACH, "", "without an answer"),
        (LOAD, "HTTP/1.1 100 Continue\r\n\r\n", "without an answer"),
        (
            LOAD_CHUNKED,
            "HTTP/1.1 200 OK\r\n",
            "within the head of its answer",
        ),
        (PING, "", "without an answer"),
        (
            PING,
            "HTTP/1.1 200 OK\r\nA",
            "within the head of its answer",
        ),
    ] {
        let (mut client, mut conn) = opened(&proxy, &daemon, request);
        conn.head();
        conn.send(said);
        drop(conn);
        let message = expect_error(&client.final_response(), 502);
        let doubt = if request == PING { "" } else { doubt };
        assert_eq!(
            message,
            format!("the daemon closed the connection {what}{doubt}")
        );
        // The next thing that the daemon receives is the next request, of this client or another.
        let (_client, mut conn) = opened(&proxy, &daemon, PING);
        conn.expect(PING);
    }
}

#[test]
fn a_create_is_not_repeated_when_a_kept_connection_closes() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = opened(&proxy, &daemon, PING);
    conn.expect(PING);
    conn.send(OK);
    client.expect(OK);
    // The daemon closes it without sending a byte, after it has received the create.
    client.send(CREATE);
    assert_eq!(conn.request().text(), CREATED);
    drop(conn);
    let message = expect_error(&client.response(), 502);
    assert!(
        message.ends_with("may have done what was asked, or not"),
        "{message}"
    );
    client.send(PING);
    daemon.accept().expect(PING);
}

#[test]
fn a_response_cut_off_after_its_head_ends_the_connection() {
    let (proxy, daemon) = pair();
    let head = "HTTP/1.1 201 Created\r\nContent-Length: 20\r\n\r\n";
    let (mut client, mut conn) = opened(&proxy, &daemon, CREATE);
    conn.request();
    conn.send(head);
    conn.send("{\"Id\"");
    drop(conn);
    client.expect(head);
    client.expect("{\"Id\"");
    client.expect_end();
    client.expect_hangup();
    wait_until("the log has a line", || {
        proxy.log().contains("the daemon's answer breaks off")
    });
    let (_client, mut conn) = opened(&proxy, &daemon, PING);
    conn.expect(PING);
}

#[test]
fn malformed_chunks_of_the_daemon_end_the_connection() {
    let (proxy, daemon) = pair();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = format!("3;{}", "x".repeat(5000));
    for broken in [
        "-1\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\n",
        "\r\n",
        "3\nabc\n",
        "3\r\nabcd",
        "11111111111111111\r\n",
        "3 \r\nabc\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\rx",
        &long,
    ] {
        let (mut client, mut conn) = opened(&proxy, &daemon, PING);
        conn.expect(PING);
        conn.send(head);
        conn.send("2\r\nok\r\n");
        client.expect(head);
        client.expect("2\r\nok\r\n");
        // The daemon does not close, and still the client is not left waiting.
        conn.try_send(broken);
        let rest = client.rest();
        assert!(broken.as_bytes().starts_with(&rest), "{broken:?}: {rest:?}");
        client.expect_hangup();
        conn.rest();
    }
    // The largest possible size does not overflow: everything that follows is part of the chunk.
    let (mut client, mut conn) = opened(&proxy, &daemon, PING);
    conn.expect(PING);
    conn.send(head);
    conn.send("ffffffffffffffff\r\n0\r\n\r\n");
    client.expect(head);
    client.expect("ffffffffffffffff\r\n0\r\n\r\n");
    drop(conn);
    client.expect_end();
}

#[test]
fn surplus_bytes_of_the_daemon_do_not_answer_the_next_request() {
    let (proxy, daemon) = pair();
    let poison = "HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\npoison";
    for (request, answer) in [
        (PING, OK),
        (PING, "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            PING,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ),
        (
            PING,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n",
        ),
        (CREATE, OK),
    ] {
        // In one piece with the response, and after it.
        for apart in [false, true] {
            let (mut client, mut conn) = opened(&proxy, &daemon, request);
            conn.request();
            if apart {
                conn.send_apart(answer.as_bytes());
                conn.send(poison);
            } else {
                conn.send([answer, poison].concat());
            }
            client.expect(answer);
            client.send(CREATE);
            let mut next = daemon.accept();
            assert_eq!(next.request().text(), CREATED, "{answer:?}");
            next.send(OK);
            client.expect(OK);
            conn.expect_hangup();
        }
    }
    // The same after the response to a subrequest.
    let (mut client, mut conn) = opened(&proxy, &daemon, RUN);
    conn.expect(SUBREQUEST);
    conn.send([IMAGE, poison].concat());
    let mut next = daemon.accept();
    assert_eq!(
        next.request().text(),
        "{\"Image\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"Labels\":{\"job\":\"42\"}}"
    );
    next.send(OK);
    client.expect(OK);
}

#[test]
fn endless_interim_responses_last_as_long_as_the_client() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let (mut client, mut conn) = opened(&proxy, &daemon, CREATE);
    conn.request();
    for _ in 0..1000 {
        conn.send(interim);
        client.expect(interim);
    }
    drop(client);
    while conn.try_send(interim) {}
    drop(conn);
    proxy.expect_at_rest(before);
}

#[test]
fn an_early_response_to_a_large_create_arrives() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let name = "n".repeat(3_000_000);
    let create = format!(
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n\r\n{{\"Name\":\"{name}\"}}",
        name.len() + 11
    );
    let no = "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
    let (mut client, mut conn) = opened(&proxy, &daemon, &create);
    conn.head();
    conn.send(no);
    client.expect(no);
    // No further request follows a body that the daemon did not read.
    drop(conn);
    client.expect_end();
    drop(client);
    // A daemon that reads the body late gets all of it.
    let (mut client, mut conn) = opened(&proxy, &daemon, &create);
    conn.send(OK);
    client.expect(OK);
    let body = conn.request().body;
    assert!(body.ends_with(b"\",\"Labels\":{\"job\":\"42\"}}") && body.len() > name.len());
    expect_labelled_create(&mut client, &mut conn);
    drop((client, conn));
    proxy.expect_at_rest(before);
}

#[test]
fn a_silent_daemon_is_left_as_soon_as_the_client_leaves() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let large = format!("{}{}", LOAD, "x".repeat(100_000));
    for request in [
        PING,
        CREATE,
        RUN,
        ATTACH,
        GRPC,
        LOAD,
        LOAD_CHUNKED,
        PREFACE,
        &large,
    ] {
        let (client, mut conn) = opened(&proxy, &daemon, request);
        proxy.wait_idle();
        drop(client);
        conn.rest();
        conn.expect_hangup();
        drop(conn);
        proxy.expect_at_rest(before);
    }
    // In the middle of the response to a subrequest.
    for said in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let (client, mut conn) = opened(&proxy, &daemon, RUN);
        conn.expect(SUBREQUEST);
        conn.send(said);
        proxy.wait_idle();
        drop(client);
        conn.expect_hangup();
        proxy.expect_at_rest(before);
    }
}

#[test]
fn a_half_closed_client_gets_the_response_that_a_subrequest_delays() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = opened(&proxy, &daemon, RUN);
    client.half_close();
    conn.expect(SUBREQUEST);
    conn.send(IMAGE);
    conn.request();
    conn.send(OK);
    client.expect(OK);
}

#[test]
fn bytes_that_the_daemon_does_not_read_are_dropped_after_the_client_has_left() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    for (request, answer) in [
        (
            ATTACH,
            "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        ),
        (
            "POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: 99000000\r\n\r\n",
            "",
        ),
    ] {
        let (mut client, mut conn) = opened(&proxy, &daemon, request);
        conn.head();
        conn.send(answer);
        client.expect(answer);
        let mut sender = client.try_clone();
        std::thread::scope(|scope| {
            // Until the sockets in between are full.
            scope.spawn(move || sender.try_send(vec![0; 4 << 20]));
            proxy.wait_idle();
            drop(client);
        });
        conn.expect_hangup();
        drop(conn);
        proxy.expect_at_rest(before);
    }
}

#[test]
fn an_early_refusal_of_an_upload_arrives_and_nothing_follows_it() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    for close in ["", "Connection: close\r\n"] {
        let no = format!("HTTP/1.1 413 No\r\n{close}Content-Length: 2\r\n\r\nno");
        for expects in ["", "Expect: 100-continue\r\n"] {
            for (framing, first) in [
                ("Content-Length: 1000000\r\n", "abc"),
                ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
            ] {
                let (mut client, mut conn) = opened(
                    &proxy,
                    &daemon,
                    &format!(
                        "POST /images/load HTTP/1.1\r\nHost: docker\r\n{expects}{framing}\r\n"
                    ),
                );
                if expects.is_empty() {
                    client.send(first);
                    conn.head();
                    conn.expect(first);
                }
                conn.send(&no);
                drop(conn);
                client.expect(&no);
                client.expect_end();
                drop(client);
                proxy.expect_at_rest(before);
            }
        }
    }
}

#[test]
fn hop_by_hop_fields_of_a_response_pass() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = opened(&proxy, &daemon, PING);
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n";
    conn.expect(PING);
    conn.send(answer);
    client.expect(answer);
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn a_daemon_that_fails_over_http_2_ends_the_connection() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let upgraded =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let flood = settings.repeat(1000);
    let cases: [(&[u8], bool, &[u8]); 6] = [
        // It sends nothing and closes.
        (b"", true, b""),
        // It closes within a frame.
        (&settings[..5], true, b""),
        (&settings, true, &settings),
        // It announces that it closes, and closes at once.
        (
            &[&settings[..], &goaway].concat(),
            true,
            &[&settings[..], &goaway].concat(),
        ),
        // It sends something else than HTTP/2 and does not close.
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, b""),
        (&flood, false, &settings),
    ];
    for (said, closes, begins) in cases {
        let (mut client, mut conn) = opened(&proxy, &daemon, GRPC);
        conn.head();
        conn.send(upgraded);
        client.expect(upgraded);
        client.send(PREFACE);
        client.send(settings);
        conn.expect(PREFACE);
        conn.send(said);
        if closes {
            drop(conn);
        } else {
            conn.rest();
            conn.expect_hangup();
        }
        let got = client.rest();
        assert!(got.starts_with(begins), "{got:?}");
        if !closes {
            // The proxy ends the connection with a GOAWAY that has a reason.
            assert!(got.len() > 17, "{got:?}");
        }
        drop(client);
        proxy.expect_at_rest(before);
    }
    // A daemon without HTTP/2, and a client that begins with it.
    for said in ["", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"] {
        let (mut client, mut conn) = opened(&proxy, &daemon, PREFACE);
        conn.expect(PREFACE);
        conn.send(said);
        drop(conn);
        expect_error(&client.response(), 505);
    }
}
