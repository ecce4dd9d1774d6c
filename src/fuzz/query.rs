//! Queries of creates.

use super::reference::{Json, Pair, fold, instructions, pairs};
use super::script::{Script, apply};
use super::{is_labelled, policy};
use crate::inject::image::{build, commit, import};
use crate::inject::image_memory::ImageMemory;
use crate::inject::libpod;
use crate::inject::recipe::Recipe;
use crate::inject::request::CreateRequest;

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
        // Podman is not to use the cache for a stage in the middle.
        let has_target = named("target").iter().any(|pair| !pair.value.is_empty());
        if has_target && answer.starts_with(b"P") {
            &[
                "labels",
                "rm",
                "forcerm",
                "outputs",
                "unsetlabel",
                "nocache",
            ]
        } else {
            &["labels", "rm", "forcerm", "outputs", "unsetlabel"]
        }
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
        assert_eq!(labels.name, b"labels");
        let value = Json::parse(&labels.value).expect("JSON");
        if let Json::Array(list) = &value {
            check_last_labels(list);
        } else {
            let wrapped = Json::Object(vec![("labels".to_owned(), value)]);
            assert!(is_labelled(&wrapped, "labels"));
        }
        for label in policy().labels.iter() {
            let is_taken_away = |pair: &&Pair| pair.value == label.key().as_bytes();
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
    let is_ours = |pair: &&Pair| {
        let name = fold(&String::from_utf8_lossy(&pair.name));
        ours.iter().any(|own| fold(own) == name)
    };
    let others = |pairs: &[Pair]| -> Vec<String> {
        let others = pairs.iter().filter(|pair| !is_ours(pair));
        others.map(|pair| pair.text.clone()).collect()
    };
    assert_eq!(others(&before), others(&after));
}

/// Checks that a list of labels in which Podman expands variables ends in the operator's.
fn check_last_labels(list: &[Json]) {
    let labels = policy().labels;
    let first = list.len() - labels.iter().count();
    for (label, entry) in labels.iter().zip(&list[first..]) {
        let (key, value) = entry.text().split_once('=').expect("a value");
        assert_eq!(key, label.key());
        // All that is expanded is empty, and what is left of "$" stands alone.
        let parts: Vec<&str> = value.split("$${x:+}").collect();
        assert!(parts.iter().all(|part| !part.contains('$')), "{value}");
        assert_eq!(parts.join("$"), label.value());
    }
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
fn check_changes(recipe: &Recipe, after: &[Pair], answer: &[u8]) {
    let changes = after.iter().filter(|pair| pair.name == b"changes");
    let changes: Vec<String> = changes
        .map(|pair| String::from_utf8(pair.value.clone()).expect("UTF-8"))
        .collect();
    let is_podman = answer.starts_with(b"P");
    let read = if is_podman && *recipe != commit::RECIPE {
        changes.clone()
    } else {
        instructions(&changes.join("\n"))
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
