//! JSON text for values of ours.

use std::fmt::{Display, Write as _};

/// The JSON text of a string.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The JSON text of a list of these texts.
pub(crate) fn list(entries: impl IntoIterator<Item = impl Display>) -> String {
    enclosed("[", entries.into_iter(), "]")
}

/// The JSON text of an object of these names and strings.
pub(crate) fn map<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let member = |(name, value)| format!("{}:{}", string(name), string(value));
    enclosed("{", pairs.into_iter().map(member), "}")
}

/// The JSON text of an object with these names, each with an empty object.
pub(crate) fn set<'p>(names: impl IntoIterator<Item = &'p str>) -> String {
    let member = |name| format!("{}:{{}}", string(name));
    enclosed("{", names.into_iter().map(member), "}")
}

fn enclosed(open: &str, entries: impl Iterator<Item = impl Display>, close: &str) -> String {
    let mut text = open.to_owned();
    for entry in entries {
        if text.len() > open.len() {
            text.push(',');
        }
        let _ = write!(text, "{entry}");
    }
    text + close
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_are_written_without_spaces() {
        assert_eq!(list(Vec::<String>::new()), "[]");
        assert_eq!(
            list([string("a\"\n"), "1.0".to_owned()]),
            r#"["a\"\n",1.0]"#
        );
        assert_eq!(map([]), "{}");
        assert_eq!(map([("a", "1"), ("\\", "")]), r#"{"a":"1","\\":""}"#);
    }
}
