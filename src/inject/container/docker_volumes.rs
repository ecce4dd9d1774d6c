//! The volumes that a container create makes on the way: named or anonymous, from `Binds`,
//! `Mounts`, `Volumes` or the image. The daemon labels none of them, but for those whose `Mounts`
//! entry says so. Follows `registerMountPoints` (moby daemon/volumes.go) and
//! `createContainerVolumesOS` (daemon/create_unix.go).

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::error::Refusal;
use crate::http1::percent::{encode, is_unreserved};
use crate::inject::container::podman_volumes;
use crate::inject::object::{self, sole_as};
use crate::inject::request::{Answer, CreateRequest, Daemon, Rejection};
use crate::json::{self, Object};
pub(crate) use crate::labels::ANONYMOUS_VOLUME as ANONYMOUS;
use crate::labels::Labels;
use crate::policy::Policy;
use crate::text::clean_path;

/// Sees to it that all volumes of the create are labelled: named ones in `Binds` are created
/// before it, all others get an entry in `Mounts` that carries the labels.
///
/// # Errors
/// When a volume cannot be labelled, or the daemon would refuse the create.
pub(crate) fn label(
    config: &Object<'_>,
    host: &mut Object<'_>,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mut volumes = Volumes::read(config, host)?;
    let image: String = sole_as(config, "Image", "a string")?;
    let image = Image::ask(&image, "/images", draft, daemon)?;
    if image.is_podman {
        return podman_volumes::label(volumes, config, image.volumes, host, draft, policy, daemon);
    }
    let labels = &policy.labels;
    label_mounts(&mut volumes, policy)?;

    let (named, anonymous_binds) = sort_binds(&mut volumes);
    let mut wanted = config_volumes(config)?;
    wanted.extend(image.volumes);
    let tmpfs: HashSet<&String> = volumes.tmpfs.iter().collect();
    // What the daemon makes of a relative path is not what `Tmpfs` names by the same text: it looks
    // for the clean one there.
    wanted.retain(|path| !path.starts_with('/') || !tmpfs.contains(path));
    if !wanted.is_empty() {
        for from in &volumes.from {
            volumes.taken.extend(mounts_of(from, draft, daemon)?);
        }
    }
    let mut taken: HashSet<String> = std::mem::take(&mut volumes.taken).into_iter().collect();
    for path in anonymous_binds.into_iter().chain(wanted) {
        if !taken.contains(&path) {
            let mount = anonymous_mount(&path, &volumes.driver, labels)?;
            volumes.mounts.push(mount);
            taken.insert(path);
        }
    }
    for name in named {
        create_named(&name, &volumes.driver, draft, policy, daemon)?;
    }
    volumes.write(host);
    Ok(())
}

/// The members of `HostConfig` that say which volumes there are.
pub(crate) struct Volumes {
    pub(crate) binds: Vec<String>,
    /// Each entry as JSON text.
    pub(crate) mounts: Vec<String>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) from: Vec<String>,
    driver: String,
    /// The clean paths at which something is mounted.
    pub(crate) taken: Vec<String>,
    before: (Vec<String>, Vec<String>),
}

impl Volumes {
    fn read(config: &Object<'_>, host: &Object<'_>) -> Result<Volumes, Refusal> {
        // Merged by one daemon and not by another, these would decide what is mounted.
        object::sole(config, "Volumes")?;
        let strings = |field| -> Result<Vec<String>, Refusal> {
            let list: Vec<Option<String>> = sole_as(host, field, "a list of strings")?;
            Ok(list.into_iter().map(Option::unwrap_or_default).collect())
        };
        let mounts: Vec<&RawValue> = sole_as(host, "Mounts", "a list of objects")?;
        let mounts: Vec<String> = mounts
            .into_iter()
            .map(|mount| mount.get().to_owned())
            .collect();
        let binds = strings("Binds")?;
        let tmpfs: Object<'_> = sole_as(host, "Tmpfs", "an object of strings")?;
        Ok(Volumes {
            tmpfs: keys(&tmpfs, "Tmpfs")?,
            from: strings("VolumesFrom")?,
            driver: sole_as(host, "VolumeDriver", "a string")?,
            taken: Vec::new(),
            before: (binds.clone(), mounts.clone()),
            binds,
            mounts,
        })
    }

    pub(crate) fn write(self, host: &mut Object<'_>) {
        if self.binds != self.before.0 {
            let binds: Vec<String> = self.binds.iter().map(|bind| json::string(bind)).collect();
            host.set("Binds", format!("[{}]", binds.join(",")));
        }
        if self.mounts != self.before.1 {
            host.set("Mounts", format!("[{}]", self.mounts.join(",")));
        }
    }
}

/// Labels the volumes of `Mounts`, and notes where all entries are mounted.
fn label_mounts(volumes: &mut Volumes, policy: &Policy) -> Result<(), Refusal> {
    for text in &mut volumes.mounts {
        let given = text.clone();
        let Some(mut mount) = object::entry(&given, "Mounts")? else {
            continue;
        };
        let target: String = sole_as(&mount, "Target", "a string")?;
        volumes.taken.push(clean_path(&target));
        let kind: String = sole_as(&mount, "Type", "a string")?;
        // The daemon knows types in lower case only, and refuses others.
        if kind != "volume" {
            continue;
        }
        label_mount(&mut mount, &policy.labels)?;
        *text = mount.to_string();
    }
    Ok(())
}

/// Labels the volume of an entry of `Mounts`.
///
/// # Errors
/// 400 when its options or labels cannot be understood.
pub(crate) fn label_mount(mount: &mut Object<'_>, labels: &Labels) -> Result<(), Refusal> {
    let mut options: Object<'_> = sole_as(mount, "VolumeOptions", "an object")?;
    object::lay_labels(&mut options, "Labels", labels)?;
    let options = options.to_string();
    mount.set("VolumeOptions", options);
    Ok(())
}

/// An entry of `Mounts` for an anonymous volume at a clean path; without a driver, the default.
///
/// # Errors
/// 400 when no entry can stand for it.
pub(crate) fn anonymous_mount(
    path: &str,
    driver: &str,
    labels: &Labels,
) -> Result<String, Refusal> {
    if !path.starts_with('/') || path == "/" || path.contains('\\') {
        return Err(Refusal::bad_request(format!(
            "the anonymous volume at {path:?} cannot be labelled; give it an absolute path"
        )));
    }
    let mut options = Object::default();
    options.set(
        "Labels",
        labels.over(&[(ANONYMOUS.to_owned(), String::new())]),
    );
    if !driver.is_empty() {
        options.set(
            "DriverConfig",
            format!("{{\"Name\":{}}}", json::string(driver)),
        );
    }
    let mut mount = Object::default();
    mount.set("Type", json::string("volume"));
    mount.set("Target", json::string(path));
    mount.set("VolumeOptions", options.to_string());
    Ok(mount.to_string())
}

/// Takes anonymous volumes out of `Binds`; the names of the named ones and the paths of the
/// anonymous ones. Notes where the others are mounted (`ParseMountRaw` in
/// daemon/volume/mounts/linux_parser.go).
fn sort_binds(volumes: &mut Volumes) -> (Vec<String>, Vec<String>) {
    let (mut named, mut anonymous) = (Vec::new(), Vec::new());
    let mut others = Vec::new();
    let mut known = HashSet::new();
    for bind in std::mem::take(&mut volumes.binds) {
        let parts: Vec<&str> = bind.split(':').collect();
        match parts[..] {
            [path] if path.starts_with('/') => anonymous.push(clean_path(path)),
            [source, path] | [source, path, _] if path.starts_with('/') => {
                if !source.starts_with('/') && known.insert(source.to_owned()) {
                    named.push(source.to_owned());
                }
                volumes.taken.push(clean_path(path));
                others.push(bind);
            }
            // The daemon refuses all others.
            _ => others.push(bind),
        }
    }
    volumes.binds = others;
    (named, anonymous)
}

/// The clean paths of the client's own `Volumes`.
pub(crate) fn config_volumes(config: &Object<'_>) -> Result<Vec<String>, Refusal> {
    let volumes: Object<'_> = sole_as(config, "Volumes", "an object")?;
    let paths = keys(&volumes, "Volumes")?;
    Ok(paths.iter().map(|path| clean_path(path)).collect())
}

/// What the daemon says of an image.
#[derive(Default)]
pub(crate) struct Image {
    /// The clean paths of its volumes.
    pub(crate) volumes: Vec<String>,
    /// Whether the daemon is Podman.
    pub(crate) is_podman: bool,
}

impl Image {
    /// Asks for an image, below this path of the API; no name is no image.
    ///
    /// # Errors
    /// When the daemon does not have it, with its own answer.
    pub(crate) fn ask(
        name: &str,
        images: &str,
        draft: &CreateRequest,
        daemon: &mut dyn Daemon,
    ) -> Result<Image, Rejection> {
        if name.is_empty() {
            return Ok(Image::default());
        }
        let name = encode(name.as_bytes(), |b| {
            is_unreserved(b) || matches!(b, b'/' | b':' | b'@')
        });
        let target = format!("{}{images}/{name}/json", draft.version);
        let answer = asked(daemon.get(&target)?)?;
        let paths = answer.read(|image| {
            let config: Object<'_> = sole_as(image, "Config", "an object")?;
            let volumes: Object<'_> = sole_as(&config, "Volumes", "an object")?;
            keys(&volumes, "Volumes")
        })?;
        Ok(Image {
            volumes: paths.iter().map(|path| clean_path(path)).collect(),
            is_podman: answer.is_podman,
        })
    }
}

/// Where the container that `VolumesFrom` names (`NAME` or `NAME:MODE`) has something mounted.
pub(crate) fn mounts_of(
    from: &str,
    draft: &CreateRequest,
    daemon: &mut dyn Daemon,
) -> Result<Vec<String>, Rejection> {
    let name = encode(
        from.split(':').next().unwrap_or_default().as_bytes(),
        is_unreserved,
    );
    let answer = asked(daemon.get(&format!("{}/containers/{name}/json", draft.version))?)?;
    Ok(answer.read(|container| {
        let mounts: Vec<Object<'_>> = sole_as(container, "Mounts", "a list of objects")?;
        targets(&mounts, "Destination")
    })?)
}

/// The clean paths in this member of all these mounts.
///
/// # Errors
/// 400 when one is no string.
pub(crate) fn targets(mounts: &[Object<'_>], field: &str) -> Result<Vec<String>, Refusal> {
    let target = |mount| sole_as::<String>(mount, field, "a string");
    let targets: Result<Vec<String>, Refusal> = mounts.iter().map(target).collect();
    Ok(targets?.iter().map(|path| clean_path(path)).collect())
}

/// Creates a named volume with the labels. One that is there already stays as it is, as it would
/// with the create itself.
fn create_named(
    name: &str,
    driver: &str,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mut volume = Object::default();
    volume.set("Name", json::string(name));
    if !driver.is_empty() {
        volume.set("Driver", json::string(driver));
    }
    volume.set("Labels", policy.labels.over(&[]));
    let target = format!("{}/volumes/create", draft.version);
    asked(daemon.post(&target, &volume.to_string())?)?;
    Ok(())
}

/// An answer, unless it is a no: the create would get the same.
pub(crate) fn asked(answer: Answer) -> Result<Answer, Rejection> {
    match answer.status {
        200..=299 => Ok(answer),
        // The path of the question is not clean, so a name in it is none.
        301 => Err(Refusal::bad_request("the name of an image or container is not valid").into()),
        _ => Err(Rejection::Answer(answer)),
    }
}

/// The keys of the map in the member `field`.
///
/// # Errors
/// 400 when one is not valid Unicode, which Go would read as some other text.
fn keys(map: &Object<'_>, field: &str) -> Result<Vec<String>, Refusal> {
    let invalid = || Refusal::bad_request(format!("{field} has a key that is not valid Unicode"));
    map.members()
        .map(|(key, _)| json::decode(key).ok_or_else(invalid))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::error::Reason;
    use crate::inject::request::Rejection;
    use crate::inject::test::{FORCED, Script, labelled_container as labelled};

    const IMAGE: &str = "GET /v1.41/images/i/json";
    const NO_VOLUMES: &str = r#"{"Config":{"Volumes":null}}"#;

    fn anonymous(path: &str, driver: &str) -> String {
        format!(
            r#"{{"Type":"volume","Target":"{path}","VolumeOptions":{{"Labels":{{"com.docker.volume.anonymous":"",{FORCED}}}{driver}}}}}"#
        )
    }

    #[test]
    fn a_create_without_volumes_is_only_labelled() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body =
            r#"{"Image":"i","Volumes":{},"HostConfig":{ "Binds":["/a:/b:ro"], "Memory":1e3}"#;
        let labelled = labelled(&format!("{body}}}"), &mut daemon).unwrap();
        assert_eq!(labelled, format!("{body},\"Labels\":{{{FORCED}}}}}"));
        assert_eq!(daemon.asked, [IMAGE]);
    }

    #[test]
    fn anonymous_volumes_get_a_mount_that_carries_the_labels() {
        let image = r#"{"Config":{"Volumes":{"/img":{},"/both/":{}}}}"#;
        let mut daemon = Script::default().on(IMAGE, 200, image);
        let body = r#"{"Image":"i","Volumes":{"/own":{},"/both":{}},"HostConfig":{"Binds":["/bind"],"VolumeDriver":"d"}}"#;
        let driver = r#","DriverConfig":{"Name":"d"}"#;
        let mounts: Vec<String> = ["/bind", "/own", "/both", "/img"]
            .iter()
            .map(|path| anonymous(path, driver))
            .collect();
        assert_eq!(
            labelled(body, &mut daemon).unwrap(),
            format!(
                r#"{{"Image":"i","Volumes":{{"/own":{{}},"/both":{{}}}},"HostConfig":{{"VolumeDriver":"d","Binds":[],"Mounts":[{}]}},"Labels":{{{FORCED}}}}}"#,
                mounts.join(",")
            )
        );
    }

    #[test]
    fn named_volumes_of_binds_are_created_first() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES).on(
            "POST /v1.41/volumes/create",
            201,
            "{}",
        );
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a","v:/b:ro","w:/c:nocopy","x:ro","/h:/d"],"VolumeDriver":"d"}"#;
        let labelled = labelled(&format!("{body}}}"), &mut daemon).unwrap();
        assert_eq!(labelled, format!("{body},\"Labels\":{{{FORCED}}}}}"));
        let create = |name| {
            format!(
                "POST /v1.41/volumes/create {{\"Name\":\"{name}\",\"Driver\":\"d\",\"Labels\":{{{FORCED}}}}}"
            )
        };
        assert_eq!(daemon.asked, [IMAGE.to_owned(), create("v"), create("w")]);
    }

    #[test]
    fn volumes_of_mounts_are_labelled_where_they_stand() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Mounts":[{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{"NoCopy":true,"Labels":{"x":"y","ci.job":"1"}}},{"Type":"volume","Target":"/b"},{"Type":"bind","Source":"/s","Target":"/c"},null]}}"#;
        let expected = format!(
            r#"{{"Image":"i","HostConfig":{{"Mounts":[{{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{{"NoCopy":true,"Labels":{{"x":"y",{FORCED}}}}}}},{{"Type":"volume","Target":"/b","VolumeOptions":{{"Labels":{{{FORCED}}}}}}},{{"Type":"bind","Source":"/s","Target":"/c"}},null]}},"Labels":{{{FORCED}}}}}"#
        );
        assert_eq!(labelled(body, &mut daemon).unwrap(), expected);
    }

    #[test]
    fn a_path_that_is_taken_gets_no_second_mount() {
        let image =
            r#"{"Config":{"Volumes":{"/bind":{},"/mount":{},"/tmpfs":{},"/from":{},"/new":{}}}}"#;
        let from = r#"{"Mounts":[{"Destination":"/from"}]}"#;
        let mut daemon = Script::default().on(IMAGE, 200, image).on(
            "GET /v1.41/containers/other/json",
            200,
            from,
        );
        let body = r#"{"Image":"i","HostConfig":{"Binds":["/h:/bind/"],"Mounts":[{"Type":"tmpfs","Target":"/mount/"}],"Tmpfs":{"/tmpfs":""},"VolumesFrom":["other:ro"]}}"#;
        let labelled = labelled(body, &mut daemon).unwrap();
        assert!(
            labelled.contains(&format!(
                r#""Mounts":[{{"Type":"tmpfs","Target":"/mount/"}},{}]"#,
                anonymous("/new", "")
            )),
            "{labelled}"
        );
    }

    #[test]
    fn what_the_daemon_refuses_is_its_own_answer() {
        let mut daemon = Script::default().on(IMAGE, 404, "no such image");
        match labelled(r#"{"Image":"i"}"#, &mut daemon) {
            Err(Rejection::Answer(answer)) => assert_eq!(answer.status, 404),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_that_the_daemon_would_redirect_is_refused() {
        let mut daemon = Script::default().on("GET /v1.41/images/a//../i/json", 301, "");
        let err = labelled(r#"{"Image":"a//../i"}"#, &mut daemon).unwrap_err();
        assert!(
            matches!(&err, Rejection::Refusal(refusal) if refusal.reason == Reason::Malformed),
            "{err:?}"
        );
    }

    #[test]
    fn volumes_that_no_mount_can_stand_for_are_refused() {
        for body in [
            r#"{"Volumes":{"foo":{}}}"#,
            r#"{"Volumes":{"":{}}}"#,
            r#"{"Volumes":{"/":{}}}"#,
            r#"{"Volumes":{"":{}},"HostConfig":{"Tmpfs":{"":""}}}"#,
            r#"{"Volumes":{"a/":{}},"HostConfig":{"Tmpfs":{"a/":""}}}"#,
            r#"{"Volumes":{"/a/..":{}}}"#,
            r#"{"Volumes":{"/a\ud800":{}}}"#,
            r#"{"HostConfig":{"Tmpfs":{"/a\udfff":""}}}"#,
            r#"{"Volumes":{"/a"},"volumes":{}}"#,
            r#"{"HostConfig":{"Binds":[],"binds":[]}}"#,
            r#"{"HostConfig":{"Binds":"x"}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"volume","type":"bind"}]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"volume","Target":"/a","x\ud800":1}]}}"#,
            r#"{"HostConfig":{"Mounts":["/a"]}}"#,
            r#"{"Volumes":{"/a":{}},"HostConfig":{"B\u0130nds":["/h:/a"]}}"#,
            r#"{"Volumes":{"/a":{}},"HostConfig":{"Bind\u017f":["/h:/a"]}}"#,
            r#"{"Volumes":{"/a":{}},"HostConf\u0130g":{"Binds":["/h:/a"]}}"#,
            r#"{"HostConfig":{},"hostconfig":{}}"#,
            r#"{"HostConfig":[]}"#,
            r#"{"Volumes":[]}"#,
            r#"{"Image":1}"#,
        ] {
            match labelled(body, &mut Script::default()) {
                Err(Rejection::Refusal(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Malformed, "{body}")
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn members_at_the_top_count_where_the_daemon_reads_them() {
        let body = r#"{"Cmd":["x"],"Privileged":true,"Binds":["/data"]}"#;
        let daemon = |version| {
            let body = format!("{{\"ApiVersion\":\"{version}\"}}");
            Script::default().on("GET /v1.41/version", 200, &body)
        };
        let expected = format!(
            r#"{{"Cmd":["x"],"HostConfig":{{"Privileged":true,"Binds":[],"Mounts":[{}]}},"Labels":{{{FORCED}}}}}"#,
            anonymous("/data", "")
        );
        assert_eq!(labelled(body, &mut daemon("1.45")).unwrap(), expected);
        let expected = body.replace("]}", &format!("],\"Labels\":{{{FORCED}}}}}"));
        assert_eq!(labelled(body, &mut daemon("1.46")).unwrap(), expected);

        let body = r#"{"HostConfig":{"Binds":["/data"]},"VolumeDriver":"d"}"#;
        let labelled = labelled(body, &mut daemon("1.41")).unwrap();
        assert!(
            labelled.contains(&anonymous("/data", r#","DriverConfig":{"Name":"d"}"#)),
            "{labelled}"
        );
    }
}
