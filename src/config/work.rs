//! The work of loading and checking, counted for tests: it must grow with the input, and no faster.

#[cfg(any(test, fuzzing))]
thread_local! {
    static DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts bytes that were read or copied, and comparisons. Nothing in a library for use.
#[inline]
pub(super) fn count(units: usize) {
    #[cfg(any(test, fuzzing))]
    DONE.set(DONE.get() + units as u64);
    #[cfg(not(any(test, fuzzing)))]
    let _ = units;
}

/// The units since the last call, on this thread.
#[cfg(any(test, fuzzing))]
pub(crate) fn take() -> u64 {
    DONE.replace(0)
}
