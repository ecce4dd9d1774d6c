//! Containers of Podman's own API.

use super::spec;
use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::expected::Thing;
use crate::inject::mounts::targets;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json::{self, MemberError, Object};

/// A container.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`labels`, and its volumes",
};

/// Labels a container and its volumes.
///
/// # Errors
/// When the body cannot be understood, when it gets around the operator's cgroup, and when the
/// daemon refuses a subrequest, as it would the create.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |container, create| {
        create.request.name = container.last("name");
        create.check.expect(Thing::LibpodContainer);
        let image = image_with_volumes(container)?;
        let pod: String = container.get("pod", "a string")?;
        let pod = Pod::ask(&pod, create)?;
        if let Some(parent) = &create.policy().cgroup_parent {
            put_under(parent, container, &pod)?;
        }
        spec::label(container, &image, pod.mounts, create)
    })
}

/// The image whose volumes count, if there is one (`getImageVolumes` in podman
/// pkg/specgen/generate/storage.go).
fn image_with_volumes(container: &Object<'_>) -> Result<String, MemberError> {
    let text = |name| container.get::<String>(name, "a string");
    let mode = text("image_volume_mode")?.to_ascii_lowercase();
    if text("rootfs")?.is_empty() && !matches!(&*mode, "ignore" | "tmpfs") {
        text("image")
    } else {
        Ok(String::new())
    }
}

/// Puts a container under the operator's cgroup. In a pod that is under it already it needs none
/// of its own.
fn put_under(parent: &str, container: &mut Object<'_>, pod: &Pod) -> Result<(), Refusal> {
    if container.get::<String>("cgroups_mode", "a string")? == "split" {
        return Err(Refusal::bad_request(
            "cgroups_mode \"split\" puts the container beside the cgroup it must be in",
        ));
    }
    if pod.cgroup_parent.as_deref() == Some(parent.trim_matches('/')) {
        container.remove("cgroup_parent");
    } else {
        container.set("cgroup_parent", json::string(parent));
    }
    Ok(())
}

/// The pod that a container joins; without one, all defaults.
#[derive(Default)]
struct Pod {
    /// Where its volumes are mounted in all its containers.
    mounts: Vec<String>,
    /// The cgroup of its own cgroup, if it has one, without slashes around it.
    cgroup_parent: Option<String>,
}

impl Pod {
    fn ask(name: &str, create: &mut Create<'_>) -> Result<Pod, Rejection> {
        if name.is_empty() {
            return Ok(Pod::default());
        }
        let name = encode(name.as_bytes(), is_unreserved);
        let answer = create.get(&format!("/libpod/pods/{name}/json"))?;
        Ok(answer.read(|pod| {
            let parent: String = pod.get("CgroupParent", "a string")?;
            let has_cgroup: bool = pod.get("CreateCgroup", "a boolean")?;
            Ok(Pod {
                mounts: targets(&pod.list("mounts")?, "Destination")?,
                cgroup_parent: has_cgroup.then(|| parent.trim_matches('/').to_owned()),
            })
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{Script, body, labelled_by, policy, reason, status, with_body};
    use crate::policy::Policy;

    const CREATE: &str = "POST /v1.41/volumes/create";
    const IMAGE: &str = "GET /v1.41/libpod/images/i/json";
    const POD: &str = "GET /v1.41/libpod/pods/p/json";

    fn daemon(image: &str) -> Script {
        let image = format!("{{\"Config\":{{\"Volumes\":{image}}}}}");
        let made = r#"{"Name":"made"}"#;
        Script::default()
            .on(IMAGE, 200, &image)
            .on(CREATE, 201, made)
    }

    fn container_by(policy: &Policy, text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        labelled_by(policy, &RECIPE, with_body(text), daemon).map(body)
    }

    fn container(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        container_by(&policy(), text, daemon)
    }

    #[test]
    fn the_image_is_asked_for_only_where_its_volumes_count() {
        for body in [
            r#"{"image":"i","image_volume_mode":"ignore"}"#,
            r#"{"image":"i","image_volume_mode":"TMPFS"}"#,
            r#"{"image":"i","rootfs":"/r"}"#,
        ] {
            let mut daemon = Script::default();
            container(body, &mut daemon).unwrap();
            assert!(daemon.asked.is_empty(), "{body}");
        }
        for body in [
            r#"{"image":"i","image_volume_mode":"Anonymous"}"#,
            r#"{"image":"i","image_volume_mode":"other"}"#,
            r#"{"image":"i"}"#,
        ] {
            let mut daemon = daemon("{\"/x\":{}}");
            let labelled = container(body, &mut daemon).unwrap();
            assert!(labelled.contains(r#""Dest":"/x""#), "{labelled}");
        }
    }

    #[test]
    fn a_path_that_its_pod_mounts_is_taken() {
        let pod = r#"{"mounts":[{"Destination":"/pod"}]}"#;
        let mut daemon = daemon(r#"{"/pod":{}}"#).on(POD, 200, pod);
        let body = r#"{"image":"i","pod":"p"}"#;
        let labelled = container(body, &mut daemon).unwrap();
        assert!(!labelled.contains("volumes"), "{labelled}");
    }

    #[test]
    fn a_container_is_put_under_the_operators_cgroup() {
        let in_cgroup = Policy {
            cgroup_parent: Some("/ci".to_owned()),
            ..policy()
        };
        let labelled = |body: &str, pod: &str| {
            let mut daemon = Script::default().on(POD, 200, pod);
            container_by(&in_cgroup, body, &mut daemon)
        };
        let parent = r#""cgroup_parent":"/ci""#;
        assert!(labelled("{}", "").unwrap().contains(parent));
        let own = r#"{"CGROUP_parent":"x"}"#;
        assert!(!labelled(own, "").unwrap().contains("\"x\""));
        let joins = r#"{"pod":"p","cgroup_parent":"x"}"#;
        for (pod, is_in_pod) in [
            (r#"{"CreateCgroup":true,"CgroupParent":"/ci"}"#, true),
            (r#"{"CreateCgroup":true,"CgroupParent":"ci/"}"#, true),
            (r#"{"CreateCgroup":false,"CgroupParent":"/ci"}"#, false),
            (r#"{"CreateCgroup":true,"CgroupParent":"/other"}"#, false),
        ] {
            let labelled = labelled(joins, pod).unwrap();
            assert_eq!(!labelled.contains("cgroup_parent"), is_in_pod, "{pod}");
            assert!(is_in_pod || labelled.contains(parent), "{pod}");
        }
        let around = r#"{"cgroups_mode":"split"}"#;
        assert_eq!(reason(labelled(around, "")), Reason::Malformed);
    }

    #[test]
    fn a_create_that_podman_would_refuse_gets_its_own_answer() {
        let refused = |body: &str, question: &str| {
            let mut daemon = Script::default().on(question, 404, "no");
            assert_eq!(status(container(body, &mut daemon)), 404);
        };
        refused(r#"{"image":"i"}"#, IMAGE);
        refused(r#"{"pod":"p"}"#, POD);
        refused(r#"{"volumes":[{"Name":"v","Dest":"/a"}]}"#, CREATE);
    }
}
