//! Reading the bytes of a configuration file, within bounds of size and time.
//!
//! Promises: nothing waits but a pipe or terminal, and that for `PIPE_WAIT` at most; what was read is
//! wiped when it is dropped.

use super::says::{self, Text};
use super::text;
use crate::base::sys;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Between two reads of a device that is ready and gives nothing.
const NEVER_READY: Duration = Duration::from_millis(10);
/// A larger text is no configuration.
pub const MOST_BYTES: usize = 8 << 20;

/// How long a pipe may take from its first byte to its end.
pub(super) const PIPE_WAIT: Duration = Duration::from_secs(5);

/// What was read, and whether it is a file in a folder.
pub(super) struct Source {
    pub bytes: Zeroizing<Vec<u8>>,
    pub is_file: bool,
}

/// Why nothing was read.
pub(super) struct Unread {
    pub os_error: i32,
    pub text: Text,
}

impl Unread {
    /// The operating system refused it.
    pub(super) fn because(path: &Path, error: std::io::Error) -> Unread {
        let os_error = error.raw_os_error().unwrap_or(0);
        let text = match std::env::current_dir() {
            Ok(folder) if path.is_relative() => {
                says::unreadable_in(error, text::path(&folder.to_string_lossy()))
            }
            _ => says::unreadable(error),
        };
        Unread { os_error, text }
    }
}

impl From<Text> for Unread {
    fn from(text: Text) -> Unread {
        Unread { os_error: 0, text }
    }
}

/// Reads a file, or something that is not regular: a pipe, a terminal, a device.
pub(super) fn read(path: &Path, wait: Duration) -> Result<Source, Unread> {
    // Without blocking: a pipe without a writer, or a device, must not hold the caller up.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let unread = |error| Unread::because(path, error);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    if metadata.is_dir() {
        return Err(says::folder().into());
    }
    let is_file = metadata.is_file();
    let expected = usize::try_from(metadata.len()).unwrap_or(MOST_BYTES);
    let deadline = (!is_file).then(|| Instant::now() + wait);
    let ready = || deadline.map_or(Ok(true), |deadline| is_ready(&file, deadline));
    let bytes =
        read_all(&file, expected, ready, deadline, wait).map_err(|unread| match unread {
            Stopped::Failed(error) => Unread::because(path, error),
            Stopped::Refused(text) => text.into(),
        })?;
    Ok(Source { bytes, is_file })
}

/// Why a reading stopped before the end.
#[derive(Debug)]
enum Stopped {
    Failed(std::io::Error),
    Refused(Text),
}

/// Reads to the end, whenever it is ready. With a deadline it may have nothing for a while.
fn read_all(
    mut file: impl Read,
    expected: usize,
    ready: impl Fn() -> std::io::Result<bool>,
    deadline: Option<Instant>,
    wait: Duration,
) -> Result<Zeroizing<Vec<u8>>, Stopped> {
    let silent = || Stopped::Refused(says::silent_pipe(wait.as_secs_f32()));
    // One byte more than expected shows the end without a copy.
    let mut bytes = Zeroizing::new(vec![0; expected.clamp(4095, MOST_BYTES) + 1]);
    let mut len = 0;
    loop {
        if !ready().map_err(Stopped::Failed)? {
            return Err(silent());
        }
        match (file.read(&mut bytes[len..]), deadline) {
            (Ok(0), _) => break,
            (Ok(read), _) => len += read,
            // Somebody else was faster, or the device is never ready though it says so.
            (Err(error), Some(deadline)) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err(silent());
                }
                std::thread::sleep(NEVER_READY);
            }
            (Err(error), _) if error.kind() == ErrorKind::Interrupted => {}
            (Err(error), _) => return Err(Stopped::Failed(error)),
        }
        if len > MOST_BYTES {
            return Err(Stopped::Refused(says::too_large(MOST_BYTES >> 20)));
        }
        if len == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * len).min(MOST_BYTES + 1)]);
            larger[..len].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn is_ready(file: &File, deadline: Instant) -> std::io::Result<bool> {
    sys::wait_readable(file.as_fd(), deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    fn cause(path: &str) -> String {
        match read(Path::new(path), Duration::ZERO) {
            Ok(_) => panic!("{path} was read"),
            Err(error) => error.text.cause().to_owned(),
        }
    }

    #[test]
    fn what_has_no_end_is_read_up_to_the_bound() {
        assert_eq!(cause("/dev/zero"), "the configuration is larger than 8 MiB");
    }

    /// A device that says that it is ready, and has nothing.
    #[test]
    fn what_is_ready_and_gives_nothing_is_not_read_for_ever() {
        struct Empty;
        impl Read for Empty {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
        }
        let now = Some(Instant::now());
        match read_all(Empty, 0, || Ok(true), now, Duration::ZERO) {
            Err(Stopped::Refused(text)) => assert!(text.cause().contains("did not end within 0 s")),
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        assert_eq!(cause("/"), "the configuration file is a folder");
        let read = read(Path::new("/dev/null"), PIPE_WAIT).map_err(|_| "it can be read");
        assert!(read.is_ok_and(|source| source.bytes.is_empty() && !source.is_file));
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_waited_for_without_one() {
        let (reader, mut writer) = std::io::pipe().expect("there are descriptors");
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert!(cause(&path).starts_with("the pipe did not end within 0 s"));
        writer.write_all(b"[Port]\n").expect("a pipe holds that");
        assert!(cause(&path).starts_with("the pipe did not end within"));
        let large = vec![b'\n'; 100_000];
        let thread = std::thread::spawn({
            let large = large.clone();
            move || writer.write_all(&large)
        });
        let source = read(Path::new(&path), Duration::from_secs(3600)).map_err(|_| "it ends");
        assert!(source.is_ok_and(|source| *source.bytes == large));
        thread.join().expect("it does not panic").expect("all of it is read");
    }

    #[test]
    fn a_named_pipe_without_a_writer_does_not_hang() {
        let path = std::env::temp_dir().join(format!("nativeport-fifo-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()));
        let cause = cause(path.to_str().expect("it is text"));
        std::fs::remove_file(&path).expect("it is ours");
        assert!(cause.starts_with("the pipe did not end within 0 s"));
    }
}
