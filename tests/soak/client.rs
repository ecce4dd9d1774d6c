//! A client that speaks HTTP over a socket. It returns errors rather than panicking, since much
//! goes wrong while the daemon restarts, and it classifies them.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{Framing, Message, find};

/// How long a connection may be silent when something must happen on it.
const SILENCE: Duration = Duration::from_secs(120);

/// Why an operation did not succeed.
#[derive(Debug)]
pub enum Fail {
    /// A connection broke, or the proxy reported an error. Expected while the daemon restarts.
    Broken(String),
    /// The daemon itself refused, in a complete response.
    Declined(String),
    /// Never right: other bytes, missing labels, a success that was none.
    Wrong(String),
    /// Never right either: nothing happened for too long.
    Stuck(String),
}

pub type Done<T = ()> = Result<T, Fail>;

pub fn wrong<T>(what: impl Into<String>) -> Done<T> {
    Err(Fail::Wrong(what.into()))
}

pub fn broken<T>(what: impl Into<String>) -> Done<T> {
    Err(Fail::Broken(what.into()))
}

impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Fail {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Fail::Stuck(format!("{SILENCE:?} of silence"))
            }
            _ => Fail::Broken(error.to_string()),
        }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = match self {
            Fail::Broken(what) => ("broken", what),
            Fail::Declined(what) => ("declined", what),
            Fail::Wrong(what) => ("WRONG", what),
            Fail::Stuck(what) => ("STUCK", what),
        };
        write!(f, "{kind}: {what}")
    }
}

impl Fail {
    /// The same failure, with what was going on.
    pub fn during(self, what: &str) -> Fail {
        let say = |text: String| format!("{what}: {text}");
        match self {
            Fail::Broken(text) => Fail::Broken(say(text)),
            Fail::Declined(text) => Fail::Declined(say(text)),
            Fail::Wrong(text) => Fail::Wrong(say(text)),
            Fail::Stuck(text) => Fail::Stuck(say(text)),
        }
    }

    /// Classifies an error response that came in place of a success.
    pub fn said(status: u16, text: &str) -> Fail {
        let text: String = text.trim().chars().take(500).collect();
        let what = format!("{status} {text}");
        // All requests are well-formed, so a 400 means that one was damaged on its way.
        if text.contains("docker-label-proxy") || status == 400 {
            Fail::Broken(what)
        } else {
            Fail::Declined(what)
        }
    }
}

/// A connection of a client.
pub struct Client {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(socket: &Path) -> Done<Client> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Client {
            stream,
            unread: Vec::new(),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Done {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    /// Another handle, for a thread that sends while this one reads.
    pub fn sender(&self) -> Done<Client> {
        Ok(Client {
            stream: self.stream.try_clone()?,
            unread: Vec::new(),
        })
    }

    pub fn half_close(&mut self) -> Done {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Reads the next head that is not an interim one.
    pub fn head(&mut self) -> Done<Message> {
        loop {
            while find(&self.unread, b"\r\n\r\n").is_none() {
                let mut buf = [0; 1 << 14];
                match self.stream.read(&mut buf)? {
                    0 => return broken("ended before or within a head"),
                    n => self.unread.extend_from_slice(&buf[..n]),
                }
            }
            let end = find(&self.unread, b"\r\n\r\n").unwrap() + 4;
            let message = Message::new(self.unread.drain(..end).collect());
            if message.status() >= 200 || message.status() == 101 {
                return Ok(message);
            }
        }
    }

    /// The body that belongs to `head`.
    pub fn body<'c>(&'c mut self, head: &Message) -> Body<'c> {
        let framing = match head.status() {
            204 | 304 => Framing::Length(0),
            _ => head.framing(),
        };
        let (left, is_over) = match framing {
            Framing::Length(n) => (n, n == 0),
            _ => (0, false),
        };
        Body {
            client: self,
            framing,
            left,
            is_over,
            is_first: true,
        }
    }

    /// Reads the next response with its body.
    pub fn response(&mut self) -> Done<Message> {
        let mut head = self.head()?;
        let mut body = Vec::new();
        self.body(&head).read_to_end(&mut body)?;
        head.body = body;
        Ok(head)
    }

    /// Sends a request with a JSON body or none, and reads the response.
    pub fn ask(&mut self, method: &str, target: &str, body: Option<&str>) -> Done<Message> {
        self.send(request(method, target, body))?;
        self.response()
            .map_err(|fail| fail.during(&format!("{method} {target}")))
    }

    /// The same, for a request that should succeed. Returns the JSON of the response, or null.
    pub fn succeed(&mut self, method: &str, target: &str, body: Option<&str>) -> Done<Value> {
        let answer = self.ask(method, target, body)?;
        success(&answer).map_err(|fail| fail.during(&format!("{method} {target}")))
    }
}

/// Returns the JSON of a response that should be a success, or null.
pub fn success(answer: &Message) -> Done<Value> {
    match answer.status() {
        200..=299 => Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null)),
        status => Err(Fail::said(status, &String::from_utf8_lossy(&answer.body))),
    }
}

impl Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return match self.stream.read(buf) {
                // A UNIX socket reports this if the other end closed with something unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
                other => other,
            };
        }
        let n = buf.len().min(self.unread.len());
        buf[..n].copy_from_slice(&self.unread[..n]);
        self.unread.drain(..n);
        Ok(n)
    }
}

/// A request as ordinary clients send it.
pub fn request(method: &str, target: &str, body: Option<&str>) -> String {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: d\r\n");
    match body {
        None => format!("{head}Content-Length: 0\r\n\r\n"),
        Some(body) => format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    }
}

/// Reads the content of a response as it comes. A premature end is an error.
pub struct Body<'c> {
    client: &'c mut Client,
    framing: Framing,
    /// The bytes left of the body or of the chunk.
    left: usize,
    is_over: bool,
    is_first: bool,
}

impl Body<'_> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.client.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 100 {
                return Err(io::Error::other("no chunk size"));
            }
        }
        Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.is_over || buf.is_empty() {
            return Ok(0);
        }
        if self.framing == Framing::None {
            return self.client.read(buf);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            if !self.is_first && !self.line()?.is_empty() {
                return Err(io::Error::other("a chunk is not closed"));
            }
            self.is_first = false;
            let size = self.line()?;
            self.left = usize::from_str_radix(&size, 16)
                .map_err(|_| io::Error::other(format!("chunk size {size:?}")))?;
            if self.left == 0 {
                self.line()?;
                self.is_over = true;
                return Ok(0);
            }
        }
        let most = buf.len().min(self.left);
        let n = self.client.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::Error::other("ended within a body"));
        }
        self.left -= n;
        self.is_over = self.framing != Framing::Chunked && self.left == 0;
        Ok(n)
    }
}
