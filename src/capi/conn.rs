//! Connection: what it is, who decides about it, and how it ends.
//!
//! Every function hands its handle to the core, which checks it; there is no pointer to a
//! connection on this side. Answers are a bare status: the reasons of an end arrive with
//! the closed event. Sending is the business of `send`.

use std::any::Any;
use std::ffi::{c_char, c_void};

use super::entry;
use super::handle::{np_address, np_conn, np_destroy_fn};
use super::owned::Owned;
use super::ptr::{self, Out};
use super::runtime::limit;
use super::sized::{Output, Sized32};
use super::status::np_status;
use crate::conn::handles::ConnInfo;

/// What is known about a connection. Set struct_size (NP_CONN_INFO_INIT does). The texts
/// are empty where they do not apply.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_conn_info {
    /// sizeof(np_conn_info), set by the caller.
    pub struct_size: u32,
    /// NP_PROTOCOL_.
    pub protocol: i32,
    /// The port section: the index that its listener was made with.
    pub port_index: u32,
    /// 1 with TLS, otherwise 0.
    pub secure: u32,
    /// 1 if the TLS session was resumed, otherwise 0.
    pub tls_resumed: u32,
    /// 0.
    pub reserved: u32,
    /// Milliseconds since accept.
    pub age_ms: u64,
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames whose send was accepted.
    pub frames_out: u64,
    /// Bytes that wait to be sent.
    pub queued_bytes: u64,
    /// The other side; what the PROXY header says, if there was one.
    pub peer: np_address,
    /// This side.
    pub local: np_address,
    /// "TLSv1.3".
    pub tls_version: [c_char; 16],
    /// The cipher suite, with its IANA name.
    pub tls_suite: [c_char; 64],
    /// The key exchange group, with its IANA name.
    pub tls_group: [c_char; 32],
    /// The ALPN protocol that was agreed on; empty if the client has sent no list, or one with nothing in
    /// common on a port with alpnMismatch = continue.
    pub tls_alpn: [c_char; 256],
    /// The server name that the client asked for.
    pub tls_server_name: [c_char; 256],
}

// SAFETY: repr(C), members of descending alignment in whole multiples, all of them plain.
unsafe impl Sized32 for np_conn_info {
    const FIRST: usize = 840;
    const INIT: &'static str = "NP_CONN_INFO_INIT";
}

const _: () = assert!(size_of::<np_conn_info>() == 840);

impl np_conn_info {
    fn of(info: &ConnInfo) -> np_conn_info {
        let mut out = np_conn_info {
            struct_size: size_of::<np_conn_info>() as u32,
            protocol: info.protocol as i32,
            port_index: info.listener_port_index,
            secure: info.tls.is_some().into(),
            tls_resumed: 0,
            reserved: 0,
            age_ms: info.age_ms,
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            frames_in: info.frames_in,
            frames_out: info.frames_out,
            queued_bytes: info.queued_bytes,
            peer: np_address::of(info.peer),
            local: np_address::of(info.local),
            tls_version: [0; 16],
            tls_suite: [0; 64],
            tls_group: [0; 32],
            tls_alpn: [0; 256],
            tls_server_name: [0; 256],
        };
        if let Some(tls) = &info.tls {
            out.tls_resumed = tls.resumed.into();
            ptr::fill(&mut out.tls_version, tls.version);
            ptr::fill(&mut out.tls_suite, &tls.suite);
            ptr::fill(&mut out.tls_group, tls.group);
            ptr::fill(&mut out.tls_alpn, tls.alpn.as_deref().unwrap_or(""));
            ptr::fill(&mut out.tls_server_name, tls.server_name.as_deref().unwrap_or(""));
        }
        out
    }
}

/// Answers on_admit with yes: the connection is opened.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_STATE if it was decided before or nobody asked, NP_ERR_CLOSED,
///   NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_admit(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().admit())
}

/// Answers on_admit with no: the bytes, at most 1 MiB, are sent raw, without an answer byte,
/// and the connection is closed with NP_CLOSE_ADMISSION_REFUSED.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; the bytes are copied
/// Null: data may be NULL if len is 0
/// Fails: NP_ERR_STATE if it was decided before or nobody asked, NP_ERR_CLOSED,
///   NP_ERR_INVALID_HANDLE, NP_ERR_TOO_LARGE, NP_ERR_MEMORY_LIMIT if the system has no memory
///   left (the connection does not end and can still be decided), NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_refuse(conn: np_conn, data: *const u8, len: usize) -> np_status {
    entry::about(conn, || {
        // SAFETY: the caller's promise for data.
        conn.core().refuse(unsafe { ptr::slice(data, len, "data")? })
    })
}

/// Reads nothing more until np_conn_resume_reading, so that the peer is slowed down. What
/// was read already may still arrive. frameTimeout and idleTimeout stand still meanwhile.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_pause_reading(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().pause_reading())
}

/// Ends np_conn_pause_reading.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_resume_reading(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().resume_reading())
}

/// Tells the peer, behind everything that was sent, that nothing more follows (FIN, with
/// TLS close_notify). Receiving goes on; sends answer NP_ERR_CLOSED.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_STATE before admission is decided, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_shutdown(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().shutdown())
}

/// Sends what is queued, then ends the connection. The library resets it earlier if the peer
/// acknowledges nothing for writeTimeout, or after closeTimeout in all. np_conn_abort and
/// np_conn_set_deadline also cut it (so do a drain deadline and memoryLimit). After the return,
/// sends answer NP_ERR_CLOSED. A callback that is already running or starting on another thread
/// may finish; after that only on_close follows: free there what callbacks use. host_code is a
/// number of the host's own, for on_close and the log.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED if it is closed or closing already, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_close(conn: np_conn, host_code: i32) -> np_status {
    entry::about(conn, || conn.core().close(host_code))
}

/// Ends the connection at once, with a reset; on_close tells how many bytes were not sent.
/// Otherwise as np_conn_close; after it, it cuts the flush short.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED if it has ended, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_abort(conn: np_conn, host_code: i32) -> np_status {
    entry::about(conn, || conn.core().abort(host_code))
}

/// Closes the connection with NP_CLOSE_HOST_DEADLINE when after_ms milliseconds have
/// passed from now: for logins and requests. Replaces the one before; NP_FOREVER takes it
/// away. On a connection that is closing already, the deadline cuts the flush: the connection is
/// reset then, on_close reports the unsent bytes, and the reason stays that of the close. A deadline
/// from before the close has no effect on the flush.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED if it has ended, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_set_deadline(conn: np_conn, after_ms: u64) -> np_status {
    entry::about(conn, || conn.core().set_deadline(limit(after_ms)))
}

/// Writes what is known about the connection.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: info must not be NULL
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_get_info(conn: np_conn, info: *mut np_conn_info) -> np_status {
    entry::about(conn, || {
        // SAFETY: the caller's promise for an output struct.
        let output = unsafe { Output::new(info, "info")? };
        output.put(&np_conn_info::of(&conn.core().info()?));
        Ok(())
    })
}

/// Hangs a pointer of the host's on the connection. The one before is released; the last
/// one after on_close has returned.
///
/// Thread: any
/// Blocking: no
/// Owns: user_data belongs to the library, also on failure; destroy releases it once
/// Null: user_data and destroy may be NULL
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_set_user_data(
    conn: np_conn,
    user_data: *mut c_void,
    destroy: np_destroy_fn,
) -> np_status {
    entry::taking_about(
        conn,
        || Owned::new(user_data, destroy),
        |owned| {
            let nothing = user_data.is_null() && destroy.is_none();
            conn.core().set_user_data(if nothing { None } else { Some(Box::new(owned)) })
        },
    )
}

/// Gives the pointer that np_conn_set_user_data has set; NULL if there is none.
///
/// Thread: only inside callbacks of this connection, or the one that polls its loop, so that
///   it cannot be released meanwhile
/// Blocking: no
/// Owns: nothing; the pointer is valid until the callback returns, the loop is polled again, or
///   another one is set
/// Null: user_data must not be NULL
/// Fails: NP_ERR_STATE on any other thread, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_get_user_data(
    conn: np_conn,
    user_data: *mut *mut c_void,
) -> np_status {
    entry::about(conn, || {
        // SAFETY: the caller's promise for an output.
        let place = unsafe { Out::new(user_data, "user_data")? };
        let pointer = conn.core().with_user_data(|data: Option<&(dyn Any + Send)>| {
            data.and_then(|data| data.downcast_ref::<Owned>()).map(Owned::pointer)
        })?;
        place.put(pointer.unwrap_or(std::ptr::null_mut()));
        Ok(())
    })
}
