//! Certificates and keys in PEM text.

use crate::tls::{Identity, KeyPermissions, Source, certificates};
use std::collections::HashSet;

/// Words of messages in which a block may have the same eight bytes, besides those in small or
/// in capital letters alone.
const WORDS: &str = "rsaEncryption secp256k1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 \
    subjectAltName privateKey NEWFILE/p12";

/// Input: the file of the certificate, and behind a NUL that of the key; or one file for both.
pub fn pem(input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let certificate = parts.next().unwrap_or_default();
    let key = parts.next().unwrap_or(certificate);

    let (read, looks) = certificates(certificate);
    assert!(looks <= 100 * certificate.len(), "{looks} looks at {} bytes", certificate.len());
    if let Ok(read) = &read {
        let marks = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"].map(|label| {
            let mark = format!("-----BEGIN {label}-----");
            certificate.windows(mark.len()).filter(|part| *part == mark.as_bytes()).count()
        });
        assert_eq!(read.len(), marks.iter().sum::<usize>(), "a certificate is lost");
    }

    let chain = Source::new("certificate", "c.pem", certificate);
    let key_file = Source::new("privateKey", "k.pem", key);
    let mut warnings = Vec::new();
    let mut messages: Vec<String> = read.as_ref().err().cloned().into_iter().collect();
    match Identity::from_pem(&chain, &key_file, KeyPermissions::Strict, &mut warnings) {
        Ok(identity) => {
            let read = read.expect("an identity has a chain");
            let different: HashSet<&[u8]> = read.iter().map(Vec::as_slice).collect();
            // Of two that differ in what OpenSSL trusts them for, one is sent.
            let sent = identity.certificates();
            assert!(sent <= different.len(), "a certificate is sent twice");
            let trusted = b"-----BEGIN TRUSTED CERTIFICATE-----";
            if !certificate.windows(trusted.len()).any(|part| part == trusted) {
                assert_eq!(sent, different.len(), "a certificate is lost");
            }
        }
        Err(error) => messages.push(error.to_string()),
    }
    messages.extend(warnings.iter().map(ToString::to_string));
    for message in &messages {
        assert!(!message.contains(char::is_control), "{message:?} is not one line");
        assert!(message.contains("c.pem") || message.contains("k.pem"), "{message:?} has no place");
    }
    for message in &messages {
        for window in message.as_bytes().windows(8).filter(|window| is_secret(window)) {
            let mut all = blocks(certificate).chain(blocks(key));
            let told = all.any(|block| block.windows(8).any(|part| part == window));
            assert!(!told, "{} is in {message:?}", String::from_utf8_lossy(window));
        }
    }
}

/// What stands between a BEGIN and the next mark.
fn blocks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let begin = b"-----BEGIN ";
    let begins = (0..text.len()).filter(|&at| text[at..].starts_with(begin));
    begins.filter_map(|at| {
        let behind = &text[at + begin.len()..];
        let label = behind.windows(5).position(|part| part == b"-----")?;
        let block = &behind[label + 5..];
        let end = block.windows(5).position(|part| part == b"-----").unwrap_or(block.len());
        Some(&block[..end])
    })
}

fn is_secret(window: &[u8]) -> bool {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    window.iter().all(base64)
        && !window.iter().all(u8::is_ascii_lowercase)
        && !window.iter().all(u8::is_ascii_uppercase)
        && !WORDS.as_bytes().windows(8).any(|word| word == window)
}
