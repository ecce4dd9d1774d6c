//! BuildKit's gRPC calls: which of them make images, and how their messages get the labels. Knows
//! services, methods and messages. Leaves HTTP/2, and how messages are cut out of it, to
//! [`crate::http2`].
//!
//! Nothing is remembered from one message to the next. A build may use several connections, so
//! each message is edited such that no image comes out of it without the labels, whatever else was
//! sent.
//!
//! Read `calls` first, the table of all calls.

pub(crate) mod calls;
mod image_config;
mod proto;
mod result;
mod solve;

use crate::http2::grpc::{Calls, Decision, Edited, Status};
use crate::policy::Policy;

use calls::EditedCall;

/// The calls of BuildKit on one connection, which get what the operator wants.
#[derive(Debug)]
pub(crate) struct BuildKitCalls<'p> {
    pub(crate) policy: &'p Policy,
}

impl Calls for BuildKitCalls<'_> {
    type Method = &'static EditedCall;
    /// The names of the images that a call makes.
    type Notice = String;

    fn decide(&self, path: &str) -> Decision<&'static EditedCall> {
        calls::decide(path)
    }

    fn edit(&self, call: &'static EditedCall, message: &[u8]) -> Result<Edited<String>, Status> {
        Ok(Edited {
            message: (call.label)(message, self.policy)?,
            notice: (call.images)(message),
        })
    }

    fn log_line(&self, names: &String, status: Option<u32>) -> String {
        let blank = if names.is_empty() { "" } else { " " };
        match status {
            Some(0) => format!("labelled image{blank}{names}"),
            Some(code) => format!("did not create image{blank}{names}: gRPC status {code}"),
            None => format!("did not create image{blank}{names}: no gRPC status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::policy;

    #[test]
    fn the_log_tells_what_became_of_an_image() {
        let policy = policy();
        let calls = BuildKitCalls { policy: &policy };
        for (names, status, expected) in [
            (r#""a", "b""#, Some(0), r#"labelled image "a", "b""#),
            ("", Some(0), "labelled image"),
            (
                r#""a""#,
                Some(2),
                r#"did not create image "a": gRPC status 2"#,
            ),
            ("", None, "did not create image: no gRPC status"),
        ] {
            assert_eq!(calls.log_line(&names.to_owned(), status), expected);
        }
    }
}
