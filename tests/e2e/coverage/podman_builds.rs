//! Builds in which Podman differs from Docker, and from one version to the next: variables in
//! labels, stages that come from the cache, manifest lists. Docker gets the same requests.

use std::fs;

use support::{Kind, Message};

use super::{Covered, On, assert_refused, encoded, own, path, rule};
use crate::case::{Case, LabelMap, labels_of};
use crate::engine::{JOB, engine};
use crate::raw_creates::tar;

const BUILD: &str = "POST /build";
const LIBPOD_BUILD: &str = "POST /libpod/build";
const LOCAL_BUILD: &str = "POST /libpod/local/build";

/// The key of a label beside those of each case.
const ODD: &str = "e2e.odd";

/// Values that Podman from 4.5 on would make something else of.
const ODD_VALUES: &[&str] = &[
    "${",
    "$HOME${",
    "${x:-y}$x$1$$",
    "${x:?no}",
    r#"\$x \\${x} "$x" '$x'"#,
    "ends in $",
    "ends in \\",
    "$é ${é} `$x` e\u{301} ❤\u{fe0f} {$x}",
];

pub fn cases() -> Vec<Covered> {
    let mut cases = Vec::new();
    for &(row, on) in &[
        (BUILD, On::DockerOrPodmanFrom(5)),
        (LIBPOD_BUILD, On::PodmanFrom(5)),
        (LOCAL_BUILD, On::PodmanFrom(5)),
    ] {
        cases.push(path(row, "values like variables", on, move || {
            odd_values(row)
        }));
    }
    for (row, on) in [
        (BUILD, On::Any),
        (LIBPOD_BUILD, On::Podman),
        (LOCAL_BUILD, On::PodmanFrom(5)),
    ] {
        cases.extend([
            path(row, "keys like variables", on, move || odd_keys(row)),
            path(row, "a stage from the cache", on, move || stage(row)),
            rule(row, "values that are not printable", on, move || {
                unprintable(row)
            }),
        ]);
    }
    cases.extend([
        path(
            BUILD,
            "the client's variables",
            On::PodmanFrom(5),
            clients_variables,
        ),
        rule(
            BUILD,
            "${ alone, on Podman 4",
            On::Podman,
            unfinished_on_podman_4,
        ),
        rule(
            BUILD,
            "a manifest list passes with its image labelled",
            On::PodmanFrom(5),
            manifest_list,
        ),
        rule(
            BUILD,
            "--strict refuses a manifest list",
            On::Podman,
            || strict_manifest_list(BUILD),
        ),
        rule(
            LIBPOD_BUILD,
            "--strict refuses a manifest list",
            On::Podman,
            || strict_manifest_list(LIBPOD_BUILD),
        ),
        rule(
            BUILD,
            "--strict lets Docker ignore the parameter manifest",
            On::Docker,
            ignored_manifest_list,
        ),
    ]);
    cases
}

/// A Dockerfile of two stages. Each sets the variables that the labels name.
fn dockerfile(job: &str) -> String {
    let variables = format!("ENV HOME=/evil x=evil y=evil BUILT_BY={job}");
    let image = &engine().image;
    format!("FROM {image} AS one\n{variables}\nFROM {image} AS two\n{variables}x\n")
}

/// Sends a build of this Dockerfile to the proxy of a case, or past it.
fn send(case: &Case, row: &str, dockerfile: &str, parameters: &str, is_past: bool) -> Message {
    let (_, endpoint) = row.split_once(' ').unwrap();
    let version = if endpoint.starts_with("/libpod") {
        "/v4.0.0"
    } else {
        ""
    };
    let mut target = format!("{version}{endpoint}?{parameters}");
    let (mut content_type, mut body) = (
        "application/x-tar",
        tar("Dockerfile", dockerfile.as_bytes()),
    );
    if row == LOCAL_BUILD {
        let context = case.dir.join("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let context = encoded(context.to_str().unwrap());
        target += &format!("&localcontextdir={context}");
        (content_type, body) = ("application/json", Vec::new());
    }
    let mut wire = if is_past {
        engine().connect()
    } else {
        case.connect()
    };
    wire.send(format!(
        "POST {target} HTTP/1.1\r\nHost: d\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    ));
    // One that is refused may be answered before it is read.
    wire.try_send(&body);
    wire.final_response()
}

/// Builds through the proxy of a case, and asserts that the image has the labels over `others`.
fn build(case: &Case, row: &str, parameters: &str, others: &LabelMap) {
    let image = case.name("i");
    let parameters = format!("t={image}{parameters}");
    let response = send(case, row, &dockerfile(&case.job), &parameters, false);
    assert_eq!(response.status(), 200, "{response:?}");
    let object = engine().inspect(Kind::Image, &image);
    assert!(object.is_some(), "{response:?}");
    case.assert_labels(Kind::Image, &image, others);
}

/// A case with one more label.
fn odd_case(value: &str) -> Case {
    Case::with(&engine().socket, &["--label", &format!("{ODD}={value}")])
}

fn odd_values(row: &str) {
    for value in ODD_VALUES {
        build(&odd_case(value), row, "", &own(&[(ODD, value)]));
    }
}

fn odd_keys(row: &str) {
    let case = Case::new();
    // Podman from 4.5 on makes the case's label of these keys, and takes an object in any order.
    let labels = format!("{{\"{JOB}${{nothing}}\":\"evil\",\"${{nothing:-{JOB}}}\":\"evil\"}}");
    for round in 0..8 {
        let image = case.name(&format!("i{round}"));
        let parameters = format!("t={image}&labels={}", encoded(&labels));
        // Nothing comes from the cache.
        let dockerfile = dockerfile(&format!("{}-{round}", case.job));
        let response = send(&case, row, &dockerfile, &parameters, false);
        let object = engine().inspect(Kind::Image, &image);
        let object = object.unwrap_or_else(|| panic!("{response:?}"));
        let labels = labels_of(Kind::Image, &object);
        assert_eq!(labels, case.labels_over(&labels));
    }
}

fn stage(row: &str) {
    let (one, two) = (Case::new(), Case::new());
    let dockerfile = dockerfile(&one.job);
    let parameters = |case: &Case, what| format!("t={}&target=one&layers=1", case.name(what));
    for (case, what, is_past) in [
        (&one, "past", true),
        (&one, "i", false),
        (&two, "i", false),
        (&one, "i2", false),
    ] {
        let response = send(case, row, &dockerfile, &parameters(case, what), is_past);
        assert_eq!(response.status(), 200, "{response:?}");
        if !is_past {
            let image = case.name(what);
            let object = engine().inspect(Kind::Image, &image);
            assert!(object.is_some(), "{response:?}");
            case.assert_labels(Kind::Image, &image, &LabelMap::new());
        }
    }
}

fn unprintable(row: &str) {
    let value = "no\u{a0}break, zero\u{200b}width";
    let case = odd_case(value);
    if On::PodmanFrom(5).is_here() {
        let image = case.name("i");
        let parameters = format!("t={image}");
        let response = send(&case, row, &dockerfile(&case.job), &parameters, false);
        assert_refused(&response, 400, "the invisible character '\\\\u{a0}'");
        assert_eq!(engine().inspect(Kind::Image, &image), None);
    } else {
        build(&case, row, "", &own(&[(ODD, value)]));
    }
}

fn clients_variables() {
    let labels = encoded(r#"{"own":"$HOME ${nothing:-z}","$x":"1"}"#);
    build(
        &Case::new(),
        BUILD,
        &format!("&labels={labels}"),
        &own(&[("own", "/evil z"), ("evil", "1")]),
    );
}

fn unfinished_on_podman_4() {
    if On::PodmanFrom(5).is_here() {
        return;
    }
    let case = odd_case("a ${ b");
    let image = case.name("i");
    let parameters = format!("t={image}");
    let response = send(&case, BUILD, &dockerfile(&case.job), &parameters, false);
    assert_refused(
        &response,
        400,
        "builds of this version of Podman cannot carry",
    );
    assert_eq!(engine().inspect(Kind::Image, &image), None);
}

fn manifest_list() {
    let case = Case::new();
    let list = case.name("list");
    build(&case, BUILD, &format!("&manifest={list}"), &LabelMap::new());
    let target = format!("/v4.0.0/libpod/manifests/{list}");
    let (status, _) = engine().ask("GET", &format!("{target}/exists"), None);
    assert_eq!(status, 204);
    let (status, answer) = engine().ask("DELETE", &target, None);
    assert_eq!(status, 200, "{answer}");
}

fn strict_manifest_list(row: &str) {
    let case = Case::with(&engine().socket, &["--strict"]);
    let (image, list) = (case.name("i"), case.name("list"));
    for name in ["manifest", "MANIFEST"] {
        let parameters = format!("t={image}&{name}={list}");
        let response = send(&case, row, &dockerfile(&case.job), &parameters, false);
        assert_refused(&response, 403, "manifest lists carry no labels");
    }
    assert_eq!(engine().inspect(Kind::Image, &image), None);
}

fn ignored_manifest_list() {
    let case = Case::with(&engine().socket, &["--strict"]);
    build(&case, BUILD, "&manifest=list", &LabelMap::new());
}
