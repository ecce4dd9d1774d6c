//! A create on its way from the client to the daemon, what may be asked of the daemon for it, and
//! how it is rejected.

use crate::error::Refusal;
use crate::http1;
use crate::inject::object;
use crate::json::Object;

/// A create on its way from the client to the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CreateRequest {
    /// The version prefix of its path, such as `/v1.41`, or nothing: what is asked on its behalf
    /// is asked in the same version.
    pub(crate) version: String,
    /// The text behind the `?` of its target, or nothing.
    pub(crate) query: String,
    /// Its body, where the recipe needs it whole.
    pub(crate) body: Vec<u8>,
    /// What the client calls the thing it creates, for the log.
    pub(crate) name: Option<String>,
    /// Whether it passes as it is, because it creates nothing that could be labelled.
    pub(crate) is_unlabelled: bool,
}

/// The daemon as a recipe sees it: subrequests on behalf of a create.
pub(crate) trait Daemon {
    /// Sends a request and reads the whole answer. A body is sent as JSON.
    ///
    /// # Errors
    /// When the daemon cannot be reached or gives no answer that can be read.
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal>;
}

impl dyn Daemon + '_ {
    /// Sends a `GET`.
    ///
    /// # Errors
    /// As [`Daemon::request`].
    pub(crate) fn get(&mut self, target: &str) -> Result<Answer, Refusal> {
        self.request("GET", target, None)
    }

    /// Sends a `POST` with JSON.
    ///
    /// # Errors
    /// As [`Daemon::request`].
    pub(crate) fn post(&mut self, target: &str, json: &str) -> Result<Answer, Refusal> {
        self.request("POST", target, Some(json))
    }
}

/// What the daemon answers to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the daemon is Podman, which says so in each answer.
    pub(crate) is_podman: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What `read` makes of the body, which must be a JSON object.
    ///
    /// # Errors
    /// 502 when it is none, or `read` cannot make anything of it.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Object<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match Object::parse(&self.body) {
            Ok(Some(object)) => read(&object).map_err(|err| Answer::odd(&err.message)),
            Ok(None) => Err(Refusal::bad_gateway(
                "the daemon's answer to a question is empty",
            )),
            Err(what) => Err(Refusal::bad_gateway(format!(
                "the daemon's answer to a question is {what}"
            ))),
        }
    }

    /// The string in a member of the body; a missing one is empty.
    ///
    /// # Errors
    /// 502 when it is there more than once or is no string.
    pub(crate) fn string(&self, field: &str) -> Result<String, Refusal> {
        self.read(|object| object::sole_as(object, field, "a string"))
    }

    /// The refusal where an answer cannot be understood, which is no fault of the client.
    pub(crate) fn odd(what: &str) -> Refusal {
        Refusal::bad_gateway(format!(
            "the daemon's answer to a question cannot be understood: {what}"
        ))
    }
}

/// Why a create is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It cannot be labelled.
    Refusal(Refusal),
    /// The daemon would refuse it: this is its own answer to what was asked, for the client.
    Answer(Answer),
}

/// What is wrong with a query.
impl From<http1::Error> for Rejection {
    fn from(error: http1::Error) -> Rejection {
        Rejection::Refusal(Refusal::bad_request(error.to_string()))
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        Rejection::Refusal(refusal)
    }
}
