//! What else the operator can ask for: a cgroup, the refusal of what cannot be labelled, and no way
//! to the engine's own socket from within a container.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Kind, Proxy, TempDir, wait_until};

use super::{Covered, On, assert_refused, path, rows, rule};
use crate::PROXY;
use crate::case::{Case, LabelMap, UNTIL_RELEASED};
use crate::command::{Running, succeed};
use crate::engine::engine;

const CREATE: &str = "POST /containers/create";

pub fn cases() -> Vec<Covered> {
    let mut cases = vec![
        path(CREATE, "--cgroup-parent", On::Any, container_in_cgroup),
        rule(
            CREATE,
            "--cgroup-parent contains the processes",
            On::Any,
            runs_in_cgroup,
        ),
        rule(
            "POST /build",
            "--cgroup-parent contains the processes",
            On::Docker,
            build_in_cgroup,
        ),
        rule(
            "POST /images/create",
            "--strict allows pulls",
            On::Any,
            strict_pull,
        ),
        rule(
            "POST /any",
            "--strict refuses unknown endpoints",
            On::Any,
            || strict("POST /any"),
        ),
        rule(
            "POST /any",
            "unknown endpoints pass with a warning",
            On::Any,
            lenient,
        ),
        rule(
            CREATE,
            "--redirect-socket-mounts, Binds",
            On::Any,
            redirect_bind,
        ),
        rule(
            CREATE,
            "--redirect-socket-mounts, Mounts",
            On::Any,
            redirect_mount,
        ),
        rule(
            CREATE,
            "--redirect-socket-mounts, directories",
            On::Any,
            redirect_directory,
        ),
        rule(
            CREATE,
            "--redirect-socket-mounts, disguised binds",
            On::Any,
            redirect_disguised,
        ),
        rule(
            CREATE,
            "without --redirect-socket-mounts",
            On::Any,
            no_redirect,
        ),
        rule(
            "POST /volumes/create",
            "--redirect-socket-mounts",
            On::Any,
            redirect_volume,
        ),
    ];
    for (row, action) in rows() {
        if action.starts_with("not labelled") {
            cases.push(rule(row, "--strict refuses it", On::Any, move || {
                strict(row)
            }));
        }
    }
    cases
}

/// Returns a cgroup, and whether containers can run in it: below that of the engine if the
/// environment names it, else one that does not exist.
fn cgroup(case: &Case) -> (String, bool) {
    match env::var("DOCKER_LABEL_PROXY_TEST_CGROUP") {
        Ok(parent) => (format!("{parent}/{}", case.job), true),
        Err(_) => (format!("/{}", case.job), false),
    }
}

/// A case whose proxy puts containers into a cgroup. Returns it with what [`cgroup`] returns.
fn case_in_cgroup() -> (Case, String, bool) {
    let (cgroup, may_run) = cgroup(&Case::new());
    let case = Case::with(&engine().socket, &["--cgroup-parent", &cgroup]);
    (case, cgroup, may_run)
}

fn container_in_cgroup() {
    let (case, cgroup, _) = case_in_cgroup();
    for (i, host) in [
        json!({}),
        json!({"CgroupParent": "/mine"}),
        json!({"cgroupparent": "/mine"}),
        Value::Null,
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"Image": engine().image, "HostConfig": host});
        let container = case.create(&format!("c{i}"), &body);
        case.assert_labels(Kind::Container, &container, &LabelMap::new());
        let object = engine().inspect(Kind::Container, &container).unwrap();
        assert_eq!(object["HostConfig"]["CgroupParent"], *cgroup, "{body}");
    }
}

/// Asserts that a container is in the cgroup.
fn assert_in_cgroup(container: &str, cgroup: &str) {
    let object = engine().inspect(Kind::Container, container).unwrap();
    assert_eq!(object["HostConfig"]["CgroupParent"], *cgroup);
}

fn runs_in_cgroup() {
    let (case, cgroup, may_run) = case_in_cgroup();
    if !may_run {
        return;
    }
    let name = case.name("c");
    let options = [
        "--network",
        "none",
        "--cgroupns",
        "host",
        "--cgroup-parent",
        "/mine",
    ];
    let run = ["run", "--rm", "--name", &name];
    let command = ["cat", "/proc/self/cgroup"];
    let found = succeed(case.docker(&[&run[..], &options, &[&engine().image], &command].concat()));
    assert!(found.contains(&format!("{cgroup}/")), "{cgroup}: {found}");
}

fn build_in_cgroup() {
    let (case, cgroup, may_run) = case_in_cgroup();
    if !may_run {
        return;
    }
    let context = case.dir.join("context");
    fs::create_dir(&context).unwrap();
    let image = &engine().image;
    let dockerfile = format!("FROM {image}\nRUN echo {}; {UNTIL_RELEASED}\n", case.job);
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let tag = case.name("i");
    let mut command = case.docker(&[
        "build",
        "--tag",
        &tag,
        "--cgroup-parent",
        "/mine",
        "context",
    ]);
    command.env("DOCKER_BUILDKIT", "0");
    let mut build = Running::start(command);
    let mut container = None;
    wait_until("the step runs", || {
        let list = engine().get("/containers/json").unwrap();
        let mut list = list.as_array().unwrap().iter();
        let ours = |container: &&Value| container["Command"].as_str().unwrap().contains(&case.job);
        container = list
            .find(ours)
            .map(|found| found["Id"].as_str().unwrap().to_owned());
        container.is_some()
    });
    let container = container.unwrap();
    assert_in_cgroup(&container, &cgroup);
    case.release(&container);
    assert_eq!(build.wait().code, Some(0));
    case.assert_labels(Kind::Image, &tag, &LabelMap::new());
}

fn strict_case() -> Case {
    Case::with(&engine().socket, &["--strict"])
}

fn strict(row: &str) {
    let (method, path) = row.split_once(' ').unwrap();
    let case = strict_case();
    let version = if path.starts_with("/libpod") {
        "/v4.0.0"
    } else {
        ""
    };
    let path = path.replace('*', "x");
    for target in [format!("{version}{path}"), format!("/v1.41{path}?x=y")] {
        let mut wire = case.connect();
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_refused(&wire.final_response(), 403, "--strict");
    }
    // Other requests pass.
    case.create("c", &json!({"Image": engine().image}));
    case.assert_labels(Kind::Container, &case.name("c"), &LabelMap::new());
}

fn strict_pull() {
    let case = strict_case();
    let target = "/images/create?fromImage=127.0.0.1:1/none&tag=none";
    let response = case.upload(target, "text/plain", b"");
    // The engine gets the request, and fails because nobody listens at the registry.
    assert_ne!(response.status(), 403, "{response:?}");
    assert!(
        !response.text().contains("docker-label-proxy"),
        "{response:?}"
    );
}

fn lenient() {
    let case = Case::new();
    for target in ["/any", "/plugins/create?name=", "/images/load"] {
        let response = case.upload(target, "text/plain", b"");
        assert!(
            !response.text().contains("docker-label-proxy"),
            "{response:?}"
        );
        let warning = format!("{target:?}").replace("?name=", "");
        wait_until(&format!("a warning of {target}"), || {
            let log = case.proxy.log();
            log.lines()
                .any(|line| line.contains("WARN") && line.contains(&warning))
        });
    }
}

/// A case whose daemon has its socket in a directory of its own. The daemon is a second proxy in
/// front of the engine.
struct Redirected {
    case: Case,
    dir: TempDir,
    _daemon: Proxy,
}

impl Redirected {
    fn new(arguments: &[&str]) -> Redirected {
        let dir = TempDir::new();
        fs::create_dir(dir.join("run")).unwrap();
        let socket = dir.join("run/docker.sock");
        let mut command = PROXY.command();
        command
            .args(["--label", "e2e.daemon=1", "--daemon"])
            .arg(&engine().socket);
        let daemon = Proxy::start_at(&socket, command);
        Redirected {
            case: Case::with(&socket, arguments),
            dir,
            _daemon: daemon,
        }
    }

    fn socket(&self) -> String {
        self.path("run/docker.sock")
    }

    fn path(&self, below: &str) -> String {
        self.dir.join(below).to_str().unwrap().to_owned()
    }

    /// Runs a container with these options and returns the identity of the socket at `path` in it.
    fn found_at(&self, options: &[&str], path: &str) -> String {
        let run = ["run", "--rm", "--network", "none"];
        let command = [&engine().image, "stat", "-c", "%d:%i", path];
        succeed(self.case.docker(&[&run, options, &command].concat()))
    }

    fn assert_redirected(&self, options: &[&str], path: &str) {
        assert_eq!(
            self.found_at(options, path),
            identity(self.case.proxy.socket()),
            "{options:?}"
        );
    }
}

fn redirected() -> Redirected {
    Redirected::new(&["--redirect-socket-mounts"])
}

fn identity(socket: &Path) -> String {
    let metadata = fs::metadata(socket).unwrap();
    format!("{}:{}", metadata.dev(), metadata.ino())
}

const TARGET: &str = "/var/run/docker.sock";

fn redirect_bind() {
    let case = redirected();
    symlink("run", case.dir.join("link")).unwrap();
    fs::hard_link(case.socket(), case.dir.join("hard")).unwrap();
    for source in [
        "run/docker.sock",
        "link/docker.sock",
        "run/../link//docker.sock",
        "hard",
    ] {
        for mode in ["", ":ro"] {
            let bind = format!("{}:{TARGET}{mode}", case.path(source));
            case.assert_redirected(&["--volume", &bind], TARGET);
        }
    }
}

fn redirect_mount() {
    let case = redirected();
    let mount = format!("type=bind,src={},dst={TARGET}", case.socket());
    case.assert_redirected(&["--mount", &mount], TARGET);
    let mount = format!("{mount},readonly");
    case.assert_redirected(&["--mount", &mount], TARGET);
}

fn redirect_directory() {
    let case = redirected();
    let bind = format!("{}:/host", case.path("run"));
    case.assert_redirected(&["--volume", &bind], "/host/docker.sock");
    let bind = format!("{}:/host/", case.path(""));
    case.assert_redirected(&["--volume", &bind], "/host/run/docker.sock");
    let mount = format!("type=bind,src={},dst=/host", case.path("run"));
    case.assert_redirected(&["--mount", &mount], "/host/docker.sock");
}

fn redirect_disguised() {
    let case = redirected();
    let driver = |device: &str| json!({"Name": "local", "Options": {"type": "none", "o": "bind", "device": device}});
    let mount = |device: &str| {
        let options = json!({"DriverConfig": driver(device)});
        let mount = json!({"Type": "volume", "Target": "/host", "VolumeOptions": options});
        json!({"Image": engine().image, "HostConfig": {"Mounts": [mount]}})
    };
    let response = case
        .case
        .post("/containers/create", &mount(&case.path("run")));
    assert_refused(&response, 403, "--redirect-socket-mounts");
    // A directory without the socket passes.
    fs::create_dir(case.dir.join("other")).unwrap();
    case.case.create("c", &mount(&case.path("other")));
}

fn redirect_volume() {
    let case = redirected();
    let body = |name: &str, device: PathBuf, o: &str| {
        let options = json!({"type": "none", "o": o, "device": device});
        json!({"Name": case.case.name(name), "DriverOpts": options})
    };
    for o in ["bind", "rbind,ro", "ro,bind"] {
        let response = case
            .case
            .post("/volumes/create", &body("v", case.dir.join("run"), o));
        assert_refused(&response, 403, "--redirect-socket-mounts");
    }
    let name = case.case.name("socket");
    case.case.posted(
        "/volumes/create",
        &body("socket", case.socket().into(), "bind"),
    );
    let volume = engine().inspect(Kind::Volume, &name).unwrap();
    assert_eq!(
        volume["Options"]["device"],
        *case.case.proxy.socket().to_str().unwrap()
    );
    let own = super::own(&[("e2e.daemon", "1")]);
    case.case.assert_labels(Kind::Volume, &name, &own);
}

fn no_redirect() {
    let case = Redirected::new(&[]);
    let bind = format!("{}:{TARGET}", case.socket());
    let found = case.found_at(&["--volume", &bind], TARGET);
    assert_eq!(found, identity(case.socket().as_ref()));
}
