//! Services: their own labels, and those of the containers and volumes that their tasks make on
//! the nodes. What runs for a service has no cgroup to choose (moby's swarm API has no field for
//! it), and a plugin that one installs no labels but the service's.
//!
//! Follows `ServiceSpecToGRPC` (moby daemon/cluster/convert) and `ExpandContainerSpec` (swarmkit
//! template/expand.go).

use serde_json::value::RawValue;

use crate::error::Refusal;
use crate::inject::container::docker_volumes::{self, Image};
use crate::inject::object::{self, Empty, sole_as};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object};
use crate::policy::Policy;
use crate::text::clean_path;

/// What opens a template in the mounts of a service.
const TEMPLATE: &str = "{{";

/// The same as text, to the template.
const ESCAPED_TEMPLATE: &str = "{{\"{{\"}}";

/// Labels a service that is made or changed: either way the body says all of it.
///
/// # Errors
/// When the body cannot be understood, when a volume cannot be labelled, and when the daemon says
/// no to a question.
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut service = object::parse(&body, Empty::IsError)?;
    draft.name = object::name(&service, "Name");
    object::edit(&mut service, "TaskTemplate", |task| {
        object::edit(task, "ContainerSpec", |container| {
            label_volumes(container, draft, policy, daemon)?;
            socket_mounts::mounts(container, policy)?;
            Ok(object::lay_labels(container, "Labels", &policy.labels)?)
        })
    })?;
    object::lay_labels(&mut service, "Labels", &policy.labels)?;
    draft.body = service.to_string().into_bytes();
    Ok(())
}

/// Labels the volumes of `Mounts`, and adds entries for those that the image asks for.
fn label_volumes(
    container: &mut Object<'_>,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let labels = policy.labels.with_values(escaped);
    let given: Vec<&RawValue> = sole_as(container, "Mounts", "a list of objects")?;
    let mut mounts: Vec<String> = given.iter().map(|mount| mount.get().to_owned()).collect();
    let before = mounts.clone();
    let mut targets = Vec::new();
    for text in &mut mounts {
        let given = text.clone();
        let Some(mut mount) = object::entry(&given, "Mounts")? else {
            continue;
        };
        targets.push(sole_as::<String>(&mount, "Target", "a string")?);
        let given: String = sole_as(&mount, "Type", "a string")?;
        // Other than for containers, the case does not matter, and there is a default.
        let kind = match &*given {
            "" => "bind".to_owned(),
            _ => given.to_ascii_lowercase(),
        };
        if kind != given {
            mount.set("Type", json::string(&kind));
        }
        if kind == "volume" {
            docker_volumes::label_mount(&mut mount, &labels)?;
        }
        *text = mount.to_string();
    }
    for path in image_volumes(container, draft, daemon)? {
        let wanted = escaped(&path);
        if targets.iter().any(|t| clean_path(t) == wanted) {
            continue;
        }
        if let Some(target) = targets.iter().find(|target| target.contains(TEMPLATE)) {
            return Err(Refusal::bad_request(format!(
                "the volume at {path:?} that the image asks for cannot be labelled, since the \
                 mount at {target:?} may turn out to be the same; mount a volume at {path:?}"
            ))
            .into());
        }
        mounts.push(docker_volumes::anonymous_mount(&wanted, "", &labels)?);
    }
    if mounts != before {
        container.set("Mounts", format!("[{}]", mounts.join(",")));
    }
    Ok(())
}

/// The volumes that the image asks for, as far as it is known: another node or a registry may
/// hold one that this daemon does not have.
fn image_volumes(
    container: &Object<'_>,
    draft: &CreateRequest,
    daemon: &mut dyn Daemon,
) -> Result<Vec<String>, Rejection> {
    let image: String = sole_as(container, "Image", "a string")?;
    match Image::ask(&image, "/images", draft, daemon) {
        Err(Rejection::Answer(answer)) if answer.status == 404 => Ok(Vec::new()),
        image => Ok(image?.volumes),
    }
}

/// The text as a Go template that expands to it.
fn escaped(text: &str) -> String {
    text.replace(TEMPLATE, ESCAPED_TEMPLATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, policy};
    use crate::labels::{Label, Labels};
    use crate::policy::Redirect;

    const IMAGE: &str = "GET /v1.41/images/i/json";

    fn labelled_by(policy: &Policy, body: &str, daemon: &mut Script) -> Result<String, Rejection> {
        let mut draft = CreateRequest {
            version: "/v1.41".to_owned(),
            body: body.into(),
            ..CreateRequest::default()
        };
        label(&mut draft, policy, daemon)?;
        Ok(String::from_utf8(draft.body).unwrap())
    }

    /// Labels a service with these members in its `ContainerSpec`, and gives them back.
    fn container(members: &str, daemon: &mut Script) -> Result<String, Rejection> {
        let body = format!(r#"{{"Name":"s","TaskTemplate":{{"ContainerSpec":{{{members}}}}}}}"#);
        let labelled = labelled_by(&policy(), &body, daemon)?;
        let rest = labelled.strip_prefix(r#"{"Name":"s","TaskTemplate":{"ContainerSpec":{"#);
        let end = format!("\"Labels\":{{{FORCED}}}}}}},\"Labels\":{{{FORCED}}}}}");
        let members = rest.and_then(|rest| rest.strip_suffix(&end));
        Ok(members.unwrap_or_else(|| panic!("{labelled}")).to_owned())
    }

    fn anonymous(path: &str) -> String {
        format!(
            r#"{{"Type":"volume","Target":"{path}","VolumeOptions":{{"Labels":{{"com.docker.volume.anonymous":"",{FORCED}}}}}}}"#
        )
    }

    #[test]
    fn the_service_and_its_containers_are_labelled() {
        let body = r#"{"Name":"s","TaskTemplate":{"ForceUpdate":1e0,"containerspec":{"Args":["x"],"Labels":{"a":"b","note":"?"}}},"Labels":{"c":"d","ci.job":"0"}}"#;
        let expected = format!(
            r#"{{"Name":"s","TaskTemplate":{{"ForceUpdate":1e0,"ContainerSpec":{{"Args":["x"],"Labels":{{"a":"b",{FORCED}}}}}}},"Labels":{{"c":"d",{FORCED}}}}}"#
        );
        let labelled = labelled_by(&policy(), body, &mut Script::default()).unwrap();
        assert_eq!(labelled, expected);
    }

    #[test]
    fn a_service_without_containers_is_labelled_alone() {
        for (body, before) in [
            (r#"{"X":1}"#, r#""X":1"#),
            (
                r#"{"TaskTemplate":null,"X":1}"#,
                r#""TaskTemplate":null,"X":1"#,
            ),
            (
                r#"{"TaskTemplate":{"ContainerSpec":null},"X":1}"#,
                r#""X":1,"TaskTemplate":{"ContainerSpec":null}"#,
            ),
            (
                r#"{"TaskTemplate":{"Runtime":"plugin","PluginSpec":{"Name":"p"}}}"#,
                r#""TaskTemplate":{"Runtime":"plugin","PluginSpec":{"Name":"p"}}"#,
            ),
        ] {
            assert_eq!(
                labelled_by(&policy(), body, &mut Script::default()).unwrap(),
                format!("{{{before},\"Labels\":{{{FORCED}}}}}")
            );
        }
    }

    #[test]
    fn volumes_of_mounts_are_labelled_where_they_stand() {
        let given = r#""Mounts":[{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{"NoCopy":true,"Labels":{"t":"{{.Node.ID}}","ci.job":"0"}}},{"Type":"bind","Source":"/s","Target":"/b"},{"Type":"cluster"},null]"#;
        let expected = format!(
            r#""Mounts":[{{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{{"NoCopy":true,"Labels":{{"t":"{{{{.Node.ID}}}}",{FORCED}}}}}}},{{"Type":"bind","Source":"/s","Target":"/b"}},{{"Type":"cluster"}},null],"#
        );
        assert_eq!(container(given, &mut Script::default()).unwrap(), expected);
    }

    #[test]
    fn the_type_of_a_mount_is_read_as_the_daemon_reads_it() {
        let given = r#""Mounts":[{"Target":"/a","Type":"VOLUME"},{"Target":"/b"}]"#;
        let expected = format!(
            r#""Mounts":[{{"Target":"/a","Type":"volume","VolumeOptions":{{"Labels":{{{FORCED}}}}}}},{{"Target":"/b","Type":"bind"}}],"#
        );
        assert_eq!(container(given, &mut Script::default()).unwrap(), expected);
    }

    #[test]
    fn bind_mounts_of_the_daemons_socket_are_redirected() {
        let redirect = Redirect {
            daemon: "/no/such/docker.sock".into(),
            proxy: "/no/such/proxy.sock".into(),
        };
        let policy = Policy {
            redirect: Some(redirect),
            ..policy()
        };
        let body = r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"Bind","Source":"/no/such/docker.sock","Target":"/s"}]}}}"#;
        let labelled = labelled_by(&policy, body, &mut Script::default()).unwrap();
        assert!(
            labelled.contains(r#"[{"Target":"/s","Type":"bind","Source":"/no/such/proxy.sock"}]"#),
            "{labelled}"
        );
    }

    #[test]
    fn braces_in_a_label_are_no_template() {
        let labels = ["a={{.Node.ID}} {{{", "b={ }}"].map(|text| Label::parse(text).unwrap());
        let policy = Policy {
            labels: Labels::new(labels).unwrap(),
            ..policy()
        };
        let body =
            r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"/a"}]}}}"#;
        let expected = r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"/a","VolumeOptions":{"Labels":{"a":"{{\"{{\"}}.Node.ID}} {{\"{{\"}}{","b":"{ }}"}}}],"Labels":{"a":"{{.Node.ID}} {{{","b":"{ }}"}}},"Labels":{"a":"{{.Node.ID}} {{{","b":"{ }}"}}"#;
        let labelled = labelled_by(&policy, body, &mut Script::default()).unwrap();
        assert_eq!(labelled, expected);
    }

    #[test]
    fn volumes_of_an_image_that_is_here_get_a_mount() {
        let image = r#"{"Config":{"Volumes":{"/a":{},"/b/":{},"/t{{x}}":{}}}}"#;
        let mut daemon = Script::default().on(IMAGE, 200, image);
        let given = r#""Image":"i","Mounts":[{"Type":"tmpfs","Target":"/a/"}]"#;
        let expected = format!(
            r#""Image":"i","Mounts":[{{"Type":"tmpfs","Target":"/a/"}},{},{}],"#,
            anonymous("/b"),
            anonymous(r#"/t{{\"{{\"}}x}}"#)
        );
        assert_eq!(container(given, &mut daemon).unwrap(), expected);

        // An update reads the service and writes it back, with what was added.
        let members = expected.trim_end_matches(',');
        assert_eq!(container(members, &mut daemon).unwrap(), expected);
    }

    #[test]
    fn an_image_that_is_elsewhere_is_not_known() {
        let mut daemon = Script::default().on(IMAGE, 404, "no such image");
        assert_eq!(
            container(r#""Image":"i""#, &mut daemon).unwrap(),
            r#""Image":"i","#
        );
        match container(r#""Image":"i""#, &mut Script::default().on(IMAGE, 500, "")) {
            Err(Rejection::Answer(answer)) => assert_eq!(answer.status, 500),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_labelled_is_refused() {
        let image = r#"{"Config":{"Volumes":{"/a":{}}}}"#;
        let relative = r#"{"Config":{"Volumes":{"a":{}}}}"#;
        for (members, image) in [
            (
                r#""Image":"i","Mounts":[{"Type":"bind","Source":"/s","Target":"/{{.Task.Slot}}"}]"#,
                image,
            ),
            (r#""Image":"i""#, relative),
            (r#""Image":1"#, image),
            (r#""Mounts":{}"#, image),
            (r#""Mounts":[{"Type":"volume","VolumeOptions":1}]"#, image),
            (r#""Mounts":[{"Type":"bind","type":"volume"}]"#, image),
            (r#""Mounts":[],"mounts":[]"#, image),
            (r#""Mounts":[{"Type":"volume","x\ud800":1}]"#, image),
            (r#""Labels":[]"#, image),
        ] {
            let mut daemon = Script::default().on(IMAGE, 200, image);
            match container(members, &mut daemon) {
                Err(Rejection::Refusal(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Malformed, "{members}")
                }
                other => panic!("{members}: {other:?}"),
            }
        }
        for body in [
            "",
            r#"{"TaskTemplate":1}"#,
            r#"{"TaskTemplate":{},"tasktemplate":{}}"#,
            r#"{"TaskTemplate":{"ContainerSpec":{},"containerSpec":{}}}"#,
            r#"{"Labels":""}"#,
        ] {
            match labelled_by(&policy(), body, &mut Script::default()) {
                Err(Rejection::Refusal(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Malformed, "{body}")
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
