//! Integration tests: the real binary in front of a scripted daemon, which does what a real one
//! does not do on demand. They need neither an engine nor root.

#![allow(unreachable_pub, reason = "nothing in a test binary is reachable")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod daemon;

mod check;
mod cli;
mod creates;
mod daemon_fails;
mod ends;
mod floors;
mod framing;
mod grpc;
mod load;
mod log;
mod requests;
mod resources;
mod streams;
mod strict;
mod subrequests;

use support::Program;

/// The proxy under test.
const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));
