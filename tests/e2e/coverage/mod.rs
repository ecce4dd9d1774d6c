//! Every way to create something is labelled: at least one case for each row of docs/coverage.md,
//! and one for each variant that engines read differently. A case creates through the proxy and
//! asks the engine for the labels. How a request may be written is left to `raw_creates`.

mod buildkit;
mod builds;
mod containers;
mod frontend;
mod images;
mod libpod;
mod llb;
mod networks;
mod podman_builds;
mod policy;
mod rollback;
mod swarm;
mod tags;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Trial;
use serde_json::Value;
use support::{Kind, Message};

pub use swarm::{init_swarm_past_the_proxy, leave_swarm};

use crate::case::{Case, LabelMap, labels_of};
use crate::engine::{self, engine, json_request, plain_engine};

/// The number of creation paths that were tried.
static TRIED: AtomicUsize = AtomicUsize::new(0);
/// The number of creation paths that were labelled.
static LABELLED: AtomicUsize = AtomicUsize::new(0);

/// One case.
struct Covered {
    row: String,
    variant: String,
    on: On,
    /// Whether it is a creation path (see [`path`]) or a rule (see [`rule`]).
    is_path: bool,
    run: Box<dyn Fn() + Send>,
}

/// The engines that a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Any,
    Docker,
    DockerOrPodmanFrom(u32),
    /// Docker with an API before 1.x.
    DockerBefore(u32),
    /// Docker, if the docker command has this plugin.
    Plugin(&'static str),
    /// Docker, if only this run uses it and it may become a swarm.
    Swarm,
    /// The same, with API 1.x or later.
    SwarmFrom(u32),
    Podman,
    /// Podman of this major version or later.
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

/// A creation path: it creates something that must carry the labels.
fn path(row: &str, variant: &str, on: On, run: impl Fn() + Send + 'static) -> Covered {
    Covered {
        row: row.to_owned(),
        variant: variant.to_owned(),
        on,
        is_path: true,
        run: Box::new(run),
    }
}

/// A rule: something else that must hold for an endpoint.
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
        podman_builds::cases(),
        policy::cases(),
        rollback::cases(),
        swarm::cases(),
        tags::cases(),
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

/// Prints how many creation paths were labelled. Returns whether all were. Ends the swarm, if any.
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

/// The endpoints in docs/coverage.md, each with what the proxy does with it. A unit test keeps that
/// table equal to the code.
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

/// Labels of the client's own.
fn own(labels: &[(&str, &str)]) -> LabelMap {
    let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    labels.iter().map(pair).collect()
}

/// Removes labels that engines add themselves.
fn without_engine_labels(mut labels: LabelMap) -> LabelMap {
    labels.remove("com.docker.volume.anonymous");
    labels.remove("io.buildah.version");
    labels
}

impl Case {
    /// Asserts that the engine has the object, and that its labels are `others` overlaid with the
    /// operator's.
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

    /// Sends JSON through the proxy, which must succeed. Returns the JSON of the response.
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
        // A refusal may come before the body is read.
        wire.try_send(body);
        wire.final_response()
    }

    /// Creates a container through the proxy and returns its name.
    fn create(&self, what: &str, body: &Value) -> String {
        let (name, mut body) = (self.name(what), body.clone());
        body["Cmd"] = serde_json::json!(["true"]);
        self.posted(&format!("/containers/create?name={name}"), &body);
        name
    }

    /// Creates an image past the proxy, so without the labels: the image of the run with a file
    /// `/v/seed` and these changes. Returns its name.
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
    /// exactly these paths. Returns the names of the volumes by path.
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

    /// Asserts that the image carries the labels, or that it was not created and the response says
    /// so.
    fn assert_no_unlabelled_image(&self, name: &str, response: &Message) {
        match engine().inspect(Kind::Image, name) {
            Some(object) => {
                let labels = labels_of(Kind::Image, &object);
                assert_eq!(labels, self.labels_over(&labels), "{response:?}");
            }
            None => assert!(
                response.status() >= 400 || response.text().contains("error"),
                "{response:?}"
            ),
        }
    }
}

/// Returns the names of a container's volumes by mount point.
fn volumes_of(container: &str) -> BTreeMap<String, String> {
    let object = engine().inspect(Kind::Container, container);
    let object = object.unwrap_or_else(|| panic!("no container {container}"));
    let mounts = object["Mounts"].as_array().into_iter().flatten();
    // Podman keeps a slash at the end.
    let text = |value: &Value| value.as_str().unwrap().trim_end_matches('/').to_owned();
    mounts
        .filter(|mount| mount["Type"] == "volume")
        .map(|mount| (text(&mount["Destination"]), text(&mount["Name"])))
        .collect()
}

/// Asserts that the proxy refused the request with this status and reason.
fn assert_refused(response: &Message, status: u16, why: &str) {
    assert_eq!(response.status(), status, "{response:?}");
    let text = response.text();
    assert!(
        text.starts_with(r#"{"message":"docker-label-proxy: "#) && text.contains(why),
        "{why:?} expected: {text}"
    );
}

/// Percent-encodes a value of a query.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
