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
//! The floors, from the ground up; each uses only those below it:
//!
//! 1. `error`, `text`, `labels`, `policy`: values.
//! 2. `json`, `http1`, `http2`: formats and protocols, which know nothing of labels.
//! 3. `inject`: the label injector, from the client's request to the labelled one.
//! 4. `proxy`: sockets, connections, and the bytes between them.
//! 5. `args`, `main` and this file: the program.
//!
//! Start reading at `proxy::connection`, then `inject::routes`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

pub mod args;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod http1;
mod http2;
mod inject;
mod json;
mod labels;
mod policy;
mod proxy;
mod text;

pub use error::Error;
pub use labels::{Label, Labels};
pub use proxy::listener::Access;

use policy::{Policy, Sockets};
use proxy::cgroup;
use proxy::listener::{self, Listener};
use proxy::settings::{ClientTimes, Settings, Shared};

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
    let socket_mounts = match args.redirects_socket_mounts {
        true => Some(Sockets {
            daemon: absolute(&args.daemon)?,
            proxy: absolute(&args.listen)?,
        }),
        false => None,
    };
    let policy = Policy {
        labels: args.labels,
        is_strict: args.is_strict,
        cgroup_parent: args.cgroup_parent,
        socket_mounts,
    };
    let max_connections = listener::allow_connections(args.max_connections);
    let settings = Arc::new(Settings {
        daemon: args.daemon,
        policy,
        shared: Shared::default(),
        client_times: ClientTimes::default(),
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
