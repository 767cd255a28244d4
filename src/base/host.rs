//! Code of the host on threads of the library: which thread runs some, and what must not cross.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The connection whose callback a worker runs; 0 = none.
    static WORKING: Cell<u64> = const { Cell::new(0) };
    /// Its address tells threads apart.
    static MARK: Cell<u8> = const { Cell::new(0) };
}

/// A number that no other living thread has.
pub(crate) fn this_thread() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// While it lives the calling worker runs a callback of this connection.
pub(crate) struct Working(u64);

impl Working {
    pub fn on(id: u64) -> Working {
        Working(WORKING.replace(id))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.set(self.0);
    }
}

/// True while the calling thread is the worker that runs a callback of this connection.
pub(crate) fn is_working_on(id: u64) -> bool {
    // A thread whose locals are gone is running no callback.
    WORKING.try_with(|working| working.get() == id).unwrap_or(false)
}

/// True while the calling thread runs code of the host that the library called.
pub fn in_callback() -> bool {
    DEPTH.get() > 0
}

/// While it lives the calling thread runs code of the host.
pub(crate) struct InHost(());

impl InHost {
    pub fn new() -> InHost {
        DEPTH.set(DEPTH.get() + 1);
        InHost(())
    }
}

impl Drop for InHost {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs code of the host: marks the thread, and catches what must not cross. `None`: it panicked.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Option<R> {
    let _in_host = InHost::new();
    caught(f)
}

/// Like [`guarded`], without marking the thread as one that runs code of the host.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            discard(payload);
            None
        }
    }
}

/// Drops the payload of a panic. Its destructor may panic in turn, with a payload whose
/// destructor panics too. After eight attempts the last payload is leaked.
fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What a host panics with.
    struct Payload {
        dropped: Arc<AtomicU32>,
        panics: bool,
    }

    impl Drop for Payload {
        fn drop(&mut self) {
            self.dropped.fetch_add(u32::from(in_callback()), Ordering::SeqCst);
            if self.panics {
                panic_any(Payload { dropped: self.dropped.clone(), panics: false });
            }
        }
    }

    #[test]
    fn what_a_host_panics_with_is_dropped_as_code_of_the_host_even_if_that_panics() {
        let dropped: Arc<AtomicU32> = Arc::default();
        for panics in [false, true] {
            let payload = Payload { dropped: dropped.clone(), panics };
            assert!(guarded(|| panic_any(payload)).is_none());
        }
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
        assert!(!in_callback());
    }
}
