//! Commands that run while a test watches: output as it comes, and an exit within a deadline.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::wait_until;

/// How long a command may print nothing, or take to exit.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running command. Dropping it kills it.
pub struct Running {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    output: Vec<u8>,
    stderr: Option<JoinHandle<String>>,
}

/// The exit of a command and everything that it printed.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let what = format!("{command:?}");
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (sender, stdout) = channel();
        let mut pipe = child.stdout.take().unwrap();
        thread::spawn(move || {
            let mut buf = [0; 1 << 16];
            while let Ok(n @ 1..) = pipe.read(&mut buf) {
                if sender.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut pipe = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdin = child.stdin.take();
        Running {
            what,
            child,
            stdin,
            stdout,
            output: Vec::new(),
            stderr: Some(stderr),
        }
    }

    /// Writes `text` to its stdin.
    pub fn input(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin
            .write_all(text.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Closes its stdin.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Returns once the command has printed `text`.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            if !self.read(deadline) {
                panic!("{}: {text:?} expected, got {:?}", self.what, self.text());
            }
        }
    }

    /// Waits for the exit. Does not close stdin, so a command that reads it must exit by itself.
    pub fn wait(&mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline) {}
        wait_until(
            &format!("{} ends; its output: {:?}", self.what, self.text()),
            || !self.is_running(),
        );
        let code = self.child.wait().unwrap().code();
        let stderr = self.stderr.take().expect("waited for once").join().unwrap();
        Finished {
            code,
            stdout: self.text(),
            stderr,
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Reads more output. Returns false at its end.
    fn read(&mut self, deadline: Instant) -> bool {
        match self
            .stdout
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(bytes) => {
                self.output.extend(bytes);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                panic!(
                    "{}: nothing more in {PATIENCE:?} after {:?}",
                    self.what,
                    self.text()
                )
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, with an empty stdin.
pub fn finish(command: Command) -> Finished {
    let mut running = Running::start(command);
    running.close_input();
    running.wait()
}

/// Runs a command that must succeed. Returns its output without the last line break.
pub fn succeed(command: Command) -> String {
    let what = format!("{command:?}");
    let finished = finish(command);
    assert_eq!(
        finished.code,
        Some(0),
        "{what}: {}{}",
        finished.stdout,
        finished.stderr
    );
    finished.stdout.trim_end().to_owned()
}

/// Returns a command that runs `command` in a terminal of its own.
pub fn in_terminal(command: &Command) -> Command {
    let quoted =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
    let mut line = quoted(command.get_program());
    for argument in command.get_args() {
        line += &format!(" {}", quoted(argument));
    }
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script
}
