//! What every operation works with: names, randomness, both sockets and the docker command.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Kind, docker};

use crate::Soak;
use crate::client::{Client, Done, Fail, broken, request, wrong};
use crate::random::Random;
use crate::tally::add;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(240);

/// One operation under way.
pub struct Operation<'s> {
    pub soak: &'s Soak,
    pub random: Random,
    /// The prefix of all its names.
    pub name: String,
}

/// How a command ended.
pub struct Finished {
    pub is_success: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Operation<'_> {
    pub fn proxy(&self) -> Done<Client> {
        Client::connect(self.soak.proxy.socket())
    }

    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// A random length: none, some bytes, around the size of buffers, or a lot.
    pub fn length(&mut self) -> u64 {
        let most = self.soak.most_data;
        match self.random.below(8) {
            0 => self.random.below(3),
            1 => (1 << 16) - 2 + self.random.below(5),
            2 => (1 << 12) - 2 + self.random.below(5),
            3 => self.random.below(2000),
            _ => self.random.below(most),
        }
    }

    /// Random data of this length.
    pub fn data(&mut self, length: u64) -> crate::random::Data {
        crate::random::Data::new(self.random.next(), length)
    }

    /// Counts bytes that arrived as they were sent.
    pub fn compared(&self, n: u64) {
        add(&self.soak.tally.compared, n);
    }

    /// Checks that the engine has the object, which it has created, with the labels.
    pub fn check_labels(&self, kind: Kind, name: &str) -> Done<Value> {
        let (object, labels) = self
            .soak
            .engine
            .inspect(kind, name)
            .map_err(|fail| match fail {
                // It was created, so a 404 means that it was lost.
                Fail::Declined(what) => Fail::Broken(what),
                other => other,
            })?;
        add(&self.soak.tally.checked, 1);
        if self.soak.is_labelled(&labels) {
            Ok(object)
        } else {
            wrong(format!("{kind} {name} has the labels {labels}"))
        }
    }

    /// The same for a container and its volumes.
    pub fn check_container(&self, name: &str) -> Done<Value> {
        let object = self.check_labels(Kind::Container, name)?;
        for mount in object["Mounts"].as_array().into_iter().flatten() {
            if mount["Type"] == "volume" {
                self.check_labels(Kind::Volume, mount["Name"].as_str().unwrap_or_default())?;
            }
        }
        Ok(object)
    }

    /// Creates a container for others to work with. Its stdin closes when the first client that
    /// attaches to it leaves.
    pub fn container(&self, name: &str, script: &str) -> Done {
        let body = serde_json::json!({
            "Image": "busybox", "Cmd": ["sh", "-c", script], "StopSignal": "SIGKILL",
            "OpenStdin": true, "StdinOnce": true, "Labels": {"soak.operation": self.name},
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
            "HostConfig": {"NetworkMode": "none"},
        });
        let target = format!("/containers/create?name={name}");
        self.proxy()?
            .succeed("POST", &target, Some(&body.to_string()))?;
        self.check_container(name)?;
        Ok(())
    }

    pub fn start(&self, name: &str) -> Done {
        self.proxy()?
            .succeed("POST", &format!("/containers/{name}/start"), None)?;
        Ok(())
    }

    pub fn remove(&self, kind: Kind, name: &str) -> Done {
        let target = format!("/{kind}s/{name}?force=1&v=1");
        let answer = self.proxy()?.ask("DELETE", &target, None)?;
        match answer.status() {
            404 | 409 => Ok(()),
            _ => crate::client::success(&answer).map(|_| ()),
        }
    }

    /// Sends a body in pieces of random size, with its length or in chunks.
    pub fn upload(
        &mut self,
        client: &mut Client,
        head: &str,
        body: impl Read,
        length: u64,
    ) -> Done {
        let is_chunked = self.random.one_in(2);
        let framing = if is_chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {length}")
        };
        client.send(format!("{head}{framing}\r\n\r\n"))?;
        self.send_pieces(client, body, is_chunked)?;
        if is_chunked {
            client.send("0\r\n\r\n")?;
        }
        Ok(())
    }

    pub fn send_pieces(
        &mut self,
        client: &mut Client,
        mut body: impl Read,
        is_chunked: bool,
    ) -> Done {
        let mut buf = vec![0; 1 << 17];
        loop {
            let most = match self.random.below(6) {
                0 => 1 + self.random.below(20),
                1 => 1 + self.random.below(5000),
                _ => 1 << 17,
            };
            let n = body.read(&mut buf[..usize::try_from(most).unwrap()])?;
            match n {
                0 => return Ok(()),
                _ if is_chunked => {
                    client.send(format!("{n:x}\r\n"))?;
                    client.send(&buf[..n])?;
                    client.send("\r\n")?;
                }
                _ => client.send(&buf[..n])?,
            }
        }
    }

    /// Sends a create, written in one of many ways. Returns the JSON of the response.
    pub fn create(&mut self, path: &str, body: &str) -> Done<Value> {
        let path = match self.random.below(5) {
            0 => format!("/v1.40{path}"),
            1 => format!("/%{:02x}{}", path.as_bytes()[1], &path[2..]),
            2 => format!("http://docker{path}"),
            _ => path.to_owned(),
        };
        let mut client = self.proxy()?;
        let head = format!("POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n");
        match self.random.below(4) {
            0 => self.upload(&mut client, &head, body.as_bytes(), body.len() as u64)?,
            1 => {
                for byte in request("POST", &path, Some(body)).bytes() {
                    client.send([byte])?;
                }
            }
            2 => {
                let expect = format!("{head}Expect: 100-continue\r\n");
                self.upload(&mut client, &expect, body.as_bytes(), body.len() as u64)?;
            }
            // With other requests before and after it on the connection.
            _ => {
                let ping = request("GET", "/_ping", None);
                client.send(format!(
                    "{ping}{}{ping}",
                    request("POST", &path, Some(body))
                ))?;
                client.response()?;
                let answer = client.response()?;
                // The daemon may have been away by then.
                let pong = client.response()?;
                crate::client::success(&pong)?;
                if pong.text() != "OK" {
                    return wrong(format!("behind a create came {pong:?}"));
                }
                return crate::client::success(&answer);
            }
        }
        let answer = client.response()?;
        crate::client::success(&answer).map_err(|fail| fail.during(&format!("{path} {body}")))
    }

    /// The docker command through the proxy, in a process group of its own.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(docker());
        for name in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"] {
            command.env_remove(name);
        }
        let socket = self.soak.proxy.socket().to_str().unwrap();
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{socket}"))
            .env("DOCKER_CONFIG", self.soak.dir.join("docker-config"))
            .env("DOCKER_BUILDKIT", "0")
            .process_group(0);
        command
    }

    /// Runs a command to its end, with `input` on its stdin.
    pub fn finish(&self, mut command: Command, input: impl Read + Send) -> Done<Finished> {
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Fail::Wrong(format!("{what}: {error}")))?;
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut input = input;
                // The command need not read everything.
                let _ = std::io::copy(&mut input, &mut stdin).and_then(|_| stdin.flush());
            });
            let out = scope.spawn(move || {
                let mut bytes = Vec::new();
                let _ = stdout.read_to_end(&mut bytes);
                bytes
            });
            let err = scope.spawn(move || {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            });
            let status = wait(&mut child, COMMAND);
            if status.is_none() {
                kill_group(&mut child);
            }
            let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
            match status {
                Some(is_success) => Ok(Finished {
                    is_success,
                    stdout,
                    stderr,
                }),
                None => Err(Fail::Stuck(format!(
                    "{what} takes more than {COMMAND:?}: {stderr}"
                ))),
            }
        })
    }

    /// Runs a command that should succeed. Returns its output.
    pub fn succeed(&self, command: Command, input: impl Read + Send) -> Done<Vec<u8>> {
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let finished = self.finish(command, input)?;
        let stderr = &finished.stderr;
        if finished.is_success {
            Ok(finished.stdout)
        } else if stderr.contains("Error response from daemon") {
            Err(Fail::said(500, stderr).during(&what))
        } else {
            broken(format!("{what}: {stderr}"))
        }
    }

    /// Starts a command and kills it, probably before it is done. What it leaves is checked later.
    pub fn kill_early(
        &mut self,
        mut command: Command,
        input: impl Read + Send,
        most_ms: u64,
    ) -> Done {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut stdin = child.stdin.take().unwrap();
        let delay = Duration::from_millis(self.random.below(most_ms));
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut input = input;
                let _ = std::io::copy(&mut input, &mut stdin);
            });
            wait(&mut child, delay);
            kill_group(&mut child);
        });
        add(&self.soak.tally.killed, 1);
        Ok(())
    }

    /// A path for a file or directory of the operation, which is removed with it.
    pub fn path(&self, what: &str) -> PathBuf {
        let dir = self.soak.dir.join(&self.name);
        let _ = fs::create_dir(&dir);
        dir.join(what)
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.soak.dir.join(&self.name));
    }
}

/// Waits for a child. Returns whether it succeeded, or `None` if it still runs.
fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let start = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.success());
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills a command and everything that it has started.
pub fn kill_group(child: &mut Child) {
    let pid = i32::try_from(child.id()).unwrap();
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    let _ = child.wait();
}
