//! Runtime: the threads behind everything, their log, and their end.
//!
//! Holds the core's `Runtime`. What runs where is decided there.

use std::ffi::{c_char, c_void};

use super::config::np_config;
use super::entry;
use super::handle::{NP_FOREVER, np_conn, np_destroy_fn};
use super::owned::Owned;
use super::ptr::{self, Out, Refused};
use super::status::{np_error, np_status};
use crate::base::host;
use crate::base::log::{Level, Record, Sink};
use crate::runtime::{Consumer, Runtime};
use crate::status::Status;

/// The library's threads. Several may exist in one process; they share nothing.
pub struct np_runtime {
    pub(super) inner: Runtime,
}

/// Callbacks run on the thread that moves the bytes: the default, the fastest.
pub const NP_CONSUMER_CALLBACKS: i32 = 0;
/// Callbacks run on workerThreads threads of the library, and may block: those of one
/// connection still never overlap and keep their order.
pub const NP_CONSUMER_WORKERS: i32 = 1;
/// The host's threads poll for events: np_loop_new, np_loop_poll.
pub const NP_CONSUMER_POLL: i32 = 2;

/// Nothing.
pub const NP_LOG_OFF: i32 = 0;
/// What should not happen.
pub const NP_LOG_ERROR: i32 = 1;
/// What somebody should look at.
pub const NP_LOG_WARN: i32 = 2;
/// Listeners that start and stop, and the end of each connection.
pub const NP_LOG_INFO: i32 = 3;
/// Also who is turned away before he is a connection.
pub const NP_LOG_DEBUG: i32 = 4;

/// One line of the log. Valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_log_record {
    /// sizeof(np_log_record) of the library, which writes it.
    pub struct_size: u32,
    /// NP_LOG_ERROR to NP_LOG_DEBUG.
    pub level: i32,
    /// The connection that it is about, or NP_CONN_NONE.
    pub conn: np_conn,
    /// The part of the library that speaks: "accept", "tls", "open", ...; never NULL.
    pub stage: *const c_char,
    /// The line, UTF-8 without a line end; never NULL. Holds no payloads and no secrets.
    pub text: *const c_char,
}

/// Receives log records, one at a time, on a thread of its own. May block: records are
/// then dropped and counted, connections do not wait.
pub type np_log_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, record: *const np_log_record)>;

/// Is shown a connection; 0 goes on, anything else ends the round.
pub type np_visit_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, conn: np_conn) -> i32>;

/// Starts the threads that [Runtime] in config describes. consumer says where events go:
/// one of NP_CONSUMER_.
///
/// Thread: any
/// Blocking: no
/// Owns: *runtime belongs to the caller, until np_runtime_free; config is copied
/// Null: only error may be NULL
/// Fails: NP_ERR_CONFIG, NP_ERR_NO_THREADS, NP_ERR_NO_DESCRIPTORS, NP_ERR_IO,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_new(
    config: *const np_config,
    consumer: i32,
    runtime: *mut *mut np_runtime,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error, an object and an output.
    unsafe {
        entry::error(error, || {
            let config = ptr::reference(config, "config")?;
            let place = Out::new(runtime, "runtime")?;
            let consumer = match consumer {
                NP_CONSUMER_CALLBACKS => Consumer::Callbacks,
                NP_CONSUMER_WORKERS => Consumer::Workers,
                NP_CONSUMER_POLL => Consumer::Poll,
                _ => {
                    return Err(Refused::argument("consumer", "is not one of NP_CONSUMER_").into());
                }
            };
            let config = config.inner.lock().clone();
            let inner = Runtime::with_consumer(&config, consumer)?;
            place.put(Box::into_raw(Box::new(np_runtime { inner })));
            Ok(())
        })
    }
}

/// Sets where log records of this level and the more important ones go; what logLevel in
/// [Runtime] leaves out does not come. Replaces the one before, whose user_data is released
/// when its last record is done. callback NULL or NP_LOG_OFF ends logging. Where events are
/// polled callback stays NULL, and records come as NP_EVENT_LOG.
///
/// Thread: any
/// Blocking: no
/// Owns: user_data belongs to the library, also on failure; destroy releases it once
/// Null: callback, user_data, destroy and error may be NULL; runtime must not be
/// Fails: NP_ERR_STOPPED once the runtime has ended (not during a drain), NP_ERR_STATE for a
///   callback where events are polled, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_set_log(
    runtime: *mut np_runtime,
    level: i32,
    callback: np_log_fn,
    user_data: *mut c_void,
    destroy: np_destroy_fn,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error and an object.
    unsafe {
        entry::registering(
            error,
            || Owned::new(user_data, destroy),
            |owned| {
                let runtime = ptr::reference(runtime, "runtime")?;
                let level = match level {
                    NP_LOG_OFF => Level::Off,
                    NP_LOG_ERROR => Level::Error,
                    NP_LOG_WARN => Level::Warn,
                    NP_LOG_INFO => Level::Info,
                    NP_LOG_DEBUG => Level::Debug,
                    _ => return Err(Refused::argument("level", "is not one of NP_LOG_").into()),
                };
                match callback {
                    Some(callback) if level != Level::Off => {
                        let text = [Vec::new(), Vec::new()];
                        let sink = LogSink { callback, owned, text };
                        runtime.inner.set_log(level, Some(Box::new(sink)))
                    }
                    _ => runtime.inner.set_log(level, None),
                }
            },
        )
    }
}

struct LogSink {
    callback: unsafe extern "C-unwind" fn(*mut c_void, *const np_log_record),
    owned: Owned,
    /// Stage and text with their NULs; kept, so that a record allocates nothing.
    text: [Vec<u8>; 2],
}

impl Sink for LogSink {
    fn log(&mut self, record: &Record<'_>) {
        for (buffer, text) in self.text.iter_mut().zip([record.stage, record.text]) {
            buffer.clear();
            // A NUL inside would end the text for C.
            buffer.extend(text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
            buffer.push(0);
        }
        let shown = np_log_record {
            struct_size: size_of::<np_log_record>() as u32,
            level: record.level as i32,
            conn: np_conn { id: record.conn },
            stage: self.text[0].as_ptr().cast(),
            text: self.text[1].as_ptr().cast(),
        };
        // SAFETY: the host's own function for this user_data, which `owned` keeps alive.
        unsafe { (self.callback)(self.owned.pointer(), &raw const shown) }
    }
}

/// Begins to stop and returns: nothing is accepted from now on and the addresses can be bound
/// again, connections that are not identified yet end, the others may go on until they end by
/// themselves or drain_ms milliseconds have passed (0: end now, NP_FOREVER: no limit). A second
/// call can only shorten the time. np_listener_start, if it is running on another thread, answers
/// NP_ERR_STOPPED. The address is free after np_listener_start has returned.
///
/// When the time has passed, connections whose output is queued are reset, all others end in order.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: runtime must not be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_stop(runtime: *mut np_runtime, drain_ms: u64) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let runtime = unsafe { ptr::reference(runtime, "runtime")? };
        runtime.inner.stop(drain_ms).map_err(|error| error.status)
    })
}

/// Waits until a stop has ended everything, at most timeout_ms milliseconds (NP_FOREVER: no
/// limit, 0: only looks). After NP_OK no callback, destructor or log callback runs any more.
/// Where events are polled, the end comes only while the host polls, to NP_ERR_STOPPED.
///
/// Thread: any; inside a callback, and in last destructors on threads of the library, only with
///   timeout_ms 0
/// Blocking: yes, up to timeout_ms
/// Owns: nothing
/// Null: runtime must not be NULL
/// Fails: NP_ERR_TIMED_OUT, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_wait(runtime: *mut np_runtime, timeout_ms: u64) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let runtime = unsafe { ptr::reference(runtime, "runtime")? };
        runtime.inner.wait(limit(timeout_ms)).map_err(|error| error.status)
    })
}

/// The core's form of a time that C gives.
pub(super) const fn limit(ms: u64) -> Option<u64> {
    match ms {
        NP_FOREVER => None,
        _ => Some(ms),
    }
}

/// Stops with drain_ms 0, waits for the end and frees. Listeners of the runtime may be
/// freed before or after; they cannot be started any more. Where events are polled,
/// what the host has not polled is dropped; as this polls, what it has polled before is not valid
/// any more: threads that poll end first.
///
/// Thread: any, but not inside a callback; no other call with this pointer may be under way
///   or follow
/// Blocking: yes, until all callbacks have returned
/// Owns: runtime is gone, except with NP_ERR_IN_CALLBACK
/// Null: runtime may be NULL, nothing happens
/// Fails: NP_ERR_IN_CALLBACK, and nothing is freed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_free(runtime: *mut np_runtime) -> np_status {
    entry::status(|| {
        if runtime.is_null() {
            return Ok(());
        }
        if host::in_callback() {
            return Err(Status::InCallback);
        }
        // SAFETY: np_runtime_new made it with Box, and the caller gives it back. The
        // core's destructor stops and waits.
        drop(unsafe { Box::from_raw(runtime) });
        Ok(())
    })
}

/// Shows all connections whose handles the host knows at this moment to visit, one after the
/// other, those too that wait for admission or whose end it has not consumed. New ones may
/// come and shown ones may end meanwhile.
///
/// Thread: any; visit runs in the calling thread, before the call returns
/// Blocking: no
/// Owns: nothing
/// Null: only user_data may be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_runtime_each_conn(
    runtime: *const np_runtime,
    visit: np_visit_fn,
    user_data: *mut c_void,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let runtime = unsafe { ptr::reference(runtime, "runtime")? };
        let visit = visit.ok_or(Status::Argument)?;
        for conn in runtime.inner.connections() {
            // SAFETY: the caller's function for this user_data.
            if unsafe { visit(user_data, np_conn::of(conn)) } != 0 {
                break;
            }
        }
        Ok(())
    })
}
