//! Creates that are a JSON object with the labels in one of its members, and the steps that the
//! recipes for richer objects share.

use crate::error::Refusal;
use crate::inject::request::{CreateRequest, Rejection};
use crate::json::{self, Object, string_map};
use crate::labels::Labels;
use crate::policy::Policy;

/// What becomes of a create whose body is empty or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It stands for all defaults, so the labels are the whole body.
    IsDefaults,
    /// The daemon refuses it, and so does the proxy.
    IsError,
}

/// Labels an object in its member `Labels`.
///
/// # Errors
/// 400 when the body is no JSON object or its labels are no object of strings.
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    empty: Empty,
) -> Result<(), Rejection> {
    let mut object = parse(&draft.body, empty)?;
    draft.name = name(&object, "Name");
    lay_labels(&mut object, "Labels", &policy.labels)?;
    draft.body = object.to_string().into_bytes();
    Ok(())
}

/// The body of a create as an object.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn parse(body: &[u8], empty: Empty) -> Result<Object<'_>, Refusal> {
    let object = Object::parse(body).map_err(|what| {
        Refusal::bad_request(format!(
            "the request body is {what}, so it cannot be labelled"
        ))
    })?;
    match (object, empty) {
        (Some(object), _) => Ok(object),
        (None, Empty::IsDefaults) => Ok(Object::default()),
        (None, Empty::IsError) => Err(Refusal::bad_request(
            "the request body is empty; it must be a JSON object",
        )),
    }
}

/// Lays the labels over the member `field` and writes it as the last one. What Go would decode
/// into it (any case, several times, `null`) becomes one member with the same meaning.
///
/// # Errors
/// 400 when the client's labels are no object of strings.
pub(crate) fn lay_labels(
    object: &mut Object<'_>,
    field: &'static str,
    labels: &Labels,
) -> Result<(), Refusal> {
    object.respell(field);
    let client = map(object, field)?;
    object.set(field, labels.over(&client));
    Ok(())
}

/// Edits the object in the only member for `field`, where there is one.
///
/// # Errors
/// 400 when it is there more than once or is no object, and whatever `edit` says.
pub(crate) fn edit(
    object: &mut Object<'_>,
    field: &'static str,
    edit: impl FnOnce(&mut Object<'_>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let Some(mut member) = sole_as::<Option<Object<'_>>>(object, field, "an object")? else {
        return Ok(());
    };
    edit(&mut member)?;
    let text = member.to_string();
    object.set(field, text);
    Ok(())
}

/// An entry of the list `field` as an object; `null` is none.
///
/// # Errors
/// 400 when it is neither: whether the daemon would read it is not known.
pub(crate) fn entry<'t>(text: &'t str, field: &str) -> Result<Option<Object<'t>>, Refusal> {
    Object::parse(text.as_bytes())
        .map_err(|what| Refusal::bad_request(format!("an entry of {field} is {what}")))
}

/// The name that the client gives a thing, for the log: one that cannot be read is none.
pub(crate) fn name(object: &Object<'_>, field: &str) -> Option<String> {
    serde_json::from_str(object.values(field).ok()?.last()?).ok()
}

/// The only member for `field`, or `None` where it is missing or `null`.
///
/// # Errors
/// 400 when it is there more than once, since daemons would merge such members, each in its own
/// way, or has a name that is not this field to all of them.
pub(crate) fn sole<'o>(object: &'o Object<'_>, field: &str) -> Result<Option<&'o str>, Refusal> {
    match object.values(field).map_err(Refusal::bad_request)?[..] {
        [] | ["null"] => Ok(None),
        [value] => Ok(Some(value)),
        _ => Err(Refusal::bad_request(format!(
            "the member {field} is given twice, in whatever case; give it once"
        ))),
    }
}

/// All members for `field` as Go merges them; see [`string_map`].
///
/// # Errors
/// 400 when one is no object of strings, or has a name that is not this field to all daemons.
pub(crate) fn map(
    object: &Object<'_>,
    field: &'static str,
) -> Result<Vec<(String, String)>, Refusal> {
    let values = object.values(field).map_err(Refusal::bad_request)?;
    string_map(values.into_iter()).map_err(|what| Refusal::bad_request(format!("{field} {what}")))
}

/// The only member for `field`, decoded; a missing one is the default.
///
/// # Errors
/// 400 when it is there more than once or has another type; `expected` says which it should have.
pub(crate) fn sole_as<'o, T: serde::Deserialize<'o> + Default>(
    object: &'o Object<'_>,
    field: &str,
    expected: &str,
) -> Result<T, Refusal> {
    match sole(object, field)? {
        None => Ok(T::default()),
        Some(value) => json::decode_as(value, expected)
            .map_err(|what| Refusal::bad_request(format!("{field} {what}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{FORCED, policy};

    fn labelled(body: &str, empty: Empty) -> Result<(String, Option<String>), Rejection> {
        let mut draft = CreateRequest {
            body: body.into(),
            ..CreateRequest::default()
        };
        label(&mut draft, &policy(), empty)?;
        Ok((String::from_utf8(draft.body).unwrap(), draft.name))
    }

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
                r#"{"Labels":{"a":"b","ci.job":"1"}}"#,
                r#""Labels":{"a":"b","#,
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
                r#"{"X":{"Memory":1e3},"Y":["a"]}"#,
                r#""X":{"Memory":1e3},"Y":["a"],"Labels":{"#,
            ),
        ] {
            let expected = format!("{{{before}{FORCED}}}}}");
            assert_eq!(
                labelled(client, Empty::IsError).unwrap().0,
                expected,
                "{client}"
            );
        }
    }

    #[test]
    fn an_empty_body_is_all_defaults_or_an_error() {
        for client in ["", " \n", "null"] {
            let (body, _) = labelled(client, Empty::IsDefaults).unwrap();
            assert_eq!(body, format!("{{\"Labels\":{{{FORCED}}}}}"));
            assert!(matches!(
                labelled(client, Empty::IsError),
                Err(Rejection::Refusal(Refusal {
                    reason: Reason::Malformed,
                    ..
                }))
            ));
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
            let expected = Rejection::Refusal(Refusal::bad_request(message));
            assert_eq!(
                labelled(client, Empty::IsDefaults).unwrap_err(),
                expected,
                "{client}"
            );
        }
    }

    #[test]
    fn the_name_is_known_to_the_log() {
        let name = |text: &str| labelled(text, Empty::IsError).unwrap().1;
        assert_eq!(name(r#"{"Name":"x","name":"net"}"#).as_deref(), Some("net"));
        assert_eq!(name(r#"{"Name":7}"#), None);
    }

    #[test]
    fn a_member_that_decides_is_given_once() {
        let object = Object::parse(br#"{"a":1,"A":2,"b":null,"c":"x"}"#)
            .unwrap()
            .unwrap();
        assert!(sole(&object, "a").is_err());
        assert_eq!(sole(&object, "b"), Ok(None));
        assert_eq!(sole_as::<String>(&object, "c", "a string").unwrap(), "x");
        assert_eq!(
            sole_as::<Vec<String>>(&object, "c", "a list")
                .unwrap_err()
                .message,
            "c must be a list"
        );
    }
}
