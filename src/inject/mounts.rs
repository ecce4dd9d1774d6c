//! What containers have mounted, shared by the recipes that make containers: volumes in lists of
//! mounts, and what the daemon says of images and of other containers. All paths are clean.

use std::collections::HashSet;

use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::expected::MountedVolume;
use crate::inject::image_memory::{Image, ImageKey};
use crate::inject::overlay::{lay_labels, overlay};
use crate::inject::platform::Platform;
use crate::inject::request::{Answer, Create, Rejection};
use crate::json::{self, List, MemberError, Object};
use crate::labels::{ANONYMOUS_VOLUME, Labels};
use crate::text::clean_path;

/// The types of mounts that make no volume: Docker's (moby api/types/mount), and those that Podman
/// has besides.
const TYPES_WITHOUT_VOLUME: &[&str] = &[
    "bind", "tmpfs", "image", "npipe", "cluster", "devpts", "glob", "ramfs", "artifact",
];

/// Whether an entry of a container's `Mounts` mounts a volume. Daemons know types in lower case
/// only; Podman takes a missing one for a volume.
///
/// # Errors
/// When the type is none that is known.
pub(crate) fn is_volume(mount: &Object<'_>) -> Result<bool, Refusal> {
    let kind: String = mount.get("Type", "a string")?;
    if kind == "volume" {
        return Ok(true);
    }
    if TYPES_WITHOUT_VOLUME.contains(&&*kind) {
        return Ok(false);
    }
    Err(Refusal::bad_request(format!(
        "the Type {kind:?} of an entry of Mounts is unknown; write volume, bind or tmpfs, in lower \
         case"
    )))
}

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
    let anonymous = [(ANONYMOUS_VOLUME.to_owned(), String::new())];
    let mut mount = Object::default();
    mount.set("Type", json::string("volume"));
    mount.set("Target", json::string(path));
    let options = volume_options(driver, overlay(labels, &anonymous));
    mount.set("VolumeOptions", options.to_string());
    Ok(mount)
}

/// The `VolumeOptions` of an entry of `Mounts`, with labels as JSON text. Without a driver, the
/// volume has the default one.
pub(crate) fn volume_options(driver: &str, labels: String) -> Object<'static> {
    let mut options = Object::default();
    options.set("Labels", labels);
    if !driver.is_empty() {
        options.set("DriverConfig", json::map([("Name", driver)]));
    }
    options
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
        let answer = create.get(&image_path(name, images))?;
        Ok(Image::read(&answer)?)
    }

    /// The image that a container will be made of, as it is remembered or else asked for. The
    /// check of the container is told of it.
    ///
    /// # Errors
    /// When the daemon does not have it, and when the platform cannot be understood.
    pub(crate) fn of_container(
        name: &str,
        images: &'static str,
        platform: Option<&Platform>,
        create: &mut Create<'_>,
    ) -> Result<Image, Rejection> {
        if name.is_empty() {
            return Ok(Image::default());
        }
        let key = ImageKey {
            images,
            name: name.to_owned(),
            platform: platform.map(Platform::to_json).unwrap_or_default(),
        };
        let can_move = !is_fixed(name);
        let known = create.images().recall(&key).filter(|_| can_move);
        let image = match known {
            Some(image) => image,
            None => {
                let image = Image::ask_for_platform(&key, create)?;
                if can_move {
                    create.images().remember(key.clone(), image.clone());
                }
                image
            }
        };
        create.check.expect_image(key, image.clone(), can_move);
        Ok(image)
    }

    fn ask_for_platform(key: &ImageKey, create: &mut Create<'_>) -> Result<Image, Rejection> {
        let path = image_path(&key.name, key.images);
        if key.platform.is_empty() {
            let answer = create.get(&path)?;
            return Ok(Image::read(&answer)?);
        }
        // Without a version it is the daemon's latest, and only since 1.49 it looks at the platform.
        let platform = encode(key.platform.as_bytes(), is_unreserved);
        let answer = create.get_latest(&format!("{path}?platform={platform}"))?;
        Ok(Image::read(&answer)?)
    }

    /// What the daemon's answer says.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub(crate) fn read(answer: &Answer) -> Result<Image, Refusal> {
        answer.read(|image| {
            let config: Object<'_> = image.get("Config", "an object")?;
            let volumes: Object<'_> = config.get("Volumes", "an object")?;
            Ok(Image {
                id: image.get("Id", "a string")?,
                volumes: volumes
                    .names()
                    .iter()
                    .map(|path| clean_path(path))
                    .collect(),
                is_podman: answer.is_podman,
            })
        })
    }
}

/// The path at which an image is described.
pub(crate) fn image_path(name: &str, images: &str) -> String {
    format!("{images}/{}/json", encoded_image(name.as_bytes()))
}

/// The name of an image in a path of the API.
pub(crate) fn encoded_image(name: &[u8]) -> String {
    encode(name, |b| {
        is_unreserved(b) || matches!(b, b'/' | b':' | b'@')
    })
}

/// Whether a name of an image stands for the same one at any time: a whole ID, or a digest. A short
/// ID may be a tag too.
fn is_fixed(name: &str) -> bool {
    let digest = name.rsplit('@').next().unwrap_or_default();
    let hex = digest.strip_prefix("sha256:");
    let hex = if name.contains('@') {
        hex
    } else {
        hex.or(Some(name))
    };
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The volumes in the `Mounts` of a container that the daemon describes.
///
/// # Errors
/// When an entry cannot be understood.
pub(crate) fn mounted_volumes(container: &Object<'_>) -> Result<Vec<MountedVolume>, MemberError> {
    let mounts = container.list("Mounts")?;
    let mut volumes = Vec::new();
    for mount in mounts.iter() {
        let mount = mount?.ok_or_else(|| mounts.wrong_entry())?;
        if mount.get::<String>("Type", "a string")? == "volume" {
            let path: String = mount.get("Destination", "a string")?;
            volumes.push(MountedVolume {
                name: mount.get("Name", "a string")?,
                path: clean_path(&path),
            });
        }
    }
    Ok(volumes)
}

/// The path at which the container is described that `VolumesFrom` names: `NAME` or `NAME:MODE`,
/// perhaps with a slash before.
pub(crate) fn from_path(from: &str) -> String {
    let name = from.split(':').next().unwrap_or_default();
    // A container's name begins with a slash of its own, which may be given or not.
    let name = name.strip_prefix('/').unwrap_or(name);
    let name = encode(name.as_bytes(), is_unreserved);
    format!("/containers/{name}/json")
}

/// Where the container that `VolumesFrom` names has something mounted. The check of the container is
/// told of its volumes.
///
/// # Errors
/// When the daemon does not have it.
pub(crate) fn mounted_in(from: &str, create: &mut Create<'_>) -> Result<Vec<String>, Rejection> {
    let answer = create.get(&from_path(from))?;
    let (paths, volumes) = answer.read(|container| {
        let paths = targets(&container.list("Mounts")?, "Destination")?;
        Ok((paths, mounted_volumes(container)?))
    })?;
    create.check.know_from(from, volumes);
    Ok(paths)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_digests_stand_for_one_image() {
        let hex = "0123456789abcdef".repeat(4);
        for (name, expected) in [
            (hex.clone(), true),
            (format!("sha256:{hex}"), true),
            (format!("busybox@sha256:{hex}"), true),
            (format!("host:5000/a/busybox:1@sha256:{hex}"), true),
            (hex[..12].to_owned(), false),
            (format!("busybox:{hex}"), false),
            (format!("busybox@{hex}"), false),
            ("busybox".to_owned(), false),
        ] {
            assert_eq!(is_fixed(&name), expected, "{name}");
        }
    }
}
