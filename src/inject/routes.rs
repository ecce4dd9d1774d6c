//! The routing table: every endpoint that does more than read, and what the proxy does with it. It
//! is that of Docker's API 1.56 and Podman's libpod API 5. An endpoint that it does not name is
//! unknown rather than harmless.

use std::fmt;

use crate::inject::image::{build, commit, import, podman_build, push, tag};
use crate::inject::recipe::Recipe;
use crate::inject::{container, libpod, network, object, service, service_update, swarm, volume};

/// What a create makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Config,
    Container,
    Image,
    Network,
    Pod,
    Secret,
    Service,
    Swarm,
    Volume,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Config => "config",
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Network => "network",
            Kind::Pod => "pod",
            Kind::Secret => "secret",
            Kind::Service => "service",
            Kind::Swarm => "swarm",
            Kind::Volume => "volume",
        })
    }
}

/// What the proxy does with a request to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Passes it on: it creates nothing.
    Pass,
    /// Passes it on. The daemon may take over the connection (hijack) or upgrade it.
    Hijack,
    /// Passes it on, to upgrade the connection to HTTP/2. Calls of BuildKit are labelled there.
    Grpc,
    /// Passes it on, unless it has a body in an API version before 1.24: that makes volumes which
    /// nothing can label.
    Start,
    /// Passes it on when no create in this proxy holds the volume.
    RemoveVolume,
    /// Labels what it creates or changes.
    Label(Kind, &'static Recipe),
    /// Passes it on with a warning, or refuses it if the operator is strict: it creates what
    /// cannot carry labels, for this reason.
    CannotLabel(&'static str),
}

/// As in docs/coverage.md.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pass => f.write_str("passes"),
            Hijack => f.write_str("passes, may become a tunnel"),
            Grpc => f.write_str("image: the messages of BuildKit"),
            Start => f.write_str("passes, without a body before API 1.24"),
            RemoveVolume => f.write_str("passes, in turn with creates of the volume"),
            Label(kind, recipe) => write!(f, "{kind}: {}", recipe.shown),
            CannotLabel(why) => write!(f, "not labelled: {why}"),
        }
    }
}

use Action::{CannotLabel, Grpc, Hijack, Label, Pass, RemoveVolume, Start};

/// Why a request that no row of the table names cannot be labelled.
pub(crate) const UNKNOWN: Action = CannotLabel("an unknown endpoint may create anything");

const ARTIFACT: &str = "artifacts carry no labels";
const KUBE: &str = "the daemon makes many things of one YAML file";
const LOAD: &str = "an image is loaded as it is; labels would change its ID";

/// Method, path without version prefix, action. A `*` stands for any text, slashes included, as
/// `{name:.*}` does in the daemon's routes. The first row that fits counts.
#[rustfmt::skip]
pub(crate) const TABLE: &[(&str, &str, Action)] = &[
    ("POST", "/auth", Pass),
    ("POST", "/build", Label(Kind::Image, &build::RECIPE)),
    ("POST", "/build/cancel", Pass),
    ("POST", "/build/prune", Pass),
    ("POST", "/configs/create", Label(Kind::Config, &object::RECIPE)),
    ("POST", "/configs/*/update", Label(Kind::Config, &object::RECIPE)),
    ("POST", "/commit", Label(Kind::Image, &commit::RECIPE)),
    ("POST", "/containers/create", Label(Kind::Container, &container::RECIPE)),
    ("POST", "/containers/prune", Pass),
    ("POST", "/containers/*/attach", Hijack),
    ("GET", "/containers/*/attach/ws", Hijack),
    ("PUT", "/containers/*/archive", Pass),
    ("POST", "/containers/*/checkpoints", Pass),
    ("POST", "/containers/*/exec", Pass),
    ("POST", "/containers/*/kill", Pass),
    ("POST", "/containers/*/pause", Pass),
    ("POST", "/containers/*/rename", Pass),
    ("POST", "/containers/*/resize", Pass),
    ("POST", "/containers/*/restart", Pass),
    ("POST", "/containers/*/start", Start),
    ("POST", "/containers/*/stop", Pass),
    ("POST", "/containers/*/unpause", Pass),
    ("POST", "/containers/*/update", Pass),
    ("POST", "/containers/*/wait", Pass),
    ("POST", "/exec/*/resize", Pass),
    ("POST", "/exec/*/start", Hijack),
    ("POST", "/grpc", Grpc),
    ("POST", "/images/create", Label(Kind::Image, &import::RECIPE)),
    ("POST", "/images/load", CannotLabel(LOAD)),
    ("POST", "/images/prune", Pass),
    ("POST", "/images/*/push", Label(Kind::Image, &push::RECIPE)),
    ("POST", "/images/*/tag", Label(Kind::Image, &tag::RECIPE)),
    ("POST", "/libpod/artifacts/add", CannotLabel(ARTIFACT)),
    ("POST", "/libpod/artifacts/local/add", CannotLabel(ARTIFACT)),
    ("POST", "/libpod/artifacts/pull", Pass),
    ("POST", "/libpod/artifacts/*/push", Pass),
    ("POST", "/libpod/build", Label(Kind::Image, &build::LIBPOD)),
    ("POST", "/libpod/commit", Label(Kind::Image, &commit::RECIPE)),
    ("POST", "/libpod/containers/create", Label(Kind::Container, &libpod::container::RECIPE)),
    ("POST", "/libpod/containers/prune", Pass),
    ("PUT", "/libpod/containers/*/archive", Pass),
    ("POST", "/libpod/containers/*/attach", Hijack),
    ("POST", "/libpod/containers/*/checkpoint", Pass),
    ("POST", "/libpod/containers/*/exec", Pass),
    ("POST", "/libpod/containers/*/init", Pass),
    ("POST", "/libpod/containers/*/kill", Pass),
    ("POST", "/libpod/containers/*/mount", Pass),
    ("POST", "/libpod/containers/*/pause", Pass),
    ("POST", "/libpod/containers/*/rename", Pass),
    ("POST", "/libpod/containers/*/resize", Pass),
    ("POST", "/libpod/containers/*/restart", Pass),
    ("POST", "/libpod/containers/*/restore", CannotLabel("a checkpoint is restored as it is, and may be imported")),
    ("POST", "/libpod/containers/*/shouldrestart", Pass),
    ("POST", "/libpod/containers/*/start", Pass),
    ("POST", "/libpod/containers/*/stop", Pass),
    ("POST", "/libpod/containers/*/unmount", Pass),
    ("POST", "/libpod/containers/*/unpause", Pass),
    ("POST", "/libpod/containers/*/update", Pass),
    ("POST", "/libpod/containers/*/wait", Pass),
    ("POST", "/libpod/exec/*/remove", Pass),
    ("POST", "/libpod/exec/*/resize", Pass),
    ("POST", "/libpod/exec/*/start", Hijack),
    ("POST", "/libpod/images/import", Label(Kind::Image, &import::LIBPOD)),
    ("POST", "/libpod/images/load", CannotLabel(LOAD)),
    ("POST", "/libpod/images/prune", Pass),
    ("POST", "/libpod/images/pull", Pass),
    ("POST", "/libpod/images/scp/*", CannotLabel("an image is copied as it is")),
    ("POST", "/libpod/images/*/push", Pass),
    ("POST", "/libpod/images/*/tag", Label(Kind::Image, &tag::LIBPOD)),
    ("POST", "/libpod/images/*/untag", Pass),
    ("POST", "/libpod/kube/apply", CannotLabel("it creates objects in another cluster")),
    ("POST", "/libpod/kube/play", CannotLabel(KUBE)),
    ("POST", "/libpod/local/build", Label(Kind::Image, &build::LIBPOD)),
    ("POST", "/libpod/local/images/load", CannotLabel(LOAD)),
    ("POST", "/libpod/manifests/*/registry/*", Pass),
    ("POST", "/libpod/manifests/*", CannotLabel(podman_build::LIST)),
    ("PUT", "/libpod/manifests/*", Pass),
    ("POST", "/libpod/networks/create", Label(Kind::Network, &libpod::objects::NETWORK)),
    ("POST", "/libpod/networks/prune", Pass),
    ("POST", "/libpod/networks/*/connect", Pass),
    ("POST", "/libpod/networks/*/disconnect", Pass),
    ("POST", "/libpod/networks/*/update", Pass),
    ("POST", "/libpod/play/kube", CannotLabel(KUBE)),
    ("POST", "/libpod/pods/create", Label(Kind::Pod, &libpod::pod::RECIPE)),
    ("POST", "/libpod/pods/prune", Pass),
    ("POST", "/libpod/pods/*/kill", Pass),
    ("POST", "/libpod/pods/*/pause", Pass),
    ("POST", "/libpod/pods/*/restart", Pass),
    ("POST", "/libpod/pods/*/start", Pass),
    ("POST", "/libpod/pods/*/stop", Pass),
    ("POST", "/libpod/pods/*/unpause", Pass),
    ("POST", "/libpod/quadlets", CannotLabel("the units of systemd create what they name past the proxy")),
    ("POST", "/libpod/secrets/create", Label(Kind::Secret, &libpod::objects::SECRET)),
    ("POST", "/libpod/system/check", Pass),
    ("POST", "/libpod/system/prune", Pass),
    ("POST", "/libpod/volumes/create", Label(Kind::Volume, &volume::RECIPE)),
    ("POST", "/libpod/volumes/prune", Pass),
    ("DELETE", "/libpod/volumes/*", RemoveVolume),
    ("POST", "/libpod/volumes/*/import", Pass),
    ("POST", "/networks/create", Label(Kind::Network, &network::RECIPE)),
    ("POST", "/networks/prune", Pass),
    ("POST", "/networks/*/connect", Pass),
    ("POST", "/networks/*/disconnect", Pass),
    ("POST", "/nodes/*/update", Pass),
    ("POST", "/plugins/create", CannotLabel("plugins carry no labels")),
    ("POST", "/plugins/pull", CannotLabel("plugins carry no labels")),
    ("POST", "/plugins/*/disable", Pass),
    ("POST", "/plugins/*/enable", Pass),
    ("POST", "/plugins/*/push", Pass),
    ("POST", "/plugins/*/set", Pass),
    ("POST", "/plugins/*/upgrade", CannotLabel("plugins carry no labels")),
    ("POST", "/secrets/create", Label(Kind::Secret, &object::RECIPE)),
    ("POST", "/secrets/*/update", Label(Kind::Secret, &object::RECIPE)),
    ("POST", "/services/create", Label(Kind::Service, &service::RECIPE)),
    ("POST", "/services/*/update", Label(Kind::Service, &service_update::RECIPE)),
    ("POST", "/session", Hijack),
    ("POST", "/swarm/init", Label(Kind::Swarm, &swarm::INIT)),
    ("POST", "/swarm/join", Pass),
    ("POST", "/swarm/leave", Pass),
    ("POST", "/swarm/unlock", Pass),
    ("POST", "/swarm/update", Label(Kind::Swarm, &swarm::UPDATE)),
    ("POST", "/volumes/create", Label(Kind::Volume, &volume::RECIPE)),
    ("POST", "/volumes/prune", Pass),
    ("DELETE", "/volumes/*", RemoveVolume),
    ("PUT", "/volumes/*", Pass),
];

/// What the proxy does with a request of this method to this path (decoded, clean, without
/// version).
pub(crate) fn action(method: &str, path: &[u8]) -> Action {
    let row = TABLE
        .iter()
        .find(|(m, pattern, _)| *m == method && matches(pattern.as_bytes(), path));
    match row {
        Some((_, _, action)) => *action,
        None if matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS") => Pass,
        None => UNKNOWN,
    }
}

/// Splits a path into its version prefix, such as `/v1.41` or nothing, and the rest. Takes all that
/// Docker (`/v[0-9.]+`) or Podman (`/v[0-9][0-9A-Za-z.-]*`) takes for a version.
pub(crate) fn split_version(path: &[u8]) -> (&[u8], &[u8]) {
    let Some(rest) = path.strip_prefix(b"/v") else {
        return (b"", path);
    };
    let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    let is_version = rest
        .first()
        .is_some_and(|b| b.is_ascii_digit() || *b == b'.')
        && rest[..len]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if is_version {
        path.split_at(len + 2)
    } else {
        (b"", path)
    }
}

/// Whether a version prefix, such as `/v1.41`, is of an API before 1.24. Without one the daemon uses
/// its own version, which is later. Compares part by part, as `versions.compare` in moby does: a part
/// that is not a number counts as 0.
pub(crate) fn is_before_1_24(version: &[u8]) -> bool {
    let Some(version) = version.strip_prefix(b"/v") else {
        return false;
    };
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u64>().ok();
    let parts = version
        .split(|&b| b == b'.')
        .map(|part| number(part).unwrap_or(0));
    parts.lt([1, 24])
}

fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&b| b == b'*') else {
        return pattern == path;
    };
    let (before, mut after) = (&pattern[..star], &pattern[star + 1..]);
    let Some(mut rest) = path.strip_prefix(before) else {
        return false;
    };
    // The first place where the text between two stars occurs is as good as any other.
    while let Some(star) = after.iter().position(|&b| b == b'*') {
        let between = &after[..star];
        let found = rest.iter().skip(1).enumerate();
        let mut found = found.map(|(i, _)| &rest[i + 1..]);
        match found.find_map(|rest| rest.strip_prefix(between)) {
            Some(behind) => (rest, after) = (behind, &after[star + 1..]),
            None => return false,
        }
    }
    rest.len() > after.len() && rest.ends_with(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Action {
        action(method, split_version(path.as_bytes()).1)
    }

    #[test]
    fn creates_are_found_with_and_without_a_version() {
        for path in [
            "/containers/create",
            "/v1.41/containers/create",
            "/v1/containers/create",
            "/v.../containers/create",
            "/v5.0.0-rc1/containers/create",
        ] {
            assert_eq!(
                of("POST", path),
                Label(Kind::Container, &container::RECIPE),
                "{path}"
            );
        }
        assert_eq!(
            of("POST", "/v1.24/build"),
            Label(Kind::Image, &build::RECIPE)
        );
        assert_eq!(
            split_version(b"/v1.24/build"),
            (&b"/v1.24"[..], &b"/build"[..])
        );
    }

    #[test]
    fn a_path_that_the_daemon_routes_elsewhere_is_unknown() {
        for (method, path) in [
            ("post", "/containers/create"),
            ("POST", "/CONTAINERS/create"),
            ("POST", "/V1.41/containers/create"),
            ("POST", "/v1.41/v1.41/containers/create"),
            ("POST", "/v/containers/create"),
            ("POST", "/containers/create/"),
            ("POST", "/containers/create;x"),
            ("POST", "/containers/attach"),
            ("PATCH", "/x"),
            ("POST", "/v1.41"),
            ("POST", "/"),
        ] {
            assert_eq!(of(method, path), UNKNOWN, "{method} {path}");
        }
        assert_eq!(of("GET", "/containers/create"), Pass);
        assert_eq!(of("POST", "/networks/create/connect"), Pass);
        assert_eq!(of("POST", "/v1.41/grpc"), Grpc);
    }

    #[test]
    fn the_docs_show_this_table() {
        let docs = include_str!("../../docs/coverage.md");
        let is_row = |line: &&str| {
            let methods = ["DELETE", "GET", "POST", "PUT"].map(|method| format!("| `{method} /"));
            methods.iter().any(|method| line.starts_with(method))
        };
        let shown: Vec<&str> = docs.lines().filter(is_row).collect();
        let rows = TABLE
            .iter()
            .map(|(method, path, action)| format!("| `{method} {path}` | {action} |"));
        let rows: Vec<String> = rows.collect();
        assert_eq!(
            shown,
            rows,
            "docs/coverage.md should have:\n{}",
            rows.join("\n")
        );
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (version, expected) in [
            ("/v1.23", true),
            ("/v1.9", true),
            ("/v1", true),
            ("/v01.023", true),
            ("/v...", true),
            ("/v1.24", false),
            ("/v01.024", false),
            ("/v1.24.0", false),
            ("/v1.100", false),
            ("/v4.3.1", false),
            ("", false),
        ] {
            assert_eq!(is_before_1_24(version.as_bytes()), expected, "{version}");
        }
    }

    #[test]
    fn names_may_hold_anything() {
        for (method, path) in [
            ("POST", "/containers/x/attach"),
            ("POST", "/v1.41/containers/a/b/attach"),
            ("GET", "/containers/x/attach/ws"),
            ("POST", "/exec/0123/start"),
            ("POST", "/session"),
            ("POST", "/v4.3.1/libpod/containers/x/attach"),
            ("POST", "/v4.3.1/libpod/exec/0123/start"),
        ] {
            assert_eq!(of(method, path), Hijack, "{method} {path}");
        }
    }

    #[test]
    fn a_pattern_may_have_two_names() {
        let pattern = "/m/*/registry/*";
        for (path, expected) in [
            ("/m/a/registry/b", true),
            ("/m/a/b/registry/c/registry/d", true),
            ("/m/registry/registry/b", true),
            ("/m/a/registry/", false),
            ("/m//registry/b", false),
            ("/m/registry/b", false),
            ("/m/a/b", false),
            ("/m/", false),
            ("/x/a/registry/b", false),
        ] {
            let found = matches(pattern.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{path}");
        }
        let push = of("POST", "/v4.3.1/libpod/manifests/x/registry/host/x");
        assert_eq!(push, Pass);
    }
}
