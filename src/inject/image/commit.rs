//! Images made from a container by `POST /commit`: the labels are changes to the configuration.
//! The body, which may hold a configuration to begin with, passes as it comes, since changes are
//! applied on top of it; to add one would make the daemon forget the container's own.

use crate::http1::query::Query;
use crate::inject::image::dockerfile_changes::{self, Purpose};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::policy::Policy;

/// Labels the image.
///
/// # Errors
/// As [`dockerfile_changes::append`].
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mut query = Query::parse(&draft.query);
    draft.name = dockerfile_changes::name(&query);
    dockerfile_changes::append(&mut query, Purpose::Commit, &draft.version, policy, daemon)?;
    draft.query = query.to_string();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{Script, policy};

    #[test]
    fn a_commit_is_labelled_in_its_query() {
        let mut draft = CreateRequest {
            query: "container=x&repo=a%2Fb&tag=c&changes=CMD+y".to_owned(),
            ..CreateRequest::default()
        };
        let mut daemon = Script::default().on("GET /version", 200, "{}");
        label(&mut draft, &policy(), &mut daemon).unwrap();
        assert_eq!(
            draft.query,
            "container=x&repo=a%2Fb&tag=c&changes=CMD+y\
             &changes=LABEL%20%22ci.job%22%3D%2242%22\
             &changes=LABEL%20%22note%22%3D%22a%20%5C%22b%5C%22%20%5C%24c%22"
        );
        assert_eq!(draft.name.as_deref(), Some("a/b:c"));
        assert!(!draft.is_unlabelled);
    }

    #[test]
    fn the_log_knows_the_image_if_it_has_a_name() {
        for (query, name) in [
            ("container=x", None),
            ("repo=&tag=x", None),
            ("repo=a&tag=", Some("a")),
            ("repo=a&repo=b", Some("a")),
        ] {
            let name = name.map(str::to_owned);
            assert_eq!(
                dockerfile_changes::name(&Query::parse(query)),
                name,
                "{query}"
            );
        }
    }

    #[test]
    fn a_change_that_would_take_in_the_labels_is_refused() {
        let mut draft = CreateRequest {
            query: "changes=CMD+x+%5C".to_owned(),
            ..CreateRequest::default()
        };
        let result = label(&mut draft, &policy(), &mut Script::default());
        assert!(matches!(result, Err(Rejection::Refusal(_))));
    }
}
