//! Services, secrets, configs and the swarm itself, on an engine that only this run uses. All cases
//! share one swarm, except those that create or change it.

use std::sync::{RwLock, RwLockReadGuard};

use serde_json::{Value, json};
use support::{Kind, wait_until};

use super::{Covered, On, encoded, own, path, volumes_of};
use crate::case::{Case, LabelMap, NOTE, labels_of};
use crate::command::succeed;
use crate::engine::{JOB, engine};

const INIT: &str = "POST /swarm/init";
const UPDATE: &str = "POST /swarm/update";
const SERVICE: &str = "POST /services/create";
const SERVICE_UPDATE: &str = "POST /services/*/update";

pub fn cases() -> Vec<Covered> {
    let object = |kind: &'static str| {
        [
            path(
                &format!("POST /{kind}s/create"),
                "plain",
                On::Swarm,
                move || create(kind),
            ),
            path(
                &format!("POST /{kind}s/create"),
                &format!("docker {kind} create"),
                On::Swarm,
                move || {
                    docker_create(kind);
                },
            ),
            path(
                &format!("POST /{kind}s/*/update"),
                "without labels",
                On::Swarm,
                move || update(kind),
            ),
        ]
    };
    let mut cases = vec![
        path(INIT, "plain", On::Swarm, || {
            init(&json!({}), &LabelMap::new())
        }),
        path(INIT, "labels", On::Swarm, || {
            init(
                &json!({"Labels": {"own": "1", JOB: "mine"}}),
                &own(&[("own", "1")]),
            );
        }),
        path(INIT, "docker swarm init", On::Swarm, docker_init),
        path(
            UPDATE,
            "labels kept, replaced, and stripped",
            On::Swarm,
            update_swarm,
        ),
        path(SERVICE, "docker service create --mount", On::Swarm, service),
        path(SERVICE, "VOLUMEs of the image", On::Swarm, service_volumes),
        path(
            SERVICE_UPDATE,
            "docker service update --label-rm",
            On::Swarm,
            docker_update,
        ),
        path(SERVICE_UPDATE, "without labels", On::Swarm, update_service),
        path("POST /networks/create", "overlay", On::Swarm, overlay),
        path(
            "POST /volumes/create",
            "cluster volume",
            On::SwarmFrom(42),
            cluster_volume,
        ),
    ];
    cases.extend(object("secret"));
    cases.extend(object("config"));
    cases
}

/// Guards the swarm: a case that creates, changes or leaves it needs it exclusively.
static SWARM: RwLock<()> = RwLock::new(());

fn is_active() -> bool {
    engine().get("/info").unwrap()["Swarm"]["ControlAvailable"] == true
}

/// The body that creates a swarm which no other machine can join.
fn init_body(spec: &Value) -> Value {
    json!({"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1", "Spec": spec})
}

pub fn leave_swarm() {
    if is_active() {
        let (status, answer) = engine().ask("POST", "/swarm/leave?force=1", None);
        assert_eq!(status, 200, "{answer}");
    }
}

/// Makes the engine a swarm.
pub fn init_swarm_past_the_proxy() {
    let body = init_body(&json!({})).to_string();
    let (status, answer) = engine().ask("POST", "/swarm/init", Some(&body));
    assert_eq!(status, 200, "{answer}");
}

/// Leaves the swarm if the cases created one.
pub fn leave() {
    if On::Swarm.is_here() && super::TRIED.load(super::Ordering::Relaxed) > 0 {
        leave_swarm();
    }
}

/// Returns a guard of the swarm, which is created past the proxy if there is none.
fn swarm() -> RwLockReadGuard<'static, ()> {
    loop {
        let guard = SWARM
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if is_active() {
            return guard;
        }
        drop(guard);
        let _guard = SWARM
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if !is_active() {
            init_swarm_past_the_proxy();
        }
    }
}

/// A case in a swarm. Dropping it removes what it created there.
pub(super) struct Member {
    // Dropped in this order: services before their volumes, and both before the guard of the swarm.
    _objects: Objects,
    pub(super) case: Case,
    _swarm: RwLockReadGuard<'static, ()>,
}

impl Member {
    pub(super) fn new() -> Member {
        let swarm = swarm();
        let case = Case::new();
        Member {
            _objects: Objects(case.job.clone()),
            case,
            _swarm: swarm,
        }
    }
}

/// The services, secrets and configs whose names have this prefix. Dropping it removes them.
struct Objects(String);

impl Drop for Objects {
    fn drop(&mut self) {
        for list in ["/services", "/secrets", "/configs"] {
            let objects = engine().get(list).unwrap_or_default();
            for object in objects.as_array().into_iter().flatten() {
                let name = object["Spec"]["Name"].as_str().unwrap_or_default();
                if name.starts_with(&self.0) {
                    let id = object["ID"].as_str().unwrap();
                    engine().ask("DELETE", &format!("{list}/{id}"), None);
                }
            }
        }
        // The engine removes tasks later. A case that has failed does not wait for it.
        if !std::thread::panicking() {
            wait_until("the tasks end", || tasks(&self.0).is_empty());
        }
    }
}

/// Returns the containers whose names have this prefix.
fn tasks(prefix: &str) -> Vec<String> {
    let list = engine().get("/containers/json?all=1").unwrap();
    let names = list
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|object| object["Names"].as_array());
    let names = names.flatten().filter_map(|name| name.as_str());
    let names = names.map(|name| name.trim_start_matches('/').to_owned());
    names
        .filter(|name| name.starts_with(prefix) && name.contains('.'))
        .collect()
}

pub(super) fn spec_labels(object: &Value) -> LabelMap {
    labels_of(Kind::Volume, &object["Spec"])
}

fn swarm_labels() -> LabelMap {
    spec_labels(&engine().get("/swarm").unwrap())
}

fn init(spec: &Value, labels: &LabelMap) {
    let case = Case::new();
    let _alone = SWARM
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    leave_swarm();
    case.posted("/swarm/init", &init_body(spec));
    assert_eq!(swarm_labels(), case.labels_over(labels));
}

fn docker_init() {
    let case = Case::new();
    let _alone = SWARM
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    leave_swarm();
    let addresses = [
        "--listen-addr",
        "127.0.0.1:2377",
        "--advertise-addr",
        "127.0.0.1",
    ];
    succeed(case.docker(&[&["swarm", "init"], &addresses[..]].concat()));
    assert_eq!(swarm_labels(), case.labels_over(&LabelMap::new()));
}

fn update_swarm() {
    let case = Case::new();
    let _alone = SWARM
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    leave_swarm();
    let before = init_body(&json!({"Labels": {"own": "1"}})).to_string();
    assert_eq!(engine().ask("POST", "/swarm/init", Some(&before)).0, 200);
    let update = |labels: Option<Value>| {
        let swarm = engine().get("/swarm").unwrap();
        let (mut spec, version) = (swarm["Spec"].clone(), &swarm["Version"]["Index"]);
        match labels {
            Some(labels) => spec["Labels"] = labels,
            None => drop(spec.as_object_mut().unwrap().remove("Labels")),
        }
        case.posted(&format!("/swarm/update?version={version}"), &spec);
        swarm_labels()
    };
    assert_eq!(update(None), case.labels_over(&own(&[("own", "1")])));
    assert_eq!(
        update(Some(json!({}))),
        case.labels_over(&own(&[("own", "1")]))
    );
    let labels = json!({"other": "1", JOB: "mine"});
    assert_eq!(
        update(Some(labels)),
        case.labels_over(&own(&[("other", "1")]))
    );
    succeed(case.docker(&["swarm", "update", "--task-history-limit", "3"]));
    assert_eq!(swarm_labels(), case.labels_over(&own(&[("other", "1")])));
}

/// Returns an object as the engine describes it.
pub(super) fn object(kind: &str, name: &str) -> Value {
    let filters = encoded(&json!({"name": {name: true}}).to_string());
    let list = engine()
        .get(&format!("/{kind}s?filters={filters}"))
        .unwrap();
    let mut found = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| object["Spec"]["Name"] == *name);
    found
        .next()
        .unwrap_or_else(|| panic!("no {kind} {name}"))
        .clone()
}

fn create(kind: &str) {
    let member = Member::new();
    let (case, name) = (&member.case, member.case.name("o"));
    let labels = json!({"own": "1", JOB: "mine"});
    let body = json!({"Name": name, "Labels": labels, "Data": "YWJj"});
    case.posted(&format!("/{kind}s/create"), &body);
    assert_eq!(
        spec_labels(&object(kind, &name)),
        case.labels_over(&own(&[("own", "1")]))
    );
}

fn docker_create(kind: &str) {
    let member = Member::new();
    let (case, name) = (&member.case, member.case.name("o"));
    let file = case.dir.join("data");
    std::fs::write(&file, "abc").unwrap();
    succeed(case.docker(&[
        kind,
        "create",
        "--label",
        "own=1",
        &name,
        file.to_str().unwrap(),
    ]));
    assert_eq!(
        spec_labels(&object(kind, &name)),
        case.labels_over(&own(&[("own", "1")]))
    );
}

fn update(kind: &str) {
    let member = Member::new();
    let (case, name) = (&member.case, member.case.name("o"));
    case.posted(
        &format!("/{kind}s/create"),
        &json!({"Name": name, "Data": "YWJj"}),
    );
    for (labels, expected) in [
        (json!({}), own(&[])),
        (
            json!({"own": "1", JOB: "mine", NOTE: ""}),
            own(&[("own", "1")]),
        ),
        (Value::Null, own(&[])),
    ] {
        let found = object(kind, &name);
        let (id, version) = (found["ID"].as_str().unwrap(), &found["Version"]["Index"]);
        let target = format!("/{kind}s/{id}/update?version={version}");
        case.posted(&target, &json!({"Name": name, "Labels": labels}));
        assert_eq!(
            spec_labels(&object(kind, &name)),
            case.labels_over(&expected)
        );
    }
}

/// Waits for a task of the service whose container has volumes at exactly these paths. Returns the
/// container.
pub(super) fn task(service: &str, paths: &[&str]) -> String {
    let mut found = None;
    wait_until(&format!("a task of {service} with {paths:?}"), || {
        let tasks = tasks(&format!("{service}."));
        found = tasks.into_iter().find(|task| {
            engine().inspect(Kind::Container, task).is_some()
                && volumes_of(task).keys().eq(paths.iter())
        });
        found.is_some()
    });
    found.unwrap()
}

/// Asserts that the container of a task and its volumes carry the labels, and that its label `own`
/// is this one.
fn assert_task(case: &Case, task: &str, own: &str) {
    let labels = labels_of(
        Kind::Container,
        &engine().inspect(Kind::Container, task).unwrap(),
    );
    assert_eq!(labels, case.labels_over(&labels), "{task}");
    assert_eq!(labels.get("own").map_or("", String::as_str), own);
    for (at, volume) in volumes_of(task) {
        let labels = labels_of(
            Kind::Volume,
            &engine().inspect(Kind::Volume, &volume).unwrap(),
        );
        let others = super::without_engine_labels(labels.clone());
        let mine: LabelMap = others
            .into_iter()
            .filter(|(key, _)| key == "mine")
            .collect();
        let found = super::without_engine_labels(labels);
        assert_eq!(found, case.labels_over(&mine), "volume at {at}");
    }
}

/// Options of a service whose tasks stop at once and are not restarted.
const OPTIONS: &[&str] = &[
    "--detach",
    "--no-resolve-image",
    "--stop-grace-period",
    "0s",
    "--restart-condition",
    "none",
];

pub(super) fn docker_service(case: &Case, options: &[&str], image: &str) -> String {
    let name = case.name("s");
    let create = ["service", "create", "--name", &name];
    succeed(case.docker(&[&create, OPTIONS, options, &[image, "sleep", "600"]].concat()));
    name
}

fn service() {
    let member = Member::new();
    let case = &member.case;
    let named = format!("type=volume,src={},dst=/n", case.name("n"));
    let labelled = "type=volume,dst=/m,volume-label=mine=1,volume-label=e2e.job=mine";
    let service = docker_service(
        case,
        &[
            "--label",
            "own=s",
            "--container-label",
            "own=c",
            "--container-label",
            "e2e.job=mine",
            "--mount",
            &named,
            "--mount",
            "type=volume,dst=/a",
            "--mount",
            labelled,
            "--mount",
            "type=tmpfs,dst=/t",
            "--mount",
            "type=bind,src=/tmp,dst=/host",
        ],
        &engine().image,
    );
    assert_eq!(
        spec_labels(&object("service", &service)),
        case.labels_over(&own(&[("own", "s")]))
    );
    let task = task(&service, &["/a", "/m", "/n"]);
    assert_task(case, &task, "c");
    assert_eq!(volumes_of(&task)["/n"], case.name("n"));
}

fn service_volumes() {
    let member = Member::new();
    let case = &member.case;
    let image = case.image("i", &["VOLUME /v", "VOLUME /w"]);
    let service = docker_service(case, &["--mount", "type=volume,dst=/w"], &image);
    assert_task(case, &task(&service, &["/v", "/w"]), "");
}

fn docker_update() {
    let member = Member::new();
    let case = &member.case;
    let service = docker_service(case, &["--label", "own=s"], &engine().image);
    task(&service, &[]);
    let strip = [
        "--label-rm",
        JOB,
        "--label-rm",
        "own",
        "--container-label-rm",
        NOTE,
    ];
    let change = [
        "--label-add",
        "e2e.note=mine",
        "--mount-add",
        "type=volume,dst=/a",
    ];
    let update = ["service", "update", "--detach", "--no-resolve-image"];
    succeed(case.docker(&[&update[..], &strip, &change, &[&service]].concat()));
    assert_eq!(
        spec_labels(&object("service", &service)),
        case.labels_over(&LabelMap::new())
    );
    assert_task(case, &task(&service, &["/a"]), "");
    // A rollback keeps the labels.
    let version = &object("service", &service)["Version"]["Index"];
    let spec = &object("service", &service)["Spec"];
    let target = format!("/services/{service}/update?version={version}&rollback=previous");
    case.posted(&target, spec);
    let labels = case.labels_over(&own(&[("own", "s")]));
    assert_eq!(spec_labels(&object("service", &service)), labels);
}

fn update_service() {
    let member = Member::new();
    let case = &member.case;
    let service = docker_service(case, &[], &engine().image);
    let found = object("service", &service);
    let body = json!({"Name": service, "TaskTemplate": {"ContainerSpec": {
        "Image": engine().image, "Args": ["sleep", "601"], "StopGracePeriod": 0,
        "Mounts": [{"Type": "VOLUME", "Target": "/a", "VolumeOptions": {"Labels": {"mine": "{{.Service.Name}}"}}}],
    }, "RestartPolicy": {"Condition": "none"}}});
    let target = format!(
        "/services/{service}/update?version={}",
        found["Version"]["Index"]
    );
    case.posted(&target, &body);
    assert_eq!(
        spec_labels(&object("service", &service)),
        case.labels_over(&LabelMap::new())
    );
    let task = task(&service, &["/a"]);
    assert_task(case, &task, "");
    // The engine still expands the client's templates.
    let volume = engine()
        .inspect(Kind::Volume, &volumes_of(&task)["/a"])
        .unwrap();
    assert_eq!(volume["Labels"]["mine"], service);
}

fn overlay() {
    let member = Member::new();
    let (case, name) = (&member.case, member.case.name("n"));
    let options = ["--driver", "overlay", "--attachable", "--label", "own=1"];
    succeed(case.docker(&[&["network", "create"], &options[..], &[&name]].concat()));
    case.assert_labels(Kind::Network, &name, &own(&[("own", "1")]));
    assert_eq!(
        engine().inspect(Kind::Network, &name).unwrap()["Scope"],
        "swarm"
    );
}

fn cluster_volume() {
    let member = Member::new();
    let (case, name) = (&member.case, member.case.name("v"));
    let mode = json!({"Scope": "single", "Sharing": "none", "MountVolume": {}});
    let body = json!({"Name": name, "Driver": "none.example", "Labels": {"own": "1"},
        "ClusterVolumeSpec": {"AccessMode": mode}});
    case.posted("/volumes/create", &body);
    case.assert_labels(Kind::Volume, &name, &own(&[("own", "1")]));
}
