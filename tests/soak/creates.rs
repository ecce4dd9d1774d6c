//! Containers, networks and volumes, created by odd JSON and by the docker command.

use std::io::empty;

use support::Kind;

use crate::client::{Done, Fail, broken, wrong};
use crate::operation::Operation;

/// Labels of a client, as members of a JSON object. The operator's must win over all of them.
const LABELS: &[&str] = &[
    "",
    r#""Labels":null"#,
    r#""Labels":{}"#,
    r#""Labels" : {"a":"1","b":"\"\\ $é"}"#,
    r#""Labels":{"soak.job":"mine","a":"1","soak.note":""}"#,
    r#""Labels":{"soak\u002ejob":"mine"}"#,
    r#""Labels":{"a":"1","a":"2"}"#,
    r#""labels":{"a":"1"}"#,
    r#""\u004cabels":{"soak.job":"mine"}"#,
    "\"label\u{17f}\":{\"soak.job\":\"mine\"}",
    r#""labels":{"a":"1"},"Labels":{"soak.job":"mine"}"#,
    r#""Labels":{"a":"1"},"labels":null"#,
    r#""labels":null,"LABELS":{"a":"1"}"#,
];

/// Members that the daemon does not know.
const UNKNOWN: &[&str] = &[
    "",
    r#""Unknown":123456789012345678901234567890.5e-3"#,
    r#""Unknown":{"Labels":{"deep":[1,{"x":null}]}}"#,
    r#""Un\u006bnown":"\ud83d\udc33 \u0000""#,
];

/// A JSON object of these members and odd ones, in any order.
fn odd(op: &mut Operation<'_>, members: &[String]) -> String {
    let mut members = members.to_vec();
    members.push((*op.random.pick(LABELS)).to_owned());
    members.push((*op.random.pick(UNKNOWN)).to_owned());
    members.retain(|member| !member.is_empty());
    op.random.shuffle(&mut members);
    let space = *op.random.pick(&["", " ", "\n\t", "\r\n"]);
    format!(
        "{space}{{{space}{}{space}}}{space}",
        members.join(&format!("{space},{space}"))
    )
}

pub fn container_raw(op: &mut Operation<'_>) -> Done {
    let (name, volume) = (op.name("raw"), op.name("volume"));
    let mut members = vec![
        r#""Image":"busybox""#.to_owned(),
        r#""Cmd":["sh","-c","echo done"]"#.to_owned(),
    ];
    let mut host = vec![r#""NetworkMode":"none""#.to_owned()];
    if op.random.one_in(2) {
        members.push(r#""Volumes":{"/anonymous":{},"/ano\u006eymous2":{}}"#.to_owned());
    }
    match op.random.below(4) {
        0 => host.push(format!(r#""Binds":["{volume}:/named","/tmp:/host:ro"]"#)),
        1 => host.push(format!(
            r#""Mounts":[{{"Type":"volume","Source":"{volume}","Target":"/m"}}]"#
        )),
        2 => host.push(
            r#""Mounts":[{"Type":"volume","Target":"/m"},{"Type":"tmpfs","Target":"/t"}]"#
                .to_owned(),
        ),
        _ => (),
    }
    members.push(format!(r#""HostConfig":{{{}}}"#, host.join(",")));
    let body = odd(op, &members);
    let made = op.create(&format!("/containers/create?name={name}"), &body)?;
    let id = made["Id"].as_str().unwrap_or_default().to_owned();
    if op.check_container(&name)?["Id"] != *id {
        return wrong(format!("the container {name} is not {id}"));
    }
    if op.random.one_in(2) {
        op.start(&name)?;
        let end = op
            .proxy()?
            .succeed("POST", &format!("/containers/{name}/wait"), None)?;
        if end["StatusCode"] != 0 {
            // It was killed with the daemon.
            return Err(Fail::Broken(format!("{name} ended with {end}")));
        }
    }
    op.remove(Kind::Container, &name)?;
    op.remove(Kind::Volume, &volume)
}

pub fn container_command(op: &mut Operation<'_>) -> Done {
    let (name, volume) = (op.name("run"), op.name("volume"));
    let named = format!("{volume}:/named");
    let options = [
        "--network",
        "none",
        "--name",
        &name,
        "--label",
        "soak.job=mine",
        "-v",
        &named,
        "-v",
        "/anonymous",
    ];
    if op.random.one_in(3) {
        let run = [&["run", "--rm"], &options[..], &["busybox", "echo", "done"]].concat();
        let out = op.succeed(op.docker(&run), empty())?;
        match &out[..] {
            b"done\n" => (),
            b"" => return broken("docker run printed nothing"),
            out => {
                return wrong(format!(
                    "docker run printed {:?}",
                    String::from_utf8_lossy(out)
                ));
            }
        }
    } else {
        let create = [&["create"], &options[..], &["busybox", "true"]].concat();
        op.succeed(op.docker(&create), empty())?;
        op.check_container(&name)?;
        op.succeed(op.docker(&["start", "--attach", &name]), empty())?;
        op.succeed(op.docker(&["rm", "--force", "--volumes", &name]), empty())?;
    }
    op.check_labels(Kind::Volume, &volume)?;
    op.succeed(op.docker(&["volume", "rm", &volume]), empty())?;
    Ok(())
}

pub fn network(op: &mut Operation<'_>) -> Done {
    let name = op.name("network");
    if op.random.one_in(3) {
        op.succeed(
            op.docker(&["network", "create", "--internal", &name]),
            empty(),
        )?;
    } else {
        let members = [
            format!(r#""Name":"{name}""#),
            r#""Internal":true"#.to_owned(),
        ];
        let body = odd(op, &members);
        op.create("/networks/create", &body)?;
    }
    op.check_labels(Kind::Network, &name)?;
    op.remove(Kind::Network, &name)
}

pub fn volume(op: &mut Operation<'_>) -> Done {
    let name = op.name("volume");
    match op.random.below(3) {
        0 => {
            op.succeed(op.docker(&["volume", "create", &name]), empty())?;
            op.check_labels(Kind::Volume, &name)?;
            op.remove(Kind::Volume, &name)
        }
        // Without a name: the daemon chooses one.
        1 => {
            let body = odd(op, &[]);
            let made = op.create("/volumes/create", &body)?;
            let name = made["Name"].as_str().unwrap_or_default();
            op.check_labels(Kind::Volume, name)?;
            op.remove(Kind::Volume, name)
        }
        _ => {
            let body = odd(
                op,
                &[
                    format!(r#""Name":"{name}""#),
                    r#""Driver":"local""#.to_owned(),
                ],
            );
            op.create("/volumes/create", &body)?;
            op.check_labels(Kind::Volume, &name)?;
            op.remove(Kind::Volume, &name)
        }
    }
}
