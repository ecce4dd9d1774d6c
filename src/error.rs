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

/// A request that the proxy answers itself instead of passing it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status of the answer.
    pub(crate) status: u16,
    /// What the client is told, without the program's name.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
        }
    }

    /// 400: the request is malformed, or it means different things to different readers.
    pub(crate) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, message)
    }

    /// 502: the daemon cannot be reached, or what it sends is no HTTP.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Refusal {
        Refusal::new(502, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}
