//! Bodies of creates.

use super::is_labelled;
use super::reference::Json;
use super::script::{Script, apply};
use crate::inject::image_memory::ImageMemory;
use crate::inject::recipe::Recipe;
use crate::inject::request::CreateRequest;
use crate::inject::{container, libpod, network, object, service, swarm, volume};

/// The body of a create. The first byte chooses the recipe; behind the body, parted by bytes
/// 0xff, stand the daemon's answers about images, containers, its version and all else. What is
/// accepted carries the labels as Go reads it, and so do its volumes; labelled again, it stays.
pub fn json(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let recipes = [
        &container::RECIPE,
        &object::RECIPE,
        &volume::RECIPE,
        &network::RECIPE,
        &service::RECIPE,
        &swarm::INIT,
        &swarm::UPDATE,
        &libpod::container::RECIPE,
        &libpod::pod::RECIPE,
        &libpod::objects::NETWORK,
    ];
    let recipe = recipes[usize::from(first.wrapping_sub(b'a')) % recipes.len()];
    let mut parts = rest.split(|&b| b == 0xff);
    let mut request = CreateRequest {
        version: "/v1.41".to_owned(),
        body: parts.next().unwrap_or_default().to_vec(),
        ..CreateRequest::default()
    };
    let mut script = Script {
        answers: parts.collect(),
        asked: Vec::new(),
        images: ImageMemory::default(),
    };
    if apply(recipe, &mut request, &mut script).is_err() {
        return;
    }
    let once = request.body.clone();
    let body = Json::parse(&once).expect("what is sent is JSON");
    check_labels(recipe, &body, &script);
    if *recipe == container::RECIPE {
        check_volumes(&body, &script);
    }
    let again = apply(recipe, &mut request, &mut script);
    assert!(again.is_ok(), "{again:?}");
    let again = Json::parse(&request.body).expect("what is sent is JSON");
    assert_eq!(again.sorted(), body.sorted());
}

fn check_labels(recipe: &Recipe, body: &Json, script: &Script<'_>) {
    let what = || format!("{recipe:?} {body:?}");
    if *recipe == swarm::INIT {
        let spec = body.field("Spec").expect("a spec");
        assert!(is_labelled(spec, "Labels"), "{}", what());
    } else if *recipe == network::RECIPE && !is_labelled(body, "Labels") {
        // One that is made from a config-only network has the labels of that.
        let from = body
            .field("ConfigFrom")
            .and_then(|from| from.field("Network"));
        assert!(
            from.is_some_and(|name| !name.text().is_empty()),
            "{}",
            what()
        );
        let (question, _) = script.asked.first().expect("a question");
        assert!(question.contains("/networks?filters="));
    } else {
        assert!(is_labelled(body, "Labels"), "{}", what());
    }
    if *recipe == service::RECIPE {
        let task = body.field("TaskTemplate");
        if let Some(container) = task.and_then(|task| task.field("ContainerSpec")) {
            assert!(is_labelled(container, "Labels"), "{}", what());
        }
    }
}

/// Checks that each volume that a container brings along is labelled. That anonymous ones have
/// a labelled entry of `Mounts` or a name is as Docker and Podman want it.
fn check_volumes(body: &Json, script: &Script<'_>) {
    let none = Json::Null;
    let host = body.field("HostConfig").unwrap_or(&none);
    let at_top = ["Binds", "Mounts", "VolumesFrom", "VolumeDriver", "Tmpfs"];
    if *host == Json::Null
        && at_top
            .iter()
            .any(|field| body.fields(field).any(|v| *v != none))
    {
        let asked = |(question, _): &(String, String)| question.ends_with("/version");
        assert!(script.asked.iter().any(asked), "{body:?}");
    }
    let is_podman = script.answers.first().is_some_and(|a| a.starts_with(b"P"))
        && script
            .asked
            .iter()
            .any(|(question, _)| question.contains("/images/"));
    let field = |name| host.field(name).unwrap_or(&none);
    let mut taken = Vec::new();
    for mount in field("Mounts").items() {
        taken.push(clean(mount.field("Target").map_or("", Json::text)));
        check_mount(mount, is_podman, script);
    }
    for bind in field("Binds").items() {
        taken.extend(check_bind(bind.text(), is_podman, script));
    }
    let tmpfs = field("Tmpfs").members().iter();
    taken.extend(tmpfs.map(|(path, _)| {
        if is_podman {
            clean(path.split(':').next().unwrap_or_default())
        } else {
            path.clone()
        }
    }));
    let has_others = field("VolumesFrom")
        .items()
        .iter()
        .any(|from| *from != Json::Null);
    let volumes = body.field("Volumes").unwrap_or(&none);
    for (path, _) in volumes.members() {
        // Where a volume comes from another container, that one was labelled when it was made.
        assert!(
            has_others || taken.contains(&clean(path)),
            "{path:?} {body:?}"
        );
    }
}

/// Checks that a volume of `Mounts` is labelled.
fn check_mount(mount: &Json, is_podman: bool, script: &Script<'_>) {
    let text = |name| mount.field(name).map_or("", Json::text);
    if text("Type") != "volume" {
        return;
    }
    if is_podman {
        // The names of anonymous ones are the daemon's answer.
        let source = text("Source");
        assert!(!source.is_empty() && script.has_made_one(), "{mount:?}");
    } else {
        let options = mount.field("VolumeOptions").expect("options");
        assert!(is_labelled(options, "Labels"), "{mount:?}");
    }
}

/// Checks that a volume of `Binds` is labelled, and returns the path that it is mounted at.
fn check_bind(bind: &str, is_podman: bool, script: &Script<'_>) -> Option<String> {
    let parts: Vec<&str> = bind.split(':').collect();
    match parts[..] {
        [path] if path.starts_with('/') => panic!("an anonymous volume: {bind:?}"),
        [source, path] | [source, path, _] if path.starts_with('/') => {
            let is_path = source.starts_with('/') || is_podman && source.starts_with('.');
            let is_labelled = || script.has_created(source) || is_podman && script.has_made_one();
            assert!(is_path || source.is_empty() || is_labelled(), "{bind:?}");
            Some(clean(path))
        }
        _ => None,
    }
}

/// A path as the daemon takes it, without empty elements and dots.
fn clean(path: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => (),
            ".." => drop(elements.pop()),
            _ => elements.push(element),
        }
    }
    format!("/{}", elements.join("/"))
}
