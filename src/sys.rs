//! What the library asks of the operating system beyond sockets. One of the two files of
//! the core with `unsafe`: plain system calls on the calling thread.
#![allow(unsafe_code)]

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
