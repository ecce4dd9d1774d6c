//! Images made from a container by `POST /commit`: the labels are changes to the configuration.
//! The body, which may hold a configuration to begin with, passes as it comes, since changes are
//! applied on top of it; to add one would make the daemon forget the container's own.

use crate::inject::image::dockerfile_changes::{self, Purpose};
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Rejection};

/// A commit.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Passes,
    label,
    shown: "parameter `changes`",
};

/// Labels the image.
///
/// # Errors
/// As [`dockerfile_changes::append`].
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_query(|query, create| {
        create.request.name = dockerfile_changes::name(query);
        dockerfile_changes::append(query, Purpose::Commit, create)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::http1::query::Query;
    use crate::inject::test::{Script, labelled, reason, with_query};

    #[test]
    fn a_commit_is_labelled_in_its_query() {
        let request = with_query("container=x&repo=a%2Fb&tag=c&changes=CMD+y");
        let mut daemon = Script::default().on("GET /v1.41/version", 200, "{}");
        let request = labelled(&RECIPE, request, &mut daemon).unwrap();
        assert_eq!(
            request.query,
            "container=x&repo=a%2Fb&tag=c&changes=CMD+y\
             &changes=LABEL%20%22ci.job%22%3D%2242%22\
             &changes=LABEL%20%22note%22%3D%22a%20%5C%22b%5C%22%20%5C%24c%22"
        );
        assert_eq!(request.name.as_deref(), Some("a/b:c"));
        assert!(!request.is_unlabelled);
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
        let request = with_query("changes=CMD+x+%5C");
        let refused = labelled(&RECIPE, request, &mut Script::default());
        assert_eq!(reason(refused), Reason::Malformed);
    }
}
