//! What containers have mounted, shared by the recipes that make containers: volumes in lists of
//! mounts, and what the daemon says of images and of other containers. All paths are clean.

use std::collections::HashSet;

use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::overlay::{lay_labels, overlay};
use crate::inject::request::{Create, Rejection};
use crate::json::{self, List, MemberError, Object};
use crate::labels::{ANONYMOUS_VOLUME, Labels};
use crate::text::clean_path;

/// Labels the volume of an entry of `Mounts`.
///
/// # Errors
/// When its options or labels cannot be understood.
pub(crate) fn label_volume(mount: &mut Object<'_>, labels: &Labels) -> Result<(), MemberError> {
    mount.edit("VolumeOptions", |options| {
        lay_labels(options, "Labels", labels)
    })
}

/// An entry of `Mounts` for an anonymous volume at a clean path. Without a driver, it has the
/// default one.
///
/// # Errors
/// When no entry can stand for it.
pub(crate) fn anonymous_volume(
    path: &str,
    driver: &str,
    labels: &Labels,
) -> Result<Object<'static>, Refusal> {
    if !path.starts_with('/') || path == "/" || path.contains('\\') {
        return Err(Refusal::bad_request(format!(
            "the anonymous volume at {path:?} cannot be labelled; give it an absolute path"
        )));
    }
    let mut options = Object::default();
    let anonymous = [(ANONYMOUS_VOLUME.to_owned(), String::new())];
    options.set("Labels", overlay(labels, &anonymous));
    if !driver.is_empty() {
        options.set("DriverConfig", json::map([("Name", driver)]));
    }
    let mut mount = Object::default();
    mount.set("Type", json::string("volume"));
    mount.set("Target", json::string(path));
    mount.set("VolumeOptions", options.to_string());
    Ok(mount)
}

/// The paths in the member `field` of all these mounts.
///
/// # Errors
/// When an entry is not an object, or a path not a string.
pub(crate) fn targets(mounts: &List<'_>, field: &'static str) -> Result<Vec<String>, MemberError> {
    let target = |mount: Result<Option<Object<'_>>, MemberError>| {
        let mount = mount?.ok_or_else(|| mounts.wrong_entry())?;
        let path: String = mount.get(field, "a string")?;
        Ok(clean_path(&path))
    };
    mounts.iter().map(target).collect()
}

/// What the daemon says of an image.
#[derive(Default)]
pub(crate) struct Image {
    /// The paths of its volumes.
    pub(crate) volumes: Vec<String>,
    /// Whether the daemon is Podman.
    pub(crate) is_podman: bool,
}

impl Image {
    /// Asks for an image, below this path of the API. Without a name, there is none to ask for.
    ///
    /// # Errors
    /// When the daemon does not have it.
    pub(crate) fn ask(
        name: &str,
        images: &str,
        create: &mut Create<'_>,
    ) -> Result<Image, Rejection> {
        if name.is_empty() {
            return Ok(Image::default());
        }
        let name = encoded_image(name.as_bytes());
        let answer = create.get(&format!("{images}/{name}/json"))?;
        let paths = answer.read(|image| {
            let config: Object<'_> = image.get("Config", "an object")?;
            let volumes: Object<'_> = config.get("Volumes", "an object")?;
            Ok(volumes.names())
        })?;
        Ok(Image {
            volumes: paths.iter().map(|path| clean_path(path)).collect(),
            is_podman: answer.is_podman,
        })
    }
}

/// The name of an image in a path of the API.
pub(crate) fn encoded_image(name: &[u8]) -> String {
    encode(name, |b| {
        is_unreserved(b) || matches!(b, b'/' | b':' | b'@')
    })
}

/// Where the container that `VolumesFrom` names (`NAME` or `NAME:MODE`) has something mounted.
///
/// # Errors
/// When the daemon does not have it.
pub(crate) fn mounted_in(from: &str, create: &mut Create<'_>) -> Result<Vec<String>, Rejection> {
    let name = from.split(':').next().unwrap_or_default();
    let name = encode(name.as_bytes(), is_unreserved);
    let answer = create.get(&format!("/containers/{name}/json"))?;
    Ok(answer.read(|container| targets(&container.list("Mounts")?, "Destination"))?)
}

/// The paths of an image's volumes at which nothing else is mounted: nothing that is `taken`, and
/// nothing of the containers that `from` names. For Podman, where the client's own volumes come
/// before those of other containers. Adds the paths that it finds to `taken`.
///
/// # Errors
/// When the daemon does not have one of the containers.
pub(crate) fn free(
    mut image: Vec<String>,
    taken: &mut HashSet<String>,
    from: &[String],
    create: &mut Create<'_>,
) -> Result<Vec<String>, Rejection> {
    image.retain(|path| !taken.contains(path));
    if !image.is_empty() {
        for from in from {
            taken.extend(mounted_in(from, create)?);
        }
    }
    image.retain(|path| taken.insert(path.clone()));
    Ok(image)
}
