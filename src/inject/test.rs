//! What the tests of the recipes share: labels, and a daemon that answers from a script.

use crate::error::Refusal;
use crate::inject::container;
use crate::inject::request::{Answer, CreateRequest, Daemon, Rejection};
use crate::labels::{Label, Labels};
use crate::policy::Policy;

/// The labels of [`policy`] as JSON members.
pub(crate) const FORCED: &str = r#""ci.job":"42","note":"a \"b\" $c""#;

/// A policy of two labels and nothing else.
pub(crate) fn policy() -> Policy {
    let labels = ["ci.job=42", "note=a \"b\" $c"].map(|text| Label::parse(text).unwrap());
    Policy {
        labels: Labels::new(labels).unwrap(),
        cgroup_parent: None,
        redirect: None,
    }
}

/// A daemon that answers each question of its script, and notes what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    answers: Vec<(String, Answer)>,
    /// The questions: `METHOD target`, and behind a space the body if there was one.
    pub(crate) asked: Vec<String>,
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
}

/// The body of a container's create with its labels, and all that comes with it.
pub(crate) fn labelled_container(body: &str, daemon: &mut Script) -> Result<String, Rejection> {
    let mut draft = CreateRequest {
        version: "/v1.41".to_owned(),
        body: body.into(),
        ..CreateRequest::default()
    };
    container::label(&mut draft, &policy(), daemon)?;
    Ok(String::from_utf8(draft.body).unwrap())
}
