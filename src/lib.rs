//! A proxy for the Docker socket that adds labels to everything created through it.
//!
//! ```text
//!  client socket                                                   daemon socket
//!      │  connection: one thread per client                              ▲
//!      └─► head ─► route ─┬─ pass ─── body passes as it comes ───────────┤
//!                         └─ create ─ body or query gets the labels ─────┘
//!      ◄──────── exchange: the response, as it comes ◄───────────────────┘
//!                         │ 101, or 200 that takes the connection over
//!                         └─► tunnel: both ways, until both are done
//! ```
//!
//! The floors, from the ground up. Each uses only those below it, which `tests/it/floors.rs` checks:
//!
//! 1. `error`, `limits`, `text`, `labels`, `policy`: values.
//! 2. `json`, `http1`, `http2`: formats and protocols. They know nothing of labels or of each other.
//! 3. `inject`: the label injector, from the client's request to the labelled one.
//! 4. `proxy`: sockets, connections, and the bytes between them.
//! 5. `options`, `args`, `program` and this file: the program.
//!
//! Reading order:
//!
//! 1. `proxy::connection`: the life of a connection, which is the whole program in one file.
//! 2. `inject::routes`: the table of what is done with each request, and from there a recipe.
//! 3. `proxy::exchange`: how bytes pass, with `http1::body` for where they end.
//! 4. `proxy::http2` and `http2`, with `inject::buildkit`: the builds that come over gRPC.

pub mod args;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod http1;
mod http2;
mod inject;
mod json;
mod labels;
mod limits;
mod options;
mod policy;
mod program;
mod proxy;
mod text;

pub use error::Error;
pub use labels::{Label, Labels};
pub use program::run;
pub use proxy::listener::Access;
