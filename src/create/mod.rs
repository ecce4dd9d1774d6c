//! What a create becomes: the client's query and body in, the labelled ones out, by one recipe an
//! endpoint. A recipe may ask the daemon; how that is done, and reading and sending the request,
//! is left to [`crate::connection`], so that recipes are tested without sockets.

mod build;
mod changes;
mod commit;
mod container;
mod import;
mod libpod;
mod network;
mod object;
mod podman;
mod redirect;
mod service;
mod swarm;
#[cfg(test)]
pub(crate) mod test;
mod volumes;

use std::fmt;

use crate::error::Refusal;
use crate::json::Object;
use crate::labels::Labels;

use build::Form;
use object::Empty;
pub(crate) use object::{lay_labels, sole};
pub(crate) use redirect::Redirect;

/// What the operator wants of every create.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) labels: Labels,
    /// The cgroup that containers are put under.
    pub(crate) cgroup_parent: Option<String>,
    /// Where the daemon's socket and the proxy's own are, when bind mounts of the one are to be
    /// replaced by the other.
    pub(crate) redirect: Option<Redirect>,
}

/// How the labels get into a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// A container: its labels, and those of the volumes that it brings along.
    Container,
    /// A JSON object whose member `Labels` holds the labels; without a body it is refused.
    Object,
    /// A volume: an object that may be a bind mount in disguise.
    Volume,
    /// A network: an object, or a config-only network that must hold the labels already.
    Network,
    /// A service: its labels, and those of the containers and volumes of its tasks.
    Service,
    /// A new swarm: the labels of its `Spec`.
    SwarmInit,
    /// The `Spec` of a swarm that there is.
    SwarmUpdate,
    /// The parameter `labels` of a build.
    Build,
    /// The same, which Podman's own client writes in a form of its own.
    LibpodBuild,
    /// The parameter `changes` of a commit.
    Commit,
    /// The parameter `changes` of an import, while a pull passes.
    ImageCreate,
    /// A container of Podman's own API.
    LibpodContainer,
    /// A pod.
    LibpodPod,
    /// A JSON object whose member `labels` holds the labels.
    LibpodObject,
    /// The parameter `labels` of a secret.
    LibpodSecret,
    /// The parameter `changes` of an import.
    LibpodImport,
}

impl Recipe {
    /// Whether the recipe reads the body; if not, it passes as it comes.
    pub(crate) fn needs_body(self) -> bool {
        !matches!(
            self,
            Recipe::Build
                | Recipe::LibpodBuild
                | Recipe::Commit
                | Recipe::ImageCreate
                | Recipe::LibpodImport
                | Recipe::LibpodSecret
        )
    }

    /// Whether the body is an archive or plain data, so that it must not be read as a form.
    pub(crate) fn takes_archive(self) -> bool {
        matches!(
            self,
            Recipe::Build
                | Recipe::LibpodBuild
                | Recipe::ImageCreate
                | Recipe::LibpodImport
                | Recipe::LibpodSecret
        )
    }

    /// Makes the labelled create of the client's.
    ///
    /// # Errors
    /// When it cannot be labelled, or the daemon says no to a question on its behalf.
    pub(crate) fn apply(
        self,
        draft: &mut Draft,
        policy: &Policy,
        ask: &mut dyn Ask,
    ) -> Result<(), Stop> {
        match self {
            Recipe::Container => container::label(draft, policy, ask),
            Recipe::Object => object::label(draft, policy, Empty::IsError),
            Recipe::Volume => redirect::volume(draft, policy),
            Recipe::Network => network::label(draft, policy, ask),
            Recipe::Service => service::label(draft, policy, ask),
            Recipe::SwarmInit => swarm::label_init(draft, policy),
            Recipe::SwarmUpdate => swarm::label_update(draft, policy, ask),
            Recipe::Build => build::label(draft, policy, Form::Object),
            Recipe::LibpodBuild => build::label(draft, policy, Form::ObjectOrList),
            Recipe::Commit => commit::label(draft, policy, ask),
            Recipe::ImageCreate => import::label(draft, policy, ask),
            Recipe::LibpodContainer => libpod::container(draft, policy, ask),
            Recipe::LibpodPod => libpod::pod(draft, policy, ask),
            Recipe::LibpodObject => libpod::object(draft, policy),
            Recipe::LibpodSecret => libpod::secret(draft, policy),
            Recipe::LibpodImport => libpod::import(draft, policy, ask),
        }
    }
}

/// Where the labels go, as in docs/coverage.md.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Recipe::Container => "`Labels`, and its volumes",
            Recipe::Object | Recipe::Volume => "`Labels`",
            Recipe::Network => "`Labels`, or those of its config-only network",
            Recipe::Service => "`Labels`, and its containers and volumes",
            Recipe::SwarmInit => "`Spec.Labels`",
            Recipe::SwarmUpdate => "`Labels`",
            Recipe::Build | Recipe::LibpodBuild => "parameter `labels`",
            Recipe::Commit => "parameter `changes`",
            Recipe::ImageCreate => "parameter `changes` of an import; a pull passes",
            Recipe::LibpodContainer => "`labels`, and its volumes",
            Recipe::LibpodPod => "`labels`, its infra container and the volumes of that",
            Recipe::LibpodObject => "`labels`",
            Recipe::LibpodSecret => "parameter `labels`",
            Recipe::LibpodImport => "parameter `changes`",
        })
    }
}

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
    fn odd(what: &str) -> Refusal {
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
