//! A proxy for the Docker socket that labels all that is created through it.
//!
//! ```text
//!  client socket                                                   daemon socket
//!      │  connection: one thread per client                              ▲
//!      └─► head ─► endpoint ─┬─ pass ── body passes as it comes ─────────┤
//!                            └─ create ─ body or query gets the labels ──┘
//!      ◄──────── exchange: the response, as it comes ◄───────────────────┘
//!                            │ 101, or 200 that takes the connection over
//!                            └─► tunnel: both ways, until both are done
//! ```
//!
//! In three layers: bytes and values without sockets (`head` to `inject`), bytes in and out
//! (`wire`, `exchange`, `tunnel`), and the process (`connection`, `listener`, `args`). Start
//! reading at `connection`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

pub mod args;
mod ask;
mod buildkit;
mod cgroup;
mod chunked;
mod connection;
mod create;
mod endpoint;
mod error;
mod exchange;
mod framing;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod h2;
mod head;
mod json;
mod labels;
mod listener;
mod query;
mod reply;
mod target;
mod tunnel;
mod wire;

pub use error::Error;
pub use labels::{Label, Labels};
pub use listener::Access;

use connection::{Limits, Settings};
use create::{Policy, Redirect};
use listener::Listener;

/// Listens and serves until SIGTERM or SIGINT, then removes the socket.
///
/// # Errors
/// When the socket cannot be made.
pub fn run(args: args::Args) -> Result<(), Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Before any thread starts, so that all of them leave these signals to this one.
    signals
        .thread_block()
        .map_err(|err| Error::Failure(format!("cannot block signals: {err}")))?;

    let listener = Arc::new(Listener::bind(&args.listen, args.access)?);
    log::info!(
        "listening on {:?} for the daemon at {:?}",
        args.listen,
        args.daemon
    );
    if let Some(parent) = args.cgroup_parent.clone() {
        let daemon = args.daemon.clone();
        spawn("cgroup", move || cgroup::check(&parent, &daemon))?;
    }
    let redirect = match args.redirects_socket_mounts {
        true => Some(Redirect {
            daemon: absolute(&args.daemon)?,
            proxy: absolute(&args.listen)?,
        }),
        false => None,
    };
    let policy = Policy {
        labels: args.labels,
        cgroup_parent: args.cgroup_parent,
        redirect,
    };
    let max_connections = listener::allow_connections(args.max_connections);
    let settings = Arc::new(Settings {
        daemon: args.daemon,
        policy,
        is_strict: args.is_strict,
        limits: Limits::default(),
    });
    let accepting = Arc::clone(&listener);
    spawn("accept", move || {
        accepting.serve(&settings, max_connections)
    })?;

    let signal = signals.wait();
    listener.remove();
    log::info!("ended by {}", signal.map_or("an error", Signal::as_str));
    Ok(())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread
        .map(drop)
        .map_err(|err| Error::Failure(format!("cannot start a thread: {err}")))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|err| Error::Failure(format!("{path:?}: {err}")))
}
