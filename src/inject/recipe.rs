//! What a recipe is: how the body of one sort of create is taken, what labels it, and where the
//! labels go. Each recipe stands next to the code that it calls.

use std::fmt;

use crate::inject::request::{Create, Rejection};

/// How the labels get into one sort of create.
pub(crate) struct Recipe {
    pub(crate) body: Body,
    pub(crate) label: fn(&mut Create<'_>) -> Result<(), Rejection>,
    /// Where the labels go, as in docs/coverage.md.
    pub(crate) shown: &'static str,
}

/// How the body of a create is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// It is read whole, and the recipe makes the one that is sent.
    Rewritten,
    /// It passes as it comes.
    Passes,
    /// The same. It is an archive or plain data, and must not be read as a form: the pairs of a
    /// form would count before those of the query.
    PassesAsData,
}

impl Recipe {
    /// Labels the client's create.
    ///
    /// # Errors
    /// When it cannot be labelled, or the daemon refuses a subrequest on its behalf.
    pub(crate) fn apply(&self, create: &mut Create<'_>) -> Result<(), Rejection> {
        (self.label)(create)
    }
}

/// There is one recipe of a sort, so it is known by its address.
impl PartialEq for Recipe {
    fn eq(&self, other: &Recipe) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Recipe {}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown)
    }
}
