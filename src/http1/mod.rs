//! HTTP/1.1 as bytes and values: heads, bodies, request targets and queries. Knows no sockets and
//! nothing of labels.

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod percent;
pub(crate) mod query;
pub(crate) mod target;
