//! A certificate chain with its private key, from PEM files or made for trying things out.
//!
//! Promises: a loaded identity's key belongs to its certificate; a private key that every user
//! of the machine can read or change is refused; each way in which a file can be wrong has its
//! own one-line error with the file's name. Whether the certificate is still valid is not
//! looked at: clients do that. Keystores and passwords are not available in this version.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::options::LoadError;

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "privateKey";
const SELF_SIGNED: &str = "selfSigned";

/// More than any chain or key needs; a wrong path must not fill the memory.
const MAX_FILE: u64 = 1024 * 1024;

/// A certificate chain and its private key, ready to be used.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    validity: Validity,
}

/// When certificates can be used, in seconds since 1970-01-01 UTC, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_s: i64,
    /// The last second.
    pub not_after_s: i64,
}

impl Identity {
    /// Loads a PEM chain and a PEM private key (PKCS#8, PKCS#1 or SEC1). The strings are
    /// warnings. Both paths may name the same file.
    pub fn load(
        certificate: &Path,
        private_key: &Path,
    ) -> Result<(Identity, Vec<String>), LoadError> {
        let (text, _) = read(CERTIFICATE, certificate)?;
        let chain = chain(certificate, &text)?;
        let (mut text, mode) = read(PRIVATE_KEY, private_key)?;
        let warning = check_mode(private_key, mode)?;
        let key = key(private_key, &text);
        // The text holds the key: wiped, and kept from being optimised away.
        text.fill(0);
        std::hint::black_box(&text);
        let identity = Identity::check(chain, key?, certificate, private_key)?;
        Ok((identity, warning.into_iter().collect()))
    }

    /// Makes an ECDSA P-256 identity for DNS names and IP addresses. The string is a warning.
    pub fn self_signed(names: &[String]) -> Result<(Identity, String), LoadError> {
        let failed = |error: rcgen::Error| {
            LoadError::new(
                SELF_SIGNED,
                format!("cannot make an identity for {}: {error}", names.join(", ")),
            )
        };
        let Some(first) = names.first() else {
            return Err(LoadError::new(
                SELF_SIGNED,
                "no name is given; name the hosts, for example localhost",
            ));
        };
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(LoadError::new(
                SELF_SIGNED,
                format!("\"{name}\" is neither a host name nor an IP address"),
            ));
        }
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, first);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| LoadError::new(SELF_SIGNED, error))?;
        let key = CertifiedKey::from_der(
            vec![certificate.der().clone()],
            key,
            &aws_lc_rs::default_provider(),
        )
        .map_err(|error| LoadError::new(SELF_SIGNED, error.to_string()))?;
        let warning =
            format!("self-signed identity for {}, for trying things out", names.join(", "));
        let validity = validity(&key.cert);
        Ok((Identity { key: Arc::new(key), validity }, warning))
    }

    /// When all certificates of the chain that is sent are valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    fn check(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate: &Path,
        private_key: &Path,
    ) -> Result<Identity, LoadError> {
        let provider = aws_lc_rs::default_provider();
        let signer = provider.key_provider.load_private_key(key).map_err(|error| {
            let reason = match error {
                Error::General(reason) => reason,
                other => other.to_string(),
            };
            LoadError::new(
                PRIVATE_KEY,
                format!(
                    "{}: this key cannot be used ({reason}); use an RSA key of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519",
                    private_key.display()
                ),
            )
        })?;
        let key = CertifiedKey::new(chain, signer);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                let validity = validity(&key.cert);
                Ok(Identity { key: Arc::new(key), validity })
            }
            Err(Error::InconsistentKeys(_)) => Err(LoadError::new(
                PRIVATE_KEY,
                format!(
                    "{}: the private key does not belong to the certificate in {}",
                    private_key.display(),
                    certificate.display()
                ),
            )),
            Err(error) => Err(LoadError::new(
                CERTIFICATE,
                format!(
                    "{}: the first certificate cannot be read ({error})",
                    certificate.display()
                ),
            )),
        }
    }
}

impl std::fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} certificates)", self.key.cert.len())
    }
}

fn validity(chain: &[CertificateDer<'_>]) -> Validity {
    let mut all = Validity { not_before_s: i64::MIN, not_after_s: i64::MAX };
    for certificate in chain {
        if let Ok((_, certificate)) = X509Certificate::from_der(certificate) {
            let validity = certificate.validity();
            all.not_before_s = all.not_before_s.max(validity.not_before.timestamp());
            all.not_after_s = all.not_after_s.min(validity.not_after.timestamp());
        }
    }
    all
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    name.parse::<IpAddr>().is_ok() || (1..=253).contains(&name.len()) && name.chars().all(plain)
}

/// The content and permissions of a file that is opened once, so that both belong together.
fn read(key: &'static str, path: &Path) -> Result<(Vec<u8>, u32), LoadError> {
    let place = path.display();
    let failed = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "the file does not exist".to_string(),
            io::ErrorKind::PermissionDenied => {
                "the user this process runs as may not read the file".to_string()
            }
            _ => format!("the file cannot be read ({error})"),
        };
        LoadError::new(key, format!("{place}: {reason}"))
    };
    // Non-blocking, since opening a pipe would otherwise wait for its writer.
    let file =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(LoadError::new(key, format!("{place}: this is not a regular file")));
    }
    if about.len() > MAX_FILE {
        return Err(LoadError::new(
            key,
            format!("{place}: the file is larger than 1 MiB; is it PEM?"),
        ));
    }
    // Room for all of it at once: a growing buffer would leave copies of a key behind.
    let mut text = Vec::with_capacity(about.len() as usize + 1);
    file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
    if text.is_empty() {
        return Err(LoadError::new(key, format!("{place}: the file is empty")));
    }
    Ok((text, about.permissions().mode()))
}

fn check_mode(path: &Path, mode: u32) -> Result<Option<String>, LoadError> {
    let place = path.display();
    if mode & 0o006 != 0 {
        return Err(LoadError::new(
            PRIVATE_KEY,
            format!(
                "{place}: every user can read or change this private key; run: chmod 600 {place}"
            ),
        ));
    }
    Ok((mode & 0o060 != 0).then(|| {
        format!("{place}: the group can read or change this private key; to keep it to one user, run: chmod 600 {place}")
    }))
}

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let place = path.display();
    let chain =
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|error| {
            LoadError::new(CERTIFICATE, format!("{place}: the PEM text is broken ({error})"))
        })?;
    if chain.is_empty() {
        return Err(LoadError::new(
            CERTIFICATE,
            format!(
                "{place}: there is no certificate in this file; a PEM one begins with -----BEGIN CERTIFICATE----- (from PKCS#12: openssl pkcs12 -in {place} -nokeys -out NEWFILE)"
            ),
        ));
    }
    Ok(chain)
}

fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    let place = path.display();
    let fail = |reason: String| Err(LoadError::new(PRIVATE_KEY, format!("{place}: {reason}")));
    let has = |label: &str| text.windows(label.len()).any(|part| part == label.as_bytes());
    // PKCS#1 and SEC1 keys may be encrypted too, which only a header inside tells.
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return fail(format!(
            "encrypted private keys are not available in this version; decrypt it with: openssl pkey -in {place} -out NEWFILE"
        ));
    }
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text);
    let key = sections.find_map(|section| match section {
        Ok((kind, der)) => PrivateKeyDer::from_pem(kind, der).map(Ok),
        Err(error) => Some(Err(error)),
    });
    match key {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => fail(format!("the PEM text is broken ({error})")),
        None if has("PRIVATE KEY-----") => fail(format!(
            "this kind of private key is not supported; convert it to PKCS#8 with: openssl pkey -in {place} -out NEWFILE"
        )),
        None => fail(
            "there is no private key in this file; a PEM one begins with -----BEGIN PRIVATE KEY-----"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_peer::Folder;
    use super::*;

    struct Pems {
        certificate: String,
        pkcs8: Vec<u8>,
    }

    fn made(key: KeyPair) -> Pems {
        let params = CertificateParams::new(vec!["host.example".to_string()]).unwrap();
        Pems { certificate: params.self_signed(&key).unwrap().pem(), pkcs8: key.serialize_der() }
    }

    fn ecdsa() -> Pems {
        made(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn rsa() -> Pems {
        made(KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap())
    }

    fn pem(label: &str, der: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = format!("-----BEGIN {label}-----\n");
        for three in der.chunks(3) {
            let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b))
                << (8 * (3 - three.len()));
            for digit in 0..4 {
                let value = bits >> (18 - 6 * digit) & 63;
                text.push(if digit <= three.len() { DIGITS[value as usize] as char } else { '=' });
            }
            text.push('\n');
        }
        text + &format!("-----END {label}-----\n")
    }

    /// Content of the first DER element and what stands behind it.
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        match der[1] {
            0x82 => der[4..].split_at(usize::from(der[2]) << 8 | usize::from(der[3])),
            0x81 => der[3..].split_at(usize::from(der[2])),
            short => der[2..].split_at(usize::from(short)),
        }
    }

    /// The key inside a PKCS#8 one: PKCS#1 or SEC1.
    fn inner(pkcs8: &[u8]) -> &[u8] {
        let (_version, rest) = element(element(pkcs8).0);
        let (_algorithm, rest) = element(rest);
        element(rest).0
    }

    fn load(
        folder: &Folder,
        certificate: &str,
        key: &str,
    ) -> Result<(Identity, Vec<String>), LoadError> {
        let certificate = folder.write("cert.pem", certificate, 0o644);
        let key = folder.write("key.pem", key, 0o600);
        Identity::load(&certificate, &key)
    }

    #[track_caller]
    fn refused(result: Result<(Identity, Vec<String>), LoadError>, key: &str, words: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.message.contains(words), "{error}");
        assert!(error.message.contains(".pem: ") && !error.message.contains('\n'), "{error}");
    }

    #[test]
    fn pkcs8_pkcs1_and_sec1_keys_are_loaded() {
        let folder = Folder::new();
        let (ecdsa, rsa) = (ecdsa(), rsa());
        for (pems, label, der) in [
            (&ecdsa, "PRIVATE KEY", ecdsa.pkcs8.as_slice()),
            (&ecdsa, "EC PRIVATE KEY", inner(&ecdsa.pkcs8)),
            (&rsa, "PRIVATE KEY", &rsa.pkcs8),
            (&rsa, "RSA PRIVATE KEY", inner(&rsa.pkcs8)),
        ] {
            let key =
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
                    .to_string()
                    + &pem(label, der);
            let (_, warnings) = load(&folder, &pems.certificate, &key).unwrap();
            assert_eq!(warnings, Vec::<String>::new(), "{label}");
        }
    }

    #[test]
    fn chain_and_key_may_share_a_file() {
        let folder = Folder::new();
        let pems = ecdsa();
        let both =
            folder.write("both.pem", &(pems.certificate + &pem("PRIVATE KEY", &pems.pkcs8)), 0o600);
        Identity::load(&both, &both).unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let key = pem("PRIVATE KEY", &ecdsa().pkcs8);
        let result = load(&Folder::new(), &ecdsa().certificate, &key);
        refused(result, "privateKey", "the private key does not belong to the certificate in ");
    }

    #[test]
    fn a_key_that_every_user_can_read_is_refused_with_the_remedy() {
        let folder = Folder::new();
        let pems = ecdsa();
        let certificate = folder.write("cert.pem", &pems.certificate, 0o644);
        let key = pem("PRIVATE KEY", &pems.pkcs8);
        let path = folder.write("key.pem", &key, 0o604);
        let remedy = format!("run: chmod 600 {}", path.display());
        refused(Identity::load(&certificate, &path), "privateKey", &remedy);
        let path = folder.write("key.pem", &key, 0o640);
        let (_, warnings) = Identity::load(&certificate, &path).unwrap();
        assert!(
            warnings[0].contains("the group can read") && warnings[0].contains(&remedy),
            "{warnings:?}"
        );
    }

    #[test]
    fn each_wrong_file_has_its_own_error() {
        let folder = Folder::new();
        let pems = ecdsa();
        let (certificate, key) = (pems.certificate.as_str(), pem("PRIVATE KEY", &pems.pkcs8));
        refused(load(&folder, "", &key), "certificate", "the file is empty");
        refused(load(&folder, certificate, ""), "privateKey", "the file is empty");
        refused(load(&folder, &key, &key), "certificate", "no certificate in this file");
        refused(
            load(&folder, certificate, certificate),
            "privateKey",
            "no private key in this file",
        );
        refused(
            load(&folder, &pem("CERTIFICATE", b"noise"), &key),
            "certificate",
            "cannot be read",
        );
        refused(
            load(&folder, certificate, &pem("PRIVATE KEY", b"noise")),
            "privateKey",
            "cannot be used",
        );
        refused(
            load(&folder, certificate, "-----BEGIN PRIVATE KEY-----\n!\n"),
            "privateKey",
            "PEM text is broken",
        );
        let encrypted = pem("ENCRYPTED PRIVATE KEY", b"noise");
        refused(
            load(&folder, certificate, &encrypted),
            "privateKey",
            "not available in this version",
        );
        let encrypted =
            key.replace("PRIVATE KEY-----\n", "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
        refused(
            load(&folder, certificate, &encrypted),
            "privateKey",
            "not available in this version",
        );
        let dsa = pem("DSA PRIVATE KEY", b"noise");
        refused(
            load(&folder, certificate, &dsa),
            "privateKey",
            "kind of private key is not supported",
        );
    }

    #[test]
    fn a_missing_file_and_a_folder_are_named() {
        let folder = Folder::new();
        let key = folder.write("key.pem", "x", 0o600);
        refused(Identity::load(&folder.path("none.pem"), &key), "certificate", "does not exist");
        std::fs::create_dir(folder.path("dir.pem")).unwrap();
        refused(Identity::load(&folder.path("dir.pem"), &key), "certificate", "not a regular file");
    }

    #[test]
    fn the_validity_is_that_of_all_certificates_of_the_chain() {
        let made = |years: (i32, i32)| {
            let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            let mut params = CertificateParams::new(vec!["host.example".to_string()]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            (params.self_signed(&key).unwrap().pem(), pem("PRIVATE KEY", &key.serialize_der()))
        };
        let ((leaf, key), (issuer, _)) = (made((2001, 2030)), made((2000, 2020)));
        let (identity, _) = load(&Folder::new(), &(leaf + &issuer), &key).unwrap();
        let expected = Validity { not_before_s: 978_307_200, not_after_s: 1_577_836_800 };
        assert_eq!(identity.validity(), expected);
    }

    #[test]
    fn a_self_signed_identity_has_its_names_and_a_warning() {
        let names = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
        let (identity, warning) = Identity::self_signed(&names).unwrap();
        assert_eq!(
            warning,
            "self-signed identity for localhost, 127.0.0.1, ::1, for trying things out"
        );
        let der = identity.key.cert[0].as_ref();
        for part in [b"localhost".as_slice(), &[0x87, 4, 127, 0, 0, 1], &[0x87, 16, 0, 0]] {
            assert!(der.windows(part.len()).any(|window| window == part));
        }
        assert_eq!(format!("{identity:?}"), "Identity(1 certificates)");
        assert_eq!(Identity::self_signed(&[]).unwrap_err().key, "selfSigned");
        assert!(
            Identity::self_signed(&["a b".to_string()]).unwrap_err().message.contains("\"a b\"")
        );
    }
}
