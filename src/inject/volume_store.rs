//! Volumes that are created ahead of the container that will use them: on Podman, which takes no
//! labels with the mounts of a container, and on Docker those of `Binds` that no entry of `Mounts`
//! can stand for.

use crate::error::{Reason, Refusal};
use crate::inject::overlay::overlay;
use crate::inject::request::{Answer, Create, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object};
use crate::labels::ANONYMOUS_VOLUME;
use crate::text::shown;

/// Labels or driver options.
type Pairs = [(String, String)];

/// Creates volumes with the labels.
pub(crate) struct VolumeStore<'s, 'c> {
    create: &'s mut Create<'c>,
    /// The names of the volumes created so far.
    known: Vec<String>,
}

/// A volume to be created.
#[derive(Debug, Default)]
pub(crate) struct NewVolume<'v> {
    /// Its driver, or nothing for the default one.
    pub(crate) driver: &'v str,
    /// The client's labels.
    pub(crate) labels: &'v Pairs,
    /// The options of its driver.
    pub(crate) options: &'v Pairs,
}

impl<'s, 'c> VolumeStore<'s, 'c> {
    /// Gets ready to create volumes: those with names are held, so that other requests that come by
    /// this proxy do not meddle with them.
    ///
    /// # Errors
    /// When another request holds one for too long, and when the name of the container is taken:
    /// the daemon would refuse it, and the volumes would stay.
    pub(crate) fn open(create: &'s mut Create<'c>) -> Result<VolumeStore<'s, 'c>, Rejection> {
        let wanted = create.check.wanted();
        if !wanted.is_empty() {
            create.hold(wanted)?;
        }
        refuse_taken_name(create)?;
        Ok(VolumeStore {
            create,
            known: Vec::new(),
        })
    }

    /// Creates a named volume with the labels over those of the client. One that is there already
    /// stays as it is, as it would with the create itself.
    ///
    /// # Errors
    /// When the daemon refuses it, when it is there without the labels and the operator is strict,
    /// and when its options bind a directory that holds the daemon's socket.
    pub(crate) fn named(&mut self, name: &str, volume: &NewVolume<'_>) -> Result<(), Rejection> {
        if self.known.iter().any(|known| known == name) {
            return Ok(());
        }
        let mut body = Object::default();
        body.set("Name", json::string(name));
        let answer = self.create(body, volume.labels, volume)?;
        let labels = answer.read(|volume| volume.string_map("Labels"))?;
        let is_labelled = self.create.labels().are_in(&labels);
        self.create.check.saw_volume(name, is_labelled);
        if !is_labelled && self.create.policy().is_strict {
            return Err(Refusal::new(
                Reason::Forbidden,
                format!(
                    "the volume {} is refused by --strict: it is there already, without the labels",
                    shown(name)
                ),
            )
            .into());
        }
        self.known.push(name.to_owned());
        Ok(())
    }

    /// Creates a volume that Podman chooses the name of, and returns the name. Podman up to 5 treats
    /// it as a named one, and keeps it when its container is removed.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub(crate) fn anonymous(&mut self, volume: &NewVolume<'_>) -> Result<String, Rejection> {
        let mut labels = volume.labels.to_vec();
        labels.retain(|(key, _)| key != ANONYMOUS_VOLUME);
        labels.push((ANONYMOUS_VOLUME.to_owned(), String::new()));
        let answer = self.create(Object::default(), &labels, volume)?;
        let name = answer.string("Name")?;
        if name.is_empty() {
            return Err(Refusal::bad_gateway("the daemon made a volume without a name").into());
        }
        self.create.check.made_volume(&name);
        self.create.check.saw_volume(&name, true);
        Ok(name)
    }

    fn create(
        &mut self,
        mut body: Object<'_>,
        labels: &Pairs,
        volume: &NewVolume<'_>,
    ) -> Result<Answer, Rejection> {
        if !volume.driver.is_empty() {
            body.set("Driver", json::string(volume.driver));
        }
        if !volume.options.is_empty() {
            body.set_map("DriverOpts", volume.options);
        }
        socket_mounts::redirect_volume(&mut body, self.create.policy())?;
        body.set("Labels", overlay(self.create.labels(), labels));
        // The Docker API of Podman takes a name that is there already, its own API does not.
        self.create.post("/volumes/create", &body.to_string())
    }
}

/// Refuses a create whose name is taken, as the daemon would.
fn refuse_taken_name(create: &mut Create<'_>) -> Result<(), Rejection> {
    let given = create.request.name.clone().unwrap_or_default();
    let name = given.strip_prefix('/').unwrap_or(&given);
    let (Some(thing), false) = (create.check.thing(), name.is_empty()) else {
        return Ok(());
    };
    let answer = create.ask("GET", &thing.described_at(name))?;
    // An ID that begins so is described too.
    let is_taken = answer.status == 200 && {
        let found = answer.string("Name")?;
        found.strip_prefix('/').unwrap_or(&found) == name
    };
    if is_taken {
        return Err(Refusal::new(
            Reason::Conflict,
            format!(
                "Conflict. The name {} is already in use; remove or rename what has it to be able \
                 to reuse that name",
                shown(name)
            ),
        )
        .into());
    }
    Ok(())
}
