//! The proxy under test: the real binary as a child process that ends with the test.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{PATIENCE, TempDir, Wire, wait_until};

/// The proxy's binary. Cargo tells its path only to the crates that test it, so each of them
/// defines `const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));`.
#[derive(Clone, Copy)]
pub struct Program(&'static str);

impl Program {
    /// The binary at `path`.
    pub const fn new(path: &'static str) -> Program {
        Program(path)
    }

    /// The path of the binary.
    pub fn path(self) -> &'static str {
        self.0
    }

    /// The size of the binary, in bytes.
    pub fn size(self) -> u64 {
        fs::metadata(self.0).expect("the proxy is built").len()
    }

    /// A command that runs the proxy with the arguments that the caller adds.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.0);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Starts the proxy in front of the socket `daemon`, with `args` in addition to the socket
    /// paths. Returns once it accepts connections. It logs everything down to debug.
    pub fn start(self, daemon: &Path, args: &[&str]) -> Proxy {
        let dir = TempDir::new();
        let socket = dir.join("proxy.sock");
        let mut command = self.command();
        command
            .arg("--daemon")
            .arg(daemon)
            .args(args)
            .env("RUST_LOG", "debug");
        let mut proxy = Proxy::start_at(&socket, command);
        proxy._dir = Some(dir);
        proxy
    }
}

/// A running proxy. Dropping it kills it, and prints the end of its log if the test has failed.
pub struct Proxy {
    child: Child,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
    _dir: Option<TempDir>,
}

impl Proxy {
    /// Starts `command` (see [`Program::command`]) with `--listen SOCKET`. Returns once it accepts
    /// connections.
    ///
    /// # Panics
    /// If it exits instead.
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
            let exit = proxy.child.try_wait().expect("a child can be waited for");
            assert!(exit.is_none(), "the proxy exited: {}", proxy.log());
            UnixStream::connect(&proxy.socket).is_ok()
        });
        proxy
    }

    /// Sends SIGTERM and waits for the exit.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the proxy runs");
    }

    /// Waits for the exit.
    pub fn wait(&mut self) -> ExitStatus {
        let mut exit = None;
        wait_until("the proxy exits", || {
            exit = self.child.try_wait().expect("a child can be waited for");
            exit.is_some()
        });
        exit.expect("it exited")
    }

    /// The path of the socket on which it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while locked").clone()
    }

    /// Connects to it as a client.
    pub fn client(&self) -> Wire {
        Wire::new(self.connect())
    }

    /// Connects to it, for a test that reads and writes the socket itself. Reads fail after
    /// [`PATIENCE`].
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the proxy accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a time limit");
        stream
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
