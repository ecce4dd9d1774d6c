//! What a case works with: a proxy with two labels, names of its own, and a view of the engine
//! behind the proxy. Dropping the case removes what it created.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use support::{Kind, Proxy, TempDir, Wire, docker};

use crate::PROXY;
use crate::engine::{Engine, JOB, engine, json, json_request};
use crate::raw_creates::tar;

/// The key of the second label.
pub const NOTE: &str = "e2e.note";
/// The value of the second label: text that a careless path would mangle.
pub const NOTE_VALUE: &str = r#"say "hi" 'there' \ \\n $HOME ${PATH} a=b  c {{.Name}} {{ }} <&> %41+%zz `id` # ünïcödé 日本 🐳"#;

/// Label keys and values.
pub type LabelMap = BTreeMap<String, String>;

/// One case: its proxy and its names.
pub struct Case {
    /// The prefix of all names of the case, and the value of its job label.
    pub job: String,
    pub proxy: Proxy,
    pub dir: TempDir,
    engine: &'static Engine,
}

impl Case {
    pub fn new() -> Case {
        Case::with(&engine().socket, &[])
    }

    /// A case whose proxy has these arguments besides the labels. `daemon` is the socket behind it:
    /// the engine's, or one that leads there.
    pub fn with(daemon: &Path, arguments: &[&str]) -> Case {
        let engine = engine();
        // The letter at the end keeps one job from being the prefix of another.
        let job = format!("{}-{}x", engine.run, unique());
        let labels = [format!("{JOB}={job}"), format!("{NOTE}={NOTE_VALUE}")];
        let labels = ["--label", &labels[0], "--label", &labels[1]];
        let proxy = PROXY.start(daemon, &[&labels, arguments].concat());
        Case {
            job,
            proxy,
            dir: TempDir::new(),
            engine,
        }
    }

    /// A name of this case.
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.job)
    }

    /// A connection to the proxy.
    pub fn connect(&self) -> Wire {
        self.proxy.client()
    }

    /// The docker command through the proxy.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        self.docker_at(self.proxy.socket(), arguments)
    }

    /// The docker command straight to the engine.
    pub fn docker_past_the_proxy(&self, arguments: &[&str]) -> Command {
        self.docker_at(&self.engine.socket, arguments)
    }

    pub fn docker_at(&self, socket: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(docker());
        command.args(arguments);
        self.set_host(&mut command, socket);
        command
    }

    /// Makes a command that reads docker's environment use `socket` and no settings of the user.
    pub fn set_host(&self, command: &mut Command, socket: &Path) {
        for name in [
            "DOCKER_CONTEXT",
            "DOCKER_TLS_VERIFY",
            "DOCKER_API_VERSION",
            "DOCKER_BUILDKIT",
        ] {
            command.env_remove(name);
        }
        command.env(
            "DOCKER_HOST",
            format!("unix://{}", socket.to_str().unwrap()),
        );
        command.env("DOCKER_CONFIG", self.dir.join("docker-config"));
        command.current_dir(self.dir.path());
    }

    /// Creates a container past the proxy and returns its name. Once started it runs `script`. Its
    /// stdin closes when the first client that attaches to it leaves.
    pub fn container(&self, script: &str) -> String {
        let name = self.name(&unique().to_string());
        let body = serde_json::json!({
            "Image": self.engine.image, "Cmd": ["sh", "-c", script],
            "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
            "HostConfig": {"NetworkMode": "none"},
        });
        let target = format!("/containers/create?name={name}");
        let (status, answer) = self.engine.ask("POST", &target, Some(&body.to_string()));
        assert_eq!(status, 201, "{answer}");
        name
    }

    /// Like [`Case::container`], and starts it.
    pub fn running_container(&self, script: &str) -> String {
        let name = self.container(script);
        self.start(&name);
        name
    }

    /// Starts a container past the proxy.
    pub fn start(&self, name: &str) {
        let (status, answer) = self
            .engine
            .ask("POST", &format!("/containers/{name}/start"), None);
        assert_eq!(status, 204, "{answer}");
    }

    /// Ends the [`UNTIL_RELEASED`] of a container, past the proxy.
    pub fn release(&self, name: &str) {
        // An exec would often be killed by the end of the container that it causes.
        let (archive, mut wire) = (tar("released", b""), self.engine.connect());
        wire.send(format!(
            "PUT /containers/{name}/archive?path=/ HTTP/1.1\r\nHost: d\r\n\
             Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            archive.len()
        ));
        wire.send(archive);
        let response = wire.response();
        assert_eq!(response.status(), 200, "{response:?}");
    }

    /// Returns `others`, the labels that an object has without the proxy, overlaid with the
    /// operator's.
    pub fn labels_over(&self, others: &LabelMap) -> LabelMap {
        let mut labels = others.clone();
        labels.insert(JOB.to_owned(), self.job.clone());
        labels.insert(NOTE.to_owned(), NOTE_VALUE.to_owned());
        labels
    }

    /// Asserts that the engine has the object, with the operator's labels only.
    pub fn assert_labelled(&self, kind: Kind, name: &str) {
        let object = self
            .engine
            .inspect(kind, name)
            .unwrap_or_else(|| panic!("no {kind} {name}"));
        assert_eq!(labels_of(kind, &object), self.labels_over(&LabelMap::new()));
    }

    /// Asserts that a create on this connection is labelled, whatever came before it.
    pub fn assert_next_create_is_labelled(&self, wire: &mut Wire) {
        let name = self.name("after");
        let body = serde_json::json!({ "Name": name }).to_string();
        wire.send(json_request("POST", "/volumes/create", Some(&body)));
        let response = wire.response();
        assert_eq!(response.status(), 201, "{response:?}");
        assert_eq!(json(&response)["Name"], *name);
        self.assert_labelled(Kind::Volume, &name);
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.engine.remove(&self.job);
    }
}

/// Returns a new number each time.
fn unique() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A line for a container's script that waits for [`Case::release`].
pub const UNTIL_RELEASED: &str = "until [ -e /released ]; do sleep 0.02; done";

/// Returns the labels of an inspected object.
pub fn labels_of(kind: Kind, object: &Value) -> LabelMap {
    let labels = match kind {
        Kind::Container | Kind::Image => &object["Config"]["Labels"],
        Kind::Network | Kind::Volume => &object["Labels"],
    };
    let labels = labels.as_object().into_iter().flatten();
    labels
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}
