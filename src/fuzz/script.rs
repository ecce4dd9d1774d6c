//! A daemon for the targets that label creates.

use std::collections::BTreeSet;

use super::is_labelled;
use super::policy;
use super::reference::Json;
use crate::error::Refusal;
use crate::inject::image_memory::ImageMemory;
use crate::inject::recipe::Recipe;
use crate::inject::request::{Answer, Create, CreateRequest, Daemon, Rejection};

/// A daemon that answers by the sort of the question, from the parts of an input.
pub(super) struct Script<'a> {
    pub(super) answers: Vec<&'a [u8]>,
    pub(super) asked: Vec<(String, String)>,
    pub(super) images: ImageMemory,
}

impl Daemon for Script<'_> {
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal> {
        self.asked.push((
            format!("{method} {target}"),
            body.unwrap_or_default().to_owned(),
        ));
        let sorts = ["/images/", "/containers/", "/version"];
        let sort = sorts.iter().position(|sort| target.contains(sort));
        let answer = *self.answers.get(sort.unwrap_or(3)).unwrap_or(&&b"{}"[..]);
        let (status, is_podman, body) = match answer.split_first() {
            Some((b'4', body)) => (404, false, body),
            Some((b'P', body)) => (200, true, body),
            _ => (200, false, answer),
        };
        // No daemon gives a volume a name that it cannot take itself.
        let body = match (status, target.ends_with("/volumes/create")) {
            (200, true) => b"{\"Name\":\"made\"}",
            _ => body,
        };
        Ok(Answer {
            status,
            is_podman,
            body: body.to_vec(),
        })
    }

    fn hold(&mut self, _: BTreeSet<String>) -> Result<(), Refusal> {
        Ok(())
    }

    fn images(&self) -> &ImageMemory {
        &self.images
    }

    fn warn(&mut self, _: &str) {}

    fn pause(&mut self) -> bool {
        false
    }
}

impl Script<'_> {
    /// Whether any volume was created.
    pub(super) fn has_made_one(&self) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|(question, _)| question.ends_with("/volumes/create"))
    }

    /// Whether a volume of this name was created with the labels.
    pub(super) fn has_created(&self, name: &str) -> bool {
        self.asked.iter().any(|(question, body)| {
            let body = || Json::parse(body.as_bytes()).expect("JSON");
            question.ends_with("/volumes/create")
                && body().field("Name").is_some_and(|n| n.text() == name)
                && is_labelled(&body(), "Labels")
        })
    }
}

/// Labels a request by a recipe.
pub(super) fn apply(
    recipe: &Recipe,
    request: &mut CreateRequest,
    script: &mut Script<'_>,
) -> Result<(), Rejection> {
    let policy = policy();
    let mut create = Create::new(std::mem::take(request), &policy, script);
    let result = recipe.apply(&mut create);
    *request = create.request;
    result
}
