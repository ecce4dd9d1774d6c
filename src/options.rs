//! The options of the command line as one table: what is parsed, what `--help` prints, and what the
//! tests compare README and the manual page with.

use std::fmt::Write;
use std::path::PathBuf;

use nix::unistd::{Group, User};

use crate::error::Error;
use crate::labels::{self, Label};
use crate::limits::DEFAULT_MAX_CONNECTIONS;
use crate::proxy::listener::Access;

/// The daemon's socket unless the operator says otherwise.
const DEFAULT_DAEMON: &str = "/var/run/docker.sock";

/// Where the explanation of an option begins in its line, in characters.
const EXPLANATION_COLUMN: usize = 24;

/// An option.
pub(crate) struct CommandOption {
    /// Its name, without dashes.
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    /// What it does, in lines that fit behind its name.
    explanation: &'static str,
    pub(crate) effect: Effect,
}

/// What an option does. Those with a value begin with what stands for it in the texts.
pub(crate) enum Effect {
    Text(&'static str, fn(&mut Draft, &str) -> Result<(), Error>),
    Path(&'static str, fn(&mut Draft, PathBuf) -> Result<(), Error>),
    Flag(fn(&mut Draft)),
    Help,
    Version,
}

use Effect::{Flag, Path, Text};

/// An option without a short form.
const fn option(name: &'static str, effect: Effect, explanation: &'static str) -> CommandOption {
    CommandOption {
        name,
        short: None,
        explanation,
        effect,
    }
}

/// All options, in the sections of the texts.
pub(crate) const OPTIONS: &[(&str, &[CommandOption])] = &[
    (
        "Labels (at least one)",
        &[
            option(
                "label",
                Text("KEY=VALUE", Draft::label),
                "a label to add; KEY alone has an empty value; repeatable",
            ),
            option(
                "label-file",
                Path("FILE", Draft::label_file),
                "a file of labels, one a line, '#' begins a comment; repeatable",
            ),
        ],
    ),
    (
        "Sockets",
        &[
            option(
                "listen",
                Path("PATH", Draft::listen),
                "the socket to listen on, for the clients",
            ),
            option(
                "daemon",
                Path("PATH", Draft::daemon),
                "the daemon's socket [default: /var/run/docker.sock]",
            ),
            option(
                "socket-mode",
                Text("MODE", Draft::socket_mode),
                "permissions of the listening socket, octal [default: 0660]",
            ),
            option(
                "socket-user",
                Text("USER", Draft::socket_user),
                "owner of the listening socket, a name or number",
            ),
            option(
                "socket-group",
                Text("GROUP", Draft::socket_group),
                "group of the listening socket, a name or number",
            ),
            option(
                "max-connections",
                Text("N", Draft::max_connections),
                "clients served at a time; others get an error [default: 10000]",
            ),
        ],
    ),
    (
        "What else is done with creates",
        &[
            option(
                "cgroup-parent",
                Text("PATH", Draft::cgroup_parent),
                "put containers under this cgroup: a path, or the name of a slice\n\
                 where the daemon's cgroup driver is systemd",
            ),
            option(
                "strict",
                Flag(|draft| draft.is_strict = true),
                "refuse what cannot be labelled (loading images, plugins, ...)\n\
                 instead of passing it on with a warning",
            ),
            option(
                "redirect-socket-mounts",
                Flag(|draft| draft.redirects_socket_mounts = true),
                "mount the listening socket where a container asks for a bind\n\
                 mount of the daemon's socket",
            ),
        ],
    ),
    (
        "Other",
        &[
            CommandOption {
                short: Some('h'),
                ..option("help", Effect::Help, "print this")
            },
            CommandOption {
                short: Some('V'),
                ..option("version", Effect::Version, "print the version")
            },
        ],
    ),
];

/// The part of the help with all options.
pub(crate) fn options_help() -> String {
    let mut help = String::new();
    for (i, (section, options)) in OPTIONS.iter().enumerate() {
        let blank = if i == 0 { "" } else { "\n" };
        let _ = writeln!(help, "{blank}{section}:");
        for option in *options {
            let mut left = format!("  --{}{}", option.name, option.effect.placeholder());
            if left.len() >= EXPLANATION_COLUMN {
                let _ = writeln!(help, "{left}");
                left.clear();
            }
            for line in option.explanation.lines() {
                let _ = writeln!(help, "{left:EXPLANATION_COLUMN$}{line}");
                left.clear();
            }
        }
    }
    help
}

impl Effect {
    /// What follows the name of the option in the texts.
    pub(crate) fn placeholder(&self) -> String {
        match self {
            Text(value, _) | Path(value, _) => format!(" {value}"),
            Flag(_) | Effect::Help | Effect::Version => String::new(),
        }
    }
}

/// What has been read of the arguments.
pub(crate) struct Draft {
    pub(crate) labels: Vec<Label>,
    pub(crate) listen: Option<PathBuf>,
    pub(crate) daemon: PathBuf,
    pub(crate) access: Access,
    pub(crate) max_connections: usize,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) is_strict: bool,
    pub(crate) redirects_socket_mounts: bool,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            labels: Vec::new(),
            listen: None,
            daemon: PathBuf::from(DEFAULT_DAEMON),
            access: Access {
                mode: 0o660,
                uid: None,
                gid: None,
            },
            max_connections: DEFAULT_MAX_CONNECTIONS,
            cgroup_parent: None,
            is_strict: false,
            redirects_socket_mounts: false,
        }
    }
}

impl Draft {
    fn label(&mut self, text: &str) -> Result<(), Error> {
        self.labels.push(Label::parse(text)?);
        Ok(())
    }

    fn label_file(&mut self, path: PathBuf) -> Result<(), Error> {
        self.labels.extend(labels::read_file(&path)?);
        Ok(())
    }

    fn listen(&mut self, path: PathBuf) -> Result<(), Error> {
        self.listen = Some(path);
        Ok(())
    }

    fn daemon(&mut self, path: PathBuf) -> Result<(), Error> {
        self.daemon = path;
        Ok(())
    }

    fn socket_mode(&mut self, text: &str) -> Result<(), Error> {
        let mode = u32::from_str_radix(text, 8)
            .ok()
            .filter(|&mode| mode <= 0o777 && !text.starts_with('+'));
        self.access.mode = mode.ok_or_else(|| {
            Error::Usage(format!(
                "--socket-mode {text:?} must be an octal number from 0 to 0777"
            ))
        })?;
        Ok(())
    }

    fn socket_user(&mut self, name: &str) -> Result<(), Error> {
        let by_name = || Some(User::from_name(name).ok()??.uid.as_raw());
        let uid = name.parse().ok().or_else(by_name);
        let unknown = || Error::Usage(format!("--socket-user {name:?}: there is no such user"));
        self.access.uid = Some(uid.ok_or_else(unknown)?);
        Ok(())
    }

    fn socket_group(&mut self, name: &str) -> Result<(), Error> {
        let by_name = || Some(Group::from_name(name).ok()??.gid.as_raw());
        let gid = name.parse().ok().or_else(by_name);
        let unknown = || Error::Usage(format!("--socket-group {name:?}: there is no such group"));
        self.access.gid = Some(gid.ok_or_else(unknown)?);
        Ok(())
    }

    fn max_connections(&mut self, text: &str) -> Result<(), Error> {
        let number = text
            .parse()
            .ok()
            .filter(|&number| number > 0 && !text.starts_with('+'));
        self.max_connections = number.ok_or_else(|| {
            Error::Usage(format!(
                "--max-connections {text:?} must be a number, 1 or more"
            ))
        })?;
        Ok(())
    }

    fn cgroup_parent(&mut self, parent: &str) -> Result<(), Error> {
        if parent.is_empty() || parent.contains(char::is_control) {
            return Err(Error::Usage(format!(
                "--cgroup-parent {parent:?} must be a path or the name of a slice"
            )));
        }
        self.cgroup_parent = Some(parent.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the texts write all options, such as `--label KEY=VALUE`.
    fn written() -> Vec<String> {
        let options = OPTIONS.iter().flat_map(|(_, options)| *options);
        let written = options.map(|o| format!("--{}{}", o.name, o.effect.placeholder()));
        written.collect()
    }

    #[test]
    fn the_help_has_the_options_and_their_defaults() {
        let help = options_help();
        let draft = Draft::default();
        for text in [
            format!("[default: {}]", draft.max_connections),
            format!("[default: {}]", draft.daemon.display()),
            format!("[default: {:04o}]", draft.access.mode),
        ] {
            assert!(help.contains(&text), "{text} in {help}");
        }
        for option in written() {
            let line = format!("  {option}");
            let is_line = |l: &str| l == line || l.starts_with(&format!("{line}  "));
            assert!(help.lines().any(is_line), "{option} in {help}");
        }
        assert!(help.lines().all(|line| line.len() <= 90), "fits a terminal");
    }

    #[test]
    fn readme_has_the_options_of_the_help() {
        let readme = include_str!("../README.md");
        let (_, section) = readme.split_once("\n## Options\n\n```\n").expect("options");
        let (options, _) = section.split_once("```\n").expect("the end of the block");
        assert_eq!(options, options_help());
    }

    #[test]
    fn the_manual_page_has_the_options_of_the_help() {
        let manual = include_str!("../docs/docker-label-proxy.8");
        let section = |name: &str| {
            let (_, section) = manual.split_once(&format!(".Sh {name}\n")).expect(name);
            section.split_once("\n.Sh ").expect("another section").0
        };
        // `.It Fl Fl label Ar KEY Ns Op = Ns Ar VALUE` is `--label KEY=VALUE`.
        let option = |line: &str| {
            let long = line.split_once("Fl Fl ")?.1;
            let long = long.replace(" Ns ", "").replace("Op ", "");
            Some(format!("--{}", long.replace("Ar ", "")))
        };
        let items = section("OPTIONS")
            .lines()
            .filter(|line| line.starts_with(".It "));
        let items: Vec<String> = items.filter_map(option).collect();
        assert_eq!(items, written());

        let synopsis = section("SYNOPSIS");
        let named = synopsis.split("Fl Fl ").skip(1);
        let named = named.map(|rest| rest.split_whitespace().next().unwrap_or_default());
        let options = OPTIONS.iter().flat_map(|(_, options)| *options);
        let names: Vec<&str> = options.map(|option| option.name).collect();
        assert_eq!(named.collect::<Vec<_>>(), names);
    }
}
