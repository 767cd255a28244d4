//! Frame: a payload with its length, as callbacks are given and array sends take it.
//!
//! Also the one case in which a frame outlives its callback: a copy that the host owns.

use std::ptr::null;

use super::entry;
use super::ptr::{self, Out, Refused};
use super::status::np_status;
use crate::conn::handles::SendFlags;
use crate::frame::MAX_PAYLOAD_BYTES;
use crate::status::Status;

/// The frame came compressed; its data is inflated already. Ignored when sending.
pub const NP_FRAME_COMPRESSED: u32 = 1;
/// When sending: never compress this frame, for example because it is compressed data.
pub const NP_FRAME_NO_COMPRESS: u32 = 2;

/// One frame's payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_frame {
    /// The payload; may be NULL if len is 0.
    pub data: *const u8,
    /// Bytes of payload.
    pub len: usize,
    /// NP_FRAME_ bits.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

impl np_frame {
    const NONE: np_frame = np_frame { data: null(), len: 0, flags: 0, reserved: 0 };

    /// A frame that belongs to the caller, until np_frame_free.
    pub(super) fn owned(data: Vec<u8>, flags: u32) -> np_frame {
        if data.is_empty() {
            return np_frame { flags, ..np_frame::NONE };
        }
        let len = data.len();
        // As a boxed slice, which pointer and length alone describe.
        let memory = Box::into_raw(data.into_boxed_slice());
        np_frame { data: memory.cast(), len, flags, reserved: 0 }
    }
}

/// What the flags of a frame that is sent ask for.
pub(super) fn send_flags(flags: u32) -> Result<SendFlags, Refused> {
    if flags & !(NP_FRAME_COMPRESSED | NP_FRAME_NO_COMPRESS) != 0 {
        return Err(Refused::argument("flags", "has a bit that means nothing"));
    }
    Ok(SendFlags { no_compress: flags & NP_FRAME_NO_COMPRESS != 0 })
}

/// Keeps a frame beyond its callback: copies it to memory of its own. taken may be used
/// from any thread, and until np_frame_free whatever becomes of the connection.
///
/// Thread: any; with a frame of a callback inside that callback
/// Blocking: no
/// Owns: *taken belongs to the caller, until np_frame_free
/// Null: neither may be NULL
/// Fails: NP_ERR_FRAME_TOO_LARGE, NP_ERR_MEMORY_LIMIT if the system has no memory left
///   (no connection ends), NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_frame_take(frame: *const np_frame, taken: *mut np_frame) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for a frame and its data.
        let (data, flags, place) = unsafe {
            let frame = ptr::reference(frame, "frame")?;
            let data = ptr::slice(frame.data, frame.len, "frame->data")?;
            (data, frame.flags, Out::new(taken, "taken")?)
        };
        if data.len() > MAX_PAYLOAD_BYTES {
            return Err(Status::FrameTooLarge);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(data.len()).map_err(|_| Status::MemoryLimit)?;
        copy.extend_from_slice(data);
        place.put(np_frame::owned(copy, flags));
        Ok(())
    })
}

/// Ends a frame that np_frame_take or np_conn_recv_frame has made and sets it to zeros, so that a second call
/// does nothing. data and len must be as that left them.
///
/// Thread: any; not two at once with the same frame
/// Blocking: no
/// Owns: the data is gone
/// Null: taken may be NULL, nothing happens
/// Fails: never
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_frame_free(taken: *mut np_frame) {
    entry::value((), || {
        // SAFETY: the caller's promise for a frame that np_frame_take has written.
        let Ok(place) = (unsafe { Out::new(taken, "taken") }) else {
            return;
        };
        // SAFETY: checked by `place`; the caller's promise says that it is initialised.
        let frame = unsafe { taken.read() };
        place.put(np_frame::NONE);
        if !frame.data.is_null() {
            let memory = std::ptr::slice_from_raw_parts_mut(frame.data.cast_mut(), frame.len);
            // SAFETY: np_frame_take made it from a boxed slice of this length.
            drop(unsafe { Box::from_raw(memory) });
        }
    });
}
