//! The scripted daemon, and a proxy in front of it.
//!
//! The daemon does nothing by itself. A test either accepts its connections one by one
//! ([`FakeDaemon::accept`]) and plays them step by step, or gives it a script that serves all of
//! them ([`FakeDaemon::serve`]).

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};
use support::{Message, PATIENCE, Proxy, TempDir, Wire, happens};

use crate::PROXY;

/// The labels of a proxy unless a test gives it others.
pub const LABELS: &[&str] = &["--label", "job=42"];

/// A response whose content does not matter.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// A create of whatever kind.
pub const CREATE: &str = "POST /v1.41/networks/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"Name\":\"n\"}";
/// The body that the daemon should receive for [`CREATE`].
pub const CREATED: &str = r#"{"Name":"n","Labels":{"job":"42"}}"#;

/// A request that passes unchanged.
pub const PING: &str = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

/// A proxy with [`LABELS`] and the daemon behind it.
pub fn pair() -> (Proxy, FakeDaemon) {
    let daemon = FakeDaemon::new();
    (PROXY.start(daemon.path(), LABELS), daemon)
}

/// A UNIX socket on which the test plays the daemon.
pub struct FakeDaemon {
    listener: UnixListener,
    path: PathBuf,
    _dir: Option<TempDir>,
}

impl FakeDaemon {
    pub fn new() -> FakeDaemon {
        let dir = TempDir::new();
        let mut daemon = FakeDaemon::at(&dir.join("daemon.sock"));
        daemon._dir = Some(dir);
        daemon
    }

    /// A daemon that listens at `path`, where nothing may exist yet.
    pub fn at(path: &Path) -> FakeDaemon {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        FakeDaemon {
            listener,
            path: path.to_owned(),
            _dir: None,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts connections up to one on which the proxy sends something, and returns that one.
    pub fn accept(&self) -> Wire {
        loop {
            let patience = PATIENCE.try_into().unwrap();
            let waits = happens(&self.listener, PollFlags::POLLIN, patience);
            assert!(waits, "the proxy connects to the daemon");
            let mut wire = self.pending().expect("a connection waits");
            if wire.fill() {
                return wire;
            }
        }
    }

    fn pending(&self) -> Option<Wire> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(Wire::new(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("cannot accept: {error}"),
        }
    }

    /// Asserts that the proxy has sent nothing on any connection, and has closed all of them.
    pub fn expect_untouched(&self) {
        while let Some(mut wire) = self.pending() {
            wire.expect_end();
        }
    }

    /// Runs `script` for each connection from now on, in a thread of its own.
    pub fn serve(&self, script: impl Fn(Wire) + Clone + Send + 'static) {
        let listener = self.listener.try_clone().unwrap();
        // Both handles share the flag. `accept` is not called from here on.
        listener.set_nonblocking(false).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let script = script.clone();
                thread::spawn(move || script(Wire::new(stream)));
            }
        });
    }

    /// Answers every request with [`OK`].
    pub fn serve_ok(&self) {
        self.serve(|mut wire| {
            while wire.has_more() {
                wire.request();
                wire.send(OK);
            }
        });
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        // Ends the thread that `serve` started.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        let _ = fs::remove_file(&self.path);
    }
}

/// Sends `request` on a new connection and asserts that it arrives unchanged. Returns the client's
/// and the daemon's end.
pub fn sent(proxy: &Proxy, daemon: &FakeDaemon, request: &str) -> (Wire, Wire) {
    let mut client = proxy.client();
    client.send(request);
    let mut conn = daemon.accept();
    conn.expect(request);
    (client, conn)
}

/// Sends a create on an idle connection and asserts that it arrives labelled.
pub fn expect_labelled_create(client: &mut Wire, daemon: &mut Wire) {
    client.send(CREATE);
    assert_eq!(daemon.request().text(), CREATED);
    daemon.send(OK);
    client.expect(OK);
}

/// Asserts that `response` is an error of the proxy's own, with this status and in the daemon's
/// shape. Returns its message without the name of the program.
pub fn expect_error(response: &Message, status: u16) -> String {
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(response.header("content-type"), ["application/json"]);
    let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    let message = body["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no message: {response:?}"));
    message
        .strip_prefix("docker-label-proxy: ")
        .expect("the program's name")
        .to_owned()
}
