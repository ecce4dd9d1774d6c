//! The volumes that a container create makes on the way, on Docker: named or anonymous, from
//! `Binds`, `Mounts`, `Volumes` or the image. The daemon labels none of them, but for those whose
//! `Mounts` entry says so. Named ones in `Binds` are created before the container, all others get
//! an entry in `Mounts` that carries the labels. Follows `registerMountPoints` (moby
//! daemon/volumes.go) and `createContainerVolumesOS` (daemon/create_unix.go).

use std::collections::HashSet;

use super::host_mounts::{HostMounts, VolumeDriver, Wanted};
use crate::inject::mounts::{anonymous_volume, label_volume, mounted_in};
use crate::inject::overlay::overlay;
use crate::inject::request::{Create, Rejection};
use crate::json::{self, List, MemberError, Object};
use crate::labels::Labels;
use crate::text::clean_path;

/// The volumes to create before the container: the names of those in `Binds`.
pub(super) struct DockerVolumes {
    named: Vec<String>,
}

impl VolumeDriver for DockerVolumes {
    fn prepare(
        host: &mut HostMounts<'_>,
        wanted: Wanted,
        create: &mut Create<'_>,
    ) -> Result<DockerVolumes, Rejection> {
        let labels = create.labels();
        let mut taken = label_mounts(&mut host.mounts, labels)?;
        let binds = Binds::sort(std::mem::take(&mut host.binds));
        host.binds = binds.mounts;
        taken.extend(binds.targets);
        let wanted = without_tmpfs(wanted, &host.tmpfs);
        if !wanted.is_empty() {
            for from in &host.from {
                taken.extend(mounted_in(from, create)?);
            }
        }
        for path in binds.anonymous.into_iter().chain(wanted) {
            if !taken.contains(&path) {
                let mount = anonymous_volume(&path, &host.driver, labels)?;
                host.mounts.push(&mount);
                taken.insert(path);
            }
        }
        Ok(DockerVolumes { named: binds.named })
    }

    fn create(self, host: &mut HostMounts<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
        for name in self.named {
            create_named(&name, &host.driver, create)?;
        }
        Ok(())
    }
}

/// Labels the volumes of `Mounts`. Returns the paths of all entries.
fn label_mounts(mounts: &mut List<'_>, labels: &Labels) -> Result<HashSet<String>, MemberError> {
    let mut taken = HashSet::new();
    mounts.edit_each(|mount| -> Result<(), MemberError> {
        let target: String = mount.get("Target", "a string")?;
        taken.insert(clean_path(&target));
        let kind: String = mount.get("Type", "a string")?;
        // The daemon knows types in lower case only, and refuses others.
        if kind == "volume" {
            label_volume(mount, labels)?;
        }
        Ok(())
    })?;
    Ok(taken)
}

/// The entries of `Binds`, sorted (`ParseMountRaw` in daemon/volume/mounts/linux_parser.go).
#[derive(Default)]
struct Binds {
    /// Those that mount something with a name or a path.
    mounts: Vec<String>,
    /// The paths at which they mount it.
    targets: Vec<String>,
    /// The names of volumes, each once.
    named: Vec<String>,
    /// The paths of anonymous volumes. Their entries are not among the mounts.
    anonymous: Vec<String>,
}

impl Binds {
    fn sort(entries: Vec<String>) -> Binds {
        let mut binds = Binds::default();
        let mut known = HashSet::new();
        for bind in entries {
            let parts: Vec<&str> = bind.split(':').collect();
            match parts[..] {
                [path] if path.starts_with('/') => {
                    binds.anonymous.push(clean_path(path));
                    continue;
                }
                [source, path] | [source, path, _] if path.starts_with('/') => {
                    if !source.starts_with('/') && known.insert(source.to_owned()) {
                        binds.named.push(source.to_owned());
                    }
                    binds.targets.push(clean_path(path));
                }
                // The daemon refuses all others.
                _ => (),
            }
            binds.mounts.push(bind);
        }
        binds
    }
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

/// Creates a named volume with the labels. One that is there already stays as it is, as it would
/// with the create itself.
fn create_named(name: &str, driver: &str, create: &mut Create<'_>) -> Result<(), Rejection> {
    let mut volume = Object::default();
    volume.set("Name", json::string(name));
    if !driver.is_empty() {
        volume.set("Driver", json::string(driver));
    }
    volume.set("Labels", overlay(create.labels(), &[]));
    create.post("/volumes/create", &volume.to_string())?;
    Ok(())
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
    fn a_create_that_cannot_be_labelled_is_refused_before_anything_is_created() {
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a"]},"Labels":["a=b"]}"#;
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
