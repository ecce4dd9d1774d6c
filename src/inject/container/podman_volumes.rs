//! The volumes that a container create of the Docker API makes on the way when the daemon is
//! Podman. It drops the labels of `Mounts` entries, so every volume is created before the
//! container, and named in it. Follows `cliOpts` (podman pkg/api/handlers/compat/
//! containers_create.go), which writes mounts and volumes as command line options and reads these.

use std::collections::HashSet;

use crate::error::Refusal;
use crate::inject::container::docker_volumes::{self, ANONYMOUS, Volumes, mounts_of};
use crate::inject::object::{self, sole_as};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object};
use crate::policy::Policy;
use crate::text::clean_path;

/// Creates the volumes of a create with the labels, and puts the names of the anonymous ones
/// into it. `image` is where the image wants volumes.
///
/// # Errors
/// When a volume cannot be labelled, or the daemon would refuse the create.
pub(crate) fn label(
    mut volumes: Volumes,
    config: &Object<'_>,
    image: Vec<String>,
    host: &mut Object<'_>,
    draft: &CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let mounted = mounts(&mut volumes)?;
    let bound = binds(&mut volumes)?;
    let tmpfs = |path: &str| path.split(':').next().map(clean_path);
    let tmpfs: Vec<String> = volumes
        .tmpfs
        .iter()
        .filter_map(|path| tmpfs(path))
        .collect();
    volumes.taken.extend(tmpfs);
    let mut added = Vec::new();
    // A body has room for hundreds of thousands.
    let mut known: HashSet<String> = volumes.taken.iter().cloned().collect();
    for path in docker_volumes::config_volumes(config)? {
        check_path(&path)?;
        if known.insert(path.clone()) {
            volumes.taken.push(path.clone());
            added.push(path);
        }
    }
    let image: Vec<String> = free(image, &mut volumes.taken, &volumes.from, draft, daemon)?;
    for path in &image {
        check_path(path)?;
    }

    // All is understood: only now is something created.
    let mut store = Store::new(draft, policy, daemon);
    for mount in mounted {
        let text = &mut volumes.mounts[mount.index];
        if mount.source.is_empty() {
            let name = store.anonymous(&mount.labels, &[])?;
            let given = text.clone();
            let mut object = object::parse(given.as_bytes(), object::Empty::IsError)?;
            object.set("Source", json::string(&name));
            *text = object.to_string();
        } else {
            store.named(&mount.source, &mount.labels, &[])?;
        }
    }
    for bind in bound {
        match bind {
            Bind::Named(name) => store.named(&name, &[], &[])?,
            Bind::Anonymous(index, path) => {
                volumes.binds[index] = format!("{}:{path}", store.anonymous(&[], &[])?);
            }
        }
    }
    for path in added.into_iter().chain(image) {
        let name = store.anonymous(&[], &[])?;
        volumes.binds.push(format!("{name}:{path}"));
    }
    volumes.write(host);
    Ok(())
}

/// A volume in `Mounts`: which entry, its source or nothing, and the client's labels.
struct Mounted {
    index: usize,
    source: String,
    labels: Vec<(String, String)>,
}

/// The volumes in `Mounts`; notes where all entries are mounted.
fn mounts(volumes: &mut Volumes) -> Result<Vec<Mounted>, Refusal> {
    let mut found = Vec::new();
    for (index, text) in volumes.mounts.iter().enumerate() {
        let Some(mount) = object::entry(text, "Mounts")? else {
            continue;
        };
        let kind = option(&mount, "Type")?;
        let source = option(&mount, "Source")?;
        volumes.taken.push(clean_path(&option(&mount, "Target")?));
        option(&mount, "Consistency")?;
        let options: Object<'_> = sole_as(&mount, "BindOptions", "an object")?;
        option(&options, "Propagation")?;
        let options: Object<'_> = sole_as(&mount, "VolumeOptions", "an object")?;
        option(&options, "Subpath")?;
        if kind == "volume" {
            let labels = object::map(&options, "Labels")?;
            found.push(Mounted {
                index,
                source,
                labels,
            });
        }
    }
    Ok(found)
}

/// A member of a mount that Podman writes behind a comma, for what follows a comma in it would be
/// read as options of their own.
fn option(object: &Object<'_>, field: &'static str) -> Result<String, Refusal> {
    let value: String = sole_as(object, field, "a string")?;
    match value.contains([',', '"', '\n', '\r']) {
        false => Ok(value),
        true => Err(Refusal::bad_request(format!(
            "{field} {value:?} in Mounts has a character that Podman cannot take there"
        ))),
    }
}

/// A volume in `Binds`: its name, or which entry and its path.
enum Bind {
    Named(String),
    Anonymous(usize, String),
}

/// The volumes in `Binds`; notes where all entries are mounted (`GenVolumeMounts` in
/// pkg/specgen/volumes.go).
fn binds(volumes: &mut Volumes) -> Result<Vec<Bind>, Refusal> {
    let mut found = Vec::new();
    for (index, bind) in volumes.binds.iter().enumerate() {
        let parts: Vec<&str> = bind.split(':').collect();
        let path = match parts[..] {
            [path] => {
                let path = clean_path(path);
                check_path(&path)?;
                found.push(Bind::Anonymous(index, path.clone()));
                path
            }
            [source, path] | [source, path, _] => {
                if !source.is_empty() && !source.starts_with(['/', '.']) {
                    found.push(Bind::Named(source.to_owned()));
                }
                clean_path(path)
            }
            // Podman refuses all others.
            _ => continue,
        };
        volumes.taken.push(path);
    }
    Ok(found)
}

/// Those paths of an image's volumes at which nothing else is mounted, be it by way of
/// `VolumesFrom`. Podman does not let that come before the client's own volumes.
pub(crate) fn free(
    image: Vec<String>,
    taken: &mut Vec<String>,
    from: &[String],
    draft: &CreateRequest,
    daemon: &mut dyn Daemon,
) -> Result<Vec<String>, Rejection> {
    let mut free = Vec::new();
    let mut wanted: Vec<String> = image;
    wanted.retain(|path| !taken.contains(path));
    if !wanted.is_empty() {
        for from in from {
            taken.extend(mounts_of(from, draft, daemon)?);
        }
    }
    for path in wanted {
        if !taken.contains(&path) {
            taken.push(path.clone());
            free.push(path);
        }
    }
    Ok(free)
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

/// Creates volumes for a create that will use them.
///
/// What is created stays if the create then fails, as with Podman's own named volumes.
pub(crate) struct Store<'a> {
    draft: &'a CreateRequest,
    policy: &'a Policy,
    daemon: &'a mut dyn Daemon,
    /// The names of those that are there by now.
    known: Vec<String>,
}

impl<'a> Store<'a> {
    pub(crate) fn new(
        draft: &'a CreateRequest,
        policy: &'a Policy,
        daemon: &'a mut dyn Daemon,
    ) -> Store<'a> {
        Store {
            draft,
            policy,
            daemon,
            known: Vec::new(),
        }
    }

    /// Creates a named volume with the labels over those of the client. One that is there already
    /// stays as it is, as it would with the create itself.
    pub(crate) fn named(
        &mut self,
        name: &str,
        labels: &[(String, String)],
        options: &[(String, String)],
    ) -> Result<(), Rejection> {
        if self.known.iter().any(|known| known == name) {
            return Ok(());
        }
        let mut volume = Object::default();
        volume.set("Name", json::string(name));
        self.create(volume, labels, options)?;
        self.known.push(name.to_owned());
        Ok(())
    }

    /// Creates a volume that Podman finds a name for, which it gives. Podman up to 5 takes it for
    /// a named one, and leaves it when its container is removed.
    pub(crate) fn anonymous(
        &mut self,
        labels: &[(String, String)],
        options: &[(String, String)],
    ) -> Result<String, Rejection> {
        let mut labels = labels.to_vec();
        labels.retain(|(key, _)| key != ANONYMOUS);
        labels.push((ANONYMOUS.to_owned(), String::new()));
        self.create(Object::default(), &labels, options)
    }

    fn create(
        &mut self,
        mut volume: Object<'_>,
        labels: &[(String, String)],
        options: &[(String, String)],
    ) -> Result<String, Rejection> {
        if !options.is_empty() {
            let options = options
                .iter()
                .map(|(key, value)| format!("{}:{}", json::string(key), json::string(value)));
            let options: Vec<String> = options.collect();
            volume.set("DriverOpts", format!("{{{}}}", options.join(",")));
        }
        socket_mounts::volume_options(&mut volume, self.policy)?;
        volume.set("Labels", self.policy.labels.over(labels));
        // The Docker API of Podman takes a name that is there already, its own API does not.
        let target = format!("{}/volumes/create", self.draft.version);
        let answer = docker_volumes::asked(self.daemon.post(&target, &volume.to_string())?)?;
        let name: String = answer.string("Name")?;
        if name.is_empty() {
            return Err(Refusal::bad_gateway("the daemon made a volume without a name").into());
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Reason;
    use crate::inject::request::Rejection;
    use crate::inject::test::{FORCED, Script, labelled_container as labelled};

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
        let body = r#"{"Image":"i","HostConfig":{"Binds":["v:/a","v:/b:ro","/h:/c","./r:/d",":/e","a:b:c:d"],"Mounts":[{"Type":"volume","Source":"w","Target":"/f","VolumeOptions":{"Labels":{"x":"y","ci.job":"1"}}},{"Type":"bind","Source":"/s","Target":"/g"},null],"VolumeDriver":"d"}"#;
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
                r#"{{"Image":"i","Volumes":{{"/own":{{}},"/bind/":{{}}}},"HostConfig":{{"Tmpfs":{{"/t":"size=1m"}},"Binds":["made:/bind","made:/own","made:/img"],"Mounts":[{{"Type":"volume","Target":"/m","Source":"made"}}]}},"Labels":{{{FORCED}}}}}"#
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
    fn what_would_make_a_volume_on_the_sly_is_refused_before_anything_is_created() {
        for body in [
            r#""Volumes":{"v:/data":{}}"#,
            r#""Volumes":{"data":{}}"#,
            r#""Volumes":{"/":{}}"#,
            r#""HostConfig":{"Binds":["v:/x","data"]}"#,
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
            match labelled(&format!("{{\"Image\":\"i\",{body}}}"), &mut daemon) {
                Err(Rejection::Refusal(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Malformed, "{body}")
                }
                other => panic!("{body}: {other:?}"),
            }
            assert_eq!(daemon.asked, [IMAGE], "{body}");
        }
        let image = r#"{"Config":{"Volumes":{"/a:b":{}}}}"#;
        let refused = labelled(r#"{"Image":"i"}"#, &mut podman(image));
        assert!(matches!(refused, Err(Rejection::Refusal(_))));
    }

    #[test]
    fn a_volume_that_podman_does_not_make_stops_the_create() {
        let daemon = || Script::default().on(IMAGE, 200, NO_VOLUMES);
        let body = r#"{"Image":"i","HostConfig":{"Binds":["a b:/x"]}}"#;
        let mut no = daemon().on(CREATE, 500, "{}").podman();
        match labelled(body, &mut no) {
            Err(Rejection::Answer(answer)) => assert_eq!(answer.status, 500),
            other => panic!("{other:?}"),
        }
        let mut nameless = daemon().on(CREATE, 201, "{}").podman();
        match labelled(body, &mut nameless) {
            Err(Rejection::Refusal(refusal)) => assert_eq!(refusal.reason, Reason::BadDaemon),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_at_the_top_do_not_count() {
        let version = r#"{"ApiVersion":"1.41"}"#;
        let mut daemon = podman(NO_VOLUMES)
            .on("GET /v1.41/version", 200, version)
            .podman();
        let body = r#"{"Image":"i","Binds":["/data"]}"#;
        let expected = body.replace("]}", &format!("],\"Labels\":{{{FORCED}}}}}"));
        assert_eq!(labelled(body, &mut daemon).unwrap(), expected);
    }
}
