//! Status codes and close reasons: the two numbered lists that every language sees.
//!
//! Each list is one table. From it come the Rust enum, the names and messages, the
//! constants of `include/nativeport.h` (build.rs reads the table) and the tables of
//! the reference manual (a test compares them). Numbers are frozen: lines are only
//! ever appended, never renumbered or reused.

/// Builds one numbered list. A line is `Variant = number, "C_NAME", "message";`.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident: $($variant:ident = $number:literal, $label:literal, $message:literal;)*) => {
        $(#[$meta])*
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $(#[doc = $message] $variant = $number,)* }

        impl $name {
            /// Every entry, in the order of the table.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The frozen number.
            pub const fn code(self) -> i32 { self as i32 }

            /// The stable name, as C and the documents write it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }

            /// One sentence for people.
            pub const fn message(self) -> &'static str {
                match self { $($name::$variant => $message,)* }
            }

            /// The entry with this number, if there is one.
            pub fn from_code(code: i32) -> Option<$name> {
                match code { $($number => Some($name::$variant),)* _ => None }
            }
        }
    };
}

numbered! {
    /// What a call can answer. 0 is success, errors are negative, in blocks of 100:
    /// argument, state, I/O, TLS, framing, configuration, internal.
    Status:
    Ok = 0, "OK", "success";
    Argument = -101, "ERR_ARGUMENT", "an argument is NULL, out of range or badly formed";
    InvalidHandle = -102, "ERR_INVALID_HANDLE", "this value was never the handle of a connection";
    TooLarge = -103, "ERR_TOO_LARGE", "the data is larger than the limit for it";
    NotFound = -104, "ERR_NOT_FOUND", "there is nothing of that name or number";
    Unsupported = -105, "ERR_UNSUPPORTED", "not available in this version or on this system";
    BufferTooSmall = -106, "ERR_BUFFER_TOO_SMALL", "the buffer is too small; the needed size was written";
    Closed = -201, "ERR_CLOSED", "the connection is closed or closing";
    State = -202, "ERR_STATE", "the call does not fit the present state";
    InCallback = -203, "ERR_IN_CALLBACK", "a call that may wait is not allowed inside a callback";
    WouldBlock = -204, "ERR_WOULD_BLOCK", "the send queue is full; a writable event follows";
    TimedOut = -205, "ERR_TIMED_OUT", "the time-out passed first";
    Stopped = -206, "ERR_STOPPED", "the runtime or listener has been stopped";
    Io = -301, "ERR_IO", "the operating system reported an error";
    AddressInUse = -302, "ERR_ADDRESS_IN_USE", "the address and port are already in use";
    AddressNotAvailable = -303, "ERR_ADDRESS_NOT_AVAILABLE", "the address does not exist on this machine or could not be resolved";
    PermissionDenied = -304, "ERR_PERMISSION_DENIED", "the operating system refused permission";
    NoDescriptors = -305, "ERR_NO_DESCRIPTORS", "no file descriptors are left";
    NoThreads = -306, "ERR_NO_THREADS", "the operating system would not start another thread";
    Tls = -401, "ERR_TLS", "TLS failed";
    Certificate = -402, "ERR_CERTIFICATE", "the certificate or private key cannot be used";
    FrameTooLarge = -501, "ERR_FRAME_TOO_LARGE", "a frame holds at most 2,147,483,647 bytes";
    Config = -601, "ERR_CONFIG", "the configuration has an error";
    ConfigFile = -602, "ERR_CONFIG_FILE", "the configuration file cannot be read";
    Panic = -701, "ERR_PANIC", "a defect inside the library was caught; please report it";
    MemoryLimit = -702, "ERR_MEMORY_LIMIT", "no memory: memoryLimit is reached and this connection would hold most (it ends), or the system has none";
    Internal = -703, "ERR_INTERNAL", "an invariant inside the library does not hold; please report it";
}

numbered! {
    /// Why a connection ended. 0 is never used.
    CloseReason:
    PeerClosed = 1, "peer_closed", "the peer ended the stream";
    PeerReset = 2, "peer_reset", "the peer reset the connection";
    HostClosed = 3, "host_closed", "the host called close";
    HostAborted = 4, "host_aborted", "the host called abort";
    HostDeadline = 5, "host_deadline", "the deadline that the host had set passed";
    AdmissionRefused = 6, "admission_refused", "the host refused the connection at admission";
    AdmissionTimeout = 7, "admission_timeout", "the host did not decide about admission within readTimeout";
    NoHandler = 8, "no_handler", "no handler is registered for this protocol";
    ClosedBeforeIdentified = 9, "closed_before_identified", "the peer ended the stream before its first byte";
    ReadTimeout = 10, "read_timeout", "the first byte did not arrive within readTimeout";
    HandshakeTimeout = 11, "handshake_timeout", "the TLS handshake was not finished within handshakeTimeout";
    FrameTimeout = 12, "frame_timeout", "a frame was begun and not completed within frameTimeout";
    IdleTimeout = 13, "idle_timeout", "nothing was sent or received for idleTimeout";
    WriteTimeout = 14, "write_timeout", "the peer acknowledged nothing of what was sent for writeTimeout";
    CloseTimeout = 15, "close_timeout", "the flush of a close took longer than closeTimeout";
    TlsOnPlainPort = 20, "tls_on_plain_port", "the peer speaks TLS on a port without TLS";
    TlsFailed = 21, "tls_failed", "TLS failed";
    TlsTruncated = 22, "tls_truncated", "the peer ended the stream without close_notify";
    TlsNoData = 23, "tls_no_data", "the peer sent TLS records without data, over and over";
    FrameTooLarge = 30, "frame_too_large", "a frame is larger than maxFrameSize";
    Truncated = 31, "truncated", "the stream ended inside a frame, or inside a TLS record where requireCloseNotify is no";
    DeflateCorrupt = 32, "deflate_corrupt", "a compressed payload is broken or incomplete";
    DeflateEmpty = 33, "deflate_empty", "a compressed frame has no bytes on the wire";
    DeflateTrailing = 34, "deflate_trailing", "a compressed payload goes on behind the end of its stream";
    InflatedTooLarge = 35, "inflated_too_large", "a payload inflates to more than maxInflatedSize";
    CompressionRefused = 36, "compression_refused", "the peer sent a compressed frame to a port with compression = never";
    MaxConnections = 40, "max_connections", "the port has maxConnections already";
    MaxConnectionsPerAddress = 41, "max_connections_per_address", "the address has maxConnectionsPerAddress already";
    MaxHandshakes = 42, "max_handshakes", "maxHandshakes is reached and this unidentified connection was evicted";
    MaxHandshakesPerAddress = 43, "max_handshakes_per_address", "the address has reached maxHandshakesPerAddress and this unidentified connection was evicted";
    NoDescriptors = 44, "no_descriptors", "no file descriptors are left";
    MemoryLimit = 45, "memory_limit", "no memory: memoryLimit is reached and this connection, above 64 KiB, holds most, or the system has none";
    AddressOverShare = 46, "address_over_share", "descriptors are scarce and the address holds more than half of the connections";
    Stopped = 50, "stopped", "the listener or runtime stopped before the connection was identified";
    DrainDeadline = 51, "drain_deadline", "the drain deadline cut the connection";
    IoError = 60, "io_error", "the operating system reported an error on the socket";
    KeepAlive = 61, "keep_alive", "the peer no longer answers";
    CallbackPanic = 70, "callback_panic", "a callback of the host failed";
    Internal = 71, "internal", "a defect inside the library was caught";
}

/// A failed call: a status, and words that name the place and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub status: Status,
    /// `errno` of the operating system, 0 if it was not involved.
    pub os_error: i32,
    /// TLS alert, -1 if there was none.
    pub tls_alert: i32,
    /// One line for people.
    pub message: String,
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::new(status, status.message())
    }
}

impl Error {
    /// An error that the operating system had no part in.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, os_error: 0, tls_alert: -1, message: message.into() }
    }

    /// An error of the operating system, with what was being done.
    pub fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Error {
        let os_error = error.raw_os_error().unwrap_or(0);
        let status = match os_error {
            libc::EADDRINUSE => Status::AddressInUse,
            libc::EADDRNOTAVAIL => Status::AddressNotAvailable,
            libc::EACCES | libc::EPERM => Status::PermissionDenied,
            libc::EMFILE | libc::ENFILE => Status::NoDescriptors,
            _ => Status::Io,
        };
        Error { status, os_error, tls_alert: -1, message: format!("{doing}: {error}") }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_names_are_unique_and_lead_back() {
        let mut seen = HashSet::new();
        for &status in Status::ALL {
            assert!(seen.insert(status.code()) && status.code() <= 0);
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        let mut names = HashSet::new();
        for &reason in CloseReason::ALL {
            assert!(names.insert(reason.name()) && reason.code() > 0);
            assert_eq!(CloseReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Status::from_code(1), None);
        assert_eq!(CloseReason::from_code(0), None);
    }
}
