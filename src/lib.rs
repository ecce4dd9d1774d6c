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

use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

pub mod args;
mod chunked;
mod connection;
mod endpoint;
mod error;
mod exchange;
mod framing;
mod head;
mod inject;
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

use connection::Settings;
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
    let settings = Arc::new(Settings {
        daemon: args.daemon,
        labels: args.labels,
    });
    let accepting = Arc::clone(&listener);
    thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || accepting.serve(&settings))
        .map_err(|err| Error::Failure(format!("cannot start a thread: {err}")))?;

    let signal = signals.wait();
    listener.remove();
    log::info!("ended by {}", signal.map_or("an error", Signal::as_str));
    Ok(())
}
