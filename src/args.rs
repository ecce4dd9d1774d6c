//! The command line. One table has every option: what is parsed, what `--help` prints, and what the
//! tests compare README and the manual page with.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use nix::unistd::{Group, User};

use crate::error::Error;
use crate::labels::{self, Label, Labels};
use crate::limits::DEFAULT_MAX_CONNECTIONS;
use crate::proxy::listener::Access;

/// The daemon's socket unless the operator says otherwise.
const DEFAULT_DAEMON: &str = "/var/run/docker.sock";

/// Where the explanation of an option begins in its line, in characters.
const EXPLANATION_COLUMN: usize = 24;

const USAGE: &str = "\
Usage: docker-label-proxy --label KEY=VALUE ... --listen PATH [--daemon PATH]

Passes everything between a Docker client and the Docker daemon, and adds labels
to all that the client creates.

";

const AFTER_OPTIONS: &str = "
Environment:
  RUST_LOG              error, warn, info (default), debug: what is logged on stderr

Exit status: 0 ended by SIGTERM or SIGINT, 1 something failed, 2 wrong usage.
";

/// An option.
struct CommandOption {
    /// Its name, without dashes.
    name: &'static str,
    short: Option<char>,
    /// What it does, in lines that fit behind its name.
    explanation: &'static str,
    effect: Effect,
}

/// What an option does; those with a value begin with what stands for it in the texts.
enum Effect {
    Text(&'static str, fn(&mut Draft, &str) -> Result<(), Error>),
    Path(&'static str, fn(&mut Draft, PathBuf) -> Result<(), Error>),
    Flag(fn(&mut Draft)),
    Command(fn() -> Command),
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

/// An option that asks for something else than the proxy.
const fn command(
    name: &'static str,
    short: char,
    command: fn() -> Command,
    explanation: &'static str,
) -> CommandOption {
    CommandOption {
        name,
        short: Some(short),
        explanation,
        effect: Effect::Command(command),
    }
}

/// All options, in the sections of the texts.
const OPTIONS: &[(&str, &[CommandOption])] = &[
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
            command("help", 'h', || Command::Help, "print this"),
            command("version", 'V', || Command::Version, "print the version"),
        ],
    ),
];

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    format!("{USAGE}{}{AFTER_OPTIONS}", options_help())
}

/// The part of the help with all options.
fn options_help() -> String {
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
    fn placeholder(&self) -> String {
        match self {
            Text(value, _) | Path(value, _) => format!(" {value}"),
            Flag(_) | Effect::Command(_) => String::new(),
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`help`].
    Help,
    /// Print the version.
    Version,
    /// Be the proxy.
    Run(Args),
}

/// How to be the proxy.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// The labels to add.
    pub labels: Labels,
    /// The path of the socket to listen on.
    pub listen: PathBuf,
    /// The path of the daemon's socket.
    pub daemon: PathBuf,
    /// Who may connect.
    pub access: Access,
    /// How many clients are served at a time.
    pub max_connections: usize,
    /// The cgroup that containers are put under.
    pub cgroup_parent: Option<String>,
    /// Whether what cannot be labelled is refused.
    pub is_strict: bool,
    /// Whether bind mounts of the daemon's socket become mounts of the listening one.
    pub redirects_socket_mounts: bool,
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// When an argument is wrong, a needed one is missing, or a label file cannot be used.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut draft = Draft::default();
    while let Some(arg) = parser.next().map_err(usage)? {
        let is_arg = |option: &&CommandOption| match arg {
            lexopt::Arg::Long(name) => name == option.name,
            lexopt::Arg::Short(short) => option.short == Some(short),
            lexopt::Arg::Value(_) => false,
        };
        let mut options = OPTIONS.iter().flat_map(|(_, options)| *options);
        let option = options.find(is_arg);
        match option.map(|option| (option.name, &option.effect)) {
            Some((name, Text(_, set))) => {
                let text = parser.value().map_err(usage)?.into_string();
                let not_text =
                    |value| Error::Usage(format!("--{name} {value:?} is not valid UTF-8"));
                set(&mut draft, &text.map_err(not_text)?)?;
            }
            Some((_, Path(_, set))) => {
                let value = parser.value().map_err(usage)?;
                set(&mut draft, PathBuf::from(value))?;
            }
            Some((_, Flag(set))) => set(&mut draft),
            Some((_, Effect::Command(command))) => return Ok(command()),
            None => return Err(usage(arg.unexpected())),
        }
    }
    draft.finish().map(Command::Run)
}

fn usage(err: lexopt::Error) -> Error {
    Error::Usage(err.to_string())
}

/// What has been read of the arguments.
struct Draft {
    labels: Vec<Label>,
    listen: Option<PathBuf>,
    daemon: PathBuf,
    access: Access,
    max_connections: usize,
    cgroup_parent: Option<String>,
    is_strict: bool,
    redirects_socket_mounts: bool,
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
    fn finish(self) -> Result<Args, Error> {
        let labels = Labels::new(self.labels)?;
        let listen = self
            .listen
            .ok_or_else(|| Error::Usage("no socket to listen on; use --listen PATH".to_owned()))?;
        if listen == self.daemon {
            return Err(Error::Usage(format!(
                "--listen and --daemon are the same socket {listen:?}"
            )));
        }
        Ok(Args {
            labels,
            listen,
            daemon: self.daemon,
            access: self.access,
            max_connections: self.max_connections,
            cgroup_parent: self.cgroup_parent,
            is_strict: self.is_strict,
            redirects_socket_mounts: self.redirects_socket_mounts,
        })
    }

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

    fn run(line: &str) -> Result<Args, String> {
        match parse(line.split_whitespace().map(OsString::from)).map_err(|err| err.to_string())? {
            Command::Run(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn an_option_that_is_not_given_has_a_default() {
        let args = run("--listen /run/x.sock --label a=b").unwrap();
        assert_eq!(args.daemon, PathBuf::from("/var/run/docker.sock"));
        assert_eq!(args.max_connections, 10_000);
        assert_eq!(
            args.access,
            Access {
                mode: 0o660,
                uid: None,
                gid: None
            }
        );
        let args = run("--label=a --label b=c --listen x --daemon y --socket-mode 600 --socket-user root --socket-group 7").unwrap();
        assert_eq!(args.labels.iter().count(), 2);
        assert_eq!(
            args.access,
            Access {
                mode: 0o600,
                uid: Some(0),
                gid: Some(7)
            }
        );
    }

    #[test]
    fn a_wrong_command_line_is_told_by_name() {
        for (line, expected) in [
            (
                "--listen x",
                "no label given; use --label KEY=VALUE or --label-file FILE",
            ),
            ("--label a", "no socket to listen on; use --listen PATH"),
            (
                "--label a --listen x --daemon x",
                "--listen and --daemon are the same socket \"x\"",
            ),
            ("--label a --listen x y", "unexpected argument \"y\""),
            ("--frobnicate", "invalid option '--frobnicate'"),
            ("--label", "missing argument for option '--label'"),
            (
                "--socket-mode 0888",
                "--socket-mode \"0888\" must be an octal number from 0 to 0777",
            ),
            (
                "--socket-mode 1777",
                "--socket-mode \"1777\" must be an octal number from 0 to 0777",
            ),
            (
                "--max-connections 0",
                "--max-connections \"0\" must be a number, 1 or more",
            ),
            (
                "--max-connections many",
                "--max-connections \"many\" must be a number, 1 or more",
            ),
            (
                "--socket-user no-such-user",
                "--socket-user \"no-such-user\": there is no such user",
            ),
            (
                "--socket-group no-such-group",
                "--socket-group \"no-such-group\": there is no such group",
            ),
        ] {
            assert_eq!(run(line).unwrap_err(), expected);
        }
    }

    #[test]
    fn help_and_version_ask_for_nothing_else() {
        assert_eq!(parse(["--help".into()]), Ok(Command::Help));
        assert_eq!(parse(["--version".into()]), Ok(Command::Version));
    }

    /// How the texts write all options, such as `--label KEY=VALUE`.
    fn written() -> Vec<String> {
        let options = OPTIONS.iter().flat_map(|(_, options)| *options);
        let written = options.map(|o| format!("--{}{}", o.name, o.effect.placeholder()));
        written.collect()
    }

    #[test]
    fn the_help_has_the_options_and_their_defaults() {
        let help = help();
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

    #[test]
    fn a_short_option_is_its_long_one() {
        for (_, options) in OPTIONS {
            for option in options.iter().filter(|option| option.short.is_some()) {
                let short: String = ['-'].into_iter().chain(option.short).collect();
                let long = format!("--{}", option.name);
                assert_eq!(parse([short.into()]), parse([long.into()]));
            }
        }
    }
}
