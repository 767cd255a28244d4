//! The connection whose callback the calling thread runs.
//!
//! While a callback runs, the output of its connection lies in a thread-local, so that calls about
//! that connection need neither look-up nor lock. The connection itself is never borrowed across a
//! callback.

use super::output::Output;
use crate::base::host;
use crate::event::{Conn, Event, Handler};
use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<Box<Output>>> = const { RefCell::new(None) };
}

/// Gives an event to its handler. The output side comes back with whether all went well.
pub(crate) fn deliver(
    handler: &dyn Handler,
    out: Box<Output>,
    event: Event<'_>,
) -> (Option<Box<Output>>, bool) {
    let conn = Conn::from_raw(out.id);
    let outer = CURRENT.replace(Some(out));
    let went_well = host::guarded(|| handler.on_event(conn, event)).is_some();
    (CURRENT.replace(outer), went_well)
}

/// Runs `f` on the output side of connection `id` if its callback is running on this
/// thread. `None` otherwise, and when called from a destructor that `f` itself set off.
pub(crate) fn with_current<R>(id: u64, f: impl FnOnce(&mut Output) -> R) -> Option<R> {
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
