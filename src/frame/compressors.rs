//! The compression states of a runtime, 300 KB each: as few as work at the same time, whatever
//! the number of threads that send, and none while nothing is compressed.

use super::deflate::{Compressor, Writes};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A state is released that was not used for so long, or up to twice as long.
const IDLE_MS: u64 = 5_000;

pub(crate) struct Compressors {
    /// The last ones given back are the next ones taken. Held for a push, a pop or a pass over as
    /// many states as [`Compressors::most`] allows: innermost.
    spare: Mutex<Vec<Spare>>,
    /// Length of `spare`.
    count: AtomicUsize,
    /// When idle ones are looked for, in monotonic milliseconds; 0 = not set.
    look_ms: AtomicU64,
    /// Spare states of the same settings.
    most: usize,
}

struct Spare {
    compressor: Compressor,
    /// Given back since idle ones were looked for.
    used: bool,
}

impl Compressors {
    /// Keeps as many as there are cores: more do not work at the same time.
    pub fn new() -> Compressors {
        Compressors {
            spare: Mutex::default(),
            count: AtomicUsize::new(0),
            look_ms: AtomicU64::new(0),
            most: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// As [`Compressor::compress_smaller`], with a state of the pool.
    pub fn compress_smaller(&self, data: &[u8], how: Writes, out: &mut Vec<u8>) -> bool {
        // Level 0 only stores, which never is smaller.
        if how.level == 0 {
            return false;
        }
        let mut compressor = self.take(how).unwrap_or_else(|| Compressor::new(how));
        let smaller = compressor.compress_smaller(data, out);
        self.give(compressor, how);
        smaller
    }

    fn take(&self, how: Writes) -> Option<Compressor> {
        let mut spare = self.spare.lock();
        let at = spare.iter().rposition(|spare| spare.compressor.fits(how))?;
        let taken = spare.remove(at);
        self.count.store(spare.len(), Ordering::Relaxed);
        Some(taken.compressor)
    }

    fn give(&self, compressor: Compressor, how: Writes) {
        if compressor.is_broken {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.iter().filter(|spare| spare.compressor.fits(how)).count() < self.most {
            spare.push(Spare { compressor, used: true });
            self.count.store(spare.len(), Ordering::Relaxed);
        }
    }

    /// Releases idle states; tells in how many milliseconds this is to be called again, `None` if
    /// no state is left. Loops call it before they wait, so that one that has sent, or has been
    /// sent something, comes back for the states used for that.
    pub fn release_idle(&self, now_ms: u64) -> Option<u64> {
        let is_due = || match self.look_ms.load(Ordering::Relaxed) {
            0 => Ok(false),
            look_ms if now_ms < look_ms => Err(look_ms - now_ms),
            _ => Ok(true),
        };
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        if let Err(left_ms) = is_due() {
            return Some(left_ms);
        }
        let mut idle = Vec::new();
        let mut spare = self.spare.lock();
        match is_due() {
            // Another loop was faster.
            Err(left_ms) => return Some(left_ms),
            Ok(true) => {
                idle.extend(spare.extract_if(.., |spare| !std::mem::take(&mut spare.used)));
                self.count.store(spare.len(), Ordering::Relaxed);
            }
            Ok(false) => {}
        }
        let next = (!spare.is_empty()).then_some(IDLE_MS);
        self.look_ms.store(next.map_or(0, |next| now_ms + next), Ordering::Relaxed);
        // Freed without the lock.
        drop(spare);
        drop(idle);
        next
    }

    /// How many are spare.
    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn how(level: u32) -> Writes {
        Writes { zlib: true, threshold_bytes: 0, limit_bytes: usize::MAX, level }
    }

    #[test]
    fn threads_that_have_compressed_and_live_on_hold_no_states() {
        const THREADS: usize = 200;
        let states = Compressors::new();
        let all_have = Barrier::new(THREADS + 1);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    assert!(states.compress_smaller(&[7; 512], how(6), &mut Vec::new()));
                    all_have.wait();
                    all_have.wait();
                });
            }
            all_have.wait();
            assert!((1..=states.most).contains(&states.spare()));
            all_have.wait();
        });
    }

    #[test]
    fn a_state_is_used_again_for_its_settings_only() {
        let mut states = Compressors::new();
        states.most = 2;
        let first = states.take(how(6));
        assert!(first.is_none());
        (0..5).for_each(|_| states.give(Compressor::new(how(6)), how(6)));
        assert_eq!(states.spare(), 2);
        assert!(states.take(how(1)).is_none());
        states.give(Compressor::new(how(1)), how(1));
        assert_eq!(states.spare(), 3, "as many of each settings");
        assert!(states.take(how(1)).is_some_and(|state| state.fits(how(1))));
        assert!(states.take(how(6)).is_some_and(|state| state.fits(how(6))));
        let mut broken = Compressor::new(how(6));
        broken.is_broken = true;
        states.give(broken, how(6));
        assert_eq!(states.spare(), 1);
    }

    #[test]
    fn states_that_are_not_used_are_released_and_then_nothing_is_to_be_done() {
        let mut states = Compressors::new();
        states.most = 2;
        assert_eq!(states.release_idle(1_000), None);
        (0..2).for_each(|_| states.give(Compressor::new(how(6)), how(6)));
        assert_eq!(states.release_idle(1_000), Some(IDLE_MS));
        assert_eq!(states.release_idle(1_000 + IDLE_MS - 1), Some(1));
        // Both were used within the time that is over; then only one.
        assert_eq!(states.release_idle(1_000 + IDLE_MS), Some(IDLE_MS));
        assert!(states.compress_smaller(&[7; 512], how(6), &mut Vec::new()));
        assert_eq!(states.spare(), 2);
        assert_eq!(states.release_idle(1_000 + 2 * IDLE_MS), Some(IDLE_MS));
        assert_eq!(states.spare(), 1);
        assert_eq!(states.release_idle(1_000 + 3 * IDLE_MS), None);
        assert_eq!(states.spare(), 0);
        assert_eq!(states.release_idle(1_000 + 4 * IDLE_MS), None);
    }

    #[cfg(not(shuttle))]
    #[test]
    fn a_loop_that_has_nothing_else_to_do_releases_the_states_that_other_threads_have_used() {
        use crate::config::Config;
        use crate::conn::handles::{Conn, SendFlags};
        use crate::event::{Event, Handler, Protocol};
        use crate::listener::Listener;
        use crate::runtime::Runtime;
        use std::io::{Read, Write};
        use std::sync::{Arc, OnceLock};
        use std::time::Duration;

        #[derive(Default)]
        struct First(OnceLock<Conn>);

        impl Handler for First {
            fn on_event(&self, conn: Conn, event: Event<'_>) {
                if let Event::Opened { .. } = event {
                    self.0.set(conn).unwrap();
                }
            }
        }

        let mut config = Config::new();
        let text = "[Runtime]\nioThreads=1\n[Port]\nport=0\nbindAddress=127.0.0.1\n";
        config.load_string(text.as_bytes(), "test.ini").unwrap();
        let runtime = Runtime::new(&config).unwrap();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        let handler: Arc<First> = Arc::default();
        listener.on(Protocol::Client, handler.clone()).unwrap();
        listener.start().unwrap();
        let mut client = std::net::TcpStream::connect(listener.addresses()[0]).unwrap();
        client.write_all(&[1]).unwrap();
        client.read_exact(&mut [0]).unwrap();
        // No deadline is left that would wake the loop.
        let conn = *handler.0.wait();
        let states = &runtime.core().commons.compressors;
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| conn.send_frame(&[7; 600], SendFlags::default()).unwrap());
                }
            });
            assert!((1..=states.most).contains(&states.spare()));
            while states.spare() > 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
