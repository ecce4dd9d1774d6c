//! The memory of the proxy (VmRSS) with thousands of clients, after they have left, and when as
//! many come again.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{Proxy, TempDir, wait_until};

use crate::daemon::{SWITCH, response};
use crate::start;
use crate::times::PING;

/// The smaller number of clients.
const FEW: usize = 1000;
/// The larger number of clients, if the machine allows it.
const MANY: usize = 10_000;

/// A request that becomes a tunnel.
const ATTACH: &str = "POST /containers/c/attach HTTP/1.1\r\nHost: docker\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// What a client does before it idles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    Idle,
    Tunnel,
}

impl Kind {
    fn threads(self) -> usize {
        if self == Kind::Tunnel { 2 } else { 1 }
    }

    /// Returns how many clients of this kind to connect: [`MANY`], or what the machine allows. Each
    /// needs two descriptors in the proxy and two here. Half of the free threads may be used.
    fn most(self, descriptors: u64) -> usize {
        let of = |text: &str| text.trim().parse::<usize>().unwrap();
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        let threads = of(load.split([' ', '/']).nth(4).unwrap());
        let limit = of(&fs::read_to_string("/proc/sys/kernel/pid_max").unwrap());
        let free = limit.saturating_sub(threads) / 2;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        MANY.min(descriptors.saturating_sub(100) / 2)
            .min(free / self.threads())
    }
}

pub fn print() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    println!("\n| clients | at once | each | kept when they went | as many again | kept then |");
    println!("|---|---|---|---|---|---|");
    let mut at_rest = 0;
    for (kind, name) in [
        (Kind::Silent, "have said nothing"),
        (Kind::Idle, "idle after a request"),
        (Kind::Tunnel, "tunnel"),
    ] {
        for n in [FEW, kind.most(hard)] {
            let dir = TempDir::new();
            let path = dir.join("daemon.sock");
            let daemon = UnixListener::bind(&path).unwrap();
            at_rest = measure(kind, name, n, &path, &daemon);
        }
    }
    println!("\nAt rest it is {} KiB.", at_rest / 1024);
}

/// Prints a row. Returns the memory of the proxy at rest, in bytes.
fn measure(kind: Kind, name: &str, n: usize, path: &Path, daemon: &UnixListener) -> usize {
    // A new proxy for each row: what it kept would count for the next row.
    let (proxy, _dir) = start(path);
    wait_for_rest(&proxy, 2);
    let at_rest = proxy.usage().memory;
    let pass = || {
        let ends: Vec<_> = (0..n).map(|_| client(kind, &proxy, daemon)).collect();
        wait_for_rest(&proxy, 2 + n * kind.threads());
        let with = proxy.usage().memory - at_rest;
        drop(ends);
        wait_for_rest(&proxy, 2);
        let kept = proxy.usage().memory.saturating_sub(at_rest);
        (
            format!("{:.1} KiB", with as f64 / n as f64 / 1024.0),
            format!("{:.1} MiB", kept as f64 / 1048576.0),
        )
    };
    let (each, kept) = pass();
    let (each_then, kept_then) = pass();
    println!("| {name} | {n} | {each} | {kept} | {each_then} each | {kept_then} |");
    at_rest
}

/// Connects a client and returns both ends. The daemon has none if the client says nothing.
fn client(kind: Kind, proxy: &Proxy, daemon: &UnixListener) -> (UnixStream, Option<UnixStream>) {
    let mut client = proxy.connect();
    let (request, answer) = match kind {
        Kind::Silent => return (client, None),
        Kind::Idle => (PING, response("200 OK", "OK")),
        Kind::Tunnel => (ATTACH, SWITCH.to_owned()),
    };
    client.write_all(request.as_bytes()).unwrap();
    let mut conn = loop {
        let (mut conn, _) = daemon.accept().unwrap();
        // Skips connections on which nothing comes.
        if conn.read(&mut [0; 4096]).unwrap() > 0 {
            break conn;
        }
    };
    conn.write_all(answer.as_bytes()).unwrap();
    client.read_exact(&mut vec![0; answer.len()]).unwrap();
    if kind == Kind::Tunnel {
        for (from, to) in [(&client, &conn), (&conn, &client)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"x").unwrap();
            to.read_exact(&mut [0]).unwrap();
        }
    }
    (client, Some(conn))
}

/// Waits until the proxy has this many threads and all of them sleep.
fn wait_for_rest(proxy: &Proxy, threads: usize) {
    wait_until("the proxy comes to rest", || {
        proxy.usage().threads == threads
    });
    proxy.wait_idle();
}
