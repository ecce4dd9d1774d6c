//! Every way to create something, each labelled: at least one case for each row of
//! docs/coverage.md, and one for each variant that the engine reads differently. A case creates
//! through the proxy and asks the engine for the labels. How requests may be written is left to
//! the other cases (`raw_creates`).

mod buildkit;
mod builds;
mod containers;
mod frontend;
mod images;
mod libpod;
mod llb;
mod networks;
mod policy;
mod swarm;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::case::{Case, LabelMap, labels_of};
use crate::engine::{self, Kind, engine, json_request, plain_engine};
use crate::wire::Message;

/// How many creation paths have been tried, and how many were labelled.
static TRIED: AtomicUsize = AtomicUsize::new(0);
static LABELLED: AtomicUsize = AtomicUsize::new(0);

/// One case.
struct Covered {
    row: String,
    variant: String,
    on: On,
    /// Whether it creates something that must carry the labels; others are refused, or look at
    /// what else becomes of a create.
    is_path: bool,
    run: Box<dyn Fn() + Send>,
}

/// The engines that a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Any,
    Docker,
    DockerOrPodmanFrom(u32),
    /// Docker with an API older than this 1.x.
    DockerBefore(u32),
    /// Docker, with a client that has this plugin.
    Plugin(&'static str),
    /// One that is the run's own, so that it may become a swarm.
    Swarm,
    /// The same with an API from this 1.x on.
    SwarmFrom(u32),
    Podman,
    /// Podman from this major version on.
    PodmanFrom(u32),
}

impl On {
    fn is_here(self) -> bool {
        if engine::address().is_none() {
            return false;
        }
        let engine = plain_engine();
        let minor = engine.minor();
        match self {
            On::Any => true,
            On::Podman => engine.is_podman(),
            On::DockerOrPodmanFrom(_) if !engine.is_podman() => true,
            On::PodmanFrom(first) | On::DockerOrPodmanFrom(first) => {
                engine.podman.is_some_and(|major| major >= first)
            }
            _ if engine.is_podman() => false,
            On::Docker => true,
            On::Plugin(name) => buildkit::has_plugin(name),
            On::DockerBefore(first) => minor < first,
            On::Swarm => engine::is_private(),
            On::SwarmFrom(first) => engine::is_private() && minor >= first,
        }
    }
}

/// A creation path: what comes of it must carry the labels.
fn path(row: &str, variant: &str, on: On, run: impl Fn() + Send + 'static) -> Covered {
    Covered {
        row: row.to_owned(),
        variant: variant.to_owned(),
        on,
        is_path: true,
        run: Box::new(run),
    }
}

/// Something else that must hold of an endpoint.
fn rule(row: &str, variant: &str, on: On, run: impl Fn() + Send + 'static) -> Covered {
    Covered {
        is_path: false,
        ..path(row, variant, on, run)
    }
}

pub fn trials() -> Vec<Trial> {
    let cases: Vec<Covered> = [
        buildkit::cases(),
        builds::cases(),
        containers::cases(),
        frontend::cases(),
        images::cases(),
        libpod::cases(),
        llb::cases(),
        networks::cases(),
        policy::cases(),
        swarm::cases(),
        volumes::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let paths = cases.iter().filter(|case| case.is_path);
    let covered: BTreeSet<String> = paths.map(|case| case.row.clone()).collect();
    let complete = Trial::test(
        "coverage/each labelled row of the docs has a case",
        move || {
            let rows = rows().filter(|(_, action)| is_labelled(action));
            let rows: BTreeSet<String> = rows.map(|(row, _)| row.to_owned()).collect();
            assert!(rows.len() > 20, "{rows:?}");
            assert_eq!(covered, rows);
            Ok(())
        },
    );
    let trials = cases.into_iter().map(|case| {
        let name = format!("coverage/{}/{}", case.row, case.variant);
        let is_here = case.on.is_here();
        let run = move || {
            if case.is_path {
                TRIED.fetch_add(1, Ordering::Relaxed);
            }
            (case.run)();
            if case.is_path {
                LABELLED.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!is_here)
    });
    trials.chain([complete]).collect()
}

/// Prints how much was labelled; whether that was all. Leaves the engine as it was.
#[allow(clippy::print_stdout, reason = "it belongs to the report of the run")]
pub fn conclude() -> bool {
    swarm::leave();
    let missing = ["buildx", "compose"].map(|name| (name, On::Plugin(name).is_here()));
    for (name, _) in missing
        .iter()
        .filter(|(_, is_here)| !is_here && is_docker())
    {
        println!("left out: docker {name} is not here (tests/engine.sh clients brings it)");
    }
    let (tried, labelled) = (&TRIED, &LABELLED);
    let (tried, labelled) = (
        tried.load(Ordering::Relaxed),
        labelled.load(Ordering::Relaxed),
    );
    if tried > 0 {
        println!("{labelled} of {tried} creation paths labelled");
    }
    labelled == tried
}

fn is_docker() -> bool {
    On::Docker.is_here()
}

/// The endpoints in docs/coverage.md, which a unit test keeps equal to the code, and what is done
/// with each.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../../docs/coverage.md").lines();
    lines.filter_map(|line| {
        let (row, action) = line.strip_prefix("| `")?.split_once("` | ")?;
        let is_endpoint = ["GET /", "POST /", "PUT /"]
            .iter()
            .any(|m| row.starts_with(m));
        is_endpoint.then_some((row, action.trim_end_matches(" |")))
    })
}

fn is_labelled(action: &str) -> bool {
    !action.starts_with("passes") && !action.starts_with("not labelled")
}

/// The labels of a client.
fn own(labels: &[(&str, &str)]) -> LabelMap {
    let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    labels.iter().map(pair).collect()
}

/// Removes what engines add themselves.
fn without_engine_labels(mut labels: LabelMap) -> LabelMap {
    labels.remove("com.docker.volume.anonymous");
    labels.remove("io.buildah.version");
    labels
}

impl Case {
    /// Asserts that the engine has it, with the operator's labels over `others` and nothing else.
    fn assert_labels(&self, kind: Kind, name: &str, others: &LabelMap) {
        let object = engine().inspect(kind, name);
        let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
        let labels = without_engine_labels(labels_of(kind, &object));
        assert_eq!(labels, self.labels_over(others), "{kind} {name}");
    }

    /// Sends JSON through the proxy.
    fn post(&self, target: &str, body: &Value) -> Message {
        let mut wire = self.connect();
        wire.send(json_request("POST", target, Some(&body.to_string())));
        wire.final_response()
    }

    /// The same, which must succeed; the answer.
    fn posted(&self, target: &str, body: &Value) -> Value {
        let response = self.post(target, body);
        assert!(
            matches!(response.status(), 200 | 201 | 204),
            "{target} {body}: {response:?}"
        );
        serde_json::from_slice(&response.body).unwrap_or(Value::Null)
    }

    /// Sends a body of any type through the proxy.
    fn upload(&self, target: &str, content_type: &str, body: &[u8]) -> Message {
        let mut wire = self.connect();
        wire.send(format!(
            "POST {target} HTTP/1.1\r\nHost: d\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        ));
        // One that is refused may be answered before it is read.
        wire.try_send(body);
        wire.final_response()
    }

    /// Creates a container through the proxy; its name.
    fn create(&self, what: &str, body: &Value) -> String {
        let (name, mut body) = (self.name(what), body.clone());
        body["Cmd"] = serde_json::json!(["true"]);
        self.posted(&format!("/containers/create?name={name}"), &body);
        name
    }

    /// An image with the busybox of the run and a file `/v/seed`, made past the proxy with these
    /// changes, and so without the labels.
    fn image(&self, what: &str, changes: &[&str]) -> String {
        let (container, image) = (self.container("true"), self.name(what));
        let archive = crate::raw_creates::tar("v/seed", b"seed\n");
        let mut wire = engine().connect();
        wire.send(format!(
            "PUT /containers/{container}/archive?path=/ HTTP/1.1\r\nHost: d\r\n\
             Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            archive.len()
        ));
        wire.send(archive);
        assert_eq!(wire.response().status(), 200);
        let mut target = format!("/commit?container={container}&repo={image}&tag=latest");
        for change in changes {
            target += &format!("&changes={}", encoded(change));
        }
        let (status, answer) = engine().ask("POST", &target, Some("null"));
        assert_eq!(status, 201, "{answer}");
        image
    }

    /// Asserts that a container and its volumes carry the labels, and that it has volumes at
    /// exactly these paths; their names by path.
    fn assert_container(&self, name: &str, paths: &[&str]) -> BTreeMap<String, String> {
        self.assert_labels(Kind::Container, name, &LabelMap::new());
        let volumes = volumes_of(name);
        let found: Vec<&str> = volumes.keys().map(String::as_str).collect();
        assert_eq!(found, paths, "the volumes of {name}");
        for volume in volumes.values() {
            self.assert_labels(Kind::Volume, volume, &LabelMap::new());
        }
        volumes
    }

    /// Asserts that an image, should there be one of this name, carries the labels.
    fn assert_no_unlabelled_image(&self, name: &str, response: &Message) {
        match engine().inspect(Kind::Image, name) {
            Some(object) => {
                let labels = labels_of(Kind::Image, &object);
                assert_eq!(labels, self.labels_over(&labels), "{response:?}");
            }
            // Nothing may come of it without a word.
            None => assert!(
                response.status() >= 400 || response.text().contains("error"),
                "{response:?}"
            ),
        }
    }
}

/// The names of a container's volumes by where they are mounted.
fn volumes_of(container: &str) -> BTreeMap<String, String> {
    let object = engine().inspect(Kind::Container, container);
    let object = object.unwrap_or_else(|| panic!("no container {container}"));
    let mounts = object["Mounts"].as_array().into_iter().flatten();
    // Podman leaves a slash at the end where it is.
    let text = |value: &Value| value.as_str().unwrap().trim_end_matches('/').to_owned();
    mounts
        .filter(|mount| mount["Type"] == "volume")
        .map(|mount| (text(&mount["Destination"]), text(&mount["Name"])))
        .collect()
}

/// Asserts that the proxy refused, and said why.
fn assert_refused(response: &Message, status: u16, why: &str) {
    assert_eq!(response.status(), status, "{response:?}");
    let text = response.text();
    assert!(
        text.starts_with(r#"{"message":"docker-label-proxy: "#) && text.contains(why),
        "{why:?} expected: {text}"
    );
}

/// For a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
