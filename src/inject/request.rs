//! A create on its way from the client to the daemon, what may be asked of the daemon for it, and
//! how it is rejected.

use crate::error::Refusal;
use crate::inject::object;
use crate::json::Object;

/// A create on its way from the client to the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Draft {
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

/// Questions to the daemon on behalf of a create.
pub(crate) trait Ask {
    /// Sends a request and reads the whole answer; a body is sent as JSON.
    ///
    /// # Errors
    /// When the daemon cannot be reached or gives no answer that can be read.
    fn ask(&mut self, method: &str, target: &str, body: Option<&str>) -> Result<Answer, Refusal>;
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
pub(crate) enum Stop {
    /// It cannot be labelled.
    Refusal(Refusal),
    /// The daemon would refuse it: this is its own answer to what was asked, for the client.
    Answer(Answer),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refusal(refusal)
    }
}
