//! Creates by the clients that people use. The object has the operator's labels and the client's
//! own, and is otherwise the same as without the proxy.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Kind, docker};

use crate::case::{Case, NOTE, labels_of};
use crate::command::succeed;
use crate::engine::{JOB, engine};
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test("create/container/docker run", || {
            compare(
                Kind::Container,
                &[],
                &container_arguments(&["run", "--detach"]),
            );
        }),
        test("create/container/docker create", || {
            compare(
                Kind::Container,
                &[],
                &container_arguments(&["create", "-it", "--rm"]),
            );
        }),
        test("create/network/docker network create", || {
            let arguments = [
                "network",
                "create",
                "--internal",
                "--attachable",
                "--opt",
                "a=b",
                LABELS,
                NAME,
            ];
            compare(Kind::Network, &[], &arguments);
        }),
        test("create/volume/docker volume create, named", || {
            let options = [
                "--opt",
                "type=tmpfs",
                "--opt",
                "device=tmpfs",
                "--opt",
                "o=size=1m",
            ];
            let arguments = [&["volume", "create", LABELS][..], &options, &[NAME]].concat();
            compare(Kind::Volume, &[], &arguments);
        }),
        test("create/volume/docker volume create, anonymous", || {
            compare(Kind::Volume, &[], &["volume", "create", LABELS]);
        }),
        test("create/image/docker build, classic", || {
            compare(Kind::Image, &[("DOCKER_BUILDKIT", "0")], BUILD);
        }),
    ];
    // Newer ones reach BuildKit over gRPC.
    if ["Docker version 19.", "Docker version 20."]
        .iter()
        .any(|old| docker_version().starts_with(old))
    {
        tests.push(test(
            "create/image/docker build, BuildKit by POST /build",
            || {
                compare(Kind::Image, &[("DOCKER_BUILDKIT", "1")], BUILD);
            },
        ));
    }
    if Command::new("docker-compose")
        .arg("version")
        .output()
        .is_ok()
    {
        tests.push(test("create/everything/docker-compose up", compose_up));
    }
    tests
}

/// Placeholders for the name, the labels and the image in the arguments of a command.
const NAME: &str = "{name}";
const LABELS: &str = "{labels}";
const IMAGE: &str = "{image}";

const BUILD: &[&str] = &[
    "build",
    "--quiet",
    "--force-rm",
    "--tag",
    NAME,
    LABELS,
    "context",
];

fn container_arguments<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let options = [
        "--name",
        NAME,
        LABELS,
        "--env",
        "A=b c",
        "--memory",
        "64m",
        "--add-host",
        "h:192.0.2.1",
        "--tmpfs",
        "/t",
        "--ulimit",
        "nofile=100:200",
        "--restart",
        "no",
        "--network",
        "none",
        "--log-opt",
        "max-size=10m",
        "--user",
        "0:0",
        "--workdir",
        "/tmp",
    ];
    [command, &options, &[IMAGE, "sleep", "600"]].concat()
}

fn docker_version() -> String {
    // This needs no daemon.
    let output = Command::new(docker()).arg("--version").output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Runs a docker command past the proxy and through it, and compares the objects.
fn compare(kind: Kind, environment: &[(&str, &str)], arguments: &[&str]) {
    let case = Case::new();
    let context = case.dir.join("context");
    fs::create_dir(&context).unwrap();
    // A step of its own, so that no other case finds it in the build cache and removes it.
    let dockerfile = format!(
        "FROM {}\nRUN echo {} >/built\nLABEL own=less file=its\n",
        engine().image,
        case.job
    );
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();

    // One label of the client's own, and one with the operator's key. By the latter the case finds
    // and removes even objects without a name and without the operator's labels.
    let mine = format!("{JOB}={}-mine", case.job);
    let client_labels = ["--label", "own=its \"own\"", "--label", &mine];
    let create = |socket: &Path, name: &str| {
        let mut words = Vec::new();
        for &argument in arguments {
            match argument {
                NAME => words.push(name),
                IMAGE => words.push(&engine().image),
                LABELS => words.extend(client_labels),
                other => words.push(other),
            }
        }
        let mut command = case.docker_at(socket, &words);
        command.envs(environment.iter().copied());
        let printed = succeed(command);
        let name = if arguments.contains(&NAME) {
            name
        } else {
            &printed
        };
        let object = engine()
            .inspect(kind, name)
            .unwrap_or_else(|| panic!("no {kind} {name}"));
        (labels_of(kind, &object), comparable(kind, &object, name))
    };

    let (labels, plain) = create(&engine().socket, &case.name("plain"));
    let (forced, proxied) = create(case.proxy.socket(), &case.name("proxied"));
    assert_eq!(labels["own"], "its \"own\"", "the comparison's labels");
    assert_eq!(forced, case.labels_over(&labels));
    assert_eq!(proxied, plain);
}

/// Returns an object without its labels and without what always differs from one to the next.
pub fn comparable(kind: Kind, object: &Value, name: &str) -> Value {
    let mut text = object.to_string();
    // The ID of an image follows from its content, others are random.
    if let Some(id) = object["Id"].as_str() {
        text = text.replace(id, "ID").replace(&id[..12], "ID");
    }
    let mut object: Value = serde_json::from_str(&text.replace(name, "NAME")).unwrap();
    let differing: &[&str] = match kind {
        Kind::Container => &[
            "/Config/Labels",
            "/Created",
            "/GraphDriver",
            "/NetworkSettings",
            "/State/Pid",
            "/State/StartedAt",
        ],
        // Container and parent depend on the steps of the build, one of which sets the labels.
        Kind::Image => &[
            "/Config/Labels",
            "/Config/Image",
            "/Created",
            "/GraphDriver",
            "/Parent",
            "/Container",
            "/ContainerConfig",
        ],
        Kind::Network => &["/Labels", "/Created", "/IPAM/Config"],
        Kind::Volume => &["/Labels", "/CreatedAt"],
    };
    for path in differing {
        if let Some(value) = object.pointer_mut(path) {
            *value = json!("differs");
        }
    }
    if kind == Kind::Image {
        object["Metadata"] = json!("differs");
    }
    object
}

fn compose_up() {
    let case = Case::new();
    let file = json!({
        "version": "2.4",
        "services": {"web": {
            "image": engine().image, "command": "sleep 600", "labels": {"own": "its", JOB: "mine"},
            "volumes": ["data:/data"], "networks": ["net"],
        }},
        "volumes": {"data": {}},
        "networks": {"net": {"internal": true}},
    });
    fs::write(case.dir.join("docker-compose.yml"), file.to_string()).unwrap();
    let mut command = Command::new("docker-compose");
    command.args(["--project-name", &case.job, "up", "--detach"]);
    case.set_host(&mut command, case.proxy.socket());
    succeed(command);
    let (container, network, volume) = (
        format!("{}_web_1", case.job),
        format!("{}_net", case.job),
        format!("{}_data", case.job),
    );
    for (kind, name) in [
        (Kind::Container, container),
        (Kind::Network, network),
        (Kind::Volume, volume),
    ] {
        let object = engine()
            .inspect(kind, &name)
            .unwrap_or_else(|| panic!("no {kind} {name}"));
        let labels = labels_of(kind, &object);
        assert_eq!(labels["com.docker.compose.project"], case.job);
        assert_eq!(labels, case.labels_over(&labels), "{kind}");
        assert!(labels.contains_key(NOTE), "{kind}");
        if kind == Kind::Container {
            assert_eq!(labels["own"], "its");
        }
    }
}
