//! The passage of all values through rust-ini.
//!
//! rust-ini 0.21 knows no line numbers, splits keys at `:` too, trims Unicode blanks and
//! lets a `\` at the end of a line swallow the next one, even with escapes off. So it
//! gets a normalised text that it reads exactly: keys are numbers, one key per line, and each value
//! stands between two fences:
//!
//! ```text
//! 3=|C:\certs\|
//! ```
//!
//! It gets a part of the file at a time, so that its copies stay small, and no value that may be a
//! secret, since those copies cannot all be wiped. Promises: every value comes back as it was.

use super::says;
use super::secret::{Wiped, is_secret_key, may_be_secret};
use super::work::count;
use crate::status::{Error, Status};
use ini::{Ini, ParseOption};
use zeroize::{Zeroize, Zeroizing};

/// Keeps blanks inside, and a last backslash away from the line's end.
const FENCE: char = '|';

/// So much is read at a time, and one value beyond it.
const PART_BYTES: usize = 64 << 10;

/// The values of a file, in its order.
pub(super) struct Passage {
    values: Vec<Wiped>,
    part: Zeroizing<String>,
}

impl Passage {
    /// No values.
    pub(super) fn new() -> Passage {
        let part = String::with_capacity(PART_BYTES + super::scan::MOST_LINE_BYTES + 64);
        Passage { values: Vec::new(), part: Zeroizing::new(part) }
    }

    /// Adds the value of this key. It holds no line end.
    pub(super) fn push(&mut self, key: &str, value: &str) -> Result<(), Error> {
        if is_secret_key(key) || may_be_secret(value) {
            self.values.push(Wiped::new(value));
            return Ok(());
        }
        // Takes the place of the value until the part is read.
        self.values.push(Wiped::new(""));
        let number = self.values.len() - 1;
        for text in [number.to_string().as_str(), "=|", value, "|\n"] {
            self.part.push_str(text);
        }
        if self.part.len() > PART_BYTES { self.read_part() } else { Ok(()) }
    }

    /// All values, in the order of `push`.
    pub(super) fn finish(mut self) -> Result<Vec<Wiped>, Error> {
        self.read_part()?;
        Ok(self.values)
    }

    fn read_part(&mut self) -> Result<(), Error> {
        count(self.part.len());
        let option =
            ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let internal = |text: says::Text| Error::new(Status::Internal, text.to_string());
        let mut ini = Ini::load_from_str_opt(&self.part, option)
            .map_err(|error| internal(says::passage(error.line)))?;
        for (_, properties) in ini.iter_mut() {
            for (key, value) in properties.iter_mut() {
                let inner = value.strip_prefix(FENCE).and_then(|value| value.strip_suffix(FENCE));
                let place = key.parse().ok().and_then(|number: usize| self.values.get_mut(number));
                let (Some(place), Some(inner)) = (place, inner) else {
                    return Err(internal(says::passage(key)));
                };
                *place = Wiped::new(inner);
                value.zeroize();
            }
        }
        self.part.zeroize();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Vec<String> {
        let mut passage = Passage::new();
        for value in values {
            passage.push("key", value).expect("rust-ini reads the normalised text");
        }
        let values = passage.finish().expect("rust-ini reads the normalised text");
        values.iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        let values = [
            "",
            "plain",
            "C:\\certs\\",
            "\\\\server\\share\\\\",
            "\\",
            "\"quoted\"",
            "'",
            "\"",
            "a = b : c",
            "x ; y",
            "x # y",
            "[Port]",
            "|",
            "||",
            "\u{a0}blank\u{a0}",
            " inner ",
            "Grüße",
            "\\n\\t\\x41",
            "a\u{b}b\u{85}c\u{2028}d",
            "=",
            ":",
            ";",
            "#",
        ];
        assert_eq!(read(&values), values);
    }

    #[test]
    fn more_values_than_a_part_come_back_in_order() {
        let values: Vec<String> = (0..20_000).map(|n| format!("value {n}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(read(&values), values);
        let long = "v".repeat(super::super::scan::MOST_LINE_BYTES);
        assert_eq!(read(&["a", &long, "b"]), ["a", &long, "b"]);
    }

    #[test]
    fn what_may_be_a_secret_does_not_go_through_rust_ini() {
        let mut passage = Passage::new();
        passage.push("keyPassword", "hunter2").expect("nothing is read");
        passage.push("x", "-----BEGIN PRIVATE KEY-----").expect("nothing is read");
        assert!(passage.part.is_empty() && passage.values.len() == 2);
        assert_eq!(&*passage.values[0], "hunter2");
    }

    /// The reason for the fences: if this test fails, a later rust-ini reads it right.
    #[test]
    fn rust_ini_itself_lets_a_last_backslash_swallow_the_next_line() {
        let option =
            ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let ini = Ini::load_from_str_opt("[A]\na=C:\\x\\\nb=1\n", option).expect("it reads it");
        assert_eq!(ini.get_from(Some("A"), "a"), Some("C:\\xb=1"));
        assert_eq!(ini.get_from(Some("A"), "b"), None);
    }
}
