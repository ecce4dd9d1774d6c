//! One end of a connection, the client's or the daemon's. It parses no more of HTTP than the
//! benchmark needs, to add little to what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// The size of the pieces in which bodies are sent, in bytes. Go's `io.Copy` uses the same.
pub const PIECE_BYTES: usize = 32 * 1024;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

/// A request or a response without its body.
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    pub body: Body,
}

/// A connection. It panics at anything that the benchmark does not expect.
pub struct Conn(BufReader<UnixStream>);

impl Conn {
    pub fn new(stream: UnixStream) -> Conn {
        Conn(BufReader::with_capacity(64 * 1024, stream))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Reads the next head. Returns `None` at the end.
    pub fn head(&mut self) -> Option<Head> {
        let mut head = Head {
            line: self.line()?,
            body: Body::Length(0),
        };
        loop {
            let line = self.line().expect("a whole head").to_ascii_lowercase();
            match line.split_once(": ") {
                None => return Some(head),
                Some(("content-length", n)) => head.body = Body::Length(n.parse().unwrap()),
                Some(("transfer-encoding", _)) => head.body = Body::Chunked,
                Some(_) => (),
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix("\r\n").map(str::to_owned)
    }

    /// Reads a body and discards it. Returns its length in bytes.
    pub fn skip(&mut self, body: Body) -> u64 {
        if let Body::Length(n) = body {
            self.skip_bytes(n);
            return n;
        }
        let mut total = 0;
        loop {
            let line = self.line().expect("a chunk");
            let n = u64::from_str_radix(&line, 16).unwrap();
            self.skip_bytes(n + 2);
            total += n;
            if n == 0 {
                return total;
            }
        }
    }

    fn skip_bytes(&mut self, mut n: u64) {
        while n > 0 {
            let there = self.0.fill_buf().unwrap().len();
            assert!(there > 0, "ended, {n} bytes expected");
            let used = there.min(usize::try_from(n).unwrap());
            self.0.consume(used);
            n -= used as u64;
        }
    }

    /// Reads the next `n` bytes.
    pub fn take(&mut self, n: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(n).unwrap()];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a body of `n` bytes in the framing that its head has announced.
    pub fn send_body(&mut self, framing: Body, n: usize) {
        let mut piece = format!("{PIECE_BYTES:x}\r\n").into_bytes();
        let at = piece.len();
        piece.resize(at + PIECE_BYTES, b'x');
        piece.extend_from_slice(b"\r\n");
        let sent = match framing {
            Body::Length(_) => &piece[at..at + PIECE_BYTES],
            Body::Chunked => &piece[..],
        };
        assert_eq!(n % PIECE_BYTES, 0);
        (0..n / PIECE_BYTES).for_each(|_| self.send(sent));
        if framing == Body::Chunked {
            self.send(b"0\r\n\r\n");
        }
    }

    /// Sends a request and reads the response. Returns its status line and its body.
    pub fn ask(&mut self, request: &str) -> (String, Vec<u8>) {
        self.send(request.as_bytes());
        let head = self.head().expect("an answer");
        let body = match head.body {
            Body::Length(n) => self.take(n),
            Body::Chunked => panic!("{}: a length is expected", head.line),
        };
        (head.line, body)
    }

    /// Waits for bytes and sends them back. Returns false at the end.
    pub fn echo(&mut self) -> bool {
        let bytes = self.0.fill_buf().unwrap_or_default().to_vec();
        self.0.consume(bytes.len());
        self.send(&bytes);
        !bytes.is_empty()
    }
}
