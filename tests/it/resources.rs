//! Threads, descriptors and memory: the proxy gives back what its clients took.

use std::sync::Barrier;
use std::thread;

use support::{Proxy, Wire};

use crate::daemon::{CREATE, CREATED, FakeDaemon, OK, PING, pair};

fn serving_pair() -> (Proxy, FakeDaemon) {
    let (proxy, daemon) = pair();
    daemon.serve(|mut wire| {
        while wire.has_more() {
            let request = wire.request();
            let is_right = request.body.is_empty() || request.text() == CREATED;
            wire.send(if is_right {
                OK
            } else {
                "HTTP/1.1 500 Wrong\r\nContent-Length: 0\r\n\r\n"
            });
        }
    });
    (proxy, daemon)
}

#[test]
fn many_requests_on_one_connection_leave_nothing_behind() {
    let (proxy, _daemon) = serving_pair();
    let before = proxy.at_rest();
    let mut client = proxy.client();
    let mut early = 0;
    for i in 0..10_000 {
        client.send(if i % 2 == 0 { PING } else { CREATE });
        client.expect(OK);
        if i == 1000 {
            early = proxy.usage().memory;
        }
    }
    assert!(
        proxy.usage().memory < early + (1 << 20),
        "{early} after 1000, {} after 10,000",
        proxy.usage().memory
    );
    drop(client);
    proxy.expect_at_rest(before);
}

#[test]
fn many_clients_at_once_leave_nothing_behind() {
    let (proxy, _daemon) = serving_pair();
    let before = proxy.at_rest();
    let round = || {
        let barrier = Barrier::new(200);
        thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    let mut client = proxy.client();
                    for request in [PING, CREATE, PING, CREATE] {
                        client.send(request);
                        client.expect(OK);
                        // All are connected and served at the same time.
                        barrier.wait();
                    }
                });
            }
        });
        proxy.expect_at_rest(before);
        proxy.usage().memory
    };
    let after_first = round();
    let after_third = (round(), round()).1;
    assert!(
        after_third < after_first + (4 << 20),
        "{after_first}, then {after_third}"
    );
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let tunnel = "POST /containers/c/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let upload = "POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: 1000000\r\n\r\n";
    let mut kept: Vec<Wire> = Vec::new();
    for _ in 0..20 {
        for (request, response) in [
            (tunnel, "HTTP/1.1 101 UPGRADED\r\n\r\n"),
            (tunnel, "HTTP/1.1 200 OK\r\n\r\n"),
            (tunnel, ""),
            (upload, ""),
            (
                upload,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (PING, ""),
            (PING, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (PING, OK),
        ] {
            let mut client = proxy.client();
            client.send(request);
            let mut conn = daemon.accept();
            conn.expect(request);
            conn.send(response);
            client.expect(response);
            // The daemon keeps its end open.
            kept.push(conn);
        }
        // Half a head, and a create that lacks a byte.
        proxy.client().send("GET /_ping HT");
        proxy.client().send(&CREATE[..CREATE.len() - 1]);
    }
    proxy.expect_at_rest(before);
    kept.iter().for_each(Wire::expect_hangup);
}

#[test]
fn a_daemon_that_vanishes_leaves_nothing_behind() {
    let (proxy, daemon) = pair();
    let before = proxy.at_rest();
    let tunnel = "POST /containers/c/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    for _ in 0..20 {
        for (request, response) in [
            (tunnel, "HTTP/1.1 101 UPGRADED\r\n\r\n"),
            (PING, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (
                PING,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (PING, "HTTP/1.1 200 OK\r\n\r\n"),
        ] {
            let mut client = proxy.client();
            client.send(request);
            let mut conn = daemon.accept();
            conn.expect(request);
            conn.send(response);
            drop(conn);
            client.expect(response);
            client.expect_end();
        }
    }
    proxy.expect_at_rest(before);
}
