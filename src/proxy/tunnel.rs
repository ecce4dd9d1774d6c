//! A connection after a hijack: bytes both ways until both sides are done. A half-close is passed
//! on as a half-close and a full close as a full close: the daemon learns from the one that stdin
//! has ended, and from the other that its client is gone (moby's `notifyClosed`).

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use crate::limits::STACK_BYTES;
use crate::proxy::socket::{self, CloseOnPanic, Input};

/// Passes on what is buffered and what comes, until both directions have ended.
pub(crate) fn run(client: &mut Input, daemon: &mut Input) {
    let client_socket = &*client.socket().clone();
    let daemon_socket = &*daemon.socket().clone();
    let upward = || {
        let _guard = CloseOnPanic(client_socket, daemon_socket);
        pump(client, daemon_socket, |bytes| {
            socket::deliver(daemon_socket, bytes, client_socket)
        });
    };
    thread::scope(|scope| {
        let _guard = CloseOnPanic(client_socket, daemon_socket);
        let thread = thread::Builder::new()
            .name("tunnel".to_owned())
            .stack_size(STACK_BYTES);
        if let Err(err) = thread.spawn_scoped(scope, upward) {
            log::error!("cannot start a thread for a tunnel: {err}");
            return;
        }
        pump(daemon, client_socket, |bytes| {
            let mut client = client_socket;
            client.write_all(bytes)
        });
    });
}

/// Passes one direction on until `source` ends, then waits until it is closed and closes `sink`.
/// Closing wakes the pump of the other direction.
fn pump(source: &mut Input, sink: &UnixStream, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
    loop {
        if write(source.buffered()).is_err() {
            socket::shutdown(source.socket(), Shutdown::Read);
            break;
        }
        source.consume(source.buffered().len());
        if !matches!(source.fill(), Ok(1..)) {
            socket::shutdown(sink, Shutdown::Write);
            break;
        }
    }
    socket::wait_until_closed(source.socket());
    socket::shutdown(sink, Shutdown::Both);
}
