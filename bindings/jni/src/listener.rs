//! Listener: one port. Its events carry the token that Java gave for it.

use crate::config;
use crate::guard::{Answer, answer, cold, hot};
use crate::numbers::native;
use crate::objects::{self, Object};
use jni::EnvUnowned;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jint, jlong};
use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::Conn;
use nativeport::listener::Listener;
use nativeport::status::Status;
use std::net::SocketAddr;
use std::sync::Arc;

/// What stands for Java in the core: a number.
struct Token(usize);

impl Handler for Token {
    /// Never called, as events are polled.
    fn on_event(&self, _conn: Conn, _event: Event<'_>) {}

    /// Java has its own queue behind a connection, so that only Java knows when all was read.
    fn wants_end(&self) -> bool {
        true
    }

    fn token(&self) -> usize {
        self.0
    }
}

/// `long listenerNew(long runtime, byte[] config, int port, int token, int handled, byte[]
/// words)`: its number. Bit n of `handled` is set if Java takes connections of protocol n + 1.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerNew<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    runtime: jlong,
    config: JByteArray<'local>,
    port: jint,
    token: jint,
    handled: jint,
    words: JByteArray<'local>,
) -> jlong {
    cold(env, Some(words), |env| {
        let runtime = objects::runtime(runtime)?;
        let config = config::of(env, &config)?;
        let port = usize::try_from(port).map_err(|_| Status::Argument)?;
        let token = usize::try_from(token).map_err(|_| Status::Argument)?;
        let listener = Listener::new(&runtime, &config, port)?;
        let handler: Arc<dyn Handler> = Arc::new(Token(token));
        for protocol in Protocol::ALL {
            if handled & (1 << protocol.index()) != 0 {
                listener.on(protocol, handler.clone())?;
            }
        }
        if handled & native::HANDLES_ADMISSION != 0 {
            listener.on_admit(handler)?;
        }
        Ok(objects::enter(Object::Listener(Arc::new(listener))))
    })
}

/// `int listenerStart(long listener, byte[] words)`: binds and listens. May wait for the
/// resolution of a host name.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerStart<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    listener: jlong,
    words: JByteArray<'local>,
) -> jint {
    let answer = cold(env, Some(words), |_| {
        objects::listener(listener)?.start()?;
        Ok(0)
    });
    answer as jint
}

/// `int listenerSwitch(long listener, boolean accepts)`: pauses accepting, or goes on.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerSwitch<'local>(
    _env: EnvUnowned<'local>,
    _class: JClass<'local>,
    listener: jlong,
    accepts: bool,
) -> jint {
    hot(|| {
        let listener = objects::listener(listener)?;
        let done = if accepts { listener.resume() } else { listener.pause() };
        done.map(|()| 0).map_err(|error| error.status)
    })
}

/// `int listenerStop(long listener, long drainMs)`: begins its end and returns.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerStop<'local>(
    _env: EnvUnowned<'local>,
    _class: JClass<'local>,
    listener: jlong,
    drain_ms: jlong,
) -> jint {
    hot(|| {
        let drain_ms = u64::try_from(drain_ms).map_err(|_| Status::Argument)?;
        objects::listener(listener)?.stop(drain_ms).map_err(|error| error.status)?;
        Ok(0)
    })
}

/// `byte[] listenerAddresses(long listener)`: a status, then a text and a number for each bound
/// address: the IP address, a link-local one with the number of its interface, and the port.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerAddresses<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    listener: jlong,
) -> JByteArray<'local> {
    answer(env, |_| {
        let mut answer = Answer::of(Status::Ok);
        for address in objects::listener(listener)?.addresses() {
            answer.text(&match address {
                SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                    format!("{}%{}", v6.ip(), v6.scope_id())
                }
                _ => address.ip().to_string(),
            });
            answer.int(address.port().into());
        }
        Ok(answer.0)
    })
}

/// `byte[] listenerCertificates(long listener)`: a status, then the certificates that its peers get, in DER.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_listenerCertificates<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    listener: jlong,
) -> JByteArray<'local> {
    answer(env, |_| {
        let mut answer = Answer::of(Status::Ok);
        for certificate in objects::listener(listener)?.certificates() {
            answer.bytes(certificate);
        }
        Ok(answer.0)
    })
}
