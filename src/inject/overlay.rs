//! The operator's labels, laid over those of a client as JSON text.

use crate::json::{self, MemberError, Object};
use crate::labels::Labels;

/// The JSON object of the client's labels with the operator's laid over them: a client's label
/// stays where it was unless its key is one of the operator's, and those come last.
pub(crate) fn overlay(labels: &Labels, client: &[(String, String)]) -> String {
    let forced = labels.iter().map(|label| (label.key(), label.value()));
    json::map(kept(labels, client).chain(forced))
}

/// The client's labels whose keys are not the operator's. Podman writes labels as `KEY=VALUE` on the
/// way, so the client's key `a=b` is its key `a` too.
pub(crate) fn kept<'l>(
    labels: &'l Labels,
    client: &'l [(String, String)],
) -> impl Iterator<Item = (&'l str, &'l str)> {
    let is_forced = |key: &str| {
        let key = key.split('=').next();
        labels.iter().any(|label| Some(label.key()) == key)
    };
    let kept = client.iter().filter(move |(key, _)| !is_forced(key));
    kept.map(|(key, value)| (&**key, &**value))
}

/// What the member `name` is with the labels laid over it. What Go would decode into it (any case,
/// several times, `null`) counts as one member.
///
/// # Errors
/// When the client's labels are not an object of strings.
pub(crate) fn overlaid(
    object: &mut Object<'_>,
    name: &'static str,
    labels: &Labels,
) -> Result<String, MemberError> {
    object.respell(name);
    let client = object.string_map(name)?;
    Ok(overlay(labels, &client))
}

/// Lays the labels over the member `name` and writes it as the last one, as [`overlaid`] says.
///
/// # Errors
/// As [`overlaid`].
pub(crate) fn lay_labels(
    object: &mut Object<'_>,
    name: &'static str,
    labels: &Labels,
) -> Result<(), MemberError> {
    let text = overlaid(object, name, labels)?;
    object.set(name, text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, policy};
    use crate::labels::Label;

    #[test]
    fn the_operators_value_wins_and_the_clients_other_labels_stay() {
        let labels = ["a=1", "b=\"\\"].map(|text| Label::parse(text).unwrap());
        let labels = Labels::new(labels).unwrap();
        let client = [("z", "26"), ("a", "0"), ("a=1", "0")];
        let client = client.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(
            overlay(&labels, &client),
            r#"{"z":"26","a":"1","b":"\"\\"}"#
        );
        assert_eq!(overlay(&labels, &[]), r#"{"a":"1","b":"\"\\"}"#);
    }

    #[test]
    fn labels_in_any_spelling_become_one_member() {
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
            let mut object = Object::parse(client.as_bytes()).unwrap().unwrap();
            lay_labels(&mut object, "Labels", &policy().labels).unwrap();
            let expected = format!("{{{before}{FORCED}}}}}");
            assert_eq!(object.to_string(), expected, "{client}");
        }
    }

    #[test]
    fn labels_that_are_not_strings_are_an_error() {
        for client in [
            r#"{"Labels":[]}"#,
            r#"{"Labels":{"a":1}}"#,
            r#"{"Labels":{},"labels":"x"}"#,
        ] {
            let mut object = Object::parse(client.as_bytes()).unwrap().unwrap();
            let wrong = MemberError::wrong_type("Labels", "an object of strings");
            assert_eq!(
                lay_labels(&mut object, "Labels", &policy().labels),
                Err(wrong),
                "{client}"
            );
        }
    }
}
