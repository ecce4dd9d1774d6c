//! What is left in the proxy when clients are gone: no thread, no descriptor, no memory.

use std::fs;
use std::net::Shutdown;

use crate::case::{Case, UNTIL_RELEASED};
use crate::engine::{engine, json_request};
use crate::support::{Proxy, wait_until};
use crate::wire::{Message, Wire};
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("leaks/nothing after a client vanished from attach", || {
            vanish(101, |container| {
                format!(
                    "POST /containers/{container}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
                )
            });
        }),
        test(
            "leaks/nothing after a client vanished from attach without Upgrade",
            || {
                vanish(200, |container| {
                    json_request(
                        "POST",
                        &format!("/containers/{container}/attach?stream=1&stdout=1"),
                        None,
                    )
                });
            },
        ),
        test("leaks/nothing after a client vanished from events", || {
            vanish(200, |container| {
                let filters = format!("{{%22container%22:[%22{container}%22]}}");
                json_request("GET", &format!("/events?filters={filters}"), None)
            });
        }),
        test("leaks/nothing after a client vanished from wait", || {
            vanish(200, |container| {
                json_request("POST", &format!("/containers/{container}/wait"), None)
            });
        }),
        test("leaks/nothing after a client vanished from logs -f", || {
            vanish(200, |container| {
                json_request(
                    "GET",
                    &format!("/containers/{container}/logs?follow=1&stdout=1"),
                    None,
                )
            });
        }),
        test(
            "leaks/nothing after 10000 requests on one connection",
            many_requests,
        ),
        test(
            "leaks/nothing after 200 connections at the same time",
            many_connections,
        ),
    ]
}

/// The number of threads and of open descriptors of the proxy.
fn held(proxy: &Proxy) -> (usize, usize) {
    let count = |what| {
        fs::read_dir(format!("/proc/{}/{what}", proxy.pid()))
            .unwrap()
            .count()
    };
    (count("task"), count("fd"))
}

/// A size in /proc/PID/status, in KiB.
pub fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// What an idle proxy holds.
fn idle(case: &Case) -> (usize, usize) {
    // The connection that showed that it listens may still be on its way out.
    let (mut last, mut times_seen) = (held(&case.proxy), 0);
    wait_until("the proxy is idle", || {
        let now = held(&case.proxy);
        times_seen = if now == last { times_seen + 1 } else { 0 };
        last = now;
        times_seen == 20
    });
    last
}

/// Returns once the proxy holds no more than `before`.
fn wait_until_let_go(case: &Case, before: (usize, usize)) {
    wait_until("the proxy lets go", || {
        let now = held(&case.proxy);
        now.0 <= before.0 && now.1 <= before.1
    });
}

/// Sends a request whose answer does not end, and vanishes.
fn vanish(status: u16, request: fn(&str) -> String) {
    let case = Case::new();
    // It says nothing: nobody learns by writing that the client is gone.
    let container = case.running_container(UNTIL_RELEASED);
    let before = idle(&case);
    let mut wires: Vec<Wire> = (0..5).map(|_| case.connect()).collect();
    for wire in &mut wires {
        wire.send(request(&container));
        assert_eq!(Message::new(wire.head()).status(), status);
        wire.expect_silence();
    }
    let (threads, fds) = held(&case.proxy);
    assert!(
        threads >= before.0 + 5 && fds >= before.1 + 10,
        "{threads} threads, {fds} descriptors"
    );
    drop(wires);
    wait_until_let_go(&case, before);
    // And the daemon's side of it is in order.
    case.assert_next_create_is_labelled(&mut case.connect());
}

fn many_requests() {
    let case = Case::new();
    let before = idle(&case);
    let mut wire = case.connect();
    let mut memory = 0;
    for n in 1..=10_000 {
        wire.send(json_request("GET", "/_ping", None));
        assert_eq!(wire.response().text(), "OK");
        if n == 1000 {
            memory = status_kib(case.proxy.pid(), "VmRSS");
        }
    }
    let grown = status_kib(case.proxy.pid(), "VmRSS").saturating_sub(memory);
    assert!(grown < 1024, "9000 requests left {grown} KiB");
    case.assert_next_create_is_labelled(&mut wire);
    drop(wire);
    wait_until_let_go(&case, before);
}

fn many_connections() {
    let case = Case::new();
    let before = idle(&case);
    let mut memory = 0;
    for round in 1..=6 {
        let mut streams: Vec<_> = (0..200).map(|_| case.proxy.connect()).collect();
        let mut wires = Vec::new();
        for stream in &mut streams {
            let mut wire = Wire::new(stream.try_clone().unwrap());
            wire.send(json_request("GET", "/version", None));
            wires.push(wire);
        }
        for wire in &mut wires {
            assert_eq!(wire.response().status(), 200);
        }
        let (threads, fds) = held(&case.proxy);
        assert!(
            threads >= before.0 + 200 && fds >= before.1 + 400,
            "{threads} threads, {fds} descriptors"
        );
        // Some end in order, the others just vanish.
        for stream in streams.iter().step_by(2) {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        drop((streams, wires));
        wait_until_let_go(&case, before);
        if round == 3 {
            memory = status_kib(case.proxy.pid(), "VmRSS");
        }
    }
    let grown = status_kib(case.proxy.pid(), "VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "600 connections left {grown} KiB");
    assert!(engine().get("/version").is_some());
}
