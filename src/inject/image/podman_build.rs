//! Builds on Podman: how it reads the labels, which image it would not label, and what it makes
//! besides. Docker takes the labels as they are, and is left to `build`.
//!
//! From version 4.5 on (`buildStage` in buildah's imagebuildah/executor.go) the labels become an
//! instruction `LABEL "KEY"="VALUE"` at the end of the last stage that is built. Go's `%q` writes it,
//! and imagebuilder's `ProcessWord` expands variables in keys and values. A backslash in front of
//! `$` would be escaped itself. Before that, the labels are such instructions at the end of the
//! Dockerfile, and are also put on each image as they are.

use crate::error::Refusal;
use crate::http1::query::Query;
use crate::inject::engine::Version;
use crate::inject::overlay::{kept, overlay};
use crate::inject::request::CreateRequest;
use crate::json;
use crate::labels::{Label, Labels};

/// The first version that expands variables in the labels.
const EXPANDS: Version = (4, 5);

/// A substitution that is empty whatever the Dockerfile sets: between `$` and what follows, it keeps
/// them from being read together.
const NOTHING: &str = "${x:+}";

/// Why a manifest list is not labelled.
pub(crate) const LIST: &str = "manifest lists carry no labels";

/// Whether Podman has to be sent another build than Docker.
pub(super) fn differs(query: &Query<'_>, client: &[(String, String)], labels: &Labels) -> bool {
    let is_special = |label: &Label| label.value().contains('$') || unprintable(label).is_some();
    labels.iter().any(is_special)
        || client.iter().any(|(key, _)| key.contains('$'))
        || ["target", "manifest"]
            .iter()
            .any(|name| query.has_value(name))
}

/// Returns the parameter `labels` for a build on this version of Podman. Sets other parameters where
/// the image would not get the labels without.
///
/// # Errors
/// When a label of the operator's would not arrive as it is.
pub(super) fn labels(
    request: &mut CreateRequest,
    query: &mut Query<'_>,
    client: &[(String, String)],
    labels: &Labels,
    version: Version,
) -> Result<String, Refusal> {
    if query.has_value("manifest") {
        request.cannot_label = Some(LIST);
    }
    if version >= EXPANDS {
        return expanded(client, labels);
    }
    if query.has_value("target") {
        // A stage that is not the last one has no such instruction, so its image could come from
        // the cache with the labels of another build.
        query.set("nocache", b"1");
    }
    match labels.iter().find(|label| breaks_off(label.value())) {
        None => Ok(overlay(labels, client)),
        Some(label) => Err(cannot_carry(
            label,
            "\"${\" without a name and \"}\" behind it",
        )),
    }
}

/// The labels for a Podman that expands variables: a list, which unlike an object has an order. So
/// a client's key that becomes one of the operator's comes before it, and the last one counts.
fn expanded(client: &[(String, String)], labels: &Labels) -> Result<String, Refusal> {
    for label in labels.iter() {
        if let Some(c) = unprintable(label) {
            return Err(cannot_carry(
                label,
                &format!("the invisible character {c:?}"),
            ));
        }
    }
    let kept = kept(labels, client).map(|(key, value)| format!("{key}={value}"));
    let forced = labels.iter().map(|label| {
        let value = label.value().replace('$', &format!("${NOTHING}"));
        format!("{}={value}", label.key())
    });
    Ok(json::list(
        kept.chain(forced).map(|pair| json::string(&pair)),
    ))
}

fn cannot_carry(label: &Label, what: &str) -> Refusal {
    Refusal::bad_request(format!(
        "builds of this version of Podman cannot carry {what} in the label {:?}; \
         give the proxy another value",
        label.key()
    ))
}

/// The first character of a label that Go does not print (`strconv.IsPrint`), and so writes as an
/// escape. Rust's debug format escapes the same ones, as far as both know the same Unicode.
fn unprintable(label: &Label) -> Option<char> {
    let mut chars = label.key().chars().chain(label.value().chars());
    chars.find(|&c| {
        // Behind a letter, where marks that combine with it are printable.
        let text = format!("a{c}");
        !matches!(c, '\\' | '"' | '\'') && text.escape_debug().count() > 2
    })
}

/// Whether Podman before [`EXPANDS`] fails to read the instruction for a value, although it takes
/// the label from elsewhere: `${` begins a name that `}` ends.
fn breaks_off(value: &str) -> bool {
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_numeric())
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    value.split("${").skip(1).any(|behind| {
        !behind
            .split_once('}')
            .is_some_and(|(name, _)| is_name(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::image::build;
    use crate::inject::request::Rejection;
    use crate::inject::test::{self, Script, policy, with_query};
    use crate::policy::Policy;

    /// A build with this query and these labels of the operator's, on Podman or Docker as the answer
    /// about its version says.
    fn built(
        query: &str,
        labels: &[&str],
        mut daemon: Script,
    ) -> (Result<CreateRequest, Rejection>, bool) {
        let labels = labels.iter().map(|text| Label::parse(text).unwrap());
        let policy = Policy {
            labels: Labels::new(labels).unwrap(),
            ..policy()
        };
        let built = test::labelled_by(&policy, &build::RECIPE, with_query(query), &mut daemon);
        (built, !daemon.asked.is_empty())
    }

    fn podman(version: &str) -> Script {
        let body = format!(r#"{{"Version":"{version}"}}"#);
        Script::default()
            .on("GET /v1.41/version", 200, &body)
            .podman()
    }

    fn docker() -> Script {
        Script::default().on("GET /v1.41/version", 200, r#"{"ApiVersion":"1.51"}"#)
    }

    /// The value of a parameter that is there at most once.
    fn value(query: &str, labels: &[&str], daemon: Script, name: &str) -> Option<String> {
        let (built, _) = built(query, labels, daemon);
        let query = built.unwrap().query;
        let value = Query::parse(&query).sole(name).unwrap()?.to_vec();
        Some(String::from_utf8(value).unwrap())
    }

    fn labels_of(query: &str, labels: &[&str], daemon: Script) -> String {
        value(query, labels, daemon, "labels").unwrap()
    }

    #[test]
    fn variables_are_kept_from_being_expanded() {
        let label = [r"a=$HOME ${x:-y} \$ é"];
        let plain = r#"{"a":"$HOME ${x:-y} \\$ é"}"#;
        assert_eq!(labels_of("", &label, docker()), plain);
        assert_eq!(
            labels_of("", &label, podman("4.5.0")),
            r#"["a=$${x:+}HOME $${x:+}{x:-y} \\$${x:+} é"]"#
        );
        let label = [r"a=$HOME ${x} \$ é"];
        let plain = r#"{"a":"$HOME ${x} \\$ é"}"#;
        assert_eq!(labels_of("", &label, podman("4.4.4")), plain);
    }

    #[test]
    fn a_key_that_becomes_the_operators_comes_before_it() {
        let query = r#"labels={"b":"$x","${y:-a}":"2","a":"3","a=4":"5"}"#;
        assert_eq!(
            labels_of(query, &["a=1"], podman("5.8.6")),
            r#"["b=$x","${y:-a}=2","a=1"]"#
        );
        for daemon in [docker(), podman("4.3.1")] {
            let object = r#"{"b":"$x","${y:-a}":"2","a":"1"}"#;
            assert_eq!(labels_of(query, &["a=1"], daemon), object);
        }
    }

    #[test]
    fn the_cache_is_not_used_where_it_holds_other_labels() {
        let nocache = |query, daemon| value(query, &["a=1"], daemon, "nocache");
        let one = "nocache=0&Target=one&NoCache=0";
        assert_eq!(nocache(one, podman("4.3.1")).as_deref(), Some("1"));
        assert_eq!(nocache("target=one", podman("4.3.1")).as_deref(), Some("1"));
        assert_eq!(nocache("target=one", podman("5.8.6")), None);
        assert_eq!(nocache("target=one", docker()), None);
        assert_eq!(nocache("target=", Script::default()), None);
    }

    #[test]
    fn a_manifest_list_is_not_labelled() {
        for (query, daemon, expected) in [
            ("manifest=m", podman("4.3.1"), Some(LIST)),
            ("MANIFEST=m", podman("5.8.6"), Some(LIST)),
            ("manifest=m", docker(), None),
            ("manifest=", Script::default(), None),
        ] {
            let (built, _) = built(query, &["a=1"], daemon);
            assert_eq!(built.unwrap().cannot_label, expected, "{query}");
        }
    }

    #[test]
    fn a_label_that_would_not_arrive_is_refused() {
        let refused = |label: &str, version| match built("target=x", &[label], podman(version)).0 {
            Err(Rejection::Refusal(refusal)) => Some(refusal.message),
            _ => None,
        };
        for c in [
            "\u{a0}", "\u{ad}", "\u{200b}", "\u{200d}", "\u{feff}", "\u{e000}",
        ] {
            let message = format!(
                "builds of this version of Podman cannot carry the invisible character {:?} in the \
                 label \"a\"; give the proxy another value",
                c.chars().next().unwrap()
            );
            let label = format!("a=x{c}");
            assert_eq!(refused(&label, "5.8.6"), Some(message), "{label:?}");
            assert_eq!(refused(&label, "4.3.1"), None, "{label:?}");
        }
        assert!(refused("a\u{200b}=x", "5.8.6").is_some());
        for value in ["${", "${x", "x${a:-b}", "${a} ${1}", "$${a-b}"] {
            let label = format!("a={value}");
            let what = "\"${\" without a name and \"}\" behind it";
            assert!(refused(&label, "4.3.1").unwrap().contains(what), "{label}");
            assert_eq!(refused(&label, "5.8.6"), None, "{label}");
        }
        for value in ["$", "$x{", "${}", "a${b_1}c${d}}", "}$"] {
            assert_eq!(refused(&format!("a={value}"), "4.3.1"), None, "{value}");
        }
        for value in [
            "e\u{301}",
            "❤\u{fe0f}",
            "\u{301}",
            "日本🐳",
            r#"\"'"#,
            "\u{fffd}",
        ] {
            assert_eq!(refused(&format!("a={value}"), "5.8.6"), None, "{value}");
        }
    }

    #[test]
    fn the_daemon_is_asked_only_where_it_matters() {
        for (query, label, expected) in [
            ("t=x&labels={\"a\":\"$x\"}&target=", "a=b\\ \"c\"", false),
            ("labels={\"$x\":\"\"}", "a=b", true),
            ("target=x", "a=b", true),
            ("manifest=x", "a=b", true),
            ("", "a=$", true),
            ("", "a=\u{a0}", true),
        ] {
            let (built, is_asked) = built(query, &[label], docker());
            assert!(built.is_ok());
            assert_eq!(is_asked, expected, "{query} {label}");
        }
    }
}
