//! Stats: counters of a runtime or a listener, as numbers and as text.
//!
//! Only the shape for C; what is counted when is the core's business.

use std::ffi::c_char;

use super::entry;
use super::listener::np_listener;
use super::ptr::{self, TextBuffer};
use super::runtime::np_runtime;
use super::sized::{Output, Sized32};
use super::status::np_status;
use crate::event::Protocol;
use crate::runtime::stats::Stats;

/// Size of the arrays by protocol in np_stats.
pub const NP_STATS_PROTOCOLS: u32 = 8;
/// Size of the array by close reason in np_stats.
pub const NP_STATS_REASONS: u32 = 128;

/// In certificate_days_left: there is no certificate.
pub const NP_NO_CERTIFICATE: i64 = i64::MIN;

/// Counters. They only grow, except open, unidentified, connections,
/// memory_bytes, loops_held_up and certificate_days_left. Each is right, but they are not
/// all of the same instant, and what a connection did is counted at the end of its loop's
/// turn: a peer may see a moment earlier what is counted. Set struct_size (NP_STATS_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_stats {
    /// sizeof(np_stats), set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are not identified yet, at this moment.
    pub unidentified: u64,
    /// Connections open at this moment; index: NP_PROTOCOL_.
    pub open: [u64; 8],
    /// Connections ever opened; index: NP_PROTOCOL_.
    pub opened: [u64; 8],
    /// Frames received.
    pub frames_in: u64,
    /// Frames whose send was accepted. bytes_unsent counts the bytes of these frames that did not
    /// reach the operating system.
    pub frames_out: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Bytes that count against memoryLimit at this moment.
    pub memory_bytes: u64,
    /// Log records dropped because the log callback was too slow.
    pub log_dropped: u64,
    /// Connections ended; index: NP_CLOSE_.
    pub closes: [u64; 128],
    /// Loops whose present turn has lasted for a second or longer: a callback blocks.
    pub loops_held_up: u64,
    /// Turns of loops that took a second or longer.
    pub slow_turns: u64,
    /// Connections that count against maxConnections at this moment: the unidentified, those not
    /// admitted yet, the open, and those that are ending.
    pub connections: u64,
    /// Calls of accept that failed: mostly of connections that had ended by then, or for want of
    /// descriptors or memory.
    pub accept_errors: u64,
    /// Bytes that sends had accepted and that had not reached the operating system when their
    /// connections ended: the sum of their unsent_bytes in np_close_info, and what the library
    /// itself could not send, as to connections that never get a handle.
    pub bytes_unsent: u64,
    /// Whole days until the server's own certificate expires, at this moment: 0 on its last
    /// day, negative after it; NP_NO_CERTIFICATE without TLS. Of a runtime, the smallest of its started
    /// listeners. In a struct that was only zeroed, without NP_STATS_INIT, 0 means that it was not filled in.
    pub certificate_days_left: i64,
}

// SAFETY: repr(C), two numbers of four bytes, then numbers of eight.
unsafe impl Sized32 for np_stats {
    const FIRST: usize = 1264;
    const INIT: &'static str = "NP_STATS_INIT";
}

const _: () = {
    assert!(size_of::<np_stats>() == 1272);
    assert!(NP_STATS_PROTOCOLS == 8 && NP_STATS_REASONS == 128);
};

impl np_stats {
    fn of(stats: &Stats) -> np_stats {
        let mut out = np_stats {
            struct_size: size_of::<np_stats>() as u32,
            reserved: 0,
            accepted: stats.accepted,
            unidentified: stats.unidentified,
            open: [0; 8],
            opened: [0; 8],
            frames_in: stats.frames_in,
            frames_out: stats.frames_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            memory_bytes: stats.memory_bytes,
            log_dropped: stats.log_dropped,
            closes: stats.closes,
            loops_held_up: stats.loops_held_up,
            slow_turns: stats.slow_turns,
            connections: stats.connections,
            accept_errors: stats.accept_errors,
            bytes_unsent: stats.bytes_unsent,
            certificate_days_left: stats.certificate_days_left.unwrap_or(NP_NO_CERTIFICATE),
        };
        for protocol in Protocol::ALL {
            out.open[protocol as usize] = stats.open[protocol.index()];
            out.opened[protocol as usize] = stats.opened[protocol.index()];
        }
        out
    }
}

/// Writes the counters of a runtime: the sum of its listeners.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: neither may be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_get_stats(
    runtime: *const np_runtime,
    stats: *mut np_stats,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and an output struct.
        let (runtime, output) =
            unsafe { (ptr::reference(runtime, "runtime")?, Output::new(stats, "stats")?) };
        output.put(&np_stats::of(&runtime.inner.stats()));
        Ok(())
    })
}

/// Writes the counters of a listener.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: neither may be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_get_stats(
    listener: *const np_listener,
    stats: *mut np_stats,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and an output struct.
        let (listener, output) =
            unsafe { (ptr::reference(listener, "listener")?, Output::new(stats, "stats")?) };
        output.put(&np_stats::of(&listener.inner.stats()));
        Ok(())
    })
}

/// Copies all counters of a runtime and its listeners into buffer, in Prometheus' text
/// format. The label section is the port section, port the bound port, map_to_port the value of mapToPort, or
/// the bound port without one. A listener that starts again under the same configuration goes on counting
/// where it was; with port = 0 the label port then changes.
/// The library keeps the labels of ended listeners. A section has up to 64 labels in the life of the runtime; it counts
/// later listeners of it under port and map_to_port "other". Once 64 labels of ended listeners exist, it counts those of
/// new sections under section "other" too. *needed becomes the size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer
/// is then unchanged. The size may have grown at the next call: ask for some more.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: buffer may be NULL if size is 0; needed may be; runtime must not be
/// Fails: NP_ERR_BUFFER_TOO_SMALL, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_stats_prometheus(
    runtime: *const np_runtime,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and outputs.
        let (runtime, buffer) = unsafe {
            (ptr::reference(runtime, "runtime")?, TextBuffer::new(buffer, size, needed)?)
        };
        buffer.put(&runtime.inner.prometheus())
    })
}
