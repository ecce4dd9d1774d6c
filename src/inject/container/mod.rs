//! Containers: their own labels, those of the volumes they bring along, and their cgroup.

mod bind;
mod docker_volumes;
mod host_mounts;
mod legacy;
mod podman_volumes;

use std::collections::BTreeSet;

use crate::inject::expected::Thing;
use crate::inject::image_memory::Image;
use crate::inject::overlay::overlaid;
use crate::inject::platform::Platform;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json::{self, Object};
use crate::text::clean_path;
use docker_volumes::DockerVolumes;
use host_mounts::{HostMounts, VolumeDriver, Wanted};
use podman_volumes::PodmanVolumes;

/// A container.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`, and its volumes",
};

/// Labels a container and its volumes.
///
/// # Errors
/// When the body cannot be understood, when a volume cannot be labelled, and when the daemon
/// refuses a subrequest, as it would the create.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.request.name = create.request.parameter("name");
    create.check.expect(Thing::Container);
    let platform = create.request.parameter("platform");
    let platform = platform.filter(|text| !text.is_empty());
    let platform = platform.map(|text| Platform::parse(&text)).transpose()?;
    create.edit_body(Empty::IsError, |config, create| {
        legacy::move_members(config, create)?;
        let image: String = config.get("Image", "a string")?;
        let volumes: Object<'_> = config.get("Volumes", "an object")?;
        let given = volumes.names();
        let volumes: Vec<String> = given.iter().map(|path| clean_path(path)).collect();
        // Says whether they can be labelled, so it comes before anything is created.
        let labels = overlaid(config, "Labels", create.labels())?;
        let mut is_podman = false;
        config.edit("HostConfig", |host| -> Result<(), Rejection> {
            if let Some(parent) = &create.policy().cgroup_parent {
                host.set("CgroupParent", json::string(parent));
            }
            let image = (&*image, platform.as_ref());
            is_podman = label_volumes(host, &volumes, image, create)?;
            Ok(())
        })?;
        if is_podman && volumes != given {
            // It knows that a path has a mount by its text, and would make another volume there.
            let paths = BTreeSet::from_iter(volumes.iter().map(String::as_str));
            config.set("Volumes", json::set(paths));
        }
        config.set("Labels", labels);
        Ok(())
    })
}

/// Labels the volumes that a container with this `HostConfig` brings along. Returns whether the
/// daemon is Podman.
fn label_volumes(
    host: &mut Object<'_>,
    volumes: &[String],
    (image, platform): (&str, Option<&Platform>),
    create: &mut Create<'_>,
) -> Result<bool, Rejection> {
    let mut mounts = HostMounts::read(host)?;
    mounts.redirect_sockets(create.policy())?;
    let image = Image::of_container(image, "/images", platform, create)?;
    create.check.expect_own(volumes);
    create.check.expect_from(&mounts.from);
    let wanted = Wanted {
        own: volumes.to_vec(),
        image: image.volumes,
    };
    if image.is_podman {
        label_with::<PodmanVolumes>(&mut mounts, wanted, create)?;
    } else {
        label_with::<DockerVolumes>(&mut mounts, wanted, create)?;
    }
    mounts.write(host);
    Ok(image.is_podman)
}

/// Understands all there is first, and only then creates something.
fn label_with<V: VolumeDriver>(
    mounts: &mut HostMounts<'_>,
    wanted: Wanted,
    create: &mut Create<'_>,
) -> Result<(), Rejection> {
    let volumes = V::prepare(mounts, wanted, create)?;
    volumes.create(mounts, create)
}
