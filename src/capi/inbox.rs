//! Inbox: taking input when the host wants it, for hosts with a thread per connection.
//!
//! What waits, and for how long, is the core's business; here frames and bytes change hands.

use super::entry;
use super::frame::{NP_FRAME_COMPRESSED, np_frame};
use super::handle::np_conn;
use super::ptr::{self, Out, Refused};
use super::runtime::limit;
use super::status::np_status;

/// Takes the next frame from the inbox of a connection whose handler has NP_HANDLER_INBOX;
/// waits for it, at most timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). While
/// receiveWindow bytes wait in the inbox, nothing more is read from the peer.
///
/// NP_ERR_CLOSED comes when everything was taken and the peer has ended the stream, or the
/// connection has ended. After the peer's end the connection stays open for answers until
/// NP_ERR_CLOSED was given; with NP_HANDLER_HALF_CLOSE until the host closes it. A connection
/// that has ended counts against maxConnections until everything was taken, or np_conn_close
/// has given up what is left (it may answer NP_ERR_CLOSED, and does so nevertheless).
///
/// Thread: any; inside a callback only with timeout_ms 0; never the thread that polls the
///   connection's loop, unless timeout_ms is 0
/// Blocking: yes, up to timeout_ms
/// Owns: *taken belongs to the caller, until np_frame_free
/// Null: taken must not be NULL
/// Fails: NP_ERR_TIMED_OUT if there is none, NP_ERR_CLOSED, NP_ERR_STATE if the connection has
///   no inbox, no frames, or is not open yet, NP_ERR_IN_CALLBACK, NP_ERR_INVALID_HANDLE,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_recv_frame(
    conn: np_conn,
    timeout_ms: u64,
    taken: *mut np_frame,
) -> np_status {
    entry::about(conn, || {
        // SAFETY: the caller's promise for an output.
        let place = unsafe { Out::new(taken, "taken")? };
        let (data, compressed) = conn.core().recv_frame(limit(timeout_ms))?;
        let flags = if compressed { NP_FRAME_COMPRESSED } else { 0 };
        place.put(np_frame::owned(data, flags));
        Ok(())
    })
}

/// Takes the next bytes of a stream from its inbox into buffer: as many as there are and fit,
/// at least one. Waits for the first, like np_conn_recv_frame.
///
/// Thread: any; inside a callback only with timeout_ms 0; never the thread that polls the
///   connection's loop, unless timeout_ms is 0
/// Blocking: yes, up to timeout_ms
/// Owns: nothing; the bytes are copied
/// Null: neither buffer nor received may be NULL
/// Fails: NP_ERR_TIMED_OUT if there are none, NP_ERR_CLOSED, NP_ERR_STATE if the connection
///   has no inbox, is no stream, or is not open yet, NP_ERR_IN_CALLBACK,
///   NP_ERR_INVALID_HANDLE, NP_ERR_ARGUMENT, also if size is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_recv_bytes(
    conn: np_conn,
    buffer: *mut u8,
    size: usize,
    timeout_ms: u64,
    received: *mut usize,
) -> np_status {
    entry::about(conn, || {
        if size == 0 {
            return Err(Refused::argument("size", "is 0").into());
        }
        // SAFETY: the caller's promise for a buffer and an output.
        let (buffer, place) =
            unsafe { (ptr::slice_mut(buffer, size, "buffer")?, Out::new(received, "received")?) };
        place.put(conn.core().recv_bytes(buffer, limit(timeout_ms))?);
        Ok(())
    })
}
