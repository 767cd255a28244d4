//! Texts of a file as messages show them: cut, without invisible characters, without secrets.

use super::secret::{begins_pem, ends_pem, is_secret_key, may_be_secret};
use crate::base::shown::{MOST_CHARS, cut};
pub(super) use crate::base::shown::{escaped, is_invisible};
use std::borrow::Cow;

/// Of names and paths that are shown whole if they can be.
const MOST_NAME_CHARS: usize = 255;

/// In place of a text that may be a secret.
pub(super) const HIDDEN: &str = "…";

/// A value or text in quotes.
pub(super) fn quoted(text: &str) -> String {
    match may_be_secret(text) {
        true => format!("'{HIDDEN}' (not shown: it may be a secret)"),
        false => format!("'{}'", shown(text)),
    }
}

/// A value without quotes; empty if it may be a secret.
pub(super) fn value(text: &str) -> String {
    if may_be_secret(text) { String::new() } else { shown(text) }
}

/// The name of a key, or of a section that may be anything.
pub(super) fn name(text: &str) -> String {
    if may_be_secret(text) { HIDDEN.to_owned() } else { shown(text) }
}

/// The whole name of a section. A name is no secret, unless it is the text of a key.
pub(super) fn written(name: &str) -> String {
    if begins_pem(name) || ends_pem(name) { HIDDEN.to_owned() } else { escaped(name) }
}

/// The name of a section of ours within a message, which is cut only if it is very long.
pub(super) fn section(name: &str) -> String {
    cut(&written(name), MOST_NAME_CHARS)
}

/// What a program gives as a path or the name of a text, which may be anything by mistake.
pub(super) fn path(text: &str) -> String {
    if begins_pem(text) || ends_pem(text) {
        return HIDDEN.to_owned();
    }
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let begins = ["/", "./", "../", "~"].iter().any(|start| line.starts_with(start));
    let line = match line.split_once('=') {
        // The text of a configuration.
        Some((key, value)) if is_secret_key(key) || may_be_secret(value) => {
            format!("{}={HIDDEN}", name(key))
        }
        _ if !begins && !line.contains('.') && may_be_secret(line) => HIDDEN.to_owned(),
        _ if line.len() < text.len() => format!("{line}{HIDDEN}"),
        _ => line.to_owned(),
    };
    escaped(&cut(&without_password(&line), MOST_NAME_CHARS))
}

fn shown(text: &str) -> String {
    escaped(&cut(&without_password(text), MOST_CHARS))
}

/// The text without what stands between `://` and `@`: a user and a password.
fn without_password(text: &str) -> Cow<'_, str> {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let (_, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://{HIDDEN}@{host}"))
    });
    parts.map_or(Cow::Borrowed(text), Cow::Owned)
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
    fn nothing_is_shown_of_a_text_that_may_be_a_secret() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        assert_eq!(quoted(key), "'…' (not shown: it may be a secret)");
        assert_eq!((name(key), value(key)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn the_name_of_a_section_is_whole_unless_it_is_the_text_of_a_key() {
        let hash = "Port.9f86d081884c7d659a2feaa0c55ad015";
        assert_eq!((written(hash), section(hash)), (hash.to_owned(), hash.to_owned()));
        let long = "n".repeat(300);
        assert_eq!((written(&long), section(&long).chars().count()), (long, 256));
        assert_eq!(written("-----BEGIN PRIVATE KEY-----MIIE"), "…");
        assert_eq!(written("a\u{1b}"), "a\\u{1b}");
    }

    #[test]
    fn what_stands_in_place_of_a_path_is_cut_escaped_and_hidden() {
        let hash = "/nix/store/9f86d081884c7d659a2feaa0c55ad015-server/a.ini";
        for (text, shown) in [
            (hash, hash),
            ("a\u{1b}.ini", "a\\u{1b}.ini"),
            ("[Port]\nport=1\n", "[Port]…"),
            ("keyPassword = hunter2", "keyPassword =…"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", "…"),
            ("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg", "…"),
            ("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSn=", "…"),
            (
                "privateKey = MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtM\nbindAddress = 0.0.0.0",
                "privateKey =…",
            ),
            ("/etc/a=b.ini", "/etc/a=b.ini"),
            ("http://me:hunter2@host/a.ini", "http://…@host/a.ini"),
        ] {
            assert_eq!(path(text), shown);
        }
        assert_eq!(path(&"ä".repeat(300)), format!("{}…", "ä".repeat(255)));
    }

    #[test]
    fn the_password_of_a_url_is_hidden() {
        assert_eq!(quoted("http://me:hunt@er2@host/x"), "'http://…@host/x'");
        assert_eq!(value(&format!("http://{}@host", "p".repeat(100))), "http://…@host");
        assert_eq!(quoted("a@b, http://host"), "'a@b, http://host'");
    }

    #[test]
    fn marks_that_combine_with_a_letter_are_seen() {
        for text in ["Schlu\u{308}ssel", "e\u{301}", "\u{928}\u{93f}", "\u{e01}\u{e31}"] {
            assert_eq!(escaped(text), text);
        }
        for c in [
            '\u{34f}',
            '\u{17b4}',
            '\u{180b}',
            '\u{200c}',
            '\u{200d}',
            '\u{fe00}',
            '\u{e0100}',
            '\u{e0020}',
        ] {
            assert!(is_invisible(c), "{c:?}");
        }
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
