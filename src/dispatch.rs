//! Callbacks on the loop's own thread.
//!
//! While a callback runs, the output side of its connection lies in a thread-local, so
//! that calls about that connection need neither look-up nor lock. The connection itself
//! is never borrowed across a callback.

use crate::event::{Event, Handler};
use crate::handles::Conn;
use crate::send::Outbound;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CURRENT: RefCell<Option<Box<Outbound>>> = const { RefCell::new(None) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// True while the calling thread runs code of the host that the library called.
pub fn in_callback() -> bool {
    DEPTH.get() > 0
}

/// Runs code of the host: marks the thread, and catches what must not cross. `None`: it panicked.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Option<R> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    match result {
        Ok(value) => Some(value),
        Err(payload) => {
            // A payload whose own destructor panics would end the thread: give it up instead.
            std::mem::forget(payload);
            None
        }
    }
}

/// Runs the body of one of our threads: like [`guarded`], without marking the thread as
/// one that runs code of the host.
pub(crate) fn guarded_loop<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            std::mem::forget(payload);
            None
        }
    }
}

/// Gives an event to its handler. The output side comes back with whether all went well.
pub(crate) fn deliver(
    handler: &dyn Handler,
    out: Box<Outbound>,
    event: Event<'_>,
) -> (Option<Box<Outbound>>, bool) {
    let conn = Conn::from_raw(out.id);
    let outer = CURRENT.replace(Some(out));
    let went_well = guarded(|| handler.on_event(conn, event)).is_some();
    (CURRENT.replace(outer), went_well)
}

/// Runs `f` on the output side of connection `id` if its callback is running on this
/// thread. `None` otherwise, and when called from a destructor that `f` itself set off.
pub(crate) fn with_current<R>(id: u64, f: impl FnOnce(&mut Outbound) -> R) -> Option<R> {
    // A thread whose locals are gone is running no callback.
    CURRENT
        .try_with(|current| match current.try_borrow_mut() {
            Ok(mut current) => match current.as_deref_mut() {
                Some(out) if out.id == id => Some(f(out)),
                _ => None,
            },
            Err(_) => None,
        })
        .ok()
        .flatten()
}
