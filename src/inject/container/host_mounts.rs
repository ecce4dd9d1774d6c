//! The members of a container's `HostConfig` that say what is mounted where, and the trait of what
//! labels the volumes among them.

use crate::error::Refusal;
use crate::inject::request::{Create, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, List, MemberError, Object};
use crate::policy::Policy;

/// The members of `HostConfig` that say what is mounted where.
pub(super) struct HostMounts<'a> {
    pub(super) binds: Vec<String>,
    given_binds: Vec<String>,
    pub(super) mounts: List<'a>,
    /// Paths, as they are written.
    pub(super) tmpfs: Vec<String>,
    /// `VolumesFrom`
    pub(super) from: Vec<String>,
    /// `VolumeDriver`, perhaps empty.
    pub(super) driver: String,
}

impl<'a> HostMounts<'a> {
    /// Reads the members.
    ///
    /// # Errors
    /// When one has another type, or is given twice.
    pub(super) fn read(host: &Object<'a>) -> Result<HostMounts<'a>, MemberError> {
        let strings = |name| -> Result<Vec<String>, MemberError> {
            let list: Vec<Option<String>> = host.get(name, "a list of strings")?;
            Ok(list.into_iter().map(Option::unwrap_or_default).collect())
        };
        let binds = strings("Binds")?;
        let tmpfs: Object<'_> = host.get("Tmpfs", "an object of strings")?;
        Ok(HostMounts {
            given_binds: binds.clone(),
            binds,
            mounts: host.list("Mounts")?,
            tmpfs: tmpfs.names(),
            from: strings("VolumesFrom")?,
            driver: host.get("VolumeDriver", "a string")?,
        })
    }

    /// Redirects bind mounts of the daemon's socket, if the operator wants that.
    ///
    /// # Errors
    /// As [`socket_mounts::redirect_container`].
    pub(super) fn redirect_sockets(&mut self, policy: &Policy) -> Result<(), Refusal> {
        socket_mounts::redirect_container(&mut self.binds, &mut self.mounts, policy)
    }

    /// Writes what was changed.
    pub(super) fn write(&self, host: &mut Object<'_>) {
        if self.binds != self.given_binds {
            let binds = self.binds.iter().map(|bind| json::string(bind));
            host.set("Binds", json::list(binds));
        }
        host.set_list(&self.mounts);
    }
}

/// The paths at which a container wants anonymous volumes, unless something else is mounted there.
pub(super) struct Wanted {
    /// `Volumes`
    pub(super) own: Vec<String>,
    /// Those of its image.
    pub(super) image: Vec<String>,
}

/// How a sort of daemon is made to label the volumes of a container.
pub(super) trait VolumeDriver: Sized {
    /// Understands which volumes there will be, and writes into `mounts` what does not depend on a
    /// new volume. May ask the daemon, but creates nothing.
    ///
    /// # Errors
    /// When a volume cannot be labelled, or the daemon would refuse the create.
    fn prepare(
        mounts: &mut HostMounts<'_>,
        wanted: Wanted,
        create: &mut Create<'_>,
    ) -> Result<Self, Rejection>;

    /// Creates the volumes that must be there before the container, and writes their names into
    /// `mounts`.
    ///
    /// # Errors
    /// When the daemon refuses one.
    fn create(self, mounts: &mut HostMounts<'_>, create: &mut Create<'_>) -> Result<(), Rejection>;
}
