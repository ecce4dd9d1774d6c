//! The scripted daemon, and a proxy in front of it.
//!
//! It does nothing by itself: a test either takes its connections one by one
//! ([`FakeDaemon::accept`]) and plays them step by step, or hands it a script for all of them
//! ([`FakeDaemon::serve`]).

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

/// The labels of every proxy that a test does not give others.
pub const LABELS: &[&str] = &["--label", "job=42"];

/// A response for when it does not matter what it says.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// A create for when it does not matter of what, and what the daemon is to get of it.
pub const CREATE: &str = "POST /v1.41/networks/create HTTP/1.1\r\nHost: docker\r\n\
     Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"Name\":\"n\"}";
pub const CREATED: &str = r#"{"Name":"n","Labels":{"job":"42"}}"#;

/// A request that passes as it is.
pub const PING: &str = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

/// A proxy with [`LABELS`] and the daemon behind it.
pub fn pair() -> (Proxy, FakeDaemon) {
    let daemon = FakeDaemon::new();
    (PROXY.start(daemon.path(), LABELS), daemon)
}

/// A UNIX socket on which a daemon of the test's making answers.
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

    /// One that listens at `path`, which must not exist.
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

    /// The next connection on which the proxy says something; others are dropped.
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

    /// Asserts that the proxy has sent nothing, on connections that it has closed.
    pub fn expect_untouched(&self) {
        while let Some(mut wire) = self.pending() {
            wire.expect_end();
        }
    }

    /// Runs `script` for every connection from now on, each in a thread of its own.
    pub fn serve(&self, script: impl Fn(Wire) + Clone + Send + 'static) {
        let listener = self.listener.try_clone().unwrap();
        // The other handle shares this, and `accept` is of no use besides.
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

/// Plays an exchange on an idle connection: a create goes in, and arrives labelled.
pub fn expect_labelled_create(client: &mut Wire, daemon: &mut Wire) {
    client.send(CREATE);
    assert_eq!(daemon.request().text(), CREATED);
    daemon.send(OK);
    client.expect(OK);
}

/// Asserts that `response` is an error with this status which the proxy made, in docker's
/// shape, and returns its message without the program's name.
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
