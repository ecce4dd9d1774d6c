//! What a create becomes: pure functions from the client's body or query to the labelled one.
//! Leaves reading and sending them to others.

use crate::error::Refusal;
use crate::json::{Object, string_map};
use crate::labels::Labels;
use crate::query::Query;

/// What becomes of a create whose body is empty or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It stands for all defaults, so the labels are the whole body.
    IsDefaults,
    /// The daemon refuses it, and so does the proxy.
    IsError,
}

/// A labelled body and what the log calls the thing it creates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// The body or query to send in place of the client's.
    pub(crate) text: String,
    /// The name that the client gives the thing in it, if any.
    pub(crate) name: Option<String>,
}

/// Lays the labels over the member `Labels` of a JSON object and writes it as the last member.
///
/// What Go would decode into the field (any case, several times, `null`) becomes one member with
/// the same meaning.
///
/// # Errors
/// 400 when the body is no JSON object or its labels are no object of strings.
pub(crate) fn body(body: &[u8], labels: &Labels, empty: Empty) -> Result<Labelled, Refusal> {
    let object = Object::parse(body).map_err(|what| {
        Refusal::bad_request(format!(
            "the request body is {what}, so it cannot be labelled"
        ))
    })?;
    let mut object = match (object, empty) {
        (Some(object), _) => object,
        (None, Empty::IsDefaults) => Object::default(),
        (None, Empty::IsError) => {
            return Err(Refusal::bad_request(
                "the request body is empty; it must be a JSON object",
            ));
        }
    };
    let client_labels = string_map(object.values("Labels"))
        .map_err(|what| Refusal::bad_request(format!("Labels {what}")))?;
    let name = object
        .values("Name")
        .last()
        .and_then(|name| serde_json::from_str(name).ok());
    object.remove("Labels");
    object.push("\"Labels\"", labels.over(&client_labels));
    Ok(Labelled {
        text: object.to_string(),
        name,
    })
}

/// Lays the labels over the parameter `labels` of a build's query, a JSON object of strings.
///
/// # Errors
/// 400 when the client's parameter is no such object.
pub(crate) fn build_query(query: &str, labels: &Labels) -> Result<Labelled, Refusal> {
    let query = Query::parse(query);
    let client = query.first("labels").filter(|value| !value.is_empty());
    let client_labels = match client.map(std::str::from_utf8) {
        None => Ok(Vec::new()),
        Some(Ok(value)) => string_map([value].into_iter()),
        Some(Err(_)) => Err("is not valid UTF-8"),
    };
    let client_labels = client_labels
        .map_err(|what| Refusal::bad_request(format!("the parameter labels {what}")))?;
    Ok(Labelled {
        text: query.with("labels", labels.over(&client_labels).as_bytes()),
        name: query
            .first("t")
            .map(|tag| String::from_utf8_lossy(tag).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Label;

    fn labels() -> Labels {
        Labels::new(["ci.job=42", "note=a \"b\" $c"].map(|text| Label::parse(text).unwrap()))
            .unwrap()
    }

    const FORCED: &str = r#""ci.job":"42","note":"a \"b\" $c""#;

    #[test]
    fn the_labels_are_laid_over_the_clients() {
        for (client, before) in [
            (r#"{"Image":"x"}"#, r#""Image":"x","Labels":{"#),
            (
                r#"{"Labels":null,"Image":"x"}"#,
                r#""Image":"x","Labels":{"#,
            ),
            (r#"{"Labels":{},"Image":"x"}"#, r#""Image":"x","Labels":{"#),
            (
                r#"{"Labels":{"a":"b","ci.job":"1"},"Image":"x"}"#,
                r#""Image":"x","Labels":{"a":"b","#,
            ),
            (
                r#"{"labels":{"a":"1"},"LABELS":{"a":"2"}}"#,
                r#""Labels":{"a":"2","#,
            ),
            (
                r#"{"Labels":{"a":"1"},"label\u017f":null}"#,
                r#""Labels":{"#,
            ),
            (
                r#"{"HostConfig":{"Memory":1e3},"Cmd":["a"]}"#,
                r#""HostConfig":{"Memory":1e3},"Cmd":["a"],"Labels":{"#,
            ),
        ] {
            let expected = format!("{{{before}{FORCED}}}}}");
            assert_eq!(
                body(client.as_bytes(), &labels(), Empty::IsError)
                    .unwrap()
                    .text,
                expected,
                "{client}"
            );
        }
    }

    #[test]
    fn an_empty_body_is_all_defaults_or_an_error() {
        for client in ["", " \n", "null"] {
            let labelled = body(client.as_bytes(), &labels(), Empty::IsDefaults).unwrap();
            assert_eq!(labelled.text, format!("{{\"Labels\":{{{FORCED}}}}}"));
            assert_eq!(
                body(client.as_bytes(), &labels(), Empty::IsError)
                    .unwrap_err()
                    .status,
                400
            );
        }
    }

    #[test]
    fn what_cannot_be_labelled_is_refused() {
        for (client, message) in [
            (r#"{"Labels":[]}"#, "Labels must be an object of strings"),
            (
                r#"{"Labels":{"a":1}}"#,
                "Labels must be an object of strings",
            ),
            (
                r#"{"Labels":{},"labels":"x"}"#,
                "Labels must be an object of strings",
            ),
            (
                "[1]",
                "the request body is not a JSON object, so it cannot be labelled",
            ),
        ] {
            let refusal = body(client.as_bytes(), &labels(), Empty::IsDefaults).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.message.as_str()),
                (400, message),
                "{client}"
            );
        }
    }

    #[test]
    fn the_name_is_known_to_the_log() {
        let name = |text: &str| {
            body(text.as_bytes(), &labels(), Empty::IsError)
                .unwrap()
                .name
        };
        assert_eq!(name(r#"{"Name":"x","name":"net"}"#).as_deref(), Some("net"));
        assert_eq!(name(r#"{"Name":7}"#), None);
    }

    #[test]
    fn a_build_is_labelled_in_its_query() {
        let build = |query: &str| {
            let text = build_query(query, &labels()).map(|labelled| labelled.text)?;
            Ok::<_, Refusal>(
                String::from_utf8(Query::parse(&text).first("labels").unwrap().to_vec()).unwrap(),
            )
        };
        assert_eq!(build("t=x").unwrap(), format!("{{{FORCED}}}"));
        assert_eq!(build("labels=").unwrap(), format!("{{{FORCED}}}"));
        assert_eq!(build("labels=null").unwrap(), format!("{{{FORCED}}}"));
        assert_eq!(
            build("l%61bels=%7B%22a%22:%22b%22}&labels={}").unwrap(),
            format!("{{\"a\":\"b\",{FORCED}}}")
        );
        for query in ["labels=x", "labels=[]", "labels={\"a\":1}", "labels=%ff"] {
            assert_eq!(build(query).unwrap_err().status, 400, "{query}");
        }
        assert_eq!(
            build_query("t=a%2Fb", &labels()).unwrap().name.as_deref(),
            Some("a/b")
        );
    }
}
