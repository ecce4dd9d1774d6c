//! Services that are changed. The body of an update holds the whole spec, but the daemon also keeps
//! the one before it. It goes back to that when a client asks for a rollback, and by itself when an
//! update fails whose spec says so. What it goes back to is not in the request, so it is asked for.
//!
//! Follows `UpdateService` (moby daemon/cluster/services.go, swarmkit manager/controlapi/service.go)
//! and `Updater.rollbackUpdate` (swarmkit manager/orchestrator/update/updater.go).

use serde_json::Value;

use crate::error::{Reason, Refusal};
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::inject::service::label_spec;
use crate::json::{MemberError, Object};
use crate::text::shown;

/// A service that is changed.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`, and its containers and volumes; a rollback only to what has them",
};

/// Labels a service that is changed.
///
/// # Errors
/// As [`label_spec`] and [`check_rollback`], and when the body is not an object.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    let mut rolls_back = false;
    create.edit_body(Empty::IsError, |spec, create| {
        create.request.name = spec.last("Name");
        rolls_back = rolls_back_itself(spec)?;
        label_spec(spec, create)
    })?;
    check_rollback(create, rolls_back)
}

/// Whether the daemon itself rolls a failed update to this spec back. An action that is not known
/// counts as a rollback. Daemons refuse it, as of API 1.56.
///
/// # Errors
/// When its `UpdateConfig` cannot be understood.
fn rolls_back_itself(spec: &Object<'_>) -> Result<bool, MemberError> {
    let config: Object<'_> = spec.get("UpdateConfig", "an object")?;
    let action: String = config.get("FailureAction", "a string")?;
    Ok(!matches!(&*action, "" | "pause" | "continue"))
}

/// Checks that an update leads to no spec without the labels, be it at once or when it fails.
/// `rolls_back` is [`rolls_back_itself`] of the spec in its body.
///
/// # Errors
/// When it would, and when the daemon does not describe the service.
fn check_rollback(create: &mut Create<'_>, rolls_back: bool) -> Result<(), Rejection> {
    let mut is_asked_for = false;
    let mut version = None;
    create.edit_query(|query, _| {
        is_asked_for = !matches!(query.sole("rollback")?, None | Some(b"" | b"none"));
        if is_asked_for || rolls_back {
            version = Some(number(query.sole("version")?)?);
        }
        Ok(())
    })?;
    let Some(version) = version else {
        return Ok(());
    };
    let service = Service::ask(create)?;
    if !service.is_at(version)? {
        return Ok(());
    }
    let name = &service.name;
    let mut may_return = rolls_back;
    // Without a previous spec the daemon refuses to roll back.
    if let Some(previous) = service.previous.filter(|_| is_asked_for) {
        previous.check(create, |lack| {
            format!(
                "the service {name} cannot be rolled back: its previous specification lacks \
                 {lack}; update it through the proxy instead"
            )
        })?;
        // The two change places.
        may_return |= previous.rolls_back || service.current.rolls_back;
    }
    if may_return {
        service.current.check(create, |lack| {
            format!(
                "the service {name} cannot be changed with the failure action \"rollback\": its \
                 current specification, to which a failure leads back, lacks {lack}; update it \
                 through the proxy with another failure action first"
            )
        })?;
    }
    Ok(())
}

/// A version of a service, as the daemon reads it (`strconv.ParseUint`).
fn number(text: Option<&[u8]>) -> Result<u64, Refusal> {
    let text = text.unwrap_or_default();
    let digits = std::str::from_utf8(text).ok();
    let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        Refusal::bad_request(format!(
            "the parameter version {} must be a number, the version of the service",
            shown(&String::from_utf8_lossy(text))
        ))
    })
}

/// A service as the daemon describes it.
struct Service {
    /// What the client calls it, as it is shown.
    name: String,
    version: u64,
    current: Spec,
    previous: Option<Spec>,
}

impl Service {
    /// Asks for the service, and has the update name it by its ID: the name in the path may be that
    /// of another service when the update arrives.
    fn ask(create: &mut Create<'_>) -> Result<Service, Rejection> {
        let given = create.request.name_between("/services/", "/update");
        let name = shown(&String::from_utf8_lossy(given));
        let answer = create.get(&format!("/services/{}", encode(given, is_unreserved)))?;
        let service = answer.read(|service| {
            let version: Object<'_> = service.get("Version", "an object")?;
            let previous: Option<Object<'_>> = service.get("PreviousSpec", "an object")?;
            Ok(Service {
                name,
                version: version.get("Index", "a number")?,
                current: Spec::of(&service.get("Spec", "an object")?)?,
                previous: previous.as_ref().map(Spec::of).transpose()?,
            })
        })?;
        create.request.path = format!("/services/{}/update", answer.id("ID")?).into_bytes();
        Ok(service)
    }

    /// Whether an update of this version finds the service as it was described. The daemon refuses
    /// one of an older version, in words that clients know: versions only grow.
    ///
    /// # Errors
    /// When the version is still to come, and with it a service that nobody has described.
    fn is_at(&self, version: u64) -> Result<bool, Refusal> {
        if version > self.version {
            return Err(Refusal::bad_request(format!(
                "the service {} is at version {}, not {version}; inspect it again",
                self.name, self.version
            )));
        }
        Ok(version == self.version)
    }
}

/// A spec that the daemon has of a service.
struct Spec {
    text: String,
    rolls_back: bool,
}

impl Spec {
    fn of(spec: &Object<'_>) -> Result<Spec, MemberError> {
        Ok(Spec {
            text: spec.to_string(),
            rolls_back: rolls_back_itself(spec)?,
        })
    }

    /// Checks that labelling it would change nothing. `message` tells what it lacks.
    ///
    /// # Errors
    /// When it would, and as [`label_spec`].
    fn check(
        &self,
        create: &mut Create<'_>,
        message: impl Fn(&str) -> String,
    ) -> Result<(), Rejection> {
        let odd = || Refusal::bad_gateway("the daemon's description of a service is not JSON");
        let spec = Object::parse(self.text.as_bytes()).map_err(|_| odd())?;
        let mut spec = spec.unwrap_or_default();
        label_spec(&mut spec, create)?;
        let value = |text: &str| serde_json::from_str::<Value>(text).map_err(|_| odd());
        let (before, after) = (value(&self.text)?, value(&spec.to_string())?);
        if before == after {
            return Ok(());
        }
        let message = message(&lack(&before, &after));
        Err(Refusal::new(Reason::Forbidden, message).into())
    }
}

/// What a spec lacks: the first that labelling it has added.
fn lack(before: &Value, after: &Value) -> String {
    if let Some(label) = new_label(&before["Labels"], &after["Labels"]) {
        return format!("the label {label}");
    }
    let [before, after] = [before, after].map(|spec| &spec["TaskTemplate"]["ContainerSpec"]);
    if let Some(label) = new_label(&before["Labels"], &after["Labels"]) {
        return format!("the label {label} of its containers");
    }
    let mounts = after["Mounts"].as_array().into_iter().flatten();
    let mut mounts = mounts
        .enumerate()
        .map(|(i, mount)| (&before["Mounts"][i], mount));
    let Some((before, mount)) = mounts.find(|(before, mount)| before != mount) else {
        return "what the proxy adds".to_owned();
    };
    let target = shown(mount["Target"].as_str().unwrap_or_default());
    let [before, after] = [before, mount].map(|mount| &mount["VolumeOptions"]["Labels"]);
    match new_label(before, after) {
        Some(label) => format!("the label {label} of the volume at {target}"),
        None => format!("the mount at {target} that the proxy makes of it"),
    }
}

/// The first of these labels, as `KEY="VALUE"`, that was not among those before.
fn new_label(before: &Value, after: &Value) -> Option<String> {
    let mut labels = after.as_object()?.iter();
    let (key, value) = labels.find(|(key, value)| before.get(key) != Some(value))?;
    Some(format!("{key}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::request::CreateRequest;
    use crate::inject::test::{FORCED, Script, body, labelled, reason, status, with_body};

    const ASK: &str = "GET /v1.41/services/a%20b";
    const IMAGE: &str = "GET /v1.41/images/i/json";

    /// An update of the service `a b` with this query and body.
    fn update(query: &str, text: &str, daemon: &mut Script) -> Result<CreateRequest, Rejection> {
        let request = CreateRequest {
            path: b"/services/a b/update".to_vec(),
            query: query.to_owned(),
            ..with_body(text)
        };
        labelled(&RECIPE, request, daemon)
    }

    fn message(result: Result<CreateRequest, Rejection>) -> String {
        match result {
            Err(Rejection::Refusal(refusal)) if refusal.reason == Reason::Forbidden => {
                refusal.message
            }
            other => panic!("{other:?}"),
        }
    }

    /// A spec with the labels, as the daemon writes it, and these members.
    fn good(members: &str) -> String {
        format!(
            r#"{{"Labels":{{{FORCED}}},{members}"TaskTemplate":{{"ContainerSpec":{{"Image":"i","Labels":{{{FORCED},"own":"1"}},"Mounts":[{{"Type":"volume","Target":"/v","VolumeOptions":{{"Labels":{{{FORCED}}}}}}}]}}}}}}"#
        )
    }

    fn failing_back() -> String {
        good(r#""UpdateConfig":{"FailureAction":"rollback"},"#)
    }

    /// A daemon with a service at version 7.
    fn daemon(current: &str, previous: &str) -> Script {
        let service = format!(
            r#"{{"ID":"x1","Version":{{"Index":7}},"Spec":{current},"PreviousSpec":{previous}}}"#
        );
        Script::default().on(ASK, 200, &service).on(
            IMAGE,
            200,
            r#"{"Config":{"Volumes":{"/v":{}}}}"#,
        )
    }

    #[test]
    fn an_update_is_labelled_as_a_new_service() {
        for (query, config) in [
            ("version=7", ""),
            ("version=7&rollback=", r#","UpdateConfig":{"Order":"x"}"#),
            ("rollback=none", r#","UpdateConfig":{"FailureAction":""}"#),
            ("x", r#","UpdateConfig":{"FailureAction":"pause"}"#),
            ("x", r#","UpdateConfig":{"FailureAction":"continue"}"#),
            ("x", r#","RollbackConfig":{"FailureAction":"rollback"}"#),
        ] {
            let mut daemon = Script::default();
            let text = format!(r#"{{"Name":"s"{config}}}"#);
            let request = update(query, &text, &mut daemon).unwrap();
            assert_eq!(request.query, query);
            assert_eq!(request.path, b"/services/a b/update");
            assert_eq!(request.name.as_deref(), Some("s"));
            let expected = format!(r#"{{"Name":"s"{config},"Labels":{{{FORCED}}}}}"#);
            assert_eq!(body(request), expected);
            assert_eq!(daemon.asked, [""; 0]);
        }
    }

    #[test]
    fn a_rollback_to_a_labelled_spec_passes() {
        for query in ["version=7&rollback=previous", "rollback=odd&version=007"] {
            let mut daemon = daemon(r#"{"Labels":{}}"#, &good(""));
            let request = update(query, "{}", &mut daemon).unwrap();
            assert_eq!(request.path, b"/services/x1/update");
            assert_eq!(request.query, query);
            assert_eq!(daemon.asked, [ASK, IMAGE]);
        }
        // The daemon refuses it where there is none.
        let mut daemon = daemon("{}", "null");
        update("version=7&rollback=previous", "{}", &mut daemon).unwrap();
    }

    #[test]
    fn a_rollback_to_an_unlabelled_spec_is_refused() {
        for (from, to, lack) in [
            (r#"{"Labels":"#, r#"{"x":"#, r#"the label ci.job="42""#),
            (
                r#"{"ci.job":"42","note":"a \"b\" $c","own""#,
                r#"{"ci.job":"42","own""#,
                r#"the label note="a \"b\" $c" of its containers"#,
            ),
            (
                r#""VolumeOptions":{"Labels":{"ci.job":"42","#,
                r#""VolumeOptions":{"Labels":{"ci.job":"41","#,
                r#"the label ci.job="42" of the volume at "/v""#,
            ),
            (
                r#""Target":"/v","#,
                r#""Target":"/w","#,
                r#"the label ci.job="42" of the volume at "/v""#,
            ),
        ] {
            let good = good("");
            assert!(good.contains(from), "{from}");
            let mut daemon = daemon(&good, &good.replacen(from, to, 1));
            let refused = update("version=7&rollback=previous", "{}", &mut daemon);
            let expected = format!(
                "the service \"a b\" cannot be rolled back: its previous specification lacks \
                 {lack}; update it through the proxy instead"
            );
            assert_eq!(message(refused), expected);
        }
    }

    #[test]
    fn an_update_that_may_fail_back_needs_a_labelled_spec() {
        let bad = r#"{"Labels":{}}"#;
        let with_action =
            |action: &str| format!(r#"{{"UpdateConfig":{{"failureaction":{action}}}}}"#);
        for action in [
            r#""rollback""#,
            r#""Rollback""#,
            r#""r\u006fllback""#,
            r#""new""#,
        ] {
            let mut there = daemon(&good(""), bad);
            let request = update("version=7", &with_action(action), &mut there).unwrap();
            assert_eq!(request.path, b"/services/x1/update");
            let refused = update(
                "version=7",
                &with_action(action),
                &mut daemon(bad, &good("")),
            );
            assert!(
                message(refused).contains(
                    "lacks the label ci.job=\"42\"; update it through the proxy with another"
                ),
                "{action}"
            );
        }
        // A rollback changes places with what may fail back.
        let roll_back = |current: &str, previous: &str| {
            update(
                "version=7&rollback=previous",
                "{}",
                &mut daemon(current, previous),
            )
        };
        let bad_failing_back = r#"{"UpdateConfig":{"FailureAction":"rollback"}}"#;
        message(roll_back(bad, &failing_back()));
        message(roll_back(bad_failing_back, &good("")));
        roll_back(&good(""), &failing_back()).unwrap();
        roll_back(&failing_back(), &good("")).unwrap();
    }

    #[test]
    fn a_refusal_names_the_service_cut() {
        let request = |query: &str| CreateRequest {
            path: format!("/services/{}/update", "x".repeat(10_000)).into_bytes(),
            query: query.to_owned(),
            ..with_body("{}")
        };
        let ask = format!("GET /v1.41/services/{}", "x".repeat(10_000));
        let service = r#"{"ID":"x1","Version":{"Index":7},"Spec":{},"PreviousSpec":{}}"#;
        let mut daemon = Script::default().on(&ask, 200, service);
        let digits = format!("version={}&rollback=previous", "9".repeat(10_000));
        for query in [
            "version=7&rollback=previous",
            "version=8&rollback=previous",
            &digits,
        ] {
            match labelled(&RECIPE, request(query), &mut daemon) {
                Err(Rejection::Refusal(refusal)) => assert!(refusal.message.len() < 1000),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_the_version_that_was_looked_at_is_changed() {
        let bad = r#"{"Labels":{}}"#;
        // The daemon refuses an older one.
        for query in ["version=6&rollback=previous", "version=0&rollback=previous"] {
            let request = update(query, "{}", &mut daemon(bad, bad)).unwrap();
            assert_eq!(request.path, b"/services/x1/update");
        }
        for query in [
            "version=8&rollback=previous",
            "rollback=previous",
            "version=&rollback=previous",
            "version=-1&rollback=previous",
            "version=%2B7&rollback=previous",
            "version=7.0&rollback=previous",
            "version=99999999999999999999&rollback=previous",
            "version=7&version=7&rollback=previous",
            "Version=7&rollback=previous",
        ] {
            let refused = update(query, "{}", &mut daemon(&good(""), &good("")));
            assert_eq!(reason(refused), Reason::Malformed, "{query}");
        }
    }

    #[test]
    fn a_rollback_is_read_in_one_way_only() {
        for query in [
            "rollback=&rollback=previous",
            "rollback=previous&rollback=",
            "Rollback=previous",
        ] {
            let refused = update(query, "{}", &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{query}");
        }
        // What daemons before Go 1.17 would read is not passed on.
        let request = update(
            "version=7&x;rollback=previous",
            "{}",
            &mut Script::default(),
        );
        assert_eq!(request.unwrap().query, "version=7");
        for config in [
            r#"{"UpdateConfig":[]}"#,
            r#"{"UpdateConfig":{"FailureAction":1}}"#,
            r#"{"UpdateConfig":{},"updateconfig":{}}"#,
            r#"{"UpdateConfig":{"FailureAction":"","failureaction":"rollback"}}"#,
        ] {
            let refused = update("version=7", config, &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{config}");
        }
    }

    #[test]
    fn a_service_that_is_not_described_is_not_rolled_back() {
        let roll_back = |status, service: &str| {
            let mut daemon = Script::default().on(ASK, status, service);
            update("version=7&rollback=previous", "{}", &mut daemon)
        };
        assert_eq!(status(roll_back(404, "{}")), 404);
        assert_eq!(status(roll_back(503, "{}")), 503);
        for service in [
            "",
            "[]",
            r#"{"ID":"x1","Version":7}"#,
            r#"{"ID":"x1","Version":{"Index":7},"Spec":[]}"#,
            r#"{"ID":"x1","Version":{"Index":7},"PreviousSpec":[]}"#,
            r#"{"Version":{"Index":7}}"#,
            r#"{"ID":"../x","Version":{"Index":7}}"#,
        ] {
            assert_eq!(
                reason(roll_back(200, service)),
                Reason::BadDaemon,
                "{service}"
            );
        }
    }
}
