//! Locks, atomics and channels through which threads reach one another's connections.
//!
//! In models (`--cfg shuttle`, `scripts/models`) a scheduler decides at each of their steps
//! which thread goes on; otherwise they are the ordinary ones.

#[cfg(not(all(test, shuttle)))]
pub(crate) use crossbeam_channel as channel;
#[cfg(not(all(test, shuttle)))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::atomic;

#[cfg(all(test, shuttle))]
pub(crate) use modelled::{Mutex, RwLock, channel};
#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::atomic;

/// The scheduler's locks in the form of parking_lot's, and a channel made of them.
#[cfg(all(test, shuttle))]
mod modelled {
    use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub const fn new(value: T) -> RwLock<T> {
            RwLock(shuttle::sync::RwLock::new(value))
        }

        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }

    pub(crate) mod channel {
        use super::Mutex;
        use std::collections::VecDeque;
        use std::sync::Arc;

        pub(crate) struct Sender<T>(Arc<Mutex<VecDeque<T>>>);
        pub(crate) struct Receiver<T>(Arc<Mutex<VecDeque<T>>>);

        pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
            let queue: Arc<Mutex<VecDeque<T>>> =
                Arc::new(Mutex(shuttle::sync::Mutex::new(VecDeque::new())));
            (Sender(queue.clone()), Receiver(queue))
        }

        impl<T> Sender<T> {
            pub fn send(&self, value: T) -> Result<(), ()> {
                self.0.lock().push_back(value);
                Ok(())
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                // As with the real one: nobody will read what is left.
                if !std::thread::panicking() {
                    let left = std::mem::take(&mut *self.0.lock());
                    drop(left);
                }
            }
        }

        impl<T> Receiver<T> {
            pub fn try_recv(&self) -> Result<T, ()> {
                self.0.lock().pop_front().ok_or(())
            }

            pub fn is_empty(&self) -> bool {
                self.0.lock().is_empty()
            }
        }
    }
}
