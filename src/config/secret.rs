//! What may be a key or a password: no message shows it, and memory that held it is wiped.
//!
//! Whether a text is a secret is judged by `shown`. A key whose name is that of a secret hides its
//! value in any case.

pub(super) use crate::base::shown::{begins_pem, ends_pem};
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

/// Whether a text holds, or may hold, a key or password.
pub(super) fn may_be_secret(text: &str) -> bool {
    super::work::count(text.len());
    crate::base::shown::may_be_secret(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
