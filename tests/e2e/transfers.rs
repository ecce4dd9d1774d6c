//! Large transfers: they arrive whole, and the proxy does not buffer them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use support::Kind;

use crate::case::Case;
use crate::command::succeed;
use crate::engine::engine;
use crate::raw_creates::tar;
use crate::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("transfer/docker cp both ways", copy),
        test(
            "transfer/docker save and docker load of 120 MB",
            save_and_load,
        ),
        test("transfer/docker save | docker load", save_pipe_load),
        test("transfer/docker build with a context of 120 MB", build),
    ]
}

const LARGE: usize = 120_000_000;

/// The most memory that the proxy may need while something large passes, in bytes: room for its
/// program, its buffers and its stacks, but not for what passes.
const MEMORY: usize = 32 << 20;

/// Returns bytes that do not compress.
fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    bytes
}

fn assert_little_memory(case: &Case) {
    let peak = case.proxy.usage().peak_memory;
    assert!(peak < MEMORY, "the proxy had {peak} bytes in memory");
}

fn copy() {
    let case = Case::new();
    let container = case.container("true");
    let (sent, came) = (case.dir.join("sent"), case.dir.join("came"));
    fs::write(&sent, random(10_000_000)).unwrap();
    let inside = format!("{container}:/tmp/file");
    succeed(case.docker(&["cp", sent.to_str().unwrap(), &inside]));
    succeed(case.docker(&["cp", &inside, came.to_str().unwrap()]));
    assert!(
        fs::read(&sent).unwrap() == fs::read(&came).unwrap(),
        "the file is another"
    );
    let past = case.dir.join("past");
    succeed(case.docker_past_the_proxy(&["cp", &inside, past.to_str().unwrap()]));
    assert!(
        fs::read(&sent).unwrap() == fs::read(&past).unwrap(),
        "the file in the container is another"
    );
}

fn save_and_load() {
    let case = Case::new();
    let name = case.name("large");
    engine().import(&name, &tar("large", &random(LARGE)));
    let id = engine().inspect(Kind::Image, &name).unwrap()["Id"].clone();
    let file = case.dir.join("image.tar");
    let mut save = case.docker(&["save", &name]);
    assert!(
        save.stdout(File::create(&file).unwrap())
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::metadata(&file).unwrap().len() > LARGE as u64);
    assert_eq!(
        engine().ask("DELETE", &format!("/images/{name}"), None).0,
        200
    );
    assert_eq!(engine().inspect(Kind::Image, &name), None);
    let loaded = succeed(case.docker(&["load", "--input", file.to_str().unwrap()]));
    assert!(loaded.contains(&name), "{loaded}");
    assert_eq!(engine().inspect(Kind::Image, &name).unwrap()["Id"], id);
    assert_little_memory(&case);
}

fn save_pipe_load() {
    let case = Case::new();
    let name = case.name("piped");
    engine().import(&name, &tar("piped", &random(1_000_000)));
    let mut save = case
        .docker(&["save", &name])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut load = case.docker(&["load"]);
    let loaded = load.stdin(save.stdout.take().unwrap()).output().unwrap();
    assert!(save.wait().unwrap().success() && loaded.status.success());
    assert_eq!(
        String::from_utf8(loaded.stdout).unwrap(),
        format!("Loaded image: {name}:latest\n")
    );
}

fn build() {
    let case = Case::new();
    let context = case.dir.join("context");
    fs::create_dir(&context).unwrap();
    write_random(&context.join("large"), LARGE);
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY large /large\n",
    )
    .unwrap();
    let name = case.name("built");
    let mut build = case.docker(&["build", "--quiet", "--tag", &name, "context"]);
    build.env("DOCKER_BUILDKIT", "0");
    succeed(build);
    case.assert_labelled(Kind::Image, &name);
    let size = engine().inspect(Kind::Image, &name).unwrap()["Size"]
        .as_u64()
        .unwrap();
    assert_eq!(size, LARGE as u64);
    assert_little_memory(&case);
}

fn write_random(path: &Path, length: usize) {
    File::create(path)
        .unwrap()
        .write_all(&random(length))
        .unwrap();
}
