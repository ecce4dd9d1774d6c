//! BuildKit's gRPC calls: which of them make images, and how their messages get the labels. Knows
//! services, methods and messages. Leaves HTTP/2, and how messages are cut out of it, to
//! [`crate::http2`].
//!
//! Nothing is remembered from one message to the next: a build may go over several connections,
//! so each message is made such that, whatever else was sent, no image comes out of it without
//! the labels.

mod image_config;
mod proto;
mod result;
mod solve;

use std::fmt;

use crate::http2::grpc::{Calls, Decision, Edited, Status, StatusCode};
use crate::policy::Policy;

/// The calls of BuildKit on one connection, which get what the operator wants.
#[derive(Debug)]
pub(crate) struct BuildKitCalls<'p> {
    pub(crate) policy: &'p Policy,
}

/// A method whose messages are edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Starts a build, and says what is exported of it.
    ControlSolve,
    /// Has a part of a build done that the client steers.
    BridgeSolve,
    /// Ends a build that the client steers: its result is what is exported.
    BridgeReturn,
}

/// The service by which builds are started and watched.
const CONTROL: &str = "moby.buildkit.v1.Control";

/// The service by which a client steers a build.
const BRIDGE: &str = "moby.buildkit.v1.frontend.LLBBridge";

/// The methods that make no image (`control/control.go` of BuildKit registers the services).
const HARMLESS: [(&str, &[&str]); 5] = [
    (
        CONTROL,
        &[
            "DiskUsage",
            "Info",
            "ListWorkers",
            "ListenBuildHistory",
            "Prune",
            "Session",
            "Status",
            "UpdateBuildHistory",
        ],
    ),
    (
        BRIDGE,
        &[
            "Evaluate",
            "ExecProcess",
            "Inputs",
            "NewContainer",
            "Ping",
            "ReadDir",
            "ReadDirContainer",
            "ReadFile",
            "ReadFileContainer",
            "ReleaseContainer",
            "ResolveImageConfig",
            "ResolveSourceMeta",
            "StatFile",
            "StatFileContainer",
            "Warn",
        ],
    ),
    (
        "opentelemetry.proto.collector.trace.v1.TraceService",
        &["Export"],
    ),
    (
        "containerd.services.content.v1.Content",
        &["Info", "List", "ListStatuses", "Read", "Status"],
    ),
    ("grpc.health.v1.Health", &["Check", "List", "Watch"]),
];

/// How much of an unknown `:path` an error shows; the names of real calls are shorter.
const MAX_SHOWN_PATH_CHARS: usize = 100;

/// Decides what to do with a call to this `:path`.
pub(crate) fn call(path: &str) -> Decision<Method> {
    let unknown = || {
        // A client may repeat it with few bytes, and it is logged.
        let path: String = path.chars().take(MAX_SHOWN_PATH_CHARS).collect();
        Decision::Refuse(Status::new(
            StatusCode::Unimplemented,
            format!("the call {path:?} is not known, so it is not known what it creates"),
        ))
    };
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
    else {
        return unknown();
    };
    match (service, method) {
        (CONTROL, "Solve") => Decision::Edit(Method::ControlSolve),
        (BRIDGE, "Solve") => Decision::Edit(Method::BridgeSolve),
        (BRIDGE, "Return") => Decision::Edit(Method::BridgeReturn),
        _ => match HARMLESS
            .iter()
            .any(|(known, methods)| *known == service && methods.contains(&method))
        {
            true => Decision::Pass,
            false => unknown(),
        },
    }
}

/// The image that a message has made, once the daemon has answered it with success: its names,
/// quoted, or nothing if it has none.
pub(crate) fn image(method: Method, message: &[u8]) -> Option<String> {
    match method {
        Method::ControlSolve => solve::image(message),
        Method::BridgeSolve | Method::BridgeReturn => None,
    }
}

/// Edits one whole, uncompressed message of a call (without the 5-byte gRPC prefix).
///
/// # Errors
/// When the message cannot be labelled: the call ends with this status.
pub(crate) fn edit(method: Method, message: &[u8], policy: &Policy) -> Result<Vec<u8>, Status> {
    match method {
        Method::ControlSolve => solve::control(message, policy),
        Method::BridgeSolve => solve::bridge(message, policy),
        Method::BridgeReturn => result::edit(message, policy),
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::ControlSolve => "Control/Solve",
            Method::BridgeSolve => "LLBBridge/Solve",
            Method::BridgeReturn => "LLBBridge/Return",
        })
    }
}

impl Calls for BuildKitCalls<'_> {
    type Method = Method;
    /// The names of an image.
    type Notice = String;

    fn decide(&self, path: &str) -> Decision<Method> {
        call(path)
    }

    fn edit(&self, method: Method, message: &[u8]) -> Result<Edited<String>, Status> {
        Ok(Edited {
            message: edit(method, message, self.policy)?,
            notice: image(method, message),
        })
    }

    fn log_line(&self, image: &String, status: Option<u32>) -> String {
        let blank = if image.is_empty() { "" } else { " " };
        match status {
            Some(0) => format!("labelled image{blank}{image}"),
            Some(code) => format!("did not create image{blank}{image}: gRPC status {code}"),
            None => format!("did not create image{blank}{image}: no gRPC status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_images_is_edited() {
        for (path, method) in [
            ("/moby.buildkit.v1.Control/Solve", Method::ControlSolve),
            (
                "/moby.buildkit.v1.frontend.LLBBridge/Solve",
                Method::BridgeSolve,
            ),
            (
                "/moby.buildkit.v1.frontend.LLBBridge/Return",
                Method::BridgeReturn,
            ),
        ] {
            assert_eq!(call(path), Decision::Edit(method));
            assert!(path.ends_with(&method.to_string()), "{method}");
        }
    }

    #[test]
    fn what_makes_none_passes() {
        for path in [
            "/moby.buildkit.v1.Control/Status",
            "/moby.buildkit.v1.frontend.LLBBridge/ExecProcess",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "/containerd.services.content.v1.Content/Read",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(call(path), Decision::Pass, "{path}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
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
            match call(path) {
                Decision::Refuse(status) => assert_eq!(status.code, StatusCode::Unimplemented),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_path_is_shown_in_part() {
        let path = format!("/{}", "\u{1}".repeat(4000));
        let Decision::Refuse(status) = call(&path) else {
            panic!("an unknown call passes")
        };
        assert!(status.message.len() < 1000, "{}", status.message.len());
    }
}
