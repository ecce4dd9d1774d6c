//! Networks: their own labels, or those of the config-only network that they are made from. The
//! daemon copies those and takes no others with them (`validateConfiguration` and
//! `getConfigNetwork` in moby's libnetwork).

use crate::error::{Reason, Refusal};
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::object::{self, Empty, sole_as};
use crate::inject::request::{Answer, CreateRequest, Daemon, Rejection};
use crate::json::{self, Object};
use crate::policy::Policy;

/// Labels a network.
///
/// # Errors
/// When the body cannot be understood, and when the config-only network does not hold the labels.
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut network = object::parse(&body, Empty::IsDefaults)?;
    draft.name = object::name(&network, "Name");
    let from: Object<'_> = sole_as(&network, "ConfigFrom", "an object")?;
    let from: String = sole_as(&from, "Network", "a string")?;
    if from.is_empty() {
        object::lay_labels(&mut network, "Labels", &policy.labels)?;
    } else {
        keep_on_this_node(&mut network)?;
        check(&from, draft, policy, daemon)?;
    }
    draft.body = network.to_string().into_bytes();
    Ok(())
}

/// Sees to it that a network made from a config-only one is of this node alone: a network of the
/// whole swarm has labels of its own, next to the copy on each node, and may not be given any.
fn keep_on_this_node(network: &mut Object<'_>) -> Result<(), Refusal> {
    let scope: String = sole_as(network, "Scope", "a string")?;
    let driver: String = sole_as(network, "Driver", "a string")?;
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
fn check(
    name: &str,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let filters = format!("{{\"name\":{{{}:true}}}}", json::string(name));
    let filters = encode(filters.as_bytes(), is_unreserved);
    let target = format!("{}/networks?filters={filters}", draft.version);
    let answer = daemon.get(&target)?;
    if answer.status != 200 {
        return Err(Rejection::Answer(answer));
    }
    let networks: Vec<Object<'_>> = serde_json::from_slice(&answer.body)
        .map_err(|_| Refusal::bad_gateway("the daemon's answer to a question is no list"))?;
    let mut exists = false;
    for network in &networks {
        let odd = |refusal: Refusal| Answer::odd(&refusal.message);
        let its_name: String = sole_as(network, "Name", "a string").map_err(odd)?;
        let is_config: bool = sole_as(network, "ConfigOnly", "a boolean").map_err(odd)?;
        // The daemon gives all names that the filter is a part of.
        if its_name != name || !is_config {
            continue;
        }
        exists = true;
        let labels = object::map(network, "Labels").map_err(odd)?;
        let is_missing =
            |key: &str, value: &str| !labels.iter().any(|(k, v)| k == key && v == value);
        if let Some(label) = policy
            .labels
            .iter()
            .find(|label| is_missing(label.key(), label.value()))
        {
            return Err(Refusal::bad_request(format!(
                "a network gets the labels of the config-only network that it is made from, and \
                 {name:?} does not have {}={:?}; create the config-only network through the proxy",
                label.key(),
                label.value()
            ))
            .into());
        }
    }
    if !exists {
        let what = format!("there is no config-only network {name:?}");
        return Err(Refusal::new(Reason::NotFound, what).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, Script, policy};

    const ASK: &str =
        "GET /v1.41/networks?filters=%7B%22name%22%3A%7B%22c%20%2F%C3%A9%22%3Atrue%7D%7D";
    const FROM: &str = r#"{"Name":"n","ConfigFrom":{"Network":"c /é"}}"#;

    fn labelled(body: &str, daemon: &mut Script) -> Result<String, Rejection> {
        let mut draft = CreateRequest {
            version: "/v1.41".to_owned(),
            body: body.into(),
            ..CreateRequest::default()
        };
        label(&mut draft, &policy(), daemon)?;
        Ok(String::from_utf8(draft.body).unwrap())
    }

    fn status(body: &str, daemon: &mut Script) -> u16 {
        match labelled(body, daemon) {
            Err(Rejection::Refusal(refusal)) => crate::proxy::response::status(refusal.reason),
            Err(Rejection::Answer(answer)) => answer.status,
            Ok(_) => 200,
        }
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
                labelled(&format!("{{{before}}}"), &mut Script::default()).unwrap(),
                format!("{{{before},\"Labels\":{{{FORCED}}}}}")
            );
        }
        let empty = labelled("", &mut Script::default()).unwrap();
        assert_eq!(empty, format!("{{\"Labels\":{{{FORCED}}}}}"));
    }

    #[test]
    fn a_network_made_from_a_labelled_one_passes() {
        let others = r#"{"Name":"c /éx","ConfigOnly":true,"Labels":{}},{"Name":"c /é","ConfigOnly":false,"Labels":null}"#;
        let good = config_only(&format!("{{\"a\":\"b\",{FORCED}}}"));
        let mut daemon = Script::default().on(ASK, 200, &format!("[{others},{good},{good}]"));
        assert_eq!(
            labelled(FROM, &mut daemon).unwrap(),
            r#"{"Name":"n","ConfigFrom":{"Network":"c /é"},"Scope":"local"}"#
        );
    }

    #[test]
    fn a_network_made_from_an_unlabelled_one_is_refused() {
        let good = config_only(&format!("{{{FORCED}}}"));
        for labels in ["null", "{}", r#"{"ci.job":"42","note":"x"}"#] {
            let bad = config_only(labels);
            let mut daemon = Script::default().on(ASK, 200, &format!("[{good},{bad}]"));
            assert_eq!(status(FROM, &mut daemon), 400, "{labels}");
        }
        let message = match labelled(
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
        for (answer, status_of_client) in [
            ((200, "[]"), 404),
            ((200, "{}"), 502),
            ((200, r#"[{"Name":"c /é","ConfigOnly":false}]"#), 404),
            ((503, "{}"), 503),
        ] {
            let mut daemon = Script::default().on(ASK, answer.0, answer.1);
            assert_eq!(status(FROM, &mut daemon), status_of_client, "{answer:?}");
        }
    }

    #[test]
    fn what_no_config_only_network_can_label_is_refused() {
        let from = r#""ConfigFrom":{"Network":"c"}"#;
        for body in [
            format!(r#"{{{from},"Scope":"Swarm"}}"#),
            format!(r#"{{{from},"Scope":"global"}}"#),
            format!(r#"{{{from},"Driver":"overlay"}}"#),
            format!(r#"{{{from},"configfrom":null}}"#),
            r#"{"ConfigFrom":{"Network":"c","network":""}}"#.to_owned(),
            r#"{"ConfigFrom":"c"}"#.to_owned(),
        ] {
            assert_eq!(status(&body, &mut Script::default()), 400, "{body}");
        }
    }
}
