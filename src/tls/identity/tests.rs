//! Tests of `identity`.

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
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for three in der.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
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
) -> Result<(Identity, Vec<LoadError>), LoadError> {
    let certificate = folder.write("cert.pem", certificate, 0o644);
    let key = folder.write("key.pem", key, 0o600);
    load_files(&certificate, &key)
}

fn load_files(certificate: &Path, key: &Path) -> Result<(Identity, Vec<LoadError>), LoadError> {
    Identity::load(certificate, key, KeyPermissions::Strict)
}

#[track_caller]
fn refused(result: Result<(Identity, Vec<LoadError>), LoadError>, key: &str, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.key, key, "{error}");
    assert!(error.message.contains(words), "{error}");
    assert!(error.message.contains(".pem:") && !error.message.contains('\n'), "{error}");
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
        let key = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
            .to_string()
            + &pem(label, der);
        let (_, warnings) = load(&folder, &pems.certificate, &key).unwrap();
        assert!(warnings.is_empty(), "{label}: {warnings:?}");
    }
}

#[test]
fn chain_and_key_may_share_a_file() {
    let folder = Folder::new();
    let pems = ecdsa();
    let both =
        folder.write("both.pem", &(pems.certificate + &pem("PRIVATE KEY", &pems.pkcs8)), 0o600);
    load_files(&both, &both).unwrap();
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
    refused(load_files(&certificate, &path), "privateKey", &remedy);
    let error = load_files(&certificate, &path).unwrap_err();
    for other in ["(mode 0604)", "defaultMode: 0400", "keyPermissions = warn"] {
        assert!(error.message.contains(other), "{error}");
    }
    let (_, warnings) = Identity::load(&certificate, &path, KeyPermissions::Warn).unwrap();
    assert_eq!((warnings.len(), warnings[0].key), (1, "privateKey"));
    let warning = &warnings[0].message;
    assert!(warning.contains("every user") && warning.contains(&remedy), "{warning}");
    let path = folder.write("key.pem", &key, 0o640);
    let (_, warnings) = load_files(&certificate, &path).unwrap();
    for words in ["the group can read", &remedy, "fsGroup", "keyPermissions = warn"] {
        assert!(warnings[0].message.contains(words), "{warnings:?}");
    }
    // What the warning says ends it.
    let (_, warnings) = Identity::load(&certificate, &path, KeyPermissions::Warn).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn each_wrong_file_has_its_own_error() {
    let folder = Folder::new();
    let pems = ecdsa();
    let (certificate, key) = (pems.certificate.as_str(), pem("PRIVATE KEY", &pems.pkcs8));
    refused(load(&folder, "", &key), "certificate", "the file is empty");
    refused(load(&folder, certificate, ""), "privateKey", "the file is empty");
    refused(load(&folder, &key, &key), "certificate", "no certificate in this file");
    refused(load(&folder, certificate, certificate), "privateKey", "no private key in this file");
    refused(
        load(&folder, &pem("CERTIFICATE", b"noise"), &key),
        "certificate",
        "cert.pem:1: this certificate is damaged",
    );
    refused(
        load(&folder, certificate, &pem("PRIVATE KEY", b"noise")),
        "privateKey",
        "key.pem:1: this private key is damaged",
    );
    refused(
        load(&folder, certificate, "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----"),
        "privateKey",
        "key.pem:2: the PEM text is broken",
    );
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"noise");
    refused(load(&folder, certificate, &encrypted), "privateKey", "not available in this version");
    let encrypted = key.replace("PRIVATE KEY-----\n", "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
    refused(load(&folder, certificate, &encrypted), "privateKey", "not available in this version");
    let dsa = pem(
        "DSA PRIVATE KEY",
        b"0\x12\x02\x01\0\x02\x01\x01\x02\x01\x01\x02\x01\x01\x02\x01\x01\x02\x01\x01",
    );
    refused(load(&folder, certificate, &dsa), "privateKey", "DSA keys do not exist in TLS 1.3");
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = Folder::new();
    let key = folder.write("key.pem", "x", 0o600);
    refused(load_files(&folder.path("none.pem"), &key), "certificate", "does not exist");
    std::fs::create_dir(folder.path("dir.pem")).unwrap();
    refused(load_files(&folder.path("dir.pem"), &key), "certificate", "not a regular file");
    // The marks of PEM tell that a value is no path, without a look at any file.
    let text = "-----BEGIN PRIVATE KEY-----";
    let error = load_files(Path::new(text), &key).unwrap_err();
    assert!(error.message.starts_with("the value is no path") && !error.message.contains(text));
}

/// Signed by nobody whose signature is looked at here.
fn dated(name: &str, issuer: &str, years: (i32, i32)) -> (String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let named = |name: &str| {
        let mut params = CertificateParams::new(vec!["host.example".to_string()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params
    };
    let issuer_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = rcgen::Issuer::new(named(issuer), issuer_key);
    let certificate = named(name).signed_by(&key, &issuer).unwrap();
    (certificate.pem(), pem("PRIVATE KEY", &key.serialize_der()))
}

#[test]
fn the_validity_is_that_of_the_certificate_itself_and_issuers_have_their_own() {
    let (leaf, key) = dated("leaf", "ca", (2001, 2030));
    let (ca, _) = dated("ca", "root", (2000, 2020));
    // As the root of Let's Encrypt that another root has signed; then two that nobody needs.
    let (cross, _) = dated("root", "old", (2002, 2024));
    let (old, _) = dated("old", "old", (2000, 2021));
    let (lone, _) = dated("lone", "other", (2000, 2003));
    let text = [leaf, ca, cross, old, lone].concat();
    let line = |at: usize| {
        let begins = text.lines().zip(1..).filter(|(line, _)| line.contains("BEGIN"));
        begins.map(|(_, line)| line).nth(at).unwrap()
    };
    let folder = Folder::new();
    let (identity, _) = load(&folder, &text, &key).unwrap();
    assert_eq!(identity.certificates(), 5);
    let expected = Validity { not_before_s: 978_307_200, not_after_s: 1_893_456_000 };
    assert_eq!(identity.validity(), expected);
    let told: Vec<_> = identity.dates.iter().map(|d| (d.place.clone(), d.is_own)).collect();
    let place = |at| format!("{}:{}", folder.path("cert.pem").display(), line(at));
    assert_eq!(told, [(place(0), true), (place(1), false), (place(2), false)]);
    assert_eq!(identity.dates[1].validity.not_after_s, 1_577_836_800);
}

#[test]
fn a_further_certificate_that_cannot_be_read_is_sent_where_it_stands() {
    let (leaf, key) = dated("leaf", "ca", (2001, 2030));
    let (ca, _) = dated("ca", "root", (2000, 2020));
    let (root, _) = dated("root", "root", (2000, 2020));
    // A date that is none.
    let unread = |text: &str| {
        let mut bytes = der(text);
        let at = bytes.windows(8).position(|part| part == b"00010100").unwrap();
        bytes[at..at + 2].copy_from_slice(b"XX");
        pem("CERTIFICATE", &bytes)
    };
    let folder = Folder::new();
    let text = format!("{leaf}{}{root}", unread(&ca));
    let (identity, warnings) = load(&folder, &text, &key).unwrap();
    let sent: Vec<&[u8]> = identity.key.cert.iter().map(AsRef::as_ref).collect();
    assert_eq!(sent, [der(&leaf), der(&unread(&ca)), der(&root)]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let line = leaf.lines().count() + 1;
    for words in [format!("cert.pem:{line}: "), format!("(lines {line})"), "cannot be read".into()]
    {
        assert!(warnings[0].message.contains(&words), "{warnings:?}");
    }
    // Of the server's own, and of bytes that are no sequence, it is an error.
    let (own, _) = dated("leaf", "ca", (2000, 2030));
    let own = unread(&own);
    let alone = load(&folder, &format!("{own}{ca}"), &key);
    refused(alone, "certificate", "cert.pem:1: this certificate is damaged");
    let noise = format!("{leaf}{}", pem("CERTIFICATE", b"noise"));
    refused(load(&folder, &noise, &key), "certificate", "this certificate is damaged");
}

fn der(text: &str) -> Vec<u8> {
    match &pem::read(text.as_bytes()).unwrap()[0].content {
        pem::Content::Der(der) => der.to_vec(),
        pem::Content::Encrypted => unreachable!("it is plain"),
    }
}

#[test]
fn bytes_behind_a_certificate_are_refused_unless_its_label_promises_them() {
    let pems = ecdsa();
    let key = pem("PRIVATE KEY", &pems.pkcs8);
    let longer = [der(&pems.certificate), vec![0x30, 0]].concat();
    let folder = Folder::new();
    let result = load(&folder, &pem("CERTIFICATE", &longer), &key);
    refused(result, "certificate", "cert.pem:1: this certificate has further bytes");
    let (identity, _) = load(&folder, &pem("TRUSTED CERTIFICATE", &longer), &key).unwrap();
    assert_eq!(identity.key.cert[0].as_ref(), der(&pems.certificate));
}

#[test]
fn where_the_key_of_a_ca_stands_too_its_certificate_is_not_the_servers_own() {
    let ca_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "ca");
    let ca_certificate = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let own = CertificateParams::new(vec!["host.example".to_string()]).unwrap();
    let keys = [&ca_key, &key].map(|key| pem("PRIVATE KEY", &key.serialize_der())).concat();
    let own = own.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap().pem();
    let (identity, _) = load(&Folder::new(), &(ca_certificate + &own), &keys).unwrap();
    assert_eq!(identity.key.cert[0].as_ref(), der(&own));
}

#[test]
fn so_many_keys_of_a_file_are_tried() {
    let pems = ecdsa();
    let key = pem("PRIVATE KEY", &pems.pkcs8);
    let folder = Folder::new();
    let result = load(&folder, &pems.certificate, &key.repeat(MAX_KEYS + 1));
    refused(result, "privateKey", "the file holds 65 private keys, 64 at most are tried");
    load(&folder, &pems.certificate, &key.repeat(MAX_KEYS)).unwrap();
}

/// Shorter by what is taken out behind the OID of an algorithm.
fn without_null(der: &[u8]) -> Vec<u8> {
    const OID: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let at = der.windows(OID.len()).position(|part| part == OID).unwrap();
    let mut out = der.to_vec();
    out.drain(at + OID.len() - 2..at + OID.len());
    out[at + 1] -= 2;
    // Lengths of two bytes: the certificate, what is signed of it, and the key.
    for length in [2, 6, at - 2] {
        let shorter = u16::from_be_bytes([out[length], out[length + 1]]) - 2;
        out[length..length + 2].copy_from_slice(&shorter.to_be_bytes());
    }
    out
}

#[test]
fn public_keys_in_unusual_forms_are_named() {
    let folder = Folder::new();
    let rsa = rsa();
    let certificate = pem("CERTIFICATE", &without_null(&der(&rsa.certificate)));
    let result = load(&folder, &certificate, &pem("PRIVATE KEY", &rsa.pkcs8));
    refused(
        result,
        "certificate",
        "cert.pem:1: this certificate names the algorithm of its RSA key without",
    );

    // The same point, compressed: 32 bytes shorter.
    let ecdsa = ecdsa();
    let mut bytes = der(&ecdsa.certificate);
    let at = bytes.windows(4).position(|part| part == [3, 0x42, 0, 4]).unwrap();
    bytes[at + 1] -= 32;
    bytes[at + 3] = 2 + (bytes[at + 3 + 64] & 1);
    bytes.drain(at + 4 + 32..at + 4 + 64);
    // The key is 0x59 bytes long, the others' lengths have two bytes, or one.
    let key = at - 23;
    assert_eq!(bytes[key..key + 4], [0x30, 0x59, 0x30, 0x13]);
    bytes[key + 1] -= 32;
    let shorten = |bytes: &mut Vec<u8>, at: usize| {
        assert_eq!(bytes[at], 0x30);
        match bytes[at + 1] {
            0x82 => {
                let length = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) - 32;
                bytes[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
                at + 4
            }
            0x81 => {
                bytes[at + 2] -= 32;
                at + 3
            }
            other => panic!("{other}"),
        }
    };
    let next = shorten(&mut bytes, 0);
    shorten(&mut bytes, next);
    let compressed = pem("CERTIFICATE", &bytes);
    let result = load(&folder, &compressed, &pem("PRIVATE KEY", &ecdsa.pkcs8));
    refused(
        result,
        "certificate",
        "cert.pem:1: this certificate holds its public key as a compressed point",
    );
    // Of another key it is a mismatch.
    let other = self::ecdsa();
    let result = load(&folder, &compressed, &pem("PRIVATE KEY", &other.pkcs8));
    refused(result, "privateKey", "does not belong");
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
    assert!(Identity::self_signed(&["a b".to_string()]).unwrap_err().message.contains("\"a b\""));
}
