//! The typed settings: what a valid configuration comes to, defaults included.
//!
//! Promises: every number is in the range of its key. What the operating system or the
//! TLS library makes of addresses, files, cipher suites and groups is left to those who
//! use them.

pub use super::finding::Origin;
use crate::base::shown::{shown_all, shown_path};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of `[Runtime]`.
    pub runtime: RuntimeSettings,
    /// Of the port sections, in file order.
    pub ports: Vec<PortSettings>,
}

/// What all ports share.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// `ioThreads`.
    pub io_threads: usize,
    /// `handshakeThreads`.
    pub handshake_threads: usize,
    /// `workerThreads`.
    pub worker_threads: usize,
    /// `memoryLimit`.
    pub memory_limit_bytes: u64,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `accepterPriority`.
    pub accepter_priority: AccepterPriority,
    /// `callbackThreads`, of Java.
    pub callback_threads: CallbackThreads,
    /// `exitFlush`, of Java; 0 = off.
    pub exit_flush_ms: u64,
}

/// Where a section and its keys stand.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub(super) section: Origin,
    pub(super) keys: BTreeMap<&'static str, Origin>,
}

impl Places {
    /// Of the key, or of the section's header where the key is not given.
    pub fn of(&self, key: &str) -> &Origin {
        self.keys.get(key).unwrap_or(&self.section)
    }

    /// Whether the key is given, with a value that is right.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortSettings {
    /// The canonical name.
    pub name: String,
    /// The name as the file writes it.
    pub written: String,
    /// Where the section and its keys stand.
    pub places: Places,
    /// `port`; 0 = any free one.
    pub port: u16,
    /// `mapToPort`; 0 = the bound one.
    pub map_to_port: u16,
    /// `bindAddress` as written; empty = all.
    pub bind_addresses: Vec<String>,
    /// `queueLength`.
    pub queue_length: u32,
    /// What `sslSection` names; `None` = plain.
    pub tls: Option<Arc<TlsSettings>>,
    /// `ssl`; without meaning on a plain port.
    pub ssl: SslMode,
    /// `readTimeout`; 0 = none.
    pub read_timeout_ms: u64,
    /// `handshakeTimeout`, never 0.
    pub handshake_timeout_ms: u64,
    /// `frameTimeout`; 0 = none.
    pub frame_timeout_ms: u64,
    /// `idleTimeout`; 0 = never.
    pub idle_timeout_ms: u64,
    /// `writeTimeout`, never 0.
    pub write_timeout_ms: u64,
    /// `closeTimeout`, never 0.
    pub close_timeout_ms: u64,
    /// `accepterThreads`.
    pub accepter_threads: usize,
    /// `maxConnections`; 0 = none.
    pub max_connections: u64,
    /// `maxConnectionsPerAddress`; 0 = none.
    pub max_connections_per_address: u64,
    /// `maxHandshakes`; 0 = none, `None` = the runtime's.
    pub max_handshakes: Option<u64>,
    /// `maxHandshakesPerAddress`; 0 = none.
    pub max_handshakes_per_address: u64,
    /// `maxFrameSize`, at most 2,147,483,647.
    pub max_frame_size_bytes: u64,
    /// `maxInflatedSize`, at most 2,147,483,647.
    pub max_inflated_size_bytes: u64,
    /// `compression`.
    pub compression: Compression,
    /// `compressThreshold`.
    pub compress_threshold_bytes: u64,
    /// `compressLimit`.
    pub compress_limit_bytes: u64,
    /// `compressLevel`, 0 to 9.
    pub compress_level: u32,
    /// `sendQueueLimit`.
    pub send_queue_limit_bytes: u64,
    /// `receiveWindow`.
    pub receive_window_bytes: u64,
    /// `keepAlive`; 0 = off.
    pub keep_alive_ms: u64,
    /// `dscp`; 0 = best effort.
    pub dscp: u32,
    /// `requireCloseNotify`; without meaning on a plain port.
    pub require_close_notify: bool,
}

/// One TLS section.
#[derive(Clone)]
pub struct TlsSettings {
    /// The section's name as the file writes it.
    pub section: String,
    /// Where the section and its keys stand.
    pub places: Places,
    /// `certificate`; there exactly if `self_signed` is empty.
    pub certificate: Option<PathBuf>,
    /// `privateKey`; there exactly if `self_signed` is empty.
    pub private_key: Option<PathBuf>,
    /// `keyPermissions`.
    pub key_permissions: KeyPermissions,
    /// `minVersion`, never above `max_version`.
    pub min_version: TlsVersion,
    /// `maxVersion`.
    pub max_version: TlsVersion,
    /// `cipherSuites`, unchecked; empty = the library's.
    pub cipher_suites: Vec<String>,
    /// `groups`, unchecked; empty = the library's.
    pub groups: Vec<String>,
    /// `alpn`; empty = none.
    pub alpn: Vec<String>,
    /// `alpnMismatch`.
    pub alpn_mismatch: AlpnMismatch,
    /// `selfSigned`: the names; empty = off.
    pub self_signed: Vec<String>,
}

impl fmt::Debug for TlsSettings {
    /// Never shows a key that was given in place of a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_deref().map(shown_path);
        f.debug_struct("TlsSettings")
            .field("section", &self.section)
            .field("places", &self.places)
            .field("certificate", &path(&self.certificate))
            .field("private_key", &path(&self.private_key))
            .field("key_permissions", &self.key_permissions)
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .field("cipher_suites", &shown_all(&self.cipher_suites))
            .field("groups", &shown_all(&self.groups))
            .field("alpn", &shown_all(&self.alpn))
            .field("self_signed", &shown_all(&self.self_signed))
            .finish()
    }
}

/// Builds an enum of the words of a choice in `keys`.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident: $($variant:ident = $word:literal, $about:literal;)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $about] $variant,)* }

        impl $name {
            /// As the INI file writes it.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The variant with this word, if there is one.
            pub(super) fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// `logLevel`; a later one includes all before it.
    LogLevel:
    Off = "off", "No records.";
    Error = "error", "Something does not work.";
    Warn = "warn", "Something is doubtful.";
    Info = "info", "What an operator wants to see.";
    Debug = "debug", "What a developer wants to see.";
}

words! {
    /// `accepterPriority`.
    AccepterPriority:
    Normal = "normal", "Accepter threads make way for the loops.";
    Raised = "raised", "Accepter threads go first, best effort.";
}

words! {
    /// `callbackThreads`: what callbacks of Java run on.
    CallbackThreads:
    Platform = "platform", "Threads of the operating system.";
    Virtual = "virtual", "Virtual threads, of JDK 21 or later.";
}

words! {
    /// `ssl`: which clients a port with TLS takes.
    SslMode:
    Required = "required", "TLS only.";
    Auto = "auto", "TLS and plain, told apart by the first byte.";
}

words! {
    /// `alpnMismatch`: what becomes of a client whose ALPN list has nothing in common with `alpn`.
    AlpnMismatch:
    Refuse = "refuse", "It is refused with the alert no_application_protocol.";
    Continue = "continue", "It goes on without ALPN.";
}

words! {
    /// `compression`.
    Compression:
    Auto = "auto", "Reads zlib and raw, writes zlib.";
    Zlib = "zlib", "Reads and writes zlib.";
    Raw = "raw", "Reads and writes raw deflate.";
    Off = "off", "Reads zlib and raw, never writes compressed.";
    Never = "never", "Refuses compressed frames, and never writes them.";
}

words! {
    /// `keyPermissions`: what becomes of a private key that every user can read or change.
    KeyPermissions:
    Strict = "strict", "It is refused.";
    Warn = "warn", "It is taken, with a warning.";
}

words! {
    /// `minVersion`, `maxVersion`.
    TlsVersion:
    Tls12 = "1.2", "TLS 1.2.";
    Tls13 = "1.3", "TLS 1.3.";
}
