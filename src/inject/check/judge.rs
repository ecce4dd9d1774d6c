//! Whether what the daemon has made is what was labelled.

use std::collections::BTreeSet;

use super::take_back::{self, Left};
use crate::error::{Reason, Refusal};
use crate::inject::expected::{Before, Check, ExpectedImage, MountedVolume, Thing, volume_path};
use crate::inject::image_memory::Image;
use crate::inject::mounts::{from_path, image_path, mounted_volumes};
use crate::inject::request::{Answer, Create};
use crate::json::Object;
use crate::text::{clean_path, shown};

/// What becomes of a create that the daemon has answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The client gets the daemon's answer.
    Passes,
    /// Its image was another one than was known, and the container is gone again: the create may be
    /// labelled anew and sent once more.
    Again(Refusal),
    /// It is gone again, or the client is told what is left of it.
    Refused(Refusal),
}

/// Checks what the daemon has made of a create, and takes it back where it is not labelled.
pub(crate) fn judge(create: &mut Create<'_>, answer: &Answer) -> Verdict {
    let check = std::mem::take(&mut create.check);
    if !(200..300).contains(&answer.status) {
        if let Some(expected) = &check.image {
            // It may have relied on what is not so any more.
            create.images().forget(&expected.key);
        }
        create.check = check;
        take_back::abandon(create);
        return Verdict::Passes;
    }
    let Some(thing) = check.thing else {
        return Verdict::Passes;
    };
    let id = answer.string("Id").unwrap_or_default();
    let mut judge = Judge {
        check: &check,
        thing,
        create,
        faults: Faults::default(),
    };
    let looked = judge.look(&id, answer);
    let faults = judge.faults;
    if let Err(refusal) = &looked {
        let what = format!("what was created could not be checked: {}", refusal.message);
        return take_back(create, &check, &faults, &id, &what, Reason::BadDaemon);
    }
    if let Some(expected) = check.image.as_ref().filter(|_| faults.has_other_image) {
        create.images().forget(&expected.key);
        let what = "its image is another one than it was just before, with other volumes";
        return take_back(create, &check, &faults, &id, what, Reason::Undone);
    }
    if faults.what.is_empty() {
        return Verdict::Passes;
    }
    let reason = if faults.is_forbidden {
        Reason::Forbidden
    } else {
        Reason::Undone
    };
    take_back(
        create,
        &check,
        &faults,
        &id,
        &faults.what.join("; "),
        reason,
    )
}

/// Removes what was created, and says so to the client and the log.
fn take_back(
    create: &mut Create<'_>,
    check: &Check,
    faults: &Faults,
    id: &str,
    what: &str,
    reason: Reason,
) -> Verdict {
    let left = take_back::container(create, check, id, &faults.remade, &faults.unlabelled);
    let end = match (left.is_empty(), reason) {
        (false, _) => format!("; not removed: {left}"),
        (true, Reason::Forbidden) => "; it was removed again".to_owned(),
        (true, _) => "; it was removed again, try once more".to_owned(),
    };
    let refusal = Refusal::new(reason, format!("the container was not kept: {what}{end}"));
    create.warn(&refusal.message);
    if faults.has_other_image && left == Left::default() {
        Verdict::Again(refusal)
    } else {
        Verdict::Refused(refusal)
    }
}

/// What is wrong with what was created.
#[derive(Debug, Default)]
struct Faults {
    /// Each as a sentence.
    what: Vec<String>,
    has_other_image: bool,
    /// Whether it is wrong only because the operator is strict.
    is_forbidden: bool,
    /// Volumes that had labels before, and have none now: others of the same name.
    remade: Vec<String>,
    /// Volumes without labels that the container has brought along.
    unlabelled: Vec<String>,
}

struct Judge<'j, 'c> {
    check: &'j Check,
    thing: Thing,
    create: &'j mut Create<'c>,
    faults: Faults,
}

/// What the check looks at in a container.
struct Container {
    labels: Vec<(String, String)>,
    image: String,
    /// The paths in its configuration, which Docker takes over from the image.
    config_volumes: BTreeSet<String>,
    mounts: Vec<MountedVolume>,
}

impl Judge<'_, '_> {
    /// Looks at all there is to look at.
    ///
    /// # Errors
    /// When the daemon does not answer a question.
    fn look(&mut self, id: &str, answer: &Answer) -> Result<(), Refusal> {
        if id.is_empty() {
            return Err(Refusal::bad_gateway("the daemon's answer names no ID"));
        }
        // A client may have guessed the name and deleted it by now: then its volumes are left.
        if let Some(container) = self.container(id)? {
            self.look_at_container(&container, answer)?;
        }
        for (name, before) in &self.check.named {
            self.look_at_volume(name, *before)?;
        }
        Ok(())
    }

    fn container(&mut self, id: &str) -> Result<Option<Container>, Refusal> {
        let mut path = self.thing.described_at(id);
        if self.thing == Thing::Pod {
            let Some(pod) = self.create.find(&path)? else {
                return Ok(None);
            };
            let infra = pod.string("InfraContainerID")?;
            if infra.is_empty() {
                return Ok(None);
            }
            path = Thing::LibpodContainer.described_at(&infra);
        }
        let Some(answer) = self.create.find(&path)? else {
            return Ok(None);
        };
        answer.read(Container::read).map(Some)
    }

    fn look_at_container(&mut self, container: &Container, answer: &Answer) -> Result<(), Refusal> {
        if !self.create.labels().are_in(&container.labels) {
            let what = "the container has not got the labels".to_owned();
            self.faults.what.push(what);
        }
        if let Some(expected) = &self.check.image {
            self.faults.has_other_image = self.is_other(expected, container, answer)?;
        }
        let mut from: Vec<MountedVolume> = Vec::new();
        for (name, volumes) in &self.check.from {
            match volumes {
                Some(volumes) => from.extend(volumes.iter().cloned()),
                None => from.extend(self.volumes_of(name)?),
            }
        }
        for mount in &container.mounts {
            let is_expected = self.check.named.contains_key(&mount.name)
                || self.check.labelled_paths.contains(&mount.path)
                || from.iter().any(|volume| volume.name == mount.name);
            if !is_expected {
                self.look_at_unexpected(mount)?;
            }
        }
        Ok(())
    }

    /// The volumes of a container of `VolumesFrom` that was not asked for before.
    fn volumes_of(&mut self, from: &str) -> Result<Vec<MountedVolume>, Refusal> {
        match self.create.find(&from_path(from))? {
            Some(answer) => answer.read(mounted_volumes),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the container is made of another image, with other volumes.
    fn is_other(
        &mut self,
        expected: &ExpectedImage,
        container: &Container,
        answer: &Answer,
    ) -> Result<bool, Refusal> {
        let image = &expected.image;
        if image.is_podman != answer.is_podman {
            return Ok(true);
        }
        if bare_id(&image.id) == bare_id(&container.image) {
            return Ok(false);
        }
        let mut known: BTreeSet<String> = image.volumes.iter().cloned().collect();
        if !image.is_podman {
            known.extend(expected.own.iter().cloned());
            return Ok(known != container.config_volumes);
        }
        let path = image_path(&container.image, "/images");
        let Some(answer) = self.create.find(&path)? else {
            return Ok(true);
        };
        let now: BTreeSet<String> = Image::read(&answer)?.volumes.into_iter().collect();
        Ok(known != now)
    }

    fn look_at_unexpected(&mut self, mount: &MountedVolume) -> Result<(), Refusal> {
        let labels = self.volume(&mount.name)?;
        if labels.is_some_and(|labels| !self.create.labels().are_in(&labels)) {
            self.faults.what.push(format!(
                "it has the volume {} at {}, which has not got the labels",
                shown(&mount.name),
                shown(&mount.path)
            ));
            self.faults.unlabelled.push(mount.name.clone());
        }
        Ok(())
    }

    /// Looks at a volume that the request names, whether or not its container is still there.
    fn look_at_volume(&mut self, name: &str, before: Before) -> Result<(), Refusal> {
        let Some(now) = self.volume(name)? else {
            return Ok(());
        };
        let labels = self.create.labels();
        let name = name.to_owned();
        if labels.are_in(&now) {
            if let Some((key, value)) = labels.other_value(&now) {
                let what = format!(
                    "a create uses the volume {}, which has {}={}",
                    shown(&name),
                    key,
                    shown(value)
                );
                self.create.warn(&what);
            }
        } else if before == Before::Labelled {
            self.faults.what.push(format!(
                "the volume {} was deleted and made again without the labels meanwhile",
                shown(&name)
            ));
            self.faults.remade.push(name);
        } else {
            let what = format!(
                "the volume {} was there before, without the labels",
                shown(&name)
            );
            if self.create.policy().is_strict {
                self.faults.is_forbidden |= self.faults.what.is_empty();
                self.faults.what.push(format!("{what} (--strict)"));
            } else {
                self.create
                    .warn(&format!("a create uses what is not labelled: {what}"));
            }
        }
        Ok(())
    }

    /// The labels of a volume, or `None` where there is none of this name.
    fn volume(&mut self, name: &str) -> Result<Option<Vec<(String, String)>>, Refusal> {
        match self.create.find(&volume_path(name))? {
            Some(answer) => answer.read(|volume| volume.string_map("Labels")).map(Some),
            None => Ok(None),
        }
    }
}

impl Container {
    fn read(container: &Object<'_>) -> Result<Container, crate::json::MemberError> {
        let config: Object<'_> = container.get("Config", "an object")?;
        let volumes: Object<'_> = config.get("Volumes", "an object")?;
        let paths = volumes.names().into_iter();
        Ok(Container {
            labels: config.string_map("Labels")?,
            image: container.get("Image", "a string")?,
            config_volumes: paths.map(|path| clean_path(&path)).collect(),
            mounts: mounted_volumes(container)?,
        })
    }
}

/// Podman writes IDs with and without the algorithm.
fn bare_id(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}
