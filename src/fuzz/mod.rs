//! Ways in for the fuzz targets in tests/fuzz, so that fuzzing needs no public interface. Built
//! with `--cfg fuzzing` only. What the proxy makes of bytes is compared with what the readers in
//! `reference` make of them, which share no code with it.

mod connection;
mod http2;
mod reference;

use std::collections::BTreeSet;

use crate::error::Refusal;
use crate::http1::Body;
use crate::http1::chunked::Chunked;
use crate::http1::head::{HeadEnd, RequestHead, ResponseHead};
use crate::http1::target::Target;
use crate::inject::image::{build, commit, import};
use crate::inject::image_memory::ImageMemory;
use crate::inject::recipe::Recipe;
use crate::inject::request::{Answer, Create, CreateRequest, Daemon, Rejection};
use crate::inject::{container, libpod, network, object, service, swarm, volume};
use crate::labels::{Label, Labels};
use crate::policy::Policy;
use reference::{Json, Read, chunks, fold, instructions, pairs, unescape};

pub use connection::connection;
pub use http2::{frames, messages};

fn policy() -> Policy {
    let labels = ["ci.job=42", "note=a \"b\" \\ $c {{d}} \u{e9}"].map(Label::parse);
    let labels = labels.into_iter().filter_map(Result::ok);
    Policy {
        labels: Labels::new(labels).expect("two labels"),
        is_strict: false,
        cgroup_parent: None,
        socket_mounts: None,
    }
}

/// A request head, or a response head: it ends in the same place however it arrives; one that is
/// taken is taken by a strict reader too, and says the same when it is written again.
pub fn head(bytes: &[u8]) {
    let whole = HeadEnd::default().find(bytes);
    let mut end = HeadEnd::default();
    let pieces = (0..=bytes.len()).map(|n| end.find(&bytes[..n]));
    let first = pieces.into_iter().find(|found| *found != Ok(None));
    assert_eq!(whole, first.unwrap_or(Ok(None)));
    let Ok(Some(len)) = whole else { return };
    response_head(&bytes[..len], &bytes[len..]);
    let Ok(head) = RequestHead::parse(&bytes[..len]) else {
        return;
    };
    let strict = reference::Request::parse(&bytes[..len]).expect("a strict reader takes it");
    let mut written = Vec::new();
    head.write(&mut written);
    assert_eq!(reference::Request::parse(&written), Some(strict.clone()));
    assert_eq!(HeadEnd::default().find(&written), Ok(Some(written.len())));
    assert_eq!(RequestHead::parse(&written).as_ref(), Ok(&head));
    let (lengths, codings) = (
        strict.all("content-length"),
        strict.all("transfer-encoding"),
    );
    match Body::of_request(&head) {
        Err(_) => assert!(lengths.len() + codings.len() > 0),
        Ok(Body::Length(0)) if lengths.is_empty() => assert!(codings.is_empty()),
        Ok(Body::Length(length)) => {
            assert!(codings.is_empty() && lengths.len() == 1);
            let digits = String::from_utf8_lossy(lengths[0]);
            assert_eq!(digits.trim_start_matches('0').parse().unwrap_or(0), length);
            assert!(digits.bytes().all(|b| b.is_ascii_digit()) && length < 1 << 63);
        }
        Ok(Body::Chunked(_)) => {
            assert!(lengths.is_empty() && codings.len() == 1 && strict.minor_version == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        Ok(Body::UntilClose) => panic!("a request that ends with the connection"),
    }
    target(&head.target);
}

/// A target means the same when it is written in origin form, and what it is redirected to is
/// clean and can stand in a header.
fn target(text: &str) {
    let Ok(target) = Target::parse(text) else {
        return;
    };
    assert_eq!(
        Some(&target.path),
        unescape(target.raw_path.as_bytes()).as_ref()
    );
    match target.redirect() {
        None => {
            assert!(target.path.starts_with(b"/"));
            let path = String::from_utf8_lossy(&target.path).into_owned();
            let middle = path.strip_suffix('/').unwrap_or(&path);
            let mut elements = middle.split('/').skip(1);
            assert!(elements.all(|e| !matches!(e, "" | "." | "..")), "{path:?}");
            assert_eq!(Target::parse(&target.origin_form()), Ok(target));
        }
        Some(location) => {
            assert!(!location.contains(['\r', '\n', ' ']));
            let there = Target::parse(&location).expect("a target");
            assert_eq!((there.redirect(), &there.query), (None, &target.query));
        }
    }
}

/// The body of a response is the same however it arrives.
fn response_head(head: &[u8], body: &[u8]) {
    let Ok(head) = ResponseHead::parse(head) else {
        return;
    };
    assert!((100..1000).contains(&head.status), "{head:?}");
    let Ok(mut whole) = Body::of_response(&head, "GET") else {
        return;
    };
    let (mut passing, mut bytewise) = (whole.clone(), whole.clone());
    let mut content = Vec::new();
    let Ok(used) = whole.read(body, &mut content) else {
        assert!(passing.pass(body).is_err());
        return;
    };
    assert_eq!(passing.pass(body), Ok(used));
    let (mut at, mut pieces) = (0, Vec::new());
    while at < body.len() && !bytewise.is_done() {
        let piece = &body[at..at + 1];
        at += bytewise.read(piece, &mut pieces).expect("as before");
    }
    assert_eq!((at, &pieces), (used, &content));
    assert_eq!(bytewise, whole);
    assert_eq!(passing, whole);
}

/// A chunked body: it is the same however it arrives, and a strict reader finds the same in it.
pub fn chunked(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut body = Body::Chunked(Chunked::default());
        let (mut content, mut used) = (Vec::new(), 0);
        for piece in pieces {
            used += body.read(piece, &mut content).map_err(|_| ())?;
        }
        Ok((content, used, body.is_done()))
    };
    let whole = read(&mut [bytes].into_iter());
    let step = bytes.iter().fold(0, |sum, b| sum + usize::from(*b)) % 7 + 1;
    assert_eq!(whole, read(&mut bytes.chunks(1)));
    assert_eq!(whole, read(&mut bytes.chunks(step)));
    match (chunks(bytes), whole) {
        (Read::Whole(content, used), Ok(read)) => assert_eq!((content, used, true), read),
        (Read::Whole(..), Err(())) => assert!(bytes.len() > 4096, "a good body is refused"),
        (Read::Partial, read) => assert!(read.is_err() || read.is_ok_and(|read| !read.2)),
        (Read::Malformed, read) => assert_eq!(read, Err(())),
    }
}

/// A daemon that answers by the sort of the question, from the parts of an input.
struct Script<'a> {
    answers: Vec<&'a [u8]>,
    asked: Vec<(String, String)>,
    images: ImageMemory,
}

impl Daemon for Script<'_> {
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal> {
        self.asked.push((
            format!("{method} {target}"),
            body.unwrap_or_default().to_owned(),
        ));
        let sorts = ["/images/", "/containers/", "/version"];
        let sort = sorts.iter().position(|sort| target.contains(sort));
        let answer = *self.answers.get(sort.unwrap_or(3)).unwrap_or(&&b"{}"[..]);
        let (status, is_podman, body) = match answer.split_first() {
            Some((b'4', body)) => (404, false, body),
            Some((b'P', body)) => (200, true, body),
            _ => (200, false, answer),
        };
        // No daemon gives a volume a name that it cannot take itself.
        let body = match (status, target.ends_with("/volumes/create")) {
            (200, true) => b"{\"Name\":\"made\"}",
            _ => body,
        };
        Ok(Answer {
            status,
            is_podman,
            body: body.to_vec(),
        })
    }

    fn hold(&mut self, _: BTreeSet<String>) -> Result<(), Refusal> {
        Ok(())
    }

    fn images(&self) -> &ImageMemory {
        &self.images
    }

    fn warn(&mut self, _: &str) {}

    fn pause(&mut self) -> bool {
        false
    }
}

impl Script<'_> {
    /// Whether a volume of this name was created with the labels.
    fn has_created(&self, name: &str) -> bool {
        self.asked.iter().any(|(question, body)| {
            let body = || Json::parse(body.as_bytes()).expect("JSON");
            question.ends_with("/volumes/create")
                && body().field("Name").is_some_and(|n| n.text() == name)
                && is_labelled(&body(), "Labels")
        })
    }
}

/// Labels a request by a recipe.
fn apply(
    recipe: &Recipe,
    request: &mut CreateRequest,
    script: &mut Script<'_>,
) -> Result<(), Rejection> {
    let policy = policy();
    let mut create = Create::new(std::mem::take(request), &policy, script);
    let result = recipe.apply(&mut create);
    *request = create.request;
    result
}

fn is_labelled(object: &Json, field: &str) -> bool {
    let labels = policy().labels;
    labels
        .iter()
        .all(|label| object.map_has(field, label.key(), label.value()))
}

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
    let clean = |path: &str| {
        let mut elements: Vec<&str> = Vec::new();
        for element in path.split('/') {
            match element {
                "" | "." => (),
                ".." => drop(elements.pop()),
                _ => elements.push(element),
            }
        }
        format!("/{}", elements.join("/"))
    };
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
        let text = |name| mount.field(name).map_or("", Json::text);
        taken.push(clean(text("Target")));
        if text("Type") != "volume" {
            continue;
        }
        if is_podman {
            // The names of anonymous ones are the daemon's answer.
            let source = text("Source");
            let is_made = script
                .asked
                .iter()
                .any(|(q, _)| q.ends_with("/volumes/create"));
            assert!(!source.is_empty() && is_made, "{body:?}");
        } else {
            let options = mount.field("VolumeOptions").expect("options");
            assert!(is_labelled(options, "Labels"), "{body:?}");
        }
    }
    for bind in field("Binds").items() {
        let parts: Vec<&str> = bind.text().split(':').collect();
        match parts[..] {
            [path] if path.starts_with('/') => panic!("an anonymous volume: {body:?}"),
            [source, path] | [source, path, _] if path.starts_with('/') => {
                taken.push(clean(path));
                let is_volume =
                    !source.starts_with('/') && (!is_podman || !source.starts_with('.'));
                let made = || {
                    script
                        .asked
                        .iter()
                        .any(|(q, _)| q.ends_with("/volumes/create"))
                };
                if is_volume && !source.is_empty() {
                    assert!(
                        script.has_created(source) || is_podman && made(),
                        "{body:?}"
                    );
                }
            }
            _ => (),
        }
    }
    let tmpfs = field("Tmpfs").members().iter();
    taken.extend(tmpfs.map(|(path, _)| match is_podman {
        true => clean(path.split(':').next().unwrap_or_default()),
        false => path.clone(),
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

/// The query of a create. The first byte chooses the recipe; behind the query, parted by a byte
/// 0xff, stands what the daemon answers when it is asked for its version. The labels are in what
/// is accepted, as Go and Podman read it, and the other pairs keep their text and their order.
pub fn query(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let recipes = [
        &build::RECIPE,
        &build::LIBPOD,
        &commit::RECIPE,
        &import::RECIPE,
        &import::LIBPOD,
        &libpod::objects::SECRET,
    ];
    let recipe = recipes[usize::from(first.wrapping_sub(b'a')) % recipes.len()];
    let mut parts = rest.splitn(2, |&b| b == 0xff);
    let client = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let answer = parts.next().unwrap_or(b"{}");
    let mut request = CreateRequest {
        query: client.clone(),
        ..CreateRequest::default()
    };
    let mut script = Script {
        answers: vec![b"", b"", answer],
        asked: Vec::new(),
        images: ImageMemory::default(),
    };
    if apply(recipe, &mut request, &mut script).is_err() {
        return;
    }
    let (before, after) = (pairs(&client), pairs(&request.query));
    let named = |name: &str| -> Vec<_> {
        let is = |own: &[u8]| fold(&String::from_utf8_lossy(own)) == fold(name);
        after.iter().filter(|pair| is(&pair.name)).collect()
    };
    let ours: &[&str] = if [&build::RECIPE, &build::LIBPOD].contains(&recipe) {
        &["labels", "rm", "forcerm", "outputs", "unsetlabel"]
    } else if *recipe == libpod::objects::SECRET {
        &["labels"]
    } else if request.is_unlabelled {
        assert_eq!(*recipe, import::RECIPE);
        let image = after.iter().find(|pair| pair.name == b"fromImage");
        assert!(
            image.is_some_and(|pair| !pair.value.is_empty()),
            "{after:?}"
        );
        assert_eq!(named("fromImage").len(), 1);
        &[]
    } else {
        check_changes(recipe, &after, answer);
        if *recipe == import::RECIPE {
            assert!(named("fromImage").iter().all(|pair| pair.value.is_empty()));
        }
        &["changes"]
    };
    if ours.contains(&"labels") {
        let [labels] = named("labels")[..] else {
            panic!("labels is not there once: {after:?}");
        };
        let value = Json::parse(&labels.value).expect("JSON");
        let wrapped = Json::Object(vec![("labels".to_owned(), value)]);
        assert!(labels.name == b"labels" && is_labelled(&wrapped, "labels"));
        for label in policy().labels.iter() {
            let is_taken_away = |pair: &&reference::Pair| pair.value == label.key().as_bytes();
            let unset = named("unsetlabel")
                .into_iter()
                .any(|pair| is_taken_away(&pair));
            assert!(!(ours.len() > 1 && unset), "{after:?}");
        }
    }
    if ours.contains(&"forcerm") {
        assert!(named("forcerm").iter().all(|pair| pair.value == b"1"));
        // Docker takes the first that is written so; Podman's have no such attributes.
        for outputs in after.iter().filter(|pair| pair.name == b"outputs").take(1) {
            check_outputs(&outputs.value);
        }
    }
    let is_ours = |pair: &&reference::Pair| {
        let name = fold(&String::from_utf8_lossy(&pair.name));
        ours.iter().any(|own| fold(own) == name)
    };
    let others = |pairs: &[reference::Pair]| -> Vec<String> {
        let others = pairs.iter().filter(|pair| !is_ours(pair));
        others.map(|pair| pair.text.clone()).collect()
    };
    assert_eq!(others(&before), others(&after));
}

/// Checks that no output brings a configuration of its own into the image.
fn check_outputs(value: &[u8]) {
    for output in Json::parse(value)
        .iter()
        .flat_map(|outputs| outputs.items())
    {
        for attrs in output.fields("Attrs") {
            let mut members = attrs.members().iter();
            let found = members.find(|(name, _)| name.starts_with("containerimage."));
            assert_eq!(found, None);
        }
    }
}

/// Checks that the labels are instructions of their own among all changes.
fn check_changes(recipe: &Recipe, after: &[reference::Pair], answer: &[u8]) {
    let changes = after.iter().filter(|pair| pair.name == b"changes");
    let changes: Vec<String> = changes
        .map(|pair| String::from_utf8(pair.value.clone()).expect("UTF-8"))
        .collect();
    let is_podman = answer.starts_with(b"P");
    let read = match is_podman && *recipe != commit::RECIPE {
        true => changes.clone(),
        false => instructions(&changes.join("\n")),
    };
    for label in policy().labels.iter() {
        let escape = |value: &str| {
            let value = value.replace('\\', "\\\\");
            value.replace('"', "\\\"").replace('$', "\\$")
        };
        let line = |value: &str| format!("LABEL \"{}\"=\"{value}\"", label.key());
        let (escaped, literal) = (line(&escape(label.value())), line(label.value()));
        let is_line = |own: &String| *own == escaped || is_podman && *own == literal;
        assert!(read.iter().any(is_line), "{read:?}");
    }
    let client = read.iter().any(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        word.eq_ignore_ascii_case("onbuild") && line.contains("<<")
    });
    assert!(!client, "a heredoc: {read:?}");
}
