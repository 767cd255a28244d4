//! The types that a key's value can have, with their ranges.
//!
//! Promises: `Display` is the text that tells users what is valid, and `parse` takes
//! exactly that; nothing is clamped.

use super::address::BindAddress;
use super::units;
use std::fmt;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1/0, true/false, yes/no, on/off.
    Flag,
    /// A number, both ends inclusive.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number, both ends inclusive, or `auto`.
    IntegerOrAuto {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A time, both ends inclusive.
    Duration {
        /// Whether 0 is valid too; it then means that there is none.
        zero: bool,
        /// Shortest.
        min_ms: u64,
        /// Longest.
        max_ms: u64,
    },
    /// A number of bytes, both ends inclusive.
    Size {
        /// Smallest, in bytes.
        min: u64,
        /// Largest, in bytes.
        max: u64,
    },
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// 1.2 or 1.3.
    TlsVersion,
    /// Any text; says what it is.
    Text(&'static str),
    /// A text that no message may show.
    Secret,
    /// A file or folder.
    Path,
    /// A list.
    List,
    /// A list of addresses and host names.
    Addresses,
    /// A list of ALPN protocol names, each 1 to 255 bytes long.
    Alpn,
    /// A list of names, or a boolean that says no.
    Names,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of a flag.
    Flag(bool),
    /// Of an integer, duration (ms) or size (bytes).
    Number(u64),
    /// Of a choice, as the table writes it.
    Word(&'static str),
    /// Of a text, secret or path, which stays where it is: a copy of a secret would have to be wiped.
    Text,
    /// Of all lists.
    List(Vec<String>),
}

const TLS_VERSIONS: &[&str] = &["1.2", "1.3"];
const AUTO: &[&str] = &["auto"];

impl Kind {
    /// Reads a value, or tells what is wrong with it in words that follow the value.
    pub(super) fn parse(self, text: &str) -> Result<Value, &'static str> {
        match self {
            Kind::Flag => units::boolean(text).map(Value::Flag).ok_or("is no boolean"),
            Kind::Integer { min, max } => match units::integer(text) {
                None => Err("is not a number that fits"),
                Some(n) => in_range(n, min, max),
            },
            Kind::IntegerOrAuto { min, max } => match word(text, AUTO) {
                Some(auto) => Ok(auto),
                None => Kind::Integer { min, max }.parse(text),
            },
            Kind::Duration { zero, min_ms, max_ms } => match units::duration_ms(text) {
                None => Err("is not a duration that fits"),
                Some(0) if zero => Ok(Value::Number(0)),
                Some(ms) => in_range(ms, min_ms, max_ms),
            },
            Kind::Size { min, max } => match units::size_bytes(text) {
                None => Err("is not a size that fits"),
                Some(bytes) => in_range(bytes, min, max),
            },
            Kind::Choice(words) => word(text, words).ok_or("is none of the choices"),
            Kind::TlsVersion => match word(text, TLS_VERSIONS) {
                Some(version) => Ok(version),
                None if is_older_version(text) => Err("does not exist here: it is not secure"),
                None => Err("is no TLS version"),
            },
            Kind::Text(_) | Kind::Secret | Kind::Path => Ok(Value::Text),
            Kind::List => items(text),
            Kind::Addresses => all(text, |item| BindAddress::parse(item).err()),
            Kind::Alpn => {
                all(text, |item| (item.len() > 255).then_some("has a name longer than 255 bytes"))
            }
            Kind::Names => match units::boolean(text) {
                Some(false) => Ok(Value::List(Vec::new())),
                Some(true) => Err("does not say for which names"),
                None => items(text),
            },
        }
    }

    /// The value of a key of this kind that has nothing.
    pub(super) fn nothing(self) -> Value {
        match self {
            Kind::Flag => Value::Flag(false),
            Kind::IntegerOrAuto { .. } => Value::Word(AUTO[0]),
            Kind::Integer { .. } | Kind::Duration { .. } | Kind::Size { .. } => Value::Number(0),
            Kind::Choice(words) => Value::Word(words[0]),
            Kind::TlsVersion => Value::Word(TLS_VERSIONS[0]),
            Kind::Text(_) | Kind::Secret | Kind::Path => Value::Text,
            Kind::List | Kind::Addresses | Kind::Alpn | Kind::Names => Value::List(Vec::new()),
        }
    }
}

fn in_range(n: u64, min: u64, max: u64) -> Result<Value, &'static str> {
    let inside = (min..=max).contains(&n);
    inside.then_some(Value::Number(n)).ok_or("is out of range")
}

fn word(text: &str, words: &[&'static str]) -> Option<Value> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    found.map(|word| Value::Word(word))
}

fn is_older_version(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace([' ', '_'], "");
    let number = text.strip_prefix("tlsv").or(text.strip_prefix("tls"));
    text.starts_with("ssl") || matches!(number.unwrap_or(&text), "1" | "1.0" | "1.1")
}

fn items(text: &str) -> Result<Value, &'static str> {
    units::list(text).map(Value::List)
}

/// The items, or what is wrong with one of them.
fn all(text: &str, wrong: impl Fn(&str) -> Option<&'static str>) -> Result<Value, &'static str> {
    let items = units::list(text)?;
    match items.iter().find_map(|item| wrong(item)) {
        Some(wrong) => Err(wrong),
        None => Ok(Value::List(items)),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Flag => f.write_str("yes or no"),
            Kind::Integer { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::IntegerOrAuto { min, max } => write!(f, "auto, or a number from {min} to {max}"),
            Kind::Duration { zero, min_ms, max_ms } => {
                let (min, max) = (units::show_duration(min_ms), units::show_duration(max_ms));
                let off = if zero { "0, or " } else { "" };
                write!(f, "{off}a duration from {min} to {max} (units: ms, s, m, h)")
            }
            Kind::Size { min, max } => {
                let (min, max) = (units::show_size(min), units::show_size(max));
                write!(f, "a size from {min} to {max} (units: K, M, G)")
            }
            Kind::Choice(words) => f.write_str(&words.join(", ")),
            Kind::TlsVersion => f.write_str(&TLS_VERSIONS.join(", ")),
            Kind::Text(what) => f.write_str(what),
            Kind::Secret => f.write_str("a password or key"),
            Kind::Path => f.write_str("a path"),
            Kind::List => f.write_str("a list with commas"),
            Kind::Addresses => f.write_str("addresses or host names without a port, with commas"),
            Kind::Alpn => f.write_str("protocol names of 1 to 255 bytes, with commas"),
            Kind::Names => f.write_str("names with commas, or off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_never_clamped() {
        let kind = Kind::Integer { min: 1, max: 9 };
        assert_eq!(kind.parse("1"), Ok(Value::Number(1)));
        assert_eq!(kind.parse("9"), Ok(Value::Number(9)));
        for text in ["0", "10"] {
            assert_eq!(kind.parse(text), Err("is out of range"), "{text}");
        }
        let kind = Kind::Size { min: 1, max: 1024 };
        assert_eq!(kind.parse("1K"), Ok(Value::Number(1024)));
        assert_eq!(kind.parse("1025"), Err("is out of range"));
    }

    #[test]
    fn zero_is_valid_only_where_it_means_none() {
        let kind = |zero| Kind::Duration { zero, min_ms: 1_000, max_ms: 2_000 };
        assert_eq!(kind(true).parse("0"), Ok(Value::Number(0)));
        assert_eq!(kind(false).parse("0s"), Err("is out of range"));
        assert_eq!(kind(true).parse("999"), Err("is out of range"));
    }

    #[test]
    fn a_number_may_be_left_to_the_library() {
        let kind = Kind::IntegerOrAuto { min: 0, max: 9 };
        assert_eq!(kind.parse("Auto"), Ok(Value::Word("auto")));
        assert_eq!(kind.parse("9"), Ok(Value::Number(9)));
        assert_eq!(kind.parse("10"), Err("is out of range"));
        assert_eq!(kind.parse("automatic"), Err("is not a number that fits"));
    }

    #[test]
    fn words_are_read_in_any_case() {
        let kind = Kind::Choice(&["auto", "raw"]);
        assert_eq!(kind.parse("RAW"), Ok(Value::Word("raw")));
        assert_eq!(kind.parse("rar"), Err("is none of the choices"));
    }

    #[test]
    fn tls_versions_older_than_1_2_do_not_exist_here() {
        for text in ["1.0", "1.1", "1", "SSLv3", "ssl2", "TLSv1", "TLS 1.1", "TLSv1.0"] {
            let wrong = Kind::TlsVersion.parse(text).expect_err("it does not exist");
            assert!(wrong.contains("does not exist here"), "{text}");
        }
        assert_eq!(Kind::TlsVersion.parse("1.3"), Ok(Value::Word("1.3")));
        assert_eq!(Kind::TlsVersion.parse("2"), Err("is no TLS version"));
    }

    #[test]
    fn names_may_be_switched_off_but_not_on() {
        for text in ["off", "no", "0", "false"] {
            assert_eq!(Kind::Names.parse(text), Ok(Value::List(vec![])), "{text}");
        }
        assert!(Kind::Names.parse("on").is_err());
        assert_eq!(Kind::Names.parse("a,b"), Ok(Value::List(vec!["a".into(), "b".into()])));
    }
}
