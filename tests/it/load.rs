//! Attempts to bring the proxy down: too many clients, thousands of idle ones, floods of bad
//! requests, bodies crafted to be slow to parse. Meanwhile other clients are served, and afterwards
//! the proxy holds no more than before.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{Proxy, TempDir, Wire, find, wait_until};

use crate::PROXY;
use crate::daemon::{CREATE, FakeDaemon, LABELS, OK, PING, expect_error};

/// How many clients are idle at once, if the machine allows so many.
const MANY: usize = 10_000;

fn expect_threads(proxy: &Proxy, n: usize) {
    wait_until("its threads end", || proxy.usage().threads == n);
}

fn start(daemon: &FakeDaemon, args: &[&str]) -> (Proxy, TempDir) {
    let dir = TempDir::new();
    let mut command = PROXY.command();
    command.args(LABELS).args(args).arg("--daemon");
    command.arg(daemon.path()).env("RUST_LOG", "info");
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    // The connection that tried the new proxy is over.
    proxy.wait_idle();
    expect_threads(&proxy, 2);
    (proxy, dir)
}

fn expect_served(client: &mut Wire) {
    client.send(PING);
    client.expect(OK);
}

#[test]
fn clients_over_the_limit_are_rejected_until_others_leave() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &["--max-connections", "3"]);
    let before = proxy.usage().descriptors;
    let mut served: Vec<Wire> = (0..3).map(|_| proxy.client()).collect();
    served.iter_mut().for_each(expect_served);
    for request in [PING, CREATE].repeat(50) {
        let mut client = proxy.client();
        client.send(request);
        let message = expect_error(&client.response(), 503);
        assert_eq!(
            message,
            "3 clients are connected already, as many as are served at a time; close some, or \
             raise --max-connections"
        );
        client.expect_end();
    }
    // More clients at once than get a response, none of which sends anything.
    let silent: Vec<Wire> = (0..200).map(|_| proxy.client()).collect();
    // They are accepted in order, so none of them is left to take a place that becomes free.
    expect_error(&proxy.client().response(), 503);
    served.iter_mut().for_each(expect_served);
    let count = || proxy.log().matches("clients are not served").count();
    wait_until("the log has a line", || count() > 0);
    assert_eq!(count(), 1, "{}", proxy.log());
    drop(served.pop());
    drop(silent);
    expect_threads(&proxy, 2 + served.len());
    expect_served(&mut proxy.client());
    drop(served);
    expect_threads(&proxy, 2);
    assert_eq!(proxy.usage().descriptors, before);
}

#[test]
fn few_descriptors_lower_the_limit_of_clients_with_a_warning() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let dir = TempDir::new();
    let shell = "ulimit -n 100; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", shell, PROXY.path(), "--daemon"])
        .arg(daemon.path())
        .args(LABELS);
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    let warning = "serving 10 clients at a time rather than 10000: there are 100 descriptors";
    wait_until(warning, || proxy.log().contains(warning));
    proxy.wait_idle();
    expect_threads(&proxy, 2);
    let mut served: Vec<Wire> = (0..10).map(|_| proxy.client()).collect();
    served.iter_mut().for_each(expect_served);
    let mut client = proxy.client();
    client.send(PING);
    expect_error(&client.response(), 503);
}

#[test]
fn running_out_of_descriptors_pauses_accepting_without_spinning() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &[]);
    let mut served: Vec<Wire> = (0..4).map(|_| proxy.client()).collect();
    served.iter_mut().for_each(expect_served);
    let mut undialled = proxy.client();
    expect_threads(&proxy, 2 + 5);
    // Lowers the limit of the running proxy to what it has: from here on no descriptor is left.
    let limit = proxy.usage().descriptors;
    let prlimit = Command::new("prlimit")
        .args([
            "--pid",
            &proxy.pid().to_string(),
            &format!("--nofile={limit}"),
        ])
        .status();
    assert!(prlimit.unwrap().success());
    let mut late = proxy.client();
    wait_until("it notices", || {
        proxy.log().contains("cannot accept a client: Too many")
    });
    undialled.send(PING);
    let message = expect_error(&undialled.response(), 503);
    assert!(message.contains("Too many open files"), "{message}");
    for _ in 0..200 {
        served.iter_mut().for_each(expect_served);
    }
    // A thread that kept trying would never be found asleep.
    proxy.wait_idle();
    assert_eq!(proxy.log().matches("cannot accept").count(), 1);
    drop(served.split_off(2));
    wait_until("descriptors are free", || {
        proxy.usage().descriptors <= limit - 3
    });
    expect_served(&mut late);
    drop((served, late, undialled));
    expect_end_of_episode(&proxy, "clients are accepted again, after ");
}

/// Connects clients until the log says that the episode is over, and asserts that it says so once.
fn expect_end_of_episode(proxy: &Proxy, line: &str) {
    wait_until("the log has the end", || {
        expect_threads(proxy, 2);
        expect_served(&mut proxy.client());
        proxy.log().contains(line)
    });
    assert_eq!(proxy.log().matches(line).count(), 1, "{}", proxy.log());
}

#[test]
fn the_log_counts_the_clients_that_were_not_served() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &["--max-connections", "1"]);
    let mut served = proxy.client();
    expect_served(&mut served);
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send(PING);
        expect_error(&client.response(), 503);
    }
    drop(served);
    expect_end_of_episode(&proxy, "clients are served again; 3 were not");
    assert_eq!(proxy.log().matches("clients are not served").count(), 1);
}

/// The user of [`as_user`]. Threads are counted by user, so it differs from that of other runs.
fn user() -> u32 {
    20_000 + std::process::id() % 40_000
}

/// A command that runs `program` as [`user`], which unlike root can be kept from starting threads.
fn as_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let id = user();
    command.args([format!("--reuid={id}"), format!("--regid={id}")]);
    command.args(["--clear-groups", "--", program]);
    command
}

/// Lowers the limit of threads of the running proxy to what it has.
fn allow_no_more_threads(proxy: &Proxy) {
    let limit = format!("--nproc={}", proxy.usage().threads);
    let pid = proxy.pid().to_string();
    let prlimit = as_user("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(prlimit.unwrap().success());
}

const ATTACH: &str = "POST /containers/c/attach HTTP/1.1\r\nHost: docker\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

#[test]
fn running_out_of_threads_rejects_clients_and_hangs_none() {
    let daemon = FakeDaemon::new();
    let ends = Arc::new(AtomicUsize::new(0));
    let n_ends = Arc::clone(&ends);
    daemon.serve(move |mut wire| {
        while wire.has_more() {
            // The upload, of which no more than the head comes, gets no response.
            match wire.head() {
                head if head.starts_with(b"GET") => wire.send(OK),
                head if find(&head, b"/attach").is_some() => wire.send(SWITCH),
                _ => (),
            }
        }
        n_ends.fetch_add(1, Ordering::SeqCst);
    });
    let version = as_user(PROXY.path()).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: the proxy cannot be run as another user");
        return;
    }
    let dir = TempDir::new();
    for path in [dir.path(), daemon.path()] {
        chown(path, Some(user()), None).unwrap();
    }
    let mut command = as_user(PROXY.path());
    command.args(LABELS).arg("--daemon").arg(daemon.path());
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    proxy.wait_idle();
    expect_threads(&proxy, 2);
    let mut served: Vec<Wire> = (0..4).map(|_| proxy.client()).collect();
    served.iter_mut().for_each(expect_served);
    allow_no_more_threads(&proxy);
    for i in 0..100 {
        let mut client = proxy.client();
        // The proxy may answer and close before the request is sent.
        client.try_send([PING, CREATE][i % 2]);
        let message = expect_error(&client.response(), 503);
        assert!(
            message.starts_with("cannot start a thread for a client: Resource temporarily")
                && message.ends_with("allow more (TasksMax=, ulimit -u)"),
            "{message}"
        );
        client.expect_end();
    }
    served.iter_mut().for_each(expect_served);
    assert_eq!(
        proxy.log().matches("clients are not served").count(),
        1,
        "{}",
        proxy.log()
    );

    let mut upload = served.remove(0);
    upload.send("POST /images/load HTTP/1.1\r\nHost: docker\r\nContent-Length: 1000000\r\n\r\n");
    let message = expect_error(&upload.response(), 503);
    assert!(message.starts_with("cannot start a thread: "), "{message}");
    upload.expect_end();
    drop(upload);
    expect_threads(&proxy, 2 + served.len());
    // Its thread is free for the next client.
    served.push(proxy.client());
    served.iter_mut().for_each(expect_served);

    let mut tunnel = served.remove(0);
    tunnel.send(ATTACH);
    tunnel.expect(SWITCH);
    tunnel.expect_end();
    tunnel.expect_hangup();
    wait_until("the daemon sees both ends", || {
        ends.load(Ordering::SeqCst) == 2
    });
    assert!(proxy.log().contains("cannot start a thread for a tunnel"));
    drop(tunnel);
    expect_threads(&proxy, 2 + served.len());
    served.push(proxy.client());
    served.iter_mut().for_each(expect_served);
    drop(served);
    expect_threads(&proxy, 2);
}

#[test]
fn hundreds_of_half_open_tunnels_leave_others_served() {
    const EACH: usize = 100;
    let daemon = FakeDaemon::new();
    let (ended, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n_ended, n_gone) = (Arc::clone(&ended), Arc::clone(&gone));
    daemon.serve(move |mut wire| {
        while wire.has_more() {
            let head = wire.head();
            if head.starts_with(b"GET") {
                wire.send(OK);
                continue;
            }
            wire.send(SWITCH);
            if find(&head, b"/half").is_some() {
                wire.half_close();
            }
            assert_eq!(wire.rest(), b"");
            n_ended.fetch_add(1, Ordering::SeqCst);
            wire.expect_hangup();
            n_gone.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (proxy, _dir) = start(&daemon, &[]);
    let before = proxy.usage().descriptors;
    let mut tunnels = Vec::new();
    for i in 0..3 * EACH {
        let mut client = proxy.client();
        let path = if i % 3 == 1 {
            "/containers/half/attach"
        } else {
            "/containers/c/attach"
        };
        client.send(ATTACH.replace("/containers/c/attach", path));
        client.expect(SWITCH);
        match i % 3 {
            0 => client.half_close(),
            // The daemon has closed its side, but still reads.
            1 => client.expect_end(),
            _ => client.expect_silence(),
        }
        tunnels.push(client);
    }
    wait_until("the daemon sees the half-closes", || {
        ended.load(Ordering::SeqCst) == EACH
    });
    expect_threads(&proxy, 2 + 2 * tunnels.len());
    let mut other = proxy.client();
    expect_served(&mut other);
    drop(tunnels);
    expect_served(&mut other);
    drop(other);
    wait_until("the daemon sees all go", || {
        gone.load(Ordering::SeqCst) == 3 * EACH
    });
    expect_threads(&proxy, 2);
    assert_eq!(proxy.usage().descriptors, before);
}

#[test]
fn thousands_of_idle_clients_leave_others_served_and_nothing_behind() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &[]);
    let n = MANY.min((hard as usize).saturating_sub(300) / 2);
    if n < MANY {
        eprintln!("{n} clients rather than {MANY}: there are {hard} descriptors");
    }
    let before = proxy.usage();
    let clients: Vec<UnixStream> = (0..n).map(|_| proxy.connect()).collect();
    wait_until("all are connected", || proxy.usage().threads == 2 + n);
    expect_served(&mut proxy.client());
    let each = (proxy.usage().memory - before.memory) / n;
    assert!(each < 40 << 10, "an idle client costs {each} bytes");
    drop(clients);
    expect_threads(&proxy, 2);
    assert_eq!(proxy.usage().descriptors, before.descriptors);
    // glibc keeps some stacks for threads to come.
    let after = proxy.usage().memory;
    assert!(
        after < before.memory + (64 << 20),
        "{} bytes, then {after}",
        before.memory
    );
}

#[test]
fn floods_of_bad_requests_leave_others_served() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &[]);
    let requests: Vec<Vec<u8>> = fs::read_dir(Path::new("tests/requests/invalid"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "http"))
        .map(|path| fs::read(path).unwrap())
        .collect();
    assert!(requests.len() > 50);
    let mut other = proxy.client();
    let mut warm = 0;
    for i in 0..10_000 {
        let mut client = proxy.client();
        client.try_send(&requests[i % requests.len()]);
        if i % 100 == 0 {
            expect_served(&mut other);
        }
        if i == 2000 {
            warm = proxy.usage().memory;
        }
    }
    drop(other);
    expect_threads(&proxy, 2);
    let after = proxy.usage().memory;
    assert!(after < warm + (16 << 20), "{warm} bytes, then {after}");
}

#[test]
fn oversized_heads_are_refused() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &[]);
    let start = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n".to_vec();
    for line in [&b"a: b\r\n"[..], b"xxxxxxxx", b"Host: x\r\n", b"\0"] {
        let mut client = proxy.client();
        let mut head = start.clone();
        head.extend(line.repeat((1 << 20) / line.len() + 1));
        // The response comes before the end of the request.
        client.try_send(&head);
        assert_eq!(client.response().status(), 431);
    }
}

#[test]
fn bodies_crafted_to_be_slow_are_parsed_in_linear_time() {
    let daemon = FakeDaemon::new();
    daemon.serve(|mut wire| {
        while wire.has_more() {
            wire.request();
            wire.send("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let (proxy, _dir) = start(&daemon, &[]);
    let list =
        |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    let deep = |n: usize, open: &str, close: &str| open.repeat(n) + &close.repeat(n);
    let labels = list(30_000, &|i| format!("\"key{i}\":\"\""));
    let paths = list(30_000, &|i| format!("\"/path{i}\":{{}}"));
    let names = list(900, &|i| format!("\"name{i}:/x{i}\""));
    let many_names = list(100_000, &|i| format!("\"name{i}:/x{i}\""));
    let anonymous = list(30_000, &|i| format!("\"/x{i}\""));
    let nested = "[".repeat(127) + &"]".repeat(127);
    let mut bodies = vec![
        format!("{{\"Labels\":{{{labels}}}}}"),
        format!("{{\"Volumes\":{{{paths}}}}}"),
        format!("{{\"HostConfig\":{{\"Tmpfs\":{{{labels}}}}},\"Volumes\":{{{paths}}}}}"),
        format!("{{\"HostConfig\":{{\"Binds\":[{names}]}}}}"),
        format!("{{\"HostConfig\":{{\"Binds\":[{many_names}]}}}}"),
        format!("{{\"HostConfig\":{{\"Binds\":[{anonymous}]}}}}"),
        format!("{{{}}}", list(30_000, &|_| "\"Labels\":null".to_owned())),
        format!("{{{}}}", list(30_000, &|i| format!("\"k{i}\":0"))),
        " ".repeat(4 << 20),
    ];
    for field in [
        "X",
        "Labels",
        "HostConfig",
        "Volumes",
        "Name",
        "ConfigFrom",
        "TaskTemplate",
        "Spec",
        "Mounts",
        "Image",
    ] {
        let n = if field == "X" { 300_000 } else { 10_000 };
        for value in [deep(n, "[", "]"), deep(n, "{\"a\":", "}"), nested.clone()] {
            bodies.push(format!("{{\"{field}\":{value}}}"));
        }
    }
    for body in &bodies {
        for path in [
            "containers",
            "networks",
            "volumes",
            "services",
            "secrets",
            "configs",
            "libpod/containers",
            "libpod/pods",
        ] {
            let before = proxy.cpu_time();
            let mut client = proxy.client();
            client.try_send(format!(
                "POST /v1.41/{path}/create HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ));
            client.try_send(body);
            let status = client.response().status();
            assert!(
                matches!(status, 201 | 400 | 413 | 501 | 502),
                "{status} {path}"
            );
            // Tenths of a second if parsing is linear, tens of seconds if it is quadratic.
            let used = proxy.cpu_time() - before;
            let start = &body[..body.len().min(50)];
            assert!(used < Duration::from_secs(3), "{path} {start}: {used:?}");
        }
    }
    expect_served_once(&proxy);
}

fn expect_served_once(proxy: &Proxy) {
    let mut client = proxy.client();
    client.send(PING);
    assert_eq!(client.response().status(), 201);
}

#[test]
fn one_create_makes_a_limited_number_of_volumes() {
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let (proxy, _dir) = start(&daemon, &[]);
    let binds: Vec<String> = (0..1001).map(|i| format!("\"v{i}:/{i}:z\"")).collect();
    let body = format!("{{\"HostConfig\":{{\"Binds\":[{}]}}}}", binds.join(","));
    let mut client = proxy.client();
    client.send(format!(
        "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let message = expect_error(&client.response(), 400);
    assert!(message.contains("more than 1000"), "{message}");
    // Subrequests are counted for each request.
    client.send(CREATE);
    client.expect(OK);
}

#[test]
fn clients_that_never_read_cost_no_more_than_socket_buffers() {
    const TUNNEL: &str = "POST /containers/c/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let daemon = FakeDaemon::new();
    daemon.serve(|mut wire| {
        if wire.has_more() {
            let request = wire.request();
            let endless = if request.line().contains("attach") {
                "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
            };
            wire.send(endless);
            while wire.try_send([0; 1 << 16]) {}
        }
    });
    let (proxy, _dir) = start(&daemon, &[]);
    let before = proxy.usage().memory;
    let mut clients = Vec::new();
    for i in 0..100 {
        let mut client = proxy.client();
        client.send(if i % 2 == 0 {
            TUNNEL
        } else {
            "GET /logs HTTP/1.1\r\nHost: docker\r\n\r\n"
        });
        client.expect("HTTP/1.1 ");
        clients.push(client);
    }
    let each = (proxy.usage().memory - before) / clients.len();
    assert!(each < 256 << 10, "{each} bytes");
    drop(clients);
    expect_threads(&proxy, 2);
}
