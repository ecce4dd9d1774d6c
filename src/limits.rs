//! Every size, count and time that bounds something, with its unit and reason. docs/design.md shows
//! them all, and a test holds its table to this file. What a protocol fixes, such as the size of a
//! frame's header, stays with the protocol.

use std::time::Duration;

// Heads and bodies of HTTP/1.1.

/// The largest head that is read, in bytes: the same as Go's `http.DefaultMaxHeaderBytes`, so that
/// no request is refused that the daemon would take.
pub(crate) const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// The most header lines of a head. Far beyond any client: buildx repeats one a dozen times.
pub(crate) const MAX_HEADERS: usize = 1024;

/// Header lines that are made room for at first, since room for all costs 32 KiB a request.
pub(crate) const USUAL_HEADERS: usize = 64;

/// The longest line between chunks, its extensions included, in bytes; as in Go's
/// `net/http/internal` (`maxLineLength`).
pub(crate) const MAX_CHUNK_LINE_BYTES: usize = 4 * 1024;

/// The most bytes of all trailer lines together. Arbitrary: no client of Docker sends any.
pub(crate) const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// The largest body that is rewritten, in bytes: as much as moby lets its authorization plugins
/// see. Bodies that are not rewritten have no limit.
pub(crate) const MAX_REWRITTEN_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The largest body that is gathered before the request is sent, in bytes, which saves a thread.
pub(crate) const SMALL_BODY_BYTES: u64 = 64 * 1024;

// How long a client may hold a thread that waits for nobody else.

/// For a head, from its first byte on: clients send it in one piece.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// For a body that is rewritten: far longer than 4 MiB take.
pub(crate) const REWRITTEN_BODY_LIMIT: Duration = Duration::from_secs(120);

/// For what a refused client still sends, so that it sees the answer instead of a broken pipe.
pub(crate) const LINGER_LIMIT: Duration = Duration::from_secs(5);

/// To read an answer of the proxy's own.
pub(crate) const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// For the first byte of a client that is turned away.
pub(crate) const TURN_AWAY_LIMIT: Duration = Duration::from_secs(5);

// The daemon.

/// How long the daemon's queue of connections may be full: as when it hangs, or is swamped.
pub(crate) const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// How long to wait before the next try to connect to a daemon whose queue is full.
pub(crate) const DIAL_PAUSE: Duration = Duration::from_millis(50);

/// How long bytes of a client that is gone wait for a daemon that takes none of them.
pub(crate) const UNDELIVERED_LIMIT: Duration = Duration::from_secs(10);

/// The most subrequests for one create: a named volume in `Binds` costs one, and a body has room
/// for hundreds of thousands.
pub(crate) const MAX_SUBREQUESTS: usize = 1000;

/// The largest answer to a subrequest, in bytes: the description of an image or a container.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long the daemon may take to answer a subrequest. It may be busy, but these are quick
/// requests: the slowest is a volume with an unknown driver, which takes it 15 s.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// The largest answer to a create that is held while what was created is checked, in bytes: it is
/// an ID and some warnings.
pub(crate) const MAX_HELD_ANSWER_BYTES: usize = 1024 * 1024;

/// How long the daemon's answer to such a create is waited for when the client has left.
pub(crate) const ABANDONED_LIMIT: Duration = Duration::from_secs(120);

/// The most volumes that one create may name: the check asks for each.
pub(crate) const MAX_NAMED_VOLUMES: usize = 1000;

/// How long a request waits for others that create or remove the same volumes.
pub(crate) const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// How often a request that waits looks whether its client has left.
pub(crate) const HOLD_PAUSE: Duration = Duration::from_millis(100);

/// How long it is tried to take back what was created without labels: the daemon may be about to
/// remove it already, or to start again.
pub(crate) const TAKE_BACK_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two of these tries.
pub(crate) const TAKE_BACK_PAUSE: Duration = Duration::from_millis(100);

/// The most images that are remembered: what the jobs of one host use.
pub(crate) const MAX_REMEMBERED_IMAGES: usize = 256;

/// The largest image that is remembered, in bytes of its name and paths.
pub(crate) const MAX_REMEMBERED_IMAGE_BYTES: usize = 16 * 1024;

// The process.

/// Clients served at a time unless the operator says otherwise. Each may have two threads, and each
/// thread takes two of the 65,530 memory maps that Linux gives a process (`vm.max_map_count`).
pub(crate) const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// Clients beyond the limit that are told so at a time, each by a thread that waits for its request.
/// Those beyond them get the answer before they have asked, which not every client understands.
pub(crate) const MAX_TURNED_AWAY: usize = 64;

/// Descriptors besides those of the clients that are served: the standard ones, the listening
/// socket, the clients that are turned away, a probe of the daemon, and some to spare.
pub(crate) const OTHER_DESCRIPTORS: u64 = 16 + MAX_TURNED_AWAY as u64;

/// How long to wait before the next accept when the system is out of descriptors or memory: no
/// spinning, and service again as soon as there are some.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long it must have been quiet before the same message is news again.
pub(crate) const NEWS_PAUSE: Duration = Duration::from_secs(10);

/// The stack of a thread that serves a client or moves bytes, in bytes.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// The buffer of a connection at rest, in bytes: thousands of them are idle on a busy host.
pub(crate) const SMALL_BUFFER_BYTES: usize = 4 * 1024;

/// The buffer of a connection that streams, in bytes. More makes nothing faster: a UNIX socket
/// holds about three of these.
pub(crate) const LARGE_BUFFER_BYTES: usize = 64 * 1024;

/// The longest path of a socket, in bytes (`sun_path` of unix(7) without its NUL).
pub(crate) const MAX_PATH_BYTES: usize = 107;

// HTTP/2 and gRPC.

/// The streams a client may have open. Arbitrary: builds need a dozen each.
pub(crate) const MAX_STREAMS: usize = 1000;

/// The largest header block of a client, in bytes. Those of BuildKit's clients have a few hundred;
/// the decoder takes its time for each Huffman-coded string.
pub(crate) const CLIENT_BLOCK_BYTES: usize = 16 * 1024;

/// What a header block of a client may decode to, in bytes.
pub(crate) const CLIENT_FIELDS_BYTES: usize = 256 * 1024;

/// The largest header block of the daemon, and what it may decode to, in bytes: errors of a build
/// hold the Dockerfile and come as a trailer. It is as much as gRPC's Go client takes.
pub(crate) const DAEMON_BLOCK_BYTES: usize = 16 * 1024 * 1024;

/// The most settings that a client may leave unacknowledged. One that is alive leaves a few.
pub(crate) const MAX_UNACKNOWLEDGED: usize = 100;

/// While more than this waits to be written to one end, in bytes, the other is not read.
pub(crate) const MAX_BACKLOG_BYTES: usize = 128 * 1024;

/// While more than this waits to be written to the client, in bytes, the client is not read
/// either: the proxy's own answers must not pile up.
pub(crate) const MAX_OWN_BACKLOG_BYTES: usize = 1024 * 1024;

/// The largest gRPC message that is edited, in bytes: as much as BuildKit's clients send.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The most that may be held of messages that are edited, on one connection, in bytes: four of the
/// largest.
pub(crate) const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// How long to wait for a client that is gone, or that does not read why its connection ends.
pub(crate) const LAST_WORD_LIMIT: Duration = Duration::from_secs(10);

/// The most fields at one level of a protobuf message. No client sends as many, and each takes
/// memory of its own.
pub(crate) const MAX_FIELDS: usize = 65_536;

/// The most bytes that the configurations of one result of a build may have. No daemon reads a
/// longer message.
pub(crate) const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;

// Text.

/// The length, in bytes, from which on a line of a Dockerfile is too long for the daemon's parser
/// (`bufio.MaxScanTokenSize`). Some daemons silently ignore such a line and all that follows.
pub(crate) const DOCKERFILE_LINE_BYTES: usize = 64 * 1024;

/// How much of the names of images the log shows, in characters: dozens of names.
pub(crate) const MAX_SHOWN_IMAGES_CHARS: usize = 2000;

/// How much of an unknown gRPC `:path` an error shows, in characters. Real calls have shorter
/// names.
pub(crate) const MAX_SHOWN_CALL_CHARS: usize = 100;

/// How much of a name in a client's object an error shows, in characters. Those that daemons know
/// are shorter.
pub(crate) const MAX_SHOWN_NAME_CHARS: usize = 100;

/// The most characters of a client's text that a message of a check shows.
pub(crate) const MAX_SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> String {
        match n {
            n if n % (1024 * 1024) == 0 => format!("{} MiB", n / 1024 / 1024),
            n if n % 1024 == 0 => format!("{} KiB", n / 1024),
            n => format!("{n} bytes"),
        }
    }

    fn time(time: Duration) -> String {
        if time.subsec_millis() == 0 {
            format!("{} s", time.as_secs())
        } else {
            format!("{} ms", time.as_millis())
        }
    }

    /// A number with a comma before its last three digits.
    fn count(n: usize) -> String {
        if n < 1000 {
            n.to_string()
        } else {
            format!("{},{:03}", n / 1000, n % 1000)
        }
    }

    /// The first two columns of the table in docs/design.md.
    #[rustfmt::skip]
    fn rows() -> Vec<(&'static str, String)> {
        vec![
            ("request head, response head", bytes(MAX_HEAD_BYTES)),
            ("header lines", count(MAX_HEADERS)),
            ("header lines that there is room for at first", count(USUAL_HEADERS)),
            ("chunk line; trailers", format!("{}; {}", bytes(MAX_CHUNK_LINE_BYTES), bytes(MAX_TRAILER_BYTES))),
            ("body that is rewritten", format!("{}, {}", bytes(MAX_REWRITTEN_BODY_BYTES), time(REWRITTEN_BODY_LIMIT))),
            ("body that is gathered before its request is sent", bytes(SMALL_BODY_BYTES as usize)),
            ("head, from its first byte on", time(HEAD_LIMIT)),
            ("answer of the proxy, unread", time(REPLY_LIMIT)),
            ("what a refused client still sends", time(LINGER_LIMIT)),
            ("idle connection; body that passes", "none".to_owned()),
            ("daemon whose queue of connections is full", format!("{}, tried every {}", time(DIAL_LIMIT), time(DIAL_PAUSE))),
            ("bytes of a client that is gone, for a daemon that takes none", time(UNDELIVERED_LIMIT)),
            ("answer to a subrequest", format!("{}, {}", bytes(MAX_ANSWER_BYTES), time(ANSWER_LIMIT))),
            ("subrequests for one create", count(MAX_SUBREQUESTS)),
            ("answer to a create that is checked", format!("{}, {} when the client has left", bytes(MAX_HELD_ANSWER_BYTES), time(ABANDONED_LIMIT))),
            ("volumes that one create names", count(MAX_NAMED_VOLUMES)),
            ("wait for a volume that another request holds", format!("{}, looked at every {}", time(HOLD_LIMIT), time(HOLD_PAUSE))),
            ("tries to take something back", format!("{}, every {}", time(TAKE_BACK_LIMIT), time(TAKE_BACK_PAUSE))),
            ("images that are remembered", format!("{}, of {} each at most", count(MAX_REMEMBERED_IMAGES), bytes(MAX_REMEMBERED_IMAGE_BYTES))),
            ("clients at a time", format!("{} (`--max-connections`)", count(DEFAULT_MAX_CONNECTIONS))),
            ("clients beyond it, told so at a time", format!("{} threads, {} to ask", count(MAX_TURNED_AWAY), time(TURN_AWAY_LIMIT))),
            ("descriptors for other things than clients", count(OTHER_DESCRIPTORS as usize)),
            ("pause after a failed accept", time(ACCEPT_PAUSE)),
            ("quiet before a message about many is news again", time(NEWS_PAUSE)),
            ("stack of a thread", bytes(STACK_BYTES)),
            ("buffer of a connection, at rest and streaming", format!("{}, {}", bytes(SMALL_BUFFER_BYTES), bytes(LARGE_BUFFER_BYTES))),
            ("path of a socket", bytes(MAX_PATH_BYTES)),
            ("open streams of HTTP/2", count(MAX_STREAMS)),
            ("header block of a client over HTTP/2", format!("{}, decoded {}", bytes(CLIENT_BLOCK_BYTES), bytes(CLIENT_FIELDS_BYTES))),
            ("header block of the daemon over HTTP/2", bytes(DAEMON_BLOCK_BYTES)),
            ("settings that a client has not acknowledged", count(MAX_UNACKNOWLEDGED)),
            ("bytes that wait for one end while the other is read", bytes(MAX_BACKLOG_BYTES)),
            ("bytes of the proxy's own that wait for a client while it is read", bytes(MAX_OWN_BACKLOG_BYTES)),
            ("gRPC message that is edited", bytes(MAX_MESSAGE_BYTES)),
            ("such messages on one connection", bytes(MAX_HELD_BYTES)),
            ("client that is gone, or does not read why HTTP/2 ends", time(LAST_WORD_LIMIT)),
            ("fields at one level of a protobuf message", count(MAX_FIELDS)),
            ("configurations of one result of a build", bytes(MAX_CONFIG_BYTES)),
            ("line of a Dockerfile", format!("below {}", bytes(DOCKERFILE_LINE_BYTES))),
            ("names of images in the log", format!("{} characters", count(MAX_SHOWN_IMAGES_CHARS))),
            ("text of a client in a message of a check", format!("{MAX_SHOWN_CHARS} characters")),
            ("unknown call, and name of a member, in an error", format!("{}, {} characters", MAX_SHOWN_CALL_CHARS, MAX_SHOWN_NAME_CHARS)),
        ]
    }

    #[test]
    fn the_docs_show_every_limit() {
        let docs = include_str!("../docs/design.md");
        let (_, section) = docs.split_once("\n## Limits\n").expect("a section");
        let (section, _) = section.split_once("\n## ").expect("another section");
        let shown = section.lines().filter(|line| line.starts_with("| "));
        let shown = shown.skip(1).map(|line| {
            let mut columns = line.split(" | ");
            let what = columns.next().unwrap_or_default();
            let limit = columns.next().unwrap_or_default();
            (what.trim_start_matches("| "), limit.to_owned())
        });
        assert_eq!(shown.collect::<Vec<_>>(), rows());
    }

    #[test]
    fn every_limit_has_a_row() {
        let source = include_str!("limits.rs");
        let (constants, tests) = source.split_once("\nmod tests {\n").expect("tests");
        let (_, rows) = tests.split_once("fn rows()").expect("rows");
        let names = constants
            .lines()
            .filter_map(|line| line.strip_prefix("pub(crate) const "))
            .filter_map(|line| line.split_once(':'));
        let missing: Vec<&str> = names
            .map(|(name, _)| name)
            .filter(|name| !rows.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
