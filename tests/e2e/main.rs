//! End-to-end tests: the real docker command and raw HTTP, through the real proxy, to the real
//! engine at `DOCKER_LABEL_PROXY_TEST_ENGINE` (`unix:///path/of.sock`).
//!
//! The engine may be anyone's: everything that the tests create has names or labels of their own,
//! and is removed. Without an engine every case is ignored, and the output says so. Behaviour that
//! a real engine does not show on demand belongs to the integration tests.

#![allow(unreachable_pub, reason = "nothing of a program is reachable")]
#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although they lack the attribute"
)]

mod case;
mod command;
mod connections;
mod coverage;
mod creates;
mod engine;
mod leaks;
mod property;
mod random_service;
mod raw_creates;
mod streams;
mod transfers;
mod two_jobs;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use support::Program;

/// The proxy under test.
const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));

/// A case and its name. Each case starts its own proxy, so cases share nothing but the engine.
type Test = (String, Box<dyn Fn() + Send>);

fn test(name: impl Into<String>, run: impl Fn() + Send + 'static) -> Test {
    (name.into(), Box::new(run))
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    let has_engine = engine::address().is_some();
    // Most cases wait for the engine most of the time. But Podman cannot list images while others
    // are removed, and newer Dockers remove steps of other builds with an image.
    let is_alone = has_engine && {
        let engine = engine::plain_engine();
        engine.is_podman() || engine.minor() > 41
    };
    args.test_threads
        .get_or_insert(if is_alone { 1 } else { 6 });
    let trial = |(name, run): Test| {
        let run = move || {
            run();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!has_engine)
    };
    // These look at all objects of the engine, so nothing else may use it meanwhile.
    let alone: Vec<Trial> = property::tests().into_iter().map(trial).collect();
    let mut count = alone.len();
    let has_failed = libtest_mimic::run(&args, alone).has_failed();
    let mut tests: Vec<Trial> = [
        creates::tests(),
        raw_creates::tests(),
        connections::tests(),
        streams::tests(),
        transfers::tests(),
        leaks::tests(),
        two_jobs::tests(),
    ]
    .into_iter()
    .flatten()
    .map(trial)
    .collect();
    tests.extend(coverage::trials());
    count += tests.len();
    let conclusion = libtest_mimic::run(&args, tests);
    if !has_engine && !args.list {
        eprintln!(
            "{count} end-to-end cases left out, they need a Docker engine; `make test` runs them"
        );
    }
    let is_covered = coverage::conclude();
    let left = engine::leave();
    if !left.is_empty() {
        eprintln!("left behind on the engine: {}", left.join(", "));
    }
    if has_failed || conclusion.has_failed() || !is_covered || !left.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
