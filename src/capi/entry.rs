//! The guard: the body of every exported function is one call of a function in this file.
//!
//! It promises that no panic crosses into C, that results become a status and, where the
//! function has one, an `np_error`, and that the child of a fork gets an answer without
//! touching a lock that its parent's threads may have held. A body only borrows what the core
//! itself keeps consistent behind its own locks, so nothing half-changed can be seen after a
//! panic. What a body does is left to the noun's file. A test reads the sources and fails when
//! an export has another body.

use super::handle::np_conn;
use super::status::{np_error, np_status};
use crate::base::host::caught;
use crate::base::life::IN_FORKED_CHILD;
use crate::base::sys::is_forked_child;
use crate::status::{Error, Status};

/// For functions whose status says everything.
pub(super) fn status(body: impl FnOnce() -> Result<(), Status>) -> np_status {
    taking(|| (), |()| body())
}

fn taking<T>(take: impl FnOnce() -> T, body: impl FnOnce(T) -> Result<(), Status>) -> np_status {
    let outcome = caught(|| {
        let taken = take();
        if is_forked_child() {
            return Err(Status::State);
        }
        body(taken)
    });
    match outcome {
        Some(Ok(())) => Status::Ok.code(),
        Some(Err(status)) => status.code(),
        None => Status::Panic.code(),
    }
}

/// For functions about a connection: one that meets a defect of ours ends it.
pub(super) fn about(conn: np_conn, body: impl FnOnce() -> Result<(), Status>) -> np_status {
    taking_about(conn, || (), |()| body())
}

/// For those of them that take ownership: `take` as in [`registering`].
pub(super) fn taking_about<T>(
    conn: np_conn,
    take: impl FnOnce() -> T,
    body: impl FnOnce(T) -> Result<(), Status>,
) -> np_status {
    let status = taking(take, body);
    if status == Status::Panic.code() {
        conn.core().on_defect();
    }
    status
}

/// For functions whose failures have words. A bad `error` is refused before `body` runs.
///
/// # Safety
/// `error` is NULL or points to an `np_error` of at least the size that its first member
/// says, which no one else uses meanwhile.
pub(super) unsafe fn error(
    error: *mut np_error,
    body: impl FnOnce() -> Result<(), Error>,
) -> np_status {
    // SAFETY: passed on to the caller.
    unsafe { registering(error, || (), |()| body()) }
}

/// For functions that take ownership: `take` is the very first thing that runs and builds
/// the value that releases what was handed over, so that this happens on every path, a
/// bad `error` included.
///
/// # Safety
/// As [`error`].
pub(super) unsafe fn registering<T>(
    error: *mut np_error,
    take: impl FnOnce() -> T,
    body: impl FnOnce(T) -> Result<(), Error>,
) -> np_status {
    let outcome = caught(|| {
        let taken = take();
        // SAFETY: passed on to the caller.
        unsafe { np_error::check(error)? };
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        body(taken)
    });
    let failure = match outcome {
        Some(Ok(())) => return Status::Ok.code(),
        Some(Err(failure)) => failure,
        None => Error::new(Status::Panic, Status::Panic.message()),
    };
    // SAFETY: passed on to the caller; `put` checks the size itself, because a refused
    // `error` arrives here too.
    unsafe { np_error::put(error, &failure) };
    failure.status.code()
}

/// For functions that give a plain value and take no lock; `otherwise` is the answer after a
/// panic.
pub(super) fn value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(otherwise)
}

/// For those that do take a lock; `otherwise` is also the answer in the child of a fork.
pub(super) fn value_under_lock<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    match is_forked_child() {
        true => otherwise,
        false => value(otherwise, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(status(|| panic!("defect")), Status::Panic.code());
        assert_eq!(value(7, || panic!("defect")), 7);
    }

    #[test]
    fn a_panic_payload_that_panics_does_not_cross() {
        let code = status(|| std::panic::panic_any(PanicsWhenDropped));
        assert_eq!(code, Status::Panic.code());
    }

    #[test]
    fn a_panic_is_told_in_words_and_what_was_taken_is_released() {
        struct Taken<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let released = std::cell::Cell::new(0);
        let mut error = np_error::new();
        // SAFETY: `error` is a whole np_error of this thread.
        let code =
            unsafe { registering(&raw mut error, || Taken(&released), |_taken| panic!("defect")) };
        assert_eq!(code, Status::Panic.code());
        assert_eq!(error.status, Status::Panic.code());
        assert_eq!(released.get(), 1);
    }
}
