//! What the specs of containers and pods have in common: `labels`, and the volumes, each of which is
//! created before.

use std::collections::HashSet;

use crate::error::Refusal;
use crate::inject::expected::Before;
use crate::inject::image_memory::Image;
use crate::inject::mounts::{free, targets};
use crate::inject::overlay::lay_labels;
use crate::inject::request::{Create, Rejection};
use crate::inject::socket_mounts;
use crate::inject::volume_store::{NewVolume, VolumeStore};
use crate::json::{self, List, MemberError, Object};
use crate::text::clean_path;

/// The mount options that Podman gives to the volumes of an image.
const IMAGE_VOLUME_OPTIONS: &str = r#"["rprivate","rw","nodev","exec"]"#;

/// Labels a spec and its volumes. `image` is the image whose volumes count, or nothing, and `taken`
/// where other things than this spec says are mounted.
///
/// # Errors
/// When the spec cannot be understood, and when the daemon refuses a subrequest.
pub(super) fn label(
    spec: &mut Object<'_>,
    image: &str,
    taken: Vec<String>,
    create: &mut Create<'_>,
) -> Result<(), Rejection> {
    let volumes = Volumes::prepare(spec, image, taken, create)?;
    // Says whether they can be labelled, so it comes before anything is created.
    lay_labels(spec, "labels", create.labels())?;
    volumes.create(spec, create)
}

/// The volumes of a spec, once all of it is understood.
struct Volumes<'a> {
    /// The member `volumes`.
    list: List<'a>,
    /// Its entries.
    given: Vec<Volume>,
    /// Where those of the image are mounted, without those that something else is mounted over.
    image: Vec<String>,
}

impl<'a> Volumes<'a> {
    /// Reads a spec, and asks the daemon what there is to ask. Creates nothing.
    fn prepare(
        spec: &mut Object<'a>,
        image: &str,
        taken: Vec<String>,
        create: &mut Create<'_>,
    ) -> Result<Volumes<'a>, Rejection> {
        let mut mounts = spec.list("mounts")?;
        socket_mounts::redirect_mounts(&mut mounts, "Destination", create.policy())?;
        spec.set_list(&mounts);

        let list = spec.list("volumes")?;
        let read = |entry: Result<Option<Object<'_>>, MemberError>| {
            Volume::read(&entry?.ok_or_else(|| list.wrong_entry())?)
        };
        let given: Vec<Volume> = list.iter().map(read).collect::<Result<_, _>>()?;
        let paths = given.iter().map(|volume| volume.path.clone());
        let mut taken: HashSet<String> = taken.into_iter().chain(paths).collect();
        taken.extend(targets(&mounts, "destination")?);
        taken.extend(targets(&spec.list("overlay_volumes")?, "destination")?);
        let from: Vec<String> = spec.get("volumes_from", "a list of strings")?;
        create.check.expect_from(&from);
        for volume in given.iter().filter(|volume| !volume.name.is_empty()) {
            create.check.name_volume(&volume.name, Before::Wanted)?;
        }
        let image = Image::of_container(image, "/libpod/images", None, create)?.volumes;
        let image = free(image, &mut taken, &from, create)?;
        let given_paths = given.iter().map(|volume| &volume.path);
        if let Some(path) = given_paths
            .chain(&image)
            .find(|path| !path.starts_with('/'))
        {
            let what =
                format!("the volume at {path:?} cannot be labelled; its path must be absolute");
            return Err(Refusal::bad_request(what).into());
        }
        Ok(Volumes { list, given, image })
    }

    /// Creates the volumes, and puts the names of the anonymous ones into the spec.
    fn create(mut self, spec: &mut Object<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
        if self.given.is_empty() && self.image.is_empty() {
            return Ok(());
        }
        let mut store = VolumeStore::open(create)?;
        for (index, volume) in self.given.iter().enumerate() {
            let new = NewVolume {
                options: &volume.driver_options,
                ..NewVolume::default()
            };
            if volume.name.is_empty() {
                let name = json::string(&store.anonymous(&new)?);
                self.list.set_member(index, "Name", name)?;
            } else {
                store.named(&volume.name, &new)?;
            }
        }
        for path in &self.image {
            let mut volume = Object::default();
            volume.set(
                "Name",
                json::string(&store.anonymous(&NewVolume::default())?),
            );
            volume.set("Dest", json::string(path));
            volume.set("Options", IMAGE_VOLUME_OPTIONS.to_owned());
            self.list.push(&volume);
        }
        spec.set_list(&self.list);
        Ok(())
    }
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
    fn read(volume: &Object<'_>) -> Result<Volume, MemberError> {
        let options: Vec<String> = volume.get("Options", "a list of strings")?;
        let driver_options = options
            .iter()
            .filter_map(|option| option.strip_prefix("volume-opt="))
            .filter_map(|option| option.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let path: String = volume.get("Dest", "a string")?;
        Ok(Volume {
            name: volume.get("Name", "a string")?,
            path: clean_path(&path),
            driver_options: driver_options.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::inject::libpod::container;
    use crate::inject::test::{FORCED, Script, body, labelled, reason, with_body};

    const CREATE: &str = "POST /v1.41/volumes/create";
    const IMAGE: &str = "GET /v1.41/libpod/images/i/json";
    const TAKEN: &str = "GET /v1.41/libpod/containers/c/json";

    fn daemon(image: &str) -> Script {
        let image = format!("{{\"Config\":{{\"Volumes\":{image}}}}}");
        let made = r#"{"Name":"made"}"#;
        Script::default()
            .on(IMAGE, 200, &image)
            .on(CREATE, 201, made)
    }

    fn container(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
        labelled(&container::RECIPE, with_body(text), daemon).map(body)
    }

    #[test]
    fn the_volumes_of_a_container_are_created_first() {
        let mut daemon = daemon(r#"{"/img/":{},"/a":{},"/bind":{},"/over":{}}"#).on(TAKEN, 404, "");
        let body = r#"{"name":"c","image":"i","volumes":[{"Name":"v","Dest":"/a/","Options":["ro","volume-opt=type=tmpfs"]},{"Name":"","Dest":"/b"}],"mounts":[{"destination":"/bind"}],"overlay_volumes":[{"destination":"/over"}],"labels":{"a":"b"}}"#;
        let expected = format!(
            r#"{{"name":"c","image":"i","mounts":[{{"destination":"/bind"}}],"overlay_volumes":[{{"destination":"/over"}}],"labels":{{"a":"b",{FORCED}}},"volumes":[{{"Name":"v","Dest":"/a/","Options":["ro","volume-opt=type=tmpfs"]}},{{"Dest":"/b","Name":"made"}},{{"Name":"made","Dest":"/img","Options":["rprivate","rw","nodev","exec"]}}]}}"#
        );
        assert_eq!(container(body, &mut daemon).unwrap(), expected);
        let named = format!(
            r#"{CREATE} {{"Name":"v","DriverOpts":{{"type":"tmpfs"}},"Labels":{{{FORCED}}}}}"#
        );
        let anonymous =
            format!(r#"{CREATE} {{"Labels":{{"com.docker.volume.anonymous":"",{FORCED}}}}}"#);
        assert_eq!(
            daemon.asked,
            [IMAGE, TAKEN, &named, &anonymous, &anonymous].map(str::to_owned)
        );
    }

    #[test]
    fn a_container_with_named_volumes_is_only_labelled() {
        let mut daemon = daemon("null");
        let body = r#"{"image":"i","volumes":[ {"Name":"v","Dest":"/a"} ]"#;
        let labelled = container(&format!("{body}}}"), &mut daemon).unwrap();
        assert_eq!(labelled, format!("{body},\"labels\":{{{FORCED}}}}}"));
    }

    #[test]
    fn a_spec_that_cannot_be_labelled_is_refused_before_anything_is_created() {
        for body in [
            "",
            "[]",
            r#"{"volumes":{}}"#,
            r#"{"volumes":[7]}"#,
            r#"{"volumes":[{"Name":"v","Dest":"/a"},null]}"#,
            r#"{"volumes":[{"Name":"v","Dest":"/a"},{"Name":"w","Dest":"b"}]}"#,
            r#"{"volumes":[],"Volumes":[]}"#,
            r#"{"volumes":[{"Name":"a","name":"b"}]}"#,
            r#"{"volumes":[{"Name":"v","Dest":"/a"}],"labels":[]}"#,
            r#"{"image":"i"}"#,
        ] {
            let mut daemon = daemon("{\"relative\":{}}");
            let refused = container(body, &mut daemon);
            assert_eq!(reason(refused), Reason::Malformed, "{body}");
            assert!(daemon.asked.iter().all(|asked| asked == IMAGE), "{body}");
        }
    }
}
