//! An HTTP/1.1 message as it arrived. Anything that is not exactly HTTP fails the test.

use std::fmt;

/// A request or a response, its body without the framing.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The head, including the empty line that ends it.
    pub head: Vec<u8>,
    /// The content. Empty if it has not been read.
    pub body: Vec<u8>,
}

/// How the body of a message is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Not at all. A request has no body then, and a response lasts until the connection closes.
    None,
    /// By `Content-Length`, in bytes.
    Length(usize),
    /// By chunks.
    Chunked,
}

impl Message {
    /// A message with this head and no body.
    pub fn new(head: Vec<u8>) -> Message {
        Message {
            head,
            body: Vec::new(),
        }
    }

    /// The request line or the status line.
    pub fn line(&self) -> String {
        let end = find(&self.head, b"\r\n").expect("a line end");
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// The values of all header fields called `name`, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.head).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        lines.next();
        lines
            .map(|line| {
                line.split_once(':')
                    .unwrap_or_else(|| panic!("no colon: {line:?}"))
            })
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// The status code of a response.
    pub fn status(&self) -> u16 {
        self.line()
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status")
    }

    /// How the body is framed.
    ///
    /// # Panics
    /// If the head says so in more than one way.
    pub fn framing(&self) -> Framing {
        match (
            &self.header("content-length")[..],
            &self.header("transfer-encoding")[..],
        ) {
            ([], []) => Framing::None,
            ([length], []) => Framing::Length(length.parse().expect("a length")),
            ([], [coding]) if coding == "chunked" => Framing::Chunked,
            _ => panic!("ambiguous framing: {self:?}"),
        }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", Text(&self.head), Text(&self.body))
    }
}

/// Bytes to compare and to show as text. Only the first 2000 are shown.
#[derive(PartialEq, Eq)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(2000)];
        write!(
            f,
            "\"{}\"",
            shown
                .escape_ascii()
                .to_string()
                .replace("\\r\\n", "\\r\\n\n")
        )?;
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// The position of the first `needle` in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
