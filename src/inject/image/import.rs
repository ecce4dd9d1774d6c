//! `POST /images/create`, which either pulls an image or makes one of an archive.

use crate::http1::query::Query;
use crate::inject::image::dockerfile_changes::{self, Purpose};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::policy::Policy;

/// Labels what is imported. What is pulled passes: labels would change its ID.
///
/// # Errors
/// 400 when it is not clear which of the two it is, and as [`dockerfile_changes::append`].
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mut query = Query::parse(&draft.query);
    match query.sole("fromImage")? {
        // Without an image the daemon takes it for an import, from nowhere if need be.
        None | Some(b"") => {
            draft.name = dockerfile_changes::name(&query);
            dockerfile_changes::append(
                &mut query,
                Purpose::Import,
                &draft.version,
                policy,
                daemon,
            )?;
        }
        Some(_) => draft.is_unlabelled = true,
    }
    draft.query = query.to_string();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::error::Refusal;
    use crate::inject::test::{Script, policy};

    fn labelled(query: &str, daemon: &mut Script) -> Result<CreateRequest, Rejection> {
        let mut draft = CreateRequest {
            query: query.to_owned(),
            version: "/v1.41".to_owned(),
            ..CreateRequest::default()
        };
        label(&mut draft, &policy(), daemon)?;
        Ok(draft)
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
                .on("GET /v1.41/version", 200, "{}")
                .podman();
            let draft = labelled(client, &mut daemon).unwrap();
            assert!(
                draft.query.ends_with(
                    "repo=a&changes=LABEL%20%22ci.job%22%3D%2242%22\
                     &changes=LABEL%20%22note%22%3D%22a%20%22b%22%20%24c%22"
                ),
                "{}",
                draft.query
            );
            assert_eq!(draft.name.as_deref(), Some("a"));
            assert!(!draft.is_unlabelled);
        }
    }

    #[test]
    fn a_pull_passes() {
        let query = "fromImage=a%2Fb&tag=c&platform=";
        let draft = labelled(query, &mut Script::default()).unwrap();
        assert_eq!(draft.query, query);
        assert!(draft.is_unlabelled);
        // What daemons before Go 1.17 would read is not passed on.
        let draft = labelled("fromImage=a&x;fromImage=", &mut Script::default()).unwrap();
        assert_eq!(draft.query, "fromImage=a");
    }

    #[test]
    fn what_may_be_either_is_refused() {
        for query in [
            "fromImage=a&fromImage=",
            "fromImage=&fromImage=a",
            "fromImage=a&fromImage=a",
            "fromimage=a",
            "fromImage=a&FROMIMAGE=",
        ] {
            assert!(
                matches!(
                    labelled(query, &mut Script::default()),
                    Err(Rejection::Refusal(Refusal {
                        reason: Reason::Malformed,
                        ..
                    }))
                ),
                "{query}"
            );
        }
    }
}
