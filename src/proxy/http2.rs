//! Relays an HTTP/2 connection: moves bytes between the two sockets and [`Connection`], which
//! knows what they mean.
//!
//! One thread serves both directions. What comes from one end may have to go to either, and while
//! one end is slow to read, the other must still be read.

use std::net::Shutdown;

use crate::http2::frame::FrameWriter;
use crate::http2::{Connection, ConnectionError, Start};
use crate::inject::buildkit::BuildKitCalls;
use crate::limits::LAST_WORD_LIMIT;
use crate::policy::Policy;
use crate::proxy::poll::{self, Interest};
use crate::proxy::socket::{self, Input};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sockets are shut down.
    Closed,
    /// The client has been told why; it may still be sending.
    Failed,
    /// The daemon does not speak HTTP/2, and the client has been told nothing.
    NotSpoken,
}

/// One socket.
struct Side<'i> {
    input: &'i mut Input,
    /// Whether it sends no more.
    has_ended: bool,
    /// Whether it is closed both ways.
    is_gone: bool,
    /// Whether it has been told that nothing more comes.
    is_told: bool,
    /// Whether the buffer may hold frames that have to wait.
    is_held: bool,
}

impl<'i> Side<'i> {
    fn new(input: &'i mut Input) -> Side<'i> {
        Side {
            input,
            has_ended: false,
            is_gone: false,
            is_told: false,
            is_held: false,
        }
    }

    /// Whether everything that it sent has been taken.
    fn is_done(&self) -> bool {
        self.has_ended && !self.is_held
    }

    /// Writes what the socket takes now.
    fn write(&mut self, out: &mut FrameWriter) {
        while !out.is_empty() && !self.is_gone {
            match socket::write_some(self.input.socket(), out.front()) {
                Ok(0) => return,
                Ok(n) => out.consume(n),
                Err(_) => self.is_gone = true,
            }
        }
        if self.is_gone {
            out.clear();
        }
    }

    /// Tells it that nothing more comes.
    fn tell_end(&mut self) {
        if !self.is_told {
            self.is_told = true;
            socket::shutdown(self.input.socket(), Shutdown::Write);
        }
    }

    /// Takes note of what happened to the socket, and reads what it sent.
    fn note(&mut self, event: Interest) {
        self.is_gone |= event.gone;
        if event.read && !matches!(self.input.fill(), Ok(1..)) {
            self.has_ended = true;
        }
    }
}

struct Relay<'i, 'p> {
    client: Side<'i>,
    daemon: Side<'i>,
    connection: Connection<BuildKitCalls<'p>>,
}

/// Relays until the client or the daemon is done, or one of them is gone.
pub(crate) fn run(
    number: u64,
    policy: &Policy,
    start: Start,
    client: &mut Input,
    daemon: &mut Input,
) -> End {
    let mut relay = Relay {
        client: Side::new(client),
        daemon: Side::new(daemon),
        connection: Connection::new(number, BuildKitCalls { policy }, start),
    };
    let end = match relay.run() {
        Ok(()) if relay.connection.is_spoken() => End::Closed,
        Err(error) if relay.connection.is_spoken() => relay.fail(&error),
        _ => End::NotSpoken,
    };
    socket::shutdown(relay.daemon.input.socket(), Shutdown::Both);
    if end == End::Closed {
        socket::shutdown(relay.client.input.socket(), Shutdown::Both);
    }
    end
}

impl Relay<'_, '_> {
    fn run(&mut self) -> Result<(), ConnectionError> {
        loop {
            self.take()?;
            self.flush();
            if self.client.is_held && self.connection.listens_to_client()
                || self.daemon.is_held && self.connection.listens_to_daemon()
            {
                continue;
            }
            if self.is_over() || !self.wait() {
                return Ok(());
            }
        }
    }

    /// Passes what was read to the connection.
    fn take(&mut self) -> Result<(), ConnectionError> {
        self.daemon.is_held = !self.connection.listens_to_daemon();
        if !self.daemon.is_held {
            let input = &mut self.daemon.input;
            let used = self.connection.take_from_daemon(input.buffered());
            input.consume(used.inspect_err(|error| {
                log::debug!("#{} the daemon: {}", self.connection.number, error.what);
            })?);
        }
        self.client.is_held = !self.connection.listens_to_client();
        if !self.client.is_held {
            let input = &mut self.client.input;
            let used = self.connection.take_from_client(input.buffered())?;
            input.consume(used);
            // It may have stopped at a backlog, with whole frames left.
            self.client.is_held = !self.connection.listens_to_client();
        }
        Ok(())
    }

    /// Writes what the connection has for the two ends.
    fn flush(&mut self) {
        // While the daemon has said nothing, the client may still get an HTTP/1.1 answer.
        let is_spoken = self.connection.is_spoken();
        let Relay {
            client,
            daemon,
            connection,
        } = self;
        client.write(&mut connection.to_client);
        daemon.write(&mut connection.to_daemon);
        let is_sent = connection.to_daemon.is_empty() && !connection.has_waiting();
        if client.is_done() && is_sent {
            daemon.tell_end();
        }
        if is_spoken && daemon.is_done() && connection.to_client.is_empty() {
            client.tell_end();
        }
    }

    /// Whether nothing is left to relay.
    fn is_over(&self) -> bool {
        let Relay {
            client,
            daemon,
            connection,
        } = self;
        let is_sent_up = connection.to_daemon.is_empty();
        let is_sent_down = connection.to_client.is_empty();
        client.is_done() && client.is_gone && is_sent_up
            || daemon.is_done() && daemon.is_gone && is_sent_down
            || client.is_done() && daemon.is_done() && is_sent_up && is_sent_down
    }

    /// Waits until something can be read or written, or an end is gone. Returns false if waiting
    /// longer is of no use.
    fn wait(&mut self) -> bool {
        let connection = &self.connection;
        let client_wish = Interest {
            read: !self.client.has_ended && (connection.listens_to_client() || self.client.is_gone),
            write: !connection.to_client.is_empty(),
            gone: !self.client.is_gone,
        };
        let daemon_wish = Interest {
            read: !self.daemon.has_ended && connection.listens_to_daemon(),
            write: !connection.to_daemon.is_empty(),
            gone: !self.daemon.is_gone,
        };
        let limit = self.client.is_gone.then_some(LAST_WORD_LIMIT);
        let sockets = [
            (&**self.client.input.socket(), client_wish),
            (&**self.daemon.input.socket(), daemon_wish),
        ];
        match poll::wait(sockets, limit) {
            Ok([client, daemon]) if client.is_any() || daemon.is_any() => {
                self.client.note(client);
                self.daemon.note(daemon);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Tells the client why the connection ends.
    fn fail(&mut self, error: &ConnectionError) -> End {
        let number = self.connection.number;
        log::info!("#{number} HTTP/2 ends: {:?}: {}", error.code, error.what);
        self.connection.fail(error);
        loop {
            self.client.write(&mut self.connection.to_client);
            if self.connection.to_client.is_empty() {
                return End::Failed;
            }
            let socket = self.client.input.socket();
            let result = poll::wait([(socket, Interest::WRITE)], Some(LAST_WORD_LIMIT));
            if !matches!(result, Ok([event]) if event.is_any()) {
                return End::Failed;
            }
        }
    }
}
