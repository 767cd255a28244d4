//! Texts of a file as messages show them: cut, without invisible characters, without secrets.

use super::secret::may_be_secret;
use crate::shown::{MOST_CHARS, cut};
pub(super) use crate::shown::{escaped, is_invisible};

/// Of a text that is not known to be harmless: fewer than eight characters of a key.
const FEW_CHARS: usize = 7;

/// A value or text in quotes.
pub(super) fn quoted(text: &str) -> String {
    match may_be_secret(text) {
        true => "'…' (not shown: it may be a secret)".to_owned(),
        false => format!("'{}'", escaped(&cut(text, MOST_CHARS))),
    }
}

/// The name of a section or key.
pub(super) fn name(text: &str) -> String {
    match may_be_secret(text) {
        true => start(text),
        false => escaped(&cut(text, MOST_CHARS)),
    }
}

/// The start of a text of which the rest may be a secret.
pub(super) fn start(text: &str) -> String {
    escaped(&cut(text, FEW_CHARS))
}

/// The code point as `U+200B`.
pub(super) fn code(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(quoted("abc"), "'abc'");
        assert_eq!(quoted(&"ü".repeat(81)), format!("'{}…'", "ü".repeat(80)));
        assert_eq!(name(&"n".repeat(81)), format!("{}…", "n".repeat(80)));
    }

    #[test]
    fn of_a_text_that_may_be_a_secret_fewer_than_eight_characters_are_shown() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        assert_eq!(quoted(key), "'…' (not shown: it may be a secret)");
        assert_eq!(name(key), "MIGHAgE…");
    }

    #[test]
    fn invisible_characters_are_escaped() {
        for c in [
            '\u{0}',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{2003}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0001}',
            '\u{e000}',
        ] {
            assert!(is_invisible(c), "{c:?}");
            assert_eq!(escaped(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        for c in [' ', '\'', '"', '\\', 'ü', 'о', '漢', '…', '8'] {
            assert!(!is_invisible(c), "{c:?}");
        }
    }
}
