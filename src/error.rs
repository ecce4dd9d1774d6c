//! The two ways to fail: the program cannot start or go on ([`Error`]), or one request is
//! answered by the proxy itself ([`Refusal`]).

use std::fmt;

/// Why the program ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line asks for something that cannot be (exit code 2).
    Usage(String),
    /// What was asked for did not work (exit code 1).
    Failure(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(message) | Error::Failure(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// Why the proxy answers a request itself. What that is on the wire, an HTTP or a gRPC status, is
/// decided where the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The request is malformed, or means different things to different readers.
    Malformed,
    /// The operator does not allow it.
    Forbidden,
    /// Something that it names does not exist.
    NotFound,
    /// Something else has the name that it gives.
    Conflict,
    /// The client takes too long to send it.
    Timeout,
    /// Its body is too large to be labelled.
    TooLarge,
    /// Its `Expect` is not `100-continue`.
    UnmetExpectation,
    /// Its head is too large.
    HeadTooLarge,
    /// Its transfer coding is not `chunked`.
    UnknownCoding,
    /// The daemon cannot be reached, or does not answer in HTTP.
    BadDaemon,
    /// The proxy has no room for it now.
    Busy,
    /// It was carried out, but not as it was labelled, and was taken back.
    Undone,
    /// The daemon takes too long.
    DaemonTimeout,
    /// Its HTTP version is not spoken.
    UnknownVersion,
}

/// A request that the proxy answers itself instead of passing it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// What the client is told, without the program's name.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            message: message.into(),
        }
    }

    /// The request is malformed, or means different things to different readers.
    pub(crate) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(Reason::Malformed, message)
    }

    /// The daemon cannot be reached, or does not answer in HTTP.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Refusal {
        Refusal::new(Reason::BadDaemon, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
