//! The two ends: a daemon that comes and goes, and the proxy's own socket from start to exit.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::socket::{Shutdown, shutdown};
use support::{Message, Proxy, TempDir, wait_until};

use crate::PROXY;
use crate::daemon::{
    CREATE, FakeDaemon, LABELS, OK, PING, expect_error, expect_labelled_create, pair,
};

/// A command for a proxy without a daemon, its socket not given yet.
fn command(dir: &TempDir) -> Command {
    let mut command = PROXY.command();
    command
        .args(LABELS)
        .arg("--daemon")
        .arg(dir.join("daemon.sock"));
    command
}

/// How a proxy ends that is to listen at `path`; it must not get as far as to serve.
fn fails_at(path: &Path, dir: &TempDir) -> String {
    let output = command(dir).arg("--listen").arg(path).output().unwrap();
    failure(&output)
}

fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Makes a socket on which nobody listens.
fn leave_stale_socket(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    // As in `Wire`, to close alone is not enough.
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
}

#[test]
fn without_a_daemon_there_is_an_error_and_with_it_service_again() {
    let dir = TempDir::new();
    let path = dir.join("daemon.sock");
    let proxy = PROXY.start(&path, LABELS);
    let mut client = proxy.client();
    for request in [PING, CREATE] {
        client.send(request);
        let response = client.response();
        assert_eq!(
            expect_error(&response, 502),
            format!(
                "cannot connect to the daemon at {path:?}: No such file or directory (os error 2)"
            )
        );
        assert_eq!(
            response.header("connection"),
            [""; 0],
            "the client may go on"
        );
    }
    // As soon as the daemon is there it serves the same client.
    let daemon = FakeDaemon::at(&path);
    client.send(PING);
    let mut conn = daemon.accept();
    conn.expect(PING);
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);

    // Its socket is there and nobody listens.
    drop((conn, daemon));
    leave_stale_socket(&path);
    client.send(PING);
    let message = expect_error(&client.response(), 502);
    assert!(
        message.ends_with("Connection refused (os error 111)"),
        "{message}"
    );
}

#[test]
fn a_daemon_that_restarts_between_two_requests_is_not_noticed() {
    let dir = TempDir::new();
    let path = dir.join("daemon.sock");
    let mut daemon = FakeDaemon::at(&path);
    let proxy = PROXY.start(&path, LABELS);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(PING);
        let mut conn = daemon.accept();
        conn.expect(PING);
        conn.send(OK);
        client.expect(OK);
        expect_labelled_create(&mut client, &mut conn);
        drop((conn, daemon));
        daemon = FakeDaemon::at(&path);
    }
}

#[test]
fn a_request_that_the_daemon_has_taken_is_never_sent_again() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(CREATE);
    let mut conn = daemon.accept();
    conn.request();
    drop(conn);
    expect_error(&client.response(), 502);
    // The next thing that the daemon hears is the next request.
    client.send(PING);
    daemon.accept().expect(PING);
}

#[test]
fn the_socket_has_the_mode_that_was_asked_for() {
    for (args, mode) in [
        (&[][..], 0o660),
        (&["--socket-mode", "0600"], 0o600),
        (&["--socket-mode", "666"], 0o666),
    ] {
        let dir = TempDir::new();
        let socket = dir.join("proxy.sock");
        let mut command = command(&dir);
        command.args(args);
        let _proxy = Proxy::start_at(&socket, command);
        let metadata = fs::metadata(&socket).unwrap();
        // It accepts before it has its mode, from nobody but root.
        wait_until("the socket has its mode", || {
            fs::metadata(&socket).unwrap().permissions().mode() & 0o7777 == mode
        });
        assert!(metadata.file_type().is_socket());
    }
}

#[test]
fn the_socket_has_the_owner_and_group_that_were_asked_for() {
    let dir = TempDir::new();
    let socket = dir.join("proxy.sock");
    let mut command = command(&dir);
    if nix::unistd::geteuid().is_root() {
        command.args(["--socket-user", "nobody", "--socket-group", "4711"]);
        let _proxy = Proxy::start_at(&socket, command);
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        wait_until("the socket has its owner", || {
            let metadata = fs::metadata(&socket).unwrap();
            (metadata.uid(), metadata.gid()) == (nobody.uid.as_raw(), 4711)
        });
    } else {
        // Only root may give a file away.
        let output = command
            .args(["--socket-user", "root", "--listen"])
            .arg(&socket)
            .output()
            .unwrap();
        assert!(
            failure(&output).contains("cannot change its owner or group"),
            "{output:?}"
        );
        assert!(!socket.exists());
    }
}

#[test]
fn the_socket_of_a_dead_proxy_is_replaced() {
    let dir = TempDir::new();
    let socket = dir.join("proxy.sock");
    leave_stale_socket(&socket);
    assert!(socket.exists());
    let proxy = Proxy::start_at(&socket, command(&dir));
    expect_error(&get(&proxy), 502);
}

fn get(proxy: &Proxy) -> Message {
    let mut client = proxy.client();
    client.send(PING);
    client.response()
}

#[test]
fn the_socket_of_a_live_process_is_left_alone() {
    let dir = TempDir::new();
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command(&dir));
    assert_eq!(
        fails_at(proxy.socket(), &dir),
        format!(
            "docker-label-proxy: cannot listen on {:?}: another process listens there\n",
            proxy.socket()
        )
    );
    expect_error(&get(&proxy), 502);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let dir = TempDir::new();
    let (file, directory, link) = (dir.join("file"), dir.join("directory"), dir.join("link"));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &directory, &link] {
        assert_eq!(
            fails_at(path, &dir),
            format!(
                "docker-label-proxy: cannot listen on {path:?}: \
                 something that is no socket is there; remove it or give another path\n"
            )
        );
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    assert!(directory.is_dir());
}

#[test]
fn a_path_that_cannot_be_is_told_why() {
    let dir = TempDir::new();
    let missing = dir.join("missing");
    assert_eq!(
        fails_at(&missing.join("x.sock"), &dir),
        format!(
            "docker-label-proxy: cannot listen on {:?}: directory {missing:?}: \
             No such file or directory (os error 2)\n",
            missing.join("x.sock")
        )
    );
    let longest = 107 - dir.path().as_os_str().len() - 1;
    let too_long = dir.join(&"x".repeat(longest + 1));
    assert_eq!(
        fails_at(&too_long, &dir),
        format!(
            "docker-label-proxy: cannot listen on {too_long:?}: \
             the path has 108 bytes; a socket's has at most 107\n"
        )
    );
    assert!(!too_long.exists());
    Proxy::start_at(&dir.join(&"x".repeat(longest)), command(&dir));
}

#[test]
fn a_relative_path_will_do() {
    let dir = TempDir::new();
    let mut command = command(&dir);
    command
        .args(["--listen", "proxy.sock"])
        .current_dir(dir.path())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until("the proxy listens", || {
        UnixStream::connect(dir.join("proxy.sock")).is_ok()
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_signal_ends_it_and_removes_the_socket() {
    use nix::sys::signal::{Signal, kill};
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = TempDir::new();
        let socket = dir.join("proxy.sock");
        let mut proxy = Proxy::start_at(&socket, command(&dir));
        // Clients that are connected do not keep it.
        let _client = proxy.client();
        kill(
            nix::unistd::Pid::from_raw(proxy.pid().try_into().unwrap()),
            signal,
        )
        .unwrap();
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(!socket.exists());
    }
}

#[test]
fn what_has_taken_the_place_of_its_socket_stays() {
    let dir = TempDir::new();
    let socket = dir.join("proxy.sock");
    let mut proxy = Proxy::start_at(&socket, command(&dir));
    wait_until("it knows its socket", || {
        proxy.log().contains("listening on")
    });
    fs::rename(&socket, dir.join("away.sock")).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    assert_eq!(proxy.terminate().code(), Some(0));
    assert!(
        UnixStream::connect(&socket).is_ok(),
        "the other's socket is there"
    );
}

#[test]
fn it_ends_well_when_its_socket_is_gone_already() {
    let dir = TempDir::new();
    let socket = dir.join("proxy.sock");
    let mut proxy = Proxy::start_at(&socket, command(&dir));
    fs::remove_file(&socket).unwrap();
    assert_eq!(proxy.terminate().code(), Some(0));
}
