//! Services: their own labels, and those of the containers and volumes that their tasks make on
//! the nodes. The cgroup of its tasks cannot be chosen (moby's swarm API has no field for it), and a
//! plugin that a service installs has no labels of its own.
//!
//! Follows `ServiceSpecToGRPC` (moby daemon/cluster/convert) and `ExpandContainerSpec` (swarmkit
//! template/expand.go).

use crate::error::{Reason, Refusal};
use crate::inject::image_memory::Image;
use crate::inject::mounts::{anonymous_volume, label_volume};
use crate::inject::overlay::lay_labels;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, List, MemberError, Object};
use crate::labels::Labels;
use crate::text::clean_path;

/// What opens a template in the mounts of a service.
const TEMPLATE: &str = "{{";

/// The same as text, to the template.
const ESCAPED_TEMPLATE: &str = "{{\"{{\"}}";

/// A service.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`Labels`, and its containers and volumes",
};

/// Labels a service.
///
/// # Errors
/// As [`label_spec`], and when the body is not an object.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |spec, create| {
        create.request.name = spec.last("Name");
        label_spec(spec, create)
    })
}

/// Labels a service by its spec, with the containers and volumes of its tasks.
///
/// # Errors
/// When the spec cannot be understood, when a volume cannot be labelled, and when the daemon
/// refuses to describe the image.
pub(super) fn label_spec(spec: &mut Object<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
    spec.edit("TaskTemplate", |task| -> Result<(), Rejection> {
        if task.sole("ContainerSpec")?.is_none() {
            return Ok(());
        }
        task.edit("ContainerSpec", |container| {
            label_container(container, create)
        })
    })?;
    Ok(lay_labels(spec, "Labels", create.labels())?)
}

fn label_container(container: &mut Object<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
    let labels = create.labels().with_values(escaped);
    let mut mounts = container.list("Mounts")?;
    let targets = label_volumes(&mut mounts, &labels)?;
    for path in image_volumes(container, create)? {
        add_volume(&path, &targets, &mut mounts, &labels)?;
    }
    if create.policy().socket_mounts.is_some() {
        check_sources(&mounts)?;
    }
    socket_mounts::redirect_mounts(&mut mounts, "Target", create.policy())?;
    container.set_list(&mounts);
    Ok(lay_labels(container, "Labels", create.labels())?)
}

/// Labels the volumes of `Mounts`. Returns the targets of all entries, as they are written.
fn label_volumes(mounts: &mut List<'_>, labels: &Labels) -> Result<Vec<String>, MemberError> {
    let mut targets = Vec::new();
    mounts.edit_each(|mount| -> Result<(), MemberError> {
        targets.push(mount.get("Target", "a string")?);
        let given: String = mount.get("Type", "a string")?;
        // Other than for containers, the case does not matter, and there is a default.
        let kind = match &*given {
            "" => "bind".to_owned(),
            _ => given.to_ascii_lowercase(),
        };
        if kind != given {
            mount.set("Type", json::string(&kind));
        }
        if kind == "volume" {
            label_volume(mount, labels)?;
        }
        Ok(())
    })?;
    Ok(targets)
}

/// Adds an entry for a volume that the image asks for at `path`, unless something is mounted there.
fn add_volume(
    path: &str,
    targets: &[String],
    mounts: &mut List<'_>,
    labels: &Labels,
) -> Result<(), Refusal> {
    let wanted = escaped(path);
    if targets.iter().any(|target| clean_path(target) == wanted) {
        return Ok(());
    }
    if let Some(target) = targets.iter().find(|target| target.contains(TEMPLATE)) {
        return Err(Refusal::bad_request(format!(
            "the volume at {path:?} that the image asks for cannot be labelled, since the mount \
             at {target:?} may turn out to be the same; mount a volume at {path:?}"
        )));
    }
    mounts.push(&anonymous_volume(&wanted, "", labels)?);
    Ok(())
}

/// Checks that no source is a template, which the daemon might expand to its own socket.
fn check_sources(mounts: &List<'_>) -> Result<(), Refusal> {
    for mount in mounts.iter() {
        let Some(mount) = mount? else { continue };
        let source: String = mount.get("Source", "a string")?;
        if source.starts_with('/') && source.contains(TEMPLATE) {
            return Err(Refusal::new(
                Reason::Forbidden,
                format!(
                    "a bind mount of {source:?} is refused by --redirect-socket-mounts: \
                     a template may become the daemon's socket"
                ),
            ));
        }
    }
    Ok(())
}

/// The volumes that the image asks for. If this daemon does not have the image, another node or a
/// registry may, and its volumes are not known.
fn image_volumes(
    container: &Object<'_>,
    create: &mut Create<'_>,
) -> Result<Vec<String>, Rejection> {
    let image: String = container.get("Image", "a string")?;
    match Image::ask(&image, "/images", create) {
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
    use crate::inject::test::{FORCED, Script, body, policy, reason, status, with_body};
    use crate::inject::test::{labelled, labelled_by};
    use crate::labels::{Label, Labels};
    use crate::policy::{Policy, Sockets};

    const IMAGE: &str = "GET /v1.41/images/i/json";

    fn service(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        labelled(&RECIPE, with_body(text), daemon).map(body)
    }

    fn service_by(policy: &Policy, text: &str) -> Result<String, Rejection> {
        labelled_by(policy, &RECIPE, with_body(text), &mut Script::default()).map(body)
    }

    /// Labels a service with these members in its `ContainerSpec`, and gives them back.
    fn container(members: &str, daemon: &mut Script) -> Result<String, Rejection> {
        let body = format!(r#"{{"Name":"s","TaskTemplate":{{"ContainerSpec":{{{members}}}}}}}"#);
        let labelled = service(&body, daemon)?;
        let rest = labelled.strip_prefix(r#"{"Name":"s","TaskTemplate":{"ContainerSpec":{"#);
        let end = format!("\"Labels\":{{{FORCED}}}}}}},\"Labels\":{{{FORCED}}}}}");
        let members = rest.and_then(|rest| rest.strip_suffix(&end));
        Ok(members.unwrap_or_else(|| panic!("{labelled}")).to_owned())
    }

    /// A policy that redirects mounts of a socket that does not exist.
    fn sockets() -> Policy {
        let socket_mounts = Some(Sockets {
            daemon: "/no/such/docker.sock".into(),
            proxy: "/no/such/proxy.sock".into(),
        });
        Policy {
            socket_mounts,
            ..policy()
        }
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
        let labelled = service(body, &mut Script::default()).unwrap();
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
                r#""TaskTemplate":{"ContainerSpec":null},"X":1"#,
            ),
            (
                r#"{"TaskTemplate":{"Runtime":"plugin","PluginSpec":{"Name":"p"}}}"#,
                r#""TaskTemplate":{"Runtime":"plugin","PluginSpec":{"Name":"p"}}"#,
            ),
        ] {
            assert_eq!(
                service(body, &mut Script::default()).unwrap(),
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
        let policy = sockets();
        let body = r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"Bind","Source":"/no/such/docker.sock","Target":"/s"}]}}}"#;
        let labelled = service_by(&policy, body).unwrap();
        assert!(
            labelled.contains(r#"[{"Target":"/s","Type":"bind","Source":"/no/such/proxy.sock"}]"#),
            "{labelled}"
        );
    }

    #[test]
    fn a_source_that_is_not_known_yet_is_refused() {
        let source = |source: &str| {
            let body = format!(
                r#"{{"TaskTemplate":{{"ContainerSpec":{{"Mounts":[{{"Type":"bind","Source":"{source}","Target":"/t"}}]}}}}}}"#
            );
            service_by(&sockets(), &body)
        };
        assert_eq!(reason(source("/run/{{.Node.ID}}")), Reason::Forbidden);
        assert!(source("/run/x").is_ok());
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
        let labelled = service_by(&policy, body).unwrap();
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
        let mut broken = Script::default().on(IMAGE, 500, "");
        assert_eq!(status(container(r#""Image":"i""#, &mut broken)), 500);
    }

    #[test]
    fn a_service_that_cannot_be_labelled_is_refused() {
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
            let refused = container(members, &mut daemon);
            assert_eq!(reason(refused), Reason::Malformed, "{members}");
        }
        for body in [
            "",
            r#"{"TaskTemplate":1}"#,
            r#"{"TaskTemplate":{},"tasktemplate":{}}"#,
            r#"{"TaskTemplate":{"ContainerSpec":{},"containerSpec":{}}}"#,
            r#"{"Labels":""}"#,
        ] {
            let refused = service(body, &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{body}");
        }
    }
}
