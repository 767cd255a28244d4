//! Stage 1: threads that accept connections, judge the limits and deal newcomers to loops.

mod accepter;

pub(crate) use accepter::Accepter;
#[cfg(all(test, not(shuttle)))]
pub(crate) use accepter::room;
#[cfg(any(test, fuzzing))]
pub(crate) use accepter::{admit, first};
