//! Connections, by their handle: what is sent and what is asked for. Any number may be tried.

use crate::guard::{Region, bytes, cold, hot};
use crate::numbers::native;
use jni::EnvUnowned;
use jni::objects::{JByteArray, JClass};
use jni::sys::{JNIEnv, jbyteArray, jclass, jint, jintArray, jlong};
use nativeport::handles::{Conn, SendFlags, SocketOption};
use nativeport::status::Status;
use std::mem::MaybeUninit;

/// Up to here the core copies what is sent; larger payloads change hands, in bytes.
const COPIED: usize = 4096;

/// What Java's flags say.
pub fn send_flags(flags: jint) -> Result<SendFlags, Status> {
    match flags {
        0 | native::SEND_RAW => Ok(SendFlags { no_compress: flags == native::SEND_RAW }),
        _ => Err(Status::Argument),
    }
}

/// `int sendFrame(long conn, byte[] data, int offset, int length, int flags)`: whole, or not at
/// all.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_sendFrame(
    env: *mut JNIEnv,
    _class: jclass,
    conn: jlong,
    data: jbyteArray,
    offset: jint,
    length: jint,
    flags: jint,
) -> jint {
    hot(|| {
        // SAFETY: both come from the virtual machine.
        let region = unsafe { Region::new(env, data, offset, length)? };
        let (conn, flags) = (Conn::from_raw(conn as u64), send_flags(flags)?);
        if region.len <= COPIED {
            with_copy(&region, |data| conn.send_frame(data, flags))?;
        } else {
            conn.send_frame_owned(Box::new(region.to_vec()?), flags)?;
        }
        Ok(0)
    })
}

/// `int sendFrames(long conn, byte[] data, int offset, int[] lengths, int first, int count, int
/// flags)`: frames that lie one behind the other in `data` from `offset` on, with these lengths;
/// says how many were taken, at least one.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_sendFrames(
    env: *mut JNIEnv,
    _class: jclass,
    conn: jlong,
    data: jbyteArray,
    offset: jint,
    lengths: jintArray,
    first: jint,
    count: jint,
    flags: jint,
) -> jint {
    hot(|| {
        let (conn, flags) = (Conn::from_raw(conn as u64), send_flags(flags)?);
        if lengths.is_null() || first < 0 || count <= 0 {
            return Err(Status::Argument);
        }
        // SAFETY: from the virtual machine, and not null.
        let has = unsafe { ((**env).v1_1.GetArrayLength)(env, lengths) };
        if first.checked_add(count).is_none_or(|end| end > has) {
            return Err(Status::Argument);
        }
        let mut sizes = vec![0; count as usize];
        // SAFETY: the range was checked, and there is room for `count`.
        unsafe {
            ((**env).v1_1.GetIntArrayRegion)(env, lengths, first, count, sizes.as_mut_ptr());
        }
        let mut all: jint = 0;
        for size in &sizes {
            let sum = if *size < 0 { None } else { all.checked_add(*size) };
            all = sum.ok_or(Status::Argument)?;
        }
        // SAFETY: both come from the virtual machine.
        let copy = unsafe { Region::new(env, data, offset, all)? }.to_vec()?;
        let mut ends = Vec::with_capacity(sizes.len());
        let mut end = 0;
        for size in sizes {
            let start = end;
            end += size as usize;
            ends.push(start..end);
        }
        let frames = ends.iter().map(|range| &copy[range.clone()]);
        match conn.send_frames(frames, flags) {
            (0, Err(status)) => Err(status),
            (taken, _) => Ok(taken as jint),
        }
    })
}

/// `int sendBytes(long conn, byte[] data, int offset, int length)`: on a stream; whole, or not
/// at all.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_sendBytes(
    env: *mut JNIEnv,
    _class: jclass,
    conn: jlong,
    data: jbyteArray,
    offset: jint,
    length: jint,
) -> jint {
    hot(|| {
        // SAFETY: both come from the virtual machine.
        let region = unsafe { Region::new(env, data, offset, length)? };
        let conn = Conn::from_raw(conn as u64);
        if region.len <= COPIED {
            with_copy(&region, |data| conn.send_bytes(data))?;
        } else {
            conn.send_bytes(&region.to_vec()?)?;
        }
        Ok(0)
    })
}

/// Copies at most [`COPIED`] bytes without allocating.
fn with_copy<R>(region: &Region, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut copy = MaybeUninit::<[u8; COPIED]>::uninit();
    let pointer = copy.as_mut_ptr().cast::<u8>();
    // SAFETY: the callers have checked the length, and all of it gets written before it is read.
    let data = unsafe {
        region.read(pointer);
        std::slice::from_raw_parts(pointer, region.len)
    };
    f(data)
}

/// `int connControl(long conn, int what)`: everything that takes nothing more.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_connControl(
    _env: *mut JNIEnv,
    _class: jclass,
    conn: jlong,
    what: jint,
) -> jint {
    hot(|| {
        let conn = Conn::from_raw(conn as u64);
        match what {
            native::ADMIT => conn.admit(),
            native::PAUSE => conn.pause_reading(),
            native::RESUME => conn.resume_reading(),
            native::SHUTDOWN => conn.shutdown(),
            native::CLOSE => conn.close(0),
            native::CLOSE_FIRST => conn.close_first(0),
            native::ABORT => conn.abort(0),
            native::PROCESS_ENDS => conn.process_ends(false),
            native::PROCESS_ENDS_OWING => conn.process_ends(true),
            _ => Err(Status::Argument),
        }?;
        Ok(0)
    })
}

/// `long connCount(long conn, int what)`: its bytes that are not with the operating system yet, or that are.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_connCount<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    conn: jlong,
    what: jint,
) -> jlong {
    cold(env, None, |_| {
        let conn = Conn::from_raw(conn as u64);
        match what {
            native::UNSENT => Ok(conn.unsent_bytes()? as jlong),
            native::SENT => Ok(conn.sent_bytes()? as jlong),
            _ => Err(Status::Argument.into()),
        }
    })
}

/// `int connOption(long conn, int option, int value, byte[] words)`: sets an option of its socket, or with a value
/// below 0 asks for it.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_connOption<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    conn: jlong,
    option: jint,
    value: jint,
    words: JByteArray<'local>,
) -> jint {
    let answer = cold(env, Some(words), |_| {
        let conn = Conn::from_raw(conn as u64);
        let option = match option {
            native::NO_DELAY => SocketOption::NoDelay,
            native::KEEP_ALIVE => SocketOption::KeepAlive,
            native::SEND_BUFFER => SocketOption::SendBuffer,
            native::RECEIVE_BUFFER => SocketOption::ReceiveBuffer,
            native::TRAFFIC_CLASS => SocketOption::TrafficClass,
            _ => return Err(Status::Argument.into()),
        };
        if let Ok(value) = u32::try_from(value) {
            conn.set_option(option, value)?;
            return Ok(0);
        }
        Ok(conn.option(option)?.into())
    });
    answer as jint
}

/// `int connRefuse(long conn, byte[] farewell)`: turns it away at admission.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_connRefuse<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    conn: jlong,
    farewell: JByteArray<'local>,
) -> jint {
    let answer = cold(env, None, |env| {
        Conn::from_raw(conn as u64).refuse(&bytes(env, &farewell)?)?;
        Ok(0)
    });
    answer as jint
}
