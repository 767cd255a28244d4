//! Runtime: loops and what they share; its counters; and how objects are let go.

use crate::config;
use crate::guard::{Answer, Failure, answer, cold, hot};
use crate::numbers::{self, log_level, native};
use crate::objects::{self, Object};
use jni::EnvUnowned;
use jni::objects::{JByteArray, JClass, JLongArray};
use jni::sys::{jint, jlong};
use nativeport::log::Level;
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::Status;
use std::sync::Arc;

/// `int initialize(int agreement)`: whether the two fit.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_initialize<'local>(
    _env: EnvUnowned<'local>,
    _class: JClass<'local>,
    agreement: jint,
) -> jint {
    hot(|| if agreement == native::AGREEMENT { Ok(0) } else { Err(Status::Unsupported) })
}

/// `long runtimeNew(byte[] config, byte[] words)`: its number.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_runtimeNew<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    config: JByteArray<'local>,
    words: JByteArray<'local>,
) -> jlong {
    cold(env, Some(words), |env| {
        let config = config::of(env, &config)?;
        let runtime = Runtime::with_consumer(&config, Consumer::Poll)?;
        Ok(objects::enter(Object::Runtime(Arc::new(runtime))))
    })
}

/// `int runtimeStop(long runtime, long drainMs)`: begins the end and returns.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_runtimeStop<'local>(
    _env: EnvUnowned<'local>,
    _class: JClass<'local>,
    runtime: jlong,
    drain_ms: jlong,
) -> jint {
    hot(|| {
        let drain_ms = u64::try_from(drain_ms).map_err(|_| Status::Argument)?;
        objects::runtime(runtime)?.stop(drain_ms).map_err(|error| error.status)?;
        Ok(0)
    })
}

/// `int runtimeLog(long runtime, int level)`: records up to this level become events.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_runtimeLog<'local>(
    _env: EnvUnowned<'local>,
    _class: JClass<'local>,
    runtime: jlong,
    level: jint,
) -> jint {
    hot(|| {
        let level = match level {
            log_level::OFF => Level::Off,
            log_level::ERROR => Level::Error,
            log_level::WARN => Level::Warn,
            log_level::INFO => Level::Info,
            log_level::DEBUG => Level::Debug,
            _ => return Err(Status::Argument),
        };
        objects::runtime(runtime)?.set_log(level, None).map_err(|error| error.status)?;
        Ok(0)
    })
}

/// `int stats(long object, long[] counters)`: those of a runtime or a listener; the answer says
/// how many there are.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_stats<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    object: jlong,
    counters: JLongArray<'local>,
) -> jint {
    let answer = cold(env, None, |env| {
        let stats = match objects::find(object)? {
            Object::Runtime(runtime) => runtime.stats(),
            Object::Listener(listener) => listener.stats(),
            Object::Loop(_) => return Err(Status::InvalidHandle.into()),
        };
        if counters.is_null() {
            return Err(Failure::from(Status::Argument));
        }
        let values: Vec<jlong> = numbers::counters(&stats).map(|value| value as jlong).collect();
        let room = counters.len(env)?.min(values.len());
        counters.set_region(env, 0, &values[..room])?;
        Ok(values.len() as jlong)
    });
    answer as jint
}

/// `byte[] prometheus(long runtime)`: a status, then a text.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_prometheus<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    runtime: jlong,
) -> JByteArray<'local> {
    answer(env, |_| {
        let mut answer = Answer::of(Status::Ok);
        answer.text(&objects::runtime(runtime)?.prometheus());
        Ok(answer.0)
    })
}

/// `int release(long object)`: lets an object go that has ended, or was never used; `TIMED_OUT`
/// and nothing more while it has not.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_release<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    object: jlong,
) -> jint {
    let answer = cold(env, None, |_| {
        // Their destructors would wait for what has not ended.
        match objects::find(object)? {
            Object::Runtime(runtime) => runtime.wait(Some(0))?,
            Object::Listener(listener) => listener.wait(Some(0))?,
            Object::Loop(polled) => polled.retire()?,
        }
        drop(objects::remove(object)?);
        Ok(0)
    });
    answer as jint
}
