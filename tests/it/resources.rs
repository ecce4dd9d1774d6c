//! Threads, descriptors and memory: what many clients take is given back.

use std::fs;
use std::sync::Barrier;
use std::thread;

use crate::daemon::{CREATE, CREATED, Ends, FakeDaemon, OK, PING, pair};
use crate::support::{Proxy, wait_until};
use crate::wire::Wire;

/// What the proxy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    threads: usize,
    descriptors: usize,
}

fn held(proxy: &Proxy) -> Held {
    let count = |what| {
        fs::read_dir(format!("/proc/{}/{what}", proxy.pid()))
            .unwrap()
            .count()
    };
    Held {
        threads: count("task"),
        descriptors: count("fd"),
    }
}

/// The memory that is its own now, in bytes.
fn memory(proxy: &Proxy) -> usize {
    let statm = fs::read_to_string(format!("/proc/{}/statm", proxy.pid())).unwrap();
    let mut pages = statm
        .split(' ')
        .skip(1)
        .map(|n| n.parse::<usize>().unwrap());
    (pages.next().unwrap() - pages.next().unwrap()) * 4096
}

/// What it holds when it serves nobody.
pub fn at_rest(proxy: &Proxy) -> Held {
    let mut rest = held(proxy);
    wait_until("the probe of the start is over", || {
        proxy.wait_idle();
        rest = held(proxy);
        rest.threads == 2
    });
    rest
}

pub fn expect_at_rest(proxy: &Proxy, before: Held) {
    let mut now = before;
    wait_until(&format!("what it holds is {before:?} again"), || {
        now = held(proxy);
        now == before
    });
}

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
    let before = at_rest(&proxy);
    let mut client = proxy.client();
    let mut early = 0;
    for i in 0..10_000 {
        client.send(if i % 2 == 0 { PING } else { CREATE });
        client.expect(OK);
        if i == 1000 {
            early = memory(&proxy);
        }
    }
    assert!(
        memory(&proxy) < early + (1 << 20),
        "{early} after 1000, {} after 10,000",
        memory(&proxy)
    );
    drop(client);
    expect_at_rest(&proxy, before);
}

#[test]
fn many_clients_at_once_leave_nothing_behind() {
    let (proxy, _daemon) = serving_pair();
    let before = at_rest(&proxy);
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
        expect_at_rest(&proxy, before);
        memory(&proxy)
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
    let before = at_rest(&proxy);
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
            // The daemon keeps its end.
            kept.push(conn);
        }
        // Half a head, half a create.
        proxy.client().send("GET /_ping HT");
        proxy.client().send(&CREATE[..CREATE.len() - 1]);
    }
    expect_at_rest(&proxy, before);
    kept.iter().for_each(Wire::expect_hangup);
}

#[test]
fn a_daemon_that_vanishes_leaves_nothing_behind() {
    let (proxy, daemon) = pair();
    let before = at_rest(&proxy);
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
    expect_at_rest(&proxy, before);
}
