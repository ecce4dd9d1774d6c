//! The command line: what it asks for. Leaves which options there are to `options`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;
use crate::labels::Labels;
use crate::options::{CommandOption, Draft, Effect, OPTIONS, options_help};
use crate::proxy::listener::Access;

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

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    format!("{USAGE}{}{AFTER_OPTIONS}", options_help())
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

impl Args {
    /// What the arguments say together.
    fn of(draft: Draft) -> Result<Args, Error> {
        let labels = Labels::new(draft.labels)?;
        let listen = draft
            .listen
            .ok_or_else(|| Error::Usage("no socket to listen on; use --listen PATH".to_owned()))?;
        if listen == draft.daemon {
            return Err(Error::Usage(format!(
                "--listen and --daemon are the same socket {listen:?}"
            )));
        }
        Ok(Args {
            labels,
            listen,
            daemon: draft.daemon,
            access: draft.access,
            max_connections: draft.max_connections,
            cgroup_parent: draft.cgroup_parent,
            is_strict: draft.is_strict,
            redirects_socket_mounts: draft.redirects_socket_mounts,
        })
    }
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
            Some((name, Effect::Text(_, set))) => {
                let text = parser.value().map_err(usage)?.into_string();
                let not_text =
                    |value| Error::Usage(format!("--{name} {value:?} is not valid UTF-8"));
                set(&mut draft, &text.map_err(not_text)?)?;
            }
            Some((_, Effect::Path(_, set))) => {
                let value = parser.value().map_err(usage)?;
                set(&mut draft, PathBuf::from(value))?;
            }
            Some((_, Effect::Flag(set))) => set(&mut draft),
            Some((_, Effect::Help)) => return Ok(Command::Help),
            Some((_, Effect::Version)) => return Ok(Command::Version),
            None => return Err(usage(arg.unexpected())),
        }
    }
    Args::of(draft).map(Command::Run)
}

fn usage(err: lexopt::Error) -> Error {
    Error::Usage(err.to_string())
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
