//! Listener: one port section, made, started, paused and ended.
//!
//! Holds the core's `Listener`. Registering functions take the host's table apart and give
//! the core a handler that speaks for it.

use std::sync::Arc;

use super::callback::{AdmissionHandler, TableHandler};
use super::config::np_config;
use super::entry;
use super::handle::np_address;
use super::handler::{self, np_admission, np_handler};
use super::owned::Owned;
use super::ptr::{self, Out};
use super::runtime::{limit, np_runtime};
use super::sized;
use super::status::{np_error, np_status};
use crate::base::host;
use crate::runtime::listener::Listener;
use crate::status::Status;

/// One port that is listened on.
pub struct np_listener {
    pub(super) inner: Listener,
}

/// Makes a listener from the port section with this index (np_config_port_count). It does
/// not listen before np_listener_start. What is doubtful in the configuration of this port, such
/// as a key that means nothing, goes to the runtime's log, each once.
///
/// Thread: any
/// Blocking: no; it reads certificates and keys
/// Owns: *listener belongs to the caller, until np_listener_free; config is copied; the
///   runtime may be freed before or after
/// Null: only error may be NULL
/// Fails: NP_ERR_NOT_FOUND if there are not so many ports, NP_ERR_CONFIG,
///   NP_ERR_CERTIFICATE, NP_ERR_STOPPED, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_new(
    runtime: *mut np_runtime,
    config: *const np_config,
    port_index: u32,
    listener: *mut *mut np_listener,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error, objects and an output.
    unsafe {
        entry::error(error, || {
            let runtime = ptr::reference(runtime, "runtime")?;
            let config = ptr::reference(config, "config")?;
            let place = Out::new(listener, "listener")?;
            let config = config.inner.lock().clone();
            let inner = Listener::new(&runtime.inner, &config, port_index as usize)?;
            place.put(Box::into_raw(Box::new(np_listener { inner })));
            Ok(())
        })
    }
}

/// Sets the callbacks of one protocol, before the start. A second call replaces the first,
/// whose user_data is released. Connections of a protocol without callbacks are closed with
/// NP_CLOSE_NO_HANDLER; the log tells their first byte and port.
///
/// Thread: any
/// Blocking: no
/// Owns: handler->user_data belongs to the library, also on failure; handler->destroy
///   releases it once; the table itself is copied
/// Null: only error may be NULL
/// Fails: NP_ERR_STATE after the start, NP_ERR_UNSUPPORTED for members that this version does
///   not know, NP_ERR_ARGUMENT, also for a table that does not fit the runtime's consumer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_on(
    listener: *mut np_listener,
    protocol: i32,
    handler: *const np_handler,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error, an object and a table.
    unsafe {
        entry::registering(
            error,
            || Owned::of_table(handler),
            |owned| {
                let listener = ptr::reference(listener, "listener")?;
                let protocol = handler::protocol(protocol)?;
                let table = sized::read(handler, "handler")?;
                table.check(protocol, listener.inner.consumer())?;
                listener.inner.on(protocol, Arc::new(TableHandler { table, owned }))
            },
        )
    }
}

/// Asks the host about every connection before it is opened, whatever its protocol. Set
/// before the start; a second call replaces the first, whose user_data is released.
///
/// Thread: any
/// Blocking: no
/// Owns: admission->user_data belongs to the library, also on failure; admission->destroy
///   releases it once; the table itself is copied
/// Null: only error may be NULL
/// Fails: NP_ERR_STATE after the start, NP_ERR_UNSUPPORTED for members that this version
///   does not know, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_on_admit(
    listener: *mut np_listener,
    admission: *const np_admission,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error, an object and a table.
    unsafe {
        entry::registering(
            error,
            || Owned::of_table(admission),
            |owned| {
                let listener = ptr::reference(listener, "listener")?;
                let table = sized::read(admission, "admission")?;
                table.check(listener.inner.consumer())?;
                listener.inner.on_admit(Arc::new(AdmissionHandler { table, owned }))
            },
        )
    }
}

/// Binds and listens, on all addresses or on none. At least one np_listener_on must have
/// succeeded before. From here on callbacks may run, also before this returns. After a failure
/// it may be tried again, unless that was NP_ERR_NO_THREADS: then the listener has ended.
///
/// Thread: any
/// Blocking: no; a host name in bindAddress is looked up
/// Owns: nothing
/// Null: listener must not be NULL; error may be
/// Fails: NP_ERR_ADDRESS_IN_USE, NP_ERR_ADDRESS_NOT_AVAILABLE, NP_ERR_PERMISSION_DENIED,
///   NP_ERR_NO_DESCRIPTORS, NP_ERR_NO_THREADS, NP_ERR_IO, NP_ERR_STATE if it was started
///   already, has no handler, or its runtime is polled and has no loop, NP_ERR_STOPPED,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_start(
    listener: *mut np_listener,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error and an object.
    unsafe { entry::error(error, || ptr::reference(listener, "listener")?.inner.start()) }
}

/// The addresses that are listened on, index from 0. With "port = 0" this tells the port.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: neither may be NULL
/// Fails: NP_ERR_NOT_FOUND if there are not so many, and before the start;
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_get_address(
    listener: *const np_listener,
    index: u32,
    address: *mut np_address,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and an output.
        let (listener, place) =
            unsafe { (ptr::reference(listener, "listener")?, Out::new(address, "address")?) };
        let addresses = listener.inner.addresses();
        place.put(np_address::of(*addresses.get(index as usize).ok_or(Status::NotFound)?));
        Ok(())
    })
}

/// Accepts nothing from the return on until np_listener_resume; new connections wait in the
/// backlog of the operating system. Established ones go on.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: listener must not be NULL
/// Fails: NP_ERR_STATE before the start, NP_ERR_STOPPED, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_pause(listener: *mut np_listener) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let listener = unsafe { ptr::reference(listener, "listener")? };
        listener.inner.pause().map_err(|error| error.status)
    })
}

/// Ends np_listener_pause.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: listener must not be NULL
/// Fails: NP_ERR_STATE before the start, NP_ERR_STOPPED, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_resume(listener: *mut np_listener) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let listener = unsafe { ptr::reference(listener, "listener")? };
        listener.inner.resume().map_err(|error| error.status)
    })
}

/// Begins to stop this port and returns, as np_runtime_stop does for all. After the return no
/// connection is accepted and the address can be bound again; the system resets connections that
/// wait in the backlog. np_listener_start, if it is running on another thread, answers
/// NP_ERR_STOPPED. The address is free after np_listener_start has returned.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: listener must not be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_stop(listener: *mut np_listener, drain_ms: u64) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let listener = unsafe { ptr::reference(listener, "listener")? };
        listener.inner.stop(drain_ms).map_err(|error| error.status)
    })
}

/// Waits until a stop has ended this port, its connections and its accepter threads, at most
/// timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). Where events are polled, the
/// end comes only while the host polls.
///
/// Thread: any; inside a callback, in last destructors on threads of the library, and on a thread
///   that polls, only with timeout_ms 0
/// Blocking: yes, up to timeout_ms
/// Owns: nothing
/// Null: listener must not be NULL
/// Fails: NP_ERR_TIMED_OUT, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_wait(
    listener: *mut np_listener,
    timeout_ms: u64,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        let listener = unsafe { ptr::reference(listener, "listener")? };
        listener.inner.wait(limit(timeout_ms)).map_err(|error| error.status)
    })
}

/// Stops with drain_ms 0, waits for the end and frees. Where events are polled it does not
/// wait: the end comes with the polls.
///
/// Thread: any, but not inside a callback; no other call with this pointer may be under way
///   or follow
/// Blocking: yes, until the callbacks of its connections have returned
/// Owns: listener is gone, except with NP_ERR_IN_CALLBACK
/// Null: listener may be NULL, nothing happens
/// Fails: NP_ERR_IN_CALLBACK, and nothing is freed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_listener_free(listener: *mut np_listener) -> np_status {
    entry::status(|| {
        if listener.is_null() {
            return Ok(());
        }
        if host::in_callback() {
            return Err(Status::InCallback);
        }
        // SAFETY: np_listener_new made it with Box, and the caller gives it back. The
        // core's destructor stops and waits.
        drop(unsafe { Box::from_raw(listener) });
        Ok(())
    })
}
