//! What the integration tests, the end-to-end tests, the soak and the benchmark share: the proxy as
//! a child process, one end of a connection, and messages, frames and directories to test with.
//!
//! Helpers here fail by panicking with the reason, since a failed helper is a failed test. What a
//! single suite needs (the scripted daemon, the engine, the operations of the soak) stays there.

mod docker;
pub mod frames;
mod kind;
mod message;
mod patience;
mod proxy;
mod temp_dir;
mod usage;
mod wire;

pub use docker::docker;
pub use kind::Kind;
pub use message::{Framing, Message, Text, find};
pub use patience::{PATIENCE, happens, wait_until};
pub use proxy::{Program, Proxy};
pub use temp_dir::TempDir;
pub use usage::Usage;
pub use wire::Wire;
