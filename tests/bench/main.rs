//! What the proxy costs, in a release build: the time of exchanges, and the memory of thousands of
//! clients. It prints the tables in "Figures" of docs/design.md.
//!
//! Exchanges go through the proxy and straight to the same daemon in turn, so other work of the
//! machine slows down both. The daemon is the benchmark's own and does next to nothing. If
//! `DOCKER_LABEL_PROXY_TEST_ENGINE` names a real daemon, that is measured too. `BENCH_ROUNDS` (5)
//! is the number of rounds.

#![allow(unreachable_pub, reason = "nothing of a program is reachable")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failure should end the run, and printing is its purpose"
)]

mod conn;
mod daemon;
mod engine;
mod memory;
mod times;

use std::env;
use std::fs;
use std::path::Path;

use support::{Program, Proxy, TempDir};

use times::Times;

/// The proxy under test.
const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));

/// The labels of the proxy.
const LABELS: &[&str] = &[
    "--label",
    "ci.job=12345",
    "--label",
    "ci.project=group/name",
];

/// Starts a proxy in front of the daemon at this path, with the default log level.
fn start(daemon: &Path) -> (Proxy, TempDir) {
    let dir = TempDir::new();
    let mut command = PROXY.command();
    command.args(LABELS).arg("--daemon").arg(daemon);
    (Proxy::start_at(&dir.join("proxy.sock"), command), dir)
}

fn main() {
    let rounds = env::var("BENCH_ROUNDS").ok().filter(|n| !n.is_empty());
    let rounds: usize = rounds.map_or(5, |n| n.parse().expect("BENCH_ROUNDS is a number"));
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap_or_default();
    let cores = std::thread::available_parallelism().unwrap();
    println!("{rounds} rounds, {cores} cores, load {load} at the start\n");

    let daemon = daemon::Daemon::start();
    let (proxy, _dir) = start(daemon.path());
    let mut times = Times::default();
    times.measure(daemon.path(), &proxy, rounds);
    engine::measure(&mut times, rounds);
    times.print();
    drop(proxy);

    memory::print();
    println!("\nThe program is {} KiB.", PROXY.size() / 1024);
}
