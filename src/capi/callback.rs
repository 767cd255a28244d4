//! Callback: the tables of the header as handlers of the core.
//!
//! An event becomes one call of the host's function, with the event's data in C's shape; no
//! batch allocates. When which event comes is the core's business, and so is what happens
//! when a callback panics. The core drops a handler after its last call; that releases the
//! user data (`owned`).

use std::cell::Cell;
use std::ffi::CString;

use super::frame::{NP_FRAME_COMPRESSED, np_frame};
use super::handle::np_conn;
use super::handler::{
    NP_HANDLER_HALF_CLOSE, NP_HANDLER_INBOX, np_admission, np_close_info, np_handler,
};
use super::owned::Owned;
use crate::conn::handles::Conn;
use crate::event::{CloseInfo, Event, Frames, Handler};

/// A `np_handler` as the core calls it.
pub(super) struct TableHandler {
    pub(super) table: np_handler,
    pub(super) owned: Owned,
}

// SAFETY: the table holds functions, which the header allows to be called from any
// thread, and a copy of the pointer that `owned` speaks for.
unsafe impl Send for TableHandler {}
// SAFETY: likewise.
unsafe impl Sync for TableHandler {}

impl Handler for TableHandler {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        let handle = np_conn::of(conn);
        let user_data = self.owned.pointer();
        let table = &self.table;
        // SAFETY: in every arm the function is the host's own for this user_data, which
        // `owned` keeps alive, and what it is shown is valid until it returns.
        match event {
            // Admission has a handler of its own.
            Event::Admit { .. } => {}
            Event::Opened { protocol, first_byte } => {
                if let Some(on_open) = table.on_open {
                    unsafe { on_open(user_data, handle, protocol as i32, first_byte) }
                }
            }
            Event::Frames(frames) => {
                if let Some(on_frames) = table.on_frames {
                    with_frames(&frames, |frames| unsafe {
                        on_frames(user_data, handle, frames.as_ptr(), frames.len())
                    });
                }
            }
            Event::Data(data) => {
                if let Some(on_data) = table.on_data {
                    unsafe { on_data(user_data, handle, data.as_ptr(), data.len()) }
                }
            }
            Event::End => {
                if let Some(on_end) = table.on_end {
                    unsafe { on_end(user_data, handle) }
                }
            }
            Event::Writable => {
                if let Some(on_writable) = table.on_writable {
                    unsafe { on_writable(user_data, handle) }
                }
            }
            Event::Closed(info) => {
                if let Some(on_close) = table.on_close {
                    with_close_info(info, |info| unsafe { on_close(user_data, handle, info) });
                }
            }
        }
    }

    fn wants_end(&self) -> bool {
        self.table.on_end.is_some() || self.table.flags & NP_HANDLER_HALF_CLOSE != 0
    }

    fn wants_inbox(&self) -> bool {
        self.table.flags & NP_HANDLER_INBOX != 0
    }

    fn token(&self) -> usize {
        self.owned.pointer().expose_provenance()
    }
}

/// A `np_admission` as the core calls it.
pub(super) struct AdmissionHandler {
    pub(super) table: np_admission,
    pub(super) owned: Owned,
}

// SAFETY: as for `TableHandler`.
unsafe impl Send for AdmissionHandler {}
// SAFETY: as for `TableHandler`.
unsafe impl Sync for AdmissionHandler {}

impl Handler for AdmissionHandler {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        let handle = np_conn::of(conn);
        let user_data = self.owned.pointer();
        match event {
            Event::Admit { protocol, first_byte } => {
                if let Some(on_admit) = self.table.on_admit {
                    // SAFETY: the host's own function for this user_data.
                    unsafe { on_admit(user_data, handle, protocol as i32, first_byte) }
                }
            }
            Event::Closed(info) => {
                if let Some(on_close) = self.table.on_close {
                    // SAFETY: likewise; the info is valid until it returns.
                    with_close_info(info, |info| unsafe { on_close(user_data, handle, info) });
                }
            }
            _ => {}
        }
    }

    fn token(&self) -> usize {
        self.owned.pointer().expose_provenance()
    }
}

thread_local! {
    /// The array that `with_frames` fills. Its capacity settles at the largest batch that
    /// a read buffer holds, so that no batch allocates.
    static FRAMES: Cell<Vec<np_frame>> = const { Cell::new(Vec::new()) };
}

fn with_frames(frames: &Frames<'_>, call: impl FnOnce(&[np_frame])) {
    // Taken out for the call: whatever the callback does, nobody else sees the array.
    let mut array = FRAMES.take();
    array.clear();
    array.extend(frames.iter().map(|frame| np_frame {
        data: frame.data.as_ptr(),
        len: frame.data.len(),
        flags: if frame.compressed { NP_FRAME_COMPRESSED } else { 0 },
        reserved: 0,
    }));
    call(&array);
    FRAMES.set(array);
}

fn with_close_info(info: &CloseInfo, call: impl FnOnce(&np_close_info)) {
    let (shown, _text) = close_info(info);
    call(&shown);
}

/// In C's shape, with the text that it points to.
pub(super) fn close_info(info: &CloseInfo) -> (np_close_info, CString) {
    // A NUL inside would end the text for C; the texts are ours and have none, but a
    // peer's certificate may be quoted in them.
    let text = match info.text.is_empty() {
        true => CString::default(),
        false => CString::new(info.text.replace('\0', " ")).unwrap_or_default(),
    };
    let shown = np_close_info {
        struct_size: size_of::<np_close_info>() as u32,
        reason: info.reason.code(),
        by: info.by as i32,
        stage: info.stage as i32,
        host_code: info.host_code,
        os_error: info.os_error,
        tls_alert: info.tls_alert,
        reserved: 0,
        bytes_in: info.bytes_in,
        bytes_out: info.bytes_out,
        unsent_bytes: info.unsent_bytes,
        duration_ms: info.duration_ms,
        text: text.as_ptr(),
    };
    (shown, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FrameSpan, Party, Protocol, Stage};
    use crate::status::CloseReason;
    use std::ffi::{CStr, c_void};
    use std::sync::Mutex;

    type Told = Mutex<Vec<String>>;

    /// # Safety
    /// `user_data` is a `Told`.
    unsafe fn tell(user_data: *mut c_void, line: String) {
        // SAFETY: passed on.
        unsafe { &*user_data.cast::<Told>() }.lock().unwrap().push(line);
    }

    unsafe extern "C-unwind" fn destroy(user_data: *mut c_void) {
        unsafe { tell(user_data, "destroy".into()) }
    }

    unsafe extern "C-unwind" fn on_open(user: *mut c_void, conn: np_conn, kind: i32, first: u8) {
        unsafe { tell(user, format!("open {} {kind} {first}", conn.id)) }
    }

    unsafe extern "C-unwind" fn on_frames(
        user: *mut c_void,
        conn: np_conn,
        frames: *const np_frame,
        count: usize,
    ) {
        let mut line = format!("frames {}", conn.id);
        for frame in unsafe { std::slice::from_raw_parts(frames, count) } {
            let data = unsafe { std::slice::from_raw_parts(frame.data, frame.len) };
            line += &format!(" {}:{}", String::from_utf8_lossy(data), frame.flags);
        }
        unsafe { tell(user, line) }
    }

    unsafe extern "C-unwind" fn on_data(user: *mut c_void, _: np_conn, data: *const u8, n: usize) {
        let data = unsafe { std::slice::from_raw_parts(data, n) };
        unsafe { tell(user, format!("data {}", String::from_utf8_lossy(data))) }
    }

    unsafe extern "C-unwind" fn on_end(user: *mut c_void, _: np_conn) {
        unsafe { tell(user, "end".into()) }
    }

    unsafe extern "C-unwind" fn on_writable(user: *mut c_void, _: np_conn) {
        unsafe { tell(user, "writable".into()) }
    }

    unsafe extern "C-unwind" fn on_close(
        user: *mut c_void,
        _: np_conn,
        info: *const np_close_info,
    ) {
        let info = unsafe { &*info };
        let text = unsafe { CStr::from_ptr(info.text) }.to_string_lossy();
        let line = format!("close {} {} {} {text}", info.reason, info.by, info.stage);
        unsafe { tell(user, line) }
    }

    fn closed(text: &str) -> CloseInfo {
        CloseInfo {
            reason: CloseReason::TlsFailed,
            by: Party::Library,
            stage: Stage::Tls,
            host_code: 0,
            os_error: 0,
            tls_alert: 42,
            bytes_in: 1,
            bytes_out: 2,
            unsent_bytes: 3,
            duration_ms: 4,
            text: text.into(),
        }
    }

    fn handler(told: &Told, on_end: bool) -> TableHandler {
        let user_data = (&raw const *told).cast_mut().cast();
        let table = np_handler {
            struct_size: size_of::<np_handler>() as u32,
            flags: 0,
            user_data,
            destroy: Some(destroy),
            on_open: Some(on_open),
            on_frames: Some(on_frames),
            on_data: Some(on_data),
            on_end: if on_end { Some(self::on_end) } else { None },
            on_writable: Some(on_writable),
            on_close: Some(on_close),
        };
        // SAFETY: the table is whole.
        TableHandler { owned: unsafe { Owned::of_table(&raw const table) }, table }
    }

    #[test]
    fn every_event_reaches_its_callback_and_the_destructor_is_last() {
        let told = Told::default();
        let handler = handler(&told, true);
        let conn = Conn::from_raw(9);
        let buffers: [&[u8]; 2] = [b"abcd", b"inflated"];
        let span = |buffer, compressed, start, len| FrameSpan { buffer, compressed, start, len };
        let spans = [span(0, false, 1, 2), span(1, true, 0, 8), span(0, false, 4, 0)];
        assert!(handler.wants_end());
        handler.on_event(conn, Event::Opened { protocol: Protocol::Client, first_byte: 1 });
        handler.on_event(conn, Event::Frames(Frames { buffers, spans: &spans }));
        handler.on_event(conn, Event::Frames(Frames { buffers, spans: &spans[..1] }));
        handler.on_event(conn, Event::Data(b"xyz"));
        handler.on_event(conn, Event::Writable);
        handler.on_event(conn, Event::End);
        handler.on_event(conn, Event::Closed(&closed("bad\0name")));
        drop(handler);
        let expected = [
            "open 9 1 1",
            "frames 9 bc:0 inflated:1 :0",
            "frames 9 bc:0",
            "data xyz",
            "writable",
            "end",
            "close 21 2 2 bad name",
            "destroy",
        ];
        assert_eq!(*told.lock().unwrap(), expected);
    }

    #[test]
    fn a_table_without_on_end_leaves_the_end_to_the_library() {
        let told = Told::default();
        assert!(!handler(&told, false).wants_end());
    }
}
