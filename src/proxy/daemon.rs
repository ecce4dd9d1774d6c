//! The link to the daemon: dialled when it is needed, kept from one request to the next, replaced
//! when it is stale, and the subrequests that go over it. Needs no client.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;

use crate::error::{Reason, Refusal};
use crate::inject::image_memory::ImageMemory;
use crate::inject::request::{Answer, Daemon};
use crate::limits::{DIAL_LIMIT, HOLD_LIMIT, MAX_SUBREQUESTS, TAKE_BACK_LIMIT, TAKE_BACK_PAUSE};
use crate::proxy::name_locks::{LockError, Locked};
use crate::proxy::settings::Shared;
use crate::proxy::socket::{self, Input};
use crate::proxy::subrequest::{AnswerLimits, Failure, Subrequest};
use crate::text::shown;

/// The link to the daemon.
#[derive(Debug)]
pub(crate) struct DaemonConnection<'p> {
    /// Dialled by its path each time, so that a restarted daemon is found.
    path: &'p Path,
    /// For whom the daemon is waited for, if for anyone: no longer than it does.
    client: Option<Arc<UnixStream>>,
    input: Option<Input>,
}

impl<'p> DaemonConnection<'p> {
    /// A link to the daemon at `path`, which is dialled when it is first used.
    pub(crate) fn new(path: &'p Path, client: Option<Arc<UnixStream>>) -> DaemonConnection<'p> {
        DaemonConnection {
            path,
            client,
            input: None,
        }
    }
}

impl DaemonConnection<'_> {
    /// The connection, dialled if there is none that can be used.
    ///
    /// # Errors
    /// 502 when the daemon cannot be reached, 503 when the system has no room for a connection, 504
    /// when its queue stays full.
    pub(crate) fn get(&mut self) -> Result<&mut Input, Refusal> {
        let input = match self.take_kept() {
            Some(input) => input,
            None => self.dial()?,
        };
        Ok(self.input.insert(input))
    }

    /// Closes the connection, so that the next use dials anew.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// Sends a subrequest and reads the answer. One that only reads is sent again, once, when a kept
    /// connection closes without a byte of an answer: the daemon has closed it just then.
    ///
    /// # Errors
    /// As [`get`](Self::get), and when there is no answer that can be read.
    pub(crate) fn send(
        &mut self,
        subrequest: Subrequest<'_>,
        limits: AnswerLimits,
    ) -> Result<Answer, Refusal> {
        let kept = self.take_kept();
        let may_repeat = kept.is_some() && subrequest.method == "GET";
        let input = match kept {
            Some(input) => input,
            None => self.dial()?,
        };
        let mut result = self.send_once(input, subrequest, limits);
        if may_repeat && matches!(&result, Err(failure) if failure.is_unanswered) {
            let input = self.dial()?;
            result = self.send_once(input, subrequest, limits);
        }
        result.map_err(|failure| failure.refusal)
    }

    /// Sends a subrequest on this connection, and keeps it if it can be used again.
    fn send_once(
        &mut self,
        mut input: Input,
        subrequest: Subrequest<'_>,
        limits: AnswerLimits,
    ) -> Result<Answer, Failure> {
        let (answer, is_reusable) = subrequest.send(&mut input, self.client.as_deref(), limits)?;
        if is_reusable {
            self.input = Some(input);
        }
        Ok(answer)
    }

    /// Takes the kept connection, unless the daemon has closed it meanwhile, or has said more on it
    /// than it was asked: that must not be taken for its next answer.
    fn take_kept(&mut self) -> Option<Input> {
        let is_usable =
            |input: &Input| input.buffered().is_empty() && !socket::is_stale(input.socket());
        self.input.take().filter(is_usable)
    }

    fn dial(&self) -> Result<Input, Refusal> {
        let deadline = Instant::now() + DIAL_LIMIT;
        match socket::connect(self.path, self.client.as_deref(), deadline) {
            Ok(socket) => Ok(Input::new(Arc::new(socket))),
            Err(err) => Err(self.unreachable(&err)),
        }
    }

    fn unreachable(&self, err: &io::Error) -> Refusal {
        let path = self.path;
        match (err.kind(), err.raw_os_error().map(Errno::from_raw)) {
            (io::ErrorKind::TimedOut, _) => Refusal::new(
                Reason::DaemonTimeout,
                format!(
                    "the daemon at {path:?} accepts no connections: its queue has been full for \
                     {DIAL_LIMIT:?}"
                ),
            ),
            (_, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Refusal::new(
                Reason::Busy,
                format!("cannot connect to the daemon now: {err}"),
            ),
            _ => Refusal::bad_gateway(format!("cannot connect to the daemon at {path:?}: {err}")),
        }
    }
}

/// The daemon as the labelling of one create sees it: subrequests, and not too many of them. Its
/// check sees it so too, but waits for nobody.
#[derive(Debug)]
pub(crate) struct CreateDaemon<'d, 'p> {
    daemon: &'d mut DaemonConnection<'p>,
    /// Names the client's connection in the log.
    number: u64,
    shared: &'p Shared,
    /// How many subrequests are left, if they are counted.
    budget: Option<usize>,
    /// When the check gives up to take something back.
    deadline: Option<Instant>,
    locked: Option<Locked<'p>>,
    /// The client, which is not watched during a check.
    unwatched: Option<Arc<UnixStream>>,
}

impl<'d, 'p> CreateDaemon<'d, 'p> {
    pub(crate) fn new(
        daemon: &'d mut DaemonConnection<'p>,
        number: u64,
        shared: &'p Shared,
    ) -> CreateDaemon<'d, 'p> {
        CreateDaemon {
            daemon,
            number,
            shared,
            budget: Some(MAX_SUBREQUESTS),
            deadline: None,
            locked: None,
            unwatched: None,
        }
    }

    /// The daemon as the check of a create sees it, which goes on when the client has gone. What it
    /// asks is bounded by what was created.
    pub(crate) fn for_check(
        daemon: &'d mut DaemonConnection<'p>,
        number: u64,
        shared: &'p Shared,
    ) -> CreateDaemon<'d, 'p> {
        let unwatched = daemon.client.take();
        let mut check = CreateDaemon::new(daemon, number, shared);
        check.budget = None;
        check.unwatched = unwatched;
        check
    }

    /// The volumes that it holds, to be held on.
    pub(crate) fn take_locked(&mut self) -> Option<Locked<'p>> {
        self.locked.take()
    }
}

impl Drop for CreateDaemon<'_, '_> {
    fn drop(&mut self) {
        if self.unwatched.is_some() {
            self.daemon.client = self.unwatched.take();
        }
    }
}

/// Holds volumes until what is returned is dropped, for a client that may go meanwhile.
///
/// # Errors
/// 503 when another request holds one for too long.
pub(crate) fn hold<'s>(
    shared: &'s Shared,
    names: BTreeSet<String>,
    client: Option<&Arc<UnixStream>>,
) -> Result<Locked<'s>, Refusal> {
    let deadline = Instant::now() + HOLD_LIMIT;
    let is_wanted = || !client.is_some_and(|client| socket::is_closed(client));
    let locked = shared.volumes.lock(names, deadline, is_wanted);
    locked.map_err(|err| match err {
        LockError::Timeout(name) => Refusal::new(
            Reason::Busy,
            format!(
                "another request has been creating or removing the volume {} for {HOLD_LIMIT:?}; \
                 try again",
                shown(&name)
            ),
        ),
        LockError::Unwanted => {
            Refusal::bad_request("the client disconnected before its request could be prepared")
        }
    })
}

impl Daemon for CreateDaemon<'_, '_> {
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal> {
        log::debug!("#{} subrequest {method} {target:?}", self.number);
        if let Some(left) = &mut self.budget {
            *left = left.checked_sub(1).ok_or_else(|| {
                Refusal::bad_request(format!(
                    "the request needs more than {MAX_SUBREQUESTS} subrequests to the daemon, such \
                     as one for each named volume; split it"
                ))
            })?;
        }
        let subrequest = Subrequest {
            method,
            target,
            body,
        };
        self.daemon.send(subrequest, AnswerLimits::default())
    }

    fn hold(&mut self, names: BTreeSet<String>) -> Result<(), Refusal> {
        // Who waits for some while it holds others may wait for good.
        self.locked = None;
        let client = self.daemon.client.as_ref();
        self.locked = Some(hold(self.shared, names, client)?);
        Ok(())
    }

    fn images(&self) -> &ImageMemory {
        &self.shared.images
    }

    fn warn(&mut self, what: &str) {
        log::warn!("#{} {what}", self.number);
    }

    fn pause(&mut self) -> bool {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + TAKE_BACK_LIMIT);
        if now < deadline {
            thread::sleep(TAKE_BACK_PAUSE);
        }
        now < deadline
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    /// A daemon that serves one connection after the other: it sends the next of these answers for
    /// each request, and closes the connection behind the last.
    struct FakeDaemon(PathBuf);

    impl FakeDaemon {
        fn start(name: &str, connections: &'static [&'static [&'static str]]) -> FakeDaemon {
            let name = format!("dlp-daemon.{}.{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            thread::spawn(move || {
                for answers in connections {
                    let (mut socket, _) = listener.accept().unwrap();
                    for answer in *answers {
                        // Each request of these tests is one piece.
                        assert!(socket.read(&mut [0; 1024]).unwrap() > 0);
                        socket.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
            FakeDaemon(path)
        }
    }

    impl Drop for FakeDaemon {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn send(daemon: &mut DaemonConnection<'_>, method: &str) -> Result<u16, Reason> {
        let subrequest = Subrequest {
            method,
            target: "/version",
            body: None,
        };
        let sent = daemon.send(subrequest, AnswerLimits::default());
        sent.map(|answer| answer.status)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_connection_is_kept_while_it_can_be_used() {
        const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        const TOO_MUCH: &str =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 x\r\n\r\n";
        const CONNECTIONS: &[&[&str]] = &[&[ANSWER, CLOSE], &[ANSWER, TOO_MUCH], &[ANSWER]];
        let fake = FakeDaemon::start("kept", CONNECTIONS);
        let mut daemon = DaemonConnection::new(&fake.0, None);
        for _ in 0..5 {
            assert_eq!(send(&mut daemon, "POST"), Ok(200));
        }
    }

    #[test]
    fn only_a_read_is_sent_again_and_only_on_a_kept_connection() {
        let fake = FakeDaemon::start("again", &[&[ANSWER, ""], &[ANSWER, ""], &[""]]);
        let mut daemon = DaemonConnection::new(&fake.0, None);
        assert_eq!(send(&mut daemon, "GET"), Ok(200));
        assert_eq!(send(&mut daemon, "GET"), Ok(200), "asked again");
        assert_eq!(send(&mut daemon, "POST"), Err(Reason::BadDaemon));
        assert_eq!(send(&mut daemon, "GET"), Err(Reason::BadDaemon), "new");
    }

    #[test]
    fn a_create_has_a_budget_of_subrequests() {
        let fake = FakeDaemon::start("budget", &[&[ANSWER]]);
        let mut daemon = DaemonConnection::new(&fake.0, None);
        let shared = Shared::default();
        let mut create = CreateDaemon::new(&mut daemon, 1, &shared);
        assert_eq!(create.budget, Some(MAX_SUBREQUESTS));
        create.budget = Some(1);
        assert!(create.request("GET", "/version", None).is_ok());
        let refusal = create.request("GET", "/version", None).unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed);
    }

    #[test]
    fn a_daemon_that_cannot_be_reached_is_named() {
        let mut daemon = DaemonConnection::new(Path::new("/nonexistent/docker.sock"), None);
        let refusal = daemon.get().unwrap_err();
        assert_eq!(refusal.reason, Reason::BadDaemon);
        assert!(refusal.message.contains("\"/nonexistent/docker.sock\""));
    }
}
