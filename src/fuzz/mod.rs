//! Ways in for the fuzz targets in tests/fuzz, so that fuzzing needs no public interface. Built
//! with `--cfg fuzzing` only. What the proxy makes of bytes is compared with what the readers in
//! `reference` make of them, which share no code with it.

mod connection;
mod http1;
mod http2;
mod json;
mod query;
mod reference;
mod script;

use crate::labels::{Label, Labels};
use crate::policy::Policy;
use reference::Json;

pub use connection::connection;
pub use http1::{chunked, head};
pub use http2::{frames, messages};
pub use json::json;
pub use query::query;

fn policy() -> Policy {
    let labels = ["ci.job=42", "note=a \"b\" \\ $c {{d}} \u{e9}"].map(Label::parse);
    let labels = labels.into_iter().filter_map(Result::ok);
    Policy {
        labels: Labels::new(labels).expect("two labels"),
        is_strict: false,
        cgroup_parent: None,
        socket_mounts: None,
    }
}

fn is_labelled(object: &Json, field: &str) -> bool {
    let labels = policy().labels;
    labels
        .iter()
        .all(|label| object.map_has(field, label.key(), label.value()))
}
