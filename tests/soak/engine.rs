//! The private engine, started, restarted and asked directly, never through the proxy. It remembers
//! when the daemon was away: what fails then is excused.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Kind, TempDir};

use crate::client::{Client, Done, broken};

/// How long a restart may still break operations after the daemon answers again.
const AFTERMATH: Duration = Duration::from_secs(3);

/// A mark in the commands of our build steps. The classic builder creates a container for each
/// step, which cannot be labelled and which the build removes.
pub const BUILD_STEP: &str = "soak-build-step";
/// The mark of the classic builder for a step that runs nothing.
const NO_COMMAND: &str = "#(nop)";

/// An object of the engine.
pub struct Object {
    pub kind: Kind,
    /// The ID or name by which it is removed.
    pub id: String,
    pub name: String,
    pub labels: Value,
    /// Whether it is the container of a build step.
    pub is_build_step: bool,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.name, self.id)
    }
}

pub struct Engine {
    dir: TempDir,
    windows: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Engine {
    pub fn start() -> Result<Engine, String> {
        let engine = Engine {
            dir: TempDir::new(),
            windows: Mutex::default(),
        };
        engine.script(&["start"], &[])?;
        Ok(engine)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the daemon with the signal and starts it again. Returns once it answers.
    pub fn restart(&self, signal: &str) -> Result<(), String> {
        self.windows.lock().unwrap().push((Instant::now(), None));
        let result = self.script(&["restart"], &[signal]);
        self.windows.lock().unwrap().last_mut().unwrap().1 = Some(Instant::now() + AFTERMATH);
        result
    }

    /// Whether the daemon was away at some time since `start`.
    pub fn was_away_since(&self, start: Instant) -> bool {
        let windows = self.windows.lock().unwrap();
        windows
            .iter()
            .any(|(_, end)| end.is_none_or(|end| end > start))
    }

    pub fn stop(&self) {
        if let Err(error) = self.script(&["stop"], &[]) {
            eprintln!("{error}");
        }
    }

    fn script(&self, before: &[&str], after: &[&str]) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine.sh");
        let mut command = Command::new("bash");
        command
            .arg(script)
            .args(before)
            .arg(self.dir.path())
            .args(after);
        // The engine would hold a pipe open, so this is a file.
        let errors = self.dir.join("errors");
        let file = std::fs::File::create(&errors).map_err(|error| error.to_string())?;
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => {
                let text = std::fs::read_to_string(errors).unwrap_or_default();
                Err(format!("engine.sh {}: {other:?} {text}", before[0]))
            }
        }
    }

    pub fn connect(&self) -> Done<Client> {
        Client::connect(&self.socket())
    }

    /// Asks the engine for JSON.
    pub fn get(&self, target: &str) -> Done<Value> {
        self.connect()?.succeed("GET", target, None)
    }

    /// Removes an object. If that fails, the next listing shows it.
    pub fn remove(&self, object: &Object) -> Done {
        let id = &object.id;
        let target = match object.kind {
            Kind::Container => format!("/containers/{id}?force=1&v=1"),
            Kind::Image => format!("/images/{id}?force=1"),
            Kind::Network => format!("/networks/{id}"),
            Kind::Volume => format!("/volumes/{id}?force=1"),
        };
        self.connect()?.ask("DELETE", &target, None).map(|_| ())
    }

    /// Lists all objects except those that every engine has, and images without a name: these are
    /// steps of builds, which cannot be labelled.
    pub fn objects(&self) -> Done<Vec<Object>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut objects = Vec::new();
        for item in list(&self.get("/containers/json?all=1")?) {
            objects.push(Object {
                kind: Kind::Container,
                id: text(&item["Id"]),
                name: text(&item["Names"][0]),
                labels: item["Labels"].clone(),
                is_build_step: [BUILD_STEP, NO_COMMAND]
                    .iter()
                    .any(|step| text(&item["Command"]).contains(step)),
            });
        }
        for item in list(&self.get("/images/json")?) {
            for name in list(&item["RepoTags"]).iter().map(text) {
                if name != "<none>:<none>" && name != "busybox:latest" {
                    let labels = item["Labels"].clone();
                    objects.push(Object {
                        kind: Kind::Image,
                        id: name.clone(),
                        name,
                        labels,
                        is_build_step: false,
                    });
                }
            }
        }
        for item in list(&self.get("/networks")?) {
            let name = text(&item["Name"]);
            if !matches!(&*name, "bridge" | "host" | "none") {
                let (id, labels) = (text(&item["Id"]), item["Labels"].clone());
                objects.push(Object {
                    kind: Kind::Network,
                    id,
                    name,
                    labels,
                    is_build_step: false,
                });
            }
        }
        for item in list(&self.get("/volumes")?["Volumes"]) {
            let (name, labels) = (text(&item["Name"]), item["Labels"].clone());
            objects.push(Object {
                kind: Kind::Volume,
                id: name.clone(),
                name,
                labels,
                is_build_step: false,
            });
        }
        Ok(objects)
    }

    /// Inspects an object. Returns its description and its labels.
    pub fn inspect(&self, kind: Kind, name: &str) -> Done<(Value, Value)> {
        let object = self.get(&format!(
            "/{kind}s/{name}{}",
            match kind {
                Kind::Container | Kind::Image => "/json",
                _ => "",
            }
        ))?;
        let labels = match kind {
            Kind::Container | Kind::Image => object["Config"]["Labels"].clone(),
            _ => object["Labels"].clone(),
        };
        if object.is_object() {
            Ok((object, labels))
        } else {
            broken(format!("{kind} {name} is not an object"))
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
