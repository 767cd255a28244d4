//! A finding: one thing that is wrong or doubtful in a configuration.
//!
//! Promises: its `Display` is one line that names the place, what was found and what
//! would be valid, and it never shows a secret. Which findings are fatal is left to the
//! caller.

use std::fmt;

/// The place of a section or key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file as the program named it, empty if the program set the value.
    pub file: String,
    /// Counted from 1; 0 if the program set the value.
    pub line: u32,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The settings must not be used.
    Error,
    /// The settings can be used.
    Warning,
}

/// One thing that is wrong or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, empty if the program set the value.
    pub file: String,
    /// The line, 0 if the program set the value or the whole file is meant.
    pub line: u32,
    /// The section as it is written in the file, empty if none is meant.
    pub section: String,
    /// The key as it is written in the file, empty if none is meant.
    pub key: String,
    /// The value or text that was found; secrets are left out.
    pub found: String,
    /// What is wrong, with what was found.
    pub message: String,
    /// What would be valid; empty where the message says it.
    pub valid: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = match (self.file.as_str(), self.line) {
            ("", 0) => "set by the program: ".to_owned(),
            ("", line) => format!("line {line}: "),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}: "),
        };
        if !self.section.is_empty() {
            line.push_str(&format!("[{}]", self.section));
            line.push_str(if self.key.is_empty() { ": " } else { " " });
        }
        if !self.key.is_empty() {
            line.push_str(&format!("{}: ", self.key));
        }
        line.push_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        });
        line.push_str(&self.message);
        if !self.valid.is_empty() {
            line.push_str(&format!("; {}", self.valid));
        }
        // Control characters from the file could break the line or drive a terminal.
        for c in line.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// A text from the file as a message shows it: in quotes, cut if it is long.
pub(super) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 80;
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(file: &str, line: u32, section: &str, key: &str) -> String {
        Finding {
            severity: Severity::Error,
            file: file.into(),
            line,
            section: section.into(),
            key: key.into(),
            found: "x".into(),
            message: "bad 'x'".into(),
            valid: "valid: y".into(),
        }
        .to_string()
    }

    #[test]
    fn a_finding_is_one_line_with_place_found_and_valid() {
        assert_eq!(
            finding("a.ini", 3, "Port 1", "port"),
            "a.ini:3: [Port 1] port: error: bad 'x'; valid: y"
        );
        assert_eq!(finding("a.ini", 3, "Port", ""), "a.ini:3: [Port]: error: bad 'x'; valid: y");
        assert_eq!(finding("a.ini", 0, "", ""), "a.ini: error: bad 'x'; valid: y");
        assert_eq!(
            finding("", 0, "Port", "port"),
            "set by the program: [Port] port: error: bad 'x'; valid: y"
        );
    }

    #[test]
    fn a_message_that_says_what_is_valid_stands_alone() {
        let alone = Finding {
            severity: Severity::Warning,
            file: "a.ini".into(),
            line: 1,
            section: "TLS".into(),
            key: "certificate".into(),
            found: String::new(),
            message: "m".into(),
            valid: String::new(),
        };
        assert_eq!(alone.to_string(), "a.ini:1: [TLS] certificate: warning: m");
    }

    #[test]
    fn control_characters_cannot_break_the_line() {
        assert_eq!(
            finding("a.ini", 1, "a\u{1b}[1m", "k"),
            "a.ini:1: [a\\u{1b}[1m] k: error: bad 'x'; valid: y"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(quoted("abc"), "'abc'");
        assert_eq!(quoted(&"ü".repeat(81)), format!("'{}…'", "ü".repeat(80)));
    }
}
