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

/// Prepares the calling thread, one of ours: signals stay with the threads of the host
/// (never blocked are those that faults of the thread itself raise), and the scheduling
/// is set as far as the system allows it.
pub(crate) fn prepare_thread(scheduling: Scheduling) {
    // SAFETY: the set is initialised by sigfillset before use, and only the mask of this
    // thread changes.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT]
        {
            libc::sigdelset(&mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
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
