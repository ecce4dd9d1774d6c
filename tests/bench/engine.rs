//! Exchanges with a real daemon, if there is one.

use std::env;
use std::path::Path;

use crate::conn::Conn;
use crate::start;
use crate::times::{PING, Times, connect, create_request, expect, timed};

/// Pings in a round.
const N_PINGS: usize = 200;
/// Creates in a round. One takes some milliseconds.
const N_CREATES: usize = 10;

/// An image without files, and the containers created from it. Dropping it removes them.
struct Image {
    conn: Conn,
    name: String,
    containers: Vec<String>,
}

impl Image {
    fn import(mut conn: Conn) -> Image {
        let name = format!("docker-label-proxy-bench:{}", std::process::id());
        let (repo, tag) = name.split_once(':').unwrap();
        // An empty archive is two blocks of zeros.
        let archive = "\0".repeat(1024);
        conn.send(
            format!(
                "POST /images/create?fromSrc=-&repo={repo}&tag={tag} HTTP/1.1\r\nHost: docker\r\n\
                 Content-Type: application/x-tar\r\nContent-Length: 1024\r\n\r\n{archive}"
            )
            .as_bytes(),
        );
        let head = conn.head().unwrap();
        assert!(head.line.starts_with("HTTP/1.1 200 "), "{}", head.line);
        conn.skip(head.body);
        Image {
            conn,
            name,
            containers: Vec::new(),
        }
    }

    fn id(&mut self) -> String {
        let request = format!(
            "GET /images/{}/json HTTP/1.1\r\nHost: docker\r\n\r\n",
            self.name
        );
        let answer = expect(&mut self.conn, &request, "200");
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["Id"].as_str().unwrap().to_owned()
    }

    fn remove(&mut self, what: &str) {
        let request = format!("DELETE /{what} HTTP/1.1\r\nHost: docker\r\n\r\n");
        self.conn.send(request.as_bytes());
        let head = self.conn.head();
        self.conn.skip(head.unwrap().body);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.containers) {
            self.remove(&format!("containers/{id}?force=1"));
        }
        let name = self.name.clone();
        for n in 0..3 {
            self.remove(&format!("volumes/{}-v{n}", name.replace(':', "-")));
        }
        self.remove(&format!("images/{name}"));
    }
}

/// Measures the daemon in `DOCKER_LABEL_PROXY_TEST_ENGINE`, if that is set.
pub fn measure(times: &mut Times, rounds: usize) {
    let Some(engine) = env::var("DOCKER_LABEL_PROXY_TEST_ENGINE").ok() else {
        return;
    };
    let path = Path::new(engine.strip_prefix("unix://").unwrap_or(&engine));
    let (proxy, _dir) = start(path);
    let mut image = Image::import(connect(path, &proxy).0);
    let creates = creates(&mut image);
    let mut conns = connect(path, &proxy);
    for _ in 0..rounds {
        let mut ping = |conn: &mut Conn| timed(|| expect(conn, PING, "200"));
        times.add(
            "a real daemon's `GET /_ping`",
            N_PINGS,
            &mut conns,
            &mut ping,
        );
        for (what, request) in &creates {
            let mut create = |conn: &mut Conn| {
                let mut answer = Vec::new();
                let time = timed(|| answer = expect(conn, request, "201"));
                let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
                image
                    .containers
                    .push(answer["Id"].as_str().unwrap().to_owned());
                time
            };
            times.add(what, N_CREATES, &mut conns, &mut create);
        }
    }
}

/// The creates that are measured, and what each is called.
fn creates(image: &mut Image) -> Vec<(&'static str, String)> {
    let (name, id) = (image.name.clone(), image.id());
    let binds = |count: usize, mode: &str| {
        let bind = |n| format!("\"{}-v{n}:/v{n}{mode}\"", name.replace(':', "-"));
        (0..count).map(bind).collect::<Vec<_>>().join(",")
    };
    let create = |image: &str, binds: &str| {
        create_request(&format!(
            r#"{{"Image":"{image}","Cmd":["x"],"HostConfig":{{"Binds":[{binds}]}}}}"#
        ))
    };
    vec![
        (
            "a real daemon's create by an image's tag",
            create(&name, ""),
        ),
        ("a real daemon's create by an image's ID", create(&id, "")),
        (
            "a real daemon's create by a tag, with one named volume",
            create(&name, &binds(1, "")),
        ),
        (
            "a real daemon's create by a tag, with three named volumes",
            create(&name, &binds(3, "")),
        ),
        (
            "a real daemon's create by a tag, with three named volumes and `z`",
            create(&name, &binds(3, ":z")),
        ),
    ]
}
