//! The platform of a container create, as the daemon reads it (`platforms.Parse` in
//! containerd/platforms) and as it wants to be asked for it.

use std::env::consts::{ARCH, OS};

use crate::error::Refusal;
use crate::json;

/// Operating systems that can stand alone (`isKnownOS`).
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// What an image is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

impl Platform {
    /// Reads `OS`, `ARCH`, `OS/ARCH` or `OS/ARCH/VARIANT`. What is missing is the host's: the
    /// daemon is on the same one.
    ///
    /// # Errors
    /// When it is none of these. The daemon refuses it too.
    pub(crate) fn parse(text: &str) -> Result<Platform, Refusal> {
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        let is_word = |part: &String| {
            let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            !part.is_empty() && part.bytes().all(is_letter)
        };
        let parts: Vec<&str> = if parts.iter().all(is_word) {
            parts.iter().map(String::as_str).collect()
        } else {
            Vec::new()
        };
        let (os, architecture, variant) = match parts[..] {
            [os] if SYSTEMS.contains(&os) || os == "macos" => (os, ARCH, ""),
            [architecture] => (OS, architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => {
                let shown: String = text.chars().take(100).collect();
                return Err(Refusal::bad_request(format!(
                    "the platform {shown:?} is not valid; write OS/ARCH or OS/ARCH/VARIANT"
                )));
            }
        };
        let (architecture, variant) = normal_architecture(architecture, variant);
        Ok(Platform {
            os: if os == "macos" { "darwin" } else { os }.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        })
    }

    /// It as JSON, as the daemon takes it in a query (`httputils.DecodePlatform` in moby).
    pub(crate) fn to_json(&self) -> String {
        let members = [
            ("os", &*self.os),
            ("architecture", &self.architecture),
            ("variant", &self.variant),
        ];
        json::map(members.into_iter().filter(|(_, value)| !value.is_empty()))
    }
}

/// `normalizeArch` in containerd/platforms.
fn normal_architecture<'t>(architecture: &'t str, variant: &'t str) -> (&'t str, &'t str) {
    match (architecture, variant) {
        ("i386" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_the_daemon_reads_them() {
        let host = match ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        for (text, expected) in [
            ("linux/arm64/v8", r#"{"os":"linux","architecture":"arm64"}"#),
            ("linux/aarch64", r#"{"os":"linux","architecture":"arm64"}"#),
            ("Linux/x86_64", r#"{"os":"linux","architecture":"amd64"}"#),
            (
                "linux/amd64/v3",
                r#"{"os":"linux","architecture":"amd64","variant":"v3"}"#,
            ),
            (
                "linux/arm/v6",
                r#"{"os":"linux","architecture":"arm","variant":"v6"}"#,
            ),
            (
                "armhf",
                r#"{"os":"linux","architecture":"arm","variant":"v7"}"#,
            ),
            ("s390x", r#"{"os":"linux","architecture":"s390x"}"#),
            ("macos/arm64", r#"{"os":"darwin","architecture":"arm64"}"#),
            (
                "linux",
                &format!(r#"{{"os":"linux","architecture":"{host}"}}"#),
            ),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_json(), expected, "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_platforms_are_refused() {
        for text in ["", "/", "linux/", "a/b/c/d", "linux/amd64(1)", "*", "a b"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
