//! Where requests and responses end, and that responses pass unchanged.

use crate::daemon::{CREATE, CREATED, OK, PING, expect_error, expect_labelled_create, pair, sent};

const LIMIT: usize = 4 * 1024 * 1024;

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, PING);
    conn.send(OK);
    client.expect(OK);
    for _ in 0..3 {
        expect_labelled_create(&mut client, &mut conn);
    }
    drop(client);
    conn.expect_hangup();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let load = "POST /images/load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n0\r\n\r\n";
    client.send([PING, CREATE, load, CREATE].concat());
    let mut conn = daemon.accept();
    for (i, body) in ["", CREATED, "tar", CREATED].iter().enumerate() {
        assert_eq!(conn.request().text(), *body);
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{i}"));
        assert_eq!(client.response().text(), i.to_string());
    }
}

#[test]
fn pipelined_requests_of_a_client_that_half_closes_are_all_answered() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send([PING, CREATE].concat());
    client.half_close();
    let mut conn = daemon.accept();
    conn.expect(PING);
    // The client has closed its side, but not within this request.
    proxy.wait_idle();
    conn.expect_silence();
    conn.send(OK);
    client.expect(OK);
    assert_eq!(conn.request().text(), CREATED);
    conn.send(OK);
    client.expect(OK);
    client.expect_end();
}

#[test]
fn a_response_passes_byte_for_byte() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(PING);
    let mut conn = daemon.accept();
    conn.expect(PING);
    for response in [
        &b"HTTP/1.1 200 OK\r\nX-oDD:  spaced \t\r\ncontent-LENGTH:3\r\nX-Empty:\r\n\r\nabc"[..],
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 299 Odd (reason)!\r\nX: caf\xc3\xa9 \xff\r\nX: 2\r\nContent-Length: 3\r\n\r\n\0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n000;z\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        conn.send(response);
        client.expect(response);
        expect_labelled_create(&mut client, &mut conn);
        client.send(PING);
        conn.expect(PING);
        for byte in response {
            conn.send_apart(&[*byte]);
        }
        client.expect(response);
        expect_labelled_create(&mut client, &mut conn);
        client.send(PING);
        conn.expect(PING);
    }
}

#[test]
fn a_response_to_head_has_no_body_whatever_its_length_says() {
    let (proxy, daemon) = pair();
    for fields in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
    ] {
        let (mut client, mut conn) = sent(
            &proxy,
            &daemon,
            "HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n",
        );
        let response = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        conn.send(&response);
        client.expect(&response);
        expect_labelled_create(&mut client, &mut conn);
    }
}

#[test]
fn interim_responses_pass_at_once() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, PING);
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 7\r\n\r\n",
        "HTTP/1.1 199 X\r\n\r\n",
    ] {
        conn.send(interim);
        client.expect(interim);
    }
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn the_proxy_itself_asks_for_a_body_that_it_rewrites() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    let (head, body) = CREATE.split_once("\r\n\r\n").unwrap();
    client.send(format!("{head}\r\nExpect: 100-Continue\r\n\r\n"));
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    let mut conn = daemon.accept();
    let request = conn.request();
    assert_eq!(request.header("expect"), [""; 0]);
    assert_eq!(request.text(), CREATED);
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);
}

const EXPECTING: &str = "POST /images/load HTTP/1.1\r\nHost: docker\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn the_daemon_asks_for_a_body_that_passes() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, EXPECTING);
    proxy.wait_idle();
    client.expect_silence();
    conn.send("HTTP/1.1 100 Continue\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("load");
    conn.expect("load");
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);
}

#[test]
fn a_client_that_is_not_asked_for_its_body_is_not_waited_for() {
    let (proxy, daemon) = pair();
    let (mut client, mut conn) = sent(&proxy, &daemon, EXPECTING);
    conn.send(OK);
    client.expect(OK);
    // The client may still send the body or not, so the connection cannot go on.
    client.expect_end();
    conn.expect_hangup();
}

#[test]
fn a_response_without_length_lasts_until_the_daemon_closes() {
    let (proxy, daemon) = pair();
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let (mut client, mut conn) = sent(&proxy, &daemon, PING);
        for piece in [head, "some", "more"] {
            conn.send(piece);
            client.expect(piece);
        }
        drop(conn);
        client.expect_end();
    }
}

#[test]
fn the_client_sees_the_close_that_the_daemon_announces() {
    let (proxy, daemon) = pair();
    for response in [
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ] {
        let (mut client, mut conn) = sent(&proxy, &daemon, PING);
        conn.send(response);
        client.expect(response);
        client.expect_end();
    }
}

#[test]
fn a_client_that_asks_for_a_close_gets_it_after_the_response() {
    let (proxy, daemon) = pair();
    for request in [
        "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: x, Close\r\n\r\n",
        "GET /_ping HTTP/1.0\r\n\r\n",
    ] {
        let (mut client, mut conn) = sent(&proxy, &daemon, request);
        conn.send(OK);
        client.expect(OK);
        client.expect_end();
        conn.expect_hangup();
    }
}

#[test]
fn anything_but_http_from_the_daemon_is_a_bad_gateway() {
    let (proxy, daemon) = pair();
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    for garbage in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
        "<html>an answer without a head</html>\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
        &long,
    ] {
        let (mut client, mut conn) = sent(&proxy, &daemon, PING);
        conn.try_send(garbage);
        drop(conn);
        let message = expect_error(&client.response(), 502);
        assert!(message.starts_with("the daemon"), "{message}");
    }
}

#[test]
fn a_create_up_to_the_limit_is_labelled_and_one_beyond_it_refused() {
    let (proxy, daemon) = pair();
    let json = |n: usize| format!("{{\"Name\":\"{}\"}}", "n".repeat(n - 11));
    let head =
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n";
    let chunked = |n: usize| {
        let half = json(n);
        let (a, b) = half.split_at(n / 2);
        format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
            a.len(),
            b.len()
        )
    };
    let whole = |n: usize| format!("{head}Content-Length: {n}\r\n\r\n{}", json(n));

    for request in [whole(LIMIT), chunked(LIMIT)] {
        let mut client = proxy.client();
        client.send(request);
        let mut conn = daemon.accept();
        assert!(
            conn.request()
                .text()
                .ends_with(r#"n","Labels":{"job":"42"}}"#)
        );
        conn.send(OK);
        client.expect(OK);
        expect_labelled_create(&mut client, &mut conn);
    }
    for request in [
        whole(LIMIT + 1),
        chunked(LIMIT + 1),
        format!("{head}Content-Length: 99999999999\r\n\r\n"),
    ] {
        let mut client = proxy.client();
        client.try_send(request);
        let message = expect_error(&client.response(), 413);
        assert!(message.contains("4194304 bytes"), "{message}");
        client.expect_end();
        drop(client);
        daemon.expect_untouched();
    }
}
