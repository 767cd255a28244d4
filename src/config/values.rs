//! The passage of all values through rust-ini.
//!
//! rust-ini 0.21 knows no line numbers, splits keys at `:` too, trims Unicode blanks and
//! lets a `\` at the end of a line swallow the next one, even with escapes off. So it
//! gets a normalised text that it reads exactly: sections and keys are numbers, one key
//! per line, and each value stands between two fences:
//!
//! ```text
//! [0]
//! 3=|C:\certs\|
//! ```
//!
//! The key is the line number in the file. Promises: every value comes back as it was.

use crate::status::{Error, Status};
use ini::{Ini, ParseOption};

/// Keeps blanks inside, and a last backslash away from the line's end.
const FENCE: char = '|';

/// The normalised text that rust-ini reads.
pub(super) struct Normalised {
    text: String,
    sections: usize,
}

impl Normalised {
    /// An empty text; entries before the first header stand in section 0.
    pub(super) fn new() -> Normalised {
        Normalised { text: "[0]\n".to_owned(), sections: 1 }
    }

    /// Begins a section of its own, also if the file repeats a name.
    pub(super) fn begin_section(&mut self) {
        self.text.push_str(&format!("[{}]\n", self.sections));
        self.sections += 1;
    }

    /// Adds the value that stands in this line of the file. It holds no line end.
    pub(super) fn push(&mut self, line: u32, value: &str) {
        self.text.push_str(&format!("{line}={FENCE}{value}{FENCE}\n"));
    }

    /// Lets rust-ini read it all; gives line and value in file order.
    pub(super) fn read(&self) -> Result<Vec<(u32, String)>, Error> {
        let option =
            ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let ini = Ini::load_from_str_opt(&self.text, option)
            .map_err(|error| Error::new(Status::Internal, format!("rust-ini: {error}")))?;
        let mut values = Vec::new();
        for (_, properties) in &ini {
            for (key, value) in properties.iter() {
                let inner = value.strip_prefix(FENCE).and_then(|v| v.strip_suffix(FENCE));
                match (key.parse(), inner) {
                    (Ok(line), Some(value)) => values.push((line, value.to_owned())),
                    _ => {
                        let message = format!("rust-ini read line {key} differently");
                        return Err(Error::new(Status::Internal, message));
                    }
                }
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(value: &str) -> String {
        let mut text = Normalised::new();
        text.begin_section();
        text.push(7, value);
        text.push(8, "next");
        let values = text.read().expect("rust-ini reads the normalised text");
        assert_eq!(values.len(), 2);
        assert_eq!(values[0].0, 7);
        assert_eq!(values[1], (8, "next".to_owned()));
        values[0].1.clone()
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        for value in [
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
        ] {
            assert_eq!(passed(value), value);
        }
    }

    #[test]
    fn repeated_sections_stay_apart_and_in_order() {
        let mut text = Normalised::new();
        text.push(1, "a");
        text.begin_section();
        text.push(3, "b");
        text.begin_section();
        text.push(5, "c");
        let values = text.read().expect("rust-ini reads the normalised text");
        assert_eq!(values, [(1, "a".into()), (3, "b".into()), (5, "c".into())]);
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
