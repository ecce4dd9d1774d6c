//! Builds by `POST /build`: the labels are a parameter of the query, and the body, which is the
//! build context, passes as it comes. What is special about Podman is in `podman_build`.

use crate::error::Refusal;
use crate::http1::query::Query;
use crate::inject::engine::Engine;
use crate::inject::image::podman_build;
use crate::inject::overlay::overlay;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Rejection};
use crate::json::{self, List, string_map};
use crate::labels::Labels;

/// Attributes of an output with this prefix are put into the image as they are, in place of the
/// configuration that the build made (containerimage exporter of BuildKit).
const IMAGE_CONFIG_PREFIX: &str = "containerimage.";

/// Labels as a client writes them.
type Pairs = Vec<(String, String)>;

/// A build by Docker's API.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::PassesAsData,
    label,
    shown: "parameter `labels`",
};

/// Lays the labels over the parameter `labels`, a JSON object of strings, and takes away what would
/// make images or containers without them.
///
/// # Errors
/// When the client's parameters `labels` or `outputs` cannot be understood, and when a label would
/// not arrive.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    // The build context is fetched from there. Podman's own API reads no forms.
    let remote = create.request.parameter("remote");
    create.request.ignores_body = remote.is_some_and(|remote| !remote.is_empty());
    label_with(create, object)
}

/// A build by Podman's own API.
pub(crate) static LIBPOD: Recipe = Recipe {
    body: Body::PassesAsData,
    label: label_libpod,
    shown: "parameter `labels`",
};

/// The same for Podman's own client, which sends a list of `KEY=VALUE` as well.
///
/// # Errors
/// As [`label`].
fn label_libpod(create: &mut Create<'_>) -> Result<(), Rejection> {
    label_with(create, object_or_list)
}

fn label_with(
    create: &mut Create<'_>,
    read: fn(&str) -> Result<Pairs, json::Error>,
) -> Result<(), Rejection> {
    create.request.name = create.request.parameter("t");
    create.edit_query(|query, create| {
        let client = match text(query.sole("labels")?, "labels")? {
            Some(text) => read(text).map_err(|error| wrong("labels", error))?,
            None => Vec::new(),
        };
        let outputs = match text(query.first("outputs"), "outputs")? {
            Some(outputs) => without_image_config(outputs)?,
            None => None,
        };
        let labels = labels(query, &client, create)?;
        query.set("labels", labels.as_bytes());
        keep_labelled(query, create.labels());
        if let Some(parent) = &create.policy().cgroup_parent {
            query.set("cgroupparent", parent.as_bytes());
        }
        if let Some(outputs) = outputs {
            query.set("outputs", outputs.as_bytes());
        }
        Ok(())
    })
}

/// The parameter `labels`, with the operator's over the client's. Asks which engine the daemon is
/// only where that makes a difference.
fn labels(
    query: &mut Query<'_>,
    client: &[(String, String)],
    create: &mut Create<'_>,
) -> Result<String, Rejection> {
    let labels = create.labels();
    if podman_build::differs(query, client, labels)
        && let Engine::Podman(version) = Engine::ask(create)?
    {
        let request = &mut create.request;
        return Ok(podman_build::labels(
            request, query, client, labels, version,
        )?);
    }
    Ok(overlay(labels, client))
}

/// Takes away what would remove the labels again, and what would leave containers behind.
fn keep_labelled(query: &mut Query<'_>, labels: &Labels) {
    for label in labels.iter() {
        // Podman takes these away last.
        query.remove("unsetlabel", label.key().as_bytes());
    }
    // The containers of the classic builder carry the Dockerfile's labels only, so none is left
    // behind, not even by a build that fails.
    for name in ["rm", "forcerm"] {
        query.set(name, b"1");
    }
}

fn wrong(parameter: &str, what: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("the parameter {parameter} {what}"))
}

/// The text of a parameter that holds JSON. An empty one counts as missing.
fn text<'q>(value: Option<&'q [u8]>, name: &str) -> Result<Option<&'q str>, Refusal> {
    match value.filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => std::str::from_utf8(value)
            .map(Some)
            .map_err(|_| wrong(name, "is not valid UTF-8")),
    }
}

/// The client's labels, from an object of strings.
fn object(text: &str) -> Result<Pairs, json::Error> {
    string_map([text].into_iter())
}

/// The client's labels, from an object of strings or a list of `KEY=VALUE`.
fn object_or_list(text: &str) -> Result<Pairs, json::Error> {
    let Some(list) = json::decode::<Vec<String>>(text) else {
        return object(text);
    };
    let pair = |label: String| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (label, String::new()),
    };
    Ok(list.into_iter().map(pair).collect())
}

/// The outputs without attributes that replace the image's configuration, or `None` when there are
/// no such attributes.
fn without_image_config(text: &str) -> Result<Option<String>, Refusal> {
    let mut outputs = List::parse("the parameter outputs", text)?;
    outputs.edit_each(|output| {
        output.respell("Attrs");
        let mut attrs = output
            .string_map("Attrs")
            .map_err(|error| wrong("outputs", format!("cannot be read: {error}")))?;
        let before = attrs.len();
        attrs.retain(|(name, _)| !name.starts_with(IMAGE_CONFIG_PREFIX));
        if attrs.len() < before {
            output.set_map("Attrs", &attrs);
        }
        Ok::<_, Refusal>(())
    })?;
    Ok(outputs.is_changed().then(|| outputs.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::http1::query::Query;
    use crate::inject::request::CreateRequest;
    use crate::inject::test::{self, FORCED, Script, policy, reason, with_query};
    use crate::policy::Policy;

    fn labelled_by(query: &str, policy: &Policy) -> Result<CreateRequest, Rejection> {
        // Asked since a value of the labels has a "$".
        let mut daemon = Script::default().on("GET /v1.41/version", 200, "{}");
        test::labelled_by(policy, &LIBPOD, with_query(query), &mut daemon)
    }

    fn labelled(query: &str) -> Result<CreateRequest, Rejection> {
        labelled_by(query, &policy())
    }

    fn value(query: &str, name: &str) -> Option<String> {
        let query = labelled(query).unwrap().query;
        let query = Query::parse(&query);
        assert!(query.all(name).count() < 2, "{name} is given twice");
        let value = query.first(name)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn a_list_of_labels_is_podmans() {
        let query = r#"labels=["a"]"#;
        let refused = test::labelled(&RECIPE, with_query(query), &mut Script::default());
        assert_eq!(reason(refused), Reason::Malformed);
        assert!(labelled(query).is_ok());
    }

    #[test]
    fn a_build_is_labelled_in_its_query() {
        let labels = |query: &str| value(query, "labels").unwrap();
        for none in ["t=x", "labels=", "labels=null", "labels=[]"] {
            assert_eq!(labels(none), format!("{{{FORCED}}}"), "{none}");
        }
        for client in [
            "l%61bels=%7B%22a%22:%22b%22}",
            "labels={\"a\":\"b\",\"ci.job\":\"1\"}",
            "labels=[\"a%3Db\",\"ci.job\"]",
        ] {
            assert_eq!(
                labels(client),
                format!("{{\"a\":\"b\",{FORCED}}}"),
                "{client}"
            );
        }
        assert_eq!(labelled("t=a%2Fb").unwrap().name.as_deref(), Some("a/b"));
    }

    #[test]
    fn nothing_unlabelled_is_left_behind() {
        for query in ["", "rm=0&forcerm=0", "Rm=0&rm=true&RM=0&forceRM=0"] {
            assert_eq!(value(query, "rm").as_deref(), Some("1"), "{query}");
            assert_eq!(value(query, "forcerm").as_deref(), Some("1"), "{query}");
        }
    }

    #[test]
    fn labels_are_not_taken_away_again() {
        let query = labelled("unsetlabel=ci.job&unsetlabel=x&UnsetLabel=note&unsetlabel=ci.jobs");
        assert!(
            query
                .unwrap()
                .query
                .starts_with("unsetlabel=x&unsetlabel=ci.jobs&labels=")
        );
    }

    #[test]
    fn the_cgroup_is_the_operators() {
        assert_eq!(
            value("cgroupparent=/mine", "cgroupparent").as_deref(),
            Some("/mine")
        );
        assert_eq!(value("", "cgroupparent"), None);
        let policy = Policy {
            cgroup_parent: Some("/ci/a b".to_owned()),
            ..policy()
        };
        let query = labelled_by("cgroupparent=/mine&CgroupParent=/mine&x=1", &policy).unwrap();
        assert!(query.query.starts_with("x=1&labels="));
        assert!(query.query.ends_with("&cgroupparent=%2Fci%2Fa%20b"));
    }

    #[test]
    fn an_output_cannot_replace_the_labels() {
        for (client, expected) in [
            (
                r#"[{"Type":"image", "Attrs":{"name":"x","containerimage.config":"{}"}}]"#,
                r#"[{"Type":"image","Attrs":{"name":"x"}}]"#,
            ),
            (
                r#"[null,{"attrs":{"containerimage.config/linux/amd64":"{}"},"ATTR\u017f":{"a":"b"},"X":1}]"#,
                r#"[null,{"X":1,"Attrs":{"a":"b"}}]"#,
            ),
        ] {
            let query = format!(
                "outputs={}",
                crate::http1::percent::encode(client.as_bytes(), |_| false)
            );
            assert_eq!(value(&query, "outputs").as_deref(), Some(expected));
        }
        for harmless in [
            "outputs=[%7b\"Type\":\"local\"}]",
            "outputs=null",
            "outputs=",
        ] {
            assert!(
                labelled(harmless).unwrap().query.starts_with(harmless),
                "{harmless}"
            );
        }
        assert_eq!(value("", "outputs"), None);
    }

    #[test]
    fn a_form_in_place_of_a_remote_context_is_looked_at() {
        for (query, recipe, expected) in [
            ("remote=http://h/x", &RECIPE, true),
            ("remote=", &RECIPE, false),
            ("t=x", &RECIPE, false),
            ("remote=http://h/x", &LIBPOD, false),
        ] {
            let mut daemon = Script::default().on("GET /v1.41/version", 200, "{}");
            let labelled = test::labelled(recipe, with_query(query), &mut daemon);
            assert_eq!(labelled.unwrap().ignores_body, expected, "{query}");
        }
    }

    #[test]
    fn a_parameter_that_cannot_be_understood_is_refused() {
        for (query, message) in [
            (
                "labels={\"a\":\"b\"}&labels={}",
                "the parameter labels is given twice; give it once",
            ),
            (
                "labels={\"a\":\"b\"}&LABEL%C5%BF={}",
                "the parameter \"LABELſ\" must be written labels",
            ),
            (
                "labels=x",
                "the parameter labels must be an object of strings",
            ),
            (
                "labels=[1]",
                "the parameter labels must be an object of strings",
            ),
            (
                "labels={\"a\":1}",
                "the parameter labels must be an object of strings",
            ),
            ("labels=%ff", "the parameter labels is not valid UTF-8"),
            ("outputs=%ff", "the parameter outputs is not valid UTF-8"),
            (
                "outputs={}",
                "the parameter outputs must be a list of objects",
            ),
            (
                "outputs=[]x",
                "the parameter outputs must be a list of objects",
            ),
            (
                "outputs=[{\"Attrs\":{\"a\":1}}]",
                "the parameter outputs cannot be read: Attrs must be an object of strings",
            ),
            (
                "outputs=[1]",
                "an entry of the parameter outputs must be an object",
            ),
        ] {
            assert_eq!(
                labelled(query),
                Err(Rejection::Refusal(Refusal::bad_request(message))),
                "{query}"
            );
        }
    }
}
