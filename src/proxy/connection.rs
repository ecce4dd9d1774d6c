//! The life of one client connection, from its first byte to its close: each request is read,
//! looked at, labelled or refused or passed on, and answered before the next one is read.
//! Read this file first.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::error::{Reason, Refusal};
use crate::http1::Body;
use crate::http1::head::RequestHead;
use crate::http1::target::{Target, with_query};
use crate::http2;
use crate::inject::recipe::{self, Recipe};
use crate::inject::request::{Answer, Create, CreateRequest, Rejection};
use crate::inject::routes::{self, Action, Kind};
use crate::limits::SMALL_BODY_BYTES;
use crate::proxy::client::Client;
use crate::proxy::daemon::{CreateDaemon, DaemonConnection};
use crate::proxy::exchange::{self, End, Exchange, Hooks, Outgoing};
use crate::proxy::http2 as relay;
use crate::proxy::refusal::unreadable_request;
use crate::proxy::request::Request;
use crate::proxy::response::{self, Then};
use crate::proxy::settings::Settings;
use crate::proxy::socket;
use crate::proxy::tunnel;

/// Serves one client until it or the daemon is done.
pub(crate) fn serve(client: Arc<UnixStream>, number: u64, settings: &Settings) {
    log::debug!("#{number} connected");
    let mut connection = Connection {
        number,
        settings,
        daemon: DaemonConnection::new(&settings.daemon, Some(Arc::clone(&client))),
        client: Client::new(client, number, &settings.client_times),
    };
    while connection.next_request() == Then::NextRequest {}
    log::debug!("#{number} closed");
}

/// Rejects a client over the limit. Waits for its first byte: clients ignore a response that
/// precedes their request.
pub(crate) fn turn_away(
    client: Arc<UnixStream>,
    number: u64,
    settings: &Settings,
    refusal: &Refusal,
) {
    let mut client = Client::new(client, number, &settings.client_times);
    if client.has_asked() {
        client.reply(&response::refusal(refusal, "", Then::Close), Then::Close);
    }
}

/// Rejects a client over the limit at once, where nobody can wait for its first byte: some clients
/// understand it all the same.
pub(crate) fn turn_away_at_once(client: &UnixStream, refusal: &Refusal) {
    let _ = socket::write_some(client, &response::refusal(refusal, "", Then::Close));
}

struct Connection<'s> {
    /// Names the connection in the log.
    number: u64,
    settings: &'s Settings,
    client: Client<'s>,
    daemon: DaemonConnection<'s>,
}

/// A create as the log tells it.
struct Created {
    kind: Kind,
    name: Option<String>,
}

impl Connection<'_> {
    /// Reads a request and answers it.
    fn next_request(&mut self) -> Then {
        let mut request = match self.read_head() {
            Ok(Some(head)) => Request::new(head),
            Ok(None) => return Then::Close,
            Err(refusal) => return self.client.refuse(&refusal, "", Then::Close),
        };
        match self.answer(&mut request) {
            Ok(then) => then,
            Err(refusal) => {
                let then = request.then();
                self.client.refuse(&refusal, &request.head.method, then)
            }
        }
    }

    /// Reads the next head, or `None` when the connection is over. A client that begins with HTTP/2
    /// is served here until it is.
    fn read_head(&mut self) -> Result<Option<RequestHead>, Refusal> {
        let Some(len) = self.client.read_head()? else {
            return Ok(None);
        };
        let input = &mut self.client.input;
        if http2::begins_with(&input.buffered()[..len]) {
            self.http2()?;
            return Ok(None);
        }
        let head = RequestHead::parse(&input.buffered()[..len]);
        input.consume(len);
        head.map(Some).map_err(unreadable_request)
    }

    fn answer(&mut self, request: &mut Request) -> Result<Then, Refusal> {
        let Some(target) = request.understand()? else {
            return self.forward(request, Action::Pass, None, None);
        };
        if let Some(location) = target.redirect() {
            let redirect = response::redirect(&location, &request.head.method);
            return Ok(self.client.reply(&redirect, Then::Close));
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
                    version: String::from_utf8_lossy(version).into_owned(),
                    query: target.query.clone().unwrap_or_default(),
                    ..CreateRequest::default()
                };
                return self.label(request, &target, kind, recipe, draft);
            }
            Action::CannotLabel(why) => self.allow_unlabelled(request, &target, why)?,
            Action::Start if request.is_unread() && routes::is_before_1_24(version) => {
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
        let needs_body = recipe.body == recipe::Body::Rewritten;
        if needs_body {
            match self.client.read_body(request)? {
                Some(body) => draft.body = body,
                None => return Ok(Then::Close),
            }
        }
        let was_empty = draft.body.is_empty();
        let mut daemon = CreateDaemon::new(&mut self.daemon, self.number);
        let mut create = Create::new(draft, &self.settings.policy, &mut daemon);
        let result = recipe.apply(&mut create);
        let draft = create.request;
        let created = Created {
            kind,
            name: draft.name,
        };
        match result {
            Ok(()) => (),
            Err(Rejection::Refusal(refusal)) => return Err(refusal),
            Err(Rejection::Answer(answer)) => return self.pass_on_no(request, &created, &answer),
        }
        if let Some(why) = draft.cannot_label {
            self.allow_unlabelled(request, target, why)?;
        }
        let query = Some(&*draft.query).filter(|query| !query.is_empty());
        request.head.target = with_query(target.encoded_path(), query);
        let body = needs_body.then_some(draft.body);
        match &body {
            Some(body) => request.announce_body(body.len(), was_empty),
            None if recipe.body == recipe::Body::PassesAsData => {
                if draft.ignores_body {
                    request.check_no_form()?;
                }
                request.announce_archive(target);
            }
            None => (),
        }
        let created = (!draft.is_unlabelled).then_some(&created);
        self.forward(request, Action::Label(kind, recipe), body, created)
    }

    /// Gives the client the daemon's no to a subrequest as the answer to its create.
    fn pass_on_no(
        &mut self,
        request: &Request,
        created: &Created,
        answer: &Answer,
    ) -> Result<Then, Refusal> {
        if !(400..600).contains(&answer.status) {
            // Nothing was created, so the client must not take it for a yes.
            return Err(Refusal::bad_gateway(format!(
                "the daemon answered a subrequest with status {}",
                answer.status
            )));
        }
        log_answer(self.number, Some(created), answer.status);
        let then = request.then();
        let reply = response::answer(answer, &request.head.method, then);
        Ok(self.client.reply(&reply, then))
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
            request.head.remove_upgrade();
        }
        let Some(outgoing) = self.outgoing(request, body) else {
            return Ok(Then::Close);
        };
        let exchange = Exchange {
            method: &request.head.method,
            can_hijack,
            expects_continue: request.expects_continue && !outgoing.rest.is_done(),
        };
        let number = self.number;
        let hooks = Hooks {
            answered: &|status| log_answer(number, created, status),
            review: None,
        };
        let (client, daemon) = (&mut self.client.input, self.daemon.get()?);
        let end = match exchange::run(&exchange, outgoing, client, daemon, hooks) {
            Ok(end) => end,
            Err(refusal) => {
                self.daemon.close();
                return Err(refusal);
            }
        };
        match end {
            End::Reusable if request.head.is_persistent() => return Ok(Then::NextRequest),
            End::Tunnel if action == Action::Grpc => {
                log::debug!("#{number} is HTTP/2");
                let (policy, start) = (&self.settings.policy, http2::Start::Upgrade);
                match relay::run(number, policy, start, client, daemon) {
                    relay::End::Failed => self.client.linger(),
                    relay::End::Closed | relay::End::NotSpoken => (),
                }
            }
            End::Tunnel => {
                log::debug!("#{number} is a tunnel");
                tunnel::run(client, daemon);
            }
            End::Cut => socket::shutdown(client.socket(), Shutdown::Both),
            End::Reusable | End::Closed if request.is_unread() => self.client.linger(),
            End::Reusable | End::Closed => (),
        }
        Ok(Then::Close)
    }

    /// What is sent of a request: its head with `body` behind it, or with as much of the client's
    /// own body as is gathered. `None` when the client goes before the end of a small one.
    fn outgoing(&mut self, request: &mut Request, body: Option<Vec<u8>>) -> Option<Outgoing> {
        let mut bytes = Vec::new();
        let mut rest = Body::Length(0);
        if body.is_none() {
            request.head.headers.remove("trailer");
        }
        request.head.write(&mut bytes);
        let body = match (body, &request.body) {
            (Some(body), _) => body,
            (None, Body::Length(..=SMALL_BODY_BYTES)) if !request.expects_continue => {
                self.client.read_small_body(request)?
            }
            (None, _) => {
                rest = std::mem::replace(&mut request.body, Body::UntilClose);
                Vec::new()
            }
        };
        bytes.extend_from_slice(&body);
        Some(Outgoing { bytes, rest })
    }

    /// Serves a client that begins with HTTP/2, if the daemon speaks it.
    fn http2(&mut self) -> Result<(), Refusal> {
        let number = self.number;
        log::debug!("#{number} begins with HTTP/2");
        // A connection that has carried HTTP/1.1 cannot go on with the preface.
        self.daemon.close();
        let (client, daemon) = (&mut self.client.input, self.daemon.get()?);
        let (policy, start) = (&self.settings.policy, http2::Start::PriorKnowledge);
        match relay::run(number, policy, start, client, daemon) {
            relay::End::Closed => (),
            relay::End::Failed => self.client.linger(),
            relay::End::NotSpoken => {
                return Err(Refusal::new(
                    Reason::UnknownVersion,
                    "the daemon does not speak HTTP/2; use HTTP/1.1",
                ));
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::PathBuf;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::inject::test::policy;
    use crate::proxy::settings::ClientTimes;

    fn settings(limit: Duration) -> Settings {
        Settings {
            daemon: PathBuf::from("/nonexistent"),
            policy: policy(),
            is_strict: false,
            client_times: ClientTimes {
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
        let none = settings(Duration::ZERO).client_times;
        let patient = settings(Duration::from_secs(60));
        let settings = Settings {
            client_times: ClientTimes {
                head: patient.client_times.head,
                rewritten_body: patient.client_times.rewritten_body,
                ..none
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
