//! Volumes that are created ahead of the container that will use them, on Podman: it takes no labels
//! with the mounts of a container. They stay if the container then fails, as Podman's own named
//! volumes do.

use crate::error::Refusal;
use crate::inject::overlay::overlay;
use crate::inject::request::{Create, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object};
use crate::labels::ANONYMOUS_VOLUME;

/// Labels or driver options.
type Pairs = [(String, String)];

/// Creates volumes with the labels.
pub(crate) struct VolumeStore<'s, 'c> {
    create: &'s mut Create<'c>,
    /// The names of the volumes created so far.
    known: Vec<String>,
}

impl<'s, 'c> VolumeStore<'s, 'c> {
    pub(crate) fn new(create: &'s mut Create<'c>) -> VolumeStore<'s, 'c> {
        VolumeStore {
            create,
            known: Vec::new(),
        }
    }

    /// Creates a named volume with the labels over those of the client. One that is there already
    /// stays as it is, as it would with the create itself.
    ///
    /// # Errors
    /// When the daemon refuses it, and when its options bind a directory that holds the daemon's
    /// socket.
    pub(crate) fn named(
        &mut self,
        name: &str,
        labels: &Pairs,
        options: &Pairs,
    ) -> Result<(), Rejection> {
        if self.known.iter().any(|known| known == name) {
            return Ok(());
        }
        let mut volume = Object::default();
        volume.set("Name", json::string(name));
        self.create(volume, labels, options)?;
        self.known.push(name.to_owned());
        Ok(())
    }

    /// Creates a volume that Podman chooses the name of, and returns the name. Podman up to 5 treats
    /// it as a named one, and keeps it when its container is removed.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub(crate) fn anonymous(
        &mut self,
        labels: &Pairs,
        options: &Pairs,
    ) -> Result<String, Rejection> {
        let mut labels = labels.to_vec();
        labels.retain(|(key, _)| key != ANONYMOUS_VOLUME);
        labels.push((ANONYMOUS_VOLUME.to_owned(), String::new()));
        self.create(Object::default(), &labels, options)
    }

    fn create(
        &mut self,
        mut volume: Object<'_>,
        labels: &Pairs,
        options: &Pairs,
    ) -> Result<String, Rejection> {
        if !options.is_empty() {
            volume.set_map("DriverOpts", options);
        }
        socket_mounts::redirect_volume(&mut volume, self.create.policy())?;
        volume.set("Labels", overlay(self.create.labels(), labels));
        // The Docker API of Podman takes a name that is there already, its own API does not.
        let answer = self.create.post("/volumes/create", &volume.to_string())?;
        let name = answer.string("Name")?;
        if name.is_empty() {
            return Err(Refusal::bad_gateway("the daemon made a volume without a name").into());
        }
        Ok(name)
    }
}
