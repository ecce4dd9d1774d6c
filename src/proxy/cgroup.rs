//! The cgroup that containers are put under: whether its name fits the daemon's cgroup driver.

use std::path::Path;

use crate::error::Refusal;
use crate::proxy::daemon::DaemonConnection;
use crate::proxy::subrequest::{AnswerLimits, Subrequest};

/// Asks the daemon for its cgroup driver and logs a warning if the name does not fit it.
pub(crate) fn check(parent: &str, daemon: &Path) {
    match driver(daemon) {
        Ok(driver) => {
            if let Some(warning) = warning(parent, &driver) {
                log::warn!("{warning}");
            }
        }
        Err(refusal) => log::warn!("--cgroup-parent {parent:?} is not checked: {refusal}"),
    }
}

fn driver(daemon: &Path) -> Result<String, Refusal> {
    let info = Subrequest {
        method: "GET",
        target: "/info",
        body: None,
    };
    let answer = DaemonConnection::new(daemon, None).send(info, AnswerLimits::default())?;
    answer.string("CgroupDriver")
}

/// What is wrong with a name for this driver (moby's `verifyPlatformContainerSettings`).
fn warning(parent: &str, driver: &str) -> Option<String> {
    let is_slice = parent.len() > ".slice".len() && parent.ends_with(".slice");
    match driver {
        "systemd" if !is_slice || parent.contains('/') => Some(format!(
            "--cgroup-parent {parent:?} does not fit the daemon's cgroup driver systemd: \
             it takes the name of a slice, such as \"ci-job42.slice\""
        )),
        "cgroupfs" if is_slice => Some(format!(
            "--cgroup-parent {parent:?} does not fit the daemon's cgroup driver cgroupfs: \
             it takes a path, such as \"/ci/job42\""
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_fit_the_driver() {
        for (parent, driver, fits) in [
            ("ci.slice", "systemd", true),
            ("ci-job42.slice", "systemd", true),
            ("/ci/job", "systemd", false),
            ("/ci/job.slice", "systemd", false),
            (".slice", "systemd", false),
            ("/ci/job", "cgroupfs", true),
            ("ci", "cgroupfs", true),
            ("ci.slice", "cgroupfs", false),
            ("anything", "none", true),
        ] {
            assert_eq!(warning(parent, driver).is_none(), fits, "{parent} {driver}");
        }
    }
}
