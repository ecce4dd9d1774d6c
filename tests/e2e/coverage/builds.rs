//! Builds by `POST /build`, with the classic builder or with BuildKit without a session, and what
//! they leave behind.

use std::fs;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use support::{Kind, wait_until};

use super::{Covered, On, assert_refused, encoded, own, path, rule};
use crate::case::{Case, LabelMap, labels_of};
use crate::command::finish;
use crate::engine::{engine, json_request};
use crate::raw_creates::tar;

const BUILD: &str = "POST /build";

/// Labels as keys and values.
type Pairs = &'static [(&'static str, &'static str)];

/// Parameters, and the labels in them that the image should get besides the operator's.
const PARAMETERS: &[(&str, &str, Pairs)] = &[
    ("plain", "", &[]),
    (
        "labels",
        "&labels=%7B%22a%22:%221%22,%22e2e.job%22:%22mine%22}",
        &[("a", "1")],
    ),
    (
        "labels encoded",
        "&l%61bels=%7B%22a%22:%221%22}",
        &[("a", "1")],
    ),
    (
        "labels after malformed ones",
        "&labels=%zz&labels={%22a%22:%221%22}",
        &[("a", "1")],
    ),
    (
        "labels after a semicolon",
        "&x;labels={}&labels={%22a%22:%221%22}",
        &[("a", "1")],
    ),
    ("parameters of old clients", "&rm=0&forcerm=0&q=1", &[]),
    ("target", "&target=first", &[]),
    ("squash", "&squash=0&nocache=1", &[]),
];

pub fn cases() -> Vec<Covered> {
    let mut cases = Vec::new();
    for &(variant, parameters, labels) in PARAMETERS {
        for (builder, version, on) in [
            ("classic", "", On::Any),
            ("BuildKit", "&version=2", On::Docker),
        ] {
            cases.push(path(
                BUILD,
                &format!("{builder}, {variant}"),
                on,
                move || {
                    build(&format!("{version}{parameters}"), &own(labels));
                },
            ));
        }
    }
    cases.extend([
        rule(
            BUILD,
            "labels that are given twice are refused",
            On::Any,
            labels_twice,
        ),
        path(
            BUILD,
            "labels in the Dockerfile",
            On::Any,
            dockerfile_labels,
        ),
        path(BUILD, "unsetlabel", On::Podman, unset_label),
        path(
            BUILD,
            "outputs that replace the configuration",
            On::Docker,
            outputs,
        ),
        path(
            BUILD,
            "a short form beside a remote context",
            On::Docker,
            short_form,
        ),
        rule(
            BUILD,
            "a long form beside a remote context is refused",
            On::Any,
            long_form,
        ),
        rule(
            BUILD,
            "a form without a remote context",
            On::Any,
            form_for_context,
        ),
        rule(
            BUILD,
            "--rm=false leaves no unlabelled container",
            On::Docker,
            keeps_no_container,
        ),
        rule(
            BUILD,
            "a failed build leaves no unlabelled container",
            On::Docker,
            fails,
        ),
    ]);
    cases
}

/// A Dockerfile of two stages that shares no step with another case.
fn dockerfile(case: &Case) -> String {
    let image = &engine().image;
    format!(
        "FROM {image} AS first\nENV BUILT_BY={0}\nFROM {image}\nENV BUILT_BY={0}x\n",
        case.job
    )
}

fn context(case: &Case) -> Vec<u8> {
    tar("Dockerfile", dockerfile(case).as_bytes())
}

/// Builds through the proxy with these parameters. Asserts that the image has `labels` and the
/// operator's.
fn build(parameters: &str, labels: &LabelMap) {
    build_at(BUILD.split_once(' ').unwrap().1, parameters, labels);
}

/// Like [`build`], at this endpoint.
pub fn build_at(endpoint: &str, parameters: &str, labels: &LabelMap) {
    let case = Case::new();
    let image = case.name("i");
    let target = format!("{endpoint}?t={image}{parameters}");
    let response = if parameters.contains("version=2") && buildkit_loses_uploads() {
        let remote = Remote::serve(&case, &dockerfile(&case));
        let target = format!("{target}&remote={}", encoded(&remote.url));
        case.post(&target, &Value::Null)
    } else {
        case.upload(&target, "application/x-tar", &context(&case))
    };
    assert_eq!(response.status(), 200, "{response:?}");
    let object = engine().inspect(Kind::Image, &image);
    assert!(object.is_some(), "{response:?}");
    case.assert_labels(Kind::Image, &image, labels);
}

/// Whether BuildKit does not find the context that comes with a request: Docker 26 looks for it on
/// the network where it has containerd's image store.
fn buildkit_loses_uploads() -> bool {
    engine().has_containerd_store() && engine().minor() < 46
}

/// Docker would take the first, and Podman the last or any.
fn labels_twice() {
    let case = Case::new();
    let image = case.name("i");
    for more in ["&labels={}", "&Labels={%22a%22:%221%22}"] {
        let target = format!("/build?t={image}&labels={{%22b%22:%221%22}}{more}");
        let response = case.upload(&target, "application/x-tar", &context(&case));
        assert_refused(&response, 400, "the parameter");
        assert_eq!(engine().inspect(Kind::Image, &image), None);
    }
}

fn dockerfile_labels() {
    let case = Case::new();
    let image = case.name("i");
    let dockerfile = dockerfile(&case) + "LABEL own=1 e2e.job=mine\nLABEL e2e.note=\"\"\n";
    let target = format!("/build?t={image}");
    let archive = tar("Dockerfile", dockerfile.as_bytes());
    let response = case.upload(&target, "application/x-tar", &archive);
    assert_eq!(response.status(), 200, "{response:?}");
    case.assert_labels(Kind::Image, &image, &own(&[("own", "1")]));
}

fn unset_label() {
    build(
        "&unsetlabel=e2e.job&unsetlabel=e2e.note&UnsetLabel=e2e.job",
        &LabelMap::new(),
    );
}

fn outputs() {
    let config = json!({"config": {"Labels": {"evil": "1"}}}).to_string();
    let outputs = json!([{"Type": "moby", "Attrs": {"containerimage.config": config}}]);
    let outputs = encoded(&outputs.to_string());
    build(&format!("&version=2&outputs={outputs}"), &LabelMap::new());
}

/// A form in place of the build context. The engine would read its labels before those in the
/// query.
fn padded_form() -> Vec<u8> {
    // The engine loses the first bytes before it looks for a form.
    format!("pad={}&labels={{}}", "x".repeat(1 << 16)).into_bytes()
}

const FORM: &str = "application/x-www-form-urlencoded";

fn short_form() {
    let case = Case::new();
    let image = case.name("i");
    let remote = Remote::serve(&case, &dockerfile(&case));
    let target = format!("/build?t={image}&remote={}", encoded(&remote.url));
    // The engine loses all of it.
    for form in ["", "{}", "labels={}"] {
        let response = case.upload(&target, FORM, form.as_bytes());
        assert_eq!(response.status(), 200, "{response:?}");
        assert!(
            engine().inspect(Kind::Image, &image).is_some(),
            "{response:?}"
        );
        case.assert_labels(Kind::Image, &image, &LabelMap::new());
    }
}

fn long_form() {
    let case = Case::new();
    let image = case.name("i");
    let target = format!("/build?t={image}&remote=http://127.0.0.1:1/none");
    for content_type in [FORM, "multipart/form-data; boundary=x"] {
        let response = case.upload(&target, content_type, &padded_form());
        assert_refused(
            &response,
            400,
            "the parameters of a build stand in its query",
        );
    }
}

fn form_for_context() {
    let case = Case::new();
    for (i, content_type) in [FORM, "multipart/form-data; boundary=x"].iter().enumerate() {
        let image = case.name(&format!("i{i}"));
        let target = format!("/build?t={image}");
        let response = case.upload(&target, content_type, &context(&case));
        case.assert_no_unlabelled_image(&image, &response);
        let response = case.upload(&target, content_type, &padded_form());
        case.assert_no_unlabelled_image(&image, &response);
    }
}

/// An HTTP server with one file, in a container that shares the network of the engine.
struct Remote {
    url: String,
}

impl Remote {
    fn serve(case: &Case, content: &str) -> Remote {
        static PORT: AtomicU16 = AtomicU16::new(0);
        let port =
            20000 + std::process::id() % 10000 + u32::from(PORT.fetch_add(1, Ordering::Relaxed));
        let name = case.name("remote");
        let script = "mkdir /www; echo \"$CONTENT\" >/www/file; exec httpd -f -p \"$AT\" -h /www";
        let at = format!("127.0.0.1:{port}");
        let body = json!({
            "Image": engine().image, "Cmd": ["sh", "-c", script],
            "Env": [format!("CONTENT={content}"), format!("AT={at}")],
            "HostConfig": {"NetworkMode": "host"},
        });
        let target = format!("/containers/create?name={name}");
        let (status, answer) = engine().ask("POST", &target, Some(&body.to_string()));
        assert_eq!(status, 201, "{answer}");
        case.start(&name);
        // The engine has to reach the server, so the engine probes it.
        let probe = format!(
            "/images/create?fromSrc={}",
            encoded(&format!("http://{at}/none"))
        );
        wait_until("the server answers", || {
            let mut wire = engine().connect();
            wire.send(json_request("POST", &probe, None));
            !wire.response().text().contains("refused")
        });
        Remote {
            url: format!("http://{at}/file"),
        }
    }
}

/// Runs docker build with `step` as the last step. Returns the exit code and the containers that
/// are left, after removing them.
fn left_by(case: &Case, step: &str, options: &[&str]) -> (Option<i32>, Vec<Value>) {
    let context = case.dir.join("context");
    fs::create_dir_all(&context).unwrap();
    // The job in the command identifies the container of the step.
    let step = dockerfile(case) + &format!("RUN echo {}; {step}\n", case.job);
    fs::write(context.join("Dockerfile"), step).unwrap();
    let image = case.name("i");
    let mut command = case.docker(&[&["build", "--tag", &image], options, &["context"]].concat());
    command.env("DOCKER_BUILDKIT", "0");
    let code = finish(command).code;
    let list = engine().get("/containers/json?all=1").unwrap();
    let ours = |container: &&Value| container["Command"].as_str().unwrap().contains(&case.job);
    let left: Vec<Value> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(ours)
        .cloned()
        .collect();
    for container in &left {
        let id = container["Id"].as_str().unwrap();
        engine().ask("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
    }
    (code, left)
}

fn keeps_no_container() {
    let case = Case::new();
    let (code, left) = left_by(&case, "true", &["--rm=false"]);
    assert_eq!(code, Some(0));
    assert!(left.is_empty(), "{left:?}");
    let object = engine().inspect(Kind::Image, &case.name("i")).unwrap();
    assert_eq!(
        labels_of(Kind::Image, &object),
        case.labels_over(&LabelMap::new())
    );
}

fn fails() {
    let case = Case::new();
    for options in [&[][..], &["--rm=false"], &["--force-rm=false"]] {
        let (code, left) = left_by(&case, "false", options);
        assert_eq!(code, Some(1));
        assert!(left.is_empty(), "{left:?}");
    }
}
