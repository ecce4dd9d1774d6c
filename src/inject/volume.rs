//! Volumes, by Docker's API and by Podman's own.

use std::collections::BTreeSet;

use crate::inject::overlay::lay_labels;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::inject::socket_mounts;

/// A volume.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`",
};

/// Labels a volume, and redirects one that is a bind mount of the daemon's socket in disguise. It is
/// held, since the creates of containers look whether a volume has stayed the same.
///
/// # Errors
/// When another request holds it for too long, when the body cannot be understood, and when it binds a directory that holds the socket.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsDefaults, |volume, create| {
        socket_mounts::redirect_volume(volume, create.policy())?;
        create.request.name = volume.last("Name");
        if let Some(name) = create.request.name.clone().filter(|name| !name.is_empty()) {
            create.hold(BTreeSet::from([name]))?;
        }
        Ok(lay_labels(volume, "Labels", create.labels())?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, Script, body, labelled, with_body};

    #[test]
    fn an_empty_body_is_all_defaults() {
        for client in ["", " \n", "null"] {
            let request = labelled(&RECIPE, with_body(client), &mut Script::default()).unwrap();
            assert_eq!(body(request), format!("{{\"Labels\":{{{FORCED}}}}}"));
        }
    }

    #[test]
    fn a_volume_is_labelled_and_nothing_else() {
        let client = r#"{"name":"v", "DriverOpts":{ "o":"bind"},"labels":{"a":"b"}}"#;
        let request = labelled(&RECIPE, with_body(client), &mut Script::default()).unwrap();
        assert_eq!(request.name.as_deref(), Some("v"));
        let expected =
            format!(r#"{{"name":"v","DriverOpts":{{ "o":"bind"}},"Labels":{{"a":"b",{FORCED}}}}}"#);
        assert_eq!(body(request), expected);
    }
}
