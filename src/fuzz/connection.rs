//! A whole connection: a client and a daemon that send what an input says, and a strict reader
//! behind the proxy.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::reference::{Json, Read, Request, chunks, pairs, unescape};
use super::{is_labelled, policy};
use crate::policy::Policy;
use crate::proxy::connection::serve;
use crate::proxy::settings::{ClientTimes, Settings, Shared};

/// How long the ends may take to come to an end. Far beyond what they need.
const LIMIT: Duration = Duration::from_secs(20);

/// How long the daemon waits for more when it has answered; some answers are not whole.
const PAUSE: Duration = Duration::from_millis(30);

/// What the daemon answers to an input's requests.
type Answers = Vec<Vec<u8>>;

/// The daemon of this process: each input's answers go in, and word that it is done comes out.
struct Daemon {
    path: PathBuf,
    answers: Mutex<(Sender<Answers>, Receiver<()>)>,
}

/// What a client sends, and behind each byte 0xff what the daemon answers to a request (in turn,
/// from the start again). The proxy ends, and no create is without labels.
pub fn connection(bytes: &[u8]) {
    static DAEMON: OnceLock<Daemon> = OnceLock::new();
    let daemon = DAEMON.get_or_init(Daemon::start);
    let mut parts = bytes.split(|&b| b == 0xff);
    let client_bytes = parts.next().unwrap_or_default();
    let answers: Answers = parts.map(<[u8]>::to_vec).collect();
    let is_strict = answers.len() == 3;
    let lock = daemon.answers.lock().expect("no panic while locked");
    lock.0.send(answers).expect("the daemon runs");

    let (mut client, proxy) = UnixStream::pair().expect("a pair of sockets");
    client.set_read_timeout(Some(LIMIT)).expect("a time limit");
    let settings = Settings {
        daemon: daemon.path.clone(),
        policy: Policy {
            is_strict,
            ..policy()
        },
        shared: Shared::default(),
        client_times: ClientTimes::default(),
    };
    let serving = thread::spawn(move || serve(Arc::new(proxy), 1, &settings));
    // Half of the inputs arrive byte by byte.
    let size = if client_bytes.len() % 2 == 0 {
        client_bytes.len().max(1)
    } else {
        1
    };
    for piece in client_bytes.chunks(size) {
        if client.write_all(piece).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    match client.read_to_end(&mut received) {
        Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => panic!("the proxy hangs"),
        _ => drop(client),
    }
    serving.join().expect("no panic");
    // Tells the daemon that no more connections come.
    let _ = UnixStream::connect(&daemon.path).and_then(|mut end| end.write_all(b"END"));
    lock.1
        .recv_timeout(LIMIT)
        .expect("the daemon comes to an end");
}

impl Daemon {
    fn start() -> Daemon {
        let name = format!("docker-label-proxy-fuzz.{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let (answers, next) = channel::<Answers>();
        let (done, is_done) = channel();
        thread::spawn(move || {
            while let Ok(answers) = next.recv() {
                let mut turn = 0;
                while let Ok((stream, _)) = listener.accept() {
                    if !answer(stream, &answers, &mut turn) {
                        break;
                    }
                }
                if done.send(()).is_err() {
                    return;
                }
            }
        });
        Daemon {
            path,
            answers: Mutex::new((answers, is_done)),
        }
    }
}

/// Serves one connection of the proxy's; false when it is the sign of the end.
fn answer(mut stream: UnixStream, answers: &[Vec<u8>], turn: &mut usize) -> bool {
    let mut unread = Vec::new();
    let mut buf = [0; 4096];
    let mut is_read_out = false;
    // Longer than the client waits, which is the one to say so.
    let limit = LIMIT.saturating_mul(2);
    stream.set_read_timeout(Some(limit)).expect("a time limit");
    loop {
        let n = match stream.read(&mut buf) {
            Ok(n) => n,
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => 0,
        };
        if n == 0 {
            return true;
        }
        unread.extend_from_slice(&buf[..n]);
        if unread == b"END" {
            return false;
        }
        while !is_read_out {
            let (request, body, len) = match next(&unread) {
                Some(request) => request,
                None => break,
            };
            check(&request, &body);
            unread.drain(..len);
            let none = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}".to_vec();
            let answer = match answers.len() {
                0 => &none,
                len => &answers[*turn % len],
            };
            *turn += 1;
            if stream.write_all(answer).is_err() {
                return true;
            }
            // What follows a request that the daemon may hijack is its own.
            is_read_out = may_hijack(&request) && !answer.starts_with(b"HTTP/1.1 4");
            stream.set_read_timeout(Some(PAUSE)).expect("a time limit");
        }
        if is_read_out || unread.starts_with(b"PRI * HTTP/2.0\r\n\r\n") {
            let first = answers
                .first()
                .map_or(&b"HTTP/1.1 400 x\r\n\r\n"[..], |a| a);
            if !is_read_out && stream.write_all(first).is_err() {
                return true;
            }
            is_read_out = true;
            stream.set_read_timeout(Some(PAUSE)).expect("a time limit");
            unread.clear();
        }
    }
}

/// The next whole request, its body, and its length; `None` while it is not there. One that
/// breaks off is no failure: the client may have gone.
fn next(bytes: &[u8]) -> Option<(Request, Vec<u8>, usize)> {
    let head_len = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n") {
        return None;
    }
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let head = Request::parse(&bytes[..head_len]).unwrap_or_else(|| panic!("{}", shown()));
    let hosts = head.all("host").len();
    assert!(
        hosts == 1 || hosts == 0 && head.minor_version == 0,
        "{}",
        shown()
    );
    let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
    let body = &bytes[head_len..];
    let (body, used) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), 0),
        ([length], []) => {
            let length = std::str::from_utf8(length)
                .ok()
                .and_then(|l| l.parse().ok());
            let length: usize = length.unwrap_or_else(|| panic!("{}", shown()));
            (body.get(..length)?.to_vec(), length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => match chunks(body) {
            Read::Whole(content, used) => (content, used),
            Read::Partial => return None,
            Read::Malformed => panic!("{}", shown()),
        },
        _ => panic!("two framings: {}", shown()),
    };
    Some((head, body, head_len + used))
}

fn path(request: &Request) -> String {
    let target = request.target.split('?').next().unwrap_or_default();
    String::from_utf8_lossy(&unescape(target.as_bytes()).unwrap_or_default()).into_owned()
}

fn may_hijack(request: &Request) -> bool {
    let path = path(request);
    let ends = ["/attach", "/attach/ws", "/start", "/session", "/grpc"];
    ends.iter().any(|end| path.ends_with(end))
}

/// Checks that a create has the labels.
fn check(request: &Request, body: &[u8]) {
    let path = path(request);
    let (unversioned, query) = (
        path.strip_prefix("/v")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(version, _)| {
                version.contains(|c: char| c.is_ascii_digit() || c == '.')
                    && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            })
            .map_or(path.clone(), |(_, rest)| format!("/{rest}")),
        request
            .target
            .split_once('?')
            .map_or("", |(_, query)| query),
    );
    if request.method != "POST" {
        return;
    }
    let shown = || format!("{request:?} {:?}", String::from_utf8_lossy(body));
    match &*unversioned {
        "/containers/create" | "/volumes/create" | "/networks/create" | "/secrets/create"
        | "/configs/create" | "/services/create" => {
            let body = Json::parse(body).unwrap_or_else(|| panic!("{}", shown()));
            let from = body
                .field("ConfigFrom")
                .and_then(|from| from.field("Network"));
            let is_copy = unversioned == "/networks/create"
                && from.is_some_and(|from| !from.text().is_empty());
            assert!(is_copy || is_labelled(&body, "Labels"), "{}", shown());
        }
        "/build" => {
            let pairs = pairs(query);
            let labels = pairs.iter().find(|pair| pair.name == b"labels");
            let labels = labels.unwrap_or_else(|| panic!("{}", shown()));
            let value = Json::parse(&labels.value).unwrap_or_else(|| panic!("{}", shown()));
            let wrapped = Json::Object(vec![("labels".to_owned(), value)]);
            assert!(is_labelled(&wrapped, "labels"), "{}", shown());
            for kind in request.all("content-type") {
                assert!(
                    matches!(kind, b"application/x-tar" | b"application/tar"),
                    "{}",
                    shown()
                );
            }
        }
        "/commit" | "/images/create" => {
            let pairs = pairs(query);
            let is_pull = unversioned == "/images/create"
                && pairs
                    .iter()
                    .any(|pair| pair.name == b"fromImage" && !pair.value.is_empty());
            let last = pairs.last().filter(|pair| pair.name == b"changes");
            let is_ours = last.is_some_and(|pair| pair.value.starts_with(b"LABEL \"note\"="));
            assert!(is_pull || is_ours, "{}", shown());
        }
        _ => (),
    }
}
