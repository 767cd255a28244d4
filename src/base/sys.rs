//! What the library asks of the operating system beyond sockets. One of the three files of
//! the core with `unsafe`: plain system calls on the calling thread, and joining of others.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a thread of the library is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Normal,
    /// Runs in short slices, so that on waking it preempts who has longer ones: I/O loops.
    Prompt,
    /// Does not preempt the loop on the same core: accepters.
    Batch,
    /// Like [`Scheduling::Batch`], and in long slices: handshake loops, whose steps take as long as a hundred turns of
    /// established connections.
    Patient,
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

/// Waits until something can be read from a descriptor, or its writers have ended; false if the time
/// passes first. What cannot be waited for, such as a file, is always ready.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, at_most: Duration) -> std::io::Result<bool> {
    let end = Instant::now() + at_most;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up: a wait must not end too early and be begun again and again.
        let ms = left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX);
        let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure of ours, for the time of the call; the descriptor is open.
        match unsafe { libc::poll(&mut polled, 1, ms) } {
            0 => return Ok(false),
            1.. => return Ok(true),
            _ => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Joins a thread if it is gone, last destructors of the host included, for which `is_finished` does
/// not wait. Gives it back if it is not; does not block.
#[cfg(target_os = "linux")]
pub(crate) fn join_if_gone(thread: JoinHandle<()>) -> Option<JoinHandle<()>> {
    use std::os::unix::thread::JoinHandleExt;
    // SAFETY: the handle owns the thread, so nobody else has joined or detached it.
    let answer = unsafe { libc::pthread_tryjoin_np(thread.as_pthread_t(), std::ptr::null_mut()) };
    if answer != 0 {
        return Some(thread);
    }
    // It was joined: the handle must not detach it as well.
    let _ = thread.into_pthread_t();
    None
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn join_if_gone(thread: JoinHandle<()>) -> Option<JoinHandle<()>> {
    // The nearest that there is: only last destructors of the host may still run.
    (!thread.is_finished()).then_some(thread)
}

/// The number of a network interface, by its name or number.
pub(crate) fn interface_number(interface: &str) -> Option<u32> {
    let name = std::ffi::CString::new(interface).ok()?;
    // SAFETY: a text that ends with NUL; it is only read.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => interface.parse().ok().filter(|&number| number != 0),
        number => Some(number),
    }
}

/// Sets the scheduling of the calling thread, one of ours, as far as the system allows it.
pub(crate) fn prepare_thread(scheduling: Scheduling) {
    #[cfg(target_os = "linux")]
    match scheduling {
        Scheduling::Normal => {}
        Scheduling::Prompt => run_in_slices(SHORT_SLICE),
        Scheduling::Batch => yield_to_others(),
        Scheduling::Patient => {
            yield_to_others();
            run_in_slices(LONG_SLICE);
        }
        // SAFETY: on Linux the priority of a thread is set by its id, 0 = this thread.
        Scheduling::Raised => unsafe {
            libc::setpriority(libc::PRIO_PROCESS, 0, -5);
        },
    }
    #[cfg(not(target_os = "linux"))]
    let _ = scheduling;
}

/// The shortest that Linux takes.
#[cfg(target_os = "linux")]
const SHORT_SLICE: Duration = Duration::from_micros(100);
#[cfg(target_os = "linux")]
const LONG_SLICE: Duration = Duration::from_millis(20);

#[cfg(target_os = "linux")]
fn yield_to_others() {
    // SAFETY: a valid parameter block; 0 means the calling thread. A refusal changes nothing.
    unsafe {
        let parameters = std::mem::zeroed::<libc::sched_param>();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters);
    }
}

/// The soft limit of open files; 0 = none.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid block, which a failure leaves as it is.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if limit.rlim_cur == libc::RLIM_INFINITY { 0 } else { limit.rlim_cur }
}

/// How the calling thread is scheduled, if its class is one with slices.
#[cfg(target_os = "linux")]
fn scheduling() -> Option<libc::sched_attr> {
    // SAFETY: all of its fields are numbers.
    let mut attributes = unsafe { std::mem::zeroed::<libc::sched_attr>() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the system writes at most `size` bytes; 0 means the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    let policy = attributes.sched_policy.cast_signed();
    (got == 0 && matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH)).then_some(attributes)
}

/// From Linux 6.12 on; older ones take it and go by their own.
#[cfg(target_os = "linux")]
fn run_in_slices(slice: Duration) {
    let Some(mut attributes) = scheduling() else { return };
    attributes.sched_runtime = slice.as_nanos() as u64;
    // SAFETY: a valid block; 0 means the calling thread. A refusal changes nothing.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_loops_have_slices_that_let_input_come_before_handshakes() {
        let slice = |kind| {
            let thread = std::thread::spawn(move || {
                prepare_thread(kind);
                scheduling().map_or(0, |scheduling| scheduling.sched_runtime)
            });
            thread.join().unwrap()
        };
        let usual = slice(Scheduling::Normal);
        if usual == 0 {
            println!("SKIPPED: before Linux 6.12 a thread has no slice of its own");
            return;
        }
        let (prompt, patient) = (slice(Scheduling::Prompt), slice(Scheduling::Patient));
        assert!(prompt < usual && usual < patient, "{prompt} {usual} {patient} ns");
    }
}
