//! Certificates and keys in all the forms that tools and editors leave them in, through the public
//! API: the check of a configuration, the start of a listener, and a client that verifies.
#![cfg(not(miri))]

mod support;

use nativeport::config::{Config, Severity};
use nativeport::event::Protocol;
use nativeport::listener::Listener;
use nativeport::runtime::{Consumer, Runtime};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("identities-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.0.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A root, an intermediate, and a leaf for localhost with its key, as PEM; and a stranger.
struct Pki {
    root: String,
    intermediate: String,
    leaf: String,
    key: String,
    stranger: String,
    stranger_key: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Pki {
    fn new() -> Pki {
        let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let (root_key, intermediate_key, leaf_key, other_key) = (key(), key(), key(), key());
        let root = authority("root").self_signed(&root_key).unwrap();
        let issuer = Issuer::new(authority("root"), root_key);
        let intermediate = authority("intermediate").signed_by(&intermediate_key, &issuer).unwrap();
        let issuer = Issuer::new(authority("intermediate"), intermediate_key);
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
        let stranger = authority("stranger").self_signed(&other_key).unwrap();
        let pem = |certificate: rcgen::Certificate| certificate.pem().replace('\r', "");
        Pki {
            root: pem(root),
            intermediate: pem(intermediate),
            leaf: pem(leaf),
            key: leaf_key.serialize_pem().replace('\r', ""),
            stranger: pem(stranger),
            stranger_key: other_key.serialize_pem().replace('\r', ""),
        }
    }

    /// What no message may hold.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let keys = [&self.key, &self.stranger_key];
        let certificates = [&self.leaf, &self.intermediate, &self.root, &self.stranger];
        let body = |pem: &&String| {
            let lines = pem.lines().filter(|line| !line.starts_with('-'));
            lines.collect::<String>().into_bytes()
        };
        keys.iter().chain(&certificates).map(body).collect()
    }
}

/// Any eight bytes in sequence, also as the numbers of a list.
fn assert_tells_nothing(message: &str, secrets: &[Vec<u8>]) {
    for window in secrets.iter().flat_map(|secret| secret.windows(8)) {
        let numbers = format!("{window:?}");
        let shown = message.contains(str::from_utf8(window).unwrap());
        let listed = message.contains(numbers.trim_matches(['[', ']']));
        assert!(!shown && !listed, "{} is in {message}", String::from_utf8_lossy(window));
    }
}

fn config_with(keys: &str) -> Config {
    config("ioThreads=1", "sslSection=T", &format!("[T]\n{keys}"))
}

/// The errors and warnings of a check; the start says the same.
fn findings(config: &Config) -> (Vec<String>, Vec<String>) {
    let findings = config.check();
    let of = |severity| {
        let some = findings.iter().filter(|finding| finding.severity == severity);
        some.map(ToString::to_string).collect::<Vec<_>>()
    };
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let runtime = runtime_of(config);
    match Listener::new(&runtime, config, 0) {
        Ok(_) => assert!(errors.is_empty(), "the start takes what the check refuses: {errors:?}"),
        Err(error) => assert_eq!(vec![error.message], errors),
    }
    (errors, warnings)
}

/// The only error, which is one line with this place, and tells nothing of `secrets`.
#[track_caller]
fn only_error(config: &Config, secrets: &[Vec<u8>]) -> String {
    let (mut errors, warnings) = findings(config);
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{errors:?} {warnings:?}");
    let error = errors.remove(0);
    assert!(!error.contains('\n'), "{error}");
    assert_tells_nothing(&error, secrets);
    assert_tells_nothing(&format!("{config:?}"), secrets);
    error
}

fn files(folder: &Folder, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Config {
    let certificate = folder.write("c.pem", certificate, 0o644);
    let key = folder.write("k.pem", key, 0o600);
    config_with(&format!("certificate={certificate}\nprivateKey={key}"))
}

/// How many certificates a client gets that verifies the chain up to `root`.
fn verified(config: &Config, root: &str) -> usize {
    let runtime = runtime_of(config);
    let listener = Listener::new(&runtime, config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut socket = TcpStream::connect(listener.addresses()[0]).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut socket).unwrap();
    }
    client.peer_certificates().unwrap().len()
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

#[test]
fn every_form_of_a_chain_is_read_whole() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let (leaf, intermediate) = (&pki.leaf, &pki.intermediate);
    let labelled = |label: &str| intermediate.replace("CERTIFICATE", label);
    for (name, chain) in [
        ("proper", format!("{leaf}{intermediate}")),
        ("no newline between", format!("{}{intermediate}", leaf.trim_end())),
        ("the second indented", format!("{leaf}{}", indented(intermediate))),
        ("a BOM before the second", format!("{leaf}\u{feff}{intermediate}")),
        ("a BOM before the first", format!("\u{feff}{leaf}{intermediate}")),
        ("X509 CERTIFICATE", format!("{leaf}{}", labelled("X509 CERTIFICATE"))),
        ("TRUSTED CERTIFICATE", format!("{leaf}{}", labelled("TRUSTED CERTIFICATE"))),
        ("a lone CR between", format!("{}\r{intermediate}", leaf.trim_end())),
        ("CR LF", format!("{leaf}{intermediate}").replace('\n', "\r\n")),
        ("CR", format!("{leaf}{intermediate}").replace('\n', "\r")),
        ("one line", format!("{leaf}{intermediate}").replace('\n', " ")),
        ("blank lines", format!("{leaf}{intermediate}").replace('\n', "\n\n")),
        ("blanks at the ends", format!("{leaf}{intermediate}").replace('\n', " \n")),
        ("text between", format!("Bag Attributes\n  a: 01\n{leaf}subject=CN=x\n{intermediate}end")),
        ("names", format!("friendlyName: Backend Certificate - Production\n{leaf}{intermediate}")),
        ("a subject", format!("subject=CN = backend certificate-2026\n{leaf}{intermediate}")),
        ("a comment", format!("{leaf}# Frontend public key - see wiki\n{intermediate}")),
        ("a key, too", format!("{leaf}{}{intermediate}", pki.stranger_key)),
    ] {
        let config = files(&folder, chain, &pki.key);
        // That others may read the key beside the chain is a warning.
        let (errors, warnings) = findings(&config);
        let expected = usize::from(name == "a key, too");
        assert_eq!(
            (errors.len(), warnings.len()),
            (0, expected),
            "{name}: {errors:?} {warnings:?}"
        );
        assert_eq!(verified(&config, &pki.root), 2, "{name}");
    }
}

#[test]
fn every_form_of_a_key_is_read() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let key = &pki.key;
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
    let traditional = key.replace("KEY-----\n", &format!("KEY-----\n{header}"));
    for (name, key) in [
        ("with parameters", format!("{parameters}{key}").into_bytes()),
        ("BOM", format!("\u{feff}{key}").into_bytes()),
        ("CR", key.replace('\n', "\r").into_bytes()),
        ("CR LF", key.replace('\n', "\r\n").into_bytes()),
        ("one line", key.replace('\n', " ").into_bytes()),
        ("indented", indented(key).into_bytes()),
        ("behind bytes that are no UTF-8", [b"\xff\xfe hi\n", key.as_bytes()].concat()),
        ("the wrong label", key.replace("PRIVATE", "RSA PRIVATE").into_bytes()),
        ("behind another key", format!("{}{key}", pki.stranger_key).into_bytes()),
        ("before another key", format!("{key}{}", pki.stranger_key).into_bytes()),
        ("beside encrypted ones", format!("{encrypted}{key}{traditional}").into_bytes()),
        ("behind its certificate", format!("{}{key}", pki.leaf).into_bytes()),
    ] {
        let config = files(&folder, format!("{}{}", pki.leaf, pki.intermediate), key);
        let (errors, warnings) = findings(&config);
        assert!(errors.is_empty() && warnings.is_empty(), "{name}: {errors:?} {warnings:?}");
        assert_eq!(verified(&config, &pki.root), 2, "{name}");
    }
}

#[test]
fn a_chain_in_another_order_is_sorted_with_a_warning() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let (leaf, intermediate, root) = (&pki.leaf, &pki.intermediate, &pki.root);
    let line = |count: usize, pems: &[&String]| {
        1 + pems.iter().take(count).map(|pem| pem.lines().count()).sum::<usize>()
    };
    for (name, pems, sent, place, words) in [
        ("root first", [root, intermediate, leaf].as_slice(), 3, 2, "in the order of lines"),
        ("leaf last", &[intermediate, leaf], 2, 1, "in the order of lines"),
        ("root second", &[leaf, root, intermediate], 3, 0, "in the order of lines"),
        ("twice", &[leaf, leaf, intermediate], 2, 1, "are not sent again"),
        ("issuer twice", &[leaf, intermediate, intermediate], 2, 2, "are not sent again"),
        ("a stranger", &[leaf, intermediate, &pki.stranger], 3, 2, "are no issuers"),
    ] {
        let text: String = pems.iter().map(|pem| pem.as_str()).collect();
        let config = files(&folder, text, &pki.key);
        let (errors, warnings) = findings(&config);
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        let at = format!(
            "test.ini:8: [T] certificate: warning: {}/c.pem:{}: ",
            folder.0.display(),
            line(place, pems)
        );
        assert!(
            warnings[0].starts_with(&at) && warnings[0].contains(words),
            "{name}: {at} {warnings:?}"
        );
        assert_tells_nothing(&warnings[0], &pki.secrets());
        assert_eq!(verified(&config, root), sent, "{name}");
    }
    let text = format!("{root}{intermediate}{leaf}");
    let (_, warnings) = findings(&files(&folder, text, &pki.key));
    let lines = [line(2, &[root, intermediate]), line(1, &[root]), 1].map(|line| line.to_string());
    assert!(warnings[0].contains(&format!("lines {};", lines.join(", "))), "{warnings:?}");
}

#[test]
fn each_broken_file_is_refused_with_place_cause_and_remedy() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let (leaf, intermediate, key) = (&pki.leaf, &pki.intermediate, &pki.key);
    let end = "-----END CERTIFICATE-----\n";
    let lines = leaf.lines().count();
    let open = leaf.replace(end, "");
    let request = leaf.replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let public = key.replace("PRIVATE KEY", "PUBLIC KEY");
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let der = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap().to_vec();
    let key_der = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key_der = key_der.secret_der().to_vec();
    let joined = format!("{leaf}{}", open.replace("-----BEGIN", "x -----BEGIN"));
    let b = |text: &str| text.as_bytes().to_vec();
    // Name, certificate, key, place, and words of the message.
    type Case = (&'static str, Vec<u8>, Vec<u8>, String, &'static str);
    let cases: Vec<Case> = vec![
        ("no END", b(&open), b(key), "c.pem:1".into(), "has no END mark"),
        ("no END, second", b(&joined), b(key), format!("c.pem:{}", lines + 1), "has no END mark"),
        (
            "BEGIN inside",
            b(&format!("{open}{intermediate}")),
            b(key),
            "c.pem:1".into(),
            "before the next BEGIN",
        ),
        (
            "END alone",
            b(&format!("{leaf}{end}")),
            b(key),
            format!("c.pem:{}", lines + 1),
            "has no BEGIN",
        ),
        (
            "four hyphens",
            b(&leaf.replace("TE-----\n", "TE----\n")),
            b(key),
            "c.pem:1".into(),
            "exactly five hyphens",
        ),
        (
            "dashes",
            b(&leaf.replace("-----", "\u{2014}\u{2014}\u{2014}")),
            b(key),
            "c.pem:1".into(),
            "exactly five hyphens",
        ),
        (
            "quoted",
            b(&format!("{leaf}> {}", intermediate.replace('\n', "\n> "))),
            b(key),
            format!("c.pem:{}", lines + 2),
            "no base64",
        ),
        ("a star", b(&leaf.replacen("MII", "MI*", 1)), b(key), "c.pem:2".into(), "no base64"),
        ("cut", b(&format!("{}\n{end}", &leaf[..302])), b(key), "c.pem:1".into(), ""),
        (
            "empty",
            b(&format!("-----BEGIN CERTIFICATE-----\n{end}{leaf}")),
            b(key),
            "c.pem:1".into(),
            "is empty",
        ),
        ("escapes", b(&leaf.replace('\n', "\\n")), b(key), "c.pem:1".into(), "sed -i"),
        ("UTF-16", utf16(leaf), b(key), "c.pem".into(), "iconv"),
        ("swapped", b(key), b(leaf), "c.pem".into(), "exchange the two paths"),
        ("no certificate", b(key), b(key), "c.pem".into(), "found: PRIVATE KEY (line 1)"),
        ("no key", b(leaf), b(leaf), "k.pem".into(), "found: CERTIFICATE (line 1)"),
        (
            "a request",
            b(&request),
            b(key),
            "c.pem".into(),
            "found: CERTIFICATE REQUEST (line 1); a request",
        ),
        ("DER", der.clone(), b(key), "c.pem".into(), "openssl x509 -inform DER"),
        ("DER key", b(leaf), key_der.clone(), "k.pem".into(), "openssl pkey -inform DER"),
        ("DER key for a certificate", key_der, b(key), "c.pem".into(), "no certificate); convert"),
        ("DER certificate for a key", b(leaf), der, "k.pem".into(), "not a key); convert"),
        (
            "PKCS#12",
            b"\x30\x82\x01\0\x02\x01\x03\x30\x82".to_vec(),
            b(key),
            "c.pem".into(),
            "openssl pkcs12",
        ),
        ("keystore", b(leaf), b"\xfe\xed\xfe\xed\0\0".to_vec(), "k.pem".into(), "keytool"),
        (
            "encoded again",
            b"LS0tLS1CRUdJTiBDRVJUSUZJ".to_vec(),
            b(key),
            "c.pem".into(),
            "base64 -d",
        ),
        (
            "public key",
            b(leaf),
            b(&format!("{parameters}{public}")),
            "k.pem".into(),
            "found: EC PARAMETERS (line 1), PUBLIC KEY (line 4)",
        ),
        (
            "OpenSSH",
            b(leaf),
            b(&key.replace("PRIVATE", "OPENSSH PRIVATE")),
            "k.pem:1".into(),
            "ssh-keygen -p",
        ),
        (
            "encrypted",
            b(leaf),
            b(&key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            "k.pem:1".into(),
            "openssl pkey -in",
        ),
        (
            "another key",
            b(leaf),
            b(&pki.stranger_key),
            "k.pem".into(),
            "does not belong to the certificate",
        ),
        (
            "key, no END",
            b(leaf),
            b(&key.replace("-----END PRIVATE KEY-----\n", "")),
            "k.pem:1".into(),
            "has no END mark",
        ),
        ("key, escapes", b(leaf), b(&key.replace('\n', "\\n")), "k.pem:1".into(), "sed -i"),
        (
            "key, a star",
            b(leaf),
            b(&format!("{}*{}", &key[..60], &key[61..])),
            "k.pem:2".into(),
            "no base64",
        ),
        (
            "key text under an unknown label",
            b(leaf),
            b(&key.replace("PRIVATE KEY", &key[40..60])),
            "k.pem".into(),
            "found: a block of another kind (line 1)",
        ),
        (
            "key in one line for the certificate",
            b(&key.replace('\n', " ")),
            b(key),
            "c.pem".into(),
            "no certificate in this file",
        ),
    ];
    for (name, certificate, key, place, words) in cases {
        let error = only_error(&files(&folder, certificate, key), &pki.secrets());
        let (line, ini_key) =
            if place.starts_with('c') { (8, "certificate") } else { (9, "privateKey") };
        let place =
            format!("test.ini:{line}: [T] {ini_key}: error: {}/{place}: ", folder.0.display());
        assert!(error.starts_with(&place) && error.contains(words), "{name}: {place} {error}");
        // Cause, and remedy.
        assert!(error.contains("; "), "{name}: {error}");
    }
}

#[test]
fn a_key_in_place_of_a_path_is_not_shown() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let path = folder.write("f.pem", &pki.leaf, 0o600);
    let body: String = pki.key.lines().filter(|line| !line.starts_with('-')).collect();
    let values = [
        pki.key.replace('\n', " "),
        pki.key.replace('\n', "\\n"),
        body.clone(),
        format!("/etc/{body}"),
        body[..40].to_owned(),
        // A name that is too long for the system.
        body.repeat(40),
    ];
    for value in values {
        for (set, other) in [("privateKey", "certificate"), ("certificate", "privateKey")] {
            let mut config = config_with(&format!("{other}={path}"));
            config.set("T", set, &value).unwrap();
            let findings = config.check();
            // The marks of PEM are found without the files.
            let start = Runtime::with_consumer(&config, Consumer::Callbacks)
                .and_then(|runtime| Listener::new(&runtime, &config, 0).map(drop))
                .unwrap_err();
            let (settings, _) = config.resolve();
            let all = format!("{findings:?} {start:?} {start}");
            assert_tells_nothing(&all, &pki.secrets());
            assert_tells_nothing(&format!("{settings:?}"), &pki.secrets());
            assert!(start.message.contains("a key or certificate"), "{start}");
        }
    }
}

#[test]
fn a_path_that_looks_like_a_key_is_opened() {
    let (folder, pki) = (Folder::new(), Pki::new());
    for name in [
        "opt/MyApplicationServer2024/certificates/server.pem",
        "Volumes/Data1/Certificates/ServerProduction.pem",
        "certs/ServerCertificateProduction2026.pem",
        "run/secrets/ProdWebServerCertificateKey2026",
        "mnt/secrets/TlsCertificateForApiGatewayV2/tls.key",
        "tls/0123456789abcdef0123456789abcdef0123/key",
        "kZ8aB3xYwPq7Lm2Tr5VvN1kZ8aB3xYwPq7Lm2Tr5VvN1kZ8aB3xYwPq7Lm2Tr5VvN1/MIGHAgEAMBMGByqGSM49AgEG",
    ] {
        fs::create_dir_all(folder.0.join(name).parent().unwrap()).unwrap();
        let path =
            folder.write(name, format!("{}{}{}", pki.leaf, pki.intermediate, pki.key), 0o600);
        let config = config_with(&format!("certificate={path}\nprivateKey={path}"));
        let (errors, warnings) = findings(&config);
        assert!(errors.is_empty() && warnings.is_empty(), "{name}: {errors:?} {warnings:?}");
        assert_eq!(verified(&config, &pki.root), 2, "{name}");
        // A relative one that is not there: the configuration itself has nothing against it.
        let config = config_with(&format!("certificate={name}\nprivateKey={name}"));
        let (_, told) = config.resolve();
        assert!(told.is_empty(), "{name}: {told:?}");
        let error = only_error(&config, &pki.secrets());
        assert!(error.contains("the file does not exist"), "{name}: {error}");
    }
}

#[test]
fn a_key_that_others_can_read_beside_the_certificate_is_judged_too() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let key = folder.write("k.pem", &pki.key, 0o600);
    let lines = pki.leaf.lines().count() + pki.intermediate.lines().count();
    for (further, mode, strict, warn) in [
        (&pki.key, 0o644, "error", "warning"),
        (&pki.key, 0o602, "error", "warning"),
        (&pki.key, 0o600, "", ""),
        (&pki.stranger_key, 0o644, "warning", "warning"),
        (&pki.stranger_key, 0o600, "", ""),
    ] {
        let text = format!("{}{}{further}", pki.leaf, pki.intermediate);
        let path = folder.write("c.pem", text, mode);
        for (permissions, severity) in [("strict", strict), ("warn", warn)] {
            let config = config_with(&format!(
                "certificate={path}\nprivateKey={key}\nkeyPermissions={permissions}"
            ));
            let (errors, warnings) = findings(&config);
            let all = [errors, warnings].concat();
            let [message] = all.as_slice() else {
                assert!(all.is_empty() && severity.is_empty(), "{mode:o} {permissions}: {all:?}");
                continue;
            };
            let begin = format!("test.ini:8: [T] certificate: {severity}: {path}:{}: ", lines + 1);
            assert!(message.starts_with(&begin), "{begin} {message}");
            let remedy = format!("; remove the key from it, or run: chmod 600 {path}");
            assert!(message.contains(&remedy), "{message}");
            let is_told = message.contains("keyPermissions = warn");
            assert_eq!(is_told, severity == "error", "{message}");
        }
    }
}

#[test]
fn a_self_signed_identity_is_warned_of_like_any_other() {
    let config = config_with(
        "selfSigned=localhost\ncipherSuites=TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    );
    let (errors, warnings) = findings(&config);
    assert!(errors.is_empty(), "{errors:?}");
    let [of_self_signed, of_suites] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(of_self_signed.contains("[T] selfSigned: warning: "), "{warnings:?}");
    assert!(of_suites.contains("[T] cipherSuites: warning: "), "{warnings:?}");
}

#[test]
fn key_permissions_decide_about_keys_that_others_can_read() {
    let (folder, pki) = (Folder::new(), Pki::new());
    let certificate = folder.write("c.pem", format!("{}{}", pki.leaf, pki.intermediate), 0o644);
    for mode in [0o640, 0o440] {
        let key = folder.write("k.pem", &pki.key, mode);
        for (line, count) in [("strict", 1), ("warn", 0)] {
            let keys = format!("certificate={certificate}\nprivateKey={key}\n");
            let config = config_with(&format!("{keys}keyPermissions={line}"));
            let (errors, warnings) = findings(&config);
            assert_eq!((errors.len(), warnings.len()), (0, count), "{errors:?} {warnings:?}");
            for words in ["the group can read", "fsGroup", "keyPermissions = warn", &key] {
                assert!(warnings.iter().all(|warning| warning.contains(words)), "{warnings:?}");
            }
        }
    }
    for (mode, all) in [(0o600, false), (0o400, false), (0o444, true), (0o644, true), (0o602, true)]
    {
        let key = folder.write("k.pem", &pki.key, mode);
        let keys = format!("certificate={certificate}\nprivateKey={key}\n");
        for (line, is_strict) in
            [("", true), ("keyPermissions=strict", true), ("keyPermissions=Warn", false)]
        {
            let config = config_with(&format!("{keys}{line}"));
            let (errors, warnings) = findings(&config);
            let told = if is_strict { &errors } else { &warnings };
            assert_eq!(errors.len() + warnings.len(), usize::from(all), "{errors:?} {warnings:?}");
            assert_eq!(told.len(), usize::from(all), "{mode:o} {line}: {errors:?} {warnings:?}");
            for message in told {
                let remedy = format!("run: chmod 600 {key}");
                assert!(message.contains("test.ini:9: [T] privateKey: "), "{message}");
                assert!(message.contains(&remedy), "{message}");
                let is_told = [
                    "defaultMode: 0400 of the volume (Kubernetes)",
                    "or mode: 0400 of the secret (Docker)",
                    "keyPermissions = warn",
                ]
                .map(|remedy| message.contains(remedy));
                assert_eq!(is_told, [is_strict; 3], "{message}");
            }
            if errors.is_empty() {
                assert_eq!(verified(&config, &pki.root), 2);
            }
        }
    }
}

/// OpenSSL makes what the libraries here do not.
#[test]
fn kinds_of_keys_that_tls_does_not_take_are_named_with_a_remedy() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let folder = Folder::new();
    let run = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(&folder.0);
        let output = command.output().unwrap();
        output.status.success()
    };
    let ec = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:";
    let cases: [(&str, String, &str); 16] = [
        (
            "rsa1024",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024".into(),
            "an RSA key of 1024 bits is too short",
        ),
        ("rsa2048", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048".into(), ""),
        (
            "pss",
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048".into(),
            "this is an RSASSA-PSS key",
        ),
        ("p256", format!("{ec}P-256"), ""),
        ("p384", format!("{ec}P-384"), ""),
        ("p521", format!("{ec}P-521"), ""),
        ("p224", format!("{ec}P-224"), "curve P-224"),
        ("k1", format!("{ec}secp256k1"), "curve secp256k1"),
        ("brainpool", format!("{ec}brainpoolP256r1"), "curve brainpoolP256r1"),
        (
            "explicit",
            "ecparam -name prime256v1 -param_enc explicit -genkey -noout".into(),
            "explicit parameters",
        ),
        ("sec1-224", "ecparam -name secp224r1 -genkey -noout".into(), "curve P-224"),
        ("sec1", "ecparam -name prime256v1 -genkey".into(), ""),
        ("ed25519", "genpkey -algorithm ED25519".into(), ""),
        ("ed448", "genpkey -algorithm ED448".into(), "Ed448 keys are not supported"),
        (
            "dsa",
            "genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024".into(),
            "DSA keys",
        ),
        ("v1", format!("{ec}P-256"), "is X.509 version 1"),
    ];
    for (name, command, words) in cases {
        let key = folder.0.join(format!("{name}.key")).to_str().unwrap().to_owned();
        let certificate = folder.0.join(format!("{name}.pem")).to_str().unwrap().to_owned();
        // Not every OpenSSL has every kind.
        if !run(&format!("{command} -out {key}")) {
            println!("{name}: openssl cannot make it");
            continue;
        }
        if name == "dsa" {
            assert!(run(&format!("genpkey -paramfile {key} -out {key}")));
        }
        let made = match name {
            "v1" => {
                run(&format!("req -new -key {key} -subj /CN=localhost -out v1.csr"))
                    && run(&format!(
                        "x509 -req -in v1.csr -signkey {key} -days 30 -out {certificate}"
                    ))
            }
            _ => run(&format!(
                "req -new -x509 -key {key} -subj /CN=localhost -days 30 -out {certificate}"
            )),
        };
        assert!(made, "{name}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let config = config_with(&format!("certificate={certificate}\nprivateKey={key}"));
        if words.is_empty() {
            let (errors, warnings) = findings(&config);
            assert!(errors.is_empty() && warnings.is_empty(), "{name}: {errors:?} {warnings:?}");
            continue;
        }
        // What OpenSSL calls version 1 by default depends on its own version.
        if name == "v1" && findings(&config).0.is_empty() {
            continue;
        }
        let body: String = fs::read_to_string(&key).unwrap();
        let body = body.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let error = only_error(&config, &[body.into_bytes()]);
        assert!(error.contains(words) && error.contains("; "), "{name}: {error}");
    }
}
