//! The table of BuildKit's calls: every call that the proxy knows, and what it does with it. A call
//! that has no row is refused, since nobody knows what it creates. docs/coverage.md shows the same
//! table.

use std::fmt;

use crate::http2::grpc::{Decision, Status, StatusCode};
use crate::inject::buildkit::result;
use crate::inject::buildkit::solve;
use crate::limits::MAX_SHOWN_CALL_CHARS;
use crate::policy::Policy;

/// What the proxy does with a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Passes it on: it makes no image.
    Pass,
    /// Edits its messages.
    Edit(&'static EditedCall),
}

use Action::{Edit, Pass};

/// A call whose messages are edited: how they are labelled, named and shown.
#[derive(Debug)]
pub(crate) struct EditedCall {
    /// The name of the call in the log.
    name: &'static str,
    /// What is done with it, as docs/coverage.md shows it.
    shown: &'static str,
    /// Labels a message, which comes without the prefix of gRPC. What was labelled once stays as
    /// it is.
    pub(crate) label: fn(&[u8], &Policy) -> Result<Vec<u8>, Status>,
    /// Returns the names of the images that a message has the daemon make, quoted, for the log.
    /// They may be none: the text is empty then. `None` if no image is made.
    pub(super) images: fn(&[u8]) -> Option<String>,
}

/// Starts a build, and says what is exported of it.
pub(crate) const CONTROL_SOLVE: EditedCall = EditedCall {
    name: "Control/Solve",
    shown: "image: options of the frontend; attributes of exporters that would replace the labels \
            are taken out",
    label: solve::label_control,
    images: solve::images,
};

/// Has a part of a build done that the client steers.
pub(crate) const BRIDGE_SOLVE: EditedCall = EditedCall {
    name: "LLBBridge/Solve",
    shown: "image: options of the frontend",
    label: solve::label_bridge,
    images: |_| None,
};

/// Ends a build that the client steers. Its result is what is exported.
pub(crate) const BRIDGE_RETURN: EditedCall = EditedCall {
    name: "LLBBridge/Return",
    shown: "image: `config.Labels` of each image configuration",
    label: result::label,
    images: |_| None,
};

/// Starts builds, and watches them.
const CONTROL: &str = "moby.buildkit.v1.Control";
/// Serves a client that steers a build.
const BRIDGE: &str = "moby.buildkit.v1.frontend.LLBBridge";
const TRACE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
const CONTENT: &str = "containerd.services.content.v1.Content";
const HEALTH: &str = "grpc.health.v1.Health";

/// Service, method, action. BuildKit registers the services in `control/control.go`.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, &str, Action)] = &[
    (CONTROL, "DiskUsage", Pass),
    (CONTROL, "Info", Pass),
    (CONTROL, "ListWorkers", Pass),
    (CONTROL, "ListenBuildHistory", Pass),
    (CONTROL, "Prune", Pass),
    (CONTROL, "Session", Pass),
    (CONTROL, "Solve", Edit(&CONTROL_SOLVE)),
    (CONTROL, "Status", Pass),
    (CONTROL, "UpdateBuildHistory", Pass),
    (BRIDGE, "Evaluate", Pass),
    (BRIDGE, "ExecProcess", Pass),
    (BRIDGE, "Inputs", Pass),
    (BRIDGE, "NewContainer", Pass),
    (BRIDGE, "Ping", Pass),
    (BRIDGE, "ReadDir", Pass),
    (BRIDGE, "ReadDirContainer", Pass),
    (BRIDGE, "ReadFile", Pass),
    (BRIDGE, "ReadFileContainer", Pass),
    (BRIDGE, "ReleaseContainer", Pass),
    (BRIDGE, "ResolveImageConfig", Pass),
    (BRIDGE, "ResolveSourceMeta", Pass),
    (BRIDGE, "Return", Edit(&BRIDGE_RETURN)),
    (BRIDGE, "Solve", Edit(&BRIDGE_SOLVE)),
    (BRIDGE, "StatFile", Pass),
    (BRIDGE, "StatFileContainer", Pass),
    (BRIDGE, "Warn", Pass),
    (TRACE, "Export", Pass),
    (CONTENT, "Info", Pass),
    (CONTENT, "List", Pass),
    (CONTENT, "ListStatuses", Pass),
    (CONTENT, "Read", Pass),
    (CONTENT, "Status", Pass),
    (HEALTH, "Check", Pass),
    (HEALTH, "List", Pass),
    (HEALTH, "Watch", Pass),
];

/// Decides what to do with a call to this `:path`, `/service/method`.
pub(super) fn decide(path: &str) -> Decision<&'static EditedCall> {
    let mut parts = path.strip_prefix('/').unwrap_or_default().splitn(2, '/');
    let (service, method) = (parts.next(), parts.next());
    let row = TABLE
        .iter()
        .find(|row| Some(row.0) == service && Some(row.1) == method);
    match row {
        Some((_, _, Pass)) => Decision::Pass,
        Some((_, _, Edit(call))) => Decision::Edit(call),
        None => {
            // A client may repeat it with few bytes, and it is logged.
            let path: String = path.chars().take(MAX_SHOWN_CALL_CHARS).collect();
            Decision::Refuse(Status::new(
                StatusCode::Unimplemented,
                format!("the call {path:?} is unknown, so it might create something unlabelled"),
            ))
        }
    }
}

/// As docs/coverage.md shows it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pass => f.write_str("passes"),
            Edit(call) => f.write_str(call.shown),
        }
    }
}

/// As the log names it.
impl fmt::Display for EditedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_make_images_are_edited() {
        for (path, name) in [
            ("/moby.buildkit.v1.Control/Solve", "Control/Solve"),
            (
                "/moby.buildkit.v1.frontend.LLBBridge/Solve",
                "LLBBridge/Solve",
            ),
            (
                "/moby.buildkit.v1.frontend.LLBBridge/Return",
                "LLBBridge/Return",
            ),
        ] {
            match decide(path) {
                Decision::Edit(call) => assert_eq!(call.to_string(), name),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn calls_that_make_no_image_pass() {
        for path in [
            "/moby.buildkit.v1.Control/Status",
            "/moby.buildkit.v1.frontend.LLBBridge/ExecProcess",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "/containerd.services.content.v1.Content/Read",
            "/grpc.health.v1.Health/Check",
        ] {
            assert!(matches!(decide(path), Decision::Pass), "{path}");
        }
    }

    #[test]
    fn unknown_calls_are_refused() {
        for path in [
            "",
            "/",
            "/x",
            "moby.buildkit.v1.Control/Solve",
            "/moby.buildkit.v1.Control/Solve/",
            "/moby.buildkit.v1.Control/solve",
            "/moby.buildkit.v1.Control/Sol%76e",
            "/moby.buildkit.v1.Control/Return",
            "//moby.buildkit.v1.Control/Status",
            "/moby.buildkit.v2.Control/Status",
            "/containerd.services.content.v1.Content/Write",
        ] {
            match decide(path) {
                Decision::Refuse(status) => assert_eq!(status.code, StatusCode::Unimplemented),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_path_is_shown_in_part() {
        let path = format!("/{}", "\u{1}".repeat(4000));
        let Decision::Refuse(status) = decide(&path) else {
            panic!("an unknown call passes")
        };
        assert!(status.message.len() < 1000, "{}", status.message.len());
    }

    #[test]
    fn the_name_of_an_edited_call_is_that_of_its_row() {
        for (service, method, action) in TABLE {
            if let Edit(call) = action {
                let service = service.rsplit('.').next().unwrap();
                assert_eq!(call.name, format!("{service}/{method}"));
            }
        }
    }

    #[test]
    fn the_docs_show_this_table() {
        let docs = include_str!("../../../docs/coverage.md");
        let (_, section) = docs.split_once("\n## Calls of BuildKit\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let shown: Vec<&str> = section.lines().filter(|l| l.starts_with("| `")).collect();
        let rows = TABLE
            .iter()
            .map(|(service, method, action)| format!("| `{service}/{method}` | {action} |"));
        let rows: Vec<String> = rows.collect();
        assert_eq!(
            shown,
            rows,
            "docs/coverage.md should have:\n{}",
            rows.join("\n")
        );
    }
}
