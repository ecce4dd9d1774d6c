//! Objects that are created by Podman's own API.

use serde_json::{Value, json};
use support::Kind;

use super::{Covered, On, builds, encoded, own, path};
use crate::case::{Case, LabelMap, labels_of};
use crate::engine::{JOB, engine, json_request};
use crate::raw_creates::tar;

const CONTAINER: &str = "POST /libpod/containers/create";
const POD: &str = "POST /libpod/pods/create";
const BUILD: &str = "POST /libpod/build";
const COMMIT: &str = "POST /libpod/commit";
const IMPORT: &str = "POST /libpod/images/import";
const SECRET: &str = "POST /libpod/secrets/create";

pub fn cases() -> Vec<Covered> {
    let on = On::Podman;
    vec![
        path(CONTAINER, "plain", on, || container(&json!({}), &[])),
        path(CONTAINER, "volumes", on, container_volumes),
        path(CONTAINER, "mounts", on, container_mounts),
        path(
            CONTAINER,
            "VOLUMEs of the image",
            on,
            container_image_volumes,
        ),
        path(POD, "without an infra container", on, pod),
        path(POD, "with an infra container", on, pod_with_infra),
        path("POST /libpod/networks/create", "plain", on, network),
        path("POST /libpod/volumes/create", "plain", on, volume),
        path(
            "POST /libpod/volumes/create",
            "anonymous",
            on,
            anonymous_volume,
        ),
        path(SECRET, "plain", on, || secret("")),
        path(SECRET, "labels", on, || {
            secret("&labels={%22own%22:%221%22,%22e2e.job%22:%22mine%22}")
        }),
        path("POST /secrets/create", "on Podman", on, compat_secret),
        path(IMPORT, "plain", on, || import("")),
        path(IMPORT, "changes", on, || {
            import("&changes=LABEL+own%3D1&changes=LABEL+e2e.job%3Dmine")
        }),
        path(COMMIT, "plain", on, || commit("")),
        path(COMMIT, "changes", on, || {
            commit("&changes=LABEL+own%3D1&changes=LABEL+e2e.job%3Dmine")
        }),
        path(BUILD, "plain", on, || build("", &own(&[]))),
        path(BUILD, "labels", on, || {
            build("&labels={%22own%22:%221%22}", &own(&[("own", "1")]))
        }),
        path(BUILD, "labels as a list", on, || {
            build(
                "&labels=[%22own%3D1%22,%22e2e.job%3Dmine%22]",
                &own(&[("own", "1")]),
            );
        }),
        path(BUILD, "unsetlabel", on, || {
            build("&unsetlabel=e2e.job&UNSETLABEL=e2e.note", &own(&[]))
        }),
        path(
            "POST /libpod/local/build",
            "plain",
            On::PodmanFrom(5),
            local_build,
        ),
    ]
}

/// The prefix of this API. Its paths need a version.
const LIBPOD: &str = "/v4.0.0/libpod";

fn container(members: &Value, paths: &[&str]) {
    let case = Case::new();
    let name = container_of(&case, &engine().image, members);
    case.assert_container_labels(&name, paths);
}

impl Case {
    /// Like [`Case::assert_container`], for a container with a label `own`.
    fn assert_container_labels(&self, name: &str, paths: &[&str]) -> LabelMap {
        self.assert_labels(Kind::Container, name, &own(&[("own", "1")]));
        let volumes = super::volumes_of(name);
        let found: Vec<&str> = volumes.keys().map(String::as_str).collect();
        assert_eq!(found, paths);
        for volume in volumes.values() {
            self.assert_labels(Kind::Volume, volume, &LabelMap::new());
        }
        volumes
    }
}

fn container_of(case: &Case, image: &str, members: &Value) -> String {
    let name = case.name("c");
    let mut body = json!({
        "name": name, "image": image, "command": ["true"], "netns": {"nsmode": "none"},
        "labels": {"own": "1", JOB: "mine"},
    });
    for (member, value) in members.as_object().unwrap() {
        body[member] = value.clone();
    }
    case.posted(&format!("{LIBPOD}/containers/create"), &body);
    name
}

fn container_volumes() {
    let case = Case::new();
    let volumes = json!([
        {"Name": case.name("a"), "Dest": "/a"},
        {"Name": case.name("a"), "Dest": "/a2", "Options": ["ro"]},
        {"Name": "", "Dest": "/b"},
        {"Dest": "/c"},
    ]);
    let name = container_of(&case, &engine().image, &json!({"volumes": volumes}));
    let volumes = case.assert_container_labels(&name, &["/a", "/a2", "/b", "/c"]);
    assert_eq!(volumes["/a"], case.name("a"));
}

fn container_mounts() {
    container(
        &json!({"mounts": [
            {"Type": "bind", "Source": "/tmp", "Destination": "/host"},
            {"Type": "tmpfs", "Destination": "/t"},
        ]}),
        &[],
    );
}

fn container_image_volumes() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v", "VOLUME /w"]);
    let volumes = json!([{"Name": case.name("w"), "Dest": "/w"}]);
    let name = container_of(&case, &image, &json!({"volumes": volumes}));
    let volumes = case.assert_container_labels(&name, &["/v", "/w"]);
    assert_eq!(volumes["/w"], case.name("w"));
}

/// A pod. Dropping it removes it with its containers, before the case removes the rest.
struct Pod(String);

impl Drop for Pod {
    fn drop(&mut self) {
        engine().ask(
            "DELETE",
            &format!("{LIBPOD}/pods/{}?force=true", self.0),
            None,
        );
    }
}

fn pod_of(case: &Case, mut body: Value) -> (Pod, Value) {
    let name = case.name("p");
    body["name"] = json!(name);
    body["labels"] = json!({"own": "1", JOB: "mine"});
    case.posted(&format!("{LIBPOD}/pods/create"), &body);
    let pod = engine().get(&format!("{LIBPOD}/pods/{name}/json"));
    let pod = pod.unwrap_or_else(|| panic!("no pod {name}"));
    let expected = case.labels_over(&own(&[("own", "1")]));
    assert_eq!(labels_of(Kind::Volume, &pod), expected);
    (Pod(name), pod)
}

fn pod() {
    let case = Case::new();
    let (_pod, _) = pod_of(&case, json!({"no_infra": true}));
}

fn pod_with_infra() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v"]);
    let infra = json!({
        "infra_image": image, "infra_command": ["sleep", "600"], "netns": {"nsmode": "none"},
        "volumes": [{"Name": case.name("a"), "Dest": "/a"}],
    });
    let (_pod, pod) = pod_of(&case, infra);
    let infra = pod["InfraContainerID"].as_str().unwrap();
    let object = engine().inspect(Kind::Container, infra).unwrap();
    let labels = labels_of(Kind::Container, &object);
    assert_eq!(labels, case.labels_over(&labels), "the infra container");
    let volumes = super::volumes_of(infra);
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["/a", "/v"]);
    for volume in volumes.values() {
        case.assert_labels(Kind::Volume, volume, &LabelMap::new());
    }
}

fn network() {
    let case = Case::new();
    let name = case.name("n");
    let labels = json!({"own": "1", JOB: "mine"});
    let body = json!({"name": name, "internal": true, "labels": labels});
    case.posted(&format!("{LIBPOD}/networks/create"), &body);
    case.assert_labels(Kind::Network, &name, &own(&[("own", "1")]));
}

fn volume() {
    let case = Case::new();
    for (i, members) in [
        json!({"Labels": {"own": "1", JOB: "mine"}}),
        json!({"Label": {"own": "1", JOB: "mine"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let name = case.name(&format!("v{i}"));
        let mut body = members;
        body["Name"] = json!(name);
        case.posted(&format!("{LIBPOD}/volumes/create"), &body);
        case.assert_labels(Kind::Volume, &name, &own(&[("own", "1")]));
    }
}

fn anonymous_volume() {
    let case = Case::new();
    let volume = case.posted(&format!("{LIBPOD}/volumes/create"), &json!({}));
    case.assert_labels(
        Kind::Volume,
        volume["Name"].as_str().unwrap(),
        &LabelMap::new(),
    );
}

/// A secret. Dropping it removes it.
struct Secret(String);

impl Secret {
    fn assert_labels(&self, labels: &LabelMap) {
        let secret = engine()
            .get(&format!("{LIBPOD}/secrets/{}/json", self.0))
            .unwrap();
        assert_eq!(&labels_of(Kind::Volume, &secret["Spec"]), labels);
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        engine().ask("DELETE", &format!("{LIBPOD}/secrets/{}", self.0), None);
    }
}

fn secret(parameters: &str) {
    let case = Case::new();
    let secret = Secret(case.name("s"));
    let target = format!("{LIBPOD}/secrets/create?name={}{parameters}", secret.0);
    let response = case.upload(&target, "application/octet-stream", b"abc");
    assert_eq!(response.status(), 200, "{response:?}");
    let own = if parameters.is_empty() {
        own(&[])
    } else {
        own(&[("own", "1")])
    };
    secret.assert_labels(&case.labels_over(&own));
}

fn compat_secret() {
    let case = Case::new();
    let secret = Secret(case.name("s"));
    let labels = json!({"own": "1", JOB: "mine"});
    case.posted(
        "/secrets/create",
        &json!({"Name": secret.0, "Data": "YWJj", "Labels": labels}),
    );
    secret.assert_labels(&case.labels_over(&own(&[("own", "1")])));
}

/// The client's label that `changes` sets.
fn own_of(changes: &str) -> LabelMap {
    if changes.is_empty() {
        own(&[])
    } else {
        own(&[("own", "1")])
    }
}

fn import(changes: &str) {
    let case = Case::new();
    let image = case.name("i");
    let reference = encoded(&format!("docker.io/library/{image}:latest"));
    let target = format!("{LIBPOD}/images/import?reference={reference}{changes}");
    let archive = tar("file", case.job.as_bytes());
    let response = case.upload(&target, "application/x-tar", &archive);
    assert_eq!(response.status(), 200, "{response:?}");
    case.assert_labels(Kind::Image, &image, &own_of(changes));
}

fn commit(changes: &str) {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let repo = encoded(&format!("docker.io/library/{image}"));
    let target = format!("{LIBPOD}/commit?container={container}&repo={repo}&tag=latest{changes}");
    let mut wire = case.connect();
    wire.send(json_request("POST", &target, None));
    let response = wire.final_response();
    assert!(matches!(response.status(), 200 | 201), "{response:?}");
    case.assert_labels(Kind::Image, &image, &own_of(changes));
}

fn build(parameters: &str, labels: &LabelMap) {
    builds::build_at(&format!("{LIBPOD}/build"), parameters, labels);
}

fn local_build() {
    let case = Case::new();
    let (image, context) = (case.name("i"), case.dir.join("context"));
    std::fs::create_dir(&context).unwrap();
    let dockerfile = format!("FROM {}\nENV BUILT_BY={}\n", engine().image, case.job);
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let directory = encoded(context.to_str().unwrap());
    let target = format!("{LIBPOD}/local/build?t={image}&localcontextdir={directory}");
    let response = case.upload(&target, "application/json", b"");
    assert_eq!(response.status(), 200, "{response:?}");
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}
