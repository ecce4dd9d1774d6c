//! The two sockets: the daemon's, which comes and goes, and the proxy's own from start to exit.

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

/// A command that runs a proxy without a daemon. `--listen` is left to the caller.
fn command(dir: &TempDir) -> Command {
    let mut command = PROXY.command();
    command
        .args(LABELS)
        .arg("--daemon")
        .arg(dir.join("daemon.sock"));
    command
}

/// Starts a proxy that cannot listen at `path`, and returns its error.
fn fails_at(path: &Path, dir: &TempDir) -> String {
    let output = command(dir).arg("--listen").arg(path).output().unwrap();
    failure(&output)
}

fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Creates a socket on which nobody listens.
fn leave_stale_socket(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    // As in `Wire`, closing the descriptor is not enough.
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
}

#[test]
fn a_missing_daemon_is_an_error_until_it_is_back() {
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
    // The daemon appears, and the same client is served.
    let daemon = FakeDaemon::at(&path);
    client.send(PING);
    let mut conn = daemon.accept();
    conn.expect(PING);
    conn.send(OK);
    client.expect(OK);
    expect_labelled_create(&mut client, &mut conn);

    // The socket exists, but nobody listens.
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
fn a_restart_of_the_daemon_between_two_requests_goes_unnoticed() {
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
fn a_request_that_the_daemon_has_received_is_never_repeated() {
    let (proxy, daemon) = pair();
    let mut client = proxy.client();
    client.send(CREATE);
    let mut conn = daemon.accept();
    conn.request();
    drop(conn);
    expect_error(&client.response(), 502);
    // The next thing that the daemon receives is the next request.
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
        // As root the test can connect before the socket has its mode.
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
fn files_that_are_not_sockets_are_left_alone() {
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
                 something that is not a socket is there; remove it or give another path\n"
            )
        );
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    assert!(directory.is_dir());
}

#[test]
fn errors_of_an_impossible_path_say_why() {
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
fn a_relative_path_works() {
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
    use nix::sys::signal::Signal;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = TempDir::new();
        let socket = dir.join("proxy.sock");
        let mut proxy = Proxy::start_at(&socket, command(&dir));
        // Connected clients do not delay the exit.
        let _client = proxy.client();
        proxy.signal(signal);
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(!socket.exists());
    }
}

#[test]
fn another_socket_in_the_place_of_its_own_is_left_alone() {
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
fn a_missing_socket_does_not_fail_the_exit() {
    let dir = TempDir::new();
    let socket = dir.join("proxy.sock");
    let mut proxy = Proxy::start_at(&socket, command(&dir));
    fs::remove_file(&socket).unwrap();
    assert_eq!(proxy.terminate().code(), Some(0));
}
