//! Names that a client gives to images: one that has neither a name nor the labels, as a step of a
//! build, gets one with a warning only.

use serde_json::{Value, json};
use support::{Kind, Message, wait_until};

use super::{Covered, On, assert_refused, path, rule};
use crate::case::{Case, LabelMap, labels_of};
use crate::command::{finish, succeed};
use crate::engine::engine;
use crate::raw_creates::tar;

const TAG: &str = "POST /images/*/tag";
const PUSH: &str = "POST /images/*/push";
const LIBPOD: &str = "POST /libpod/images/*/tag";

/// The API that names an image.
#[derive(Clone, Copy)]
enum Api {
    Docker,
    Libpod,
}

pub fn cases() -> Vec<Covered> {
    let mut cases = vec![
        path(TAG, "docker tag", On::Any, docker_tag),
        rule(TAG, "a step of a classic build", On::Docker, || {
            steps("FROM {}\nENV A=1\nENV B=2\n")
        }),
        rule(TAG, "a step FROM scratch", On::Docker, || {
            steps("FROM scratch\nCOPY Dockerfile /\nENV B=2\n")
        }),
        path(
            PUSH,
            "to the storage of Podman",
            On::Podman,
            push_to_storage,
        ),
        rule(
            LIBPOD,
            "a manifest list is named as ever",
            On::Podman,
            manifest_list,
        ),
    ];
    for (row, api, on) in [
        (TAG, Api::Docker, On::Any),
        (LIBPOD, Api::Libpod, On::Podman),
    ] {
        cases.extend([
            path(row, "an image without a name", on, move || labelled(api)),
            rule(row, "a second name", on, move || named(api)),
            rule(row, "an image without the labels", on, move || {
                let case = Case::new();
                let image = commit(&case, false);
                assert_unlabelled(&case, api, &image, "t");
            }),
            rule(row, "no such image", on, move || {
                let case = Case::new();
                let response = case.tag(api, "none-such", "t");
                assert_eq!(response.status(), 404, "{response:?}");
                assert!(!response.text().contains("docker-label-proxy"));
            }),
        ]);
    }
    cases
}

impl Case {
    /// Names an image through the proxy.
    fn tag(&self, api: Api, image: &str, what: &str) -> Message {
        let images = match api {
            Api::Docker => "/images",
            Api::Libpod => "/v4.0.0/libpod/images",
        };
        let target = format!("{images}/{image}/tag?repo={}&tag=latest", self.name(what));
        self.upload(&target, "text/plain", b"")
    }

    /// How often the proxy has warned of a name.
    fn n_warnings(&self) -> usize {
        let log = self.proxy.log();
        let lines = log.lines();
        lines
            .filter(|line| line.contains("WARN") && line.contains("/tag"))
            .count()
    }
}

/// The ID of an image without a name, made through the proxy or past it.
fn commit(case: &Case, is_labelled: bool) -> String {
    let target = format!("/commit?container={}", case.container("true"));
    let answer = if is_labelled {
        case.posted(&target, &json!({}))
    } else {
        engine().ask("POST", &target, Some("{}")).1
    };
    answer["Id"].as_str().unwrap().to_owned()
}

fn docker_tag() {
    let case = Case::new();
    let (image, name) = (commit(&case, true), case.name("t"));
    succeed(case.docker(&["tag", &image, &name]));
    case.assert_labels(Kind::Image, &name, &LabelMap::new());
    assert_eq!(case.n_warnings(), 0);
}

fn labelled(api: Api) {
    let case = Case::with(&engine().socket, &["--strict"]);
    let image = commit(&case, true);
    let response = case.tag(api, &image, "t");
    assert_eq!(response.status(), 201, "{response:?}");
    case.assert_labels(Kind::Image, &case.name("t"), &LabelMap::new());
}

fn named(api: Api) {
    let case = Case::with(&engine().socket, &["--strict"]);
    let image = case.image("i", &[]);
    let id = engine().inspect(Kind::Image, &image).unwrap()["Id"].clone();
    for (i, given) in [&image, &format!("{image}:latest"), id.as_str().unwrap()]
        .into_iter()
        .enumerate()
    {
        let what = format!("t{i}");
        let response = case.tag(api, given, &what);
        assert_eq!(response.status(), 201, "{response:?}");
        let found = engine().inspect(Kind::Image, &case.name(&what)).unwrap();
        assert_eq!(found["Id"], id);
    }
}

/// Asserts that an image gets a name with a warning, and by a strict proxy none.
fn assert_unlabelled(case: &Case, api: Api, image: &str, what: &str) {
    let strict = Case::with(&engine().socket, &["--strict"]);
    let short = &image.trim_start_matches("sha256:")[..20];
    for given in [image, short] {
        assert_refused(
            &strict.tag(api, given, "t"),
            403,
            "neither the labels nor a name",
        );
        let found = engine().inspect(Kind::Image, &strict.name("t"));
        assert!(found.is_none(), "{found:?}");
    }
    if matches!(api, Api::Docker) {
        let ended = finish(strict.docker(&["tag", image, &strict.name("t")]));
        assert_ne!(ended.code, Some(0));
    }
    let n_warnings = case.n_warnings();
    let response = case.tag(api, image, what);
    assert_eq!(response.status(), 201, "{response:?}");
    wait_until("a warning", || case.n_warnings() == n_warnings + 1);
    let found = engine().inspect(Kind::Image, &case.name(what));
    assert!(found.is_some());
}

/// Names each step of a classic build but the last, which has the labels.
fn steps(dockerfile: &str) {
    let case = Case::new();
    let image = case.name("i");
    let dockerfile = dockerfile.replace("{}", &engine().image);
    let dockerfile = format!("{dockerfile}LABEL mine={}\n", case.job);
    let archive = tar("Dockerfile", dockerfile.as_bytes());
    let response = case.upload(&format!("/build?t={image}"), "application/x-tar", &archive);
    assert_eq!(response.status(), 200, "{response:?}");
    let parent = |image: &Value| image["Parent"].as_str().unwrap_or_default().to_owned();
    let inspect = |image: &str| engine().inspect(Kind::Image, image).unwrap();
    let mut steps = Vec::new();
    let mut step = parent(&inspect(&image));
    while !step.is_empty() {
        let found = inspect(&step);
        if found["RepoTags"].as_array().is_none_or(Vec::is_empty) {
            steps.push(step);
        }
        step = parent(&found);
    }
    assert!(steps.len() >= 3, "{steps:?}");
    for (i, step) in steps.iter().enumerate() {
        let labels = labels_of(Kind::Image, &inspect(step));
        assert_ne!(labels, case.labels_over(&labels));
        assert_unlabelled(&case, Api::Docker, step, &format!("s{i}"));
    }
    let response = case.tag(Api::Docker, &image, "t");
    assert_eq!(response.status(), 201, "{response:?}");
    case.assert_labels(
        Kind::Image,
        &case.name("t"),
        &super::own(&[("mine", &case.job)]),
    );
}

/// Podman names an image where it is pushed to the storage that it is from.
fn push_to_storage() {
    let (case, strict) = (Case::new(), Case::with(&engine().socket, &["--strict"]));
    let push = |case: &Case, image: &str| {
        let destination = format!("containers-storage:localhost/{}:latest", case.name("p"));
        let target = format!("/images/{image}/push?destination={destination}");
        case.upload(&target, "text/plain", b"")
    };
    let response = push(&strict, &commit(&strict, false));
    assert_refused(&response, 403, "not a registry");
    let found = engine().inspect(Kind::Image, &strict.name("p"));
    assert!(found.is_none(), "{found:?}");
    let response = push(&case, &commit(&case, true));
    assert_eq!(response.status(), 200, "{response:?}");
    wait_until("a warning", || case.proxy.log().contains("not a registry"));
    let pushed = format!("localhost/{}", case.name("p"));
    case.assert_labels(Kind::Image, &pushed, &LabelMap::new());
}

fn manifest_list() {
    let case = Case::new();
    let list = case.name("l");
    let target = format!("/v4.0.0/libpod/manifests/{list}");
    let (status, answer) = engine().ask("POST", &target, None);
    assert_eq!(status, 201, "{answer}");
    let response = case.tag(Api::Libpod, &list, "t");
    assert_eq!(response.status(), 201, "{response:?}");
    let exists = format!("/v4.0.0/libpod/manifests/{}/exists", case.name("t"));
    assert_eq!(engine().ask("GET", &exists, None).0, 204);
}
