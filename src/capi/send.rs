//! Sending: frames and bytes on one connection, copied or lent.
//!
//! A frame is taken whole or not at all, and the core answers at once. These are the calls
//! of the fast path: a bare status, no words, and nothing here allocates for a copying send.

use std::ffi::c_void;

use super::entry;
use super::frame::{self, NP_FRAME_NO_COMPRESS, np_frame};
use super::handle::np_conn;
use super::ptr::{self, Out};
use super::status::np_status;
use crate::status::Status;

/// Releases data that was sent without a copy. Is called exactly once, from any thread;
/// must not block.
pub type np_release_fn =
    Option<unsafe extern "C-unwind" fn(release_data: *mut c_void, data: *const u8, len: usize)>;

/// Sends one frame. NP_OK means: it will be sent, in order, or on_close tells how many
/// bytes were not. Inside a callback of this connection a frame is always taken; elsewhere
/// NP_ERR_WOULD_BLOCK means that nothing was taken and on_writable follows. flags: 0 or
/// NP_FRAME_NO_COMPRESS; NP_FRAME_COMPRESSED is ignored. The call compresses data of compressThreshold
/// to compressLimit bytes before it returns: 28 to 58 ms for 1 MiB at the default level 6, in proportion to
/// the size. Larger data is sent as it is.
/// If the send would exceed memoryLimit, the library resets the connections that hold more than
/// this one. If none holds more, this connection ends and the call answers NP_ERR_MEMORY_LIMIT;
/// the same happens if the system has no memory left.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; the data is copied
/// Null: data may be NULL if len is 0
/// Fails: NP_ERR_WOULD_BLOCK, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_STATE if it has
///   no frames or admission is not decided, NP_ERR_FRAME_TOO_LARGE, NP_ERR_MEMORY_LIMIT
///   (the connection ends), NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_send_frame(
    conn: np_conn,
    data: *const u8,
    len: usize,
    flags: u32,
) -> np_status {
    entry::about(conn, || {
        let flags = frame::send_flags(flags)?;
        // SAFETY: the caller's promise for data.
        conn.core().send_frame(unsafe { ptr::slice(data, len, "data")? }, flags)
    })
}

/// Sends several frames in order, each as np_conn_send_frame does with its own flags, and
/// cheaper than one by one. The call compresses all of them before it returns. *accepted is
/// the number of frames taken, counted from the first, also on failure. The array that
/// on_frames was given may be passed on.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; the data is copied or sent before the call returns
/// Null: frames may be NULL if count is 0; accepted may be
/// Fails: as np_conn_send_frame; with NP_ERR_ARGUMENT none was taken
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_send_frames(
    conn: np_conn,
    frames: *const np_frame,
    count: usize,
    accepted: *mut usize,
) -> np_status {
    // SAFETY: the caller's promise for an output, for the frames and their data.
    unsafe {
        entry::taking_about(
            conn,
            || Out::optional(accepted, "accepted").map(|place| place.put(0)),
            |zeroed| {
                zeroed?;
                let place = Out::optional(accepted, "accepted")?;
                let mut taken = 0;
                let result = send_frames(conn, frames, count, &mut taken);
                place.put(taken);
                result
            },
        )
    }
}

/// # Safety
/// The caller's promise for `count` frames and the data of each.
unsafe fn send_frames(
    conn: np_conn,
    frames: *const np_frame,
    count: usize,
    taken: &mut usize,
) -> Result<(), Status> {
    // SAFETY: passed on to the caller.
    let frames = unsafe { ptr::slice(frames, count, "frames")? };
    for frame in frames {
        frame::send_flags(frame.flags)?;
        // SAFETY: passed on to the caller.
        unsafe { ptr::slice(frame.data, frame.len, "frames->data")? };
    }
    let plain = |frame: &np_frame| frame.flags & NP_FRAME_NO_COMPRESS;
    // The core takes one set of flags per call; nearly always this is one round.
    for run in frames.chunk_by(|a, b| plain(a) == plain(b)) {
        let data = run.iter().map(|frame| match frame.len {
            0 => &[][..],
            // SAFETY: `slice` has accepted this pointer and length above.
            len => unsafe { std::slice::from_raw_parts(frame.data, len) },
        });
        let (sent, result) = conn.core().send_frames(data, frame::send_flags(run[0].flags)?);
        *taken += sent;
        result?;
    }
    Ok(())
}

/// Sends one frame, without a copy where that can be: the data belongs to the library until it
/// calls release, exactly once, whatever this answers, perhaps before it returns. What is
/// compressed is copied (NP_FRAME_NO_COMPRESS or `compression = off` spare that), and so is what
/// is below 64 KiB inside a callback of this connection. Worth while from some 16 KiB up. flags
/// as in np_conn_send_frame.
///
/// Thread: any
/// Blocking: no
/// Owns: the data belongs to the library until release(release_data, data, len), also on
///   failure
/// Null: data may be NULL if len is 0; release_data may be; release may be for data that
///   lives for ever
/// Fails: as np_conn_send_frame
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_send_frame_owned(
    conn: np_conn,
    data: *const u8,
    len: usize,
    release: np_release_fn,
    release_data: *mut c_void,
    flags: u32,
) -> np_status {
    entry::taking_about(
        conn,
        || Lent { data, len, release, release_data },
        |lent| {
            // SAFETY: the caller's promise for data. `Lent` relies on this check.
            unsafe { ptr::slice(data, len, "data")? };
            conn.core().send_frame_owned(Box::new(lent), frame::send_flags(flags)?)
        },
    )
}

/// Memory of the host that a send queue refers to.
struct Lent {
    data: *const u8,
    len: usize,
    release: np_release_fn,
    release_data: *mut c_void,
}

// SAFETY: the header says that data may be read and released from any thread.
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        match self.len {
            0 => &[],
            // SAFETY: checked when it was lent, and unchanged until `release`.
            len => unsafe { std::slice::from_raw_parts(self.data, len) },
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: the host's own function for its own data, called once.
            unsafe { release(self.release_data, self.data, self.len) };
        }
    }
}

/// Sends bytes on a stream (NP_PROTOCOL_RELAY, NP_PROTOCOL_UNKNOWN), all or none of them,
/// otherwise as np_conn_send_frame.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; the data is copied
/// Null: data may be NULL if len is 0
/// Fails: NP_ERR_WOULD_BLOCK, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_STATE if it has
///   frames or admission is not decided, NP_ERR_MEMORY_LIMIT (the connection ends), NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_conn_send_bytes(
    conn: np_conn,
    data: *const u8,
    len: usize,
) -> np_status {
    entry::about(conn, || {
        // SAFETY: the caller's promise for data.
        conn.core().send_bytes(unsafe { ptr::slice(data, len, "data")? })
    })
}

/// Holds output back, so that several sends leave together; 256 KiB, sendQueueLimit if that is
/// less, np_conn_shutdown or a close override it. Counts: as many np_conn_uncork let it go.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_cork(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().cork())
}

/// Ends one np_conn_cork; without one nothing happens.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
#[unsafe(no_mangle)]
pub extern "C" fn np_conn_uncork(conn: np_conn) -> np_status {
    entry::about(conn, || conn.core().uncork())
}
