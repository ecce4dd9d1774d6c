//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::unistd::{Group, User};

use crate::error::Error;
use crate::labels::{self, Label, Labels};
use crate::proxy::listener::Access;

/// Clients served at a time unless the operator says otherwise. Each may have two threads, and each
/// thread takes two of the 65,530 memory maps that Linux gives a process (`vm.max_map_count`).
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: docker-label-proxy --label KEY=VALUE ... --listen PATH [--daemon PATH]

Passes everything between a Docker client and the Docker daemon, and adds labels
to all that the client creates.

Labels (at least one):
  --label KEY=VALUE     a label to add; KEY alone has an empty value; repeatable
  --label-file FILE     a file of labels, one a line, '#' begins a comment; repeatable

Sockets:
  --listen PATH         the socket to listen on, for the clients
  --daemon PATH         the daemon's socket [default: /var/run/docker.sock]
  --socket-mode MODE    permissions of the listening socket, octal [default: 0660]
  --socket-user USER    owner of the listening socket, a name or number
  --socket-group GROUP  group of the listening socket, a name or number

  --max-connections N   clients served at a time; others get an error [default: 10000]

What else is done with creates:
  --cgroup-parent PATH  put containers under this cgroup: a path, or the name of a slice
                        where the daemon's cgroup driver is systemd
  --strict              refuse what cannot be labelled (loading images, plugins, ...)
                        instead of passing it on with a warning
  --redirect-socket-mounts
                        mount the listening socket where a container asks for a bind
                        mount of the daemon's socket

Other:
  --help                print this
  --version             print the version

Environment:
  RUST_LOG              error, warn, info (default), debug: what is logged on stderr

Exit status: 0 ended by SIGTERM or SIGINT, 1 something failed, 2 wrong usage.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
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
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let mut labels = Vec::new();
    let mut max_connections = DEFAULT_MAX_CONNECTIONS;
    let mut cgroup_parent = None;
    let mut is_strict = false;
    let mut redirects_socket_mounts = false;
    let mut listen = None;
    let mut daemon = None;
    let mut access = Access {
        mode: 0o660,
        uid: None,
        gid: None,
    };
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("label") => labels.push(Label::parse(&text(&mut parser, "--label")?)?),
            Long("label-file") => {
                let path = PathBuf::from(parser.value().map_err(usage)?);
                labels.extend(labels::read_file(&path)?);
            }
            Long("listen") => listen = Some(PathBuf::from(parser.value().map_err(usage)?)),
            Long("daemon") => daemon = Some(PathBuf::from(parser.value().map_err(usage)?)),
            Long("socket-mode") => access.mode = mode(&text(&mut parser, "--socket-mode")?)?,
            Long("socket-user") => access.uid = Some(uid(&text(&mut parser, "--socket-user")?)?),
            Long("socket-group") => access.gid = Some(gid(&text(&mut parser, "--socket-group")?)?),
            Long("max-connections") => {
                max_connections = number(&text(&mut parser, "--max-connections")?)?;
            }
            Long("cgroup-parent") => {
                let parent = text(&mut parser, "--cgroup-parent")?;
                if parent.is_empty() || parent.contains(char::is_control) {
                    let what = format!("--cgroup-parent {parent:?} is no name of a cgroup");
                    return Err(Error::Usage(what));
                }
                cgroup_parent = Some(parent);
            }
            Long("strict") => is_strict = true,
            Long("redirect-socket-mounts") => redirects_socket_mounts = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            _ => return Err(usage(arg.unexpected())),
        }
    }
    let labels = Labels::new(labels)?;
    let listen = listen
        .ok_or_else(|| Error::Usage("no socket to listen on; use --listen PATH".to_owned()))?;
    let daemon = daemon.unwrap_or_else(|| PathBuf::from("/var/run/docker.sock"));
    if listen == daemon {
        return Err(Error::Usage(format!(
            "--listen and --daemon are the same socket {listen:?}"
        )));
    }
    Ok(Command::Run(Args {
        labels,
        listen,
        daemon,
        access,
        max_connections,
        cgroup_parent,
        is_strict,
        redirects_socket_mounts,
    }))
}

fn usage(err: lexopt::Error) -> Error {
    Error::Usage(err.to_string())
}

fn text(parser: &mut lexopt::Parser, option: &str) -> Result<String, Error> {
    let value = parser.value().map_err(usage)?;
    value
        .into_string()
        .map_err(|value| Error::Usage(format!("{option} {value:?} is not valid UTF-8")))
}

fn mode(text: &str) -> Result<u32, Error> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or_else(|| {
        Error::Usage(format!(
            "--socket-mode {text:?} is no octal number from 0 to 0777"
        ))
    })
}

fn number(text: &str) -> Result<usize, Error> {
    let number = text
        .parse()
        .ok()
        .filter(|&number| number > 0 && !text.starts_with('+'));
    number.ok_or_else(|| Error::Usage(format!("--max-connections {text:?} is no number from 1 on")))
}

fn uid(name: &str) -> Result<u32, Error> {
    let found = name
        .parse()
        .ok()
        .or_else(|| User::from_name(name).ok()?.map(|user| user.uid.as_raw()));
    found.ok_or_else(|| Error::Usage(format!("--socket-user {name:?} is no user of this system")))
}

fn gid(name: &str) -> Result<u32, Error> {
    let found = name
        .parse()
        .ok()
        .or_else(|| Group::from_name(name).ok()?.map(|group| group.gid.as_raw()));
    found.ok_or_else(|| {
        Error::Usage(format!(
            "--socket-group {name:?} is no group of this system"
        ))
    })
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
    fn what_is_not_said_has_a_default() {
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
                "--socket-mode \"0888\" is no octal number from 0 to 0777",
            ),
            (
                "--socket-mode 1777",
                "--socket-mode \"1777\" is no octal number from 0 to 0777",
            ),
            (
                "--max-connections 0",
                "--max-connections \"0\" is no number from 1 on",
            ),
            (
                "--max-connections many",
                "--max-connections \"many\" is no number from 1 on",
            ),
            (
                "--socket-user no-such-user",
                "--socket-user \"no-such-user\" is no user of this system",
            ),
            (
                "--socket-group no-such-group",
                "--socket-group \"no-such-group\" is no group of this system",
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
}
