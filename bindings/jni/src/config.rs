//! Config: a configuration travels from Java as the list of what made it, so that there is no
//! object to keep, and is read afresh by each native that needs it.
//!
//! An operation is a byte and three texts, each with its length as a big-endian number of 4
//! bytes before it; `numbers::operation` says which operations there are, and their texts.

use crate::guard::{Answer, Failure, answer, bytes, text};
use crate::numbers::{native, operation, tls_mode};
use jni::objects::{JByteArray, JClass};
use jni::sys::jint;
use jni::{Env, EnvUnowned};
use nativeport::config::{CallbackThreads, Config, Finding, Severity, SslMode};
use nativeport::status::{Error, Status};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Reads a configuration. Its bytes are wiped.
pub fn of(env: &Env<'_>, operations: &JByteArray<'_>) -> Result<Config, Failure> {
    Ok(read(&Zeroizing::new(bytes(env, operations)?))?)
}

fn read(operations: &[u8]) -> Result<Config, Error> {
    let mut config = Config::new();
    let mut rest = Operations(operations);
    let mut last_port = String::new();
    while let Some(kind) = rest.byte() {
        let [first, second, third] = [rest.bytes()?, rest.bytes()?, rest.bytes()?];
        match i32::from(kind) {
            operation::FILE => {
                let folder = utf8(third)?;
                let folder = (!folder.is_empty()).then(|| PathBuf::from(folder));
                config.load_text(second, utf8(first)?, folder)?;
            }
            operation::PORT => last_port = config.add_port(utf8(first)?)?,
            operation::VALUE => {
                let section = if first.is_empty() { &last_port } else { utf8(first)? };
                config.set(section, utf8(second)?, utf8(third)?)?;
            }
            _ => return Err(malformed()),
        }
    }
    Ok(config)
}

struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let (len, rest) = self.0.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (bytes, rest) =
            rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(bytes)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| malformed())
}

fn malformed() -> Error {
    Error::new(Status::Argument, "the list of what makes the configuration is malformed")
}

/// `byte[] inspect(byte[] config, int what, byte[] section, byte[] key)`: a status, then with
/// `OK` what was asked for, otherwise a text.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_nativeport_internal_Native_inspect<'local>(
    env: EnvUnowned<'local>,
    _class: JClass<'local>,
    config: JByteArray<'local>,
    what: jint,
    section: JByteArray<'local>,
    key: JByteArray<'local>,
) -> JByteArray<'local> {
    answer(env, |env| {
        let config = of(env, &config)?;
        let mut answer = Answer::of(Status::Ok);
        match what {
            native::INSPECT_CHECK => {
                config.check().iter().for_each(|finding| tell(&mut answer, finding))
            }
            native::INSPECT_GET => match config.get(&text(env, &section)?, &text(env, &key)?) {
                Some(value) => answer.text(&value),
                None => return Err(Status::NotFound.into()),
            },
            native::INSPECT_LAYOUT => layout(&mut answer, &config),
            _ => return Err(Failure::from(Status::Argument)),
        }
        Ok(answer.0)
    })
}

fn tell(answer: &mut Answer, finding: &Finding) {
    answer.int(i32::from(finding.severity == Severity::Error));
    answer.int(finding.line as i32);
    let texts = [&finding.file, &finding.section, &finding.key, &finding.found];
    texts.into_iter().for_each(|text| answer.text(text));
    answer.text(&finding.message);
    answer.text(&finding.valid);
    answer.text(&finding.to_string());
}

fn layout(answer: &mut Answer, config: &Config) {
    let (settings, _) = config.resolve();
    answer.int(settings.runtime.io_threads as i32);
    answer.int((settings.runtime.callback_threads == CallbackThreads::Virtual).into());
    answer.int(i32::try_from(settings.runtime.exit_flush_ms).unwrap_or(i32::MAX));
    for port in &settings.ports {
        answer.text(&port.name);
        answer.text(&port.written);
        answer.int(port.port.into());
        answer.int(port.map_to_port.into());
        answer.int(match (&port.tls, port.ssl) {
            (None, _) => tls_mode::PLAIN,
            (Some(_), SslMode::Required) => tls_mode::TLS,
            (Some(_), SslMode::Auto) => tls_mode::AUTO,
        });
        answer.int(port.accepter_threads as i32);
        answer.long(port.receive_window_bytes);
    }
}
