//! JSON as the daemon reads it, edited so that everything else keeps its exact text: order, digits
//! and escapes of what is not ours. Knows how Go's `encoding/json` and Podman's json-iterator find
//! a field and merge what is there twice; leaves what the members mean to others.

mod decode;
mod edit;
mod error;
mod names;
mod object;
mod write;

pub(crate) use decode::decode;
pub(crate) use edit::List;
pub(crate) use error::{Error, MemberError};
pub(crate) use object::{Object, string_map};
pub(crate) use write::{list, map, set, string};
