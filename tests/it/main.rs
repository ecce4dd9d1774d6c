//! Integration tests: the real binary in front of a scripted daemon, for what a real one does
//! not do on demand. No engine and no root needed.

// A test binary has no outside, and what goes wrong in its helpers is a failed test.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod daemon;

mod cli;
mod creates;
mod daemon_fails;
mod ends;
mod framing;
mod grpc;
mod load;
mod questions;
mod requests;
mod resources;
mod streams;

use support::Program;

/// The proxy under test.
const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));
