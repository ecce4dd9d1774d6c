//! Why an HTTP/2 connection or one of its streams ends (RFC 9113 section 7).

/// An error code that the proxy uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    No = 0,
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 0xb,
    Http11Required = 0xd,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionError {
    pub(crate) code: Code,
    /// What is wrong, for the log and for the peer.
    pub(crate) what: String,
}

impl ConnectionError {
    pub(crate) fn new(code: Code, what: impl Into<String>) -> ConnectionError {
        ConnectionError {
            code,
            what: what.into(),
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> ConnectionError {
        ConnectionError::new(Code::Protocol, what)
    }
}
