//! What a client is told where bytes are not HTTP/1.1 that has one meaning: its own bytes, or the
//! daemon's.

use crate::error::{Reason, Refusal};
use crate::http1;

/// The refusal of a request that cannot be read.
pub(crate) fn unreadable_request(error: http1::Error) -> Refusal {
    let reason = match error {
        http1::Error::HeadTooLarge | http1::Error::TooManyHeaders => Reason::HeadTooLarge,
        // Not 403: a client that tries HTTP/2 first falls back on what looks like an old daemon.
        http1::Error::Http2 | http1::Error::UnsupportedVersion => Reason::UnknownVersion,
        http1::Error::UnsupportedCoding(_) => Reason::UnknownCoding,
        http1::Error::UnsupportedExpectation(_) => Reason::UnmetExpectation,
        _ => Reason::Malformed,
    };
    Refusal::new(reason, error.to_string())
}

/// The refusal where the daemon's answer to a request cannot be read.
pub(crate) fn unreadable_answer(error: &http1::Error) -> Refusal {
    Refusal::bad_gateway(format!("the daemon's answer cannot be read: {error}"))
}

/// The refusal where the daemon is gone before it has answered a request of this method, or after it
/// has sent these bytes of an answer's head. Nobody knows how far it got, and the client must know
/// that: who asks again without a look may create a second time.
pub(crate) fn unanswered(method: &str, answer: &[u8]) -> Refusal {
    let what = match answer {
        [] => "without an answer",
        _ => "within the head of its answer",
    };
    let doubt = match method {
        "GET" | "HEAD" => "",
        _ => "; it may have done what was asked, or not",
    };
    Refusal::bad_gateway(format!("the daemon closed the connection {what}{doubt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_request_is_refused_for_its_own_reason() {
        let text = || "x".to_owned();
        for (error, reason) in [
            (http1::Error::HeadTooLarge, Reason::HeadTooLarge),
            (http1::Error::TooManyHeaders, Reason::HeadTooLarge),
            (http1::Error::Http2, Reason::UnknownVersion),
            (http1::Error::UnsupportedVersion, Reason::UnknownVersion),
            (
                http1::Error::UnsupportedCoding(text()),
                Reason::UnknownCoding,
            ),
            (
                http1::Error::UnsupportedExpectation(text()),
                Reason::UnmetExpectation,
            ),
            (http1::Error::BareLf, Reason::Malformed),
            (http1::Error::LengthAndCoding, Reason::Malformed),
            (http1::Error::RepeatedHost, Reason::Malformed),
            (http1::Error::InvalidTarget(text()), Reason::Malformed),
        ] {
            let refusal = unreadable_request(error.clone());
            assert_eq!(refusal, Refusal::new(reason, error.to_string()));
        }
    }
}
