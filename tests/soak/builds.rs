//! Builds with the classic builder, with BuildKit and with buildx if it is installed, and commits:
//! the image is labelled and has the content that was sent.

use std::env;
use std::fs;
use std::io::empty;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Kind, docker};

use crate::client::{Client, Done, Fail, success};
use crate::engine::BUILD_STEP;
use crate::operation::Operation;
use crate::random::Data;
use crate::tar;

fn dockerfile(op: &mut Operation<'_>) -> String {
    let step = match op.random.below(3) {
        0 => format!("RUN echo {BUILD_STEP}\n"),
        _ => String::new(),
    };
    format!(
        "FROM busybox\nENV BUILT_BY={}\n{step}COPY data /data\nLABEL soak.job=mine\n",
        op.name
    )
}

/// Reads the file `path` of a container through the proxy, and checks that it is `data`.
pub fn check_file(op: &Operation<'_>, container: &str, path: &str, data: Data) -> Done {
    let mut client = op.proxy()?;
    check_file_at(&mut client, container, path, data.clone())?;
    op.compared(data.left());
    Ok(())
}

fn check_file_at(client: &mut Client, container: &str, path: &str, data: Data) -> Done {
    client.send(crate::client::request(
        "GET",
        &format!("/containers/{container}/archive?path={path}"),
        None,
    ))?;
    let head = client.head()?;
    if head.status() != 200 {
        let mut answer = head.clone();
        std::io::Read::read_to_end(&mut client.body(&head), &mut answer.body)?;
        return success(&answer).map(|_| ());
    }
    tar::check(&mut client.body(&head), data)
}

/// Checks that the image is labelled and has the file, and removes it.
fn check_image(op: &mut Operation<'_>, image: &str, data: Data) -> Done {
    op.check_labels(Kind::Image, image)?;
    if op.random.one_in(2) {
        let container = op.name("of-image");
        let body = format!(r#"{{"Image":"{image}","Cmd":["true"]}}"#);
        op.proxy()?.succeed(
            "POST",
            &format!("/containers/create?name={container}"),
            Some(&body),
        )?;
        op.check_container(&container)?;
        check_file(op, &container, "/data", data)?;
        op.remove(Kind::Container, &container)?;
    }
    op.remove(Kind::Image, image)
}

fn raw(op: &mut Operation<'_>, parameters: &str) -> Done {
    let image = op.name("built");
    let length = op.length();
    let data = op.data(length);
    let dockerfile = dockerfile(op);
    let (archive, length) = tar::archive(&[("Dockerfile", &dockerfile)], "data", data.clone());
    let head = format!(
        "POST /build?t={image}{parameters} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n"
    );
    let mut client = op.proxy()?;
    op.upload(&mut client, &head, archive, length)?;
    let answer = client.response()?;
    success(&answer)?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if text.contains("\"error\"") {
        return Err(Fail::Declined(
            text.chars()
                .rev()
                .take(300)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect(),
        ));
    }
    check_image(op, &image, data)
}

pub fn classic(op: &mut Operation<'_>) -> Done {
    let parameters = *op.random.pick(&[
        "",
        "&labels=",
        "&labels=null",
        "&rm=0",
        "&l%61bels={%22soak.job%22:%22mine%22}",
    ]);
    raw(op, parameters)
}

pub fn buildkit(op: &mut Operation<'_>) -> Done {
    raw(op, "&version=2&labels={%22a%22:%221%22}")
}

fn context(op: &mut Operation<'_>) -> Done<(String, Data)> {
    let length = op.length();
    let data = op.data(length);
    let dockerfile = dockerfile(op);
    let dir = op.path("context");
    fs::create_dir(&dir)?;
    fs::write(dir.join("Dockerfile"), dockerfile)?;
    fs::write(dir.join("data"), data.clone().bytes())?;
    Ok((dir.to_str().unwrap().to_owned(), data))
}

pub fn command(op: &mut Operation<'_>) -> Done {
    let image = op.name("built");
    let (context, data) = context(op)?;
    op.succeed(
        op.docker(&["build", "--quiet", "--tag", &image, &context]),
        empty(),
    )?;
    check_image(op, &image, data)
}

pub fn buildx(op: &mut Operation<'_>) -> Done {
    let image = op.name("built");
    let (context, data) = context(op)?;
    let mut build = op.docker(&[
        "buildx",
        "build",
        "--tag",
        &image,
        "--label",
        "soak.job=mine",
        &context,
    ]);
    build.env_remove("DOCKER_BUILDKIT");
    op.succeed(build, empty())?;
    check_image(op, &image, data)
}

/// Whether the docker command has buildx, regardless of the user's configuration. If
/// tests/engine.sh has installed it, it is linked into the configuration at `config`.
pub fn has_buildx(config: &Path) -> bool {
    let brought = env::var_os("DOCKER_LABEL_PROXY_TEST_PLUGINS").map(PathBuf::from);
    if let Some(plugins) = brought.filter(|dir| dir.join("docker-buildx").exists()) {
        fs::create_dir_all(config).unwrap();
        symlink(plugins, config.join("cli-plugins")).unwrap();
        return true;
    }
    let mut command = Command::new(docker());
    command
        .args(["buildx", "version"])
        .env("DOCKER_CONFIG", "/nonexistent");
    command.output().is_ok_and(|output| output.status.success())
}

pub fn commit(op: &mut Operation<'_>) -> Done {
    let (container, image) = (op.name("c"), op.name("committed"));
    op.container(&container, "true")?;
    let change = "LABEL soak.job=mine";
    op.succeed(
        op.docker(&["commit", "--change", change, &container, &image]),
        empty(),
    )?;
    op.check_labels(Kind::Image, &image)?;
    op.remove(Kind::Container, &container)?;
    op.remove(Kind::Image, &image)
}
