//! The responses of the proxy itself, in the daemon's shape.

use crate::error::{Reason, Refusal};
use crate::inject::request::Answer;

/// Tells a client that expects it to send the body, which the proxy reads itself.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What becomes of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    NextRequest,
    Close,
}

/// A refusal as a response; `{"message": ...}` is what the daemon sends and docker prints.
pub(crate) fn refusal(refusal: &Refusal, method: &str, then: Then) -> Vec<u8> {
    let message = format!("docker-label-proxy: {}", refusal.message);
    let body = format!("{}\n", serde_json::json!({ "message": message }));
    response(
        status(refusal.reason),
        "Content-Type: application/json\r\n",
        &body,
        method,
        then,
    )
}

/// The daemon's answer to a subrequest, as the answer to the client's request.
pub(crate) fn answer(answer: &Answer, method: &str, then: Then) -> Vec<u8> {
    let body = String::from_utf8_lossy(&answer.body);
    response(
        answer.status,
        "Content-Type: application/json\r\n",
        &body,
        method,
        then,
    )
}

/// A redirect as gorilla/mux makes it.
pub(crate) fn redirect(location: &str, method: &str) -> Vec<u8> {
    response(
        301,
        &format!("Location: {location}\r\n"),
        "",
        method,
        Then::Close,
    )
}

fn response(status: u16, headers: &str, body: &str, method: &str, then: Then) -> Vec<u8> {
    let close = match then {
        Then::NextRequest => "",
        Then::Close => "Connection: close\r\n",
    };
    let reason = reason(status);
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    format!("HTTP/1.1 {status} {reason}\r\n{headers}Content-Length: {length}\r\n{close}\r\n{body}")
        .into_bytes()
}

/// The HTTP status for a refusal (RFC 9110 section 15).
pub(crate) fn status(reason: Reason) -> u16 {
    match reason {
        Reason::Malformed => 400,
        Reason::Forbidden => 403,
        Reason::NotFound => 404,
        Reason::Conflict => 409,
        Reason::Timeout => 408,
        Reason::TooLarge => 413,
        Reason::UnmetExpectation => 417,
        Reason::HeadTooLarge => 431,
        Reason::UnknownCoding => 501,
        Reason::BadDaemon => 502,
        Reason::Busy | Reason::Undone => 503,
        Reason::DaemonTimeout => 504,
        Reason::UnknownVersion => 505,
    }
}

/// The reason phrase of a status that the proxy answers with (RFC 9110 section 15).
fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_looks_like_the_daemons_errors() {
        let no_body = Refusal::bad_request("say \"x\"");
        assert_eq!(
            String::from_utf8(refusal(&no_body, "POST", Then::NextRequest)).unwrap(),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n\
             {\"message\":\"docker-label-proxy: say \\\"x\\\"\"}\n"
        );
        let head = String::from_utf8(refusal(&no_body, "HEAD", Then::Close)).unwrap();
        assert!(
            head.ends_with("Content-Length: 44\r\nConnection: close\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn a_redirect_names_the_clean_path() {
        assert_eq!(
            redirect("/x", "GET"),
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
}
