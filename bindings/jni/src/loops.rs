//! Loops: made, polled and woken; and what is done with payloads that a poll told of.

use crate::conn::send_flags;
use crate::guard::{Region, cold, hot};
use crate::objects::{self, Object};
use crate::polled::{Memory, Polled};
use jni::EnvUnowned;
use jni::objects::{JByteArray, JByteBuffer, JClass};
use jni::sys::{JNIEnv, jbyteArray, jclass, jint, jlong};
use nativeport::handles::Conn;
use nativeport::status::Status;
use std::sync::Arc;

/// `long loopNew(long runtime, ByteBuffer input, ByteBuffer output, int records, int entries,
/// byte[] words)`: its number. Both buffers are direct; they are kept until the loop is
/// released.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn Java_org_nativeport_internal_Native_loopNew<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    runtime: jlong,
    input: JByteBuffer<'local>,
    output: JByteBuffer<'local>,
    records: jint,
    entries: jint,
    words: JByteArray<'local>,
) -> jlong {
    cold(env, Some(words), |env| {
        let runtime = objects::runtime(runtime)?;
        let count = |count| usize::try_from(count).map_err(|_| Status::Argument);
        let (records, entries) = (count(records)?, count(entries)?);
        let memory = |buffer: &JByteBuffer| {
            if buffer.is_null() {
                return Err(Status::Argument);
            }
            // Another kind of buffer has no address.
            let pointer = env.get_direct_buffer_address(buffer).map_err(|_| Status::Argument)?;
            let len = env.get_direct_buffer_capacity(buffer).map_err(|_| Status::Argument)?;
            pointer.expose_provenance();
            Ok(Memory { pointer, len })
        };
        let memory = [memory(&input)?, memory(&output)?];
        let buffers = [env.new_global_ref(&input)?, env.new_global_ref(&output)?];
        let polled = Polled::new(&runtime, memory, buffers, records, entries)?;
        Ok(objects::enter(Object::Loop(Arc::new(polled))))
    })
}

/// `int loopPoll(long loop, long timeoutMs)`: waits for events, and says how many records there
/// are. Less than 0 waits without limit.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_loopPoll(
    _env: *mut JNIEnv,
    _class: jclass,
    id: jlong,
    timeout_ms: jlong,
) -> jint {
    hot(|| Ok(objects::polled(id)?.poll(timeout_ms)? as jint))
}

/// `int loopWake(long loop)`: lets its poll return early.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_loopWake(
    _env: *mut JNIEnv,
    _class: jclass,
    id: jlong,
) -> jint {
    hot(|| {
        objects::polled(id)?.wake();
        Ok(0)
    })
}

/// `int fetch(long loop, int entry, byte[] target, int offset, int length)`: copies the payload
/// of an entry of the last poll, whose length it must be.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_fetch(
    env: *mut JNIEnv,
    _class: jclass,
    id: jlong,
    entry: jint,
    target: jbyteArray,
    offset: jint,
    length: jint,
) -> jint {
    hot(|| {
        // SAFETY: both come from the virtual machine.
        let region = unsafe { Region::new(env, target, offset, length)? };
        objects::polled(id)?.with_payload(entry, |from, len| {
            if len != region.len {
                return Err(Status::Argument);
            }
            // SAFETY: the payload is valid for the length of the call.
            unsafe { region.write(from) };
            Ok(len as jint)
        })
    })
}

/// `int sendPolled(long loop, long conn, int first, int count, int flags)`: sends payloads of the
/// last poll as frames, and says how many were taken.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_org_nativeport_internal_Native_sendPolled(
    _env: *mut JNIEnv,
    _class: jclass,
    id: jlong,
    conn: jlong,
    first: jint,
    count: jint,
    flags: jint,
) -> jint {
    hot(|| {
        let conn = Conn::from_raw(conn as u64);
        Ok(objects::polled(id)?.send(conn, first, count, send_flags(flags)?)? as jint)
    })
}
