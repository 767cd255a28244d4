//! What the library asks of the operating system beyond sockets. One of the two files of
//! the core with `unsafe`: plain system calls on the calling thread.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// How a thread of the library is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Normal,
    /// Does not preempt the loop on the same core: accepters and handshake loops.
    Batch,
    /// A raised priority, best effort: costs throughput where cores are shared.
    Raised,
}

/// Runs `f`, which starts a thread of ours, with signals blocked: the new thread inherits
/// that, so that from its first moment on signals stay with the threads of the host. Never
/// blocked are those that faults of a thread itself raise.
pub(crate) fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the sets are initialised before use, and only the mask of this thread changes,
    // for as long as `f` runs.
    let before = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT]
        {
            libc::sigdelset(&mut set, fault);
        }
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        before
    };
    let result = f();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}

/// Sets the scheduling of the calling thread, one of ours, as far as the system allows it.
pub(crate) fn prepare_thread(scheduling: Scheduling) {
    #[cfg(target_os = "linux")]
    match scheduling {
        Scheduling::Normal => {}
        // SAFETY: a valid parameter block; 0 means the calling thread. A refusal changes nothing.
        Scheduling::Batch => unsafe {
            let parameters = std::mem::zeroed::<libc::sched_param>();
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters);
        },
        // SAFETY: on Linux the priority of a thread is set by its id, 0 = this thread.
        Scheduling::Raised => unsafe {
            libc::setpriority(libc::PRIO_PROCESS, 0, -5);
        },
    }
    #[cfg(not(target_os = "linux"))]
    let _ = scheduling;
}

/// A runtime lives. While one does, a child of a fork is known by [`is_forked_child`]: it has
/// none of our threads, and locks that they held at that moment stay locked in it.
pub(crate) struct Alive(());

static ALIVE: AtomicUsize = AtomicUsize::new(0);
/// The process in which runtimes live.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// A byte that is 1 in that process, and that the system sets to 0 in its children.
static MARK: OnceLock<Option<&'static AtomicU8>> = OnceLock::new();

impl Alive {
    pub fn new() -> Alive {
        PROCESS.store(std::process::id(), Ordering::SeqCst);
        if let Some(mark) = MARK.get_or_init(wiped_on_fork) {
            mark.store(1, Ordering::SeqCst);
        }
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Alive(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// True in the child of a fork that a runtime has lived through. No system call where the
/// system can wipe memory on fork.
pub(crate) fn is_forked_child() -> bool {
    ALIVE.load(Ordering::SeqCst) > 0
        && match MARK.get() {
            Some(Some(mark)) => mark.load(Ordering::SeqCst) == 0,
            _ => PROCESS.load(Ordering::SeqCst) != std::process::id(),
        }
}

#[cfg(target_os = "linux")]
fn wiped_on_fork() -> Option<&'static AtomicU8> {
    let size = 4096;
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of our own.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping that was just made; it is rounded up to whole pages.
    if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: likewise, and nobody else knows of it.
        unsafe { libc::munmap(page, size) };
        return None;
    }
    // SAFETY: it is never unmapped from here on, and its first byte is an initialised 0.
    Some(unsafe { &*page.cast::<AtomicU8>() })
}

#[cfg(not(target_os = "linux"))]
fn wiped_on_fork() -> Option<&'static AtomicU8> {
    None
}
