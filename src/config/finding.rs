//! A finding: one thing that is wrong or doubtful in a configuration.
//!
//! Promises: its `Display` is one line that names the place, what was found and what
//! would be valid, and it never shows a secret or an invisible character. Which findings are fatal is left to the
//! caller.

use super::document::{Document, Spot};
use super::says::{self, Text};
use super::text::{self, escaped};
use super::work::count;
use std::collections::{HashMap, HashSet};
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
    /// The section as it is written in the file, cut if it is very long; empty if none is meant.
    pub section: String,
    /// The key as it is written in the file, empty if none is meant.
    pub key: String,
    /// The value or text that was found, cut and escaped; secrets are left out.
    pub found: String,
    /// What is wrong, with what was found.
    pub message: String,
    /// What would be valid; empty where the message says it.
    pub valid: String,
}

impl Finding {
    /// One about this place.
    pub(super) fn new(severity: Severity, spot: &Spot, section: &str, text: Text) -> Finding {
        let Origin { file, line } = spot.origin();
        Finding {
            severity,
            file,
            line,
            section: text::section(section),
            key: String::new(),
            found: String::new(),
            message: text.cause().to_owned(),
            valid: text.remedy().to_owned(),
        }
    }
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
        f.write_str(&escaped(&line))
    }
}

/// Of each severity; a file that is no configuration could have as many as lines.
const MOST: usize = 1_000;

/// Findings as they are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    errors: usize,
    warnings: usize,
    /// The sections that have errors, as written.
    wrong: HashSet<String>,
}

impl Findings {
    /// Adds one, or only counts it if there are many already.
    pub(super) fn push(&mut self, finding: Finding) {
        let is_full = self.is_full(finding.severity);
        match finding.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if finding.severity == Severity::Error && !self.wrong.contains(&finding.section) {
            self.wrong.insert(finding.section.clone());
        }
        if !is_full {
            count(finding.message.len() + finding.valid.len());
            self.kept.push(finding);
        }
    }

    /// Adds a warning that takes work to make.
    pub(super) fn warn(&mut self, finding: impl FnOnce() -> Finding) {
        match self.is_full(Severity::Warning) {
            true => self.warnings += 1,
            false => self.push(finding()),
        }
    }

    fn is_full(&self, severity: Severity) -> bool {
        let so_far = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        };
        so_far >= MOST
    }

    /// Whether the section of this name, as written, has an error.
    pub(super) fn has_error(&self, section: &str) -> bool {
        self.wrong.contains(&text::section(section))
    }

    /// All of them in file order, those about values that the program set at the end, and how many
    /// were left out.
    pub(super) fn finish(mut self, document: &Document) -> Vec<Finding> {
        let mut sources = HashMap::new();
        for (place, source) in document.sources.iter().enumerate() {
            sources.entry(&**source).or_insert(place);
        }
        self.kept.sort_by_key(|finding| match sources.get(finding.file.as_str()) {
            Some(source) if finding.line > 0 => (*source, finding.line),
            _ => (sources.len(), 0),
        });
        let (errors, warnings) =
            (self.errors.saturating_sub(MOST), self.warnings.saturating_sub(MOST));
        if errors + warnings > 0 {
            let severity = if errors > 0 { Severity::Error } else { Severity::Warning };
            let file = document.sources.last().cloned().unwrap_or_default();
            let text = says::left_out(errors, warnings);
            self.kept.push(Finding::new(severity, &Spot { file, line: 0 }, "", text));
        }
        self.kept
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
    fn many_findings_are_counted() {
        let mut findings = Findings::default();
        let finding = |severity, line| {
            let spot = Spot { file: "a.ini".into(), line };
            Finding::new(severity, &spot, "Port", says::no_port())
        };
        for line in 1..=1_001 {
            findings.push(finding(Severity::Error, line));
            findings.warn(|| finding(Severity::Warning, line));
        }
        assert!(findings.has_error("Port") && !findings.has_error("Runtime"));
        let mut document = Document::default();
        document.sources.push("a.ini".into());
        let all = findings.finish(&document);
        assert_eq!((all.len(), all[1_999].line), (2_001, 1_000));
        assert_eq!(all[2_000].severity, Severity::Error);
        assert_eq!(
            all[2_000].to_string(),
            "a.ini: error: more findings are left out: 1 errors, 1 warnings; mend those above first"
        );
    }
}
