//! What may be a key or a password: no message shows it, and memory that held it is wiped.
//!
//! Whether a text is a secret cannot be known for sure. `may_be_secret` says yes rather than no: a
//! wrong yes costs a message the text it complains about. A key whose name is that of a secret hides
//! its value in any case.

use std::fmt;
use zeroize::Zeroize;

/// A text that is wiped when it is dropped, and that `Debug` does not show. Every value of a
/// configuration is one, so that nothing depends on which of them is a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wiped(Box<str>);

impl Wiped {
    pub(super) fn new(text: &str) -> Wiped {
        super::work::count(text.len());
        Wiped(text.into())
    }
}

impl std::ops::Deref for Wiped {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// Whether a key of this name holds a secret, or says where one is: a password may stand where its
/// file or variable belongs.
pub(super) fn is_secret_key(name: &str) -> bool {
    const PARTS: [&str; 7] =
        ["password", "passwd", "passphrase", "pwd", "secret", "token", "credential"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || name == "acmeeabkey"
}

/// Whether a line or value begins a PEM block.
pub(super) fn begins_pem(text: &str) -> bool {
    text.contains("-----BEGIN") || text.contains("---- BEGIN")
}

/// Whether it ends one.
pub(super) fn ends_pem(text: &str) -> bool {
    text.contains("-----END") || text.contains("---- END")
}

/// Whether a text holds, or may hold, a key or password.
pub(super) fn may_be_secret(text: &str) -> bool {
    super::work::count(text.len());
    let upper = |text: &str| text.to_ascii_uppercase();
    begins_pem(text)
        || ends_pem(text)
        || (text.len() >= 11 && upper(text).contains("PRIVATE KEY"))
        || text.split(|c| !is_base64(c)).any(looks_random)
}

/// Whether a value that should be a path is the key itself. Paths may look random too, so a text that
/// begins like a path, or has an extension, is one.
pub(super) fn is_no_path(text: &str) -> bool {
    let begins = ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
    begins_pem(text) || (text.len() >= 40 && !begins && !text.contains('.') && may_be_secret(text))
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

    #[test]
    fn a_key_in_place_of_a_path_is_found_and_a_random_path_is_none() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";
        assert!(is_no_path(key) && is_no_path("-----BEGIN EC PRIVATE KEY----- x"));
        for path in
            [format!("./{key}"), format!("/run/{key}"), format!("{key}.pem"), "k.pem".into()]
        {
            assert!(!is_no_path(&path), "{path}");
        }
    }

    #[test]
    fn keys_of_secrets_are_known_by_name() {
        for name in ["keyPassword", "KEYPASSWORDFILE.a", "acmeEabKey", "db_pwd", "apiToken"] {
            assert!(is_secret_key(name), "{name}");
        }
        for name in ["privateKey", "certificate", "port", "relayTicketKeys"] {
            assert!(!is_secret_key(name), "{name}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Wiped::new("hunter2")), "(7 bytes)");
    }
}
