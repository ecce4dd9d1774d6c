//! Ways in for the fuzz targets in tests/fuzz, so that fuzzing needs no public interface. Built
//! with `--cfg fuzzing` only.

use crate::buildkit::{self, Method};
use crate::create::Policy;
use crate::h2;
use crate::labels::{Label, Labels};

fn policy() -> Policy {
    let labels = ["ci.job=42", "note=a \"b\" \\ $c {{d}} \u{e9}"].map(Label::parse);
    let labels = labels.into_iter().filter_map(Result::ok);
    Policy {
        labels: Labels::new(labels).expect("two labels"),
        cgroup_parent: None,
        redirect: None,
    }
}

/// Bytes of both ends of an HTTP/2 connection: nothing panics, whatever they are.
pub fn frames(bytes: &[u8]) {
    h2::fuzz(&policy(), bytes);
}

/// A gRPC message: nothing panics, and a message that was edited once stays as it is.
pub fn messages(bytes: &[u8]) {
    let Some((first, message)) = bytes.split_first() else {
        return;
    };
    let method = match first % 3 {
        0 => Method::ControlSolve,
        1 => Method::BridgeSolve,
        _ => Method::BridgeReturn,
    };
    if let Ok(once) = buildkit::edit(method, message, &policy()) {
        let twice = buildkit::edit(method, &once, &policy());
        assert_eq!(
            twice.as_ref(),
            Ok(&once),
            "an edited message is edited again"
        );
    }
}
