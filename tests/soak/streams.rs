//! Streams of running containers: attach and exec in both directions, logs and events.

use std::io::{Read, empty};
use std::thread;

use support::Kind;

use crate::client::{Client, Done, Fail, broken, request, success, wrong};
use crate::operation::Operation;
use crate::random::{Data, Random};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

/// Whether this is an error message of the daemon within a tunnel. Our data are noise, never text.
fn is_text(bytes: &[u8]) -> bool {
    bytes.len() > 8 && bytes.ends_with(b"\n") && bytes.is_ascii()
}

/// Reads the content of the daemon's next frame. Returns `None` at the end.
fn frame(client: &mut Client) -> Done<Option<Vec<u8>>> {
    let mut header = [0; 8];
    let n = client.read(&mut header)?;
    if n == 0 {
        return Ok(None);
    }
    client.read_exact(&mut header[n..])?;
    if !matches!(header[..4], [1 | 2, 0, 0, 0]) {
        let mut rest = header.to_vec();
        client.take(500).read_to_end(&mut rest)?;
        return if is_text(&rest) {
            broken(String::from_utf8_lossy(&rest))
        } else {
            wrong(format!("no frame: {header:?}"))
        };
    }
    let length = u32::from_be_bytes(header[4..].try_into().unwrap());
    let mut content = vec![0; usize::try_from(length).unwrap()];
    client.read_exact(&mut content)?;
    Ok(Some(content))
}

/// Sends data into a tunnel that ends at a `cat`, and checks what comes back.
fn echo(op: &mut Operation<'_>, client: &mut Client, data: Data, closes_at_once: bool) -> Done {
    let mut sender = client.sender()?;
    let mut random = Random::new(op.random.next());
    let mut expected = data.clone();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut rest = data;
            let mut buf = vec![0; 1 << 17];
            while rest.left() > 0 {
                let most = *random.pick(&[20, 5000, 1 << 17]);
                let most = 1 + random.below(most);
                let n = rest.read(&mut buf[..usize::try_from(most).unwrap()])?;
                sender.send(&buf[..n])?;
            }
            if closes_at_once {
                sender.half_close()?;
            }
            Ok::<(), Fail>(())
        });
        let mut came = || {
            while expected.left() > 0 {
                match frame(client)? {
                    Some(content) if is_text(&content) => {
                        return broken(String::from_utf8_lossy(&content));
                    }
                    Some(content) => expected.check(&content).or_else(wrong)?,
                    None => return broken(format!("{} bytes did not come back", expected.left())),
                }
            }
            Ok(())
        };
        let came = came();
        let sent = sending.join().expect("no panic");
        came.and(sent)
    })?;
    if !closes_at_once {
        client.half_close()?;
    }
    match frame(client)? {
        None => Ok(()),
        Some(more) if is_text(&more) => broken(String::from_utf8_lossy(&more)),
        Some(more) => wrong(format!("{} bytes more than were sent", more.len())),
    }
}

/// Checks that the connection becomes a tunnel.
fn hijacked(client: &mut Client) -> Done {
    let head = client.head()?;
    match head.status() {
        200 | 101 => Ok(()),
        _ => {
            let mut answer = head.clone();
            client.body(&head).read_to_end(&mut answer.body)?;
            success(&answer).map(|_| ())
        }
    }
}

pub fn attach(op: &mut Operation<'_>) -> Done {
    let name = op.name("attach");
    op.container(&name, "cat")?;
    let length = op.length();
    let data = op.data(length);
    let upgrade = *op.random.pick(&[UPGRADE, ""]);
    let mut client = op.proxy()?;
    client.send(format!(
        "POST /containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n\
         {upgrade}Content-Length: 0\r\n\r\n"
    ))?;
    hijacked(&mut client)?;
    op.start(&name)?;
    let closes_at_once = op.random.one_in(2);
    echo(op, &mut client, data, closes_at_once)?;
    op.compared(2 * length);
    op.remove(Kind::Container, &name)
}

pub fn attach_command(op: &mut Operation<'_>) -> Done {
    let name = op.name("attach");
    let length = op.length();
    let data = op.data(length);
    let run = op.docker(&[
        "run",
        "-i",
        "--rm",
        "--network",
        "none",
        "--name",
        &name,
        "busybox",
        "cat",
    ]);
    let out = op.succeed(run, data.clone())?;
    check_output(op, &out, data)
}

fn check_output(op: &Operation<'_>, out: &[u8], mut data: Data) -> Done {
    data.check(out).or_else(wrong)?;
    if data.left() > 0 {
        return broken(format!(
            "{} bytes did not come back, of a success",
            data.left()
        ));
    }
    op.compared(2 * out.len() as u64);
    Ok(())
}

/// The script of a container that waits until it is removed.
const WAITS: &str = "sleep 1000";

pub fn exec(op: &mut Operation<'_>) -> Done {
    let name = op.name("exec");
    op.container(&name, WAITS)?;
    op.start(&name)?;
    let body = r#"{"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Cmd":["cat"]}"#;
    let made = op
        .proxy()?
        .succeed("POST", &format!("/containers/{name}/exec"), Some(body))?;
    let id = made["Id"].as_str().unwrap_or_default();
    let length = op.length();
    let data = op.data(length);
    let mut client = op.proxy()?;
    let start = r#"{"Detach":false,"Tty":false}"#;
    client.send(format!(
        "POST /exec/{id}/start HTTP/1.1\r\nHost: d\r\n{UPGRADE}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{start}",
        start.len()
    ))?;
    hijacked(&mut client)?;
    echo(op, &mut client, data, false)?;
    op.compared(2 * length);
    op.remove(Kind::Container, &name)
}

pub fn exec_command(op: &mut Operation<'_>) -> Done {
    let name = op.name("exec");
    op.container(&name, WAITS)?;
    op.start(&name)?;
    let length = op.length();
    let data = op.data(length);
    let out = op.succeed(op.docker(&["exec", "-i", &name, "cat"]), data.clone())?;
    check_output(op, &out, data)?;
    op.remove(Kind::Container, &name)
}

/// Checks that lines come in order, each once. `text` may end within one. Returns whether it has
/// all of them.
fn check_lines(text: &[u8], name: &str, n_lines: u64) -> Done<bool> {
    let text = String::from_utf8_lossy(text);
    let whole = text.ends_with('\n');
    let lines: Vec<&str> = text.lines().collect();
    let n_whole = lines.len() - usize::from(!whole && !lines.is_empty());
    for (n, line) in lines[..n_whole].iter().enumerate() {
        if *line != format!("line {n} of {name}") {
            return wrong(format!("line {n} of the log is {line:?}"));
        }
    }
    if n_whole as u64 > n_lines {
        wrong(format!("{n_whole} lines of {n_lines}"))
    } else {
        Ok(n_whole as u64 == n_lines)
    }
}

fn printer(name: &str, n_lines: u64, then: &str) -> String {
    format!(
        "i=0; while [ $i -lt {n_lines} ]; do echo \"line $i of {name}\"; i=$((i+1)); done; {then}"
    )
}

pub fn logs(op: &mut Operation<'_>) -> Done {
    let name = op.name("logs");
    let n_lines = 1 + op.random.below(3000);
    op.container(&name, &printer(&name, n_lines, WAITS))?;
    // A container that was not started has no log to follow.
    op.start(&name)?;
    let mut client = op.proxy()?;
    client.send(request(
        "GET",
        &format!("/containers/{name}/logs?follow=1&stdout=1&stderr=1"),
        None,
    ))?;
    let head = client.head()?;
    if head.status() != 200 {
        return Err(Fail::said(head.status(), "logs"));
    }
    let (mut text, mut frames) = (Vec::new(), Vec::new());
    let mut body = client.body(&head);
    let mut buf = vec![0; 1 << 16];
    while !check_lines(&text, &name, n_lines)? {
        let n = body.read(&mut buf)?;
        if n == 0 {
            return broken(format!("the log ended early, at {} bytes", text.len()));
        }
        frames.extend_from_slice(&buf[..n]);
        // Whole frames only.
        while frames.len() >= 8 {
            let length = u32::from_be_bytes(frames[4..8].try_into().unwrap());
            let end = 8 + usize::try_from(length).unwrap();
            if frames.len() < end {
                break;
            }
            text.extend_from_slice(&frames[8..end]);
            frames.drain(..end);
        }
    }
    op.compared(text.len() as u64);
    op.remove(Kind::Container, &name)
}

pub fn logs_command(op: &mut Operation<'_>) -> Done {
    let name = op.name("logs");
    let n_lines = 1 + op.random.below(3000);
    // Following a log may miss lines that are printed right before the exit, even without the
    // proxy.
    op.container(&name, &printer(&name, n_lines, "sleep 1"))?;
    op.start(&name)?;
    let text = op.succeed(op.docker(&["logs", "--follow", &name]), empty())?;
    if !check_lines(&text, &name, n_lines)? {
        return broken(format!(
            "the log ended after {} bytes, without an error",
            text.len()
        ));
    }
    op.compared(text.len() as u64);
    op.remove(Kind::Container, &name)
}

pub fn events(op: &mut Operation<'_>) -> Done {
    let name = op.name("events");
    let mut client = op.proxy()?;
    let filters = format!(
        "{{%22label%22:[%22soak.operation={}%22],%22type%22:[%22container%22]}}",
        op.name
    );
    client.send(request("GET", &format!("/events?filters={filters}"), None))?;
    let head = client.head()?;
    if head.status() != 200 {
        return Err(Fail::said(head.status(), "events"));
    }
    op.container(&name, WAITS)?;
    op.start(&name)?;
    op.remove(Kind::Container, &name)?;
    let mut text = Vec::new();
    let mut buf = vec![0; 1 << 14];
    let mut body = client.body(&head);
    loop {
        let mut actions = Vec::new();
        for event in serde_json::Deserializer::from_slice(&text).into_iter::<serde_json::Value>() {
            let Ok(event) = event else { break };
            actions.push(event["Action"].as_str().unwrap_or_default().to_owned());
        }
        if actions.iter().any(|action| action == "destroy") {
            actions.retain(|action| action != "kill" && !action.starts_with("exec"));
            return match &actions.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["create", "start", "die", "destroy"] => Ok(()),
                other => broken(format!("the events were {other:?}")),
            };
        }
        match body.read(&mut buf)? {
            0 => return broken("the events ended"),
            n => text.extend_from_slice(&buf[..n]),
        }
    }
}
