//! Containers, and what common clients create: docker, docker-compose and docker-py.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;
use support::Kind;

use super::{Covered, On, own, path, volumes_of, without_engine_labels};
use crate::case::{Case, LabelMap, labels_of};
use crate::command::succeed;
use crate::engine::{JOB, engine};

const CREATE: &str = "POST /containers/create";

pub fn cases() -> Vec<Covered> {
    let mut cases = vec![
        path(CREATE, "plain", On::Any, plain),
        path(CREATE, "labels of the image", On::Any, image_labels),
        path(CREATE, "docker create", On::Any, docker_create),
        path(CREATE, "docker run", On::Any, docker_run),
    ];
    if succeeds("docker-compose", &["version"]) {
        cases.push(path(
            CREATE,
            "docker-compose up --build",
            On::Docker,
            compose,
        ));
    }
    if let Some(python) = python() {
        cases.push(path(CREATE, "docker-py", On::Any, move || {
            docker_py(python)
        }));
    }
    cases
}

fn succeeds(command: &str, arguments: &[&str]) -> bool {
    let output = Command::new(command).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// Returns a Python that has docker-py, if there is one.
fn python() -> Option<&'static str> {
    let mut pythons = ["python3", "/usr/bin/python3"].into_iter();
    pythons.find(|python| succeeds(python, &["-c", "import docker; docker.DockerClient"]))
}

fn plain() {
    let case = Case::new();
    let labels = json!({"own": "1", JOB: "mine"});
    let container = case.create("c", &json!({"Image": engine().image, "Labels": labels}));
    case.assert_labels(Kind::Container, &container, &own(&[("own", "1")]));
}

fn image_labels() {
    let case = Case::new();
    let image = case.image(
        "i",
        &["LABEL own=1", "LABEL e2e.job=mine", "LABEL e2e.note=mine"],
    );
    let container = case.create("c", &json!({"Image": image}));
    case.assert_labels(Kind::Container, &container, &own(&[("own", "1")]));
}

fn docker_create() {
    let case = Case::new();
    let name = case.name("c");
    succeed(case.docker(&[
        "create",
        "--name",
        &name,
        "--label",
        "own=1",
        &engine().image,
        "true",
    ]));
    case.assert_labels(Kind::Container, &name, &own(&[("own", "1")]));
}

fn docker_run() {
    let case = Case::new();
    let (name, file) = (case.name("c"), case.dir.join("labels"));
    fs::write(&file, format!("own=1\n{JOB}=mine\n")).unwrap();
    let options = [
        "run",
        "--network",
        "none",
        "--name",
        &name,
        "--label-file",
        file.to_str().unwrap(),
    ];
    succeed(case.docker(&[&options[..], &[&engine().image, "true"]].concat()));
    case.assert_labels(Kind::Container, &name, &own(&[("own", "1")]));
}

fn compose() {
    let case = Case::new();
    fs::write(
        case.dir.join("Dockerfile"),
        format!(
            "FROM {}\nENV BUILT_BY={}\nVOLUME /v\n",
            engine().image,
            case.job
        ),
    )
    .unwrap();
    let image = case.name("i");
    let file = json!({
        "version": "2.4",
        "services": {"web": {
            "build": {"context": "."}, "image": image, "command": "sleep 600",
            "volumes": ["data:/data", "/anonymous"], "networks": ["net"],
        }},
        "volumes": {"data": {}},
        "networks": {"net": {"internal": true}},
    });
    fs::write(case.dir.join("docker-compose.yml"), file.to_string()).unwrap();
    let up = |arguments: &[&str]| {
        let mut command = Command::new("docker-compose");
        command
            .args(["--project-name", &case.job, "up", "--detach"])
            .args(arguments);
        case.set_host(&mut command, case.proxy.socket());
        succeed(command);
        let container = format!("{}_web_1", case.job);
        let volumes = volumes_of(&container);
        let paths: Vec<&str> = volumes.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/anonymous", "/data", "/v"]);
        let volumes = volumes.into_values().map(|volume| (Kind::Volume, volume));
        let (container, network) = ((Kind::Container, container), format!("{}_net", case.job));
        let others = [
            container,
            (Kind::Network, network),
            (Kind::Image, image.clone()),
        ];
        for (kind, name) in volumes.chain(others) {
            let object = engine().inspect(kind, &name);
            let labels = labels_of(kind, &object.unwrap_or_else(|| panic!("no {kind} {name}")));
            assert_eq!(labels, case.labels_over(&labels), "{kind} {name}");
        }
    };
    up(&["--build"]);
    // The new container takes over the anonymous volumes by name. docker-compose cannot do this
    // with newer engines.
    if On::DockerBefore(44).is_here() {
        up(&["--force-recreate"]);
    }
}

/// Creates objects of all kinds and prints a line with kind and name of each.
const SCRIPT: &str = r"
import docker, io, sys
from docker.types import Mount
image, job = sys.argv[1:]
client = docker.from_env(version='auto', timeout=60)
container = client.containers.create(
    image, 'true', name=job + '-c', labels={'own': '1'}, network_mode='none',
    volumes={job + '-v': {'bind': '/a', 'mode': 'rw'}},
    mounts=[Mount('/b', job + '-m'), Mount('/c', None)])
print('container', container.id)
for mount in container.attrs['Mounts']:
    print('volume', mount['Name'])
print('volume', client.volumes.create().name)
print('volume', client.volumes.create(job + '-w', labels={'own': '1'}).name)
print('network', client.networks.create(job + '-n', internal=True, labels={'own': '1'}).id)
print('image', container.commit(job + '-commit').id)
dockerfile = io.BytesIO(('FROM %s\nENV BUILT_BY=%s\nLABEL own=1\n' % (image, job)).encode())
print('image', client.images.build(fileobj=dockerfile, tag=job + '-build', labels={'more': '1'})[0].id)
";

fn docker_py(python: &str) {
    let case = Case::new();
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, &engine().image, &case.job]);
    case.set_host(&mut command, case.proxy.socket());
    let mut count = BTreeMap::new();
    for line in succeed(command).lines() {
        let (word, name) = line.split_once(' ').unwrap();
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == word)
            .unwrap();
        let object = engine().inspect(kind, name).unwrap();
        let mut labels = without_engine_labels(labels_of(kind, &object));
        labels.remove("own");
        labels.remove("more");
        assert_eq!(labels, case.labels_over(&LabelMap::new()), "{line}");
        *count.entry(word.to_owned()).or_insert(0) += 1;
    }
    let expected = [
        ("container", 1),
        ("image", 2),
        ("network", 1),
        ("volume", 5),
    ];
    let expected = expected.map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(count, BTreeMap::from(expected));
}
