//! Which engine the daemon is. A recipe asks where engines take the same request differently.

use crate::error::Refusal;
use crate::inject::request::{Create, Rejection};

/// The first two numbers of a version.
pub(crate) type Version = (u32, u32);

/// What the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Docker, with the newest version of its API, unless that does not begin with two numbers.
    Docker(Option<Version>),
    /// Podman, with its own version.
    Podman(Version),
}

impl Engine {
    /// Asks the daemon.
    ///
    /// # Errors
    /// When the daemon cannot be reached, when it refuses, and when it is Podman and its version
    /// does not begin with a number.
    pub(crate) fn ask(create: &mut Create<'_>) -> Result<Engine, Rejection> {
        let answer = create.get("/version")?;
        if !answer.is_podman {
            let api = answer.string("ApiVersion")?;
            let has_two = api.contains('.');
            return Ok(Engine::Docker(version(&api).filter(|_| has_two)));
        }
        let text = answer.string("Version")?;
        let version = version(&text).ok_or_else(|| {
            Refusal::bad_gateway(format!("the daemon's version {text:?} is not a number"))
        })?;
        Ok(Engine::Podman(version))
    }
}

/// The first two numbers of a version such as `5.8.6`, `5.0-dev` or `6`, whose second number is 0.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split(['.', '-', '+']);
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_two_numbers() {
        for (text, expected) in [
            ("4.3.1", Some((4, 3))),
            ("5.0.0-rc1", Some((5, 0))),
            ("10.1-dev", Some((10, 1))),
            ("6", Some((6, 0))),
            ("1.44", Some((1, 44))),
            ("", None),
            ("devel", None),
            ("5.x", None),
            ("-1.0", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
