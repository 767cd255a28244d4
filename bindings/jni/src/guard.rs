//! Guard: what stands around every native. A panic becomes a status, an error a status with
//! words for Java; nothing here throws.
//!
//! Hot natives (poll, send, fetch) use the raw table of the virtual machine, which costs a sixth
//! of a call through the wrapper; cold ones use the wrapper.

use crate::numbers::words;
use jni::objects::JByteArray;
use jni::sys::{JNIEnv, jbyteArray, jint, jlong};
use jni::{Env, EnvUnowned, Outcome};
use nativeport::status::{Error, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a cold native fails with.
pub enum Failure {
    /// A status, perhaps with words.
    Told(Error),
    /// The virtual machine refused something, and keeps its exception for Java.
    Machine,
}

impl From<jni::errors::Error> for Failure {
    fn from(_: jni::errors::Error) -> Failure {
        Failure::Machine
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Told(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Told(Error::new(status, status.message()))
    }
}

/// Runs a hot native: 0 or more is a result, less a status.
pub fn hot(body: impl FnOnce() -> Result<jint, Status>) -> jint {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => status.code(),
        Err(_) => Status::Panic.code(),
    }
}

/// Runs a cold native. Words of an error go to `array`, as `numbers::words` says.
pub fn cold<'local>(
    mut env: EnvUnowned<'local>,
    words: Option<JByteArray<'local>>,
    body: impl FnOnce(&mut Env<'local>) -> Result<jlong, Failure>,
) -> jlong {
    let outcome = env.with_env(|env| match body(env) {
        Ok(answer) => Ok(answer),
        Err(Failure::Told(error)) => {
            if let Some(words) = words.filter(|words| !words.is_null()) {
                tell(env, &words, &error)?;
            }
            Ok(error.status.code().into())
        }
        Err(Failure::Machine) => Err(Failure::Machine),
    });
    match outcome.into_outcome() {
        Outcome::Ok(answer) => answer,
        Outcome::Err(_) => Status::Argument.code().into(),
        Outcome::Panic(_) => Status::Panic.code().into(),
    }
}

/// Runs a cold native whose answer is bytes; none if it failed by a defect or for want of memory.
pub fn answer<'local>(
    mut env: EnvUnowned<'local>,
    body: impl FnOnce(&mut Env<'local>) -> Result<Vec<u8>, Failure>,
) -> JByteArray<'local> {
    let outcome = env.with_env(|env| -> Result<_, Failure> {
        let bytes = match body(env) {
            Ok(bytes) => bytes,
            Err(Failure::Told(error)) => {
                let mut answer = Answer::of(error.status);
                answer.text(&error.message);
                answer.0
            }
            Err(Failure::Machine) => return Err(Failure::Machine),
        };
        Ok(env.byte_array_from_slice(&bytes)?)
    });
    match outcome.into_outcome() {
        Outcome::Ok(array) => array,
        Outcome::Err(_) | Outcome::Panic(_) => JByteArray::null(),
    }
}

fn tell(env: &Env<'_>, array: &JByteArray<'_>, error: &Error) -> Result<(), Failure> {
    let mut bytes = vec![0; words::TEXT];
    bytes[words::OS_ERROR..][..4].copy_from_slice(&error.os_error.to_be_bytes());
    bytes[words::TLS_ALERT..][..4].copy_from_slice(&error.tls_alert.to_be_bytes());
    bytes.extend(error.message.bytes().filter(|byte| *byte != 0));
    let room = array.len(env)?;
    bytes.truncate(room.saturating_sub(1));
    bytes.resize(bytes.len() + usize::from(room > 0), 0);
    // Java's bytes have a sign.
    let signed: Vec<i8> = bytes.iter().map(|byte| *byte as i8).collect();
    array.set_region(env, 0, &signed)?;
    Ok(())
}

/// The bytes of an array, none for null.
pub fn bytes(env: &Env<'_>, array: &JByteArray<'_>) -> Result<Vec<u8>, Failure> {
    if array.is_null() {
        return Ok(Vec::new());
    }
    Ok(env.convert_byte_array(array)?)
}

/// The same as a text.
pub fn text(env: &Env<'_>, array: &JByteArray<'_>) -> Result<String, Failure> {
    String::from_utf8(bytes(env, array)?).map_err(|_| Status::Argument.into())
}

/// An answer in bytes: a status, then whatever was asked for. Numbers are big-endian.
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// One that begins with this status.
    pub fn of(status: Status) -> Answer {
        Answer(status.code().to_be_bytes().to_vec())
    }

    /// A number of 4 bytes.
    pub fn int(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    /// A number of 8 bytes.
    pub fn long(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    /// Its length as 4 bytes, then UTF-8.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Their number as 4 bytes, then these.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as i32);
        self.0.extend(bytes);
    }
}

/// A part of a Java array, checked: its address is not known, it can only be copied.
pub struct Region {
    env: *mut JNIEnv,
    array: jbyteArray,
    offset: jint,
    /// In bytes.
    pub len: usize,
}

impl Region {
    /// # Safety
    /// `env` is that of the running native, and `array` one of its arguments.
    pub unsafe fn new(
        env: *mut JNIEnv,
        array: jbyteArray,
        offset: jint,
        len: jint,
    ) -> Result<Region, Status> {
        if array.is_null() || offset < 0 || len < 0 {
            return Err(Status::Argument);
        }
        // SAFETY: the caller's promise.
        let has = unsafe { ((**env).v1_1.GetArrayLength)(env, array) };
        match offset.checked_add(len) {
            Some(end) if end <= has => Ok(Region { env, array, offset, len: len as usize }),
            _ => Err(Status::Argument),
        }
    }

    /// Copies it to memory of the native.
    ///
    /// # Safety
    /// `to` is writable for `len` bytes.
    pub unsafe fn read(&self, to: *mut u8) {
        let len = self.len as jint;
        // SAFETY: the range was checked, so that no exception comes; the caller's promise.
        unsafe {
            ((**self.env).v1_1.GetByteArrayRegion)(
                self.env,
                self.array,
                self.offset,
                len,
                to.cast(),
            );
        }
    }

    /// The same as a vector, for which there may be no memory.
    pub fn to_vec(&self) -> Result<Vec<u8>, Status> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.len).map_err(|_| Status::MemoryLimit)?;
        // SAFETY: there is room for `len`, and all of it gets written.
        unsafe {
            self.read(copy.as_mut_ptr());
            copy.set_len(self.len);
        }
        Ok(copy)
    }

    /// Copies memory of the native into it.
    ///
    /// # Safety
    /// `from` is readable for `len` bytes.
    pub unsafe fn write(&self, from: *const u8) {
        let len = self.len as jint;
        // SAFETY: as for `read`.
        unsafe {
            ((**self.env).v1_1.SetByteArrayRegion)(
                self.env,
                self.array,
                self.offset,
                len,
                from.cast(),
            );
        }
    }
}
