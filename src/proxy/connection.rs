//! The life of one client connection, from its first byte to its close: each request is read,
//! looked at, labelled or refused or passed on, and answered before the next one is read.
//! Read this file first.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Reason, Refusal};
use crate::http1::body::RequestFraming;
use crate::http1::chunked::Chunked;
use crate::http1::head::{HeadEnd, RequestHead};
use crate::http1::target::{Target, with_query};
use crate::http2;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Answer, Create, CreateRequest, Daemon, Rejection};
use crate::inject::routes::{self, Action, Kind};
use crate::policy::Policy;
use crate::proxy::daemon::{self, ANSWER_LIMIT, Subrequest};
use crate::proxy::exchange::{self, End, Exchange, Outgoing};
use crate::proxy::http2 as relay;
use crate::proxy::response::{self, Then};
use crate::proxy::socket::{self, Input};
use crate::proxy::tunnel;

/// The largest body that is rewritten, in bytes; as much as moby lets its authorization plugins
/// see. Bodies that are not rewritten have no limit.
pub(crate) const MAX_REWRITTEN_BODY_BYTES: usize = 4 * 1024 * 1024;

/// A body up to this size is gathered before the request is sent, which saves a thread.
const SMALL_BODY_BYTES: u64 = 64 * 1024;

/// How long a client may take for a head, from its first byte on.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take for a body that is to be rewritten.
const REWRITTEN_BODY_LIMIT: Duration = Duration::from_secs(120);

/// How long the daemon's queue of connections may be full.
const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// How long a refused client may go on sending what nobody reads, so that it sees the answer
/// instead of a broken pipe.
const LINGER_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer of the proxy's own unread.
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// How long a client that is turned away may take for its first byte.
const TURN_AWAY_LIMIT: Duration = Duration::from_secs(5);

/// The most questions that one request may cause: a named volume in `Binds` costs one, and a body
/// has room for hundreds of thousands.
const MAX_QUESTIONS: usize = 1000;

/// How long a client may hold a thread where nobody but it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: Duration,
    pub(crate) rewritten_body: Duration,
    pub(crate) linger: Duration,
    pub(crate) reply: Duration,
    pub(crate) turn_away: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: HEAD_LIMIT,
            rewritten_body: REWRITTEN_BODY_LIMIT,
            linger: LINGER_LIMIT,
            reply: REPLY_LIMIT,
            turn_away: TURN_AWAY_LIMIT,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The daemon's socket; dialled by its path each time, so that a restarted daemon is found.
    pub(crate) daemon: PathBuf,
    pub(crate) policy: Policy,
    /// Whether what cannot be labelled is refused.
    pub(crate) is_strict: bool,
    pub(crate) limits: Limits,
}

/// Serves one client until it or the daemon is done.
pub(crate) fn serve(client: Arc<UnixStream>, number: u64, settings: &Settings) {
    log::debug!("#{number} connected");
    let mut connection = Connection::new(client, number, settings);
    while connection.next_request() == Then::NextRequest {}
    log::debug!("#{number} closed");
}

/// Answers the first request of a client that is not served, whatever it is: an answer before there
/// is a request is one that clients do not read.
pub(crate) fn turn_away(
    client: Arc<UnixStream>,
    number: u64,
    settings: &Settings,
    refusal: &Refusal,
) {
    let mut connection = Connection::new(client, number, settings);
    let deadline = Instant::now() + settings.limits.turn_away;
    if matches!(connection.client.fill_until(deadline), Ok(1..)) {
        connection.reply(&response::refusal(refusal, "", Then::Close), Then::Close);
    }
}

struct Connection<'s> {
    /// Names the connection in the log.
    number: u64,
    settings: &'s Settings,
    client: Input,
    daemon: Option<Input>,
    /// Questions that the request has caused so far.
    n_questions: usize,
}

/// A request as far as it has been looked at.
struct Request {
    head: RequestHead,
    framing: RequestFraming,
    expects_continue: bool,
    /// Whether bytes of it are still to come, or it is not known where it ends.
    is_unread: bool,
}

impl Request {
    /// What becomes of the connection after an answer of the proxy.
    fn then(&self) -> Then {
        match self.is_unread || !self.head.is_persistent() {
            true => Then::Close,
            false => Then::NextRequest,
        }
    }
}

/// A create as the log tells it.
struct Created {
    kind: Kind,
    name: Option<String>,
}

impl<'s> Connection<'s> {
    fn new(client: Arc<UnixStream>, number: u64, settings: &'s Settings) -> Connection<'s> {
        Connection {
            number,
            settings,
            client: Input::new(client),
            daemon: None,
            n_questions: 0,
        }
    }
}

impl Connection<'_> {
    /// Reads a request and answers it.
    fn next_request(&mut self) -> Then {
        let head = match self.read_head() {
            Ok(Some(len)) if http2::begins_with(&self.client.buffered()[..len]) => {
                let end = self.http2();
                return end.unwrap_or_else(|refusal| self.refuse(&refusal, "", Then::Close));
            }
            Ok(Some(len)) => {
                let head = RequestHead::parse(&self.client.buffered()[..len]);
                self.client.consume(len);
                head
            }
            Ok(None) => return Then::Close,
            Err(refusal) => Err(refusal),
        };
        let head = match head {
            Ok(head) => head,
            Err(refusal) => return self.refuse(&refusal, "", Then::Close),
        };
        let mut request = Request {
            head,
            framing: RequestFraming::None,
            expects_continue: false,
            is_unread: true,
        };
        match self.answer(&mut request) {
            Ok(then) => then,
            Err(refusal) => {
                let then = request.then();
                self.refuse(&refusal, &request.head.method, then)
            }
        }
    }

    /// Reads the next head and tells its length, or `None` when the client is done. The wait for
    /// its first byte has no limit: clients keep connections open for hours.
    fn read_head(&mut self) -> Result<Option<usize>, Refusal> {
        self.client.shrink();
        if self.client.buffered().is_empty() && !matches!(self.client.fill(), Ok(1..)) {
            return Ok(None);
        }
        let deadline = Instant::now() + self.settings.limits.head;
        let mut end = HeadEnd::default();
        loop {
            if let Some(len) = end.find(self.client.buffered())? {
                return Ok(Some(len));
            }
            match self.client.fill_until(deadline) {
                Ok(1..) => (),
                Ok(0) => return Ok(None),
                Err(err) if err.kind() == io::ErrorKind::TimedOut => {
                    return Err(Refusal::new(
                        Reason::Timeout,
                        format!(
                            "the request head took longer than {:?}",
                            self.settings.limits.head
                        ),
                    ));
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn answer(&mut self, request: &mut Request) -> Result<Then, Refusal> {
        if request.head.method == "CONNECT" {
            return Err(Refusal::bad_request(
                "CONNECT is for proxies of another kind",
            ));
        }
        check_host(&request.head)?;
        request.framing = RequestFraming::of(&request.head)?;
        let has_body = !matches!(
            request.framing,
            RequestFraming::None | RequestFraming::Length(0)
        );
        request.expects_continue = expects_continue(&request.head)? && has_body;
        if request.head.method == "OPTIONS" && request.head.target == "*" {
            return self.forward(request, Action::Pass, None, None);
        }
        let target = Target::parse(&request.head.target)?;
        // From here on the head is understood; until then a refusal closes the connection.
        request.is_unread = has_body;
        if let Some(location) = target.redirect() {
            return Ok(self.reply(
                &response::redirect(&location, &request.head.method),
                Then::Close,
            ));
        }
        let (version, path) = routes::split_version(&target.path);
        let action = routes::action(&request.head.method, path);
        log::debug!(
            "#{} {} {:?}: {action:?}",
            self.number,
            request.head.method,
            target.raw_path
        );
        match action {
            Action::Label(kind, recipe) => {
                let draft = CreateRequest {
                    version: lossy(version),
                    query: target.query.clone().unwrap_or_default(),
                    ..CreateRequest::default()
                };
                return self.label(request, &target, kind, recipe, draft);
            }
            Action::CannotLabel(why) => self.allow_unlabelled(request, &target, why)?,
            Action::Start if request.is_unread && routes::is_before_1_24(version) => {
                let what = "a start with a body makes volumes that cannot be labelled; \
                            use API version 1.24 or later";
                return Err(Refusal::bad_request(what));
            }
            Action::Start | Action::Pass | Action::Hijack | Action::Grpc => (),
        }
        request.head.target = target.origin_form();
        self.forward(request, action, None, None)
    }

    /// Lets a request pass that may create what cannot be labelled, unless the operator is strict.
    fn allow_unlabelled(
        &self,
        request: &Request,
        target: &Target,
        why: &str,
    ) -> Result<(), Refusal> {
        let (number, method, path) = (self.number, &request.head.method, &target.raw_path);
        if self.settings.is_strict {
            return Err(Refusal::new(
                Reason::Forbidden,
                format!("{method} {path} is refused by --strict: {why}"),
            ));
        }
        log::warn!("#{number} passed on without labels: {method} {path:?}: {why}");
        Ok(())
    }

    /// Labels a create by its recipe, and sends it.
    fn label(
        &mut self,
        request: &mut Request,
        target: &Target,
        kind: Kind,
        recipe: &'static Recipe,
        mut draft: CreateRequest,
    ) -> Result<Then, Refusal> {
        if recipe.body == Body::Rewritten {
            match self.read_body(request)? {
                Some(body) => draft.body = body,
                None => return Ok(Then::Close),
            }
        }
        self.n_questions = 0;
        let was_empty = draft.body.is_empty();
        let settings = self.settings;
        let mut create = Create::new(draft, &settings.policy, self);
        let labelled = recipe.apply(&mut create);
        let draft = create.request;
        match labelled {
            Ok(()) => (),
            Err(Rejection::Refusal(refusal)) => return Err(refusal),
            Err(Rejection::Answer(answer)) if !(400..600).contains(&answer.status) => {
                // Nothing was created, so the client must not take it for a yes.
                let what = format!("the daemon answers a question with {}", answer.status);
                return Err(Refusal::bad_gateway(what));
            }
            Err(Rejection::Answer(answer)) => {
                log_answer(
                    self.number,
                    Some(&Created {
                        kind,
                        name: draft.name,
                    }),
                    answer.status,
                );
                let then = request.then();
                return Ok(self.reply(&response::answer(&answer, &request.head.method, then), then));
            }
        }
        let head = &mut request.head;
        let query = Some(&*draft.query).filter(|query| !query.is_empty());
        head.target = with_query(target.encoded_path(), query);
        let created = (!draft.is_unlabelled).then_some(Created {
            kind,
            name: draft.name,
        });
        let body = if recipe.body == Body::Rewritten {
            for name in ["content-length", "transfer-encoding", "trailer", "expect"] {
                head.headers.remove(name);
            }
            head.headers
                .push("Content-Length", draft.body.len().to_string());
            if was_empty && !draft.body.is_empty() {
                // A request without a body need not have a type; one with a body must.
                head.headers.remove("content-type");
                head.headers.push("Content-Type", "application/json");
            }
            Some(draft.body)
        } else {
            if recipe.body == Body::PassesAsData && may_be_form(head, target) {
                head.headers.remove("content-type");
                head.headers.push("Content-Type", "application/x-tar");
            }
            None
        };
        self.forward(request, Action::Label(kind, recipe), body, created.as_ref())
    }

    /// Reads the whole body of a request that is to be rewritten, or `None` when the client goes
    /// before its end.
    fn read_body(&mut self, request: &mut Request) -> Result<Option<Vec<u8>>, Refusal> {
        let too_large = || {
            let what = format!(
                "the request body is larger than {MAX_REWRITTEN_BODY_BYTES} bytes, so it cannot be labelled"
            );
            Refusal::new(Reason::TooLarge, what)
        };
        let length = match request.framing {
            RequestFraming::None => Some(0),
            RequestFraming::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Some(length)
                    .filter(|&n| n <= MAX_REWRITTEN_BODY_BYTES)
                    .ok_or_else(too_large)?
                    .into()
            }
            RequestFraming::Chunked => None,
        };
        let mut chunked = Chunked::default();
        let mut body = Vec::new();
        let deadline = Instant::now() + self.settings.limits.rewritten_body;
        loop {
            match length {
                Some(length) => {
                    let buffered = self.client.buffered();
                    let n = buffered.len().min(length - body.len());
                    body.extend_from_slice(&buffered[..n]);
                    self.client.consume(n);
                }
                None => exchange::read_chunked(&mut chunked, &mut self.client, &mut body)?,
            }
            let announced = body.len() as u64 + chunked.announced();
            if announced > MAX_REWRITTEN_BODY_BYTES as u64 {
                return Err(too_large());
            }
            if length.map_or(chunked.is_done(), |length| body.len() == length) {
                request.is_unread = false;
                return Ok(Some(body));
            }
            if std::mem::take(&mut request.expects_continue)
                && (&**self.client.socket())
                    .write_all(response::CONTINUE)
                    .is_err()
            {
                return Ok(None);
            }
            match self.client.fill_until(deadline) {
                Ok(1..) => (),
                Err(err) if err.kind() == io::ErrorKind::TimedOut => {
                    let limit = self.settings.limits.rewritten_body;
                    let what = format!("the request body took longer than {limit:?}");
                    return Err(Refusal::new(Reason::Timeout, what));
                }
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    /// Sends the request with `body`, or with the client's own body, and passes the response on.
    fn forward(
        &mut self,
        request: &mut Request,
        action: Action,
        body: Option<Vec<u8>>,
        created: Option<&Created>,
    ) -> Result<Then, Refusal> {
        let can_hijack = matches!(action, Action::Hijack | Action::Grpc);
        if !can_hijack {
            // Where no upgrade can be looked into, none is asked for; daemons ignore it there.
            keep_http(&mut request.head);
        }
        let mut outgoing = Outgoing {
            bytes: Vec::new(),
            rest: RequestFraming::None,
        };
        match body {
            Some(body) => {
                request.head.write(&mut outgoing.bytes);
                outgoing.bytes.extend_from_slice(&body);
            }
            None => {
                request.head.headers.remove("trailer");
                request.head.write(&mut outgoing.bytes);
                if !self.gather_small_body(request, &mut outgoing)? {
                    return Ok(Then::Close);
                }
            }
        }
        request.is_unread = outgoing.rest != RequestFraming::None;
        let exchange = Exchange {
            method: &request.head.method,
            can_hijack,
            expects_continue: request.expects_continue && request.is_unread,
        };
        let number = self.number;
        let answered = |status| log_answer(number, created, status);
        self.dial()?;
        let Some(daemon) = &mut self.daemon else {
            return Ok(Then::Close);
        };
        let end = match exchange::run(&exchange, outgoing, &mut self.client, daemon, answered) {
            Ok(end) => end,
            Err(refusal) => {
                self.daemon = None;
                return Err(refusal);
            }
        };
        if end == End::Reusable && request.head.is_persistent() {
            return Ok(Then::NextRequest);
        }
        match end {
            End::Tunnel if action == Action::Grpc => {
                log::debug!("#{number} is HTTP/2");
                let (policy, start) = (&self.settings.policy, http2::Start::Upgrade);
                match relay::run(number, policy, start, &mut self.client, daemon) {
                    relay::End::Failed => self.linger(),
                    relay::End::Closed | relay::End::NotSpoken => (),
                }
            }
            End::Tunnel => {
                log::debug!("#{number} is a tunnel");
                tunnel::run(&mut self.client, daemon);
            }
            End::Cut => socket::shutdown(self.client.socket(), Shutdown::Both),
            End::Reusable | End::Closed if request.is_unread => self.linger(),
            End::Reusable | End::Closed => (),
        }
        Ok(Then::Close)
    }

    /// Serves a client that begins with HTTP/2, if the daemon speaks it.
    fn http2(&mut self) -> Result<Then, Refusal> {
        self.daemon = None;
        self.dial()?;
        let Some(daemon) = &mut self.daemon else {
            return Ok(Then::Close);
        };
        log::debug!("#{} begins with HTTP/2", self.number);
        let (policy, start) = (&self.settings.policy, http2::Start::PriorKnowledge);
        match relay::run(self.number, policy, start, &mut self.client, daemon) {
            relay::End::Closed => (),
            relay::End::Failed => self.linger(),
            relay::End::NotSpoken => {
                return Err(Refusal::new(
                    Reason::UnknownVersion,
                    "the daemon does not speak HTTP/2; use HTTP/1.1",
                ));
            }
        }
        Ok(Then::Close)
    }

    /// Puts a small body behind the head in `outgoing`, or notes what is left to pass on; false
    /// when the client goes before the end of a small one.
    fn gather_small_body(
        &mut self,
        request: &Request,
        outgoing: &mut Outgoing,
    ) -> Result<bool, Refusal> {
        let RequestFraming::Length(length) = request.framing else {
            outgoing.rest = request.framing;
            return Ok(true);
        };
        if length > SMALL_BODY_BYTES || request.expects_continue {
            outgoing.rest = request.framing;
            return Ok(true);
        }
        let length = length as usize;
        while self.client.buffered().len() < length {
            if !matches!(self.client.fill(), Ok(1..)) {
                return Ok(false);
            }
        }
        outgoing
            .bytes
            .extend_from_slice(&self.client.buffered()[..length]);
        self.client.consume(length);
        Ok(true)
    }

    /// Sees to it that there is a connection to the daemon; whether it is a new one. One that the
    /// daemon has closed meanwhile is replaced, and so is one on which it has said more than it was
    /// asked: that must not be taken for its next answer.
    fn dial(&mut self) -> Result<bool, Refusal> {
        if self.daemon.as_ref().is_some_and(|daemon| {
            daemon.buffered().is_empty() && !socket::is_stale(daemon.socket())
        }) {
            return Ok(false);
        }
        let path = &self.settings.daemon;
        let deadline = Instant::now() + DIAL_LIMIT;
        let connected = socket::connect(path, Some(self.client.socket()), deadline);
        let socket = connected.map_err(|err| {
            use nix::errno::Errno;
            let code = err.raw_os_error().map(Errno::from_raw);
            match (err.kind(), code) {
                (io::ErrorKind::TimedOut, _) => Refusal::new(
                    Reason::DaemonTimeout,
                    format!(
                        "the daemon at {path:?} accepts nobody: its queue is full for {DIAL_LIMIT:?}"
                    ),
                ),
                (_, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                    let what = format!("no connection to the daemon can be made now: {err}");
                    Refusal::new(Reason::Busy, what)
                }
                _ => Refusal::bad_gateway(format!(
                    "cannot connect to the daemon at {path:?}: {err}"
                )),
            }
        })?;
        self.daemon = Some(Input::new(Arc::new(socket)));
        Ok(true)
    }

    /// Asks the daemon once; whether the connection was new.
    fn ask_once(
        &mut self,
        question: Subrequest<'_>,
    ) -> Result<(Result<Answer, daemon::Failure>, bool), Refusal> {
        let is_new = self.dial()?;
        let daemon = self
            .daemon
            .as_mut()
            .ok_or_else(|| Refusal::bad_gateway("no daemon"))?;
        let result = daemon::ask(question, daemon, Some(self.client.socket()), ANSWER_LIMIT);
        if !matches!(result, Ok((_, true))) {
            self.daemon = None;
        }
        Ok((result.map(|(answer, _)| answer), is_new))
    }

    fn refuse(&mut self, refusal: &Refusal, method: &str, then: Then) -> Then {
        let status = response::status(refusal.reason);
        log::info!("#{} refused: {status} {refusal}", self.number);
        self.reply(&response::refusal(refusal, method, then), then)
    }

    fn reply(&mut self, reply: &[u8], then: Then) -> Then {
        let deadline = Instant::now() + self.settings.limits.reply;
        if socket::write_all_for(self.client.socket(), reply, None, deadline).is_err() {
            return Then::Close;
        }
        if then == Then::Close {
            self.linger();
        }
        then
    }

    /// Ends the connection towards the client and lets it finish sending.
    fn linger(&mut self) {
        socket::shutdown(self.client.socket(), Shutdown::Write);
        let deadline = Instant::now() + self.settings.limits.linger;
        loop {
            self.client.consume(self.client.buffered().len());
            if !matches!(self.client.fill_until(deadline), Ok(1..)) {
                return;
            }
        }
    }
}

impl Daemon for Connection<'_> {
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal> {
        log::debug!("#{} asks {method} {target:?}", self.number);
        self.n_questions += 1;
        if self.n_questions > MAX_QUESTIONS {
            let what = format!(
                "the request needs more than {MAX_QUESTIONS} volumes, containers or other things \
                 looked at; split it"
            );
            return Err(Refusal::bad_request(what));
        }
        let question = Subrequest {
            method,
            target,
            body,
        };
        let mut result = self.ask_once(question)?;
        if matches!(&result, (Err(failure), false) if failure.is_unanswered) && method == "GET" {
            // The daemon has closed a kept connection just then. This only reads, so it may be
            // asked again.
            result = self.ask_once(question)?;
        }
        result.0.map_err(|failure| failure.refusal)
    }
}

fn log_answer(number: u64, created: Option<&Created>, status: u16) {
    let Some(Created { kind, name }) = created else {
        log::debug!("#{number} answered {status}");
        return;
    };
    let name = name
        .as_ref()
        .map(|name| format!(" {name:?}"))
        .unwrap_or_default();
    match status {
        200..300 => log::info!("#{number} labelled {kind}{name}"),
        _ => log::info!("#{number} did not create {kind}{name}: the daemon answered {status}"),
    }
}

/// Refuses what has no or several `Host` lines (RFC 9112 section 3.2). What it says is of no
/// interest: clients send nothing, names or the path of the socket.
fn check_host(head: &RequestHead) -> Result<(), Refusal> {
    match (head.headers.all("host").count(), head.minor_version) {
        (1, _) | (0, 0) => Ok(()),
        (0, _) => Err(Refusal::bad_request("the Host header is missing")),
        _ => Err(Refusal::bad_request("Host is given twice")),
    }
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

/// Whether the client waits for a word before it sends the body (RFC 9110 section 10.1.1).
fn expects_continue(head: &RequestHead) -> Result<bool, Refusal> {
    let is_continue = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    match head.headers.all("expect").find(|value| !is_continue(value)) {
        None => Ok(head.headers.has("expect") && head.minor_version > 0),
        Some(value) => {
            let value = value.escape_ascii();
            Err(Refusal::new(
                Reason::UnmetExpectation,
                format!("Expect \"{value}\" is not \"100-continue\""),
            ))
        }
    }
}

/// Takes an upgrade out of a head.
fn keep_http(head: &mut RequestHead) {
    if !head.headers.has("upgrade") && !head.headers.lists("connection", "upgrade") {
        return;
    }
    let is_persistent = head.is_persistent();
    let keep_alive = head.minor_version == 0 && is_persistent;
    head.headers.remove("upgrade");
    head.headers.remove("connection");
    if !is_persistent {
        head.headers.push("Connection", "close");
    } else if keep_alive {
        head.headers.push("Connection", "keep-alive");
    }
}

fn lossy(text: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(text.as_ref()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;
    use crate::inject::test::policy;

    fn settings(limit: Duration) -> Settings {
        Settings {
            daemon: PathBuf::from("/nonexistent"),
            policy: policy(),
            is_strict: false,
            limits: Limits {
                head: limit,
                rewritten_body: limit,
                linger: limit,
                reply: limit,
                turn_away: limit,
            },
        }
    }

    /// What a client gets that sends `bytes` and then neither more nor an end, without any
    /// patience for it; comes back only if its thread does.
    fn answer_to(bytes: &str) -> String {
        let (mut client, socket) = UnixStream::pair().unwrap();
        client.write_all(bytes.as_bytes()).unwrap();
        serve(Arc::new(socket), 1, &settings(Duration::ZERO));
        let mut answer = Vec::new();
        // Ends in a reset where something of the client was left unread.
        let _ = client.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_client_that_stops_in_a_request_does_not_hold_its_thread() {
        for (request, what) in [
            ("GET /_ping HT", "the request head took longer than 0ns"),
            (
                "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Length: 12\r\n\r\n{\"Name",
                "the request body took longer than 0ns",
            ),
        ] {
            let answer = answer_to(request);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains(what), "{answer}");
        }
    }

    #[test]
    fn a_refused_client_that_goes_on_does_not_hold_its_thread() {
        let answer = answer_to(&format!("GET HTTP/1.1\r\n\r\n{}", "x".repeat(50_000)));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[test]
    fn a_client_that_never_reads_does_not_hold_its_thread() {
        let (mut client, socket) = UnixStream::pair().unwrap();
        let request =
            "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n[1]".repeat(100);
        let sender = thread::spawn(
            move || {
                while client.write_all(request.as_bytes()).is_ok() {}
            },
        );
        let limits = settings(Duration::ZERO).limits;
        let patient = settings(Duration::from_secs(60));
        let settings = Settings {
            limits: Limits {
                head: patient.limits.head,
                rewritten_body: patient.limits.rewritten_body,
                ..limits
            },
            ..patient
        };
        serve(Arc::new(socket), 1, &settings);
        sender.join().unwrap();
    }

    #[test]
    fn a_client_that_is_turned_away_gets_the_answer_when_it_has_asked() {
        let refusal = Refusal::new(Reason::Busy, "no");
        let (mut client, socket) = UnixStream::pair().unwrap();
        client.write_all(b"GET").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let settings = settings(Duration::from_secs(60));
        turn_away(Arc::new(socket), 1, &settings, &refusal);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");

        let (mut silent, socket) = UnixStream::pair().unwrap();
        turn_away(
            Arc::new(socket),
            1,
            &self::settings(Duration::ZERO),
            &refusal,
        );
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    }
}
