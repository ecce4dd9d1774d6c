//! Pushes. To Podman's own API a push goes to a registry only. By the Docker API Podman copies the
//! image to whatever `destination` names, its own storage under another name included (`PushImage`
//! in podman pkg/api/handlers/compat/images_push.go). Docker does not know that parameter.

use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Rejection};

/// `POST /images/*/push`
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Passes,
    label,
    shown: "not labelled, if the parameter `destination` is not a registry",
};

/// Checks where an image is pushed.
///
/// # Errors
/// When the daemons would read the parameter in different ways.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.request.is_unlabelled = true;
    create.edit_query(|query, create| {
        let destination = query.sole("destination")?;
        if destination.is_some_and(|destination| !is_in_registry(destination)) {
            create.request.cannot_label =
                Some("an image is copied as it is where \"destination\" is not a registry");
        }
        Ok(())
    })
}

/// Whether the text before its first colon cannot be a transport (`alltransports.ParseImageName` in
/// containers/image), or is that of registries. The names of transports are single words.
fn is_in_registry(destination: &[u8]) -> bool {
    let Some(colon) = destination.iter().position(|&b| b == b':') else {
        return true;
    };
    let (before, after) = (&destination[..colon], &destination[colon + 1..]);
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let is_port = digits > 0 && after.get(digits) == Some(&b'/');
    before == b"docker" || is_port || before.iter().any(|b| matches!(b, b'/' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{Script, labelled, reason, with_query};

    fn cannot_label(query: &str) -> bool {
        let request = labelled(&RECIPE, with_query(query), &mut Script::default()).unwrap();
        assert!(request.is_unlabelled);
        request.cannot_label.is_some()
    }

    #[test]
    fn a_push_to_a_registry_passes() {
        for query in [
            "",
            "tag=x",
            "destination=",
            "destination=a/b",
            "destination=quay.io/a:b",
            "destination=a/b:c",
            "destination=localhost:5000/a:b",
            "destination=docker://a:b",
        ] {
            assert!(!cannot_label(query), "{query}");
        }
        let request = with_query("tag=x&y;destination=oci:a");
        let request = labelled(&RECIPE, request, &mut Script::default()).unwrap();
        assert_eq!(request.query, "tag=x");
    }

    #[test]
    fn a_push_to_elsewhere_is_not_labelled() {
        for query in [
            "destination=containers-storage:a",
            "destination=containers-storage%3Alocalhost/a.b:5000/x",
            "d%65stination=docker-daemon:a:b",
            "destination=oci:5000",
            "destination=oci:",
            "destination=new:x/y.z",
        ] {
            assert!(cannot_label(query), "{query}");
        }
    }

    #[test]
    fn a_destination_is_read_in_one_way_only() {
        for query in [
            "Destination=oci:a",
            "destination=a&destination=oci:a",
            "destination=&DESTINATION=oci:a",
        ] {
            let refused = labelled(&RECIPE, with_query(query), &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{query}");
        }
    }
}
