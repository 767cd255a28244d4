//! Poll: loops that the host's own threads drive, and the events that they give.
//!
//! What an event points to lives in the core's loop until the next poll; here it only gets C's
//! shape, in arrays that the `np_loop` keeps until then.
//!
//! `put` is long: one arm for each kind of event.

use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Arc;

use parking_lot::Mutex;

use super::callback::close_info;
use super::entry;
use super::frame::{NP_FRAME_COMPRESSED, np_frame};
use super::handle::np_conn;
use super::handler::np_close_info;
use super::ptr::{self, Out, Refused};
use super::runtime::{limit, np_log_record, np_runtime};
use super::status::{np_error, np_status};
use crate::runtime::poll_loop::{Batch, PollLoop, PolledFrame, What};
use crate::status::{Error, Status};

/// One loop of a runtime with NP_CONSUMER_POLL: the host's thread that polls it moves the
/// bytes of its connections.
pub struct np_loop {
    inner: Arc<PollLoop>,
    shown: Mutex<Shown>,
}

/// The host is asked; it answers with np_conn_admit or np_conn_refuse. protocol and first_byte
/// are set; user_data is that of np_listener_on_admit.
pub const NP_EVENT_ADMIT: i32 = 1;
/// The connection may be used. protocol and first_byte are set.
pub const NP_EVENT_OPEN: i32 = 2;
/// Whole frames, in order: count of them at frames.
pub const NP_EVENT_FRAMES: i32 = 3;
/// The next bytes of a stream: count of them at data.
pub const NP_EVENT_DATA: i32 = 4;
/// The peer will send nothing more; the host closes. Only with NP_HANDLER_HALF_CLOSE: without
/// it the library closes when the host polls again and what was sent is flushed.
pub const NP_EVENT_END: i32 = 5;
/// The send queue has room again after a send answered NP_ERR_WOULD_BLOCK.
pub const NP_EVENT_WRITABLE: i32 = 6;
/// The end: close is set. The handle answers NP_ERR_CLOSED from the next poll on.
pub const NP_EVENT_CLOSE: i32 = 7;
/// A line of the log: log is set. Comes after np_runtime_set_log with a level and no callback.
pub const NP_EVENT_LOG: i32 = 8;

/// The size of a loop's read buffer if none is asked for, in bytes.
pub const NP_LOOP_BUFFER_SIZE: usize = 262144;
/// The smallest size of a loop's read buffer, in bytes.
pub const NP_LOOP_BUFFER_MIN_SIZE: usize = 65536;
/// The largest size of a loop's read buffer, in bytes.
pub const NP_LOOP_BUFFER_MAX_SIZE: usize = 67108864;

/// Something happened. Events of one connection come in the order of np_handler's callbacks.
/// What it points to is valid until the next poll of the same loop.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_event {
    /// NP_EVENT_. Ignore kinds that you do not know.
    pub kind: i32,
    /// NP_PROTOCOL_ where the kind says so, otherwise 0.
    pub protocol: i32,
    /// The connection; NP_CONN_NONE if none is meant.
    pub conn: np_conn,
    /// That of the handler; of NP_EVENT_ADMIT, and of the NP_EVENT_CLOSE of a connection that was
    /// never opened, that of np_listener_on_admit.
    pub user_data: *mut c_void,
    /// Frames, or bytes of data.
    pub count: usize,
    /// NULL unless the kind says so.
    pub frames: *const np_frame,
    /// NULL unless the kind says so.
    pub data: *const u8,
    /// NULL unless the kind says so.
    pub close: *const np_close_info,
    /// NULL unless the kind says so.
    pub log: *const np_log_record,
    /// The first byte where the kind says so, otherwise 0.
    pub first_byte: u32,
    /// 0.
    pub reserved: u32,
}

impl np_event {
    const NONE: np_event = np_event {
        kind: 0,
        protocol: 0,
        conn: np_conn { id: 0 },
        user_data: null_mut(),
        count: 0,
        frames: null(),
        data: null(),
        close: null(),
        log: null(),
        first_byte: 0,
        reserved: 0,
    };
}

/// What the events of the last poll point to, in C's shape.
#[derive(Default)]
struct Shown {
    frames: Vec<np_frame>,
    closes: Vec<(np_close_info, CString)>,
    records: Vec<(np_log_record, [CString; 2])>,
}

// SAFETY: the pointers lead to memory of the loop, which is not touched through them here.
unsafe impl Send for Shown {}

impl Shown {
    /// Writes the events of a batch, and gives how many there were.
    ///
    /// # Safety
    /// `events` is writable for as many as the batch has.
    unsafe fn put(&mut self, mut batch: Batch<'_>, events: *mut np_event) -> usize {
        self.frames.clear();
        self.closes.clear();
        self.records.clear();
        let mut count = 0;
        while let Some(event) = batch.next() {
            let token = event.handler.map_or(0, |handler| handler.token());
            let mut out = np_event {
                conn: np_conn::of(event.conn),
                user_data: with_exposed_provenance_mut(token),
                ..np_event::NONE
            };
            match event.what {
                What::Admit { protocol, first_byte } => {
                    out.kind = NP_EVENT_ADMIT;
                    (out.protocol, out.first_byte) = (protocol as i32, first_byte.into());
                }
                What::Opened { protocol, first_byte } => {
                    out.kind = NP_EVENT_OPEN;
                    (out.protocol, out.first_byte) = (protocol as i32, first_byte.into());
                }
                What::Frames { first, count } => {
                    out.kind = NP_EVENT_FRAMES;
                    out.count = count;
                    let frames = &batch.frames()[first..first + count];
                    self.frames.extend(frames.iter().map(np_frame::polled));
                }
                What::Data(place) => {
                    out.kind = NP_EVENT_DATA;
                    (out.data, out.count) = (with_exposed_provenance(place.address), place.len);
                }
                What::End => out.kind = NP_EVENT_END,
                What::Writable => out.kind = NP_EVENT_WRITABLE,
                What::Closed(info) => {
                    out.kind = NP_EVENT_CLOSE;
                    self.closes.push(close_info(&info));
                }
                What::Log(record) => {
                    out.kind = NP_EVENT_LOG;
                    let text =
                        |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
                    let texts = [text(record.stage), text(&record.text)];
                    let shown = np_log_record {
                        struct_size: size_of::<np_log_record>() as u32,
                        level: record.level as i32,
                        conn: np_conn { id: record.conn },
                        stage: texts[0].as_ptr(),
                        text: texts[1].as_ptr(),
                    };
                    self.records.push((shown, texts));
                }
            }
            // SAFETY: the caller's promise.
            unsafe { events.add(count).write(out) };
            count += 1;
        }
        // The arrays have their places now.
        let mut frames = self.frames.as_ptr();
        let mut closes = self.closes.iter();
        let mut records = self.records.iter();
        for index in 0..count {
            // SAFETY: written above.
            let event = unsafe { &mut *events.add(index) };
            match event.kind {
                NP_EVENT_FRAMES => {
                    event.frames = frames;
                    frames = frames.wrapping_add(event.count);
                }
                NP_EVENT_CLOSE => event.close = closes.next().map_or(null(), |(info, _)| info),
                NP_EVENT_LOG => event.log = records.next().map_or(null(), |(record, _)| record),
                _ => {}
            }
        }
        count
    }
}

impl np_frame {
    fn polled(frame: &PolledFrame) -> np_frame {
        np_frame {
            data: with_exposed_provenance(frame.data.address),
            len: frame.data.len,
            flags: if frame.compressed { NP_FRAME_COMPRESSED } else { 0 },
            reserved: 0,
        }
    }
}

/// A read buffer of the host's.
struct HostBuffer {
    pointer: *mut u8,
    len: usize,
}

// SAFETY: the header demands that the host only reads it, and not during a poll.
unsafe impl Send for HostBuffer {}

impl AsMut<[u8]> for HostBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the promise of np_loop_new's caller, until the loop has ended; what is in it
        // are bytes, whatever they are.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

/// Makes a loop of a runtime with NP_CONSUMER_POLL, before the first of its listeners starts.
/// Connections are dealt to all loops of the runtime; ioThreads is no more than advice how
/// many to make. Input is read into buffer, size bytes of it; the larger, the more a poll can
/// give. With buffer NULL the loop has its own, of NP_LOOP_BUFFER_SIZE bytes if size is 0.
///
/// Thread: any
/// Blocking: no
/// Owns: *loop belongs to the caller, until np_loop_free; buffer stays the caller's, must
///   live until np_loop_poll has answered NP_ERR_STOPPED or the loop or the runtime is freed,
///   and may be read between polls
/// Null: buffer and error may be NULL
/// Fails: NP_ERR_STATE if a listener has started or the runtime is not polled,
///   NP_ERR_STOPPED, NP_ERR_NO_DESCRIPTORS, NP_ERR_IO, NP_ERR_MEMORY_LIMIT if the system has no
///   memory for the buffer (no connection ends), NP_ERR_ARGUMENT, also if size is below
///   NP_LOOP_BUFFER_MIN_SIZE or above NP_LOOP_BUFFER_MAX_SIZE
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_loop_new(
    runtime: *mut np_runtime,
    buffer: *mut u8,
    size: usize,
    r#loop: *mut *mut np_loop,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error, an object, a buffer and an output.
    unsafe {
        entry::error(error, || {
            let runtime = ptr::reference(runtime, "runtime")?;
            let place = Out::new(r#loop, "loop")?;
            let len = if buffer.is_null() && size == 0 { NP_LOOP_BUFFER_SIZE } else { size };
            if !(NP_LOOP_BUFFER_MIN_SIZE..=NP_LOOP_BUFFER_MAX_SIZE).contains(&len) {
                let message = format!(
                    "size is {len}; a read buffer has NP_LOOP_BUFFER_MIN_SIZE \
                     ({NP_LOOP_BUFFER_MIN_SIZE}) to NP_LOOP_BUFFER_MAX_SIZE \
                     ({NP_LOOP_BUFFER_MAX_SIZE}) bytes"
                );
                return Err(Error::new(Status::Argument, message));
            }
            let memory: Box<dyn AsMut<[u8]> + Send> = if buffer.is_null() {
                Box::new(zeros(len)?)
            } else {
                Box::new(HostBuffer { pointer: buffer, len })
            };
            let inner = PollLoop::new(&runtime.inner, memory)?;
            place.put(Box::into_raw(Box::new(np_loop { inner, shown: Mutex::default() })));
            Ok(())
        })
    }
}

/// A buffer of zeros, unless there is no memory for it.
fn zeros(len: usize) -> Result<Vec<u8>, Error> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(len).map_err(|_| {
        let message = format!("the system has no memory for a read buffer of {len} bytes");
        Error::new(Status::MemoryLimit, message)
    })?;
    memory.resize(len, 0);
    Ok(memory)
}

/// Moves bytes and gives events: at most capacity of them, *count of them, to events. Waits
/// for the first, at most timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). With
/// NP_OK *count may be 0: the time passed, or np_loop_wake was called.
///
/// What the events point to, and the handles of connections whose NP_EVENT_CLOSE they are, is
/// valid until the next poll of the same loop: that tells the library that all of it has been
/// consumed. Unlike in callbacks, a send to a connection whose queue is full answers
/// NP_ERR_WOULD_BLOCK. Poll soon again: nothing of the loop moves in between.
///
/// Thread: any, one at a time
/// Blocking: yes, up to timeout_ms
/// Owns: the events are copied out; what they point to stays the library's
/// Null: none may be NULL
/// Fails: NP_ERR_STOPPED when all listeners have ended after a stop and everything was told
///   (np_runtime_wait then needs no more polls), NP_ERR_STATE
///   while another thread polls it, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT, also if capacity is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_loop_poll(
    r#loop: *mut np_loop,
    events: *mut np_event,
    capacity: usize,
    timeout_ms: u64,
    count: *mut usize,
) -> np_status {
    entry::status(|| {
        if capacity == 0 {
            return Err(Refused::argument("capacity", "is 0").into());
        }
        // SAFETY: the caller's promise for an object, an array and an output.
        let (polled, place) = unsafe {
            ptr::slice_mut(events.cast::<std::mem::MaybeUninit<np_event>>(), capacity, "events")?;
            (ptr::reference(r#loop, "loop")?, Out::new(count, "count")?)
        };
        if crate::base::host::in_callback() {
            return Err(Status::InCallback);
        }
        let count = polled.inner.poll(capacity, limit(timeout_ms), |batch| {
            // SAFETY: there is room for `capacity`, and the batch has no more.
            unsafe { polled.shown.lock().put(batch, events) }
        })?;
        place.put(count);
        Ok(())
    })
}

/// Lets the poll of this loop that is under way return early, or else the next one.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: loop must not be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_loop_wake(r#loop: *mut np_loop) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object.
        unsafe { ptr::reference(r#loop, "loop")? }.inner.wake();
        Ok(())
    })
}

/// Frees a loop that has ended (np_loop_poll answered NP_ERR_STOPPED, or the runtime is freed)
/// or was never used (no listener has started, and it is the loop that was made last).
///
/// Thread: any; no other call with this pointer may be under way or follow
/// Blocking: no
/// Owns: loop is gone, except with NP_ERR_STATE
/// Null: loop may be NULL, nothing happens
/// Fails: NP_ERR_STATE while it is in use, and nothing is freed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_loop_free(r#loop: *mut np_loop) -> np_status {
    entry::status(|| {
        if r#loop.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise for an object.
        let used = unsafe { ptr::reference(r#loop, "loop")? };
        used.inner.retire().map_err(|error| error.status)?;
        // SAFETY: np_loop_new made it with Box, and the caller gives it back.
        drop(unsafe { Box::from_raw(r#loop) });
        Ok(())
    })
}
