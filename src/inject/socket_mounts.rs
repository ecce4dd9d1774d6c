//! Bind mounts of the daemon's own socket, which would let a container talk past the proxy: they
//! become bind mounts of the proxy's socket. Asked for with `--redirect-socket-mounts`; looks at
//! the file system, since a path may lead to the socket by way of links.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::error::{Reason, Refusal};
use crate::inject::object::{self, sole_as};
use crate::inject::request::{CreateRequest, Rejection};
use crate::json::{self, Object};
use crate::policy::{Policy, Redirect};

/// What a source of a bind mount is to the daemon's socket.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Harmless,
    /// The socket itself.
    Socket,
    /// A directory that holds it, at this path below.
    Directory(PathBuf),
}

impl Redirect {
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

/// Device and inode of a socket, which another path may lead to by a bind mount or a hard link.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Redirects the bind mounts in the `Binds` and `Mounts` of a `HostConfig`. A directory that
/// holds the socket stays mounted, with the proxy's socket mounted over the daemon's in it.
///
/// # Errors
/// 400 when these members cannot be understood.
pub(crate) fn host_config(host: &mut Object<'_>, policy: &Policy) -> Result<(), Refusal> {
    let Some(redirect) = &policy.redirect else {
        return Ok(());
    };
    let mut added = Vec::new();
    let binds: Vec<Option<String>> = sole_as(host, "Binds", "a list of strings")?;
    let mut binds: Vec<String> = binds.into_iter().map(Option::unwrap_or_default).collect();
    let mut is_changed = false;
    for bind in &mut binds {
        let Some((source, rest)) = bind
            .split_once(':')
            .filter(|(source, _)| source.starts_with('/'))
        else {
            continue;
        };
        match redirect.source(source) {
            Source::Harmless => (),
            Source::Socket => {
                *bind = format!("{}:{rest}", redirect.proxy());
                is_changed = true;
            }
            Source::Directory(below) => {
                added.push((rest.split(':').next().unwrap_or_default().to_owned(), below));
            }
        }
    }
    if is_changed {
        let binds: Vec<String> = binds.iter().map(|bind| json::string(bind)).collect();
        host.set("Binds", format!("[{}]", binds.join(",")));
    }
    let targets = binds.iter().filter_map(|bind| bind.split(':').nth(1));
    let taken: Vec<PathBuf> = targets.map(PathBuf::from).collect();
    mounts_with(host, redirect, "Target", added, &taken)
}

/// Redirects the bind mounts in the member `Mounts` of a service's `ContainerSpec`, whose sources
/// are templates.
///
/// # Errors
/// 400 when the member cannot be understood, 403 when a source is not known before the daemon
/// fills it in.
pub(crate) fn mounts(object: &mut Object<'_>, policy: &Policy) -> Result<(), Refusal> {
    let Some(redirect) = &policy.redirect else {
        return Ok(());
    };
    let mounts: Vec<Option<Object<'_>>> = sole_as(object, "Mounts", "a list of objects")?;
    for mount in mounts.iter().flatten() {
        let source: String = sole_as(mount, "Source", "a string")?;
        if source.starts_with('/') && source.contains("{{") {
            return Err(Refusal::new(
                Reason::Forbidden,
                format!(
                    "a bind mount of {source:?} is refused by --redirect-socket-mounts: \
                     a template may become the daemon's socket"
                ),
            ));
        }
    }
    mounts_with(object, redirect, "Target", Vec::new(), &[])
}

/// Redirects the bind mounts in the member `mounts` of a create of Podman's own API: the names
/// differ from Docker's in case, and one in more than that.
///
/// # Errors
/// 400 when the member cannot be understood.
pub(crate) fn libpod_mounts(spec: &mut Object<'_>, policy: &Policy) -> Result<(), Refusal> {
    match &policy.redirect {
        Some(redirect) => mounts_with(spec, redirect, "Destination", Vec::new(), &[]),
        None => Ok(()),
    }
}

/// Redirects the disguised bind mount of a volume create.
///
/// # Errors
/// As [`disguised_bind`].
pub(crate) fn volume_options(volume: &mut Object<'_>, policy: &Policy) -> Result<(), Refusal> {
    if let Some(redirect) = &policy.redirect {
        disguised_bind(volume, "DriverOpts", redirect)?;
        // So they are called in Podman's own API.
        disguised_bind(volume, "Options", redirect)?;
    }
    Ok(())
}

/// Redirects `Mounts`; `added` are directories that other members mount, at a target, with where
/// below it the socket is; `taken` is where other members mount something.
fn mounts_with(
    object: &mut Object<'_>,
    redirect: &Redirect,
    target_field: &'static str,
    mut added: Vec<(String, PathBuf)>,
    taken: &[PathBuf],
) -> Result<(), Refusal> {
    let given: Vec<&RawValue> = sole_as(object, "Mounts", "a list of objects")?;
    let mut mounts: Vec<String> = given.iter().map(|mount| mount.get().to_owned()).collect();
    let mut taken: HashSet<PathBuf> = taken.iter().cloned().collect();
    let mut is_changed = false;
    for text in &mut mounts {
        let given = text.clone();
        let Some(mut mount) = object::entry(&given, "Mounts")? else {
            continue;
        };
        let kind: String = sole_as(&mount, "Type", "a string")?;
        let target: String = sole_as(&mount, target_field, "a string")?;
        taken.insert(PathBuf::from(&target));
        if kind == "volume" {
            driver_options(&mut mount, redirect)?;
            is_changed |= mount.to_string() != given;
            *text = mount.to_string();
        }
        if kind != "bind" {
            continue;
        }
        let source: String = sole_as(&mount, "Source", "a string")?;
        match redirect.source(&source) {
            Source::Harmless => (),
            Source::Socket => {
                mount.set("Source", json::string(&redirect.proxy()));
                *text = mount.to_string();
                is_changed = true;
            }
            Source::Directory(below) => added.push((target, below)),
        }
    }
    for (target, below) in added {
        let target = Path::new(&target).join(below);
        if taken.contains(&target) {
            continue;
        }
        let mut mount = Object::default();
        mount.set("Type", json::string("bind"));
        mount.set("Source", json::string(&redirect.proxy()));
        mount.set(target_field, json::string(&target.to_string_lossy()));
        mounts.push(mount.to_string());
        taken.insert(target);
        is_changed = true;
    }
    if is_changed {
        object.set("Mounts", format!("[{}]", mounts.join(",")));
    }
    Ok(())
}

/// Redirects the disguised bind mount of a `Mounts` entry that makes a volume.
fn driver_options(mount: &mut Object<'_>, redirect: &Redirect) -> Result<(), Refusal> {
    let text = mount.to_string();
    let Ok(Some(given)) = Object::parse(text.as_bytes()) else {
        return Ok(());
    };
    let mut options: Object<'_> = sole_as(&given, "VolumeOptions", "an object")?;
    let options_text = options.to_string();
    let Ok(Some(given)) = Object::parse(options_text.as_bytes()) else {
        return Ok(());
    };
    let mut config: Object<'_> = sole_as(&given, "DriverConfig", "an object")?;
    if disguised_bind(&mut config, "Options", redirect)? {
        options.set("DriverConfig", config.to_string());
        mount.set("VolumeOptions", options.to_string());
    }
    Ok(())
}

/// Labels a volume, and redirects one that is a disguised bind mount.
///
/// # Errors
/// 400 when the body cannot be understood, 403 when it binds a directory that holds the socket.
pub(crate) fn volume(draft: &mut CreateRequest, policy: &Policy) -> Result<(), Rejection> {
    if policy.redirect.is_some() {
        let body = std::mem::take(&mut draft.body);
        let mut volume = object::parse(&body, object::Empty::IsDefaults)?;
        volume_options(&mut volume, policy)?;
        draft.body = volume.to_string().into_bytes();
    }
    object::label(draft, policy, object::Empty::IsDefaults)
}

/// Redirects the `device` of a local volume with the option or type `bind`, as mount(8) would read it;
/// whether it did.
///
/// # Errors
/// 403 when it is a directory that holds the socket: where the volume will be mounted is not
/// known, so nothing can be mounted over the socket in it.
fn disguised_bind(
    object: &mut Object<'_>,
    field: &'static str,
    redirect: &Redirect,
) -> Result<bool, Refusal> {
    let mut options = object::map(object, field)?;
    let option = |name: &str| options.iter().position(|(key, _)| key == name);
    let Some(device) = option("device") else {
        return Ok(false);
    };
    // Podman takes the type for an option too.
    let words = ["o", "type"].map(option).into_iter().flatten();
    let mut words = words.flat_map(|i| options[i].1.split(','));
    if !words.any(|word| matches!(word.trim(), "bind" | "rbind")) {
        return Ok(false);
    }
    match redirect.source(&options[device].1) {
        Source::Harmless => Ok(false),
        Source::Socket => {
            options[device].1 = redirect.proxy();
            let members: Vec<String> = options
                .iter()
                .map(|(key, value)| format!("{}:{}", json::string(key), json::string(value)))
                .collect();
            object.set(field, format!("{{{}}}", members.join(",")));
            Ok(true)
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
            let redirect = Some(Redirect {
                daemon,
                proxy: PathBuf::from("/run/p.sock"),
            });
            Policy {
                redirect,
                ..policy()
            }
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn redirected(text: &str, policy: &Policy) -> String {
        let mut host = Object::parse(text.as_bytes()).unwrap().unwrap();
        host_config(&mut host, policy).unwrap();
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
    fn what_does_not_hold_the_socket_stays_as_it_is() {
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
            libpod_mounts(&mut spec, policy).unwrap();
            spec.to_string()
        };
        assert_eq!(
            redirected(&host.policy()),
            format!(
                r#"{{"Mounts":[{{"type":"bind","destination":"/s","Source":"/run/p.sock"}},{{"type":"bind","source":"{run}","destination":"/r"}},{{"Type":"bind","Source":"/run/p.sock","Destination":"/r/docker.sock"}}]}}"#
            )
        );
        assert_eq!(redirected(&policy()), text);

        let text = format!(r#"{{"Options":{{"type":"bind","device":"{link}"}}}}"#);
        let mut volume = Object::parse(text.as_bytes()).unwrap().unwrap();
        volume_options(&mut volume, &host.policy()).unwrap();
        assert_eq!(
            volume.to_string(),
            r#"{"Options":{"type":"bind","device":"/run/p.sock"}}"#
        );
    }

    #[test]
    fn a_source_that_is_not_known_yet_is_refused() {
        let policy = Host::new("template").policy();
        let mounts = |source: &str| {
            let text =
                format!(r#"{{"Mounts":[{{"Type":"bind","Source":"{source}","Target":"/t"}}]}}"#);
            mounts(
                &mut Object::parse(text.as_bytes()).unwrap().unwrap(),
                &policy,
            )
        };
        assert_eq!(
            mounts("/run/{{.Node.ID}}").unwrap_err().reason,
            Reason::Forbidden
        );
        assert_eq!(mounts("/run/x"), Ok(()));
    }

    #[test]
    fn a_volume_that_is_a_bind_mount_is_one() {
        let host = Host::new("volume");
        let volume = |device: &str, o: &str| {
            let body = format!(
                r#"{{"DriverOpts":{{"type":"none","o":"{o}","device":"{}"}}}}"#,
                host.path(device)
            );
            let mut draft = CreateRequest {
                body: body.into(),
                ..CreateRequest::default()
            };
            volume(&mut draft, &host.policy())?;
            Ok::<_, Rejection>(String::from_utf8(draft.body).unwrap())
        };
        assert!(
            volume("link", "ro,bind")
                .unwrap()
                .contains(r#""device":"/run/p.sock""#)
        );
        assert!(volume("link", "ro").unwrap().contains("/link"));
        assert!(volume("run/other", "bind").unwrap().contains("/run/other"));
        assert!(matches!(
            volume("run", "rbind"),
            Err(Rejection::Refusal(Refusal {
                reason: Reason::Forbidden,
                ..
            }))
        ));

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
