//! The program: one process that listens, serves until a signal comes, and removes its socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::args::Args;
use crate::error::Error;
use crate::policy::{Policy, Sockets};
use crate::proxy::cgroup;
use crate::proxy::listener::{self, Listener};
use crate::proxy::settings::{ClientTimes, Settings, Shared};

/// Listens and serves until SIGTERM or SIGINT, then removes the socket.
///
/// # Errors
/// When the socket cannot be made.
pub fn run(args: Args) -> Result<(), Error> {
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
    let max_connections = listener::allow_connections(args.max_connections);
    let settings = Arc::new(settings(args)?);
    let accepting = Arc::clone(&listener);
    spawn("accept", move || {
        accepting.serve(&settings, max_connections)
    })?;

    let signal = signals.wait();
    listener.remove();
    log::info!("ended by {}", signal.map_or("an error", Signal::as_str));
    Ok(())
}

fn settings(args: Args) -> Result<Settings, Error> {
    let socket_mounts = if args.redirects_socket_mounts {
        Some(Sockets {
            daemon: absolute(&args.daemon)?,
            proxy: absolute(&args.listen)?,
        })
    } else {
        None
    };
    Ok(Settings {
        daemon: args.daemon,
        policy: Policy {
            labels: args.labels,
            is_strict: args.is_strict,
            cgroup_parent: args.cgroup_parent,
            socket_mounts,
        },
        shared: Shared::default(),
        client_times: ClientTimes::default(),
    })
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
