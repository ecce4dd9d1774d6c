//! Why bytes are not HTTP/1.1, or mean different things to different readers. Says what is wrong,
//! not how a client is told: which status stands for which error is left to the callers.

use std::fmt;

use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS};

/// Why a head, a body, a target or a query cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// A line of the head ends in LF without CR.
    BareLf,
    /// An empty line precedes the head.
    LeadingEmptyLine,
    /// The head has more than [`MAX_HEAD_BYTES`].
    HeadTooLarge,
    /// The head has more than [`MAX_HEADERS`] lines.
    TooManyHeaders,
    /// The head breaks the grammar of RFC 9112.
    MalformedHead(httparse::Error),
    /// The head ends before its empty line.
    TruncatedHead,
    /// The head is the preface of HTTP/2.
    Http2,
    /// The HTTP version is neither 1.0 nor 1.1.
    UnsupportedVersion,
    /// The status of a response, which is below 100.
    InvalidStatus(u16),
    /// A request of HTTP/1.1 without `Host` (RFC 9112 section 3.2).
    MissingHost,
    /// Several `Host` lines (RFC 9112 section 3.2).
    RepeatedHost,
    /// The value of an `Expect` that is not `100-continue`, escaped.
    UnsupportedExpectation(String),
    /// `Transfer-Encoding` beside `Content-Length`.
    LengthAndCoding,
    /// `Transfer-Encoding` with HTTP/1.0.
    CodingWithHttp10,
    /// Several `Transfer-Encoding` lines.
    RepeatedCoding,
    /// The value of a `Transfer-Encoding` that is not `chunked`, escaped.
    UnsupportedCoding(String),
    /// Several `Content-Length` lines.
    RepeatedLength,
    /// The value of a `Content-Length` that is not a length, or one of several that differ,
    /// escaped.
    InvalidLength(String),
    /// A chunk size without digits, and the byte in their place.
    MissingChunkSize(u8),
    /// A chunk size of more than 16 digits, and the byte behind those.
    ChunkSizeTooLong(u8),
    /// A byte in a chunk size that is not a hexadecimal digit.
    InvalidChunkSize(u8),
    /// A control character in a chunk extension.
    InvalidChunkExtension(u8),
    /// A chunk longer than its size, and its first byte too many.
    ChunkTooLong(u8),
    /// A byte that cannot stand in the name of a trailer.
    InvalidTrailerName(u8),
    /// A control character in the value of a trailer.
    InvalidTrailerValue(u8),
    /// CR without LF in a chunked body, and the byte in place of the LF.
    BareCr(u8),
    /// A line of a chunked body, or all of its trailers, are too long.
    ChunkLineTooLong,
    /// A request target that is neither a path nor an absolute URL.
    InvalidTarget(String),
    /// A path with a `%` without two hexadecimal digits.
    InvalidPathEncoding(String),
    /// A parameter that must be given once and is given several times.
    RepeatedParameter(String),
    /// A parameter whose name is written in other case than it should be.
    MiscasedParameter {
        /// As it is written.
        written: String,
        /// As it should be written.
        name: String,
    },
}

impl From<httparse::Error> for Error {
    fn from(error: httparse::Error) -> Error {
        match error {
            httparse::Error::TooManyHeaders => Error::TooManyHeaders,
            httparse::Error::Version => Error::UnsupportedVersion,
            error => Error::MalformedHead(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BareLf => f.write_str("a line of the head ends in LF without CR"),
            Error::LeadingEmptyLine => f.write_str("an empty line precedes the head"),
            Error::HeadTooLarge => write!(f, "the head is longer than {MAX_HEAD_BYTES} bytes"),
            Error::TooManyHeaders => write!(f, "the head has more than {MAX_HEADERS} lines"),
            Error::MalformedHead(error) => write!(f, "malformed head: {error}"),
            Error::TruncatedHead => f.write_str("malformed head: incomplete"),
            Error::Http2 => f.write_str("HTTP/2 is not supported here; use HTTP/1.1"),
            Error::UnsupportedVersion => f.write_str("the HTTP version is neither 1.0 nor 1.1"),
            Error::InvalidStatus(status) => write!(f, "the status is {status:03}, below 100"),
            Error::MissingHost => f.write_str("the Host header is missing"),
            Error::RepeatedHost => f.write_str("Host is given twice"),
            Error::UnsupportedExpectation(value) => {
                write!(f, "Expect \"{value}\" is not \"100-continue\"")
            }
            Error::LengthAndCoding => {
                f.write_str("both Transfer-Encoding and Content-Length are given")
            }
            Error::CodingWithHttp10 => f.write_str("Transfer-Encoding is given with HTTP/1.0"),
            Error::RepeatedCoding => f.write_str("Transfer-Encoding is given twice"),
            Error::UnsupportedCoding(value) => {
                write!(f, "Transfer-Encoding \"{value}\" is not \"chunked\"")
            }
            Error::RepeatedLength => f.write_str("Content-Length is given twice"),
            Error::InvalidLength(value) => {
                write!(f, "Content-Length \"{value}\" is not a length")
            }
            Error::MissingChunkSize(byte) => chunk(f, "a chunk size without digits", *byte),
            Error::ChunkSizeTooLong(byte) => chunk(f, "a chunk size of more than 16 digits", *byte),
            Error::InvalidChunkSize(byte) => {
                chunk(f, "a chunk size that is not hexadecimal", *byte)
            }
            Error::InvalidChunkExtension(byte) => {
                chunk(f, "a control character in an extension", *byte)
            }
            Error::ChunkTooLong(byte) => chunk(f, "a chunk longer than its size", *byte),
            Error::InvalidTrailerName(byte) => chunk(f, "an invalid trailer name", *byte),
            Error::InvalidTrailerValue(byte) => chunk(f, "a control character in a trailer", *byte),
            Error::BareCr(byte) => chunk(f, "CR without LF", *byte),
            Error::ChunkLineTooLong => f.write_str("malformed chunked body: a line is too long"),
            Error::InvalidTarget(target) => {
                write!(
                    f,
                    "request target {target:?} is neither a path nor an absolute URL"
                )
            }
            Error::InvalidPathEncoding(path) => {
                write!(f, "invalid percent-encoding in path {path:?}")
            }
            Error::RepeatedParameter(name) => {
                write!(f, "the parameter {name} is given twice; give it once")
            }
            Error::MiscasedParameter { written, name } => {
                write!(f, "the parameter {written:?} must be written {name}")
            }
        }
    }
}

fn chunk(f: &mut fmt::Formatter<'_>, what: &str, byte: u8) -> fmt::Result {
    write!(f, "malformed chunked body: {what} at byte 0x{byte:02x}")
}

impl std::error::Error for Error {}
