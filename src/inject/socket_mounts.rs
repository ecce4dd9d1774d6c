//! Bind mounts of the daemon's own socket would let a container bypass the proxy. With
//! `--redirect-socket-mounts` they become bind mounts of the proxy's socket. Looks at the file
//! system, since a path may lead to the socket through links.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Reason, Refusal};
use crate::json::{self, List, Object};
use crate::policy::{Policy, Sockets};

/// How the source of a bind mount relates to the daemon's socket.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Harmless,
    /// The socket itself.
    Socket,
    /// A directory that holds it, at this path below.
    Directory(PathBuf),
}

impl Sockets {
    fn source(&self, source: &str) -> Source {
        let source = resolved(Path::new(source));
        let daemon = resolved(&self.daemon);
        if source == daemon || identity(&source).is_some_and(|id| identity(&daemon) == Some(id)) {
            return Source::Socket;
        }
        match daemon.strip_prefix(&source) {
            Ok(below) => Source::Directory(below.to_owned()),
            Err(_) => Source::Harmless,
        }
    }

    fn proxy(&self) -> String {
        self.proxy.to_string_lossy().into_owned()
    }
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        (Err(_), _, _) => path.to_owned(),
    }
}

/// Device and inode of a socket. A bind mount or a hard link may give it another path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Redirects the bind mounts in the `Binds` and `Mounts` of a container, if the operator wants that.
/// A directory that holds the socket stays mounted, with the proxy's socket mounted over the
/// daemon's in it.
///
/// # Errors
/// When an entry cannot be understood, and when a volume is a bind mount in disguise of a directory
/// that holds the socket.
pub(crate) fn redirect_container(
    binds: &mut [String],
    mounts: &mut List<'_>,
    policy: &Policy,
) -> Result<(), Refusal> {
    let Some(sockets) = &policy.socket_mounts else {
        return Ok(());
    };
    let mut redirection = Redirection::new(sockets);
    for bind in binds {
        redirection.bind(bind);
    }
    redirection.mounts(mounts, "Target")
}

/// Redirects the bind mounts in a list of mounts, which name their target in `target_field`, as
/// [`redirect_container`] does.
///
/// # Errors
/// As [`redirect_container`].
pub(crate) fn redirect_mounts(
    mounts: &mut List<'_>,
    target_field: &'static str,
    policy: &Policy,
) -> Result<(), Refusal> {
    match &policy.socket_mounts {
        Some(sockets) => Redirection::new(sockets).mounts(mounts, target_field),
        None => Ok(()),
    }
}

/// The bind mounts of one container, as far as they have been looked at.
struct Redirection<'s> {
    sockets: &'s Sockets,
    /// Where something is mounted.
    taken: HashSet<PathBuf>,
    /// Where directories that hold the socket are mounted, with its path below them.
    holders: Vec<(String, PathBuf)>,
}

impl<'s> Redirection<'s> {
    fn new(sockets: &'s Sockets) -> Redirection<'s> {
        Redirection {
            sockets,
            taken: HashSet::new(),
            holders: Vec::new(),
        }
    }

    /// Redirects an entry of `Binds`.
    fn bind(&mut self, bind: &mut String) {
        let Some((source, rest)) = bind.split_once(':') else {
            return;
        };
        let target = rest.split(':').next().unwrap_or_default();
        self.taken.insert(PathBuf::from(target));
        if !source.starts_with('/') {
            return;
        }
        match self.sockets.source(source) {
            Source::Harmless => (),
            Source::Socket => *bind = format!("{}:{rest}", self.sockets.proxy()),
            Source::Directory(below) => self.holders.push((target.to_owned(), below)),
        }
    }

    /// Redirects the entries of a list of mounts, and adds those for the directories that hold the
    /// socket.
    fn mounts(mut self, mounts: &mut List<'_>, target_field: &'static str) -> Result<(), Refusal> {
        mounts.edit_each(|mount| self.mount(mount, target_field))?;
        for (target, below) in self.holders {
            let target = Path::new(&target).join(below);
            if self.taken.contains(&target) {
                continue;
            }
            let mut mount = Object::default();
            mount.set("Type", json::string("bind"));
            mount.set("Source", json::string(&self.sockets.proxy()));
            mount.set(target_field, json::string(&target.to_string_lossy()));
            mounts.push(&mount);
            self.taken.insert(target);
        }
        Ok(())
    }

    fn mount(&mut self, mount: &mut Object<'_>, target_field: &'static str) -> Result<(), Refusal> {
        let kind: String = mount.get("Type", "a string")?;
        let target: String = mount.get(target_field, "a string")?;
        self.taken.insert(PathBuf::from(&target));
        match &*kind {
            "volume" => mount.edit("VolumeOptions", |options| {
                options.edit("DriverConfig", |config| {
                    redirect_options(config, "Options", self.sockets)
                })
            }),
            "bind" => {
                let source: String = mount.get("Source", "a string")?;
                match self.sockets.source(&source) {
                    Source::Harmless => (),
                    Source::Socket => mount.set("Source", json::string(&self.sockets.proxy())),
                    Source::Directory(below) => self.holders.push((target, below)),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Redirects a volume create that is a bind mount in disguise, if the operator wants that.
///
/// # Errors
/// When its options cannot be understood, and when it binds a directory that holds the socket.
pub(crate) fn redirect_volume(volume: &mut Object<'_>, policy: &Policy) -> Result<(), Refusal> {
    let Some(sockets) = &policy.socket_mounts else {
        return Ok(());
    };
    redirect_options(volume, "DriverOpts", sockets)?;
    // So they are called in Podman's own API.
    redirect_options(volume, "Options", sockets)
}

/// Redirects the `device` of a local volume with the option or type `bind`, as mount(8) would read
/// it. A directory that holds the socket is refused: where the volume will be mounted is not known,
/// so nothing can be mounted over the socket in it.
fn redirect_options(
    object: &mut Object<'_>,
    field: &'static str,
    sockets: &Sockets,
) -> Result<(), Refusal> {
    let mut options = object.string_map(field)?;
    let option = |name: &str| options.iter().position(|(key, _)| key == name);
    let Some(device) = option("device") else {
        return Ok(());
    };
    // Podman takes the type for an option too.
    let words = ["o", "type"].map(option).into_iter().flatten();
    let mut words = words.flat_map(|i| options[i].1.split(','));
    if !words.any(|word| matches!(word.trim(), "bind" | "rbind")) {
        return Ok(());
    }
    match sockets.source(&options[device].1) {
        Source::Harmless => Ok(()),
        Source::Socket => {
            options[device].1 = sockets.proxy();
            object.set_map(field, &options);
            Ok(())
        }
        Source::Directory(_) => Err(Refusal::new(
            Reason::Forbidden,
            format!(
                "a volume of {:?} is refused by --redirect-socket-mounts: it holds the daemon's socket",
                options[device].1
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::inject::test::policy;

    /// A directory with `run/docker.sock`, a link `var-run` to `run`, and a link to the socket.
    struct Host(PathBuf);

    impl Host {
        fn new(name: &str) -> Host {
            let dir = std::env::temp_dir().join(format!("dlp-{name}.{}", std::process::id()));
            fs::create_dir_all(dir.join("run")).unwrap();
            UnixListener::bind(dir.join("run/docker.sock")).unwrap();
            symlink("run", dir.join("var-run")).unwrap();
            symlink("run/docker.sock", dir.join("link")).unwrap();
            Host(fs::canonicalize(dir).unwrap())
        }

        fn path(&self, below: &str) -> String {
            self.0.join(below).to_str().unwrap().to_owned()
        }

        fn policy(&self) -> Policy {
            let daemon = self.0.join("var-run/docker.sock");
            let socket_mounts = Some(Sockets {
                daemon,
                proxy: PathBuf::from("/run/p.sock"),
            });
            Policy {
                socket_mounts,
                ..policy()
            }
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A `HostConfig` after its bind mounts are redirected.
    fn redirected(text: &str, policy: &Policy) -> String {
        let mut host = Object::parse(text.as_bytes()).unwrap().unwrap();
        let given: Vec<String> = host.get("Binds", "a list of strings").unwrap();
        let (mut binds, mut mounts) = (given.clone(), host.list("Mounts").unwrap());
        redirect_container(&mut binds, &mut mounts, policy).unwrap();
        if binds != given {
            host.set(
                "Binds",
                json::list(binds.iter().map(|bind| json::string(bind))),
            );
        }
        host.set_list(&mounts);
        host.to_string()
    }

    #[test]
    fn the_socket_is_replaced_by_whatever_path_it_is_named() {
        let host = Host::new("socket");
        let policy = host.policy();
        for name in [
            "run/docker.sock",
            "var-run/docker.sock",
            "link",
            "run/../link",
        ] {
            let path = host.path(name);
            assert_eq!(
                redirected(
                    &format!(r#"{{"Binds":["{path}:/d.sock:ro","/x:/y","v:/z"]}}"#),
                    &policy
                ),
                r#"{"Binds":["/run/p.sock:/d.sock:ro","/x:/y","v:/z"]}"#,
                "{name}"
            );
            assert_eq!(
                redirected(
                    &format!(r#"{{"Mounts":[{{"Type":"bind","Source":"{path}","Target":"/s"}}]}}"#),
                    &policy
                ),
                r#"{"Mounts":[{"Type":"bind","Target":"/s","Source":"/run/p.sock"}]}"#,
                "{name}"
            );
        }
    }

    #[test]
    fn a_directory_that_holds_the_socket_gets_the_proxys_mounted_over_it() {
        let host = Host::new("directory");
        let over = r#"{"Type":"bind","Source":"/run/p.sock","Target":"/r/docker.sock"}"#;
        for name in ["run", "var-run"] {
            let bind = format!(r#""Binds":["{}:/r"]"#, host.path(name));
            assert_eq!(
                redirected(&format!("{{{bind}}}"), &host.policy()),
                format!(r#"{{{bind},"Mounts":[{over}]}}"#)
            );
        }
        let both = format!(
            r#"{{"Binds":["{0}:/r","{0}/docker.sock:/r/docker.sock"]}}"#,
            host.path("run")
        );
        let expected = format!(
            r#"{{"Binds":["{}:/r","/run/p.sock:/r/docker.sock"]}}"#,
            host.path("run")
        );
        assert_eq!(redirected(&both, &host.policy()), expected);
    }

    #[test]
    fn a_source_that_does_not_hold_the_socket_stays_as_it_is() {
        let host = Host::new("harmless");
        let text = format!(
            r#"{{ "Binds":["{}:/x","/tmp/none:/y"], "Mounts":[] }}"#,
            host.path("run/other")
        );
        assert_eq!(
            redirected(&text, &host.policy()),
            text.replace("{ ", "{")
                .replace(", ", ",")
                .replace(" }", "}")
        );
        let socket = format!(r#"{{"Binds":["{}:/x"]}}"#, host.path("link"));
        assert_eq!(redirected(&socket, &policy()), socket);
    }

    #[test]
    fn podmans_own_names_are_known() {
        let host = Host::new("libpod");
        let (link, run) = (host.path("link"), host.path("run"));
        let text = format!(
            r#"{{"mounts":[{{"type":"bind","source":"{link}","destination":"/s"}},{{"type":"bind","source":"{run}","destination":"/r"}}]}}"#
        );
        let redirected = |policy: &Policy| {
            let mut spec = Object::parse(text.as_bytes()).unwrap().unwrap();
            let mut mounts = spec.list("mounts").unwrap();
            redirect_mounts(&mut mounts, "Destination", policy).unwrap();
            spec.set_list(&mounts);
            spec.to_string()
        };
        assert_eq!(
            redirected(&host.policy()),
            format!(
                r#"{{"mounts":[{{"type":"bind","destination":"/s","Source":"/run/p.sock"}},{{"type":"bind","source":"{run}","destination":"/r"}},{{"Type":"bind","Source":"/run/p.sock","Destination":"/r/docker.sock"}}]}}"#
            )
        );
        assert_eq!(redirected(&policy()), text);

        let text = format!(r#"{{"Options":{{"type":"bind","device":"{link}"}}}}"#);
        let mut volume = Object::parse(text.as_bytes()).unwrap().unwrap();
        redirect_volume(&mut volume, &host.policy()).unwrap();
        assert_eq!(
            volume.to_string(),
            r#"{"Options":{"type":"bind","device":"/run/p.sock"}}"#
        );
    }

    #[test]
    fn a_volume_that_is_a_bind_mount_is_one() {
        let host = Host::new("volume");
        let volume = |device: &str, o: &str| {
            let text = format!(
                r#"{{"DriverOpts":{{"type":"none","o":"{o}","device":"{}"}}}}"#,
                host.path(device)
            );
            let mut volume = Object::parse(text.as_bytes()).unwrap().unwrap();
            redirect_volume(&mut volume, &host.policy())?;
            Ok::<_, Refusal>(volume.to_string())
        };
        assert!(
            volume("link", "ro,bind")
                .unwrap()
                .contains(r#""device":"/run/p.sock""#)
        );
        assert!(volume("link", "ro").unwrap().contains("/link"));
        assert!(volume("run/other", "bind").unwrap().contains("/run/other"));
        let refused = volume("run", "rbind").unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);

        let entry = format!(
            r#"{{"Mounts":[{{"Type":"volume","Target":"/t","VolumeOptions":{{"DriverConfig":{{"Options":{{"o":"bind","device":"{}"}}}}}}}}]}}"#,
            host.path("link")
        );
        assert_eq!(
            redirected(&entry, &host.policy()),
            r#"{"Mounts":[{"Type":"volume","Target":"/t","VolumeOptions":{"DriverConfig":{"Options":{"o":"bind","device":"/run/p.sock"}}}}]}"#
        );
    }
}
