//! The volumes that a container create of the Docker API makes on the way, on Podman. It drops the
//! labels of `Mounts` entries, so every volume is created before the container, and named in it.
//! Follows `cliOpts` (podman pkg/api/handlers/compat/containers_create.go), which writes mounts and
//! volumes as command line options and reads these.

use std::collections::HashSet;

use super::host_mounts::{HostMounts, VolumeDriver, Wanted};
use crate::error::Refusal;
use crate::inject::expected::Before;
use crate::inject::mounts::{free, is_volume};
use crate::inject::request::{Create, Rejection};
use crate::inject::volume_store::{NewVolume, VolumeStore};
use crate::json::{self, List, Object};
use crate::text::clean_path;

/// The volumes to create before the container.
pub(super) struct PodmanVolumes {
    mounted: Vec<Mounted>,
    bound: Vec<Bound>,
    /// The paths of those that no entry of `Mounts` or `Binds` names.
    added: Vec<String>,
}

/// A volume in `Mounts`: which entry, its source or nothing, and the client's labels.
struct Mounted {
    index: usize,
    source: String,
    labels: Vec<(String, String)>,
}

/// A volume in `Binds`: its name, or which entry and its path.
enum Bound {
    Named(String),
    Anonymous(usize, String),
}

impl Bound {
    fn name(&self) -> Option<&String> {
        match self {
            Bound::Named(name) => Some(name),
            Bound::Anonymous(..) => None,
        }
    }
}

impl VolumeDriver for PodmanVolumes {
    fn prepare(
        host: &mut HostMounts<'_>,
        wanted: Wanted,
        create: &mut Create<'_>,
    ) -> Result<PodmanVolumes, Rejection> {
        let mut taken = HashSet::new();
        let mounted = read_mounts(&host.mounts, &mut taken)?;
        let bound = read_binds(&host.binds, &mut taken)?;
        let tmpfs = host.tmpfs.iter().filter_map(|path| path.split(':').next());
        taken.extend(tmpfs.map(clean_path));
        let mut added = Vec::new();
        for path in wanted.own {
            check_path(&path)?;
            if taken.insert(path.clone()) {
                added.push(path);
            }
        }
        for path in free(wanted.image, &mut taken, &host.from, create)? {
            check_path(&path)?;
            added.push(path);
        }
        let sources = mounted.iter().map(|mount| &mount.source);
        let names = bound.iter().filter_map(Bound::name);
        for name in sources.chain(names).filter(|name| !name.is_empty()) {
            create.check.name_volume(name, Before::Wanted)?;
        }
        Ok(PodmanVolumes {
            mounted,
            bound,
            added,
        })
    }

    fn create(self, host: &mut HostMounts<'_>, create: &mut Create<'_>) -> Result<(), Rejection> {
        if self.mounted.is_empty() && self.bound.is_empty() && self.added.is_empty() {
            return Ok(());
        }
        let mut store = VolumeStore::open(create)?;
        let plain = NewVolume::default();
        for mount in self.mounted {
            let volume = NewVolume {
                labels: &mount.labels,
                ..NewVolume::default()
            };
            if mount.source.is_empty() {
                let name = json::string(&store.anonymous(&volume)?);
                host.mounts.set_member(mount.index, "Source", name)?;
            } else {
                store.named(&mount.source, &volume)?;
            }
        }
        for bound in self.bound {
            match bound {
                Bound::Named(name) => store.named(&name, &plain)?,
                Bound::Anonymous(index, path) => {
                    host.binds[index] = format!("{}:{path}", store.anonymous(&plain)?);
                }
            }
        }
        for path in self.added {
            let name = store.anonymous(&plain)?;
            host.binds.push(format!("{name}:{path}"));
        }
        Ok(())
    }
}

/// The volumes in `Mounts`. Adds to `taken` where all entries are mounted.
fn read_mounts(mounts: &List<'_>, taken: &mut HashSet<String>) -> Result<Vec<Mounted>, Refusal> {
    let mut found = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let mount = mount?.ok_or_else(|| mounts.wrong_entry())?;
        let source = option(&mount, "Source")?;
        taken.insert(clean_path(&option(&mount, "Target")?));
        option(&mount, "Consistency")?;
        let options: Object<'_> = mount.get("BindOptions", "an object")?;
        option(&options, "Propagation")?;
        let options: Object<'_> = mount.get("VolumeOptions", "an object")?;
        option(&options, "Subpath")?;
        if is_volume(&mount)? {
            let labels = options.string_map("Labels")?;
            found.push(Mounted {
                index,
                source,
                labels,
            });
        }
    }
    Ok(found)
}

/// A member of a mount that Podman writes into a list with commas. What follows a comma in it would
/// be read as options of their own.
fn option(object: &Object<'_>, field: &'static str) -> Result<String, Refusal> {
    let value: String = object.get(field, "a string")?;
    if value.contains([',', '"', '\n', '\r']) {
        return Err(Refusal::bad_request(format!(
            "{field} {value:?} in Mounts has a character that Podman cannot take there"
        )));
    }
    Ok(value)
}

/// The volumes in `Binds` (`GenVolumeMounts` in pkg/specgen/volumes.go). Adds to `taken` where all
/// entries are mounted. An entry that does not fit the grammar is refused, and so are two anonymous
/// volumes at one path, before there are any.
fn read_binds(binds: &[String], taken: &mut HashSet<String>) -> Result<Vec<Bound>, Refusal> {
    let mut found = Vec::new();
    let mut anonymous = HashSet::new();
    for (index, bind) in binds.iter().enumerate() {
        let parts: Vec<&str> = bind.split(':').collect();
        let path = match parts[..] {
            [path] => {
                let path = clean_path(path);
                check_path(&path)?;
                if !anonymous.insert(path.clone()) {
                    return Err(wrong_bind(bind, "has the target of another one"));
                }
                found.push(Bound::Anonymous(index, path.clone()));
                path
            }
            ["", ..] => return Err(wrong_bind(bind, "has an empty source")),
            [source, path] | [source, path, _] if path.starts_with('/') => {
                // What begins with one of these is a path of the host.
                if !source.starts_with(['/', '.']) {
                    found.push(Bound::Named(source.to_owned()));
                }
                clean_path(path)
            }
            [_, _] | [_, _, _] => {
                return Err(wrong_bind(bind, "has a target that is not absolute"));
            }
            _ => return Err(wrong_bind(bind, "has more than three parts")),
        };
        taken.insert(path);
    }
    Ok(found)
}

fn wrong_bind(bind: &str, what: &str) -> Refusal {
    Refusal::bad_request(format!(
        "the entry {bind:?} of Binds {what}; write SOURCE:TARGET or SOURCE:TARGET:MODE, with an \
         absolute TARGET"
    ))
}

/// Checks that an entry of `Binds` can stand for a volume at this path.
fn check_path(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') && path != "/" && !path.contains(':') {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "the anonymous volume at {path:?} cannot be labelled; give it an absolute path without a colon"
    )))
}

#[cfg(test)]
mod tests {
    use crate::error::Reason;
    use crate::inject::test::{FORCED, Script, labelled_container as labelled, reason, status};

    const IMAGE: &str = "GET /v1.41/images/i/json";
    const CREATE: &str = "POST /v1.41/volumes/create";
    const NO_VOLUMES: &str = r#"{"Config":{"Volumes":null}}"#;

    fn podman(image: &str) -> Script {
        let script = Script::default().on(IMAGE, 200, image);
        script.on(CREATE, 201, r#"{"Name":"made"}"#).podman()
    }

    fn named(name: &str) -> String {
        format!("{CREATE} {{\"Name\":\"{name}\",\"Labels\":{{{FORCED}}}}}")
    }

    fn anonymous() -> String {
        format!("{CREATE} {{\"Labels\":{{\"com.docker.volume.anonymous\":\"\",{FORCED}}}}}")
    }

    #[test]
    fn named_volumes_are_created_first_and_nothing_else_changes() {
        let mut daemon = podman(NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a","v:/b:ro","/h:/c","./r:/d"],"Mounts":[{"Type":"volume","Source":"w","Target":"/f","VolumeOptions":{"Labels":{"x":"y","ci.job":"1"}}},{"Type":"bind","Source":"/s","Target":"/g"}],"VolumeDriver":"d"}"#;
        let labelled = labelled(&format!("{body}}}"), &mut daemon).unwrap();
        assert_eq!(labelled, format!("{body},\"Labels\":{{{FORCED}}}}}"));
        let w = format!("{CREATE} {{\"Name\":\"w\",\"Labels\":{{\"x\":\"y\",{FORCED}}}}}");
        assert_eq!(daemon.asked, [IMAGE.to_owned(), w, named("v")]);
    }

    #[test]
    fn anonymous_volumes_are_created_first_and_named() {
        let image = r#"{"Config":{"Volumes":{"/img":{},"/own/":{},"/t":{}}}}"#;
        let mut daemon = podman(image);
        let body = r#"{"Image":"i","Volumes":{"/own":{},"/bind/":{}},"HostConfig":{"Binds":["/bind"],"Mounts":[{"Type":"volume","Target":"/m"}],"Tmpfs":{"/t":"size=1m"}}}"#;
        assert_eq!(
            labelled(body, &mut daemon).unwrap(),
            format!(
                r#"{{"Image":"i","HostConfig":{{"Tmpfs":{{"/t":"size=1m"}},"Binds":["made:/bind","made:/own","made:/img"],"Mounts":[{{"Type":"volume","Target":"/m","Source":"made"}}]}},"Volumes":{{"/bind":{{}},"/own":{{}}}},"Labels":{{{FORCED}}}}}"#
            )
        );
        assert_eq!(daemon.asked[1..], [(); 4].map(|()| anonymous()));
    }

    #[test]
    fn volumes_from_comes_before_the_image_but_not_before_the_clients_volumes() {
        let image = r#"{"Config":{"Volumes":{"/from":{},"/img":{}}}}"#;
        let from = r#"{"Mounts":[{"Destination":"/from"},{"Destination":"/own"}]}"#;
        let mut daemon = podman(image).on("GET /v1.41/containers/x/json", 200, from);
        let body = r#"{"Image":"i","Volumes":{"/own":{}},"HostConfig":{"VolumesFrom":["x:ro"]}}"#;
        let labelled = labelled(body, &mut daemon).unwrap();
        assert!(
            labelled.contains(r#""Binds":["made:/own","made:/img"]"#),
            "{labelled}"
        );
    }

    #[test]
    fn a_volume_on_the_sly_is_refused_before_anything_is_created() {
        for body in [
            r#""Volumes":{"v:/data":{}}"#,
            r#""Volumes":{"data":{}}"#,
            r#""Volumes":{"/":{}}"#,
            r#""HostConfig":{"Binds":["v:/x","data"]}"#,
            r#""HostConfig":{"Binds":["v:/x","w:data"]}"#,
            r#""HostConfig":{"Binds":["v:/x","w:\\data:ro"]}"#,
            r#""HostConfig":{"Binds":["v:/x","\\data"]}"#,
            r#""HostConfig":{"Binds":["v:/x",":/e"]}"#,
            r#""HostConfig":{"Binds":["v:/x","a:/b:c:d"]}"#,
            r#""HostConfig":{"Binds":["v:/x","/iv","/iv/"]}"#,
            r#""HostConfig":{"Binds":["v:/x",null]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Source":"a","Target":"/x"},null]}"#,
            r#""HostConfig":{"Mounts":[{"Source":"a","Target":"/x"}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"Volume","Source":"a","Target":"/x"}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Source":"a,source=b","Target":"/x"}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Source":"a","Target":"/x,src=b"}]}"#,
            r#""HostConfig":{"Mounts":[{"Target":"/x","Source":"a,type=volume"}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","Consistency":"a,src=b"}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"bind","Target":"/x","BindOptions":{"Propagation":"a,src=b"}}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"Subpath":"a,src=b"}}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"Labels":[]}}]}"#,
            r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","x\ud800":1}]}"#,
        ] {
            let mut daemon = podman(NO_VOLUMES);
            let refused = labelled(&format!("{{\"Image\":\"i\",{body}}}"), &mut daemon);
            assert_eq!(reason(refused), Reason::Malformed, "{body}");
            assert_eq!(daemon.asked, [IMAGE], "{body}");
        }
        let image = r#"{"Config":{"Volumes":{"/a:b":{}}}}"#;
        let refused = labelled(r#"{"Image":"i"}"#, &mut podman(image));
        assert_eq!(reason(refused), Reason::Malformed);
    }

    #[test]
    fn a_volume_that_podman_does_not_make_stops_the_create() {
        let daemon = || Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Binds":["a b:/x"]}}"#;
        let mut no = daemon().on(CREATE, 500, "{}").podman();
        assert_eq!(status(labelled(body, &mut no)), 500);
        let mut nameless = daemon().on(CREATE, 201, "{}").podman();
        let body = r#"{"Image":"i","HostConfig":{"Binds":["/x"]}}"#;
        assert_eq!(reason(labelled(body, &mut nameless)), Reason::BadDaemon);
    }

    #[test]
    fn members_at_the_top_do_not_count() {
        let version = r#"{"Version":"4.3.1","ApiVersion":"1.41"}"#;
        let mut daemon = podman(NO_VOLUMES)
            .on("GET /v1.41/version", 200, version)
            .podman();
        let body = r#"{"Image":"i","Binds":["/data"]}"#;
        let expected = body.replace("]}", &format!("],\"Labels\":{{{FORCED}}}}}"));
        assert_eq!(labelled(body, &mut daemon).unwrap(), expected);
    }
}
