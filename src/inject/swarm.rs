//! The swarm itself, when it is made or changed.

use crate::inject::overlay::{lay_labels, overlay};
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json::Object;

/// A swarm that is made.
pub(crate) static INIT: Recipe = Recipe {
    body: Body::Rewritten,
    label: label_init,
    shown: "`Spec.Labels`",
};

/// Labels a swarm that is made, in its member `Spec`.
///
/// # Errors
/// When the body cannot be understood.
fn label_init(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |init, create| {
        let labels = create.labels();
        Ok(init.edit("Spec", |spec| lay_labels(spec, "Labels", labels))?)
    })
}

/// A swarm that is changed.
pub(crate) static UPDATE: Recipe = Recipe {
    body: Body::Rewritten,
    label: label_update,
    shown: "`Labels`",
};

/// Labels a swarm that is changed. A spec without labels keeps the current ones, so those are
/// fetched first (`MergeSwarmSpecToGRPC` in moby daemon/cluster/convert/swarm.go).
///
/// # Errors
/// When the body cannot be understood, and when there is no swarm to change.
fn label_update(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |spec, create| {
        spec.respell("Labels");
        if spec.string_map("Labels")?.is_empty() {
            let current = create.get("/swarm")?.read(|swarm| {
                let spec: Object<'_> = swarm.get("Spec", "an object")?;
                spec.string_map("Labels")
            })?;
            spec.set("Labels", overlay(create.labels(), &current));
        } else {
            lay_labels(spec, "Labels", create.labels())?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, body, labelled, reason, status, with_body};

    fn init(text: &str) -> Result<String, Rejection> {
        labelled(&INIT, with_body(text), &mut Script::default()).map(body)
    }

    fn update(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        labelled(&UPDATE, with_body(text), daemon).map(body)
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
        let mut without_swarm = Script::default().on(ask, 503, "no swarm");
        assert_eq!(status(update("{}", &mut without_swarm)), 503);
    }

    #[test]
    fn a_body_that_cannot_be_labelled_is_refused() {
        for result in [
            init(""),
            init(r#"{"Spec":{},"spec":{}}"#),
            init(r#"{"Spec":[]}"#),
            init(r#"{"Spec":{"Labels":1}}"#),
            update("", &mut Script::default()),
            update(r#"{"Labels":{"a":1}}"#, &mut Script::default()),
        ] {
            assert_eq!(reason(result), Reason::Malformed);
        }
    }
}
