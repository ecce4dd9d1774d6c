//! What labelling a create has found out, which the check behind the daemon's answer must know: what
//! is created, which volumes it names, what was known of its image.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::image_memory::{Image, ImageKey};
use crate::limits::MAX_NAMED_VOLUMES;

/// What is created, and by which API it is described and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    Container,
    LibpodContainer,
    /// A pod, with its infra container.
    Pod,
}

impl Thing {
    /// The path at which the one of this name or ID is described.
    pub(crate) fn described_at(self, id: &str) -> String {
        format!("{}/json", self.path(id))
    }

    /// The path at which it is removed, with its anonymous volumes, whatever it does.
    pub(crate) fn removed_at(self, id: &str) -> String {
        let query = match self {
            Thing::Container => "force=1&v=1",
            Thing::LibpodContainer => "force=true&v=true",
            Thing::Pod => "force=true",
        };
        format!("{}?{query}", self.path(id))
    }

    fn path(self, id: &str) -> String {
        let id = encode(id.as_bytes(), is_unreserved);
        let things = match self {
            Thing::Container => "/containers",
            Thing::LibpodContainer => "/libpod/containers",
            Thing::Pod => "/libpod/pods",
        };
        format!("{things}/{id}")
    }
}

/// What is known of a volume that a create names, from before the create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// The proxy will create it, or find it, before the container.
    Wanted,
    /// It had the operator's labels.
    Labelled,
    /// It was there, without the operator's labels.
    Unlabelled,
    /// The daemon labels it when it makes it, so one without labels was there before.
    Atomic,
}

/// A volume that a container has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountedVolume {
    pub(crate) name: String,
    /// Where it is mounted.
    pub(crate) path: String,
}

/// What the check of one create must know.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) thing: Option<Thing>,
    /// The volumes that the create names.
    pub(crate) named: BTreeMap<String, Before>,
    /// The volumes that were created for it under names that the daemon chose.
    pub(crate) made: Vec<String>,
    /// The paths of anonymous volumes that the daemon labels when it makes them.
    pub(crate) labelled_paths: HashSet<String>,
    /// The containers whose volumes it has too, and those volumes where they are known.
    pub(crate) from: BTreeMap<String, Option<Vec<MountedVolume>>>,
    pub(crate) image: Option<ExpectedImage>,
}

/// The image of a container as labelling knew it.
#[derive(Debug)]
pub(crate) struct ExpectedImage {
    pub(crate) key: ImageKey,
    pub(crate) image: Image,
    /// Whether its name may come to stand for another one.
    pub(crate) can_move: bool,
    /// The paths of the volumes that the create itself asks for.
    pub(crate) own: BTreeSet<String>,
}

impl Check {
    /// Says what is created.
    pub(crate) fn expect(&mut self, thing: Thing) {
        self.thing = Some(thing);
    }

    /// What is created.
    pub(crate) fn thing(&self) -> Option<Thing> {
        self.thing
    }

    /// Says which image a container is made of.
    pub(crate) fn expect_image(&mut self, key: ImageKey, image: Image, can_move: bool) {
        self.image = Some(ExpectedImage {
            key,
            image,
            can_move,
            own: BTreeSet::new(),
        });
    }

    /// Says at which paths the create asks for volumes, whatever its image does.
    pub(crate) fn expect_own(&mut self, paths: &[String]) {
        if let Some(expected) = &mut self.image {
            expected.own.extend(paths.iter().cloned());
        }
    }

    /// Says that the create names a volume.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn name_volume(&mut self, name: &str, before: Before) -> Result<(), Refusal> {
        // What is created first has the better known past.
        let known = self.named.entry(name.to_owned()).or_insert(before);
        if before == Before::Wanted {
            *known = before;
        }
        if self.named.len() > MAX_NAMED_VOLUMES {
            return Err(Refusal::bad_request(format!(
                "the request names more than {MAX_NAMED_VOLUMES} volumes; split it"
            )));
        }
        Ok(())
    }

    /// The volumes that are to be created before the container.
    pub(crate) fn wanted(&self) -> BTreeSet<String> {
        let wanted = self.named.iter();
        let wanted = wanted.filter(|(_, before)| **before == Before::Wanted);
        wanted.map(|(name, _)| name.clone()).collect()
    }

    /// Says what the daemon answered to the create of a volume.
    pub(crate) fn saw_volume(&mut self, name: &str, is_labelled: bool) {
        let before = if is_labelled {
            Before::Labelled
        } else {
            Before::Unlabelled
        };
        self.named.insert(name.to_owned(), before);
    }

    /// Says that a volume was created under a name that the daemon chose.
    pub(crate) fn made_volume(&mut self, name: &str) {
        self.made.push(name.to_owned());
    }

    /// Says that an anonymous volume at this path is labelled by the daemon when it makes it.
    pub(crate) fn labelled_path(&mut self, path: String) {
        self.labelled_paths.insert(path);
    }

    /// Says that the create has the volumes of another container.
    pub(crate) fn expect_from(&mut self, from: &[String]) {
        for from in from {
            self.from.entry(from.clone()).or_default();
        }
    }

    /// Says which volumes that container has.
    pub(crate) fn know_from(&mut self, from: &str, volumes: Vec<MountedVolume>) {
        self.from.insert(from.to_owned(), Some(volumes));
    }

    /// Whether there is anything that may have changed meanwhile.
    pub(crate) fn is_needed(&self) -> bool {
        let can_move = self.image.as_ref().is_some_and(|image| image.can_move);
        let has_volumes = !self.named.is_empty() || !self.made.is_empty();
        self.thing.is_some() && (can_move || has_volumes || !self.from.is_empty())
    }
}

/// The path of a volume, by which it is described and removed.
pub(crate) fn volume_path(name: &str) -> String {
    format!("/volumes/{}", encode(name.as_bytes(), is_unreserved))
}
