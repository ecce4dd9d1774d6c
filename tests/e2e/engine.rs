//! The engine, asked directly and never through a proxy: which objects exist, with which labels.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use support::{Kind, Message, Wire, wait_until};

/// The engine under test. There is one for each run.
pub struct Engine {
    pub socket: PathBuf,
    /// The prefix of every name that this run gives.
    pub run: String,
    /// An image with busybox.
    pub image: String,
    /// The newest version of the API that the engine has.
    pub api: String,
    /// The major version of Podman, if the engine is Podman.
    pub podman: Option<u32>,
}

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// The address of the engine, if the environment has one.
pub fn address() -> Option<String> {
    env::var("DOCKER_LABEL_PROXY_TEST_ENGINE")
        .ok()
        .filter(|address| !address.is_empty())
}

/// Whether only this run uses the engine. It may become a swarm then.
pub fn is_private() -> bool {
    env::var("DOCKER_LABEL_PROXY_TEST_ENGINE_IS_PRIVATE").is_ok_and(|value| value == "1")
}

/// The engine, with the image of the run. The first caller imports that.
pub fn engine() -> &'static Engine {
    static IS_PREPARED: OnceLock<()> = OnceLock::new();
    let engine = plain_engine();
    IS_PREPARED.get_or_init(|| engine.import(&engine.image, &image()));
    engine
}

/// The engine, without the image of the run.
pub fn plain_engine() -> &'static Engine {
    ENGINE.get_or_init(|| {
        let address = address().expect("DOCKER_LABEL_PROXY_TEST_ENGINE is set");
        let socket = address
            .strip_prefix("unix://")
            .expect("the engine's address is unix://...");
        let run = format!("dlp-e2e-{}", std::process::id());
        let mut engine = Engine {
            socket: socket.into(),
            image: format!("{run}-busybox"),
            run,
            api: String::new(),
            podman: None,
        };
        let version = engine.get("/version").expect("a version");
        engine.api = version["ApiVersion"].as_str().unwrap().to_owned();
        if version["Components"][0]["Name"] == "Podman Engine" {
            let podman = version["Version"].as_str().unwrap();
            engine.podman = Some(podman.split('.').next().unwrap().parse().unwrap());
        }
        engine
    })
}

/// Removes what this run has left. Returns what the cases should have removed.
pub fn leave() -> Vec<String> {
    let Some(engine) = ENGINE.get() else {
        return Vec::new();
    };
    let (status, _) = engine.ask("DELETE", &format!("/images/{}?force=1", engine.image), None);
    // The image is missing if no case needed it.
    assert!(
        matches!(status, 200 | 404),
        "the image of the run is removed"
    );
    engine.remove(&engine.run)
}

/// An archive of a file system with busybox.
fn image() -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg("image")
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

impl Engine {
    pub fn is_podman(&self) -> bool {
        self.podman.is_some()
    }

    /// The API is 1.x; x.
    pub fn minor(&self) -> u32 {
        self.api.split('.').nth(1).unwrap().parse().unwrap()
    }

    /// Whether images are in containerd's store rather than Docker's own.
    pub fn has_containerd_store(&self) -> bool {
        let info = self.get("/info").expect("information");
        info["DriverStatus"]
            .to_string()
            .contains("io.containerd.snapshotter")
    }

    pub fn connect(&self) -> Wire {
        Wire::new(
            std::os::unix::net::UnixStream::connect(&self.socket).expect("the engine accepts"),
        )
    }

    /// Sends a request on a connection of its own. Returns the status and the JSON of the response.
    pub fn ask(&self, method: &str, target: &str, body: Option<&str>) -> (u16, Value) {
        let mut wire = self.connect();
        wire.send(json_request(method, target, body));
        let response = wire.response();
        (
            response.status(),
            serde_json::from_slice(&response.body).unwrap_or(Value::Null),
        )
    }

    /// Returns the JSON at `target`, or `None` if the engine answers 404.
    pub fn get(&self, target: &str) -> Option<Value> {
        match self.ask("GET", target, None) {
            (200, value) => Some(value),
            (404, _) => None,
            (status, value) => panic!("GET {target}: {status} {value}"),
        }
    }

    /// What the engine lists. containerd's image store answers 404 while somebody removes an image.
    pub fn list(&self, target: &str) -> Value {
        let mut list = None;
        wait_until(&format!("{target} is answered"), || {
            list = self.get(target);
            list.is_some()
        });
        list.expect("waited for")
    }

    /// Inspects an object. Returns `None` if there is none.
    pub fn inspect(&self, kind: Kind, name: &str) -> Option<Value> {
        self.get(&match kind {
            Kind::Container | Kind::Image => format!("/{kind}s/{name}/json"),
            Kind::Network | Kind::Volume => format!("/{kind}s/{name}"),
        })
    }

    /// Imports an archive as an image.
    pub fn import(&self, name: &str, tar: &[u8]) {
        let mut wire = self.connect();
        wire.send(format!(
            "POST /images/create?fromSrc=-&repo={name}&tag=latest&changes=ENV%20PATH%3D/bin HTTP/1.1\r\n\
             Host: d\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            tar.len()
        ));
        wire.send(tar);
        let response = wire.response();
        assert!(
            response.status() == 200 && response.text().contains("sha256:"),
            "{response:?}"
        );
    }

    /// Removes all objects whose name or job label begins with `prefix`. Returns their targets.
    pub fn remove(&self, prefix: &str) -> Vec<String> {
        let mut removed = Vec::new();
        // Containers go first: they use the others.
        for kind in Kind::ALL {
            let (list, member) = match kind {
                Kind::Container => ("/containers/json?all=1", "Id"),
                Kind::Image => ("/images/json", "Id"),
                Kind::Network => ("/networks", "Id"),
                Kind::Volume => ("/volumes", "Name"),
            };
            let list = self.list(list);
            let list = if kind == Kind::Volume {
                &list["Volumes"]
            } else {
                &list
            };
            let mut list: Vec<&Value> = list.as_array().into_iter().flatten().collect();
            // Other networks use these.
            list.sort_by_key(|object| object["ConfigOnly"] == true);
            for object in list {
                let ours = |name: &&Value| {
                    // Podman puts a registry before the names of images.
                    let last = name.as_str().and_then(|name| name.rsplit('/').next());
                    last.is_some_and(|name| name.starts_with(prefix))
                };
                // An image goes by its names, if any: another case may have created the same.
                let tags = object["RepoTags"].as_array().into_iter().flatten();
                let mut targets: Vec<_> = tags.filter(ours).collect();
                let names = object["Names"].as_array().into_iter().flatten();
                let mut marks = names.chain([&object["Name"], &object["Labels"][JOB]]);
                if targets.is_empty() && marks.any(|mark| ours(&mark)) {
                    targets.push(&object[member]);
                }
                for target in targets {
                    let target = format!("/{kind}s/{}", target.as_str().expect("a name"));
                    // If this fails, the end of the run shows it.
                    self.ask("DELETE", &format!("{target}?force=1&v=1"), None);
                    removed.push(target);
                }
            }
        }
        removed
    }
}

/// The key of the label by which a case finds its objects.
pub const JOB: &str = "e2e.job";

/// A request as ordinary clients send it.
pub fn json_request(method: &str, target: &str, body: Option<&str>) -> String {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: d\r\n");
    match body {
        None if method == "POST" => format!("{head}Content-Length: 0\r\n\r\n"),
        None => format!("{head}\r\n"),
        Some(body) => {
            format!(
                "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

/// Parses the body of a response.
pub fn json(response: &Message) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("no JSON: {response:?}"))
}
