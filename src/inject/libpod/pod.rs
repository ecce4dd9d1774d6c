//! Pods, and with each its infra container.

use super::spec;
use crate::inject::expected::Thing;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Create, Empty, Rejection};
use crate::json;

/// A pod.
pub(crate) static RECIPE: Recipe = Recipe {
    body: Body::Rewritten,
    label,
    shown: "`labels`, its infra container and the volumes of that",
};

/// Labels a pod, and with it its infra container, and the volumes of that.
///
/// # Errors
/// When the body cannot be understood, and when the daemon refuses a subrequest, as it would the
/// create.
fn label(create: &mut Create<'_>) -> Result<(), Rejection> {
    create.edit_body(Empty::IsError, |pod, create| {
        create.request.name = pod.last("name");
        create.check.expect(Thing::Pod);
        let has_infra = !pod.get::<bool>("no_infra", "a boolean")?;
        let image = if has_infra {
            pod.get("infra_image", "a string")?
        } else {
            String::new()
        };
        if let Some(parent) = &create.policy().cgroup_parent {
            pod.set("cgroup_parent", json::string(parent));
        }
        spec::label(pod, &image, Vec::new(), create)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, Script, body, labelled, labelled_by, policy, with_body};
    use crate::policy::Policy;

    #[test]
    fn a_pod_and_its_volumes_are_labelled() {
        let image = r#"{"Config":{"Volumes":{"/img":{}}}}"#;
        let mut daemon = Script::default()
            .on("GET /v1.41/libpod/images/i/json", 200, image)
            .on("GET /v1.41/libpod/pods/p/json", 404, "")
            .on("POST /v1.41/volumes/create", 201, r#"{"Name":"made"}"#);
        let client = r#"{"name":"p","infra_image":"i","volumes":[{"Dest":"/a"}]}"#;
        let policy = Policy {
            cgroup_parent: Some("/ci".to_owned()),
            ..policy()
        };
        let request = labelled_by(&policy, &RECIPE, with_body(client), &mut daemon).unwrap();
        assert_eq!(request.name.as_deref(), Some("p"));
        let body = body(request);
        assert!(body.contains(r#""cgroup_parent":"/ci""#), "{body}");
        assert!(body.contains(&format!("\"labels\":{{{FORCED}}}")), "{body}");
        assert!(body.contains(r#"{"Dest":"/a","Name":"made"}"#), "{body}");
        assert!(body.contains(r#""Dest":"/img""#), "{body}");

        let bare = with_body(r#"{"infra_image":"i","no_infra":true}"#);
        labelled(&RECIPE, bare, &mut Script::default()).unwrap();
    }
}
