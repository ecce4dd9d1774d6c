//! A client's request as far as it has been looked at, and how its head is written anew for the
//! daemon. Reads nothing.

use crate::error::Refusal;
use crate::http1::Body;
use crate::http1::head::RequestHead;
use crate::http1::target::Target;
use crate::inject::routes;
use crate::proxy::refusal::unreadable_request;
use crate::proxy::response::Then;

/// The first bytes of a build's body, which Docker takes for the beginning of the build context
/// before it looks for a form (`wrapOutputBufferedUntilRequestRead` in moby's build routes).
const DROPPED_BYTES_OF_A_FORM: u64 = 4096;

/// A request as far as it has been looked at.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    /// What is still to be read of its body. Until its head is understood, and when the body has
    /// been left to an exchange, nobody knows where it ends, which is [`Body::UntilClose`].
    pub(crate) body: Body,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

impl Request {
    pub(crate) fn new(head: RequestHead) -> Request {
        Request {
            head,
            body: Body::UntilClose,
            expects_continue: false,
        }
    }

    /// Whether bytes of it may still come, so that the next bytes need not be the next request.
    pub(crate) fn is_unread(&self) -> bool {
        !self.body.is_done()
    }

    /// What becomes of the connection after an answer of the proxy.
    pub(crate) fn then(&self) -> Then {
        if self.is_unread() || !self.head.is_persistent() {
            Then::Close
        } else {
            Then::NextRequest
        }
    }

    /// Takes the head apart, and returns its target, or `None` where it asks the daemon as a whole
    /// (`OPTIONS *`). Where it fails nobody knows where the request ends, so the connection cannot
    /// go on.
    ///
    /// # Errors
    /// When two readers could understand the head differently, or the daemon could not.
    pub(crate) fn understand(&mut self) -> Result<Option<Target>, Refusal> {
        let head = &self.head;
        if head.method == "CONNECT" {
            return Err(Refusal::bad_request("CONNECT is not supported"));
        }
        head.check_host().map_err(unreadable_request)?;
        let body = Body::of_request(head).map_err(unreadable_request)?;
        let expects_continue = head.expects_continue().map_err(unreadable_request)?;
        let target = if head.method == "OPTIONS" && head.target == "*" {
            None
        } else {
            Some(Target::parse(&head.target).map_err(unreadable_request)?)
        };
        self.expects_continue = expects_continue && !body.is_done();
        self.body = body;
        Ok(target)
    }

    /// Makes the head announce a body of `len` bytes that is sent in place of the client's, whose
    /// length was 0 if `was_empty`.
    pub(crate) fn announce_body(&mut self, len: usize, was_empty: bool) {
        let headers = &mut self.head.headers;
        for name in ["content-length", "transfer-encoding", "trailer", "expect"] {
            headers.remove(name);
        }
        headers.push("Content-Length", len.to_string());
        if was_empty && len > 0 {
            // A request without a body need not have a type; one with a body must.
            headers.remove("content-type");
            headers.push("Content-Type", "application/json");
        }
    }

    /// Checks that the body, from which the daemon takes no data, is not a form: it would be sent as
    /// data, and its pairs be lost.
    ///
    /// # Errors
    /// When it is a form of more bytes than daemons drop.
    pub(crate) fn check_no_form(&self) -> Result<(), Refusal> {
        let is_dropped = match self.body {
            Body::Length(length) => length <= DROPPED_BYTES_OF_A_FORM,
            Body::Chunked(_) | Body::UntilClose => false,
        };
        let mut types = self.head.headers.all("content-type");
        if is_dropped || !types.any(is_form) {
            return Ok(());
        }
        let what = "the parameters of a build stand in its query; \
                    those in a form would be lost, so move them there";
        Err(Refusal::bad_request(what))
    }

    /// Makes the head announce an archive where the daemon could read the body as a form, whose
    /// pairs would count before those of the query.
    pub(crate) fn announce_archive(&mut self, target: &Target) {
        if may_be_form(&self.head, target) {
            self.head.headers.remove("content-type");
            self.head.headers.push("Content-Type", "application/x-tar");
        }
    }
}

/// Whether a body of this `Content-Type` is a form, as Go's `ParseMultipartForm` decides it.
fn is_form(content_type: &[u8]) -> bool {
    let kind = content_type.split(|&b| b == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    [
        &b"application/x-www-form-urlencoded"[..],
        b"multipart/form-data",
    ]
    .iter()
    .any(|form| form.eq_ignore_ascii_case(kind))
}

/// Whether the daemon may read the body of an archive as a form.
fn may_be_form(head: &RequestHead, target: &Target) -> bool {
    let types: Vec<_> = head.headers.all("content-type").collect();
    match types[..] {
        [] | [b"application/x-tar" | b"application/tar"] => false,
        // Podman 5 takes several archives as one body, and parameters from the query alone.
        [kind]
            if routes::split_version(&target.path)
                .1
                .starts_with(b"/libpod/") =>
        {
            let kind = kind.to_ascii_lowercase();
            !kind.starts_with(b"multipart/form-data;")
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Request {
        Request::new(RequestHead::parse(head.as_bytes()).unwrap())
    }

    fn written(request: &Request) -> String {
        let mut bytes = Vec::new();
        request.head.write(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_ends_nowhere_until_its_head_is_understood() {
        for (head, is_understood, is_unread) in [
            ("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n", true, false),
            (
                "POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\n",
                true,
                true,
            ),
            ("OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n", true, false),
            ("GET * HTTP/1.1\r\nHost: d\r\n\r\n", false, true),
            ("GET /_ping HTTP/1.1\r\n\r\n", false, true),
            ("CONNECT d:80 HTTP/1.1\r\nHost: d\r\n\r\n", false, true),
            (
                "GET /_ping HTTP/1.1\r\nHost: d\r\nExpect: x\r\n\r\n",
                false,
                true,
            ),
        ] {
            let mut request = request(head);
            assert_eq!(request.then(), Then::Close, "{head}");
            assert_eq!(request.understand().is_ok(), is_understood, "{head}");
            assert_eq!(request.is_unread(), is_unread, "{head}");
        }
    }

    #[test]
    fn a_client_waits_to_continue_only_with_a_body() {
        for (length, expected) in [(0, false), (1, true)] {
            let mut request = request(&format!(
                "POST /build HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
            ));
            request.understand().unwrap();
            assert_eq!(request.expects_continue, expected);
        }
    }

    #[test]
    fn the_head_announces_the_body_that_is_sent() {
        let chunked = "POST / HTTP/1.1\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nExpect: 100-continue\r\n\r\n";
        for (len, was_empty, expected) in [
            (5, false, "Content-Type: a/b\r\nContent-Length: 5\r\n\r\n"),
            (0, true, "Content-Type: a/b\r\nContent-Length: 0\r\n\r\n"),
            (
                5,
                true,
                "Content-Length: 5\r\nContent-Type: application/json\r\n\r\n",
            ),
        ] {
            let mut request = request(chunked);
            request.announce_body(len, was_empty);
            assert_eq!(written(&request), format!("POST / HTTP/1.1\r\n{expected}"));
        }
    }

    #[test]
    fn a_form_that_the_daemon_reads_is_not_lost() {
        let form = "application/x-www-form-urlencoded";
        for (kind, framing, is_taken) in [
            (form, "Content-Length: 4097", false),
            (form, "Transfer-Encoding: chunked", false),
            (
                "Multipart/Form-Data ; boundary=x",
                "Content-Length: 4097",
                false,
            ),
            (form, "Content-Length: 4096", true),
            (form, "X: y", true),
            ("application/x-tar", "Content-Length: 4097", true),
            ("text/plain", "Transfer-Encoding: chunked", true),
        ] {
            let mut request = request(&format!(
                "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n"
            ));
            request.understand().unwrap();
            let checked = request.check_no_form();
            assert_eq!(checked.is_ok(), is_taken, "{kind} {framing}: {checked:?}");
        }
    }

    #[test]
    fn an_archive_is_never_taken_for_a_form() {
        let form = "application/x-www-form-urlencoded";
        let several = "multipart/form-data; boundary=x";
        let kept = "application/x-tar";
        for (path, types, expected) in [
            ("/build", &[][..], &[][..]),
            ("/build", &[kept], &[kept]),
            ("/build", &["application/tar"], &["application/tar"]),
            ("/build", &[form], &[kept]),
            ("/build", &[kept, form], &[kept]),
            ("/build", &[several], &[kept]),
            ("/v5.0.0/libpod/build", &[several], &[several]),
            ("/v5.0.0/libpod/build", &[form], &[kept]),
        ] {
            let lines = |types: &[&str]| {
                let lines = types.iter().map(|kind| format!("Content-Type: {kind}\r\n"));
                lines.collect::<String>()
            };
            let head = |types| format!("POST {path} HTTP/1.1\r\n{}\r\n", lines(types));
            let mut request = request(&head(types));
            request.announce_archive(&Target::parse(path).unwrap());
            assert_eq!(written(&request), head(expected), "{path} {types:?}");
        }
    }
}
