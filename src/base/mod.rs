//! What every other room may use, and what knows none of them: buffers, locks and threads, system
//! calls, the price of work, the log, and switches for tests.

pub(crate) mod budget;
pub(crate) mod buffers;
pub(crate) mod canary;
pub(crate) mod fault;
pub(crate) mod host;
pub(crate) mod life;
pub mod log;
#[cfg(all(feature = "pages", target_os = "linux", not(miri)))]
mod pages;
#[cfg(any(test, fuzzing))]
pub(crate) mod random;
pub(crate) mod shown;
pub(crate) mod sync;
pub(crate) mod sys;
pub(crate) mod waiters;
