//! The endpoints of the API that are more to the proxy than bytes to pass on, as one table:
//! which create something and how it is labelled, and which may turn into a tunnel.

use std::fmt;

/// What a create makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Network => "network",
            Kind::Volume => "volume",
        })
    }
}

/// What the proxy does with a request to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Passes it on.
    Pass,
    /// Passes it on; the daemon may take over the connection (hijack) or upgrade it.
    Hijack,
    /// Adds the labels to the member `Labels` of its JSON body.
    LabelBody(Kind),
    /// Adds the labels to the parameter `labels` of its query.
    LabelQuery(Kind),
}

/// Method, path without version prefix, action. A `*` stands for any text, slashes included, as
/// `{name:.*}` does in the daemon's routes.
const TABLE: &[(&str, &str, Action)] = &[
    (
        "POST",
        "/containers/create",
        Action::LabelBody(Kind::Container),
    ),
    ("POST", "/networks/create", Action::LabelBody(Kind::Network)),
    ("POST", "/volumes/create", Action::LabelBody(Kind::Volume)),
    ("POST", "/build", Action::LabelQuery(Kind::Image)),
    ("POST", "/containers/*/attach", Action::Hijack),
    ("GET", "/containers/*/attach/ws", Action::Hijack),
    ("POST", "/exec/*/start", Action::Hijack),
    ("POST", "/grpc", Action::Hijack),
    ("POST", "/session", Action::Hijack),
];

/// What is done with a request of this method to this path (decoded and clean).
pub(crate) fn action(method: &str, path: &[u8]) -> Action {
    let path = without_version(path);
    let row = TABLE
        .iter()
        .find(|(m, pattern, _)| *m == method && matches(pattern.as_bytes(), path));
    row.map_or(Action::Pass, |(_, _, action)| *action)
}

/// The path without its `/v1.41` in front. Takes all that Docker (`/v[0-9.]+`) or Podman
/// (`/v[0-9][0-9A-Za-z.-]*`) takes for a version.
fn without_version(path: &[u8]) -> &[u8] {
    let Some(rest) = path.strip_prefix(b"/v") else {
        return path;
    };
    let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    let is_version = rest
        .first()
        .is_some_and(|b| b.is_ascii_digit() || *b == b'.')
        && rest[..len]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if is_version { &rest[len..] } else { path }
}

fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern.iter().position(|&b| b == b'*') {
        None => pattern == path,
        Some(star) => {
            let (before, after) = (&pattern[..star], &pattern[star + 1..]);
            path.len() >= pattern.len() && path.starts_with(before) && path.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                action("POST", path.as_bytes()),
                Action::LabelBody(Kind::Container),
                "{path}"
            );
        }
        assert_eq!(
            action("POST", b"/v1.24/build"),
            Action::LabelQuery(Kind::Image)
        );
    }

    #[test]
    fn what_the_daemon_routes_elsewhere_is_passed_on() {
        for (method, path) in [
            ("GET", "/containers/create"),
            ("post", "/containers/create"),
            ("POST", "/CONTAINERS/create"),
            ("POST", "/V1.41/containers/create"),
            ("POST", "/v1.41/v1.41/containers/create"),
            ("POST", "/v/containers/create"),
            ("POST", "/containers/create/"),
            ("POST", "/containers/create;x"),
            ("POST", "/networks/create/connect"),
            ("POST", "/v1.41"),
            ("POST", "/"),
        ] {
            assert_eq!(
                action(method, path.as_bytes()),
                Action::Pass,
                "{method} {path}"
            );
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
            ("POST", "/v1.41/grpc"),
        ] {
            assert_eq!(
                action(method, path.as_bytes()),
                Action::Hijack,
                "{method} {path}"
            );
        }
        assert_eq!(action("POST", b"/containers/attach"), Action::Pass);
    }
}
