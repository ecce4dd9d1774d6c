//! Images made of an archive: by `POST /images/create`, which may be a pull instead, and by
//! Podman's `POST /libpod/images/import`.

use crate::inject::image::dockerfile_changes::{self, Purpose};
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Rejection};

/// `POST /images/create`
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::PassesAsData,
    label,
    shown: "parameter `changes` of an import; a pull passes",
};

/// Labels what is imported. What is pulled passes: labels would change its ID.
///
/// # Errors
/// When it is not clear which of the two it is, and as [`dockerfile_changes::append`].
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_query(|query, create| match query.sole("fromImage")? {
        // Without an image the daemon takes it for an import, from nowhere if need be.
        None | Some(b"") => {
            create.request.name = dockerfile_changes::name(query);
            dockerfile_changes::append(query, Purpose::Import, create)
        }
        Some(_) => {
            create.request.is_unlabelled = true;
            Ok(())
        }
    })
}

/// An import by Podman's own API.
pub(crate) static LIBPOD: Recipe = Recipe {
    body: Body::PassesAsData,
    label: label_libpod,
    shown: "parameter `changes`",
};

/// Labels an import by Podman's own API, which is never a pull.
///
/// # Errors
/// As [`dockerfile_changes::append`].
fn label_libpod(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.request.name = create.request.parameter("reference");
    create.edit_query(|query, create| dockerfile_changes::append(query, Purpose::Import, create))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::request::CreateRequest;
    use crate::inject::test::{self, Script, reason, with_query};

    fn labelled(query: &str, daemon: &mut Script) -> Result<CreateRequest, Rejection> {
        test::labelled(&RECIPE, with_query(query), daemon)
    }

    #[test]
    fn an_import_is_labelled_in_its_query() {
        for client in [
            "fromSrc=-&repo=a",
            "fromImage=&fromSrc=-&repo=a",
            "fromSrc=x&fromSrc=-&repo=a",
            "repo=a",
            "fromImage=x;y&repo=a",
        ] {
            let mut daemon = Script::default()
                .on("GET /v1.41/version", 200, r#"{"Version":"5.8.6"}"#)
                .podman();
            let request = labelled(client, &mut daemon).unwrap();
            assert!(
                request.query.ends_with(
                    "repo=a&changes=LABEL%20%22ci.job%22%3D%2242%22\
                     &changes=LABEL%20%22note%22%3D%22a%20%22b%22%20%24c%22"
                ),
                "{}",
                request.query
            );
            assert_eq!(request.name.as_deref(), Some("a"));
            assert!(!request.is_unlabelled);
        }
    }

    #[test]
    fn a_pull_passes() {
        let query = "fromImage=a%2Fb&tag=c&platform=";
        let request = labelled(query, &mut Script::default()).unwrap();
        assert_eq!(request.query, query);
        assert!(request.is_unlabelled);
        // What daemons before Go 1.17 would read is not passed on.
        let request = labelled("fromImage=a&x;fromImage=", &mut Script::default()).unwrap();
        assert_eq!(request.query, "fromImage=a");
    }

    #[test]
    fn a_create_that_may_be_either_is_refused() {
        for query in [
            "fromImage=a&fromImage=",
            "fromImage=&fromImage=a",
            "fromImage=a&fromImage=a",
            "fromimage=a",
            "fromImage=a&FROMIMAGE=",
        ] {
            let refused = labelled(query, &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{query}");
        }
    }

    #[test]
    fn podmans_own_import_is_never_a_pull() {
        let request = with_query("reference=a&fromImage=b");
        let mut daemon = Script::default()
            .on("GET /v1.41/version", 200, r#"{"Version":"5.8.6"}"#)
            .podman();
        let request = test::labelled(&LIBPOD, request, &mut daemon).unwrap();
        let start = "reference=a&fromImage=b&changes=LABEL";
        assert!(request.query.starts_with(start), "{}", request.query);
        assert!(!request.is_unlabelled);
        assert_eq!(request.name.as_deref(), Some("a"));
    }
}
