//! Containers: their own labels, those of the volumes they bring along, and their cgroup.

mod docker_volumes;
mod host_mounts;
mod legacy;
mod podman_volumes;

use crate::inject::mounts::Image;
use crate::inject::overlay::overlaid;
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
    create.edit_body(Empty::IsError, |config, create| {
        legacy::move_members(config, create)?;
        let image: String = config.get("Image", "a string")?;
        let volumes: Object<'_> = config.get("Volumes", "an object")?;
        let volumes: Vec<String> = volumes.names().iter().map(|p| clean_path(p)).collect();
        // Says whether they can be labelled, so it comes before anything is created.
        let labels = overlaid(config, "Labels", create.labels())?;
        config.edit("HostConfig", |host| -> Result<(), Rejection> {
            if let Some(parent) = &create.policy().cgroup_parent {
                host.set("CgroupParent", json::string(parent));
            }
            label_volumes(host, volumes, &image, create)
        })?;
        config.set("Labels", labels);
        Ok(())
    })
}

/// Labels the volumes that a container with this `HostConfig` brings along.
fn label_volumes(
    host: &mut Object<'_>,
    volumes: Vec<String>,
    image: &str,
    create: &mut Create<'_>,
) -> Result<(), Rejection> {
    let mut mounts = HostMounts::read(host)?;
    mounts.redirect_sockets(create.policy())?;
    let image = Image::ask(image, "/images", create)?;
    let wanted = Wanted {
        own: volumes,
        image: image.volumes,
    };
    if image.is_podman {
        label_with::<PodmanVolumes>(&mut mounts, wanted, create)?;
    } else {
        label_with::<DockerVolumes>(&mut mounts, wanted, create)?;
    }
    mounts.write(host);
    Ok(())
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
