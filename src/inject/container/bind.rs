//! An entry of `HostConfig.Binds` as Docker reads it (`ParseMountRaw` in moby
//! daemon/volume/mounts/linux_parser.go). The whole grammar stands here: an entry that does not
//! fit is refused, not passed on in the hope that the daemon refuses it too.

use crate::error::Refusal;

/// What an entry of `Binds` mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bind<'b> {
    /// `TARGET`: an anonymous volume.
    Anonymous { target: &'b str },
    /// `/SOURCE:TARGET[:MODE]`: a directory or file of the host.
    Host { target: &'b str },
    /// `NAME:TARGET[:MODE]`: a named volume.
    Volume {
        name: &'b str,
        target: &'b str,
        mode: Mode,
    },
}

/// The mode of a named volume, as far as an entry of `Mounts` can say the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) is_read_only: bool,
    pub(super) is_nocopy: bool,
    /// Whether it says something that only a bind can: `z`, `Z` or consistency.
    pub(super) is_bind_only: bool,
    /// Whether it has a propagation, which the daemon refuses for a volume.
    has_propagation: bool,
}

/// The sorts of words in a mode. Each may be there once.
const SORTS: [&[&str]; 5] = [
    &["ro", "rw"],
    &["nocopy"],
    &["z", "Z"],
    &["consistent", "cached", "delegated", "default"],
    PROPAGATION,
];

const PROPAGATION: &[&str] = &[
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

impl<'b> Bind<'b> {
    /// Reads an entry.
    ///
    /// # Errors
    /// When it does not fit the grammar, and when a volume would be mounted at a target that is
    /// not absolute or has a backslash. The daemon turns backslashes into slashes before it checks
    /// whether a target is absolute, but mounts at the text as it was.
    pub(super) fn parse(text: &'b str) -> Result<Bind<'b>, Refusal> {
        let wrong = |what: &str| {
            Refusal::bad_request(format!(
                "the entry {text:?} of Binds {what}; write SOURCE:TARGET or SOURCE:TARGET:MODE, \
                 with an absolute TARGET"
            ))
        };
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        let (source, target, mode) = match parts[..] {
            [target] => ("", target, ""),
            ["", ..] => return Err(wrong("has an empty source")),
            [_, mode] if Mode::parse(mode).is_some() => return Err(wrong("has no target")),
            [source, target] => (source, target, ""),
            [source, target, mode] => (source, target, mode),
            _ => return Err(wrong("has more than three parts")),
        };
        let mode = Mode::parse(mode).ok_or_else(|| wrong("has an unknown mode"))?;
        if source.starts_with('/') {
            return Ok(Bind::Host { target });
        }
        if !target.starts_with('/') || target.contains('\\') {
            return Err(wrong(
                "has a target that is not absolute, or has a backslash",
            ));
        }
        if source.is_empty() {
            return Ok(Bind::Anonymous { target });
        }
        if mode.has_propagation {
            return Err(wrong("has a propagation, which a volume cannot have"));
        }
        Ok(Bind::Volume {
            name: source,
            target,
            mode,
        })
    }
}

impl Bind<'_> {
    /// Where it is mounted, as it is written.
    pub(super) fn target(&self) -> &str {
        match self {
            Bind::Anonymous { target } | Bind::Host { target } | Bind::Volume { target, .. } => {
                target
            }
        }
    }
}

impl Mode {
    /// Reads a comma list of words (`linuxValidMountMode`), or `None` when it is not a mode.
    fn parse(text: &str) -> Option<Mode> {
        let mut mode = Mode::default();
        if text.is_empty() {
            return Some(mode);
        }
        let mut seen = [false; SORTS.len()];
        for word in text.split(',') {
            let sort = SORTS.iter().position(|words| words.contains(&word))?;
            if std::mem::replace(&mut seen[sort], true) {
                return None;
            }
            mode.is_read_only |= word == "ro";
            mode.is_nocopy |= word == "nocopy";
            mode.is_bind_only |= sort == 2 || sort == 3;
            mode.has_propagation |= PROPAGATION.contains(&word);
        }
        Some(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume<'b>(name: &'b str, target: &'b str, mode: Mode) -> Bind<'b> {
        Bind::Volume { name, target, mode }
    }

    #[test]
    fn entries_are_read_as_docker_reads_them() {
        let ro = Mode {
            is_read_only: true,
            ..Mode::default()
        };
        let all = Mode {
            is_read_only: true,
            is_nocopy: true,
            is_bind_only: true,
            has_propagation: false,
        };
        for (text, expected) in [
            ("/a", Bind::Anonymous { target: "/a" }),
            ("v:/a", volume("v", "/a", Mode::default())),
            ("v:/a:", volume("v", "/a", Mode::default())),
            ("v:/a:rw", volume("v", "/a", Mode::default())),
            ("v:/a:ro", volume("v", "/a", ro)),
            ("v:/a:Z,ro,nocopy,cached", volume("v", "/a", all)),
            ("./v:/a", volume("./v", "/a", Mode::default())),
            ("/s:/a:rshared,z", Bind::Host { target: "/a" }),
            ("/s:\\foo:rshared", Bind::Host { target: "\\foo" }),
        ] {
            assert_eq!(Bind::parse(text).as_ref(), Ok(&expected), "{text:?}");
        }
    }

    #[test]
    fn entries_that_do_not_fit_the_grammar_are_refused() {
        for text in [
            "",
            ":",
            ":/a",
            ":/a:ro",
            "a",
            "v:",
            "v:ro",
            "/a:",
            "/a:ro",
            "v:a",
            "\\a",
            "v:\\a",
            "v:\\a:ro",
            "v:/a\\b",
            "v:\\/a:ro",
            "v:/a:xx",
            "v:/a:ro,rw",
            "v:/a:ro,",
            "v:/a:ro:z",
            "v:/a:RO",
            "v:/a:rshared",
        ] {
            assert!(Bind::parse(text).is_err(), "{text:?}");
        }
    }
}
