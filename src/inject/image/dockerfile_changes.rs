//! The parameter `changes` of commits and imports: lines of a Dockerfile that the daemon applies
//! to the new image. The labels are the last of them. The daemon joins all values and parses them
//! as one file, so the client's own must not reach into ours.

use crate::error::Refusal;
use crate::http1::query::Query;
use crate::inject::engine::{Engine, Version};
use crate::inject::request::{Create, Rejection};
use crate::labels::Label;
use crate::limits::DOCKERFILE_LINE_BYTES;

/// The instructions that are allowed here and in which no parser looks for a heredoc. `ONBUILD` is
/// allowed too, and may hold one.
const WITHOUT_HEREDOC: &[&str] = &[
    "cmd",
    "entrypoint",
    "env",
    "expose",
    "healthcheck",
    "label",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

/// What the changes are for, which decides how Podman reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Commit,
    Import,
}

/// The first version of Podman that reads the changes of a commit as a Dockerfile.
const PODMAN_PARSES_COMMIT: Version = (5, 0);

/// How the value of a label is written between its double quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// As in a Dockerfile, where a backslash escapes.
    Dockerfile,
    /// As it is. Only the outer quotes are taken off.
    Literal,
}

/// Appends the labels to the changes.
///
/// # Errors
/// When the client's changes would keep them from being read, when one cannot be written as a
/// change, and when the daemon does not tell its version.
pub(crate) fn append(
    query: &mut Query<'_>,
    purpose: Purpose,
    create: &mut Create<'_>,
) -> Result<(), Rejection> {
    query.check_case("changes")?;
    for change in query.all("changes") {
        check(change)?;
    }
    let quoting = quoting(purpose, create)?;
    for label in create.labels().iter() {
        let line = line(label, quoting);
        if line.len() >= DOCKERFILE_LINE_BYTES - 1 {
            let what = format!("the label {:?} is too long for a change", label.key());
            return Err(Refusal::bad_request(what).into());
        }
        query.push("changes", line.as_bytes());
    }
    Ok(())
}

/// How the daemon wants the labels quoted. Asks it only where that makes a difference.
fn quoting(purpose: Purpose, create: &mut Create<'_>) -> Result<Quoting, Rejection> {
    let needs_quoting = |label: &Label| label.value().contains(['\\', '"', '$']);
    if !create.labels().iter().any(needs_quoting) {
        return Ok(Quoting::Dockerfile);
    }
    Ok(match Engine::ask(create)? {
        Engine::Docker(_) => Quoting::Dockerfile,
        Engine::Podman(version)
            if purpose == Purpose::Commit && version >= PODMAN_PARSES_COMMIT =>
        {
            Quoting::Dockerfile
        }
        Engine::Podman(_) => Quoting::Literal,
    })
}

/// The instruction that sets a label. Its key needs no escapes, see [`Label::parse`].
fn line(label: &Label, quoting: Quoting) -> String {
    let mut line = format!("LABEL \"{}\"=\"", label.key());
    for c in label.value().chars() {
        if quoting == Quoting::Dockerfile && matches!(c, '\\' | '"' | '$') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('"');
    line
}

/// Checks that a change of the client ends where it seems to end, on all daemons.
fn check(change: &[u8]) -> Result<(), Refusal> {
    let result = match std::str::from_utf8(change) {
        Ok(text) => check_lines(text),
        Err(_) => Err("is not valid UTF-8"),
    };
    result.map_err(|what| {
        let change = String::from_utf8_lossy(change);
        Refusal::bad_request(format!("the change {change:?} {what}"))
    })
}

/// Goes through the lines of a change as the daemon does, and says what is wrong with them.
fn check_lines(change: &str) -> Result<(), &'static str> {
    // The instruction so far; `Some` while it is continued.
    let mut continued: Option<String> = None;
    for line in change.lines() {
        check_line(line)?;
        if line.trim_end().is_empty() && continued.is_some() {
            // An empty line does not end the instruction, although that is deprecated.
            continue;
        }
        let instruction = continued.take().unwrap_or_default();
        match begun(line)? {
            Some(begun) => continued = Some(instruction + begun),
            None => check_heredoc(&(instruction + line))?,
        }
    }
    match continued {
        None => Ok(()),
        Some(_) => Err("ends in a backslash, so that it would take in what follows"),
    }
}

/// Checks a line by itself.
fn check_line(line: &str) -> Result<(), &'static str> {
    if line.contains('\r') {
        return Err("has a carriage return inside a line, where daemons differ");
    }
    if line.len() >= DOCKERFILE_LINE_BYTES - 1 {
        return Err("has a line longer than daemons can read");
    }
    // A byte order mark is skipped at the start of the file.
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    if line.trim_start_matches(is_blank).starts_with('#') {
        return Err("has a comment, which may be a directive to the parser; leave the comment out");
    }
    Ok(())
}

/// The line without the backslash by which it is continued on the next one, if it has one.
fn begun(line: &str) -> Result<Option<&str>, &'static str> {
    let text = line.trim_end();
    let Some(begun) = text.strip_suffix('\\') else {
        return Ok(None);
    };
    if begun.ends_with('\\') {
        return Err("has a line that ends in two backslashes, where daemons differ; quote them");
    }
    if line[text.len()..].contains(|c| !matches!(c, ' ' | '\t')) {
        return Err("has unusual white space behind a backslash, where daemons differ");
    }
    Ok(Some(begun))
}

/// Checks that an instruction, its continued lines joined, does not begin a heredoc.
fn check_heredoc(instruction: &str) -> Result<(), &'static str> {
    let word = instruction.split_whitespace().next().unwrap_or_default();
    let is_safe = WITHOUT_HEREDOC
        .iter()
        .any(|safe| word.eq_ignore_ascii_case(safe));
    if instruction.contains("<<") && !is_safe {
        return Err("may begin a heredoc, which would take in what follows; leave out the <<");
    }
    Ok(())
}

/// What a commit or an import calls its image, for the log.
pub(crate) fn name(query: &Query<'_>) -> Option<String> {
    let value = |name| match query.first(name) {
        Some(value) if !value.is_empty() => Some(String::from_utf8_lossy(value)),
        _ => None,
    };
    let repo = value("repo")?;
    Some(match value("tag") {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::request::CreateRequest;
    use crate::inject::test::{Script, policy, status};
    use crate::labels::Labels;
    use crate::policy::Policy;

    fn labels(texts: &[&str]) -> Policy {
        let labels = texts.iter().map(|text| Label::parse(text).unwrap());
        Policy {
            labels: Labels::new(labels).unwrap(),
            ..policy()
        }
    }

    /// The changes of a commit or import with the query `client`.
    fn changed(
        client: &str,
        purpose: Purpose,
        policy: &Policy,
        daemon: &mut Script,
    ) -> Result<Vec<String>, Rejection> {
        let mut query = Query::parse(client);
        let request = CreateRequest {
            version: "/v1.41".to_owned(),
            ..CreateRequest::default()
        };
        append(
            &mut query,
            purpose,
            &mut Create::new(request, policy, daemon),
        )?;
        let query = query.to_string();
        Ok(Query::parse(&query)
            .all("changes")
            .map(|change| String::from_utf8(change.to_vec()).unwrap())
            .collect())
    }

    #[test]
    fn the_labels_are_the_last_changes() {
        for purpose in [Purpose::Commit, Purpose::Import] {
            assert_eq!(
                changed(
                    "changes=LABEL+a%3Dmine&x=1&c%68anges=CMD%20y",
                    purpose,
                    &labels(&["a=1", "b= {{x}} ü=#'`"]),
                    &mut Script::default(),
                )
                .unwrap(),
                [
                    "LABEL a=mine",
                    "CMD y",
                    r#"LABEL "a"="1""#,
                    r#"LABEL "b"=" {{x}} ü=#'`""#,
                ]
            );
        }
    }

    #[test]
    fn a_value_is_quoted_as_the_daemon_reads_it() {
        let escaped = r#"LABEL "a"="\\\"x\" \$HOME\\""#;
        let literal = r#"LABEL "a"="\"x" $HOME\""#;
        let docker = || Script::default().on("GET /v1.41/version", 200, "{}");
        let podman = |version: &str| {
            let body = format!(r#"{{"Version":"{version}"}}"#);
            Script::default()
                .on("GET /v1.41/version", 200, &body)
                .podman()
        };
        for (purpose, mut daemon, expected) in [
            (Purpose::Commit, docker(), escaped),
            (Purpose::Import, docker(), escaped),
            (Purpose::Commit, podman("4.9.3"), literal),
            (Purpose::Import, podman("4.9.3"), literal),
            (Purpose::Commit, podman("5.0.0-rc1"), escaped),
            (Purpose::Commit, podman("10.1.0"), escaped),
            (Purpose::Import, podman("5.0.0"), literal),
        ] {
            let policy = labels(&[r#"a=\"x" $HOME\"#]);
            let changes = changed("", purpose, &policy, &mut daemon).unwrap();
            assert_eq!(changes, [expected], "{purpose:?}");
        }
        let mut unreadable = podman("devel");
        assert_eq!(
            changed("", Purpose::Commit, &policy(), &mut unreadable),
            Err(Rejection::Refusal(Refusal::bad_gateway(
                "the daemon's version \"devel\" is not a number"
            )))
        );
        let mut unwilling = Script::default().on("GET /v1.41/version", 400, "too old");
        let rejected = changed("", Purpose::Commit, &policy(), &mut unwilling);
        assert_eq!(status(rejected), 400);
    }

    #[test]
    fn a_change_that_ends_where_it_seems_to_is_taken() {
        for change in [
            "",
            "CMD",
            " \n\n",
            "CMD [\"sh\", \"-c\", \"cat <<x\"]",
            "entrypoint a <\\\n<b",
            "ENV a=`b` c=\"d\\\\\" # e",
            "ONBUILD RUN a\\\r\n b\nCMD c",
            "ONBUILD RUN a \\ \t\n \n\n b < c",
            "ONBUILD RUN a < < b",
            "LABEL x=`",
            &format!("ENV a={}", "x".repeat(DOCKERFILE_LINE_BYTES - 8)),
        ] {
            assert_eq!(check(change.as_bytes()), Ok(()), "{change:?}");
        }
    }

    #[test]
    fn a_change_that_would_take_in_the_labels_is_refused() {
        let too_long = format!("ENV a={}", "x".repeat(DOCKERFILE_LINE_BYTES - 7));
        for (change, what) in [
            ("CMD x \\", "ends in a backslash"),
            ("CMD x \\ \t", "ends in a backslash"),
            ("CMD x \\\n", "ends in a backslash"),
            ("CMD x \\\n\n", "ends in a backslash"),
            ("\\\n\n", "ends in a backslash"),
            ("CMD x \\\n y \\", "ends in a backslash"),
            ("CMD x \\\\", "has a line that ends in two backslashes"),
            (
                "CMD x \\\\\nCMD y",
                "has a line that ends in two backslashes",
            ),
            ("CMD x \\\u{a0}\nCMD y", "has unusual white space behind"),
            ("CMD x \\\u{a0}", "has unusual white space behind"),
            ("CMD x\\\r\r\n y", "has a carriage return inside a line"),
            ("CMD x\r", "has a carriage return inside a line"),
            ("# escape=`", "has a comment"),
            ("\u{feff} #escape=`", "has a comment"),
            ("CMD x\n\t# y", "has a comment"),
            ("CMD x \\\n# y\n z", "has a comment"),
            ("ONBUILD RUN <<x", "may begin a heredoc"),
            ("onbuild\tCOPY <<-'LABEL' /x", "may begin a heredoc"),
            ("ONBU\u{130}LD RUN <<x", "may begin a heredoc"),
            ("ON\\\nBUILD RUN <\\\n<x", "may begin a heredoc"),
            ("\\\n\nONBUILD RUN <<x", "may begin a heredoc"),
            ("CMD x\nONBUILD RUN <<x\nx", "may begin a heredoc"),
            ("ADD <<x /x\nx", "may begin a heredoc"),
            (&too_long, "has a line longer than daemons can read"),
        ] {
            let err = check(change.as_bytes()).unwrap_err();
            let expected = format!("the change {change:?} {what}");
            assert!(err.message.starts_with(&expected), "{}", err.message);
            assert_eq!(err.reason, Reason::Malformed);
        }
        assert!(
            check(b"CMD \xff")
                .unwrap_err()
                .message
                .ends_with("is not valid UTF-8")
        );
    }

    #[test]
    fn the_whole_parameter_is_checked() {
        let refused = |client: &str, policy: &Policy| match changed(
            client,
            Purpose::Commit,
            policy,
            &mut Script::default(),
        ) {
            Err(Rejection::Refusal(refusal)) => refusal.message,
            other => panic!("{client}: {other:?}"),
        };
        let policy = labels(&["a=1"]);
        assert_eq!(
            refused("changes=CMD+x&changes=CMD+y%5C", &policy),
            r#"the change "CMD y\\" ends in a backslash, so that it would take in what follows"#
        );
        assert_eq!(
            refused("Changes=CMD+x", &policy),
            "the parameter \"Changes\" must be written changes"
        );
        let long = labels(&[&format!("a={}", "x".repeat(DOCKERFILE_LINE_BYTES))]);
        assert_eq!(
            refused("", &long),
            "the label \"a\" is too long for a change"
        );
    }
}
