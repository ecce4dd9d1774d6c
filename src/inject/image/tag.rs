//! Names of images. Not all images that a build leaves carry the labels: the classic builder labels
//! its last step only. Such an image has no name, so a client that gives it one makes it last.

use crate::inject::mounts::encoded_image;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Answer, Create, Rejection};
use crate::json::{MemberError, Object};
use crate::labels::Labels;

/// What the daemon shows for the name of an image that has none.
const NO_NAME: &str = "<none>";

/// `POST /images/*/tag`
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Passes,
    label,
    shown: "not labelled, if it has neither the labels nor a name",
};

/// The same by Podman's own API.
pub(crate) static LIBPOD: Recipe = Recipe {
    body: Body::Passes,
    label: label_libpod,
    shown: RECIPE.shown,
};

/// Checks the image that is named. Docker is then told the ID of the image that was looked at, since
/// the name in the path may be that of another one by now.
///
/// # Errors
/// When the daemon does not have the image.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    let name = encoded_image(create.request.name_between("/images/", "/tag"));
    let answer = create.get(&format!("/images/{name}/json"))?;
    check(create, &answer)?;
    // On Podman the name of a manifest list is taken for one of its images where it is described,
    // and for the list where it is named.
    if !answer.is_podman {
        let id = answer.id("Id")?;
        create.request.path = format!("/images/{id}/tag").into_bytes();
    }
    Ok(())
}

/// Checks the image that is named by Podman's own API, unless it is a manifest list.
///
/// # Errors
/// As [`label`].
fn label_libpod(create: &mut Create<'_>) -> Result<(), Rejection> {
    let name = encoded_image(create.request.name_between("/libpod/images/", "/tag"));
    match create.get(&format!("/libpod/images/{name}/json")) {
        Err(Rejection::Answer(no)) if no.status == 404 => {
            create.request.is_unlabelled = true;
            match create.get(&format!("/libpod/manifests/{name}/exists")) {
                Err(Rejection::Answer(_)) => Err(Rejection::Answer(no)),
                is_list => is_list.map(drop),
            }
        }
        answer => check(create, &answer?),
    }
}

/// Checks the image that the daemon describes.
fn check(create: &mut Create<'_>, answer: &Answer) -> Result<(), Rejection> {
    // Nothing is created, whether it has the labels or not.
    create.request.is_unlabelled = true;
    let labels = create.labels();
    let is_known = answer.read(|image| Ok(is_named(image)? || is_labelled(image, labels)?))?;
    if !is_known {
        create.request.cannot_label = Some(
            "the image has neither the labels nor a name yet, as a step of a build; build, commit \
             or import it anew",
        );
    }
    Ok(())
}

fn is_named(image: &Object<'_>) -> Result<bool, MemberError> {
    let tags: Vec<String> = image.get("RepoTags", "a list of strings")?;
    let digests: Vec<String> = image.get("RepoDigests", "a list of strings")?;
    let mut names = tags.iter().chain(&digests);
    Ok(names.any(|name| !name.starts_with(NO_NAME)))
}

fn is_labelled(image: &Object<'_>, labels: &Labels) -> Result<bool, MemberError> {
    let config: Object<'_> = image.get("Config", "an object")?;
    let its_labels = config.string_map("Labels")?;
    let has = |key: &str, value: &str| its_labels.iter().any(|(k, v)| k == key && v == value);
    Ok(labels.iter().all(|label| has(label.key(), label.value())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::request::CreateRequest;
    use crate::inject::test::{FORCED, Script, labelled, reason, status, with_query};

    const ASK: &str = "GET /v1.41/images/r:1/a%20b@c/json";
    const ASK_LIBPOD: &str = "GET /v1.41/libpod/images/l/json";
    const ASK_LIST: &str = "GET /v1.41/libpod/manifests/l/exists";

    fn tag(daemon: &mut Script) -> Result<CreateRequest, Rejection> {
        let request = CreateRequest {
            path: b"/images/r:1/a b@c/tag".to_vec(),
            ..with_query("repo=x&tag=y")
        };
        labelled(&RECIPE, request, daemon)
    }

    fn tag_libpod(daemon: &mut Script) -> Result<CreateRequest, Rejection> {
        let request = CreateRequest {
            path: b"/libpod/images/l/tag".to_vec(),
            ..with_query("repo=x&tag=y")
        };
        labelled(&LIBPOD, request, daemon)
    }

    fn image(members: &str) -> String {
        format!(r#"{{"Id":"sha256:0a"{members}}}"#)
    }

    #[test]
    fn an_image_with_a_name_or_the_labels_is_named_by_its_id() {
        for members in [
            r#","RepoTags":["a:b"]"#.to_owned(),
            r#","RepoTags":[],"RepoDigests":["a@b"],"Config":{"Labels":{}}"#.to_owned(),
            format!(r#","RepoTags":null,"Config":{{"Labels":{{{FORCED},"own":"1"}}}}"#),
        ] {
            let request = tag(&mut Script::default().on(ASK, 200, &image(&members))).unwrap();
            assert_eq!(request.path, b"/images/sha256:0a/tag");
            assert_eq!(request.query, "repo=x&tag=y");
            assert_eq!(request.cannot_label, None, "{members}");
            assert!(request.is_unlabelled);
        }
    }

    #[test]
    fn an_image_with_neither_is_not_labelled() {
        for members in [
            "",
            r#","RepoTags":["<none>:<none>"],"RepoDigests":["<none>@<none>"],"Parent":"x""#,
            r#","RepoTags":[],"Config":{"Labels":{"ci.job":"42"}}"#,
            r#","Config":{"Labels":{"ci.job":"42","note":"other"}}"#,
        ] {
            let request = tag(&mut Script::default().on(ASK, 200, &image(members))).unwrap();
            assert!(request.cannot_label.is_some(), "{members}");
        }
    }

    #[test]
    fn podman_is_told_the_name_that_the_client_gave() {
        let mut daemon = Script::default().on(ASK, 200, &image("")).podman();
        let request = tag(&mut daemon).unwrap();
        assert_eq!(request.path, b"/images/r:1/a b@c/tag");
        assert!(request.cannot_label.is_some());
        let mut daemon = Script::default().on(ASK_LIBPOD, 200, &image("")).podman();
        let request = tag_libpod(&mut daemon).unwrap();
        assert_eq!(request.path, b"/libpod/images/l/tag");
        assert!(request.cannot_label.is_some());
    }

    #[test]
    fn a_manifest_list_is_named_as_ever() {
        let daemon = |exists| {
            let daemon = Script::default().on(ASK_LIBPOD, 404, "no image");
            daemon.on(ASK_LIST, exists, "no list").podman()
        };
        let request = tag_libpod(&mut daemon(204)).unwrap();
        assert_eq!(request.cannot_label, None);
        match tag_libpod(&mut daemon(404)) {
            Err(Rejection::Answer(answer)) => assert_eq!(answer.body, b"no image"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_image_that_is_not_described_is_not_named() {
        for no in [404, 500] {
            assert_eq!(status(tag(&mut Script::default().on(ASK, no, ""))), no);
        }
        let mut daemon = Script::default().on(ASK_LIBPOD, 500, "");
        assert_eq!(status(tag_libpod(&mut daemon)), 500);
        for odd in [
            "",
            "{}",
            r#"{"Id":"a/b"}"#,
            r#"{"Id":"a","RepoTags":"x"}"#,
            r#"{"Id":"a","Config":{"Labels":[]}}"#,
        ] {
            let refused = tag(&mut Script::default().on(ASK, 200, odd));
            assert_eq!(reason(refused), Reason::BadDaemon, "{odd}");
        }
    }
}
