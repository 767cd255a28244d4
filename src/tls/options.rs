//! What a TLS section of the configuration says, in Rust types, and how its errors look.
//!
//! Promises: every error names the key at fault. Reading the INI file, its line numbers and
//! its units are left to `config`; what the values mean is left to `identity` and `policy`.

use std::fmt;
use std::path::PathBuf;

use crate::base::shown::{shown_all, shown_path};

/// A version of TLS. Older ones do not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// The name as logs and facts show it.
    pub const fn name(self) -> &'static str {
        match self {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        }
    }
}

/// `keyPermissions`: what becomes of a private key that every user can read or change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyPermissions {
    /// It is refused.
    #[default]
    Strict,
    /// It is taken, with a warning.
    Warn,
}

/// The keys of a TLS section. Empty lists mean the defaults of this library.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// `certificate`: PEM chain, the server's own certificate first.
    pub certificate: Option<PathBuf>,
    /// `privateKey`: PEM key; may be the same file.
    pub private_key: Option<PathBuf>,
    /// `keyPermissions`.
    pub key_permissions: KeyPermissions,
    /// `selfSigned`: names and addresses for an identity made on the spot.
    pub self_signed: Vec<String>,
    /// `minVersion`.
    pub min_version: Version,
    /// `maxVersion`.
    pub max_version: Version,
    /// `cipherSuites`: IANA names, most wanted first.
    pub cipher_suites: Vec<String>,
    /// `groups`: IANA names, most wanted first.
    pub groups: Vec<String>,
    /// `alpn`: protocol names, most wanted first.
    pub alpn: Vec<String>,
    /// `alpnMismatch = continue`.
    pub alpn_may_mismatch: bool,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            certificate: None,
            private_key: None,
            key_permissions: KeyPermissions::Strict,
            self_signed: Vec::new(),
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            alpn_may_mismatch: false,
        }
    }
}

impl fmt::Debug for TlsOptions {
    /// Never shows a key that was given in place of a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_deref().map(shown_path);
        f.debug_struct("TlsOptions")
            .field("certificate", &path(&self.certificate))
            .field("private_key", &path(&self.private_key))
            .field("key_permissions", &self.key_permissions)
            .field("self_signed", &shown_all(&self.self_signed))
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .field("cipher_suites", &shown_all(&self.cipher_suites))
            .field("groups", &shown_all(&self.groups))
            .field("alpn", &shown_all(&self.alpn))
            .finish()
    }
}

/// Why a TLS section cannot be used, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The INI key at fault, for example `privateKey`.
    pub key: &'static str,
    /// One line with place and remedy.
    pub message: String,
}

impl LoadError {
    pub(super) fn new(key: &'static str, message: impl Into<String>) -> LoadError {
        LoadError { key, message: message.into() }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for LoadError {}
