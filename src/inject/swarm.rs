//! The swarm itself, when it is made or changed.

use crate::inject::object::{self, Empty, sole_as};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::json::Object;
use crate::policy::Policy;

/// Labels a swarm that is made, in its member `Spec`.
///
/// # Errors
/// 400 when the body cannot be understood.
pub(crate) fn label_init(draft: &mut CreateRequest, policy: &Policy) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut init = object::parse(&body, Empty::IsError)?;
    if object::sole(&init, "Spec")?.is_none() {
        init.set("Spec", "{}".to_owned());
    }
    object::edit(&mut init, "Spec", |spec| {
        Ok(object::lay_labels(spec, "Labels", &policy.labels)?)
    })?;
    draft.body = init.to_string().into_bytes();
    Ok(())
}

/// Labels a swarm that is changed. The daemon takes no labels for the labels that there are, so
/// these are asked for then (`MergeSwarmSpecToGRPC` in moby daemon/cluster/convert/swarm.go).
///
/// # Errors
/// When the body cannot be understood, and when there is no swarm to change.
pub(crate) fn label_update(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut spec = object::parse(&body, Empty::IsError)?;
    spec.respell("Labels");
    if object::map(&spec, "Labels")?.is_empty() {
        let answer = daemon.get(&format!("{}/swarm", draft.version))?;
        if answer.status != 200 {
            return Err(Rejection::Answer(answer));
        }
        let known = answer.read(|swarm| {
            let known: Object<'_> = sole_as(swarm, "Spec", "an object")?;
            object::map(&known, "Labels")
        })?;
        spec.set("Labels", policy.labels.over(&known));
    } else {
        object::lay_labels(&mut spec, "Labels", &policy.labels)?;
    }
    draft.body = spec.to_string().into_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, policy};

    fn draft(body: &str) -> CreateRequest {
        CreateRequest {
            version: "/v1.41".to_owned(),
            body: body.into(),
            ..CreateRequest::default()
        }
    }

    fn init(body: &str) -> Result<String, Rejection> {
        let mut draft = draft(body);
        label_init(&mut draft, &policy())?;
        Ok(String::from_utf8(draft.body).unwrap())
    }

    fn update(body: &str, daemon: &mut Script) -> Result<String, Rejection> {
        let mut draft = draft(body);
        label_update(&mut draft, &policy(), daemon)?;
        Ok(String::from_utf8(draft.body).unwrap())
    }

    #[test]
    fn a_new_swarm_is_labelled_in_its_spec() {
        for (body, spec) in [
            (r#"{"X":1}"#, ""),
            (r#"{"X":1,"Spec":null}"#, ""),
            (
                r#"{"X":1,"spec":{"Raft":{"A":1e1},"Labels":{"a":"b","ci.job":"1"}}}"#,
                r#""Raft":{"A":1e1},"#,
            ),
        ] {
            let own = if spec.is_empty() { "" } else { r#""a":"b","# };
            let expected = format!(r#"{{"X":1,"Spec":{{{spec}"Labels":{{{own}{FORCED}}}}}}}"#);
            assert_eq!(init(body).unwrap(), expected);
        }
    }

    #[test]
    fn a_changed_swarm_keeps_its_labels() {
        let ask = "GET /v1.41/swarm";
        let swarm = r#"{"Spec":{"Labels":{"old":"1","ci.job":"0"}}}"#;
        for body in ["{}", r#"{"Labels":null}"#, r#"{"labels":{}}"#] {
            let mut daemon = Script::default().on(ask, 200, swarm);
            let expected = format!(r#"{{"Labels":{{"old":"1",{FORCED}}}}}"#);
            assert_eq!(update(body, &mut daemon).unwrap(), expected, "{body}");
        }
        let given = update(r#"{"Labels":{"new":"1"}}"#, &mut Script::default()).unwrap();
        assert_eq!(given, format!(r#"{{"Labels":{{"new":"1",{FORCED}}}}}"#));
        match update("{}", &mut Script::default().on(ask, 503, "no swarm")) {
            Err(Rejection::Answer(answer)) => assert_eq!(answer.status, 503),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_labelled_is_refused() {
        for result in [
            init(""),
            init(r#"{"Spec":{},"spec":{}}"#),
            init(r#"{"Spec":[]}"#),
            init(r#"{"Spec":{"Labels":1}}"#),
            update("", &mut Script::default()),
            update(r#"{"Labels":{"a":1}}"#, &mut Script::default()),
        ] {
            match result {
                Err(Rejection::Refusal(refusal)) => assert_eq!(refusal.reason, Reason::Malformed),
                other => panic!("{other:?}"),
            }
        }
    }
}
