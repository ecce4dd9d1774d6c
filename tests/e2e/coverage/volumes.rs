//! Volumes that come with a container, and volumes that are created on their own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Kind, wait_until};

use super::{Covered, On, assert_refused, own, path, rule, volumes_of};
use crate::case::{Case, LabelMap};
use crate::command::{Running, succeed};
use crate::creates::comparable;
use crate::engine::{JOB, engine};

const CREATE: &str = "POST /containers/create";

/// Engines that remove labelled anonymous volumes. Podman up to 5 takes them for named ones.
const REMOVES_ANONYMOUS: On = On::DockerOrPodmanFrom(6);

pub fn cases() -> Vec<Covered> {
    let mut cases: Vec<Covered> = [
        ("Binds, named", binds as fn()),
        ("Binds, named, with a driver", binds_with_driver),
        ("Binds, named, with z and consistency", binds_of_their_own),
        ("Binds, anonymous", anonymous_binds),
        ("Mounts with a source", mounts_with_source),
        ("Mounts without a source", mounts_without_source),
        ("Mounts with labels of their own", mounts_with_labels),
        ("Mounts with a driver", mounts_with_driver),
        ("Volumes", volumes),
        ("Volumes with a slash at the end", volumes_with_slash),
        ("Volumes that name one path twice", volumes_twice),
        ("VOLUMEs of the image", image_volumes),
        ("VOLUMEs of the image that a tag or ID names", image_by_id),
        ("all of them at once", all_at_once),
        ("VolumesFrom", volumes_from),
        ("tmpfs at the path of a VOLUME", tmpfs),
        ("docker run --volume --mount", docker_run),
    ]
    .into_iter()
    .map(|(variant, run)| path(CREATE, variant, On::Any, run))
    .collect();
    cases.extend([
        path(
            CREATE,
            "HostConfig at the top",
            On::DockerBefore(46),
            top_level,
        ),
        path(
            CREATE,
            "HostConfig at the top, and null",
            On::DockerBefore(46),
            top_level_and_null,
        ),
        path("POST /volumes/create", "named", On::Any, named),
        path("POST /volumes/create", "anonymous", On::Any, anonymous),
        rule(
            CREATE,
            "docker rm --volumes removes anonymous volumes",
            REMOVES_ANONYMOUS,
            rm_volumes,
        ),
        rule(
            CREATE,
            "docker run --rm removes anonymous volumes",
            REMOVES_ANONYMOUS,
            run_rm,
        ),
        rule(
            CREATE,
            "volumes start with the content of the image",
            On::Any,
            copy_up,
        ),
        rule(
            CREATE,
            "inspect is the same as without the proxy",
            On::Docker,
            same_inspect,
        ),
        rule(CREATE, "an existing volume is unchanged", On::Any, existing),
        rule(
            CREATE,
            "Binds that no daemon should understand are refused",
            On::Any,
            wrong_binds,
        ),
        rule(
            CREATE,
            "a target that is bound twice is refused",
            On::Any,
            bound_twice,
        ),
        rule(
            CREATE,
            "a clone of what inspect shows may bind its anonymous volumes",
            On::Docker,
            clone_of_inspect,
        ),
        rule(CREATE, "prune removes anonymous volumes", On::Any, prune),
        rule(
            "POST /containers/*/start",
            "a body that would create volumes is refused",
            On::DockerBefore(42),
            start_with_body,
        ),
    ]);
    cases
}

/// Creates a container with this `HostConfig`, and asserts that it has labelled volumes at exactly
/// these paths.
fn host_config(host: Value, paths: &[&str]) {
    let case = Case::new();
    let text = host.to_string().replace("{job}", &case.job);
    let host: Value = serde_json::from_str(&text).unwrap();
    let body = json!({"Image": engine().image, "HostConfig": host});
    let container = case.create("c", &body);
    let volumes = case.assert_container(&container, paths);
    for (at, volume) in volumes {
        if text.contains(&format!("-{}", at.trim_start_matches('/'))) {
            assert_eq!(volume, case.name(at.trim_start_matches('/')), "at {at}");
        }
    }
}

fn binds() {
    host_config(
        json!({"Binds": ["{job}-a:/a", "{job}-a:/a2:ro", "{job}-b:/b/:nocopy", "/tmp:/host"]}),
        &["/a", "/a2", "/b"],
    );
}

fn binds_with_driver() {
    host_config(
        json!({"Binds": ["{job}-a:/a"], "VolumeDriver": "local"}),
        &["/a"],
    );
}

fn binds_of_their_own() {
    host_config(
        json!({"Binds": ["{job}-a:/a:z", "{job}-a:/a2:Z,ro", "{job}-b:/b:nocopy", "{job}-c:/c:z"]}),
        &["/a", "/a2", "/b", "/c"],
    );
}

fn anonymous_binds() {
    host_config(json!({"Binds": ["/a", "/b/"]}), &["/a", "/b"]);
}

fn mounts_with_source() {
    let mount = |name: &str| json!({"Type": "volume", "Source": format!("{{job}}-{name}"), "Target": format!("/{name}")});
    host_config(json!({"Mounts": [mount("a"), mount("b")]}), &["/a", "/b"]);
}

fn mounts_without_source() {
    host_config(
        json!({"Mounts": [
            {"Type": "volume", "Target": "/a"},
            {"Type": "volume", "Source": "", "Target": "/b", "VolumeOptions": {"NoCopy": true}},
            {"Type": "tmpfs", "Target": "/t"},
            {"Type": "bind", "Source": "/tmp", "Target": "/host"},
        ]}),
        &["/a", "/b"],
    );
}

fn mounts_with_labels() {
    let case = Case::new();
    let (named, mine) = (case.name("a"), own(&[("own", "1"), (JOB, "mine")]));
    let options = json!({"Labels": mine});
    let body = json!({"Image": engine().image, "HostConfig": {"Mounts": [
        {"Type": "volume", "Source": named, "Target": "/a", "VolumeOptions": options},
        {"Type": "volume", "Target": "/b", "VolumeOptions": options},
    ]}});
    let container = case.create("c", &body);
    case.assert_labels(Kind::Container, &container, &LabelMap::new());
    let volumes = volumes_of(&container);
    assert_eq!(volumes["/a"], named);
    for at in ["/a", "/b"] {
        case.assert_labels(Kind::Volume, &volumes[at], &own(&[("own", "1")]));
    }
}

fn mounts_with_driver() {
    let case = Case::new();
    let config =
        json!({"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}});
    let mut mounts = vec![
        json!({"Type": "volume", "Source": case.name("a"), "Target": "/a", "VolumeOptions": {"DriverConfig": config}}),
        json!({"Type": "volume", "Target": "/b", "VolumeOptions": {"DriverConfig": config}}),
    ];
    // Podman ignores driver options here.
    if engine().is_podman() {
        for mount in &mut mounts {
            mount["VolumeOptions"]["DriverConfig"]["Options"] = json!({});
        }
    }
    let body = json!({"Image": engine().image, "HostConfig": {"Mounts": mounts}});
    let container = case.create("c", &body);
    for volume in case.assert_container(&container, &["/a", "/b"]).values() {
        let volume = engine().inspect(Kind::Volume, volume).unwrap();
        assert_eq!(volume["Driver"], "local");
        if !engine().is_podman() {
            assert_eq!(volume["Options"]["o"], "size=1m");
        }
    }
}

fn volumes() {
    let case = Case::new();
    let body = json!({"Image": engine().image, "Volumes": {"/a": {}, "/b/c": {}}});
    let container = case.create("c", &body);
    case.assert_container(&container, &["/a", "/b/c"]);
}

/// Whether the engine itself refuses two volumes at a path that is spelled in two ways, as Podman
/// does from 5 on.
fn refuses_spellings() -> bool {
    engine().podman.is_some_and(|major| major >= 5)
}

/// Asserts that the engine refuses this.
fn assert_duplicate(case: &Case, body: &Value) {
    let response = case.post("/containers/create", body);
    assert_eq!(response.status(), 500, "{response:?}");
    let text = response.text();
    assert!(text.contains("duplicate mount destination"), "{text}");
}

fn volumes_with_slash() {
    let case = Case::new();
    let body = json!({"Image": engine().image, "Volumes": {"/an/": {}, "/b//c": {}}});
    let container = case.create("c", &body);
    case.assert_container(&container, &["/an", "/b/c"]);
}

fn volumes_twice() {
    let case = Case::new();
    let mut body = json!({
        "Image": engine().image,
        "Volumes": {"/a": {}, "/a/": {}, "/b": {}, "/x/../c": {}},
        "HostConfig": {
            "Binds": ["/b", format!("{}:/c", case.name("c"))],
            "Mounts": [{"Type": "volume", "Target": "/d"}],
        },
    });
    if refuses_spellings() {
        assert_duplicate(&case, &body);
        body["Volumes"] = json!({"/a": {}, "/b": {}, "/c": {}});
    }
    let container = case.create("c", &body);
    let volumes = case.assert_container(&container, &["/a", "/b", "/c", "/d"]);
    assert_eq!(volumes["/c"], case.name("c"));
}

fn image_volumes() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v", "VOLUME [\"/w\", \"/x y\"]"]);
    let container = case.create("c", &json!({"Image": image}));
    case.assert_container(&container, &["/v", "/w", "/x y"]);
}

fn image_by_id() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v"]);
    let id = engine().inspect(Kind::Image, &image).unwrap()["Id"].clone();
    let short = id.as_str().unwrap().trim_start_matches("sha256:")[..12].to_owned();
    for (i, name) in [
        format!("{image}:latest"),
        short,
        id.as_str().unwrap().to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let container = case.create(&format!("c{i}"), &json!({"Image": name}));
        case.assert_container(&container, &["/v"]);
    }
}

fn all_at_once() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v", "VOLUME /w", "VOLUME /x"]);
    let mut body = json!({
        "Image": image,
        "Volumes": {"/a": {}, "/v/": {}, "/n": {}},
        "HostConfig": {
            "Binds": [format!("{}:/v", case.name("v")), "/b", "/tmp:/w"],
            "Mounts": [{"Type": "volume", "Source": case.name("n"), "Target": "/n"}],
        },
    });
    if refuses_spellings() {
        assert_duplicate(&case, &body);
        body["Volumes"] = json!({"/a": {}, "/v": {}, "/n": {}});
    }
    let container = case.create("c", &body);
    let volumes = case.assert_container(&container, &["/a", "/b", "/n", "/v", "/x"]);
    assert_eq!(volumes["/v"], case.name("v"));
    assert_eq!(volumes["/n"], case.name("n"));
}

fn volumes_from() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v", "VOLUME /w"]);
    let first = case.create(
        "first",
        &json!({"Image": engine().image, "Volumes": {"/v": {}}}),
    );
    let before = case.assert_container(&first, &["/v"]);
    for (name, from) in [
        ("slash", format!("/{first}")),
        ("second", format!("{first}:ro")),
    ] {
        if name == "slash" && engine().is_podman() {
            continue;
        }
        volumes_from_first(&case, &image, name, &from, &before);
    }
}

fn volumes_from_first(
    case: &Case,
    image: &str,
    name: &str,
    from: &str,
    before: &BTreeMap<String, String>,
) {
    let body = json!({"Image": image, "HostConfig": {"VolumesFrom": [from]}});
    let second = case.create(name, &body);
    let after = case.assert_container(&second, &["/v", "/w"]);
    assert_eq!(after["/v"], before["/v"]);
    assert_ne!(after["/w"], before["/v"]);
}

fn tmpfs() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v", "VOLUME /w"]);
    let host = json!({"Tmpfs": {"/v": ""}});
    let container = case.create("c", &json!({"Image": image, "HostConfig": host}));
    case.assert_container(&container, &["/w"]);
}

fn docker_run() {
    let case = Case::new();
    let (image, container) = (case.image("i", &["VOLUME /v"]), case.name("c"));
    let (named, mounted) = (case.name("n"), case.name("m"));
    let (volume, mount) = (
        format!("{named}:/n"),
        format!("type=volume,src={mounted},dst=/m"),
    );
    let options = ["run", "--detach", "--network", "none", "--name", &container];
    let volumes = [
        "--volume",
        &volume,
        "--volume",
        "/a",
        "--mount",
        &mount,
        "--mount",
        "type=volume,dst=/b",
    ];
    succeed(case.docker(&[&options[..], &volumes, &[&image, "true"]].concat()));
    let volumes = case.assert_container(&container, &["/a", "/b", "/m", "/n", "/v"]);
    assert_eq!(volumes["/n"], named);
    assert_eq!(volumes["/m"], mounted);
}

fn top_level() {
    let case = Case::new();
    let body = json!({
        "Image": engine().image,
        "Binds": [format!("{}:/a", case.name("a")), "/b"],
        "mounts": [{"Type": "volume", "Target": "/c"}],
        "Memory": 64 << 20,
        "ReadonlyRootfs": true,
    });
    let container = case.create("c", &body);
    let volumes = case.assert_container(&container, &["/a", "/b", "/c"]);
    assert_eq!(volumes["/a"], case.name("a"));
    let host = &engine().inspect(Kind::Container, &container).unwrap()["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["ReadonlyRootfs"], true);
}

fn top_level_and_null() {
    let case = Case::new();
    let body = json!({
        "Image": engine().image,
        "HostConfig": null,
        "Binds": [format!("{}:/a", case.name("a"))],
        "Volumes": {"/b": {}},
    });
    let container = case.create("c", &body);
    case.assert_container(&container, &["/a", "/b"]);
}

fn named() {
    let case = Case::new();
    let name = case.name("v");
    let labels = json!({"own": "1", JOB: "mine"});
    case.posted("/volumes/create", &json!({"Name": name, "Labels": labels}));
    case.assert_labels(Kind::Volume, &name, &own(&[("own", "1")]));
}

fn anonymous() {
    let case = Case::new();
    let volume = case.posted("/volumes/create", &json!({}));
    let name = volume["Name"].as_str().unwrap();
    case.assert_labels(Kind::Volume, name, &LabelMap::new());
}

/// Arguments of docker for a container with volumes of every kind. The anonymous ones are at `/a`,
/// `/b` and `/v`. The last argument is the image.
fn of_every_kind(case: &Case) -> Vec<String> {
    let image = case.image("i", &["VOLUME /v"]);
    let (named, mounted) = (case.name("n"), case.name("m"));
    let (volume, mount) = (
        format!("{named}:/n"),
        format!("type=volume,src={mounted},dst=/m"),
    );
    [
        "--network",
        "none",
        "--name",
        &case.name("c"),
        "--volume",
        &volume,
        "--volume",
        "/a",
    ]
    .into_iter()
    .chain(["--mount", &mount, "--mount", "type=volume,dst=/b", &image])
    .map(str::to_owned)
    .collect()
}

fn is_there(volume: &str) -> bool {
    engine().inspect(Kind::Volume, volume).is_some()
}

fn rm_volumes() {
    let case = Case::new();
    let arguments = of_every_kind(&case);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    succeed(case.docker(&[&["create"], &arguments[..], &["true"]].concat()));
    let container = case.name("c");
    let volumes = case.assert_container(&container, &["/a", "/b", "/m", "/n", "/v"]);
    succeed(case.docker(&["rm", "--volumes", &container]));
    for (at, volume) in volumes {
        assert_eq!(
            is_there(&volume),
            matches!(&*at, "/m" | "/n"),
            "volume at {at}"
        );
    }
}

fn run_rm() {
    let case = Case::new();
    let arguments = of_every_kind(&case);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let options = ["run", "--rm", "--interactive"];
    let mut running = Running::start(
        case.docker(&[&options, &arguments[..], &["sh", "-c", "echo up; read x"]].concat()),
    );
    running.expect("up");
    let container = case.name("c");
    let volumes = case.assert_container(&container, &["/a", "/b", "/m", "/n", "/v"]);
    running.close_input();
    running.wait();
    wait_until("the container is removed", || {
        engine().inspect(Kind::Container, &container).is_none()
    });
    for (at, volume) in volumes {
        let stays = matches!(&*at, "/m" | "/n");
        if !stays {
            wait_until(&format!("the volume at {at} is removed"), || {
                !is_there(&volume)
            });
        }
        assert_eq!(is_there(&volume), stays, "volume at {at}");
    }
}

fn copy_up() {
    let case = Case::new();
    let (with, without) = (
        case.image("with", &["VOLUME /v"]),
        case.image("without", &[]),
    );
    let named = format!("{}:/v", case.name("n"));
    for (image, options) in [
        (&with, &[][..]),
        (&without, &["--volume", "/v"]),
        (&without, &["--volume", &named]),
        (&without, &["--mount", "type=volume,dst=/v"]),
    ] {
        let run = ["run", "--rm", "--network", "none"];
        let command = case.docker(&[&run, options, &[image, "cat", "/v/seed"]].concat());
        assert_eq!(succeed(command), "seed", "{options:?}");
    }
}

fn same_inspect() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v"]);
    let body = json!({
        "Image": image,
        "Cmd": ["true"],
        "Labels": {JOB: case.job},
        "Volumes": {"/a": {}},
        "HostConfig": {
            "Binds": [format!("{}:/n:ro", case.name("n"))],
            "Tmpfs": {"/t": ""},
            "NetworkMode": "none",
        },
    });
    let plain = case.name("plain");
    // The label lets the case find the volume to remove it.
    let volume = json!({"Name": case.name("n"), "Labels": {JOB: case.job}}).to_string();
    engine().ask("POST", "/volumes/create", Some(&volume));
    let target = format!("/containers/create?name={plain}");
    let (status, answer) = engine().ask("POST", &target, Some(&body.to_string()));
    assert_eq!(status, 201, "{answer}");
    let proxied = case.create("proxied", &body);
    let mut plain = shown(&plain);
    let mut proxied = shown(&proxied);
    // Only entries in Mounts can carry labels, so the proxy adds the anonymous volumes there, and
    // moves the named ones.
    let binds = [&mut plain, &mut proxied].map(|shown| shown["HostConfig"]["Binds"].take());
    assert_eq!(binds, [body["HostConfig"]["Binds"].clone(), json!([])]);
    let added = proxied["HostConfig"]["Mounts"].take();
    let mut added: Vec<&str> = added
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mount| mount["Target"].as_str())
        .collect();
    added.sort_unstable();
    assert_eq!(added, ["/a", "/n", "/v"]);
    let host = proxied["HostConfig"].as_object_mut().unwrap();
    host.remove("Mounts");
    assert_eq!(proxied, plain);
}

/// Returns what inspect shows, without what differs from container to container, and without the
/// mode of volumes, which is `z` for those with labels.
fn shown(name: &str) -> Value {
    let object = engine().inspect(Kind::Container, name).unwrap();
    let mut shown = comparable(Kind::Container, &object, name);
    let mounts = shown["Mounts"].as_array_mut().unwrap();
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    for mount in mounts {
        mount["Mode"] = json!("differs");
        if mount["Destination"] != "/n" {
            for member in ["Name", "Source"] {
                mount[member] = json!("differs");
            }
        }
    }
    shown
}

fn existing() {
    let case = Case::new();
    let name = case.name("n");
    let body = json!({"Name": name, "Labels": {"own": "1"}}).to_string();
    let (status, _) = engine().ask("POST", "/volumes/create", Some(&body));
    assert_eq!(status, 201);
    let host = json!({"Binds": [format!("{name}:/n")]});
    let container = case.create("c", &json!({"Image": engine().image, "HostConfig": host}));
    assert_eq!(volumes_of(&container)["/n"], name);
    let volume = engine().inspect(Kind::Volume, &name).unwrap();
    assert_eq!(volume["Labels"], json!({"own": "1"}));
}

/// Asserts that a create with this `HostConfig` is refused by whoever, and that the volume `v` of
/// the case is not there afterwards.
fn assert_not_created(host: &Value) {
    let case = Case::new();
    let host = host.to_string().replace("{v}", &case.name("v"));
    let host: Value = serde_json::from_str(&host).unwrap();
    let body = json!({"Image": engine().image, "HostConfig": host});
    let response = case.post("/containers/create", &body);
    assert!(response.status() >= 400, "{host}: {response:?}");
    assert!(!is_there(&case.name("v")), "{host}");
}

fn wrong_binds() {
    for bind in [
        r"{v}:\foo",
        r"{v}:\foo:ro",
        r"{v}:\/foo",
        "{v}:foo",
        "{v}:/a:b:c",
    ] {
        assert_not_created(&json!({"Binds": [bind]}));
    }
    for second in [r"\anon", r"\anon:ro", ":/x", "", "anon"] {
        assert_not_created(&json!({"Binds": ["{v}:/v:z", second]}));
    }
    for mount in [
        json!(null),
        json!({"Source": "{v}", "Target": "/x"}),
        json!({"Type": "Volume", "Source": "{v}", "Target": "/x"}),
    ] {
        assert_not_created(&json!({"Binds": ["{v}:/v:z"], "Mounts": [mount]}));
    }
}

fn bound_twice() {
    let case = Case::new();
    let host = json!({"Binds": ["/iv", "/iv/"]});
    let body = json!({"Image": engine().image, "HostConfig": host});
    let target = format!("/containers/create?name={}", case.name("c"));
    let response = case.post(&target, &body);
    assert_eq!(response.status(), 400, "{response:?}");
}

/// An updater copies the settings of a container from what the engine shows of it, removes it, and
/// binds its anonymous volume where it was.
fn clone_of_inspect() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v"]);
    let first = case.create("first", &json!({"Image": image}));
    let volume = case.assert_container(&first, &["/v"])["/v"].clone();
    let mut shown = engine().inspect(Kind::Container, &first).unwrap();
    let mut body = shown["Config"].take();
    body["HostConfig"] = shown["HostConfig"].take();
    // As it is.
    let second = case.create("second", &body);
    case.assert_container(&second, &["/v"]);
    body["HostConfig"]["Binds"] = json!([format!("{volume}:/v")]);
    let third = case.create("third", &body);
    assert_eq!(case.assert_container(&third, &["/v"])["/v"], volume);
}

fn prune() {
    let case = Case::new();
    let image = case.image("i", &["VOLUME /v"]);
    // No volume in Mounts: some engines do not prune those, with or without the proxy.
    let host = json!({"Binds": ["/b"]});
    let body = json!({"Image": image, "Volumes": {"/a": {}}, "HostConfig": host});
    let container = case.create("c", &body);
    let volumes = case.assert_container(&container, &["/a", "/b", "/v"]);
    case.posted("/volumes/create", &json!({"Name": case.name("n")}));
    let (status, _) = engine().ask("DELETE", &format!("/containers/{container}"), None);
    assert_eq!(status, 204);
    let mut expected: Vec<&str> = volumes.values().map(String::as_str).collect();
    // From API 1.42 on Docker keeps named volumes.
    let named = case.name("n");
    let takes_named = engine().is_podman() || On::DockerBefore(42).is_here();
    expected.extend(takes_named.then_some(&*named));
    expected.sort_unstable();
    // Old engines prune all volumes, so this asks for those of the case.
    let filters = json!({"label": [format!("{JOB}={}", case.job)]}).to_string();
    let target = format!("/volumes/prune?filters={}", super::encoded(&filters));
    let answer = case.posted(&target, &Value::Null);
    let deleted = answer["VolumesDeleted"].as_array().into_iter().flatten();
    let mut deleted: Vec<&str> = deleted.filter_map(Value::as_str).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, expected);
}

fn start_with_body() {
    let case = Case::new();
    let (container, volume) = (case.container("true"), case.name("n"));
    let target = format!("/v1.23/containers/{container}/start");
    let body = json!({"Binds": [format!("{volume}:/n"), "/a"]});
    assert_refused(&case.post(&target, &body), 400, "1.24");
    assert!(!is_there(&volume));
    assert!(volumes_of(&container).is_empty());
    // Without a body the container starts.
    let response = case.upload(&target, "text/plain", b"");
    assert_eq!(response.status(), 204, "{response:?}");
}
