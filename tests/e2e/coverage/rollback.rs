//! What the daemon makes of a service without being told in the request: specifications that it
//! goes back to, and tasks that start later.

use serde_json::{Value, json};
use support::{Kind, Message, wait_until};

use super::swarm::{Member, docker_service, object, spec_labels, task};
use super::{Covered, On, assert_refused, own, path, rule, volumes_of};
use crate::case::{Case, LabelMap, labels_of};
use crate::command::{finish, succeed};
use crate::engine::{JOB, engine};

const SERVICE: &str = "POST /services/create";
const UPDATE: &str = "POST /services/*/update";

pub fn cases() -> Vec<Covered> {
    vec![
        path(UPDATE, "rollback=previous", On::Swarm, rollback),
        path(UPDATE, "rolled back by the daemon", On::Swarm, fails),
        rule(
            UPDATE,
            "no rollback to what was made past the proxy",
            On::Swarm,
            rollback_past_the_proxy,
        ),
        rule(
            UPDATE,
            "no rollback to a specification that lacks a label",
            On::Swarm,
            rollback_to_less,
        ),
        rule(
            UPDATE,
            "no update that may fail back to what was made past the proxy",
            On::Swarm,
            may_fail_back,
        ),
        rule(
            SERVICE,
            "a tag that moves later brings an unlabelled volume (a window of the docs)",
            On::Swarm,
            moved_tag,
        ),
    ]
}

/// A service without tasks that is made past the proxy.
fn service_past_the_proxy(case: &Case) -> String {
    let name = case.name("s");
    let options = ["--detach", "--no-resolve-image", "--replicas", "0"];
    let create = [
        "service",
        "create",
        "--name",
        &name,
        "--mount",
        "type=volume,dst=/v",
    ];
    let image = [&*engine().image, "sleep", "600"];
    succeed(case.docker_past_the_proxy(&[&create[..], &options, &image].concat()));
    name
}

const DOCKER_UPDATE: &[&str] = &["service", "update", "--detach", "--no-resolve-image"];

fn version(service: &Value) -> u64 {
    service["Version"]["Index"].as_u64().unwrap()
}

/// Updates a service to a specification past the proxy.
fn update_past_the_proxy(name: &str, spec: &Value) {
    let target = format!(
        "/services/{name}/update?version={}",
        version(&object("service", name))
    );
    let (status, answer) = engine().ask("POST", &target, Some(&spec.to_string()));
    assert_eq!(status, 200, "{answer}");
}

/// Updates a service to a specification through the proxy.
fn update(case: &Case, name: &str, spec: &Value) {
    let version = version(&object("service", name));
    case.posted(&format!("/services/{name}/update?version={version}"), spec);
}

/// Rolls a service back through the proxy.
fn roll_back(case: &Case, name: &str, version: u64) -> Message {
    let target = format!("/services/{name}/update?version={version}&rollback=previous");
    case.post(&target, &object("service", name)["Spec"])
}

/// Asserts that a service carries the labels in all places.
fn assert_service(case: &Case, name: &str) {
    let service = object("service", name);
    let labels = spec_labels(&service);
    assert_eq!(labels, case.labels_over(&labels), "{service}");
    let container = &service["Spec"]["TaskTemplate"]["ContainerSpec"];
    let labels = labels_of(Kind::Volume, container);
    assert_eq!(labels, case.labels_over(&labels), "{service}");
    for mount in container["Mounts"].as_array().into_iter().flatten() {
        let labels = labels_of(Kind::Volume, &mount["VolumeOptions"]);
        assert_eq!(labels.get(JOB), Some(&case.job), "{service}");
    }
}

fn rollback() {
    let member = Member::new();
    let case = &member.case;
    let options = [
        "--replicas",
        "0",
        "--label",
        "own=1",
        "--mount",
        "type=volume,dst=/v",
    ];
    let service = docker_service(case, &options, &engine().image);
    let change = [
        "--label-rm",
        "own",
        "--mount-rm",
        "/v",
        "--update-failure-action",
        "rollback",
    ];
    succeed(case.docker(&[DOCKER_UPDATE, &change, &[&service]].concat()));
    assert_service(case, &service);
    for labels in [own(&[("own", "1")]), LabelMap::new()] {
        succeed(case.docker(&["service", "rollback", "--detach", &service]));
        assert_eq!(
            spec_labels(&object("service", &service)),
            case.labels_over(&labels)
        );
        assert_service(case, &service);
    }
    // The daemon says itself that a version is old.
    let old = version(&object("service", &service)) - 1;
    let response = roll_back(case, &service, old);
    assert!(response.text().contains("out of sequence"), "{response:?}");
    let new = version(&object("service", &service)) + 1;
    assert_refused(&roll_back(case, &service, new), 400, "inspect it again");
}

fn fails() {
    let member = Member::new();
    let case = &member.case;
    let options = ["--update-failure-action", "rollback", "--label", "own=1"];
    let service = docker_service(case, &options, &engine().image);
    task(&service, &[]);
    let change = ["--label-rm", "own", "--args", "false"];
    succeed(case.docker(&[DOCKER_UPDATE, &change, &[&service]].concat()));
    wait_until("the daemon rolls back", || {
        let state = &object("service", &service)["UpdateStatus"]["State"];
        state
            .as_str()
            .is_some_and(|state| state.starts_with("rollback"))
    });
    let labels = case.labels_over(&own(&[("own", "1")]));
    assert_eq!(spec_labels(&object("service", &service)), labels);
    assert_service(case, &service);
}

fn rollback_past_the_proxy() {
    let member = Member::new();
    let case = &member.case;
    let service = service_past_the_proxy(case);
    succeed(case.docker(&[DOCKER_UPDATE, &["--env-add", "A=1", &service]].concat()));
    let ended = finish(case.docker(&["service", "rollback", "--detach", &service]));
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("update it through the proxy instead"),
        "{}",
        ended.stderr
    );
    let found = object("service", &service);
    let id = found["ID"].as_str().unwrap();
    let at = version(&found);
    for (name, query) in [
        (&*service, format!("version={at}&rollback=previous")),
        (id, format!("version={at}&rollback=previous")),
        (&id[..20], format!("version=0{at}&r%6Fllback=previous")),
        (id, format!("version={at}&rollback=&rollback=previous")),
        (id, format!("version={at}&rollback=previous&rollback=none")),
        (id, format!("version={at}&Rollback=previous")),
        (
            id,
            format!("version={}&version={at}&rollback=previous", at - 1),
        ),
        (id, format!("version={at}&x;rollback=previous")),
    ] {
        case.post(&format!("/services/{name}/update?{query}"), &found["Spec"]);
        assert_service(case, &service);
    }
    let at = version(&object("service", &service));
    update(case, &service, &object("service", &service)["Spec"]);
    assert_eq!(roll_back(case, &service, at + 1000).status(), 400);
    let at = version(&object("service", &service));
    assert_eq!(roll_back(case, &service, at).status(), 200);
    assert_service(case, &service);
}

fn rollback_to_less() {
    let member = Member::new();
    let case = &member.case;
    let service = service_past_the_proxy(case);
    update(case, &service, &object("service", &service)["Spec"]);
    let good = object("service", &service)["Spec"].take();
    let container = "/TaskTemplate/ContainerSpec";
    for (pointer, value, lack) in [
        ("/Labels".to_owned(), json!({}), "the label"),
        (
            format!("{container}/Labels"),
            Value::Null,
            "of its containers",
        ),
        (
            format!("{container}/Labels/{JOB}"),
            json!("x"),
            "of its containers",
        ),
        (
            format!("{container}/Mounts/0/VolumeOptions"),
            Value::Null,
            "of the volume at",
        ),
        (
            format!("{container}/Mounts/0/VolumeOptions/Labels/{JOB}"),
            json!("x"),
            "of the volume at",
        ),
    ] {
        let mut less = good.clone();
        *less.pointer_mut(&pointer).unwrap() = value;
        update_past_the_proxy(&service, &less);
        update(case, &service, &good);
        let at = version(&object("service", &service));
        let refused = roll_back(case, &service, at);
        assert_refused(&refused, 403, "cannot be rolled back");
        assert!(
            refused.text().contains(lack),
            "{lack:?} expected: {refused:?}"
        );
        assert_service(case, &service);
    }
    // So does a VOLUME that an image would bring.
    let image = case.image("i", &["VOLUME /w"]);
    let mut less = good.clone();
    *less.pointer_mut(&format!("{container}/Image")).unwrap() = json!(image);
    update_past_the_proxy(&service, &less);
    update(case, &service, &good);
    let at = version(&object("service", &service));
    assert_refused(&roll_back(case, &service, at), 403, "/w");
}

fn may_fail_back() {
    let member = Member::new();
    let case = &member.case;
    let service = service_past_the_proxy(case);
    let to_roll_back = ["--update-failure-action", "rollback"];
    let ended = finish(case.docker(&[DOCKER_UPDATE, &to_roll_back, &[&service]].concat()));
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("another failure action first"),
        "{}",
        ended.stderr
    );
    let found = object("service", &service);
    assert!(!spec_labels(&found).contains_key(JOB), "{found}");
    // In every spelling that the daemon takes.
    let mut spec = found["Spec"].clone();
    spec["updateconfig"] = json!({"failureAction": "rollback"});
    spec.as_object_mut().unwrap().remove("UpdateConfig");
    let target = format!("/services/{service}/update?version={}", version(&found));
    assert_refused(
        &case.post(&target, &spec),
        403,
        "another failure action first",
    );
    for change in [&["--update-failure-action", "pause"][..], &to_roll_back] {
        succeed(case.docker(&[DOCKER_UPDATE, change, &[&service]].concat()));
        assert_service(case, &service);
    }
}

/// A task that starts later has the image to which the tag points then. What docs/coverage.md says
/// of it holds: the volume is there and has no labels, until the service is updated.
fn moved_tag() {
    let member = Member::new();
    let case = &member.case;
    let image = case.image("i", &[]);
    let options = ["--restart-condition", "any", "--restart-delay", "0s"];
    let service = docker_service(case, &options, &image);
    let first = task(&service, &[]);
    let other = case.image("j", &["VOLUME /v"]);
    case.posted(
        &format!("/images/{other}/tag?repo={image}&tag=latest"),
        &json!({}),
    );
    succeed(case.docker(&["rm", "--force", &first]));
    let task = task(&service, &["/v"]);
    case.assert_container_only(&task);
    let volume = &volumes_of(&task)["/v"];
    let volume = engine().inspect(Kind::Volume, volume).unwrap();
    assert!(
        !labels_of(Kind::Volume, &volume).contains_key(JOB),
        "the docs are too strict: {volume}"
    );
    succeed(case.docker(&[DOCKER_UPDATE, &["--force", &service]].concat()));
    let found = object("service", &service);
    let mounts = &found["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"];
    assert_eq!(mounts[0]["Target"], "/v", "{found}");
    assert_service(case, &service);
}

impl Case {
    /// Asserts that a container carries the labels, whatever its volumes.
    fn assert_container_only(&self, name: &str) {
        let container = engine().inspect(Kind::Container, name).unwrap();
        let labels = labels_of(Kind::Container, &container);
        assert_eq!(labels, self.labels_over(&labels), "{name}");
    }
}
