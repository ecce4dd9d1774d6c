//! The volumes that a container create makes on the way, on Docker: named or anonymous, from
//! `Binds`, `Mounts`, `Volumes` or the image. The daemon labels none of them, but for those whose
//! `Mounts` entry says so. All get such an entry, but for the few in `Binds` of which no entry can
//! say the same: these are created before the container. Follows `registerMountPoints` (moby
//! daemon/volumes.go) and `createContainerVolumesOS` (daemon/create_unix.go).

use std::collections::HashSet;

use super::bind::{Bind, Mode};
use super::host_mounts::{HostMounts, VolumeDriver, Wanted};
use crate::error::Refusal;
use crate::inject::expected::Before;
use crate::inject::mounts::{
    anonymous_volume, is_volume, label_volume, mounted_in, volume_options,
};
use crate::inject::overlay::overlay;
use crate::inject::request::{Create, Rejection};
use crate::inject::volume_store::{NewVolume, VolumeStore};
use crate::json::{self, List, MemberError, Object};
use crate::labels::{ANONYMOUS_VOLUME, Labels};
use crate::text::clean_path;

/// Nothing is kept between the two steps: the check knows which volumes are wanted.
pub(super) struct DockerVolumes;

impl VolumeDriver for DockerVolumes {
    fn prepare(
        host: &mut HostMounts<'_>,
        wanted: Wanted,
        create: &mut Create<'_>,
    ) -> Result<DockerVolumes, Rejection> {
        let labels = create.labels();
        let given = std::mem::take(&mut host.binds);
        let binds = given
            .iter()
            .map(|bind| Bind::parse(bind).map(|read| (bind, read)));
        let binds = binds.collect::<Result<Vec<_>, Refusal>>()?;
        let bound = binds.iter().map(|(_, bind)| clean_path(bind.target()));
        let bound: HashSet<String> = bound.collect();
        give_way(&mut host.mounts, &bound, labels)?;
        let mut taken = label_mounts(&mut host.mounts, create)?;
        taken.extend(bound);
        for (text, bind) in binds {
            place(text, bind, host, create)?;
        }
        let wanted = without_tmpfs(wanted, &host.tmpfs);
        if !wanted.is_empty() {
            for from in &host.from {
                taken.extend(mounted_in(from, create)?);
            }
        }
        for path in wanted {
            if taken.insert(path.clone()) {
                add_anonymous(path, host, create)?;
            }
        }
        Ok(DockerVolumes)
    }

    fn create(self, host: &mut HostMounts<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
        let wanted = create.check.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut store = VolumeStore::open(create)?;
        let volume = NewVolume {
            driver: &host.driver,
            ..NewVolume::default()
        };
        wanted
            .iter()
            .try_for_each(|name| store.named(name, &volume))
    }
}

/// Puts an entry of `Binds` to where its volume gets labels, if it has one. Two at one target are
/// for the daemon to refuse.
fn place(
    text: &str,
    bind: Bind<'_>,
    host: &mut HostMounts<'_>,
    create: &mut Create<'_>,
) -> Result<(), Refusal> {
    match bind {
        Bind::Host { .. } => host.binds.push(text.to_owned()),
        Bind::Anonymous { target } => add_anonymous(clean_path(target), host, create)?,
        Bind::Volume { name, mode, .. } if mode.is_bind_only => {
            create.check.name_volume(name, Before::Wanted)?;
            host.binds.push(text.to_owned());
        }
        Bind::Volume { name, target, mode } => {
            create.check.name_volume(name, Before::Atomic)?;
            let mount = named_volume(name, target, mode, &host.driver, create.labels());
            host.mounts.push(&mount);
        }
    }
    Ok(())
}

/// Adds an entry of `Mounts` for an anonymous volume.
fn add_anonymous(
    path: String,
    host: &mut HostMounts<'_>,
    create: &mut Create<'_>,
) -> Result<(), Refusal> {
    let mount = anonymous_volume(&path, &host.driver, create.labels())?;
    host.mounts.push(&mount);
    create.check.labelled_path(path);
    Ok(())
}

/// Removes the entries of `Mounts` that a proxy has made for anonymous volumes where the client
/// binds something else: what clones a container copies them from what the daemon says of it, and
/// knows nothing of them.
fn give_way(
    mounts: &mut List<'_>,
    bound: &HashSet<String>,
    labels: &Labels,
) -> Result<(), MemberError> {
    if bound.is_empty() {
        return Ok(());
    }
    mounts.remove_each(|mount| {
        let target: String = mount.get("Target", "a string")?;
        Ok(bound.contains(&clean_path(&target)) && is_made_by_a_proxy(mount, labels)?)
    })
}

/// Whether an entry of `Mounts` has nothing but what [`anonymous_volume`] gives it for the default
/// driver. The values of its labels may be another job's.
fn is_made_by_a_proxy(mount: &Object<'_>, labels: &Labels) -> Result<bool, MemberError> {
    let source: String = mount.get("Source", "a string")?;
    if mount.get::<String>("Type", "a string")? != "volume" || !source.is_empty() {
        return Ok(false);
    }
    let options: Object<'_> = mount.get("VolumeOptions", "an object")?;
    let marks = options.string_map("Labels")?;
    let is_ours =
        |key: &str| key == ANONYMOUS_VOLUME || labels.iter().any(|label| label.key() == key);
    Ok(options.names().len() == 1
        && marks.len() == labels.iter().count() + 1
        && marks.iter().all(|(key, _)| is_ours(key)))
}

/// Labels the volumes of `Mounts`. Returns the paths of all entries.
fn label_mounts(
    mounts: &mut List<'_>,
    create: &mut Create<'_>,
) -> Result<HashSet<String>, Refusal> {
    if mounts.iter().any(|mount| matches!(mount, Ok(None))) {
        return Err(mounts.wrong_entry().into());
    }
    let mut taken = HashSet::new();
    mounts.edit_each(|mount| -> Result<(), Refusal> {
        let target: String = mount.get("Target", "a string")?;
        let target = clean_path(&target);
        taken.insert(target.clone());
        if is_volume(mount)? {
            let source: String = mount.get("Source", "a string")?;
            if source.is_empty() {
                create.check.labelled_path(target);
            } else {
                create.check.name_volume(&source, Before::Atomic)?;
            }
            label_volume(mount, create.labels())?;
        }
        Ok(())
    })?;
    Ok(taken)
}

/// The entry of `Mounts` that says the same as one of `Binds` with a named volume.
fn named_volume(
    name: &str,
    target: &str,
    mode: Mode,
    driver: &str,
    labels: &Labels,
) -> Object<'static> {
    let mut mount = Object::default();
    mount.set("Type", json::string("volume"));
    mount.set("Source", json::string(name));
    mount.set("Target", json::string(target));
    if mode.is_read_only {
        mount.set("ReadOnly", "true".to_owned());
    }
    let mut options = volume_options(driver, overlay(labels, &[]));
    if mode.is_nocopy {
        options.set("NoCopy", "true".to_owned());
    }
    mount.set("VolumeOptions", options.to_string());
    mount
}

/// The paths at which volumes are wanted and no `Tmpfs` is mounted.
fn without_tmpfs(wanted: Wanted, tmpfs: &[String]) -> Vec<String> {
    let tmpfs: HashSet<&String> = tmpfs.iter().collect();
    let wanted = wanted.own.into_iter().chain(wanted.image);
    // A relative path is not the one that `Tmpfs` names by the same text: the daemon looks for the
    // clean path there.
    wanted
        .filter(|path| !path.starts_with('/') || !tmpfs.contains(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, labelled_container as labelled, reason, status};

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
    fn named_volumes_of_binds_become_mounts_that_carry_the_labels() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a/","w:/b:ro","/h:/c","x:/d:nocopy,rw"],"Mounts":[{"Type":"tmpfs","Target":"/t"}]}}"#;
        let mount = |members: &str, options: &str| {
            format!(
                r#"{{"Type":"volume",{members},"VolumeOptions":{{"Labels":{{{FORCED}}}{options}}}}}"#
            )
        };
        let mounts = [
            r#"{"Type":"tmpfs","Target":"/t"}"#.to_owned(),
            mount(r#""Source":"v","Target":"/a/""#, ""),
            mount(r#""Source":"w","Target":"/b","ReadOnly":true"#, ""),
            mount(r#""Source":"x","Target":"/d""#, r#","NoCopy":true"#),
        ];
        let expected = format!(
            r#"{{"Image":"i","HostConfig":{{"Binds":["/h:/c"],"Mounts":[{}]}},"Labels":{{{FORCED}}}}}"#,
            mounts.join(",")
        );
        assert_eq!(labelled(body, &mut daemon).unwrap(), expected);
        assert_eq!(daemon.asked, [IMAGE]);

        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a"],"VolumeDriver":"d"}}"#;
        let labelled = labelled(body, &mut daemon).unwrap();
        let driver = r#","DriverConfig":{"Name":"d"}"#;
        assert!(labelled.contains(&mount(r#""Source":"v","Target":"/a""#, driver)));
    }

    #[test]
    fn volumes_of_binds_that_no_mount_can_say_are_created_first() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES).on(
            "POST /v1.41/volumes/create",
            201,
            "{}",
        );
        let body = r#"{"Image":"i","HostConfig":{"Binds":["w:/a:z","w:/b:Z,ro","v:/c:cached","/h:/d"],"VolumeDriver":"d"}"#;
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
    fn a_target_that_is_bound_twice_is_left_for_the_daemon_to_refuse() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Binds":["/iv","/iv/"]}}"#;
        let labelled = labelled(body, &mut daemon).unwrap();
        let mount = anonymous("/iv", "");
        assert!(
            labelled.contains(&format!("[{mount},{mount}]")),
            "{labelled}"
        );
    }

    #[test]
    fn a_mount_that_a_proxy_has_made_gives_way_to_a_bind() {
        let ours = r#"{"Type":"volume","Target":"/a","VolumeOptions":{"Labels":{"com.docker.volume.anonymous":"","ci.job":"41","note":""}}}"#;
        for bind in ["old:/a", "old:/a/:z", "/host:/a"] {
            let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES).on(
                "POST /v1.41/volumes/create",
                201,
                "{}",
            );
            let body =
                format!(r#"{{"Image":"i","HostConfig":{{"Binds":["{bind}"],"Mounts":[{ours}]}}}}"#);
            let labelled = labelled(&body, &mut daemon).unwrap();
            assert!(!labelled.contains("anonymous"), "{labelled}");
        }
        let others = [
            ours.replace("}}}", "},\"NoCopy\":true}}"),
            ours.replace("/a", "/b"),
            ours.replace("note", "own"),
            ours.replace(",\"note\":\"\"", ""),
            ours.replace("\"Target\"", "\"Source\":\"v\",\"Target\""),
            ours.replace("\"com.docker.volume.anonymous\":\"\",", ""),
        ];
        for other in others {
            let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
            let body = format!(
                r#"{{"Image":"i","HostConfig":{{"Binds":["old:/a"],"Mounts":[{other}]}}}}"#
            );
            let labelled = labelled(&body, &mut daemon).unwrap();
            assert_eq!(labelled.matches("\"Target\"").count(), 2, "{labelled}");
        }
    }

    #[test]
    fn a_create_that_cannot_be_labelled_is_refused_before_anything_is_created() {
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a:z"]},"Labels":["a=b"]}"#;
        let mut docker = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let mut podman = Script::default().on(IMAGE, 200, NO_VOLUMES).podman();
        for daemon in [&mut docker, &mut podman] {
            assert_eq!(reason(labelled(body, daemon)), Reason::Malformed);
            assert!(daemon.asked.iter().all(|asked| asked == IMAGE));
        }
    }

    #[test]
    fn volumes_of_mounts_are_labelled_where_they_stand() {
        let mut daemon = Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Mounts":[{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{"NoCopy":true,"Labels":{"x":"y","ci.job":"1"}}},{"Type":"volume","Target":"/b"},{"Type":"bind","Source":"/s","Target":"/c"}]}}"#;
        let expected = format!(
            r#"{{"Image":"i","HostConfig":{{"Mounts":[{{"Type":"volume","Source":"v","Target":"/a","VolumeOptions":{{"NoCopy":true,"Labels":{{"x":"y",{FORCED}}}}}}},{{"Type":"volume","Target":"/b","VolumeOptions":{{"Labels":{{{FORCED}}}}}}},{{"Type":"bind","Source":"/s","Target":"/c"}}]}},"Labels":{{{FORCED}}}}}"#
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
        let body = r#"{"Image":"i","HostConfig":{"Binds":["/h:/bind/"],"Mounts":[{"Type":"tmpfs","Target":"/mount/"}],"Tmpfs":{"/tmpfs":""},"VolumesFrom":["/other:ro"]}}"#;
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
    fn a_create_that_the_daemon_would_refuse_gets_its_own_answer() {
        let mut daemon = Script::default().on(IMAGE, 404, "no such image");
        assert_eq!(status(labelled(r#"{"Image":"i"}"#, &mut daemon)), 404);
    }

    #[test]
    fn a_name_that_the_daemon_would_redirect_is_refused() {
        let mut daemon = Script::default().on("GET /v1.41/images/a//../i/json", 301, "");
        let refused = labelled(r#"{"Image":"a//../i"}"#, &mut daemon);
        assert_eq!(reason(refused), Reason::Malformed);
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
            r#"{"HostConfig":{"Binds":["v:\\foo"]}}"#,
            r#"{"HostConfig":{"Binds":["\\anon"]}}"#,
            r#"{"HostConfig":{"Binds":["v:\\/foo:ro"]}}"#,
            r#"{"HostConfig":{"Binds":["v:/a:z",":/x"]}}"#,
            r#"{"HostConfig":{"Binds":["v:/a:z",null]}}"#,
            r#"{"HostConfig":{"Binds":["v:/a:z"],"Mounts":[{"Type":"Volume","Target":"/b"}]}}"#,
            r#"{"HostConfig":{"Binds":["v:/a:z"],"Mounts":[{"Target":"/b"}]}}"#,
            r#"{"HostConfig":{"Binds":["v:/a:z"],"Mounts":[null]}}"#,
            r#"{"Volumes":{"/a\\b":{}}}"#,
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
            let refused = labelled(body, &mut Script::default());
            assert_eq!(reason(refused), Reason::Malformed, "{body}");
        }
    }
}
