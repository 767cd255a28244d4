//! Values as messages show them: cut, without invisible characters, without secrets.
//!
//! Whether a text is a secret cannot be known for sure. `may_be_secret` says yes rather than no: a
//! wrong yes costs a message the text that it is about, and decides nothing else. It makes no copy
//! of the text.

use std::path::Path;

pub(crate) const MOST_CHARS: usize = 80;
const HIDDEN: &str = "(not shown: it may be a secret)";

/// A value.
pub(crate) fn shown(text: &str) -> String {
    match may_be_secret(text) {
        true => HIDDEN.to_owned(),
        false => escaped(&cut(text, MOST_CHARS)),
    }
}

/// A list of values.
pub(crate) fn shown_all(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| shown(text)).collect()
}

/// A path; it is not cut.
pub(crate) fn shown_path(path: &Path) -> String {
    match path.to_string_lossy() {
        text if may_be_secret(&text) => HIDDEN.to_owned(),
        text => escaped(&text),
    }
}

pub(crate) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The text with invisible characters as `\u{200b}`: they could hide what is wrong, break the line,
/// or drive a terminal.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

/// Whether a reader cannot see this character: control and format characters, blanks but the space,
/// line and paragraph separators, variation selectors, code points that are no characters. Marks that
/// combine with the letter before them are seen. The standard library has the tables.
pub(crate) fn is_invisible(c: char) -> bool {
    // Letters and symbols whose picture is empty; Unicode does not class them as blanks.
    const EMPTY: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    let is_plain = c.is_ascii_graphic() || c == ' ';
    // Unicode classes these as combining marks.
    let is_empty_mark = matches!(c, '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
    // Behind a letter, a combining mark is escaped only if it cannot be printed.
    let is_escaped = || {
        let mut bytes = [b'a', 0, 0, 0, 0];
        let len = c.encode_utf8(&mut bytes[1..]).len();
        std::str::from_utf8(&bytes[..=len])
            .is_ok_and(|pair| pair.escape_debug().nth(1) == Some('\\'))
    };
    !is_plain && (EMPTY.contains(&c) || is_empty_mark || is_escaped())
}

/// Whether a line or value begins a PEM block.
pub(crate) fn begins_pem(text: &str) -> bool {
    text.contains("-----BEGIN") || text.contains("---- BEGIN")
}

/// Whether it ends one.
pub(crate) fn ends_pem(text: &str) -> bool {
    text.contains("-----END") || text.contains("---- END")
}

/// The first bytes of PEM text in base64, as in a secret of Kubernetes.
const PEM_IN_BASE64: &str = "LS0tLS1CRUdJTi";
const NAME: &[u8] = b"PRIVATE KEY";

/// Whether a text holds, or may hold, a key or password.
pub(crate) fn may_be_secret(text: &str) -> bool {
    begins_pem(text)
        || ends_pem(text)
        || text.contains(PEM_IN_BASE64)
        || text.as_bytes().windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
        || text.split(|c| !is_base64(c)).any(looks_random)
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['+', '/', '='].contains(&c)
}

/// Base64 of random bytes changes between upper case, lower case and digits at two of three
/// characters, names at one of three or four.
fn looks_random(run: &str) -> bool {
    const SEGMENT: usize = 20;
    const RUN: usize = 32;
    // The lengths that keys and certificates begin with.
    const DER: [&str; 3] = ["MI", "MHc", "MC4"];
    if run.len() < SEGMENT {
        return false;
    }
    let is_hex = |text: &str| {
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex && text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| !b.is_ascii_digit())
    };
    let mut segments = run.split('/').filter(|segment| segment.len() >= SEGMENT);
    let joined = || run.bytes().filter(|&byte| byte != b'/');
    segments.any(|segment| {
        changes(segment.bytes()) * 3 >= segment.len()
            || (DER.iter().any(|start| segment.starts_with(start)) && changes(segment.bytes()) > 0)
            || (segment.len() >= RUN && is_hex(segment))
    }) || (run.len() >= RUN && changes(joined()) * 2 >= joined().count())
}

/// How often the class of characters changes; 0 if there are not both cases.
fn changes(bytes: impl Iterator<Item = u8>) -> usize {
    let class = |byte: u8| match byte {
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        b'0'..=b'9' => 4,
        _ => 8,
    };
    let (mut last, mut seen, mut changes) = (0, 0, 0);
    for byte in bytes {
        let class = class(byte);
        changes += usize::from(class != last && last != 0);
        seen |= class;
        last = class;
    }
    if seen & 3 == 3 { changes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_and_escaped_and_secrets_are_not_shown() {
        let key = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
        let long = "n".repeat(81);
        for (text, expected) in [
            ("a b", "a b".to_owned()),
            ("a\u{1b}[2J\r\nb", "a\\u{1b}[2J\\u{d}\\u{a}b".to_owned()),
            (&long, format!("{}…", "n".repeat(80))),
            (key, HIDDEN.to_owned()),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown_path(Path::new(&long)), long);
        assert_eq!(shown_path(Path::new(&format!("/etc/{key}"))), HIDDEN);
    }

    #[test]
    fn keys_are_not_shown_in_any_form_and_paths_are() {
        let body = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
        for secret in [
            format!("\"{body}\""),
            format!("/etc/{body}"),
            format!("{}\\n{}", &body[..20], &body[20..]),
            format!("{}\n{}", &body[..20], &body[20..]),
            "x -----begin Private Key".to_owned(),
            "LS0tLS1CRUdJTiBQUklW".to_owned(),
        ] {
            assert!(may_be_secret(&secret), "{secret}");
        }
        for path in [
            "/etc/letsencrypt/live/www.example.com/privkey.pem",
            "/home/Admin/Documents/Work2024/certs/Server/live/current/key",
            "C:\\Program Files\\Server 2019\\certificates\\new\\server.key",
            "/srv/Certificates 2026/Web Server 01/www/live/server.key",
            "/run/secrets/kubernetes.io/serviceaccount/..2026_11_30_12_00_00.123456789/tls.key",
            "/opt/MyApplicationServer2024/certificates/server.pem",
            "/Volumes/Data1/Certificates/ServerProduction.pem",
            "certs/ServerCertificateProduction2026.pem",
            "/run/secrets/ProdWebServerCertificateKey2026",
        ] {
            assert!(!may_be_secret(path), "{path}");
        }
    }

    #[test]
    fn pem_and_base64_may_be_secrets() {
        for text in [
            "-----BEGIN PRIVATE KEY-----",
            "x -----END RSA PRIVATE KEY-----",
            "my private key is here",
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2",
            "OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "kZ8aB3xYwPq7Lm2Tr5VvN1",
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
            "MC4CAQAwBQYDK2VwBCIEIA",
        ] {
            assert!(may_be_secret(text), "{text}");
        }
    }

    #[test]
    fn names_paths_and_numbers_are_shown() {
        for text in [
            "",
            "seventy",
            "/etc/letsencrypt/live/www.example.org/fullchain.pem",
            "C:\\Program Files\\Server\\Certificates\\ServerCertificate2026.pem",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "maxConnectionsPerAddress",
            "keyStorePasswordFile",
            "/srv/Applications/Server/Configuration/Certificates",
            "99999999999999999999999999999999999999999999",
            "fe80::1%eth0, 2001:db8::1",
        ] {
            assert!(!may_be_secret(text), "{text}");
        }
    }

    /// With the alphabet in a fixed order of steps: the same texts in every run.
    #[test]
    fn a_line_of_base64_hardly_ever_passes_for_a_name() {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(ALPHABET[(state >> 20) as usize % 64])
        };
        let passed = (0..10_000).filter(|_| {
            let line: String = (0..64).map(|_| next()).collect();
            !may_be_secret(&line)
        });
        assert!(passed.count() < 10);
    }
}
