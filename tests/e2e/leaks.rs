//! Clients that leave: no thread, no descriptor and no memory of theirs stays in the proxy.

use std::net::Shutdown;

use support::{Message, Wire};

use crate::case::{Case, UNTIL_RELEASED};
use crate::engine::{engine, json_request};
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("leaks/none after clients vanish from attach", || {
            vanish(101, |container| {
                format!(
                    "POST /containers/{container}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
                )
            });
        }),
        test(
            "leaks/none after clients vanish from attach without Upgrade",
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
        test("leaks/none after clients vanish from events", || {
            vanish(200, |container| {
                let filters = format!("{{%22container%22:[%22{container}%22]}}");
                json_request("GET", &format!("/events?filters={filters}"), None)
            });
        }),
        test("leaks/none after clients vanish from wait", || {
            vanish(200, |container| {
                json_request("POST", &format!("/containers/{container}/wait"), None)
            });
        }),
        test("leaks/none after clients vanish from logs -f", || {
            vanish(200, |container| {
                json_request(
                    "GET",
                    &format!("/containers/{container}/logs?follow=1&stdout=1"),
                    None,
                )
            });
        }),
        test(
            "leaks/none after 10000 requests on one connection",
            many_requests,
        ),
        test(
            "leaks/none after 200 connections at the same time",
            many_connections,
        ),
    ]
}

/// Connects clients whose responses do not end, and drops them.
fn vanish(status: u16, request: fn(&str) -> String) {
    let case = Case::new();
    // The container prints nothing: no failing write tells that the clients are gone.
    let container = case.running_container(UNTIL_RELEASED);
    let before = case.proxy.at_rest();
    let mut wires: Vec<Wire> = (0..5).map(|_| case.connect()).collect();
    for wire in &mut wires {
        wire.send(request(&container));
        assert_eq!(Message::new(wire.head()).status(), status);
        wire.expect_silence();
    }
    let held = case.proxy.usage();
    assert!(
        held.threads >= before.threads + 5 && held.descriptors >= before.descriptors + 10,
        "{held:?}"
    );
    drop(wires);
    case.proxy.expect_at_rest(before);
    // The engine still serves creates.
    case.assert_next_create_is_labelled(&mut case.connect());
}

fn many_requests() {
    let case = Case::new();
    let before = case.proxy.at_rest();
    let mut wire = case.connect();
    let mut memory = 0;
    for n in 1..=10_000 {
        wire.send(json_request("GET", "/_ping", None));
        assert_eq!(wire.response().text(), "OK");
        if n == 1000 {
            memory = case.proxy.usage().memory;
        }
    }
    let grown = case.proxy.usage().memory.saturating_sub(memory);
    assert!(grown < 1 << 20, "9000 requests left {grown} bytes");
    case.assert_next_create_is_labelled(&mut wire);
    drop(wire);
    case.proxy.expect_at_rest(before);
}

fn many_connections() {
    let case = Case::new();
    let before = case.proxy.at_rest();
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
        let held = case.proxy.usage();
        assert!(
            held.threads >= before.threads + 200 && held.descriptors >= before.descriptors + 400,
            "{held:?}"
        );
        // Some half-close first, the others just vanish.
        for stream in streams.iter().step_by(2) {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        drop((streams, wires));
        case.proxy.expect_at_rest(before);
        if round == 3 {
            memory = case.proxy.usage().memory;
        }
    }
    let grown = case.proxy.usage().memory.saturating_sub(memory);
    assert!(grown < 2 << 20, "600 connections left {grown} bytes");
    assert!(engine().get("/version").is_some());
}
