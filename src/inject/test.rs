//! What the tests of the recipes share: labels, and a daemon that answers from a script.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::error::{Reason, Refusal};
use crate::inject::container;
use crate::inject::image_memory::ImageMemory;
use crate::inject::recipe::Recipe;
use crate::inject::request::{Answer, Create, CreateRequest, Daemon, Rejection};
use crate::labels::{Label, Labels};
use crate::policy::Policy;

/// The labels of [`policy`] as JSON members.
pub(crate) const FORCED: &str = r#""ci.job":"42","note":"a \"b\" $c""#;

/// A policy of two labels and nothing else.
pub(crate) fn policy() -> Policy {
    let labels = ["ci.job=42", "note=a \"b\" $c"].map(|text| Label::parse(text).unwrap());
    Policy {
        labels: Labels::new(labels).unwrap(),
        is_strict: false,
        cgroup_parent: None,
        socket_mounts: None,
    }
}

/// A request of version 1.41 with this body.
pub(crate) fn with_body(body: &str) -> CreateRequest {
    CreateRequest {
        version: "/v1.41".to_owned(),
        body: body.into(),
        ..CreateRequest::default()
    }
}

/// A request of version 1.41 with this query.
pub(crate) fn with_query(query: &str) -> CreateRequest {
    CreateRequest {
        version: "/v1.41".to_owned(),
        query: query.to_owned(),
        ..CreateRequest::default()
    }
}

/// What a recipe makes of a request under this policy.
pub(crate) fn labelled_by(
    policy: &Policy,
    recipe: &Recipe,
    request: CreateRequest,
    daemon: &mut Script,
) -> Result<CreateRequest, Rejection> {
    let mut create = Create::new(request, policy, daemon);
    recipe.apply(&mut create)?;
    Ok(create.request)
}

/// What a recipe makes of a request under [`policy`].
pub(crate) fn labelled(
    recipe: &Recipe,
    request: CreateRequest,
    daemon: &mut Script,
) -> Result<CreateRequest, Rejection> {
    labelled_by(&policy(), recipe, request, daemon)
}

/// The body of a labelled request.
pub(crate) fn body(request: CreateRequest) -> String {
    String::from_utf8(request.body).unwrap()
}

/// Why a request is refused.
pub(crate) fn reason<T: Debug>(result: Result<T, Rejection>) -> Reason {
    match result {
        Err(Rejection::Refusal(refusal)) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The status of the daemon's own answer that a request is rejected with.
pub(crate) fn status<T: Debug>(result: Result<T, Rejection>) -> u16 {
    match result {
        Err(Rejection::Answer(answer)) => answer.status,
        other => panic!("not rejected with an answer: {other:?}"),
    }
}

/// A daemon that answers each question of its script, and notes what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    answers: Vec<(String, Answer)>,
    /// The questions: `METHOD target`, and behind a space the body if there was one.
    pub(crate) asked: Vec<String>,
    /// The volumes that were held at last.
    pub(crate) held: BTreeSet<String>,
    pub(crate) images: ImageMemory,
    /// What the operator was told.
    pub(crate) warnings: Vec<String>,
    /// How often there is still time for another try.
    pub(crate) pauses: usize,
}

impl Script {
    /// Answers `question`, such as `GET /images/x/json`, with this status and body.
    pub(crate) fn on(mut self, question: &str, status: u16, body: &str) -> Script {
        let answer = Answer {
            status,
            is_podman: false,
            body: body.into(),
        };
        self.answers.push((question.to_owned(), answer));
        self
    }

    /// The same daemon as Podman.
    pub(crate) fn podman(mut self) -> Script {
        for (_, answer) in &mut self.answers {
            answer.is_podman = true;
        }
        self
    }
}

impl Daemon for Script {
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let question = format!("{method} {target}");
        self.asked.push(match body {
            Some(body) => format!("{question} {body}"),
            None => question.clone(),
        });
        let known = self.answers.iter().find(|(known, _)| *known == question);
        Ok(known
            .unwrap_or_else(|| panic!("no answer to {question}"))
            .1
            .clone())
    }

    fn hold(&mut self, names: BTreeSet<String>) -> Result<(), Refusal> {
        self.held = names;
        Ok(())
    }

    fn images(&self) -> &ImageMemory {
        &self.images
    }

    fn warn(&mut self, what: &str) {
        self.warnings.push(what.to_owned());
    }

    fn pause(&mut self) -> bool {
        self.pauses = self.pauses.saturating_sub(1);
        self.pauses > 0
    }
}

/// The body of a container's create with its labels, and all that comes with it.
pub(crate) fn labelled_container(text: &str, daemon: &mut Script) -> Result<String, Rejection> {
    labelled(&container::RECIPE, with_body(text), daemon).map(body)
}
