//! Builds by BuildKit over gRPC, with docker's plugins buildx and compose: they are labelled, and
//! otherwise the same as without the proxy. The plugins are those that `tests/engine.sh clients`
//! has installed, or else docker's own.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Kind, docker, wait_until};

use super::{Covered, On, own, path, rule};
use crate::case::{Case, LabelMap, labels_of};
use crate::command::{Finished, Running, finish, succeed};
use crate::engine::{JOB, engine, is_private};

const GRPC: &str = "POST /grpc";

pub fn cases() -> Vec<Covered> {
    let (build, compose) = (On::Plugin("buildx"), On::Plugin("compose"));
    vec![
        path(GRPC, "docker buildx build", build, plain),
        path(GRPC, "docker buildx build, --target", build, target),
        path(
            GRPC,
            "docker buildx build, --iidfile and --quiet",
            build,
            ids,
        ),
        path(
            GRPC,
            "docker buildx build, other platforms",
            build,
            platforms,
        ),
        path(GRPC, "docker buildx build, the cache is kept", build, cache),
        path(
            GRPC,
            "docker buildx build, --output type=image",
            build,
            output,
        ),
        path(GRPC, "docker buildx bake", build, bake),
        path(GRPC, "docker compose up --build", compose, compose_up),
        rule(GRPC, "outputs that are not images", build, files),
        rule(GRPC, "a failing build", build, failing),
        rule(
            GRPC,
            "progress is live, and Ctrl-C ends the build",
            build,
            interrupted,
        ),
    ]
}

/// The directory of the plugins that tests/engine.sh has installed, if any.
fn plugins() -> Option<PathBuf> {
    env::var_os("DOCKER_LABEL_PROXY_TEST_PLUGINS").map(Into::into)
}

/// Whether this plugin is available, regardless of the user's configuration.
pub fn has_plugin(name: &str) -> bool {
    let brought = plugins().is_some_and(|dir| dir.join(format!("docker-{name}")).exists());
    let mut command = Command::new(docker());
    command.args([name, "version"]);
    command.env("DOCKER_CONFIG", "/nonexistent");
    brought || command.output().is_ok_and(|output| output.status.success())
}

impl Case {
    /// A case with a Dockerfile and a file to copy. In the Dockerfile `BASE` stands for the image
    /// of the run, and `JOB` for the job.
    fn with_dockerfile(lines: &str) -> Case {
        let case = Case::new();
        case.write_dockerfile(lines);
        case
    }

    fn write_dockerfile(&self, lines: &str) {
        let image = &engine().image;
        let text = lines.replace("BASE", image).replace("JOB", &self.job);
        fs::write(self.dir.join("Dockerfile"), text).unwrap();
        fs::write(self.dir.join("file"), &self.job).unwrap();
    }

    /// The docker command with the plugins, at this socket.
    fn plugin(&self, socket: &std::path::Path, arguments: &[&str]) -> Command {
        let config = self.dir.join("docker-config/cli-plugins");
        if let Some(plugins) = plugins().filter(|_| !config.exists()) {
            fs::create_dir_all(&config).unwrap();
            for entry in fs::read_dir(plugins).unwrap() {
                let entry = entry.unwrap();
                symlink(entry.path(), config.join(entry.file_name())).unwrap();
            }
        }
        let mut command = self.docker_at(socket, arguments);
        command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
        command
    }

    pub(super) fn buildx(&self, arguments: &[&str]) -> Command {
        let arguments = [&["buildx"], arguments].concat();
        self.plugin(self.proxy.socket(), &arguments)
    }

    pub(super) fn buildx_past_the_proxy(&self, arguments: &[&str]) -> Command {
        let arguments = [&["buildx"], arguments].concat();
        self.plugin(&engine().socket, &arguments)
    }

    pub(super) fn image_object(&self, name: &str) -> Value {
        let object = engine().inspect(Kind::Image, name);
        object.unwrap_or_else(|| panic!("no image {name}"))
    }
}

const DOCKERFILE: &str = "FROM BASE\nENV A=JOB\nCOPY file /\nRUN echo JOB >/made\n";

fn plain() {
    let case = Case::with_dockerfile(DOCKERFILE);
    let image = case.name("i");
    let label = format!("{JOB}=mine");
    let labels = ["--label", "own=1", "--label", &label];
    succeed(case.buildx(&[&["build", "-t", &image][..], &labels, &["."]].concat()));
    case.assert_labels(Kind::Image, &image, &own(&[("own", "1")]));
    let line = format!("labelled image \"{image}");
    let log = case.proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.starts_with("[INFO") && line.contains("image"));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.len() == 1 && lines[0].contains(&line), "{log}");
}

fn target() {
    let lines = "FROM BASE AS first\nLABEL a=1 e2e.job=mine\nRUN echo JOB >/first\n\
                 FROM BASE AS second\nCOPY --from=first /first /\nFROM second\nENV NEVER=1\n";
    let case = Case::with_dockerfile(lines);
    for (target, labels) in [("first", &[("a", "1")][..]), ("second", &[])] {
        let image = case.name(target);
        succeed(case.buildx(&["build", "-t", &image, "--target", target, "."]));
        case.assert_labels(Kind::Image, &image, &own(labels));
    }
}

fn ids() {
    let case = Case::with_dockerfile(DOCKERFILE);
    let image = case.name("i");
    let printed = succeed(case.buildx(&["build", "-q", "-t", &image, "--iidfile", "id", "."]));
    let id = configuration_of(&case, &image);
    assert_eq!(printed, id);
    assert_eq!(fs::read_to_string(case.dir.join("id")).unwrap(), id);
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
}

/// The digest of an image's configuration. It is the image's ID, except in containerd's store.
fn configuration_of(case: &Case, image: &str) -> String {
    let file = case.dir.join("image.tar");
    let arguments = ["save", "--output", file.to_str().unwrap(), image];
    succeed(case.docker_past_the_proxy(&arguments));
    let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let manifest = entries.find(|entry| entry.path().unwrap().as_os_str() == "manifest.json");
    let manifest: Value = serde_json::from_reader(manifest.unwrap()).unwrap();
    // DIGEST.json, or blobs/sha256/DIGEST.
    let file = manifest[0]["Config"].as_str().unwrap();
    let digest = file.trim_end_matches(".json").rsplit('/').next().unwrap();
    format!("sha256:{digest}")
}

fn platforms() {
    let case = Case::with_dockerfile("FROM scratch\nCOPY file /\nENV A=JOB\n");
    let image = case.name("i");
    succeed(case.buildx(&["build", "-t", &image, "--platform", "linux/arm64", "."]));
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
    assert_eq!(case.image_object(&image)["Architecture"], "arm64");
    // Whether an engine has images for several platforms depends on its image store.
    let image = case.name("several");
    let arguments = [
        "build",
        "-q",
        "-t",
        &image,
        "--platform",
        "linux/arm64,linux/amd64",
        ".",
    ];
    let (without, with) = both(&case, &arguments);
    assert_eq!(with.code, without.code, "{}{}", with.stderr, without.stderr);
    match with.code {
        Some(0) => case.assert_labels(Kind::Image, &image, &LabelMap::new()),
        _ => assert_eq!(with.stderr, without.stderr),
    }
}

/// Runs a command past the proxy, and then through it.
fn both(case: &Case, arguments: &[&str]) -> (Finished, Finished) {
    let without = finish(case.buildx_past_the_proxy(arguments));
    (without, finish(case.buildx(arguments)))
}

fn cache() {
    let first = Case::with_dockerfile(DOCKERFILE);
    let image = first.name("i");
    succeed(first.buildx(&["build", "-t", &image, "."]));
    // While other cases build, an engine sometimes misses a step in its cache, so this is tried
    // several times. Each try has a proxy with other labels: if labels were part of a step, no try
    // would find it. The cases are kept, since each removes its image.
    let mut others = Vec::new();
    let is_cached = (0..5).any(|_| {
        let layers = first.image_object(&image)["RootFS"].clone();
        let other = Case::new();
        let arguments = ["build", "--progress=plain", "-t", &image, "."];
        let mut command = other.buildx(&arguments);
        command.current_dir(first.dir.path());
        let finished = finish(command);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        other.assert_labels(Kind::Image, &image, &LabelMap::new());
        let lines = finished.stderr.lines();
        let cached = lines.filter(|line| line.ends_with("CACHED")).count();
        others.push(other);
        cached == 2 && first.image_object(&image)["RootFS"] == layers
    });
    assert!(
        is_cached,
        "each build with other labels is made from scratch"
    );
}

fn output() {
    let case = Case::with_dockerfile(DOCKERFILE);
    let image = case.name("i");
    let config = r#"{""config"":{""Labels"":{""evil"":""1""}}}"#;
    let output = format!(r#"type=image,name={image},"containerimage.config={config}""#);
    succeed(case.buildx(&["build", "--output", &output, "."]));
    case.assert_labels(Kind::Image, &image, &LabelMap::new());
    let object = case.image_object(&image);
    let env = object["Config"]["Env"].as_array().unwrap();
    assert!(
        env.contains(&Value::from(format!("A={}", case.job))),
        "{object}"
    );
}

fn bake() {
    let case = Case::with_dockerfile("FROM BASE AS a\nENV A=JOB\nFROM BASE AS b\nENV B=JOB\n");
    let (a, b) = (case.name("a"), case.name("b"));
    let file = format!(
        "group \"default\" {{ targets = [\"a\", \"b\"] }}\n\
         target \"a\" {{\n target = \"a\"\n tags = [\"{a}\"]\n labels = {{ own = \"1\" }}\n}}\n\
         target \"b\" {{\n target = \"b\"\n tags = [\"{b}\"]\n}}\n"
    );
    fs::write(case.dir.join("docker-bake.hcl"), file).unwrap();
    succeed(case.buildx(&["bake"]));
    case.assert_labels(Kind::Image, &a, &own(&[("own", "1")]));
    case.assert_labels(Kind::Image, &b, &LabelMap::new());
}

fn compose_up() {
    let case = Case::with_dockerfile(DOCKERFILE);
    let (project, image) = (case.name("c"), case.name("i"));
    let file = format!(
        "services:\n  web:\n    build: .\n    image: {image}\n    command: sleep 600\n    \
         init: true\n    volumes: [data:/data]\nvolumes:\n  data:\n"
    );
    fs::write(case.dir.join("compose.yaml"), file).unwrap();
    let arguments = ["compose", "-p", &project, "up", "--build", "-d"];
    succeed(case.plugin(case.proxy.socket(), &arguments));
    for (kind, name) in [
        (Kind::Image, image),
        (Kind::Container, format!("{project}-web-1")),
        (Kind::Network, format!("{project}_default")),
        (Kind::Volume, format!("{project}_data")),
    ] {
        let object = engine().inspect(kind, &name);
        let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
        let labels = labels_of(kind, &object);
        assert_eq!(case.labels_over(&labels), labels, "{kind} {name}");
        let is_composed = labels
            .keys()
            .any(|key| key.starts_with("com.docker.compose."));
        assert!(is_composed || kind == Kind::Image, "{labels:?}");
    }
}

fn files() {
    let case = Case::with_dockerfile(
        "FROM BASE AS made\nRUN echo JOB >/made\nFROM scratch\nCOPY --from=made /made /\n",
    );
    let images = || engine().list("/images/json?all=1");
    let ours = |list: &Value| list.to_string().matches(&case.job).count();
    for (kind, file) in [
        ("type=cacheonly", None),
        ("type=local,dest=local", Some("local/made")),
        ("type=tar,dest=made.tar", Some("made.tar")),
    ] {
        succeed(case.buildx_past_the_proxy(&["build", "--output", kind, "."]));
        let read = || file.map(|file| fs::read(case.dir.join(file)).unwrap());
        let expected = read();
        if let Some(file) = file {
            fs::remove_file(case.dir.join(file)).unwrap();
        }
        succeed(case.buildx(&["build", "--output", kind, "."]));
        assert!(read() == expected, "{kind}");
    }
    assert_eq!(ours(&images()), 0);
    assert!(
        !case.proxy.log().contains("labelled image"),
        "{}",
        case.proxy.log()
    );
}

fn failing() {
    let case = Case::with_dockerfile("FROM BASE\nENV A=JOB\nRUN exit 7\n");
    let image = case.name("i");
    let (without, with) = both(&case, &["build", "-q", "-t", &image, "."]);
    assert_eq!(with.code, without.code);
    assert_ne!(with.code, Some(0));
    assert!(with.stderr.contains("exit code: 7"), "{}", with.stderr);
    assert_eq!(with.stderr, without.stderr);
    assert_eq!(with.stdout, without.stdout);
    assert!(engine().inspect(Kind::Image, &image).is_none());
    let line = format!("did not create image \"{image}");
    assert!(case.proxy.log().contains(&line), "{}", case.proxy.log());
}

/// Whether a process runs that has `what` in its command line.
fn is_running(what: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line.windows(what.len()).any(|part| part == what.as_bytes()))
}

fn interrupted() {
    // The quotes keep what the step prints out of the line that shows the step.
    let lines = "FROM BASE\nRUN echo be''gun; while :; do sleep 1; : JOB-step; done\n";
    let case = Case::with_dockerfile(lines);
    let build = case.buildx(&["build", "--progress=plain", "."]);
    // Progress goes to stderr. Ctrl-C in a terminal goes to the whole process group.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh"]);
    command.arg(build.get_program()).args(build.get_args());
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(case.dir.path()).process_group(0);
    let mut running = Running::start(command);
    running.expect(" begun");
    let step = format!("{}-step", case.job);
    let is_seen = is_running(&step);
    assert!(is_seen || !is_private(), "the step runs on this machine");
    killpg(Pid::from_raw(running.pid()), Signal::SIGINT).unwrap();
    assert_ne!(running.wait().code, Some(0));
    wait_until("the daemon ends the step", || !is_running(&step));
}
