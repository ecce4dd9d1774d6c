//! The operator's labels: what a label may look like, and where they are read from. How they are
//! written into a create is left to `inject`.

use std::path::Path;

use crate::error::Error;

/// The prefix of the labels that the daemon puts over those of a task's container
/// (`systemLabelPrefix` in moby daemon/cluster/executor/container).
const TASK_LABEL_PREFIX: &str = "com.docker.swarm.";

/// The label by which `docker volume prune` knows an anonymous volume, from Docker 23 on. The
/// daemon gives it to those it makes for `Volumes`, but only newer ones to those of `Mounts`.
pub(crate) const ANONYMOUS_VOLUME: &str = "com.docker.volume.anonymous";

/// One `KEY=VALUE` of the operator. One that exists is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: String,
}

/// The operator's labels, each key once, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<Label>);

impl Label {
    /// Reads `KEY=VALUE`. `KEY` alone has an empty value, as with `docker run --label`.
    ///
    /// # Errors
    /// When the key is empty or cannot be written on every path on which labels travel (query,
    /// JSON, `LABEL` instruction, frontend option, task of a service), or when the value has a
    /// control character.
    pub fn parse(text: &str) -> Result<Label, Error> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(Error::Usage(format!(
                "label {text:?} has an empty key; write KEY=VALUE"
            )));
        }
        if let Some(c) = key.chars().find(|&c| !is_key_char(c)) {
            return Err(Error::Usage(format!(
                "label {text:?} has {c:?} in its key; a key has no white space, quotes, \
                 backslash, '$' or control characters"
            )));
        }
        if key.starts_with(TASK_LABEL_PREFIX) {
            return Err(Error::Usage(format!(
                "label {text:?} has a key that begins with {TASK_LABEL_PREFIX:?}; the daemon \
                 gives containers of services its own labels there"
            )));
        }
        if key == ANONYMOUS_VOLUME {
            return Err(Error::Usage(format!(
                "label {text:?} would make every volume anonymous to the daemon, which prunes those"
            )));
        }
        if let Some(c) = value.chars().find(|c| is_line_break_or_control(*c)) {
            return Err(Error::Usage(format!(
                "label {text:?} has {c:?} in its value; control characters and line breaks cannot \
                 be written on every path"
            )));
        }
        Ok(Label {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value, perhaps empty.
    pub fn value(&self) -> &str {
        &self.value
    }
}

fn is_key_char(c: char) -> bool {
    !(c.is_whitespace()
        || is_line_break_or_control(c)
        || matches!(c, '"' | '\'' | '`' | '\\' | '$'))
}

fn is_line_break_or_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

impl Labels {
    /// Takes the labels in their order. The same label twice counts once.
    ///
    /// # Errors
    /// When there is none, or when one key has two values.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Result<Labels, Error> {
        let mut unique: Vec<Label> = Vec::new();
        for label in labels {
            match unique.iter().find(|known| known.key == label.key) {
                None => unique.push(label),
                Some(known) if known.value == label.value => (),
                Some(known) => {
                    return Err(Error::Usage(format!(
                        "label {:?} is given two values, {:?} and {:?}; give it once",
                        label.key, known.value, label.value
                    )));
                }
            }
        }
        if unique.is_empty() {
            return Err(Error::Usage(
                "no label given; use --label KEY=VALUE or --label-file FILE".to_owned(),
            ));
        }
        Ok(Labels(unique))
    }

    /// Each label, in the operator's order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// Whether each of their keys is among those of an object. Its value may be another one.
    pub(crate) fn are_in(&self, labels: &[(String, String)]) -> bool {
        self.iter()
            .all(|label| labels.iter().any(|(key, _)| key == label.key()))
    }

    /// The first of their keys that an object has with another value, and that value.
    pub(crate) fn other_value<'l>(
        &self,
        labels: &'l [(String, String)],
    ) -> Option<(&'l str, &'l str)> {
        let is_other = |(key, value): &&(String, String)| {
            self.iter()
                .any(|label| label.key() == key && label.value() != value)
        };
        let found = labels.iter().find(is_other);
        found.map(|(key, value)| (&**key, &**value))
    }

    /// The same labels with their values as `write` writes them, for a place where a value is not
    /// read literally.
    pub(crate) fn with_values(&self, write: impl Fn(&str) -> String) -> Labels {
        let labels = self.0.iter().map(|label| Label {
            key: label.key.clone(),
            value: write(&label.value),
        });
        Labels(labels.collect())
    }
}

/// Reads a label file as `docker run --label-file` does: one label on each line. Blank lines and
/// lines that begin with `#` are skipped, white space before a label is ignored, and everything
/// after the first `=` is the value.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, or holds a label that [`Label::parse`] refuses.
pub(crate) fn read_file(path: &Path) -> Result<Vec<Label>, Error> {
    let bytes = std::fs::read(path)
        .map_err(|err| Error::Failure(format!("cannot read label file {path:?}: {err}")))?;
    let text = String::from_utf8(bytes).map_err(|err| {
        let line = 1 + err.as_bytes()[..err.utf8_error().valid_up_to()]
            .split(|&b| b == b'\n')
            .count()
            - 1;
        Error::Usage(format!("label file {path:?}, line {line}: invalid UTF-8"))
    })?;
    parse_file(&text)
        .map_err(|(line, err)| Error::Usage(format!("label file {path:?}, line {line}: {err}")))
}

fn parse_file(text: &str) -> Result<Vec<Label>, (usize, Error)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches([' ', '\t']));
    lines
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(i, line)| Label::parse(line).map_err(|err| (i + 1, err)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Result<Labels, Error> {
        Labels::new(texts.iter().map(|text| Label::parse(text).unwrap()))
    }

    #[test]
    fn all_after_the_first_equals_sign_is_the_value() {
        for (text, key, value) in [
            ("ci.job=42", "ci.job", "42"),
            ("flag", "flag", ""),
            ("flag=", "flag", ""),
            ("a=b=c", "a", "b=c"),
            (
                "a= \"q\" \\ $HOME {{x}} é ",
                "a",
                " \"q\" \\ $HOME {{x}} é ",
            ),
            ("org/team_x-1=y", "org/team_x-1", "y"),
            ("ключ=значение", "ключ", "значение"),
        ] {
            let label = Label::parse(text).unwrap();
            assert_eq!((label.key(), label.value()), (key, value), "{text:?}");
        }
    }

    #[test]
    fn a_label_that_some_path_cannot_carry_is_refused_by_name() {
        for (text, expected) in [
            ("=x", "label \"=x\" has an empty key; write KEY=VALUE"),
            ("", "label \"\" has an empty key; write KEY=VALUE"),
            ("a b=x", "label \"a b=x\" has ' ' in its key"),
            ("a\"=x", "label \"a\\\"=x\" has '\"' in its key"),
            ("a$=x", "label \"a$=x\" has '$' in its key"),
            ("a\\b", "label \"a\\\\b\" has '\\\\' in its key"),
            (
                "com.docker.swarm.task.id=x",
                "label \"com.docker.swarm.task.id=x\" has a key that begins with",
            ),
            (
                "com.docker.volume.anonymous",
                "label \"com.docker.volume.anonymous\" would make every volume anonymous",
            ),
            ("a=x\ny", "label \"a=x\\ny\" has '\\n' in its value"),
            (
                "a=x\u{7f}",
                "label \"a=x\\u{7f}\" has '\\u{7f}' in its value",
            ),
            (
                "a=x\u{2028}",
                "label \"a=x\\u{2028}\" has '\\u{2028}' in its value",
            ),
        ] {
            let err = Label::parse(text).unwrap_err().to_string();
            assert!(err.starts_with(expected), "{err}");
        }
    }

    #[test]
    fn one_key_has_one_value() {
        assert_eq!(labels(&["a=1", "a=1"]).unwrap().iter().count(), 1);
        assert_eq!(
            labels(&["a=1", "b=1", "a=2"]).unwrap_err().to_string(),
            "label \"a\" is given two values, \"1\" and \"2\"; give it once"
        );
        assert!(
            labels(&[])
                .unwrap_err()
                .to_string()
                .starts_with("no label given")
        );
    }

    #[test]
    fn a_file_is_read_as_docker_reads_it() {
        let read = |text| {
            parse_file(text).map(|labels| {
                labels
                    .into_iter()
                    .map(|label| format!("{}={}", label.key, label.value))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            read("\u{feff}# comment\n\n  a=1 \n\tb\r\nc==#\n").unwrap(),
            ["a=1 ", "b=", "c==#"]
        );
        let (line, err) = read("a=1\n\n=x\n").unwrap_err();
        assert_eq!(
            (line, err.to_string().as_str()),
            (3, "label \"=x\" has an empty key; write KEY=VALUE")
        );
    }
}
