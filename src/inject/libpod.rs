//! Creates of Podman's own API, libpod, where it differs from Docker's: containers and pods are a
//! `SpecGenerator` and a `PodSpecGenerator` (podman pkg/specgen), whose volumes carry no labels
//! and so are created before them; secrets are labelled in the query.

use serde_json::value::RawValue;

use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::http1::query::Query;
use crate::inject::container::docker_volumes::{Image, asked, targets};
use crate::inject::container::podman_volumes::{Store, free};
use crate::inject::image::dockerfile_changes::{self, Purpose};
use crate::inject::object::{self, Empty, sole_as};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object, string_map};
use crate::policy::Policy;
use crate::text::clean_path;

/// The mount options that Podman gives to the volumes of an image.
const IMAGE_VOLUME_OPTIONS: &str = r#"["rprivate","rw","nodev","exec"]"#;

/// Labels an object in its member `labels`: a network.
///
/// # Errors
/// 400 when the body is no JSON object or its labels are no object of strings.
pub(crate) fn object(draft: &mut CreateRequest, policy: &Policy) -> Result<(), Rejection> {
    let mut object = object::parse(&draft.body, Empty::IsError)?;
    draft.name = object::name(&object, "name");
    object::lay_labels(&mut object, "labels", &policy.labels)?;
    draft.body = object.to_string().into_bytes();
    Ok(())
}

/// Lays the labels over the parameter `labels` of a secret.
///
/// # Errors
/// 400 when the client's parameter is no JSON object of strings, or given twice.
pub(crate) fn secret(draft: &mut CreateRequest, policy: &Policy) -> Result<(), Rejection> {
    let mut query = Query::parse(&draft.query);
    let name = query.first("name");
    draft.name = name.map(|name| String::from_utf8_lossy(name).into_owned());
    let client = query.sole("labels")?.filter(|value| !value.is_empty());
    let client = match client.map(std::str::from_utf8) {
        None => Ok(Vec::new()),
        Some(Ok(value)) => string_map([value].into_iter()),
        Some(Err(_)) => Err("is not valid UTF-8".to_owned()),
    }
    .map_err(|what| Refusal::bad_request(format!("the parameter labels {what}")))?;
    query.set("labels", policy.labels.over(&client).as_bytes());
    draft.query = query.to_string();
    Ok(())
}

/// Labels an import, which unlike Docker's is never a pull.
///
/// # Errors
/// When the client's changes may take in the labels.
pub(crate) fn import(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mut query = Query::parse(&draft.query);
    let name = query.first("reference");
    draft.name = name.map(|name| String::from_utf8_lossy(name).into_owned());
    dockerfile_changes::append(&mut query, Purpose::Import, &draft.version, policy, daemon)?;
    draft.query = query.to_string();
    Ok(())
}

/// Labels a container and its volumes.
///
/// # Errors
/// When the body cannot be understood, when it gets around the operator's cgroup, and when the
/// daemon says no to a question, as it would to the create.
pub(crate) fn container(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut spec = object::parse(&body, Empty::IsError)?;
    draft.name = object::name(&spec, "name");
    let text = |field| sole_as::<String>(&spec, field, "a string");
    let has_image_volumes = text("rootfs")?.is_empty()
        && matches!(
            &*text("image_volume_mode")?.to_ascii_lowercase(),
            "" | "anonymous"
        );
    let image = match has_image_volumes {
        true => text("image")?,
        false => String::new(),
    };
    let pod = Pod::ask(&text("pod")?, draft, daemon)?;
    if let Some(parent) = &policy.cgroup_parent {
        if text("cgroups_mode")? == "split" {
            let what = "cgroups_mode \"split\" puts the container beside the cgroup it must be in";
            return Err(Refusal::bad_request(what).into());
        }
        match pod.cgroup_parent.as_deref() == Some(parent.trim_matches('/')) {
            true => spec.remove("cgroup_parent"),
            false => spec.set("cgroup_parent", json::string(parent)),
        }
    }
    label_spec(&mut spec, &image, pod.mounts, draft, policy, daemon)?;
    draft.body = spec.to_string().into_bytes();
    Ok(())
}

/// Labels a pod, and with it its infra container, and the volumes of that.
///
/// # Errors
/// When the body cannot be understood, and when the daemon says no to a question, as it would to
/// the create.
pub(crate) fn pod(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut spec = object::parse(&body, Empty::IsError)?;
    draft.name = object::name(&spec, "name");
    let image = match sole_as::<bool>(&spec, "no_infra", "a boolean")? {
        true => String::new(),
        false => sole_as(&spec, "infra_image", "a string")?,
    };
    if let Some(parent) = &policy.cgroup_parent {
        spec.set("cgroup_parent", json::string(parent));
    }
    label_spec(&mut spec, &image, Vec::new(), draft, policy, daemon)?;
    draft.body = spec.to_string().into_bytes();
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
    fn ask(name: &str, draft: &CreateRequest, daemon: &mut dyn Daemon) -> Result<Pod, Rejection> {
        if name.is_empty() {
            return Ok(Pod::default());
        }
        let name = encode(name.as_bytes(), is_unreserved);
        let target = format!("{}/libpod/pods/{name}/json", draft.version);
        let answer = asked(daemon.get(&target)?)?;
        Ok(answer.read(|pod| {
            let mounts: Vec<Object<'_>> = sole_as(pod, "mounts", "a list of objects")?;
            let parent: String = sole_as(pod, "CgroupParent", "a string")?;
            let has_cgroup: bool = sole_as(pod, "CreateCgroup", "a boolean")?;
            Ok(Pod {
                mounts: targets(&mounts, "Destination")?,
                cgroup_parent: has_cgroup.then(|| parent.trim_matches('/').to_owned()),
            })
        })?)
    }
}

/// Labels what containers and pods have in common: `labels`, and `volumes`. `taken` is where
/// other things than this spec says are mounted.
fn label_spec(
    spec: &mut Object<'_>,
    image: &str,
    mut taken: Vec<String>,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    socket_mounts::libpod_mounts(spec, policy)?;
    let volumes: Vec<&RawValue> = sole_as(spec, "volumes", "a list of objects")?;
    let mut volumes: Vec<String> = volumes.iter().map(|v| v.get().to_owned()).collect();
    let mut wanted = Vec::new();
    for text in &volumes {
        let volume = Volume::parse(text)?;
        taken.extend(volume.as_ref().map(|volume| volume.path.clone()));
        wanted.push(volume);
    }
    for (field, target) in [
        ("mounts", "destination"),
        ("overlay_volumes", "destination"),
    ] {
        let mounts: Vec<Object<'_>> = sole_as(spec, field, "a list of objects")?;
        taken.extend(targets(&mounts, target)?);
    }
    let from: Vec<String> = sole_as(spec, "volumes_from", "a list of strings")?;
    let image = Image::ask(image, "/libpod/images", draft, daemon)?.volumes;
    let image = free(image, &mut taken, &from, draft, daemon)?;
    if let Some(path) = image.iter().find(|path| !path.starts_with('/')) {
        let what =
            format!("the volume of the image at {path:?} cannot be labelled; it has no full path");
        return Err(Refusal::bad_request(what).into());
    }
    // Says whether they can be labelled, so it comes before anything is created.
    object::lay_labels(spec, "labels", &policy.labels)?;

    let mut store = Store::new(draft, policy, daemon);
    let is_changed = !image.is_empty() || wanted.iter().flatten().any(|v| v.name.is_empty());
    for (text, volume) in volumes.iter_mut().zip(wanted) {
        let Some(volume) = volume else { continue };
        if !volume.name.is_empty() {
            store.named(&volume.name, &[], &volume.driver_options)?;
            continue;
        }
        let name = store.anonymous(&[], &volume.driver_options)?;
        let given = text.clone();
        let mut object = object::parse(given.as_bytes(), Empty::IsError)?;
        object.set("Name", json::string(&name));
        *text = object.to_string();
    }
    for path in image {
        let mut volume = Object::default();
        volume.set("Name", json::string(&store.anonymous(&[], &[])?));
        volume.set("Dest", json::string(&path));
        volume.set("Options", IMAGE_VOLUME_OPTIONS.to_owned());
        volumes.push(volume.to_string());
    }
    if is_changed {
        spec.set("volumes", format!("[{}]", volumes.join(",")));
    }
    Ok(())
}

/// An entry of `volumes`.
struct Volume {
    /// Its name; an anonymous one has none.
    name: String,
    /// Where it is mounted.
    path: String,
    /// What its driver is told if it is not there yet.
    driver_options: Vec<(String, String)>,
}

impl Volume {
    /// Reads an entry; `null`, which Podman refuses, is none.
    fn parse(text: &str) -> Result<Option<Volume>, Refusal> {
        let Some(volume) = object::entry(text, "volumes")? else {
            return Ok(None);
        };
        let options: Vec<String> = sole_as(&volume, "Options", "a list of strings")?;
        let driver_options = options
            .iter()
            .filter_map(|option| option.strip_prefix("volume-opt="))
            .filter_map(|option| option.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Some(Volume {
            name: sole_as(&volume, "Name", "a string")?,
            path: clean_path(&sole_as::<String>(&volume, "Dest", "a string")?),
            driver_options: driver_options.collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, policy};

    const CREATE: &str = "POST /v4.3.1/volumes/create";
    const IMAGE: &str = "GET /v4.3.1/libpod/images/i/json";
    const POD: &str = "GET /v4.3.1/libpod/pods/p/json";

    fn daemon(image: &str) -> Script {
        let image = format!("{{\"Config\":{{\"Volumes\":{image}}}}}");
        let made = r#"{"Name":"made"}"#;
        Script::default()
            .on(IMAGE, 200, &image)
            .on(CREATE, 201, made)
    }

    fn draft_of(body: &str) -> CreateRequest {
        CreateRequest {
            version: "/v4.3.1".to_owned(),
            body: body.into(),
            ..CreateRequest::default()
        }
    }

    fn labelled(body: &str, policy: &Policy, daemon: &mut Script) -> Result<String, Rejection> {
        let mut draft = draft_of(body);
        container(&mut draft, policy, daemon)?;
        Ok(String::from_utf8(draft.body).unwrap())
    }

    fn in_cgroup(parent: &str) -> Policy {
        Policy {
            cgroup_parent: Some(parent.to_owned()),
            ..policy()
        }
    }

    #[test]
    fn an_object_is_labelled_in_lower_case() {
        let mut draft = draft_of(r#"{"name":"n","Labels":{"a":"b"}}"#);
        object(&mut draft, &policy()).unwrap();
        let expected = format!("{{\"name\":\"n\",\"labels\":{{\"a\":\"b\",{FORCED}}}}}");
        assert_eq!(draft.body, expected.as_bytes());
        assert_eq!(draft.name.as_deref(), Some("n"));
    }

    #[test]
    fn a_secret_is_labelled_in_its_query() {
        let labelled = |query: &str| {
            let mut draft = CreateRequest {
                query: query.to_owned(),
                ..CreateRequest::default()
            };
            secret(&mut draft, &policy())?;
            assert_eq!(draft.name.as_deref(), Some("s"));
            let query = Query::parse(&draft.query);
            let labels = query.sole("labels").unwrap().unwrap().to_vec();
            Ok::<_, Rejection>(String::from_utf8(labels).unwrap())
        };
        for none in [
            "name=s",
            "name=s&labels=",
            "name=s&labels=null&replace=true",
        ] {
            assert_eq!(labelled(none).unwrap(), format!("{{{FORCED}}}"));
        }
        assert_eq!(
            labelled("name=s&labels=%7B%22a%22:%22b%22%7D").unwrap(),
            format!("{{\"a\":\"b\",{FORCED}}}")
        );
        for wrong in ["labels=x", "labels=%ff", "labels={}&labels={}", "LABELS={}"] {
            let refused = labelled(&format!("name=s&{wrong}"));
            assert!(matches!(refused, Err(Rejection::Refusal(_))), "{wrong}");
        }
    }

    #[test]
    fn an_import_is_never_a_pull() {
        let mut draft = CreateRequest {
            query: "reference=a&fromImage=b".to_owned(),
            ..CreateRequest::default()
        };
        let mut daemon = Script::default().on("GET /version", 200, "{}").podman();
        import(&mut draft, &policy(), &mut daemon).unwrap();
        let start = "reference=a&fromImage=b&changes=LABEL";
        assert!(draft.query.starts_with(start), "{}", draft.query);
        assert!(!draft.is_unlabelled);
        assert_eq!(draft.name.as_deref(), Some("a"));
    }

    #[test]
    fn the_volumes_of_a_container_are_created_first() {
        let mut daemon = daemon(r#"{"/img/":{},"/a":{},"/bind":{},"/over":{}}"#);
        let body = r#"{"name":"c","image":"i","volumes":[{"Name":"v","Dest":"/a/","Options":["ro","volume-opt=type=tmpfs"]},{"Name":"","Dest":"/b"},null],"mounts":[{"destination":"/bind"}],"overlay_volumes":[{"destination":"/over"}],"labels":{"a":"b"}}"#;
        let expected = format!(
            r#"{{"name":"c","image":"i","mounts":[{{"destination":"/bind"}}],"overlay_volumes":[{{"destination":"/over"}}],"labels":{{"a":"b",{FORCED}}},"volumes":[{{"Name":"v","Dest":"/a/","Options":["ro","volume-opt=type=tmpfs"]}},{{"Dest":"/b","Name":"made"}},null,{{"Name":"made","Dest":"/img","Options":["rprivate","rw","nodev","exec"]}}]}}"#
        );
        assert_eq!(labelled(body, &policy(), &mut daemon).unwrap(), expected);
        let named = format!(
            r#"{CREATE} {{"Name":"v","DriverOpts":{{"type":"tmpfs"}},"Labels":{{{FORCED}}}}}"#
        );
        let anonymous =
            format!(r#"{CREATE} {{"Labels":{{"com.docker.volume.anonymous":"",{FORCED}}}}}"#);
        assert_eq!(
            daemon.asked,
            [IMAGE, &named, &anonymous, &anonymous].map(str::to_owned)
        );
    }

    #[test]
    fn a_container_with_named_volumes_is_only_labelled() {
        let mut daemon = daemon("null");
        let body = r#"{"image":"i","volumes":[ {"Name":"v","Dest":"/a"} ]"#;
        let labelled = labelled(&format!("{body}}}"), &policy(), &mut daemon).unwrap();
        assert_eq!(labelled, format!("{body},\"labels\":{{{FORCED}}}}}"));
    }

    #[test]
    fn the_image_is_asked_for_only_where_its_volumes_count() {
        for body in [
            r#"{"image":"i","image_volume_mode":"ignore"}"#,
            r#"{"image":"i","image_volume_mode":"TMPFS"}"#,
            r#"{"image":"i","rootfs":"/r"}"#,
        ] {
            let mut daemon = Script::default();
            labelled(body, &policy(), &mut daemon).unwrap();
            assert!(daemon.asked.is_empty(), "{body}");
        }
        for body in [
            r#"{"image":"i","image_volume_mode":"Anonymous"}"#,
            r#"{"image":"i"}"#,
        ] {
            let mut daemon = daemon("{\"/x\":{}}");
            let labelled = labelled(body, &policy(), &mut daemon).unwrap();
            assert!(labelled.contains(r#""Dest":"/x""#), "{labelled}");
        }
    }

    #[test]
    fn what_a_pod_mounts_is_taken() {
        let pod = r#"{"mounts":[{"Destination":"/pod"}]}"#;
        let mut daemon = daemon(r#"{"/pod":{}}"#).on(POD, 200, pod);
        let body = r#"{"image":"i","pod":"p"}"#;
        let labelled = labelled(body, &policy(), &mut daemon).unwrap();
        assert!(!labelled.contains("volumes"), "{labelled}");
    }

    #[test]
    fn a_container_is_put_under_the_operators_cgroup() {
        let labelled = |body: &str, pod: &str| {
            let mut daemon = Script::default().on(POD, 200, pod);
            labelled(body, &in_cgroup("/ci"), &mut daemon)
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
        assert!(matches!(labelled(around, ""), Err(Rejection::Refusal(_))));
    }

    #[test]
    fn a_pod_and_its_volumes_are_labelled() {
        let mut daemon = daemon(r#"{"/img":{}}"#);
        let mut draft = draft_of(r#"{"name":"p","infra_image":"i","volumes":[{"Dest":"/a"}]}"#);
        pod(&mut draft, &in_cgroup("/ci"), &mut daemon).unwrap();
        let body = String::from_utf8(draft.body).unwrap();
        assert!(body.contains(r#""cgroup_parent":"/ci""#), "{body}");
        assert!(body.contains(&format!("\"labels\":{{{FORCED}}}")), "{body}");
        assert!(body.contains(r#"{"Dest":"/a","Name":"made"}"#), "{body}");
        assert!(body.contains(r#""Dest":"/img""#), "{body}");

        let mut bare = draft_of(r#"{"infra_image":"i","no_infra":true}"#);
        pod(&mut bare, &policy(), &mut Script::default()).unwrap();
    }

    #[test]
    fn what_cannot_be_labelled_is_refused_before_anything_is_created() {
        for body in [
            "",
            "[]",
            r#"{"volumes":{}}"#,
            r#"{"volumes":[7]}"#,
            r#"{"volumes":[],"Volumes":[]}"#,
            r#"{"volumes":[{"Name":"a","name":"b"}]}"#,
            r#"{"volumes":[{"Name":"v","Dest":"/a"}],"labels":[]}"#,
            r#"{"image":"i"}"#,
        ] {
            let mut daemon = daemon("{\"relative\":{}}");
            match labelled(body, &policy(), &mut daemon) {
                Err(Rejection::Refusal(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Malformed, "{body}")
                }
                other => panic!("{body}: {other:?}"),
            }
            assert!(daemon.asked.iter().all(|asked| asked == IMAGE), "{body}");
        }
    }

    #[test]
    fn what_podman_refuses_is_its_own_answer() {
        let refused = |body: &str, question: &str| {
            let mut daemon = Script::default().on(question, 404, "no");
            match labelled(body, &policy(), &mut daemon) {
                Err(Rejection::Answer(answer)) => assert_eq!(answer.status, 404),
                other => panic!("{other:?}"),
            }
        };
        refused(r#"{"image":"i"}"#, IMAGE);
        refused(r#"{"pod":"p"}"#, POD);
        refused(r#"{"volumes":[{"Name":"v"}]}"#, CREATE);
    }
}
