//! A certificate chain with its private key, from PEM files or made for trying things out.
//!
//! Promises: a loaded identity's key belongs to its certificate, which is sent first; every
//! certificate of the file is sent once, or the file is refused; a private key that every user of
//! the machine can read or change is refused, unless `keyPermissions` says else; each way in which
//! a file can be wrong has its own one-line error with the file's name and line, without content
//! of the file. The text and the bytes of a key are wiped after loading, also on errors.
//! Whether a certificate is still valid is not looked at here (`validity` tells). Keystores and
//! passwords are not available in this version.
//!
//! This file is long: it has every message about a wrong certificate or key beside the step that finds it. `from_pem` is
//! long, and `pair` is long: each is one list of such steps.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use zeroize::Zeroizing;

use super::chain::{self, Certificate};
use super::options::{KeyPermissions, LoadError};
use super::pem::{self, Block, Label, contains};
use super::private_key::{is_private_key, signer};
use crate::base::canary::{self, Canary};
use crate::base::shown::{
    begins_pem, ends_pem, escaped, may_be_secret, shown, shown_all, shown_path,
};

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "privateKey";
const SELF_SIGNED: &str = "selfSigned";

/// More than any chain or key needs; a wrong path must not fill the memory.
const MAX_FILE: u64 = 1024 * 1024;
/// Each one costs up to a millisecond.
const MAX_KEYS: usize = 64;

/// A certificate chain and its private key, ready to be used.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) dates: Vec<Dates>,
}

/// When certificates can be used, in seconds since 1970-01-01 UTC, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_s: i64,
    /// The last second.
    pub not_after_s: i64,
}

impl Validity {
    fn of(certificate: Option<&X509Certificate<'_>>) -> Validity {
        let validity = certificate.map(|certificate| certificate.validity());
        Validity {
            not_before_s: validity.map_or(i64::MIN, |v| v.not_before.timestamp()),
            not_after_s: validity.map_or(i64::MAX, |v| v.not_after.timestamp()),
        }
    }
}

/// The dates of one certificate that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Dates {
    /// FILE:LINE; empty if it is in no file.
    pub place: String,
    pub validity: Validity,
    /// It is the server's own, which every client judges.
    pub is_own: bool,
}

/// So many issuers are told of when their dates are doubtful; chains have one or two.
const MAX_ISSUERS: usize = 8;

impl Identity {
    /// Loads a PEM chain and a PEM private key (PKCS#8, PKCS#1 or SEC1). Both paths may name the
    /// same file. The second part holds warnings, with the key that each is about.
    pub fn load(
        certificate: &Path,
        private_key: &Path,
        permissions: KeyPermissions,
    ) -> Result<(Identity, Vec<LoadError>), LoadError> {
        let mut warnings = Vec::new();
        let chain = Source::open(CERTIFICATE, certificate)?;
        let key = Source::open(PRIVATE_KEY, private_key)?;
        warnings.extend(check_mode(&key, permissions)?);
        let identity = Identity::from_pem(&chain, &key, permissions, &mut warnings)?;
        Ok((identity, warnings))
    }

    /// The same from texts that were read before.
    pub(crate) fn from_pem(
        certificate: &Source,
        private_key: &Source,
        permissions: KeyPermissions,
        warnings: &mut Vec<LoadError>,
    ) -> Result<Identity, LoadError> {
        let chain_blocks = certificate.blocks()?;
        let key_blocks = private_key.blocks()?;
        let has_key = |blocks: &[Block]| blocks.iter().any(|block| block.label.is_private_key());
        let has_certificate =
            |blocks: &[Block]| blocks.iter().any(|block| block.label.is_certificate());
        if !has_certificate(&chain_blocks) && has_certificate(&key_blocks) && has_key(&chain_blocks)
        {
            return Err(certificate.error(format!(
                "this file holds a private key, and {} the certificate; exchange the two paths",
                private_key.place
            )));
        }
        if !has_certificate(&chain_blocks) {
            return Err(certificate.error(no_certificate(&chain_blocks, certificate)));
        }
        if !has_key(&key_blocks) {
            return Err(private_key.error(no_key(&key_blocks, private_key)));
        }
        let mut all = Vec::new();
        for block in chain_blocks.iter().filter(|block| block.label.is_certificate()) {
            let read = Certificate::read(block);
            all.push(read.map_err(|reason| certificate.error_at(block.line, reason))?);
        }
        let (leaf, key) = pair(&all, &key_blocks, certificate, private_key)?;
        if certificate.is_open_to_all() && certificate.place != private_key.place {
            warnings.extend(check_further_key(
                &chain_blocks,
                &all[leaf],
                certificate,
                permissions,
            )?);
        }
        let sent = chain::order(&all, leaf);
        for (line, text) in sent.warnings {
            warnings.push(certificate.error_at(line, text));
        }
        let own = (leaf, true);
        let issuers = sent.issuers.iter().take(MAX_ISSUERS).map(|&at| (at, false));
        let dates = [own].into_iter().chain(issuers).map(|(at, is_own)| Dates {
            place: format!("{}:{}", certificate.place, all[at].line),
            validity: Validity::of(all[at].x509.as_ref()),
            is_own,
        });
        let dates = dates.collect();
        let key = CertifiedKey::new(chain::owned(&all, &sent.order), key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Identity { key: Arc::new(key), dates })
            }
            Err(error) => {
                let reason = match error {
                    Error::InvalidCertificate(CertificateError::BadEncoding) => {
                        "its encoding is not strict DER".to_owned()
                    }
                    Error::InvalidCertificate(error) => format!("{error:?}"),
                    _ => "it does not belong to the key".to_owned(),
                };
                Err(certificate.error_at(
                    all[leaf].line,
                    format!(
                        "the TLS library cannot use this certificate ({reason}); make it again"
                    ),
                ))
            }
        }
    }

    /// Makes an ECDSA P-256 identity for DNS names and IP addresses. The string is a warning.
    pub fn self_signed(names: &[String]) -> Result<(Identity, String), LoadError> {
        let failed = |error: rcgen::Error| {
            LoadError::new(
                SELF_SIGNED,
                format!("cannot make an identity for {}: {error}", shown_all(names).join(", ")),
            )
        };
        let Some(first) = names.first() else {
            return Err(LoadError::new(
                SELF_SIGNED,
                "no name is given; name the hosts, for example localhost",
            ));
        };
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            let name = shown(name);
            return Err(LoadError::new(
                SELF_SIGNED,
                format!("\"{name}\" is neither a host name nor an IP address"),
            ));
        }
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, first);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        // It keeps the key's bytes: wiped at the end of this function.
        let pair = Zeroizing::new(pair);
        let certificate = params.self_signed(&*pair).map_err(failed)?;
        let unusable = |error: Error| LoadError::new(SELF_SIGNED, error.to_string());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialized_der()));
        let key = any_supported_type(&key).map_err(unusable)?;
        let der = certificate.der().clone();
        let x509 = X509Certificate::from_der(&der).ok();
        let validity = Validity::of(x509.as_ref().map(|(_, x509)| x509));
        let dates = vec![Dates { place: String::new(), validity, is_own: true }];
        let key = CertifiedKey::new(vec![der.clone()], key);
        key.keys_match().map_err(unusable)?;
        let warning = format!(
            "self-signed identity for {}, for trying things out",
            shown_all(names).join(", ")
        );
        Ok((Identity { key: Arc::new(key), dates }, warning))
    }

    /// How many certificates are sent.
    pub fn certificates(&self) -> usize {
        self.key.cert.len()
    }

    /// When the server's own certificate is valid.
    pub fn validity(&self) -> Validity {
        self.dates.first().map_or_else(|| Validity::of(None), |own| own.validity)
    }
}

impl std::fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} certificates)", self.certificates())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    name.parse::<IpAddr>().is_ok() || (1..=253).contains(&name.len()) && name.chars().all(plain)
}

/// A file that was read once, so that content and permissions belong together. Wiped when it is
/// dropped, since it may hold a key.
pub(crate) struct Source {
    key: &'static str,
    place: String,
    text: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Source {
    /// A text that is in no file; `key` is the key of the configuration that errors name.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn new(key: &'static str, place: &str, text: &[u8]) -> Source {
        Source { key, place: place.to_owned(), text: Zeroizing::new(text.to_vec()), mode: 0o600 }
    }

    fn open(key: &'static str, path: &Path) -> Result<Source, LoadError> {
        let value = String::from_utf8_lossy(path.as_os_str().as_bytes());
        const REMEDY: &str = "write it into a file that only this user can read (chmod 600), and set the path of the file";
        if begins_pem(&value) || ends_pem(&value) {
            return Err(LoadError::new(
                key,
                format!(
                    "the value is no path, it is a key or certificate (it is not shown); {REMEDY}"
                ),
            ));
        }
        // What can be opened is a path, whatever it looks like.
        let failed = |error: io::Error| {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "the file does not exist".to_string(),
                io::ErrorKind::PermissionDenied => {
                    "the user this process runs as may not read the file".to_string()
                }
                _ => format!("the file cannot be read ({error})"),
            };
            let message = match may_be_secret(&value) {
                true => format!(
                    "{reason}; the path is not shown, as it looks like a key or certificate; if it is one, {REMEDY}"
                ),
                false => format!("{}: {reason}", shown_path(path)),
            };
            LoadError::new(key, message)
        };
        // Non-blocking, since opening a pipe would otherwise wait for its writer.
        let mut file =
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
        let place = escaped(&value);
        let fail = |reason: &str| Err(LoadError::new(key, format!("{place}: {reason}")));
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return fail("this is not a regular file");
        }
        if about.len() > MAX_FILE {
            return fail("the file is larger than 1 MiB; is it PEM?");
        }
        // As large as it will get: a growing buffer would leave copies of a key behind.
        let mut text = Zeroizing::new(vec![0; about.len() as usize + 1]);
        let mut len = 0;
        loop {
            match file.read(&mut text[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        match len {
            0 => return fail("the file is empty"),
            len if len == text.len() => {
                return fail("the file grew while it was read; try again when it is complete");
            }
            len => text.truncate(len),
        }
        Ok(Source { key, place, text, mode: about.permissions().mode() })
    }

    fn error(&self, reason: impl std::fmt::Display) -> LoadError {
        LoadError::new(self.key, format!("{}: {reason}", self.place))
    }

    fn error_at(&self, line: u32, reason: impl std::fmt::Display) -> LoadError {
        LoadError::new(self.key, format!("{}:{line}: {reason}", self.place))
    }

    fn blocks(&self) -> Result<Vec<Block>, LoadError> {
        pem::read(&self.text).map_err(|error| {
            let message = error.message(&self.place);
            let message = told(message, &self.text);
            LoadError::new(self.key, message)
        })
    }

    fn is_open_to_all(&self) -> bool {
        self.mode & 0o006 != 0
    }
}

/// Shows the beginning of the first block, if that fault is switched on.
fn told(message: String, text: &[u8]) -> String {
    if !canary::is_on(Canary::ToldText) {
        return message;
    }
    let text = String::from_utf8_lossy(text);
    let block = text.split("-----").nth(2).unwrap_or_default();
    message + &block.chars().filter(|c| c.is_ascii_graphic()).take(40).collect::<String>()
}

/// How a key gets the right permissions; `warn` ends what is said about them.
fn mode_remedy(place: &str) -> String {
    format!(
        "run: chmod 600 {place}, or for a mounted secret set defaultMode: 0400 of the volume (Kubernetes) or mode: 0400 of the secret (Docker), or keyPermissions = warn"
    )
}

fn check_mode(key: &Source, permissions: KeyPermissions) -> Result<Option<LoadError>, LoadError> {
    let (place, mode) = (&key.place, key.mode & 0o777);
    if key.is_open_to_all() {
        let found = format!("every user can read or change this private key (mode {mode:04o})");
        return match permissions {
            KeyPermissions::Strict => Err(key.error(format!("{found}; {}", mode_remedy(place)))),
            KeyPermissions::Warn => Ok(Some(key.error(format!("{found}; run: chmod 600 {place}")))),
        };
    }
    Ok((mode & 0o060 != 0 && permissions == KeyPermissions::Strict).then(|| {
        key.error(format!("the group can read or change this private key (mode {mode:04o}); to keep it to one user, run: chmod 600 {place}; if it must be so, as for a mounted secret of Kubernetes with fsGroup and defaultMode: 0440, set keyPermissions = warn, which accepts it without this warning"))
    }))
}

/// Judges the private keys in a file of certificates that every user can read or change.
fn check_further_key(
    blocks: &[Block],
    leaf: &Certificate<'_>,
    file: &Source,
    permissions: KeyPermissions,
) -> Result<Option<LoadError>, LoadError> {
    let keys: Vec<&Block> = blocks.iter().filter(|block| block.label.is_private_key()).collect();
    let is_own = |block: &&&Block| {
        let public_key = signer(block, &file.place).ok().and_then(|signer| {
            let public_key = signer.public_key()?.to_vec();
            let (_, public_key) = SubjectPublicKeyInfo::from_der(&public_key).ok()?;
            Some(leaf.has_key(&public_key))
        });
        public_key == Some(true)
    };
    let (Some(first), own) = (keys.first(), keys.iter().take(MAX_KEYS).find(is_own)) else {
        return Ok(None);
    };
    let place = &file.place;
    let found = "and every user can read or change this file";
    match (own, permissions) {
        (Some(own), KeyPermissions::Strict) => Err(file.error_at(
            own.line,
            format!(
                "the private key of the certificate stands here, too, {found}; remove the key from it, or {}",
                mode_remedy(place)
            ),
        )),
        _ => Ok(Some(file.error_at(
            own.unwrap_or(first).line,
            format!(
                "a private key stands here, too, {found}; remove the key from it, or run: chmod 600 {place}"
            ),
        ))),
    }
}

/// The server's own certificate, and the signer with its key.
fn pair(
    all: &[Certificate<'_>],
    key_blocks: &[Block],
    certificate: &Source,
    private_key: &Source,
) -> Result<(usize, Arc<dyn SigningKey>), LoadError> {
    let blocks = key_blocks.iter().filter(|block| block.label.is_private_key());
    let blocks: Vec<&Block> = blocks.collect();
    if blocks.len() > MAX_KEYS {
        return Err(private_key.error(format!(
            "the file holds {} private keys, {MAX_KEYS} at most are tried; keep the one of the certificate",
            blocks.len()
        )));
    }
    let mut unusable = None;
    let mut usable = Vec::new();
    // Certificate, and the key that it belongs to.
    let mut matching = Vec::new();
    for block in blocks {
        match signer(block, &private_key.place) {
            Ok(signer) => {
                let public_key = signer.public_key().map(|der| der.to_vec()).unwrap_or_default();
                if let Ok((_, public_key)) = SubjectPublicKeyInfo::from_der(&public_key) {
                    let fits = |at: &usize| all[*at].has_key(&public_key);
                    matching.extend((0..all.len()).filter(fits).map(|at| (at, usable.len())));
                }
                usable.push((block.line, public_key, signer));
            }
            Err(reason) => unusable = unusable.or(Some((block.line, reason))),
        }
    }
    matching.sort_unstable();
    let certificates: Vec<usize> = matching.iter().map(|(at, _)| *at).collect();
    let Some(leaf) = chain::leaf_of(all, &certificates) else {
        // The server's own certificate stands first in most files.
        let unread = all.first().filter(|certificate| certificate.x509.is_none());
        if let Some(unread) = unread.filter(|_| !usable.is_empty()) {
            return Err(certificate.error_at(unread.line, chain::DAMAGED));
        }
        return Err(match (usable.as_slice(), unusable) {
            ([], Some((line, reason))) => private_key.error_at(line, reason),
            (usable, other) => {
                let tried = chain::lines(usable.iter().map(|(line, ..)| *line));
                let other = other.map_or_else(String::new, |(line, reason)| {
                    format!(" (a further key in line {line} was not tried: {reason})")
                });
                let certificates = chain::lines(all.iter().map(|certificate| certificate.line));
                private_key.error(format!(
                    "the private key does not belong to the certificate in {}; keys in lines {tried}, certificates in lines {certificates}{other}; both must be of the same request",
                    certificate.place
                ))
            }
        });
    };
    let key = matching.iter().find(|(at, _)| *at == leaf).map_or(0, |(_, key)| *key);
    let (_, public_key, signer) = usable.swap_remove(key);
    // It was read before.
    let public_key = SubjectPublicKeyInfo::from_der(&public_key);
    if let Ok((_, public_key)) = public_key
        && let Some(reason) = all[leaf].unusable(&public_key)
    {
        return Err(certificate.error_at(all[leaf].line, reason));
    }
    Ok((leaf, signer))
}

const MAX_FOUND: usize = 8;

/// "; found: EC PARAMETERS (line 1)", or nothing.
fn found(blocks: &[Block]) -> String {
    if blocks.is_empty() {
        return String::new();
    }
    let name = |block: &Block| format!("{} (line {})", block.label.name(), block.line);
    let names: Vec<String> = blocks.iter().take(MAX_FOUND).map(name).collect();
    let more = match blocks.len().saturating_sub(MAX_FOUND) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; found: {}{more}", names.join(", "))
}

fn no_certificate(blocks: &[Block], file: &Source) -> String {
    let place = &file.place;
    if blocks.is_empty()
        && let Some(reason) = no_pem(file, "-nokeys", "x509")
    {
        return reason;
    }
    let found = found(blocks);
    let has = |labels: &[Label]| blocks.iter().any(|block| labels.contains(&block.label));
    let remedy = if has(&[Label::CertificateRequest, Label::NewCertificateRequest]) {
        "a request is no certificate yet: send it to a certificate authority and name what comes back".to_owned()
    } else if has(&[Label::Pkcs7, Label::Cms]) {
        format!("write its certificates with: openssl pkcs7 -in {place} -print_certs -out NEWFILE")
    } else {
        "a PEM certificate begins with -----BEGIN CERTIFICATE-----".to_owned()
    };
    format!("there is no certificate in this file{found}; {remedy}")
}

fn no_key(blocks: &[Block], file: &Source) -> String {
    if blocks.is_empty()
        && let Some(reason) = no_pem(file, "-nocerts -nodes", "pkey")
    {
        return reason;
    }
    let found = found(blocks);
    let remedy = match blocks.iter().any(|block| block.label.is_certificate()) {
        true => "set privateKey to the file of the key that was made for this certificate",
        false => "a PEM private key begins with -----BEGIN PRIVATE KEY-----",
    };
    format!("there is no private key in this file{found}; {remedy}")
}

/// What a file without PEM text is.
fn no_pem(file: &Source, of_pkcs12: &str, of_der: &str) -> Option<String> {
    let (text, place) = (&file.text, &file.place);
    let head = &text[..text.len().min(32)];
    Some(if text.starts_with(b"\xfe\xed\xfe\xed") || text.starts_with(b"\xce\xce\xce\xce") {
        format!(
            "this is a Java keystore, not PEM; make a PKCS#12 file of it with keytool -importkeystore -srckeystore {place} -destkeystore NEWFILE.p12 -deststoretype PKCS12, then PEM with: openssl pkcs12 -in NEWFILE.p12 {of_pkcs12} -out NEWFILE"
        )
    } else if text.trim_ascii_start().starts_with(b"LS0tLS1C") {
        format!(
            "this is PEM text that was encoded as base64 again; decode it with: base64 -d {place}"
        )
    } else if !text.starts_with(b"\x30") {
        return None;
    } else if contains(head, b"\x02\x01\x03\x30") {
        format!(
            "this is PKCS#12, not PEM; convert it with: openssl pkcs12 -in {place} {of_pkcs12} -out NEWFILE"
        )
    } else if contains(head, b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") {
        format!(
            "this is PKCS#7, not PEM; convert it with: openssl pkcs7 -inform DER -in {place} -print_certs -out NEWFILE"
        )
    } else if X509Certificate::from_der(text).is_ok() {
        let right = match of_der {
            "x509" => String::new(),
            _ => " (and it is a certificate, not a key)".to_owned(),
        };
        format!(
            "this is a certificate in DER, not PEM{right}; convert it with: openssl x509 -inform DER -in {place} -out NEWFILE"
        )
    } else if is_private_key(text) {
        let right = match of_der {
            "pkey" => String::new(),
            _ => " (and it is a private key, no certificate)".to_owned(),
        };
        format!(
            "this is a private key in DER, not PEM{right}; convert it with: openssl pkey -inform DER -in {place} -out NEWFILE"
        )
    } else {
        format!(
            "this is a binary file, not PEM; if it is DER, convert it with: openssl {of_der} -inform DER -in {place} -out NEWFILE"
        )
    })
}

#[cfg(test)]
mod tests;
