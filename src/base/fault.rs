//! Defects on purpose: tests make the code of a stage panic. Without tests this is a type without
//! size whose functions do nothing.

/// Where a panic can be made to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Site {
    Accept = 1,
    Deal,
    Loop,
    Tls,
    Identify,
    Admit,
    Decode,
    Deliver,
    Encode,
    ForeignEncode,
    Flush,
    Timer,
    Close,
    Closed,
}

#[cfg(test)]
pub(crate) use armed::*;

/// The site of one port at which a panic happens.
#[cfg(not(test))]
pub(crate) struct Fault;

#[cfg(not(test))]
impl Fault {
    /// None.
    pub fn none() -> Fault {
        Fault
    }

    #[inline(always)]
    pub fn strike(&self, _: Site) {}

    #[inline(always)]
    pub fn last_act(&self) {}
}

#[cfg(test)]
mod armed {
    use super::Site;
    use crate::status::{Error, Status};
    use parking_lot::Mutex;
    use std::cell::{Cell, RefCell};
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    /// The site of one port at which a panic happens, once, after some have passed.
    #[derive(Default)]
    pub(crate) struct Fault {
        site: AtomicU8,
        pass: AtomicUsize,
        last_act: Mutex<Option<Act>>,
    }

    /// What happens on a thread, such as what an accepter does after it has left its port.
    pub(crate) type Act = Box<dyn FnOnce() + Send>;

    impl Fault {
        /// None for now.
        pub fn none() -> Fault {
            Fault::default()
        }

        pub fn arm(&self, site: Site, pass: usize) {
            self.pass.store(pass, Ordering::SeqCst);
            self.site.store(site as u8, Ordering::SeqCst);
        }

        pub fn set_last_act(&self, act: impl FnOnce() + Send + 'static) {
            *self.last_act.lock() = Some(Box::new(act));
        }

        pub fn last_act(&self) {
            let act = self.last_act.lock().take();
            if let Some(act) = act {
                act();
            }
        }

        pub fn strike(&self, site: Site) {
            if self.site.load(Ordering::SeqCst) != site as u8 {
                return;
            }
            let passes = |left: usize| left.checked_sub(1);
            if self.pass.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passes).is_ok() {
                return;
            }
            if self.site.swap(0, Ordering::SeqCst) == site as u8 {
                // Without the message of a panic that nobody expected.
                std::panic::resume_unwind(Box::new(site));
            }
        }
    }

    thread_local! {
        /// The calling thread can start so many more threads.
        pub(crate) static THREADS: Cell<usize> = const { Cell::new(usize::MAX) };
        /// What happens before it starts the next one.
        pub(crate) static BEFORE_THREAD: RefCell<Option<Act>> = const { RefCell::new(None) };
    }

    /// `NoThreads` if the calling thread is to find that there are none.
    pub(crate) fn no_thread(name: &str) -> Result<(), Error> {
        if let Some(act) = BEFORE_THREAD.take() {
            act();
        }
        let left = THREADS.get();
        if left == 0 {
            return Err(Error::new(Status::NoThreads, format!("starting the thread {name}")));
        }
        THREADS.set(left - usize::from(left < usize::MAX));
        Ok(())
    }
}
