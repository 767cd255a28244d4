//! Handler: the tables of callbacks that a host gives to a listener, and what they are told.
//!
//! Only their shape and their checks; how the core calls them is the business of
//! `callback`.

use std::ffi::{c_char, c_void};

use super::frame::np_frame;
use super::handle::{np_conn, np_destroy_fn};
use super::ptr::Refused;
use super::sized::Sized32;
use crate::event::Protocol;
use crate::runtime::Consumer;

/// First byte 1: answered with a byte 1, then frames.
pub const NP_PROTOCOL_CLIENT: i32 = 1;
/// First byte 2: no answer, a raw stream without that byte.
pub const NP_PROTOCOL_RELAY: i32 = 2;
/// First byte 3: answered with a byte 1, then frames.
pub const NP_PROTOCOL_REMOTE_APPLICATION: i32 = 3;
/// Any other first byte: a raw stream that begins with that byte.
pub const NP_PROTOCOL_UNKNOWN: i32 = 4;

/// In np_handler.flags: input waits in the connection's inbox for np_conn_recv_frame and
/// np_conn_recv_bytes; on_frames and on_data stay NULL.
pub const NP_HANDLER_INBOX: u32 = 1;
/// In np_handler.flags: after the peer's end of stream the connection stays open until the host
/// closes it, also without on_end. Not so where a TLS peer has ended without close_notify
/// (NP_CLOSE_TLS_TRUNCATED, unless the port has requireCloseNotify = no) or any peer inside a frame (NP_CLOSE_TRUNCATED).
pub const NP_HANDLER_HALF_CLOSE: u32 = 2;

/// The peer ended the connection.
pub const NP_BY_PEER: i32 = 1;
/// The library ended it, by one of its rules.
pub const NP_BY_LIBRARY: i32 = 2;
/// The host ended it.
pub const NP_BY_HOST: i32 = 3;
/// The operating system ended it.
pub const NP_BY_SYSTEM: i32 = 4;

/// Accepted, nothing read yet.
pub const NP_STAGE_ACCEPT: i32 = 1;
/// TLS handshake.
pub const NP_STAGE_TLS: i32 = 2;
/// Waiting for the first byte.
pub const NP_STAGE_IDENTIFY: i32 = 3;
/// Waiting for the host's decision.
pub const NP_STAGE_ADMIT: i32 = 4;
/// In use.
pub const NP_STAGE_OPEN: i32 = 5;

/// How a connection ended. Valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_close_info {
    /// sizeof(np_close_info) of the library, which writes it.
    pub struct_size: u32,
    /// Why: NP_CLOSE_.
    pub reason: i32,
    /// Who ended it: NP_BY_.
    pub by: i32,
    /// How far it had come: NP_STAGE_.
    pub stage: i32,
    /// The code given to np_conn_close or np_conn_abort, otherwise 0.
    pub host_code: i32,
    /// errno of the operating system, 0 if it reported none.
    pub os_error: i32,
    /// The TLS alert, -1 if there was none.
    pub tls_alert: i32,
    /// 0.
    pub reserved: u32,
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Bytes that sends had accepted and that never reached the operating system.
    pub unsent_bytes: u64,
    /// From accept to the end, in milliseconds.
    pub duration_ms: u64,
    /// More words where there are any, otherwise empty; UTF-8, never NULL.
    pub text: *const c_char,
}

/// The callbacks of one protocol on one listener, shared by all its connections. Set
/// struct_size (NP_HANDLER_INIT does); leave what you do not need NULL.
///
/// Callbacks of one connection never overlap and come in this order: on_open once,
/// on_frames or on_data and on_writable any number of times, on_end at most once, on_close
/// exactly once and last. Those of different connections may run at once on several
/// threads. Data is valid until the callback returns. A callback must not throw an exception
/// or longjmp, and block only where it runs on a worker (NP_CONSUMER_WORKERS). Where events
/// are polled (NP_CONSUMER_POLL) all callbacks but destroy stay NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_handler {
    /// sizeof(np_handler), set by the caller.
    pub struct_size: u32,
    /// 0, or NP_HANDLER_ bits.
    pub flags: u32,
    /// The first argument of all callbacks. Belongs to the library as soon as the table is
    /// passed to np_listener_on, whatever that answers.
    pub user_data: *mut c_void,
    /// Releases user_data, exactly once: at once if np_listener_on fails, otherwise after
    /// the last callback, when listener and runtime have ended.
    pub destroy: np_destroy_fn,
    /// The connection may be used. The answer byte, if the protocol has one, is on its way.
    /// first_byte is also the first byte of the stream with NP_PROTOCOL_UNKNOWN.
    pub on_open: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            protocol: i32,
            first_byte: u8,
        ),
    >,
    /// Whole frames, in order, count of them, at least 1. Required for
    /// NP_PROTOCOL_CLIENT and NP_PROTOCOL_REMOTE_APPLICATION without NP_HANDLER_INBOX. The array and the data are
    /// valid until the callback returns; np_frame_take keeps a frame longer.
    pub on_frames: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            frames: *const np_frame,
            count: usize,
        ),
    >,
    /// The next bytes of a stream, len of them, at least 1. Required for
    /// NP_PROTOCOL_RELAY and NP_PROTOCOL_UNKNOWN without NP_HANDLER_INBOX. The data is valid
    /// until the callback returns.
    pub on_data: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            data: *const u8,
            len: usize,
        ),
    >,
    /// The peer will send nothing more; sending stays possible, and the host closes. NULL:
    /// the library closes as soon as everything is consumed and sent. With NP_HANDLER_INBOX it
    /// comes while input may still wait there. It does not come where a TLS peer has ended
    /// without close_notify, as anybody on the way may have cut it: on_close tells tls_truncated, unless
    /// the port has requireCloseNotify = no.
    pub on_end: Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, conn: np_conn)>,
    /// The send queue has room again after a send answered NP_ERR_WOULD_BLOCK.
    pub on_writable: Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, conn: np_conn)>,
    /// The end, once for every connection that on_open told of. The handle answers
    /// NP_ERR_CLOSED once this has returned and its user data is released; until then it tells facts, counters and
    /// user data, and takes nothing more to send. With NP_HANDLER_INBOX it comes when what is left
    /// in the inbox was taken, however long that takes: receive until NP_ERR_CLOSED, or give it up
    /// by np_conn_close.
    pub on_close: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            info: *const np_close_info,
        ),
    >,
}

/// The callbacks that decide about connections before they are opened, for all protocols
/// of one listener. Set struct_size (NP_ADMISSION_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_admission {
    /// sizeof(np_admission), set by the caller.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// As in np_handler; belongs to the library once passed to np_listener_on_admit.
    pub user_data: *mut c_void,
    /// As in np_handler.
    pub destroy: np_destroy_fn,
    /// Answer with np_conn_admit or np_conn_refuse, in the callback or later, from any
    /// thread. Without an answer within readTimeout the connection is refused. Required.
    pub on_admit: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            protocol: i32,
            first_byte: u8,
        ),
    >,
    /// The end of a connection that on_admit told of and that was never opened: refused,
    /// not decided in time, or gone. May be NULL.
    pub on_close: Option<
        unsafe extern "C-unwind" fn(
            user_data: *mut c_void,
            conn: np_conn,
            info: *const np_close_info,
        ),
    >,
}

// SAFETY: repr(C), two numbers of four bytes, then pointers and nullable functions.
unsafe impl Sized32 for np_handler {
    const FIRST: usize = 2 * 4 + size_of::<[usize; 8]>();
    const INIT: &'static str = "NP_HANDLER_INIT";
}

// SAFETY: likewise.
unsafe impl Sized32 for np_admission {
    const FIRST: usize = 8 + 4 * size_of::<usize>();
    const INIT: &'static str = "NP_ADMISSION_INIT";
}

/// The protocol that C named by a number.
pub(super) fn protocol(number: i32) -> Result<Protocol, Refused> {
    match number {
        NP_PROTOCOL_CLIENT => Ok(Protocol::Client),
        NP_PROTOCOL_RELAY => Ok(Protocol::Relay),
        NP_PROTOCOL_REMOTE_APPLICATION => Ok(Protocol::RemoteApplication),
        NP_PROTOCOL_UNKNOWN => Ok(Protocol::Unknown),
        _ => Err(Refused::argument("protocol", "is not one of NP_PROTOCOL_")),
    }
}

impl np_handler {
    /// What a table must hold to serve `protocol` and a consumer of events.
    pub(super) fn check(&self, protocol: Protocol, consumer: Consumer) -> Result<(), Refused> {
        if self.flags & !(NP_HANDLER_INBOX | NP_HANDLER_HALF_CLOSE) != 0 {
            return Err(Refused::argument("handler->flags", "has a bit that means nothing"));
        }
        let (frames, data) = (self.on_frames.is_some(), self.on_data.is_some());
        let others = self.on_open.is_some()
            || self.on_end.is_some()
            || self.on_writable.is_some()
            || self.on_close.is_some();
        if consumer == Consumer::Poll {
            if frames || data || others {
                let why = "has a callback, but the runtime's events are polled";
                return Err(Refused::argument("handler", why));
            }
            return Ok(());
        }
        if self.flags & NP_HANDLER_INBOX != 0 {
            if frames || data {
                let why = "has on_frames or on_data, which NP_HANDLER_INBOX never calls";
                return Err(Refused::argument("handler", why));
            }
            return Ok(());
        }
        if protocol.is_framed() && !frames {
            let why =
                "is NULL, but the protocol has frames; only an inbox or polled events do without";
            return Err(Refused::argument("handler->on_frames", why));
        }
        if !protocol.is_framed() && !data {
            let why =
                "is NULL, but the protocol is a stream; only an inbox or polled events do without";
            return Err(Refused::argument("handler->on_data", why));
        }
        Ok(())
    }
}

impl np_admission {
    pub(super) fn check(&self, consumer: Consumer) -> Result<(), Refused> {
        if self.flags != 0 {
            return Err(Refused::argument("admission->flags", "has a bit that means nothing"));
        }
        if consumer == Consumer::Poll {
            if self.on_admit.is_some() || self.on_close.is_some() {
                let why = "has a callback, but the runtime's events are polled";
                return Err(Refused::argument("admission", why));
            }
            return Ok(());
        }
        if self.on_admit.is_none() {
            return Err(Refused::argument("admission->on_admit", "is NULL"));
        }
        Ok(())
    }
}
