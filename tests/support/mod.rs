//! What the integration and the end-to-end tests, the soak and the bench share: a temporary
//! directory, the real proxy binary as a child process that ends with the test, and the kinds of
//! what is created.

#![allow(dead_code)]

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What can be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Network => "network",
            Kind::Volume => "volume",
        })
    }
}

/// A directory of one test, removed with all that is in it.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dlp-test.{}.{n}", std::process::id()));
        fs::create_dir(&path).expect("a fresh temporary directory");
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The proxy's binary, to be started with arguments of the test's own.
pub fn proxy_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-label-proxy"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The proxy as a child process; ended when dropped.
pub struct Proxy {
    child: Child,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
    _dir: Option<TempDir>,
}

impl Proxy {
    /// Starts the proxy in front of the socket `daemon`, with `args` besides the socket paths,
    /// and returns when it accepts connections.
    pub fn start(daemon: &Path, args: &[&str]) -> Proxy {
        let dir = TempDir::new();
        let socket = dir.join("proxy.sock");
        let mut command = proxy_command();
        command
            .arg("--daemon")
            .arg(daemon)
            .args(args)
            .env("RUST_LOG", "debug");
        let mut proxy = Proxy::start_at(&socket, command);
        proxy._dir = Some(dir);
        proxy
    }

    /// Starts `command` (see [`proxy_command`]) with `--listen SOCKET`, and returns when it
    /// accepts connections.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_at(socket: &Path, mut command: Command) -> Proxy {
        let mut child = command
            .arg("--listen")
            .arg(socket)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the proxy starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buf) {
                let text = String::from_utf8_lossy(&buf[..n]);
                sink.lock().expect("no panic while locked").push_str(&text);
            }
        });
        let mut proxy = Proxy {
            child,
            socket: socket.to_owned(),
            log,
            _dir: None,
        };
        wait_until("the proxy listens", || {
            let end = proxy.child.try_wait().expect("a child can be waited for");
            assert!(end.is_none(), "the proxy ended: {}", proxy.log());
            UnixStream::connect(&proxy.socket).is_ok()
        });
        proxy
    }

    /// Sends it SIGTERM and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the proxy runs");
        self.wait()
    }

    /// Returns how it ended, once it has.
    pub fn wait(&mut self) -> ExitStatus {
        let mut end = None;
        wait_until("the proxy ends", || {
            end = self.child.try_wait().expect("a child can be waited for");
            end.is_some()
        });
        end.expect("it ended")
    }

    /// The socket it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id, for a look at its threads, descriptors and memory in /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while locked").clone()
    }

    /// A connection to it.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the proxy accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a time limit");
        stream
    }

    /// Sends `request` on a connection of its own, half-closes nothing, and returns all that
    /// comes until the proxy closes; the request should say `Connection: close`.
    pub fn roundtrip(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request).expect("the proxy reads");
        let mut response = Vec::new();
        stream
            .read_to_end(&mut response)
            .expect("the proxy answers and closes");
        response
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(30)..];
            eprintln!("--- end of the proxy's log\n{}\n---", last.join("\n"));
        }
    }
}

/// Returns once `condition` holds, asking again and again.
///
/// # Panics
/// When it still does not hold after [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
