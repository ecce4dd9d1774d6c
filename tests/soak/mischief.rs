//! Clients that vanish, get killed, send nonsense or nothing. The proxy must cope. What they leave
//! on the engine is checked at the end of the round.

use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use support::Kind;

use crate::client::{Client, Done, Fail, broken, request, wrong};
use crate::operation::Operation;

const BAD: &[&str] = &[
    "GET  / HTTP/1.1\r\nHost: d\r\n\r\n",
    "nonsense\r\n\r\n",
    "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: +2\r\n\r\n{}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    "POST /volumes/create HTTP/1.1\nHost: d\n\n",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nHost: e\r\nContent-Length: 2\r\n\r\n{}",
    "POST /volumes/create HTTP/3.0\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 13\r\n\r\n{\"Labels\":[]}",
    "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 12\r\n\r\n{\"Labels\":7}",
    "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n{\"Name\":\"",
    "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\n{{{{{",
];

pub fn bad_requests(op: &mut Operation<'_>) -> Done {
    for _ in 0..20 {
        let mut client = op.proxy()?;
        let bad = *op.random.pick(BAD);
        // The proxy need not read what it refuses.
        let _ = client.send(bad);
        let _ = client.half_close();
        match client.head() {
            Ok(head) if head.status() < 400 => {
                return wrong(format!("{bad:?} was accepted: {head:?}"));
            }
            Ok(_) | Err(Fail::Broken(_)) => (),
            Err(fail) => return Err(fail.during(bad)),
        }
    }
    ping(&mut op.proxy()?)
}

fn ping(client: &mut Client) -> Done {
    match client.ask("GET", "/_ping", None)?.text() {
        "OK" => Ok(()),
        other => broken(format!("a ping was answered {other:?}")),
    }
}

pub fn idle(op: &mut Operation<'_>) -> Done {
    let mut clients = Vec::new();
    for n in 0..10 + op.random.below(40) {
        let mut client = op.proxy()?;
        match n % 3 {
            0 => ping(&mut client)?,
            1 => client.send("GET /_ping HTTP/1.1\r\nHo")?,
            _ => (),
        }
        clients.push(client);
    }
    thread::sleep(Duration::from_millis(op.random.below(500)));
    // Some of the half-sent requests are completed.
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 1 && op.random.one_in(2) {
            client.send("st: d\r\n\r\n")?;
            if client.response()?.text() != "OK" {
                return broken("a ping in two parts was not answered OK");
            }
        }
    }
    Ok(())
}

/// A request that is cut off while it is sent or answered.
pub fn vanish(op: &mut Operation<'_>) -> Done {
    let name = op.name("vanish");
    let mut client = op.proxy()?;
    let archive = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: 100000000\r\n\r\n"
        )
    };
    let (head, body) = match op.random.below(5) {
        0 => (archive(&format!("/build?t={name}")), op.length()),
        1 => (archive("/images/load"), op.length()),
        2 => (
            archive(&format!("/images/create?fromSrc=-&repo={name}")),
            op.length(),
        ),
        3 => {
            let create = request(
                "POST",
                "/volumes/create",
                Some(&format!(r#"{{"Name":"{name}"}}"#)),
            );
            let cut = usize::try_from(op.random.below(create.len() as u64 + 1)).unwrap();
            (create[..cut].to_owned(), 0)
        }
        _ => {
            op.container(&name, "while :; do echo line; done")?;
            op.start(&name)?;
            (
                request(
                    "GET",
                    &format!("/containers/{name}/logs?follow=1&stdout=1"),
                    None,
                ),
                0,
            )
        }
    };
    client.send(head)?;
    if body > 0 {
        let data = op.data(body);
        // The daemon may notice early that this is not an archive.
        let _ = op.send_pieces(&mut client, data, false);
    } else {
        let mut sink = [0; 1 << 14];
        for _ in 0..op.random.below(2) {
            let _ = client.sender()?.half_close();
            let _ = client.read(&mut sink)?;
        }
    }
    drop(client);
    crate::tally::add(&op.soak.tally.killed, 1);
    op.remove(Kind::Container, &name)
}

/// A command that is killed while it works.
pub fn killed(op: &mut Operation<'_>) -> Done {
    let name = op.name("killed");
    let endless = || io::repeat(b'x');
    match op.random.below(7) {
        0 => {
            let dir = op.path("context");
            fs::create_dir(&dir)?;
            fs::write(
                dir.join("Dockerfile"),
                format!(
                    "FROM busybox\nENV A={name}\nRUN sleep 0.1; : soak-build-step\nCOPY data /\n"
                ),
            )?;
            let length = op.soak.most_data * 4;
            fs::write(dir.join("data"), op.data(length).bytes())?;
            let build = op.docker(&["build", "--tag", &name, dir.to_str().unwrap()]);
            op.kill_early(build, io::empty(), 800)?;
        }
        1 => {
            let run = op.docker(&[
                "run",
                "-i",
                "--network",
                "none",
                "--stop-signal",
                "KILL",
                "--name",
                &name,
                "-v",
                "/a",
                "busybox",
                "cat",
            ]);
            op.kill_early(run, endless(), 800)?;
        }
        2 => {
            op.container(&name, "while :; do echo line; done")?;
            op.start(&name)?;
            let logs = op.docker(&["logs", "--follow", &name]);
            op.kill_early(logs, io::empty(), 300)?;
        }
        3 => {
            op.container(&name, "sleep 1000")?;
            op.start(&name)?;
            let exec = op.docker(&["exec", "-i", &name, "cat"]);
            op.kill_early(exec, endless(), 300)?;
        }
        4 => {
            let path = op.path("data");
            let length = op.soak.most_data * 4;
            fs::write(&path, op.data(length).bytes())?;
            op.container(&name, "true")?;
            let copy = op.docker(&["cp", path.to_str().unwrap(), &format!("{name}:/tmp/data")]);
            op.kill_early(copy, io::empty(), 200)?;
        }
        5 => {
            let save = op.docker(&["save", "busybox"]);
            op.kill_early(save, io::empty(), 200)?;
        }
        _ => {
            let import = op.docker(&["import", "-", &name]);
            op.kill_early(import, endless(), 300)?;
        }
    }
    op.remove(Kind::Container, &name)
}
