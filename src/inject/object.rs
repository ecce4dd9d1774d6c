//! Creates that are a JSON object with the labels in its member `Labels`: configs and secrets.

use crate::inject::overlay::lay_labels;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};

/// A config or a secret.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`",
};

/// Labels a config or a secret.
///
/// # Errors
/// When the body is not an object, or its labels are not an object of strings.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |object, create| {
        create.request.name = object.last("Name");
        Ok(lay_labels(object, "Labels", create.labels())?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Reason, Refusal};
    use crate::inject::test::{FORCED, Script, labelled, reason, with_body};

    fn label_body(body: &str) -> Result<(String, Option<String>), Rejection> {
        let request = labelled(&RECIPE, with_body(body), &mut Script::default())?;
        Ok((String::from_utf8(request.body).unwrap(), request.name))
    }

    #[test]
    fn the_body_is_labelled_and_nothing_else() {
        let (body, name) = label_body(r#"{ "Name":"n", "Data":"eA=="}"#).unwrap();
        let expected = format!(r#"{{"Name":"n","Data":"eA==","Labels":{{{FORCED}}}}}"#);
        assert_eq!((body, name.as_deref()), (expected, Some("n")));
    }

    #[test]
    fn an_empty_body_is_refused() {
        for body in ["", " \n", "null"] {
            assert_eq!(reason(label_body(body)), Reason::Malformed);
        }
    }

    #[test]
    fn a_body_that_cannot_be_labelled_is_refused() {
        for (body, message) in [
            (r#"{"Labels":[]}"#, "Labels must be an object of strings"),
            (
                "[1]",
                "the request body is not a JSON object, so it cannot be labelled",
            ),
        ] {
            let expected = Rejection::Refusal(Refusal::bad_request(message));
            assert_eq!(label_body(body).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn the_name_is_known_to_the_log() {
        let name = |text: &str| label_body(text).unwrap().1;
        assert_eq!(name(r#"{"Name":"x","name":"net"}"#).as_deref(), Some("net"));
        assert_eq!(name(r#"{"Name":7}"#), None);
    }
}
