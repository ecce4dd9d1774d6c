//! A daemon that responds at once, with what Docker would send.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use support::TempDir;

use crate::conn::{Body, Conn};

/// The size of downloads and uploads, in bytes.
pub const TRANSFER_BYTES: usize = 32 << 20;

/// Header lines of every response.
const HEADERS: &str = "Api-Version: 1.41\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
     Server: Docker/20.10.24 (linux)\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// The response to an attach that upgrades.
pub const SWITCH: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// The daemon. It serves until the process ends.
pub struct Daemon {
    path: PathBuf,
    _dir: TempDir,
}

impl Daemon {
    pub fn start() -> Daemon {
        let dir = TempDir::new();
        let path = dir.join("daemon.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let conn = Conn::new(stream.unwrap());
                thread::spawn(move || serve(conn));
            }
        });
        Daemon { path, _dir: dir }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A JSON response with the fields that Docker sends.
pub fn response(status: &str, body: &str) -> String {
    let n = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{HEADERS}Content-Type: application/json\r\nContent-Length: {n}\r\n\r\n{body}"
    )
}

fn serve(mut conn: Conn) {
    let ok = response("200 OK", "OK");
    let id = "5".repeat(64);
    let created = response(
        "201 Created",
        &format!("{{\"Id\":\"{id}\",\"Warnings\":[]}}\n"),
    );
    let layers = vec![format!("\"sha256:{id}\""); 10].join(",");
    let image = response(
        "200 OK",
        &format!(
            "{{\"Id\":\"sha256:{id}\",\"RepoTags\":[\"bench:latest\"],\"Config\":{{\"Env\":[\"PATH=/bin\"],\
             \"Cmd\":[\"sh\"],\"Volumes\":null}},\"RootFS\":{{\"Type\":\"layers\",\"Layers\":[{layers}]}}}}\n"
        ),
    );
    let container = response(
        "200 OK",
        &format!(
            "{{\"Id\":\"{id}\",\"Image\":\"sha256:{id}\",\"Config\":{{\"Labels\":{{\"ci.job\":\"\",\"ci.project\":\"\"}},\
             \"Volumes\":null}},\"Mounts\":[]}}\n"
        ),
    );
    while let Some(head) = conn.head() {
        conn.skip(head.body);
        let has = |part: &str| head.line.contains(part);
        if has("/_ping") {
            conn.send(ok.as_bytes());
        } else if has("/images/bench/json") {
            conn.send(image.as_bytes());
        } else if has("/containers/create") {
            conn.send(created.as_bytes());
        } else if has("/containers/") && has("/json ") {
            conn.send(container.as_bytes());
        } else if has("/images/get") {
            let (framing, field) = if has("chunked") {
                (Body::Chunked, "Transfer-Encoding: chunked".to_owned())
            } else {
                let n = TRANSFER_BYTES;
                (Body::Length(n as u64), format!("Content-Length: {n}"))
            };
            conn.send(format!("HTTP/1.1 200 OK\r\n{HEADERS}{field}\r\n\r\n").as_bytes());
            conn.send_body(framing, TRANSFER_BYTES);
        } else if has("/images/load") {
            conn.send(ok.as_bytes());
        } else if has("/attach") {
            conn.send(SWITCH.as_bytes());
            while conn.echo() {}
            return;
        } else {
            panic!("{} is not expected", head.line);
        }
    }
}
