//! A create on its way through a connection: it is labelled by its recipe and sent, and what the
//! daemon has made of it is checked before the client hears of it, where something may have changed
//! meanwhile.

use std::sync::Arc;

use crate::error::Refusal;
use crate::http1::target::{Target, encoded_path, with_query};
use crate::inject::check::{self, Verdict};
use crate::inject::expected::Check;
use crate::inject::recipe::{Body, Recipe};
use crate::inject::request::{Answer, Create, CreateRequest, Rejection};
use crate::inject::routes::{Action, Kind};
use crate::limits::ABANDONED_LIMIT;
use crate::proxy::connection::{Connection, Created};
use crate::proxy::daemon::CreateDaemon;
use crate::proxy::held;
use crate::proxy::name_locks::Locked;
use crate::proxy::request::Request;
use crate::proxy::response::{self, Then};

/// A create that is ready to be sent.
struct Labelled<'s> {
    draft: CreateRequest,
    check: Check,
    /// The volumes that it holds.
    locked: Option<Locked<'s>>,
}

impl<'s> Connection<'s> {
    /// Labels a create by its recipe, sends it, and checks what comes of it.
    pub(super) fn create(
        &mut self,
        request: &mut Request,
        target: &Target,
        (kind, recipe): (Kind, &'static Recipe),
        mut draft: CreateRequest,
    ) -> Result<Then, Refusal> {
        if recipe.body == Body::Rewritten {
            match self.client.read_body(request)? {
                Some(body) => draft.body = body,
                None => return Ok(Then::Close),
            }
        }
        let given = draft.clone();
        let labelled = match self.labelled(recipe, draft) {
            Ok(labelled) => labelled,
            Err((created, rejection)) => {
                return self.reject(
                    request,
                    &Created {
                        kind,
                        name: created,
                    },
                    rejection,
                );
            }
        };
        if labelled.draft.ignores_body {
            request.check_no_form()?;
        }
        if let Some(why) = labelled.draft.cannot_label {
            self.allow_unlabelled(request, target, why)?;
        }
        if labelled.check.is_needed() {
            return self.create_checked(request, target, (kind, recipe), &given, labelled);
        }
        let mut draft = labelled.draft;
        let body = announce(request, target, recipe, &mut draft, given.body.is_empty());
        let created = Created {
            kind,
            name: draft.name,
        };
        let created = (!draft.is_unlabelled).then_some(&created);
        // What it holds is held until the daemon has answered.
        let _locked = labelled.locked;
        self.forward(request, Action::Label(kind, recipe), body, created)
    }

    /// Sends a create and holds the answer until what was created is checked. Where its image was
    /// another one than was known, it is labelled anew and sent once more.
    fn create_checked(
        &mut self,
        request: &mut Request,
        target: &Target,
        (kind, recipe): (Kind, &'static Recipe),
        given: &CreateRequest,
        mut labelled: Labelled<'s>,
    ) -> Result<Then, Refusal> {
        let was_empty = given.body.is_empty();
        let mut is_first = true;
        loop {
            let body = announce(request, target, recipe, &mut labelled.draft, was_empty);
            let mut bytes = Vec::new();
            request.head.remove_upgrade();
            request.head.write(&mut bytes);
            bytes.extend(body.unwrap_or_default());
            let client = Arc::clone(self.client.input.socket());
            let held = held::send(&bytes, &client, self.daemon.get()?, ABANDONED_LIMIT);
            let held = held.inspect_err(|_| self.daemon.close())?;
            let is_reusable = held.is_reusable;
            if !is_reusable {
                self.daemon.close();
            }
            let verdict = self.verdict(&mut labelled, &held.answer);
            let created = Created {
                kind,
                name: labelled.draft.name.clone(),
            };
            match verdict {
                Verdict::Passes => {
                    self.log_answer(Some(&created), held.answer.status);
                    let then = if is_reusable {
                        request.then()
                    } else {
                        Then::Close
                    };
                    return Ok(self.client.reply(&held.bytes, then));
                }
                Verdict::Again(_) if is_first => is_first = false,
                Verdict::Again(refusal) | Verdict::Refused(refusal) => return Err(refusal),
            }
            drop(labelled.locked.take());
            labelled = match self.labelled(recipe, given.clone()) {
                Ok(labelled) => labelled,
                Err((_, rejection)) => return self.reject(request, &created, rejection),
            };
        }
    }

    /// Labels a create. Where that fails, returns what the log calls it besides.
    fn labelled(
        &mut self,
        recipe: &Recipe,
        draft: CreateRequest,
    ) -> Result<Labelled<'s>, (Option<String>, Rejection)> {
        let mut daemon = CreateDaemon::new(&mut self.daemon, self.number, &self.settings.shared);
        let mut create = Create::new(draft, &self.settings.policy, &mut daemon);
        let result = recipe.apply(&mut create);
        if let Err(rejection) = result {
            check::abandon(&mut create);
            return Err((create.request.name, rejection));
        }
        let (draft, check) = (create.request, create.check);
        Ok(Labelled {
            draft,
            check,
            locked: daemon.take_locked(),
        })
    }

    /// Checks what the daemon has made.
    fn verdict(&mut self, labelled: &mut Labelled<'_>, answer: &Answer) -> Verdict {
        let shared = &self.settings.shared;
        let mut daemon = CreateDaemon::for_check(&mut self.daemon, self.number, shared);
        let draft = CreateRequest {
            version: labelled.draft.version.clone(),
            ..CreateRequest::default()
        };
        let mut create = Create::new(draft, &self.settings.policy, &mut daemon);
        create.check = std::mem::take(&mut labelled.check);
        check::judge(&mut create, answer)
    }

    /// Answers a create that is not sent.
    fn reject(
        &mut self,
        request: &Request,
        created: &Created,
        rejection: Rejection,
    ) -> Result<Then, Refusal> {
        let answer = match rejection {
            Rejection::Refusal(refusal) => return Err(refusal),
            Rejection::Answer(answer) => answer,
        };
        if !(400..600).contains(&answer.status) {
            // Nothing was created, so the client must not take it for a yes.
            return Err(Refusal::bad_gateway(format!(
                "the daemon answered a subrequest with status {}",
                answer.status
            )));
        }
        self.log_answer(Some(created), answer.status);
        let then = request.then();
        let reply = response::answer(&answer, &request.head.method, then);
        Ok(self.client.reply(&reply, then))
    }
}

/// Writes the labelled create into the head of the client's. Returns its body, if it is not the
/// client's own.
fn announce(
    request: &mut Request,
    target: &Target,
    recipe: &Recipe,
    draft: &mut CreateRequest,
    was_empty: bool,
) -> Option<Vec<u8>> {
    let query = Some(&*draft.query).filter(|query| !query.is_empty());
    let path = [draft.version.as_bytes(), &draft.path].concat();
    request.head.target = with_query(encoded_path(&path), query);
    match recipe.body {
        Body::Rewritten => {
            request.announce_body(draft.body.len(), was_empty);
            Some(std::mem::take(&mut draft.body))
        }
        Body::PassesAsData => {
            request.announce_archive(target);
            None
        }
        Body::Passes => None,
    }
}
