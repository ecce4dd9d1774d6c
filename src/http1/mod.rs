//! HTTP/1.1 as bytes and values: heads, bodies, request targets and queries. Knows no sockets, no
//! labels, and not how a client is told of an [`Error`].

pub(crate) mod body;
pub(crate) mod chunked;
mod error;
pub(crate) mod head;
pub(crate) mod percent;
pub(crate) mod query;
pub(crate) mod target;

pub(crate) use body::Body;
pub(crate) use error::Error;
