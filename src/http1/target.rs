//! A request target as the daemon's router reads it: which path it asks for, whatever way it is
//! written. Leaves what the path means to others.
//!
//! The daemon is Go's `net/http` with gorilla/mux: it takes the path out of an absolute target,
//! decodes all of it (`%2F` too), and redirects what `path.Clean` would change.

use std::net::Ipv6Addr;

use crate::http1::error::Error;
use crate::http1::percent::{Plus, decode, encode, is_unreserved};
use crate::text::clean_path_and_slash;

/// A request target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The path as it was sent, without scheme and authority.
    pub(crate) raw_path: String,
    /// The path with its percent-encoding undone, as routes are matched.
    pub(crate) path: Vec<u8>,
    /// What follows the first `?`, as it was sent.
    pub(crate) query: Option<String>,
}

impl Target {
    /// Takes a target in origin form or absolute form apart (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// When it has another form, or a `%` without two hexadecimal digits in its path.
    pub(crate) fn parse(target: &str) -> Result<Target, Error> {
        let (before_query, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let raw_path = if before_query.starts_with('/') {
            before_query
        } else {
            path_of_absolute(before_query)
                .ok_or_else(|| Error::InvalidTarget(before_query.to_owned()))?
        };
        let path = decode(raw_path.as_bytes(), Plus::Literal)
            .ok_or_else(|| Error::InvalidPathEncoding(raw_path.to_owned()))?;
        Ok(Target {
            raw_path: raw_path.to_owned(),
            path,
            query,
        })
    }

    /// Where the daemon would redirect the client to, when the path is not clean: such a request
    /// is never handled (`cleanPath` in gorilla/mux).
    pub(crate) fn redirect(&self) -> Option<String> {
        let clean = clean_path_and_slash(&self.path);
        if clean == self.path {
            return None;
        }
        Some(with_query(
            encode(&clean, is_path_char),
            self.query.as_deref(),
        ))
    }

    /// The target in origin form with its path as it was sent.
    pub(crate) fn origin_form(&self) -> String {
        with_query(self.raw_path.clone(), self.query.as_deref())
    }
}

/// A decoded path in the one form in which every daemon reads it the same, with no byte in it that
/// could end the line.
pub(crate) fn encoded_path(path: &[u8]) -> String {
    encode(path, is_path_char)
}

/// A path with a query behind it.
pub(crate) fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// The path of `scheme:/path` or `scheme://authority/path`; nothing matters here of scheme and
/// authority but that Go can read them.
fn path_of_absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once(':')?;
    let mut chars = scheme.chars();
    let is_scheme = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme || !rest.starts_with('/') {
        return None;
    }
    match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            is_authority(authority).then_some(path)
        }
        None => Some(rest),
    }
}

/// Whether Go reads this authority too; refuses some that it does read, such as one with escapes.
fn is_authority(authority: &str) -> bool {
    let is_name = |text: &str| {
        text.bytes()
            .all(|b| is_unreserved(b) || b"!$&'()*+,;=".contains(&b))
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (name, port) = match host.strip_prefix('[') {
        Some(address) => {
            let Some((address, port)) = address.split_once(']') else {
                return false;
            };
            let is_address = address.parse::<Ipv6Addr>().is_ok();
            if !is_address || !(port.is_empty() || port.starts_with(':')) {
                return false;
            }
            ("", port.strip_prefix(':').unwrap_or_default())
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    user.split(':').all(is_name) && is_name(name) && port.bytes().all(|b| b.is_ascii_digit())
}

/// Whether Go leaves the byte as it is in a path (`net/url.shouldEscape`, `encodePath`).
fn is_path_char(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_is_read_as_the_daemon_reads_it() {
        for target in [
            "/containers/create",
            "/%63ontainers/create",
            "/containers%2Fcreate",
            "/containers%2fcreate?name=x",
            "http://docker/containers/create",
            "HTTP://user@[::1]:80/containers/create",
            "http://user:password@docker:/containers/create",
            "x:/containers/create",
            "x:///containers/create",
        ] {
            let parsed = Target::parse(target).unwrap();
            assert_eq!(parsed.path, b"/containers/create", "{target}");
            assert_eq!(parsed.redirect(), None, "{target}");
        }
        let target = Target::parse("http://h/a%2Fb?x=%zz?y#z").unwrap();
        assert_eq!(target.origin_form(), "/a%2Fb?x=%zz?y#z");
    }

    #[test]
    fn targets_that_the_daemon_cannot_read_are_refused() {
        for target in [
            "",
            "*",
            "containers/create",
            "%2Fcontainers/create",
            "/%zz",
            "/%2",
            "http:x",
            "1x:/a",
            ":/a",
            "http://\\/a",
            "http://a b/a",
            "http://a%zz/a",
            "http://[/a",
            "http://[::1]x/a",
            "http://[a]/a",
            "http://a:b/a",
            "http://a:1:2/a",
        ] {
            let expected = match target {
                "/%zz" | "/%2" => Error::InvalidPathEncoding(target.to_owned()),
                _ => Error::InvalidTarget(target.to_owned()),
            };
            assert_eq!(Target::parse(target), Err(expected), "{target:?}");
        }
    }

    #[test]
    fn an_unclean_path_is_redirected() {
        for (target, location) in [
            ("//containers/create", "/containers/create"),
            (
                "/v1.45//containers/create?a=b",
                "/v1.45/containers/create?a=b",
            ),
            ("/./containers/create", "/containers/create"),
            ("/x/../containers/create", "/containers/create"),
            ("/../../x", "/x"),
            ("/%2Fcontainers/create", "/containers/create"),
            ("/%2e/containers", "/containers"),
            ("/containers/create/.", "/containers/create"),
            ("/a//", "/a/"),
            ("/a//%3F%20é", "/a/%3F%20%C3%A9"),
            ("http://docker", "/"),
            ("http://docker//x", "/x"),
        ] {
            assert_eq!(
                Target::parse(target).unwrap().redirect().as_deref(),
                Some(location),
                "{target}"
            );
        }
        for target in ["/", "/a/", "/a/b", "/a%2Fb", "/..a/b..", "/a/%3F"] {
            assert_eq!(Target::parse(target).unwrap().redirect(), None, "{target}");
        }
    }
}
