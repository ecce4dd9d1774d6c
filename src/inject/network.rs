//! Networks: their own labels, or those of the config-only network that they are made from. The
//! daemon copies those and takes no others with them (`validateConfiguration` and
//! `getConfigNetwork` in moby's libnetwork).

use crate::error::{Reason, Refusal};
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::overlay::lay_labels;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json::{self, MemberError, Object};

/// A network.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`, or those of its config-only network",
};

/// Labels a network.
///
/// # Errors
/// When the body cannot be understood, and when the config-only network does not hold the labels.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsDefaults, |network, create| {
        create.request.name = network.last("Name");
        let from: Object<'_> = network.get("ConfigFrom", "an object")?;
        let from: String = from.get("Network", "a string")?;
        if from.is_empty() {
            return Ok(lay_labels(network, "Labels", create.labels())?);
        }
        keep_on_this_node(network)?;
        check_config_only(&from, create)
    })
}

/// Restricts a network made from a config-only one to this node: a network of the whole swarm has
/// labels of its own, next to the copy on each node, and may not be given any.
fn keep_on_this_node(network: &mut Object<'_>) -> Result<(), Refusal> {
    let scope: String = network.get("Scope", "a string")?;
    let driver: String = network.get("Driver", "a string")?;
    let is_local = scope.is_empty() || scope.eq_ignore_ascii_case("local");
    if !is_local || driver == "overlay" {
        return Err(Refusal::bad_request(
            "a swarm network that is made from a config-only one cannot be labelled; \
             give it its configuration itself",
        ));
    }
    // The daemon refuses this with any other driver of swarm scope.
    network.set("Scope", json::string("local"));
    Ok(())
}

/// Checks that the config-only network of this name holds the labels. Old daemons may have
/// several of one name, and take any.
fn check_config_only(name: &str, create: &mut Create<'_>) -> Result<(), Rejection> {
    let mut named = Object::default();
    named.set(name, "true".to_owned());
    let mut filters = Object::default();
    filters.set("name", named.to_string());
    let filters = encode(filters.to_string().as_bytes(), is_unreserved);
    let answer = create.get(&format!("/networks?filters={filters}"))?;
    let networks = answer.read_each(|network| labels_of_config_only(network, name))?;
    let mut labels_of_each = networks.into_iter().flatten().peekable();
    if labels_of_each.peek().is_none() {
        let what = format!("there is no config-only network {name:?}");
        return Err(Refusal::new(Reason::NotFound, what).into());
    }
    for its_labels in labels_of_each {
        let is_there =
            |key: &str, value: &str| its_labels.iter().any(|(k, v)| k == key && v == value);
        let mut labels = create.labels().iter();
        if let Some(missing) = labels.find(|label| !is_there(label.key(), label.value())) {
            return Err(Refusal::bad_request(format!(
                "a network gets the labels of the config-only network that it is made from, and \
                 {name:?} does not have {}={:?}; create the config-only network through the proxy",
                missing.key(),
                missing.value()
            ))
            .into());
        }
    }
    Ok(())
}

/// The labels of a network, if it is a config-only one of this name: the daemon also lists networks
/// whose names only contain it.
fn labels_of_config_only(
    network: &Object<'_>,
    name: &str,
) -> Result<Option<Vec<(String, String)>>, MemberError> {
    let its_name: String = network.get("Name", "a string")?;
    let is_config: bool = network.get("ConfigOnly", "a boolean")?;
    if its_name != name || !is_config {
        return Ok(None);
    }
    network.string_map("Labels").map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, Script, body, labelled, reason, status, with_body};

    const ASK: &str =
        "GET /v1.41/networks?filters=%7B%22name%22%3A%7B%22c%20%2F%C3%A9%22%3Atrue%7D%7D";
    const FROM: &str = r#"{"Name":"n","ConfigFrom":{"Network":"c /é"}}"#;

    fn network(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        labelled(&RECIPE, with_body(text), daemon).map(body)
    }

    fn config_only(labels: &str) -> String {
        format!(r#"{{"Name":"c /é","ConfigOnly":true,"Labels":{labels}}}"#)
    }

    #[test]
    fn a_network_gets_the_labels_itself() {
        for before in [
            r#""Name":"n""#,
            r#""ConfigOnly":true"#,
            r#""ConfigFrom":null"#,
            r#""ConfigFrom":{}"#,
            r#""ConfigFrom":{"Network":""},"Scope":"swarm""#,
        ] {
            assert_eq!(
                network(&format!("{{{before}}}"), &mut Script::default()).unwrap(),
                format!("{{{before},\"Labels\":{{{FORCED}}}}}")
            );
        }
        let empty = network("", &mut Script::default()).unwrap();
        assert_eq!(empty, format!("{{\"Labels\":{{{FORCED}}}}}"));
    }

    #[test]
    fn a_network_made_from_a_labelled_one_passes() {
        let others = r#"{"Name":"c /éx","ConfigOnly":true,"Labels":{}},{"Name":"c /é","ConfigOnly":false,"Labels":null}"#;
        let good = config_only(&format!("{{\"a\":\"b\",{FORCED}}}"));
        let mut daemon = Script::default().on(ASK, 200, &format!("[{others},{good},{good}]"));
        assert_eq!(
            network(FROM, &mut daemon).unwrap(),
            r#"{"Name":"n","ConfigFrom":{"Network":"c /é"},"Scope":"local"}"#
        );
    }

    #[test]
    fn a_network_made_from_an_unlabelled_one_is_refused() {
        let good = config_only(&format!("{{{FORCED}}}"));
        for labels in ["null", "{}", r#"{"ci.job":"42","note":"x"}"#] {
            let bad = config_only(labels);
            let mut daemon = Script::default().on(ASK, 200, &format!("[{good},{bad}]"));
            let refused = network(FROM, &mut daemon);
            assert_eq!(reason(refused), Reason::Malformed, "{labels}");
        }
        let message = match network(
            FROM,
            &mut Script::default().on(ASK, 200, &format!("[{}]", config_only("null"))),
        ) {
            Err(Rejection::Refusal(refusal)) => refusal.message,
            other => panic!("{other:?}"),
        };
        assert!(
            message.ends_with(
                "\"c /é\" does not have ci.job=\"42\"; create the config-only network through the proxy"
            ),
            "{message}"
        );
    }

    #[test]
    fn without_a_config_only_network_there_is_none_to_make() {
        for (answer, expected) in [
            ("[]", Reason::NotFound),
            ("{}", Reason::BadDaemon),
            (r#"[{"Name":7}]"#, Reason::BadDaemon),
            (r#"[{"Name":"c /é","ConfigOnly":false}]"#, Reason::NotFound),
        ] {
            let mut daemon = Script::default().on(ASK, 200, answer);
            assert_eq!(reason(network(FROM, &mut daemon)), expected, "{answer}");
        }
        let mut unwilling = Script::default().on(ASK, 503, "{}");
        assert_eq!(status(network(FROM, &mut unwilling)), 503);
    }

    #[test]
    fn a_network_that_no_config_only_one_can_label_is_refused() {
        let from = r#""ConfigFrom":{"Network":"c"}"#;
        for body in [
            format!(r#"{{{from},"Scope":"Swarm"}}"#),
            format!(r#"{{{from},"Scope":"global"}}"#),
            format!(r#"{{{from},"Driver":"overlay"}}"#),
            format!(r#"{{{from},"configfrom":null}}"#),
            r#"{"ConfigFrom":{"Network":"c","network":""}}"#.to_owned(),
            r#"{"ConfigFrom":"c"}"#.to_owned(),
        ] {
            let refused = network(&body, &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{body}");
        }
    }
}
