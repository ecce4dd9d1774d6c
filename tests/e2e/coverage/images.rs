//! Images of containers (commit) and of archives (import).

use serde_json::{Value, json};
use support::Kind;

use super::{Covered, On, assert_refused, encoded, own, path, rule};
use crate::case::{Case, LabelMap};
use crate::command::succeed;
use crate::engine::{JOB, engine};
use crate::raw_creates::tar;

const COMMIT: &str = "POST /commit";
const IMPORT: &str = "POST /images/create";

pub fn cases() -> Vec<Covered> {
    vec![
        path(COMMIT, "plain", On::Docker, commit),
        path(
            COMMIT,
            "of a container with other labels",
            On::Any,
            commit_of_labelled,
        ),
        path(COMMIT, "body null", On::Any, commit_with_null),
        path(COMMIT, "body with labels", On::Docker, commit_with_body),
        path(COMMIT, "changes", On::Any, commit_with_changes),
        path(
            COMMIT,
            "changes that set what the labels mention",
            On::Any,
            commit_with_env,
        ),
        path(COMMIT, "docker commit --change", On::Any, docker_commit),
        rule(
            COMMIT,
            "changes that would swallow the labels",
            On::Any,
            commit_tricks,
        ),
        rule(COMMIT, "a form instead of JSON", On::Any, commit_by_form),
        path(IMPORT, "import", On::Any, import),
        path(IMPORT, "import with changes", On::Any, import_with_changes),
        path(IMPORT, "docker import --change", On::Any, docker_import),
        rule(
            IMPORT,
            "changes that would swallow the labels",
            On::Any,
            import_tricks,
        ),
        rule(
            IMPORT,
            "a pull that a form turns into an import",
            On::Any,
            pull_by_form,
        ),
        rule(
            IMPORT,
            "a request that may be a pull or an import is refused",
            On::Any,
            pull_or_import,
        ),
    ]
}

/// Changes that make the engine lose or misread the lines after them.
const TRICKS: &[&str] = &[
    "CMD x \\",
    "CMD x \\ \n\n",
    "LABEL a=b \\\n# comment",
    "# escape=`\nCMD x `",
    "# escape=`",
    "#escape=`\nLABEL a=\"",
    "ONBUILD RUN <<X",
    "ONBUILD RUN <<'LABEL \"e2e.note\"=\"\"'",
    "ONBUILD COPY <<-X /x",
    "LABEL a=\"",
    "LABEL a='b",
    "ENV a=b\\",
    "CMD x\r\\",
    "FROM scratch",
    "\u{feff}# escape=`",
];

fn labels_own() -> LabelMap {
    own(&[("own", "its \"own\""), ("more", "$x")])
}

/// A client's changes, which are not lost, and its labels by them: [`labels_own`]. Docker reads them
/// as lines of a Dockerfile, and so does Podman for a commit from version 5 on.
const CHANGES: &[&str] = &[
    "ENV A=b HOME=/nowhere",
    "CMD [\"sleep\", \"600\"]",
    "LABEL own=its\\ \\\"own\\\" more=\\$x e2e.job=mine\nLABEL e2e.note=mine",
    "WORKDIR /tmp",
];

/// The same for Podman, where a change sets one label and nothing is unescaped.
const PODMAN_CHANGES: &[&str] = &[
    "ENV A=b",
    "ENV HOME=/nowhere",
    "CMD [\"sleep\", \"600\"]",
    "LABEL own=its \"own\"",
    "LABEL more=$x",
    "LABEL e2e.job=mine",
    "LABEL e2e.note=mine",
    "WORKDIR /tmp",
];

fn commit_changes() -> &'static [&'static str] {
    if engine().podman.is_some_and(|major| major < 5) {
        PODMAN_CHANGES
    } else {
        CHANGES
    }
}

fn import_changes() -> &'static [&'static str] {
    if engine().is_podman() {
        PODMAN_CHANGES
    } else {
        CHANGES
    }
}

fn query(changes: &[&str]) -> String {
    let changes = changes.iter();
    changes
        .map(|change| format!("&changes={}", encoded(change)))
        .collect()
}

/// Asserts that the image carries the labels and has what the changes set.
fn assert_changed(case: &Case, image: &str) {
    case.assert_labels(Kind::Image, image, &labels_own());
    let config = engine().inspect(Kind::Image, image).unwrap()["Config"].take();
    let env = config["Env"].as_array().unwrap();
    for variable in ["A=b", "HOME=/nowhere"] {
        assert!(env.contains(&json!(variable)), "{env:?}");
    }
    assert_eq!(config["Cmd"], json!(["sleep", "600"]));
    assert_eq!(config["WorkingDir"], "/tmp");
}

/// The target that commits a container to an image.
fn commit_target(container: &str, image: &str) -> String {
    format!("/commit?container={container}&repo={image}&tag=latest")
}

fn commit() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let mut wire = case.connect();
    wire.send(crate::engine::json_request(
        "POST",
        &commit_target(&container, &image),
        None,
    ));
    assert_eq!(wire.response().status(), 201);
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}

fn commit_of_labelled() {
    let case = Case::new();
    let (container, image) = (case.name("c"), case.name("i"));
    let labels = json!({"own": "1", JOB: format!("{}-other", case.job)});
    let body = json!({"Image": engine().image, "Cmd": ["true"], "Labels": labels}).to_string();
    let target = format!("/containers/create?name={container}");
    assert_eq!(engine().ask("POST", &target, Some(&body)).0, 201);
    case.posted(&commit_target(&container, &image), &json!({}));
    case.assert_labels(Kind::Image, &image, &own(&[("own", "1")]));
}

fn commit_with_null() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    case.posted(&commit_target(&container, &image), &Value::Null);
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}

fn commit_with_body() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let body = json!({"Labels": {"own": "1", JOB: "mine"}, "Env": ["x=y"], "Cmd": ["z"]});
    let target = commit_target(&container, &image) + "&changes=LABEL+more=$x";
    case.posted(&target, &body);
    case.assert_labels(Kind::Image, &image, &own(&[("own", "1"), ("more", "y")]));
    let config = &engine().inspect(Kind::Image, &image).unwrap()["Config"];
    assert_eq!(config["Cmd"], json!(["z"]));
}

fn commit_with_changes() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let target = commit_target(&container, &image) + &query(commit_changes());
    case.posted(&target, &json!({}));
    assert_changed(&case, &image);
}

fn commit_with_env() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let changes = ["ENV HOME=spoilt", "ENV PATH=/spoilt", "ENV id=spoilt"];
    case.posted(
        &(commit_target(&container, &image) + &query(&changes)),
        &json!({}),
    );
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}

fn docker_commit() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let changes: Vec<&str> = commit_changes()
        .iter()
        .flat_map(|change| ["--change", change])
        .collect();
    succeed(case.docker(&[&["commit"], &changes[..], &[&container, &image]].concat()));
    assert_changed(&case, &image);
}

fn commit_tricks() {
    let case = Case::new();
    let container = case.container("true");
    for (i, trick) in TRICKS.iter().enumerate() {
        let image = case.name(&format!("i{i}"));
        let target = commit_target(&container, &image) + &query(&[trick]);
        let response = case.post(&target, &json!({}));
        case.assert_no_unlabelled_image(&image, &response);
    }
    let target = commit_target(&container, &case.name("i")) + &query(&["CMD x \\"]);
    assert_refused(&case.post(&target, &json!({})), 400, "CMD x");
}

fn commit_by_form() {
    let case = Case::new();
    let (container, image) = (case.container("true"), case.name("i"));
    let response = case.upload(
        &commit_target(&container, &image),
        "application/x-www-form-urlencoded",
        b"changes=CMD+x+%5C",
    );
    case.assert_no_unlabelled_image(&image, &response);
}

/// An archive that only this case imports.
fn archive(case: &Case) -> Vec<u8> {
    tar("file", case.job.as_bytes())
}

fn import_target(image: &str) -> String {
    format!("/images/create?fromSrc=-&repo={image}&tag=latest")
}

fn import() {
    let case = Case::new();
    let image = case.name("i");
    let response = case.upload(&import_target(&image), "application/x-tar", &archive(&case));
    assert_eq!(response.status(), 200, "{response:?}");
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}

/// For an import Podman does not know all changes, but reads a label as up to 4 for a commit.
fn import_with_changes() {
    let case = Case::new();
    let image = case.name("i");
    let target = import_target(&image) + &query(import_changes());
    let response = case.upload(&target, "text/plain", &archive(&case));
    assert_eq!(response.status(), 200, "{response:?}");
    assert_changed(&case, &image);
}

fn docker_import() {
    let case = Case::new();
    let (image, file) = (case.name("i"), case.dir.join("archive"));
    std::fs::write(&file, archive(&case)).unwrap();
    let changes: Vec<&str> = import_changes()
        .iter()
        .flat_map(|change| ["--change", change])
        .collect();
    let file = file.to_str().unwrap();
    succeed(case.docker(&[&["import"], &changes[..], &[file, &image]].concat()));
    assert_changed(&case, &image);
}

fn import_tricks() {
    let case = Case::new();
    for (i, trick) in TRICKS.iter().enumerate() {
        let image = case.name(&format!("i{i}"));
        let target = import_target(&image) + &query(&[trick]);
        let response = case.upload(&target, "application/x-tar", &archive(&case));
        case.assert_no_unlabelled_image(&image, &response);
    }
}

fn pull_by_form() {
    let case = Case::new();
    for (i, form) in [
        "fromImage=&fromSrc=-&repo={i}&tag=latest",
        "fromSrc=-&repo={i}&changes=CMD+x+%5C",
    ]
    .iter()
    .enumerate()
    {
        let image = case.name(&format!("i{i}"));
        for query in ["fromImage=127.0.0.1:1/none&tag=none", "fromSrc=-"] {
            let target = format!("/images/create?{query}");
            let form = form.replace("{i}", &image);
            let content_type = "application/x-www-form-urlencoded";
            case.upload(&target, content_type, form.as_bytes());
            let found = engine().inspect(Kind::Image, &image);
            assert!(found.is_none(), "the form decided: {found:?}");
        }
    }
}

fn pull_or_import() {
    let case = Case::new();
    let image = case.name("i");
    for both in [
        "fromImage=x&fromImage=",
        "fromImage=&fromImage=x",
        "FromImage=x",
    ] {
        let target = format!("{}&{both}", import_target(&image));
        let response = case.upload(&target, "application/x-tar", &archive(&case));
        assert_refused(&response, 400, "romImage");
        assert!(engine().inspect(Kind::Image, &image).is_none());
    }
}
