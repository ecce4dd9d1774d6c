//! The docker command of the machine.

use std::env;
use std::path::PathBuf;

/// Returns the path of the docker command: `DOCKER` if set, else /usr/bin/docker even if another
/// command shadows it.
pub fn docker() -> PathBuf {
    let own = PathBuf::from("/usr/bin/docker");
    match env::var_os("DOCKER") {
        Some(docker) => docker.into(),
        None if own.exists() => own,
        None => "docker".into(),
    }
}
