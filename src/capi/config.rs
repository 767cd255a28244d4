//! Config: what the INI file says, before anything runs.
//!
//! Holds the core's `Config` behind a lock, so that C callers need none. Which sections
//! and keys exist, their units and defaults are the business of `crate::config` alone.

use std::ffi::{CString, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::entry;
use super::ptr::{self, Out, TextBuffer};
use super::status::{np_error, np_status};
use crate::config::{Config, Finding, Severity};
use crate::status::{Error, Status};

/// A configuration: sections with keys, from files, strings and calls. Runtimes and
/// listeners copy what they need when they are made; later changes do not reach them.
pub struct np_config {
    pub(super) inner: Mutex<Config>,
}

/// The finding must be put right, otherwise the listener or runtime will not start.
pub const NP_SEVERITY_ERROR: i32 = 1;
/// The finding is probably not what was meant; things start with it.
pub const NP_SEVERITY_WARNING: i32 = 2;

/// One finding of np_config_check. The texts are never NULL, empty where they do not
/// apply, and valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_finding {
    /// sizeof(np_finding) of the library, which writes it.
    pub struct_size: u32,
    /// NP_SEVERITY_ERROR or NP_SEVERITY_WARNING.
    pub severity: i32,
    /// Line in the file, from 1; 0 if it comes from no file.
    pub line: u32,
    /// 0.
    pub reserved: u32,
    /// The whole finding in one line, ready to be shown.
    pub text: *const c_char,
    /// File, or the name given to np_config_load_string, as messages show it.
    pub file: *const c_char,
    /// Section.
    pub section: *const c_char,
    /// Key.
    pub key: *const c_char,
    /// What is wrong.
    pub message: *const c_char,
    /// What would be valid.
    pub valid: *const c_char,
}

/// Is called for each finding, in the thread that called np_config_check.
pub type np_finding_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, finding: *const np_finding)>;

/// Makes an empty configuration.
///
/// Thread: any
/// Blocking: no
/// Owns: *config belongs to the caller, until np_config_free
/// Null: config must not be NULL
/// Fails: NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_new(config: *mut *mut np_config) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an output.
        let place = unsafe { Out::new(config, "config")? };
        place.put(Box::into_raw(Box::new(np_config { inner: Mutex::new(Config::new()) })));
        Ok(())
    })
}

/// Reads an INI file into the configuration, of 8 MiB and 100,000 lines that are neither blank nor comments at most. It may be a pipe, such as
/// "/dev/stdin", which must end within 5 s. Several files may be read, and what is read or set
/// later counts: a key that is given again in `[Runtime]` or in a TLS section replaces the older
/// value. Ports of further files are further ports, and a name that is there already is an
/// error. Relative paths in the file start at its folder, those in a pipe at the working directory.
/// The library wipes its copy of the text, and the values of keys whose names say that they are secrets (password, token and
/// so on). Other values pass through the parser, which may leave copies. Messages show the path cut and
/// escaped, without what may be a secret.
/// What is wrong inside it, np_config_check tells; np_runtime_new and np_listener_new
/// refuse it.
///
/// Thread: any
/// Blocking: no; it reads a file, and waits 5 s at most for a pipe
/// Owns: nothing; path is copied
/// Null: config and path must not be NULL; error may be
/// Fails: NP_ERR_CONFIG_FILE if the file cannot be read as a text, or is larger than these bounds;
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_load_file(
    config: *mut np_config,
    path: *const c_char,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error.
    unsafe {
        entry::error(error, || {
            let config = ptr::reference(config, "config")?;
            let path = ptr::c_bytes(path, "path")?;
            // A pipe may take its time: others use the configuration meanwhile.
            let read = Config::read_file(Path::new(OsStr::from_bytes(path)))?;
            config.inner.lock().load_read(read)
        })
    }
}

/// Reads INI text into the configuration, as np_config_load_file does. name stands for the
/// file in messages, cut and escaped there; relative paths start at the working directory at the time of the call.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; text and name are copied
/// Null: text may be NULL if len is 0; config and name must not be; error may be
/// Fails: NP_ERR_CONFIG_FILE if it is no text, larger than 8 MiB, or has more than 100,000 lines that
///   are neither blank nor comments; NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_load_string(
    config: *mut np_config,
    text: *const c_char,
    len: usize,
    name: *const c_char,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error.
    unsafe {
        entry::error(error, || {
            let config = ptr::reference(config, "config")?;
            let text = ptr::slice(text.cast::<u8>(), len, "text")?;
            let name = ptr::text(name, "name")?;
            config.inner.lock().load_string(text, name)
        })
    }
}

/// Adds a port section that no file has, with defaults only, behind the others. name is
/// written as in a file, "Port 1" or "Port.web", or without "Port.": "web". "Port" or an
/// empty name make a further bare `[Port]`. The canonical name, which np_config_set takes,
/// is what np_config_get_port_name gives for *index.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; name is copied
/// Null: config and name must not be NULL; index and error may be
/// Fails: NP_ERR_ARGUMENT, also if there is a port section of that name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_add_port(
    config: *mut np_config,
    name: *const c_char,
    index: *mut u32,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error.
    unsafe {
        entry::error(error, || {
            let config = ptr::reference(config, "config")?;
            let name = ptr::text(name, "name")?;
            let place = Out::optional(index, "index")?;
            let mut config = config.inner.lock();
            config.add_port(name)?;
            // It is the last one.
            let at = u32::try_from(config.port_count() - 1).ok();
            place.put(at.ok_or_else(|| Error::new(Status::Internal, Status::Internal.message()))?);
            Ok(())
        })
    }
}

/// Sets one value, as a line "key = value" in the section would. section is a canonical
/// name: "Runtime", the name of a port ("Port", "Port.#2", "Port.web") or of a TLS section.
/// Keys, units and defaults are those of the INI file. Relative paths start at the working
/// directory at the time of the call. Whether the value is right, also whether it is empty,
/// np_config_check tells; np_runtime_new and np_listener_new refuse it.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing; the texts are copied
/// Null: only error may be NULL
/// Fails: NP_ERR_NOT_FOUND if there is no such port, NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_set(
    config: *mut np_config,
    section: *const c_char,
    key: *const c_char,
    value: *const c_char,
    error: *mut np_error,
) -> np_status {
    // SAFETY: the caller's promise for an np_error.
    unsafe {
        entry::error(error, || {
            let config = ptr::reference(config, "config")?;
            let section = ptr::text(section, "section")?;
            let key = ptr::text(key, "key")?;
            let value = ptr::text(value, "value")?;
            config.inner.lock().set(section, key, value)
        })
    }
}

/// Copies the value that counts into buffer: as it was written, or the default. *needed
/// becomes its size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer is then
/// unchanged. Keys of the host's own sections can be read as well.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: buffer may be NULL if size is 0; needed may be; config, section and key must not be
/// Fails: NP_ERR_NOT_FOUND if there is no such section or key, or a required one has no value
///   (one that has nothing by default gives an empty text), NP_ERR_BUFFER_TOO_SMALL,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_get(
    config: *const np_config,
    section: *const c_char,
    key: *const c_char,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object, strings and outputs.
        let (config, section, key, buffer) = unsafe {
            (
                ptr::reference(config, "config")?,
                ptr::text(section, "section")?,
                ptr::text(key, "key")?,
                TextBuffer::new(buffer, size, needed)?,
            )
        };
        // The host's secrets may be in its own sections.
        let value = config.inner.lock().get(section, key).map(Zeroizing::new);
        buffer.put(&value.ok_or(Status::NotFound)?)
    })
}

/// Checks everything, certificates and keys included, without binding anything, and calls
/// back for each finding: 1,000 errors and 1,000 warnings at most, and one that counts the others.
/// No finding shows a text that may be a key or password. The configuration can start if *errors is 0 and np_config_port_count
/// is not.
///
/// Thread: any; the callback runs in the calling thread, before the call returns
/// Blocking: no; it reads the files that the configuration names
/// Owns: nothing; a finding's texts are valid until the callback returns
/// Null: callback, errors and warnings may be NULL; config must not be
/// Fails: NP_ERR_ARGUMENT; findings are no failure
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_check(
    config: *const np_config,
    callback: np_finding_fn,
    user_data: *mut c_void,
    errors: *mut u32,
    warnings: *mut u32,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and outputs.
        let (config, errors, warnings) = unsafe {
            (
                ptr::reference(config, "config")?,
                Out::optional(errors, "errors")?,
                Out::optional(warnings, "warnings")?,
            )
        };
        // On a copy: reading key files takes time, and the callback may use the original.
        let copy = config.inner.lock().clone();
        let findings = copy.check();
        let mut counts = [0u32; 2];
        for finding in &findings {
            counts[usize::from(finding.severity == Severity::Warning)] += 1;
            if let Some(callback) = callback {
                // SAFETY: the callback is the caller's function for this user_data.
                show(finding, |finding| unsafe { callback(user_data, finding) });
            }
        }
        errors.put(counts[0]);
        warnings.put(counts[1]);
        Ok(())
    })
}

fn show(finding: &Finding, call: impl FnOnce(&np_finding)) {
    let whole = finding.to_string();
    let texts =
        [&whole, &finding.file, &finding.section, &finding.key, &finding.message, &finding.valid];
    // A file may hold NULs; C would see the text end there.
    let texts = texts.map(|text| CString::new(text.replace('\0', " ")).unwrap_or_default());
    call(&np_finding {
        struct_size: size_of::<np_finding>() as u32,
        severity: match finding.severity {
            Severity::Error => NP_SEVERITY_ERROR,
            Severity::Warning => NP_SEVERITY_WARNING,
        },
        line: finding.line,
        reserved: 0,
        text: texts[0].as_ptr(),
        file: texts[1].as_ptr(),
        section: texts[2].as_ptr(),
        key: texts[3].as_ptr(),
        message: texts[4].as_ptr(),
        valid: texts[5].as_ptr(),
    });
}

/// The number of port sections. np_listener_new takes an index below it.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: config may be NULL, the answer is 0
/// Fails: never; in the child of a fork the answer is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_port_count(config: *const np_config) -> u32 {
    entry::value_under_lock(0, || {
        // SAFETY: the caller's promise for an object.
        match unsafe { ptr::reference(config, "config") } {
            Ok(config) => u32::try_from(config.inner.lock().port_count()).unwrap_or(u32::MAX),
            Err(_) => 0,
        }
    })
}

/// Copies the canonical name of a port section, in the order of the file, into buffer.
/// *needed becomes its size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer is then
/// unchanged.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: buffer may be NULL if size is 0; needed may be; config must not be
/// Fails: NP_ERR_NOT_FOUND if there are not so many, NP_ERR_BUFFER_TOO_SMALL,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_get_port_name(
    config: *const np_config,
    index: u32,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and outputs.
        let (config, buffer) =
            unsafe { (ptr::reference(config, "config")?, TextBuffer::new(buffer, size, needed)?) };
        buffer.put(config.inner.lock().port_name(index as usize).ok_or(Status::NotFound)?)
    })
}

/// As np_config_get_port_name, but the name as the file writes it, for messages: "Port 1"
/// where the canonical name is "Port.1". It is whole; invisible characters are escaped.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: buffer may be NULL if size is 0; needed may be; config must not be
/// Fails: NP_ERR_NOT_FOUND if there are not so many, NP_ERR_BUFFER_TOO_SMALL,
///   NP_ERR_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_get_port_written_name(
    config: *const np_config,
    index: u32,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> np_status {
    entry::status(|| {
        // SAFETY: the caller's promise for an object and outputs.
        let (config, buffer) =
            unsafe { (ptr::reference(config, "config")?, TextBuffer::new(buffer, size, needed)?) };
        buffer.put(config.inner.lock().port_written_name(index as usize).ok_or(Status::NotFound)?)
    })
}

/// Ends a configuration. Runtimes and listeners made from it go on.
///
/// Thread: any; no other call with this pointer may be under way or follow
/// Blocking: no
/// Owns: config is gone
/// Null: config may be NULL, nothing happens
/// Fails: never
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_config_free(config: *mut np_config) {
    entry::value((), || {
        if !config.is_null() {
            // SAFETY: np_config_new made it with Box, and the caller gives it back.
            drop(unsafe { Box::from_raw(config) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others ask while a load waits for a pipe: otherwise they would wait until it gives up.
    #[test]
    fn a_load_that_waits_for_a_pipe_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("nativeport-lock-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()));
        let config = np_config { inner: Mutex::new(Config::new()) };
        let name = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let config = (&raw const config).cast_mut();
                // SAFETY: both live beyond the scope; the object has a lock of its own.
                unsafe { np_config_load_file(config, name.as_ptr(), std::ptr::null_mut()) }
            });
            // Returns when the reader has opened it.
            let writer = std::fs::OpenOptions::new().write(true).open(&path);
            // SAFETY: as above.
            assert_eq!(unsafe { np_config_port_count(&config) }, 0);
            drop(writer.expect("it is ours"));
            assert_eq!(load.join().expect("no panic"), Status::Ok.code());
        });
        std::fs::remove_file(&path).expect("it is ours");
    }
}
