//! Networks and secrets of Podman's own API.

use crate::error::Refusal;
use crate::inject::overlay::{lay_labels, overlay};
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json;

/// A network.
pub(crate) static NETWORK: Recipe = Recipe {
    body: Body::Rewritten,
    label: label_network,
    shown: "`labels`",
};

/// Labels a network in its member `labels`.
///
/// # Errors
/// When the body is not an object, or its labels are not an object of strings.
fn label_network(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |network, create| {
        create.request.name = network.last("name");
        Ok(lay_labels(network, "labels", create.labels())?)
    })
}

/// A secret.
pub(crate) static SECRET: Recipe = Recipe {
    body: Body::PassesAsData,
    label: label_secret,
    shown: "parameter `labels`",
};

/// Lays the labels over the parameter `labels` of a secret.
///
/// # Errors
/// When the client's parameter is not a JSON object of strings, or is given twice.
fn label_secret(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.request.name = create.request.parameter("name");
    create.edit_query(|query, create| {
        let wrong = |what: &str| Refusal::bad_request(format!("the parameter labels {what}"));
        let client = match query.sole("labels")?.filter(|value| !value.is_empty()) {
            None => Vec::new(),
            Some(value) => {
                let text = std::str::from_utf8(value).map_err(|_| wrong("is not valid UTF-8"))?;
                json::string_map([text].into_iter()).map_err(|error| wrong(&error.to_string()))?
            }
        };
        query.set("labels", overlay(create.labels(), &client).as_bytes());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::http1::query::Query;
    use crate::inject::test::{FORCED, Script, body, labelled, reason, with_body, with_query};

    #[test]
    fn a_network_is_labelled_in_lower_case() {
        let client = with_body(r#"{"name":"n","Labels":{"a":"b"}}"#);
        let request = labelled(&NETWORK, client, &mut Script::default()).unwrap();
        assert_eq!(request.name.as_deref(), Some("n"));
        let expected = format!("{{\"name\":\"n\",\"labels\":{{\"a\":\"b\",{FORCED}}}}}");
        assert_eq!(body(request), expected);
        let empty = labelled(&NETWORK, with_body(""), &mut Script::default());
        assert_eq!(reason(empty), Reason::Malformed);
    }

    #[test]
    fn a_secret_is_labelled_in_its_query() {
        let secret = |query: &str| {
            let request = labelled(&SECRET, with_query(query), &mut Script::default())?;
            assert_eq!(request.name.as_deref(), Some("s"));
            let query = Query::parse(&request.query);
            let labels = query.sole("labels").unwrap().unwrap().to_vec();
            Ok::<_, Rejection>(String::from_utf8(labels).unwrap())
        };
        for none in [
            "name=s",
            "name=s&labels=",
            "name=s&labels=null&replace=true",
        ] {
            assert_eq!(secret(none).unwrap(), format!("{{{FORCED}}}"));
        }
        assert_eq!(
            secret("name=s&labels=%7B%22a%22:%22b%22%7D").unwrap(),
            format!("{{\"a\":\"b\",{FORCED}}}")
        );
        for wrong in ["labels=x", "labels=%ff", "labels={}&labels={}", "LABELS={}"] {
            let refused = secret(&format!("name=s&{wrong}"));
            assert_eq!(reason(refused), Reason::Malformed, "{wrong}");
        }
    }
}
