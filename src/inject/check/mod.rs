//! The check of a container behind the daemon's yes and before the client's: what came into being is
//! what was labelled. Between the proxy's subrequests and the create a tag may move, a volume may be
//! deleted, a container replaced; the daemon then makes something that has no labels.
//!
//! `judge` compares what the daemon has made with what labelling found out (`inject::expected`), and
//! `take_back` removes what should not be.

mod judge;
mod take_back;

pub(crate) use judge::{Verdict, judge};
pub(crate) use take_back::abandon;
