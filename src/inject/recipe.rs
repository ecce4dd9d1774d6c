//! How the labels get into a create: one recipe for each sort.

use std::fmt;

use crate::inject::image::{build, commit, import};
use crate::inject::request::{Create, Rejection};
use crate::inject::{container, libpod, network, object, service, swarm, volume};

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
    pub(crate) fn apply(self, create: &mut Create<'_>) -> Result<(), Rejection> {
        match self {
            Recipe::Container => container::label(create),
            Recipe::Object => object::label(create),
            Recipe::Volume => volume::label(create),
            Recipe::Network => network::label(create),
            Recipe::Service => service::label(create),
            Recipe::SwarmInit => swarm::label_init(create),
            Recipe::SwarmUpdate => swarm::label_update(create),
            Recipe::Build => build::label(create),
            Recipe::LibpodBuild => build::label_libpod(create),
            Recipe::Commit => commit::label(create),
            Recipe::ImageCreate => import::label(create),
            Recipe::LibpodContainer => libpod::container::label(create),
            Recipe::LibpodPod => libpod::pod::label(create),
            Recipe::LibpodObject => libpod::objects::label_network(create),
            Recipe::LibpodSecret => libpod::objects::label_secret(create),
            Recipe::LibpodImport => import::label_libpod(create),
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
