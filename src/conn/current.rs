//! The connection whose callback the calling thread runs.
//!
//! While a callback runs, its output and requests lie in a thread-local, so that calls about
//! that connection need neither look-up nor lock. The connection itself is never borrowed across a
//! callback.

use super::requests::Reach;
use crate::base::host;
use crate::event::{Conn, Event, Handler};
use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<Box<Reach>>> = const { RefCell::new(None) };
}

/// Gives an event to its handler. The part that was lent comes back with whether all went well.
pub(crate) fn deliver(
    handler: &dyn Handler,
    reach: Box<Reach>,
    event: Event<'_>,
) -> (Option<Box<Reach>>, bool) {
    let conn = Conn::from_raw(reach.out.id);
    let outer = CURRENT.replace(Some(reach));
    let went_well = host::guarded(|| handler.on_event(conn, event)).is_some();
    (CURRENT.replace(outer), went_well)
}

/// Runs `f` on that part of connection `id` if its callback is running on this
/// thread. `None` otherwise, and when called from a destructor that `f` itself set off.
pub(crate) fn with_current<R>(id: u64, f: impl FnOnce(&mut Reach) -> R) -> Option<R> {
    // A thread whose locals are gone is running no callback.
    CURRENT
        .try_with(|current| match current.try_borrow_mut() {
            Ok(mut current) => match current.as_deref_mut() {
                Some(reach) if reach.out.id == id => Some(f(reach)),
                _ => None,
            },
            Err(_) => None,
        })
        .ok()
        .flatten()
}
