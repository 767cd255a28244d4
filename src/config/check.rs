//! The check of one section against the table of keys.
//!
//! Promises: every entry and every unreadable line of the section that deserves a
//! finding gets one, and the values that come out are right or the defaults. What
//! sections and keys mean together is left to `resolve`.

use super::document::{Broken, Entry, Fault, Section};
use super::finding::{Finding, Origin, Severity, quoted};
use super::keys::{DefaultValue, Key, SectionType, cores};
use super::kind::{Kind, Value};
use super::settings::Places;
use std::collections::HashMap;

/// The values of one section, defaults included.
pub(super) struct Values<'a>(HashMap<&'static str, (Value, Option<&'a Entry>)>);

impl<'a> Values<'a> {
    /// The defaults alone.
    pub(super) fn defaults(kind: SectionType) -> Values<'a> {
        let keys = kind.keys().iter();
        Values(keys.map(|key| (key.name, (default_value(key), None))).collect())
    }

    /// The entry that gave this key its value; `None` for a default.
    pub(super) fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.0.get(name).and_then(|(_, entry)| *entry)
    }

    /// Where the section and the keys that count stand.
    pub(super) fn places(&self, section: &Section) -> Places {
        let given = self.0.iter().filter_map(|(name, (_, entry))| Some((*name, (*entry)?)));
        Places {
            section: section.origin.clone(),
            keys: given.map(|(name, entry)| (name, entry.origin.clone())).collect(),
        }
    }

    /// Of an integer, a duration (ms) or a size (bytes).
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        let number = match self.0.get(name) {
            Some((Value::Number(number), _)) => T::try_from(*number).ok(),
            _ => None,
        };
        // The table is constant: a wrong name, kind or range fails in every test.
        number.unwrap_or_else(|| unreachable!("{name} is a number that fits"))
    }

    /// Of an integer that may be left to the library, then `None`.
    pub(super) fn number_or_auto(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some((Value::Word(_), _)) => None,
            _ => Some(self.number(name)),
        }
    }

    /// Of a choice, as a variant of its enum.
    pub(super) fn word<T>(&self, name: &str, from_word: fn(&str) -> Option<T>) -> T {
        let word = match self.0.get(name) {
            Some((Value::Word(word), _)) => from_word(word),
            _ => None,
        };
        // As above; a test in `resolve` goes through all words of all choices.
        word.unwrap_or_else(|| unreachable!("{name} is a word of its choice"))
    }

    /// Of a flag.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some((Value::Flag(flag), _)) => *flag,
            // As above.
            _ => unreachable!("{name} is a flag"),
        }
    }

    /// Of a list; empty if there is none.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some((Value::List(items), _)) => items.clone(),
            _ => Vec::new(),
        }
    }
}

/// Checks the section and reads its values.
pub(super) fn check<'a>(
    section: &'a Section,
    kind: SectionType,
    findings: &mut Vec<Finding>,
) -> Values<'a> {
    for junk in &section.junk {
        findings.push(broken_finding(junk, &section.written));
    }
    let mut values = Values::defaults(kind);
    let mut seen: Vec<(String, &Origin)> = Vec::new();
    for entry in &section.entries {
        let name = entry.key.to_ascii_lowercase();
        match seen.iter_mut().find(|(earlier, _)| *earlier == name) {
            Some((_, earlier)) => {
                let place = place(earlier);
                let message = format!("the key was set before, {place}");
                let valid = "this one, the last, counts";
                let mut finding = at(section, entry, Severity::Warning, message, valid);
                // The value may be a password.
                finding.found.clone_from(&entry.key);
                findings.push(finding);
                *earlier = &entry.origin;
            }
            None => seen.push((name, &entry.origin)),
        }
        if section.entry(&entry.key).is_some_and(|last| !std::ptr::eq(last, entry)) {
            continue;
        }
        let Some(key) = kind.key(&entry.key) else {
            findings.push(unknown(section, entry, kind));
            continue;
        };
        match accept(key, &entry.value) {
            Ok(value) => {
                values.0.insert(key.name, (value, Some(entry)));
            }
            Err((message, valid)) => {
                let mut finding = at(section, entry, Severity::Error, message, valid);
                if key.kind == Kind::Secret {
                    finding.found.clear();
                }
                findings.push(finding);
            }
        }
    }
    values
}

/// The effective default as a text, as `Config::get` tells it; `None` if there is none.
pub(super) fn default_text(default: DefaultValue) -> Option<String> {
    match default {
        DefaultValue::Required | DefaultValue::SameAs(_) => None,
        DefaultValue::Nothing => Some(String::new()),
        DefaultValue::Text(text) => Some(text.to_owned()),
        DefaultValue::Cores => Some(cores().to_string()),
        DefaultValue::HalfCores => Some((cores() / 2).max(1).to_string()),
    }
}

/// Cores are taken as they are: a machine may have more than the largest number that a
/// file may name.
fn default_value(key: &Key) -> Value {
    let cores = |n: usize| Value::Number(u64::try_from(n).unwrap_or(u64::MAX));
    match key.default {
        DefaultValue::Cores => cores(self::cores()),
        DefaultValue::HalfCores => cores((self::cores() / 2).max(1)),
        DefaultValue::Text(text) => key.kind.parse(text).unwrap_or_else(|_| key.kind.nothing()),
        DefaultValue::Required | DefaultValue::Nothing | DefaultValue::SameAs(_) => {
            key.kind.nothing()
        }
    }
}

/// The value, or what is wrong and what would be valid.
fn accept(key: &Key, text: &str) -> Result<Value, (String, String)> {
    let parsed = key.kind.parse(text);
    if !key.built {
        return accept_off(key, text, parsed.ok());
    }
    if text.is_empty() && key.default == DefaultValue::Nothing {
        return Ok(key.kind.nothing());
    }
    let valid = format!("valid: {}", key.kind);
    if text.is_empty() && key.kind != Kind::Names {
        return Err(("the value is missing".to_owned(), valid));
    }
    parsed.map_err(|wrong| (format!("{} {wrong}", quoted(text)), valid))
}

/// A key that is not built yet takes what it does in this version: nothing.
fn accept_off(key: &Key, text: &str, parsed: Option<Value>) -> Result<Value, (String, String)> {
    let off = match key.default {
        DefaultValue::Text(_) => parsed.is_some_and(|value| value == default_value(key)),
        DefaultValue::Nothing => {
            ["", "none", "off", "no"].contains(&text.to_ascii_lowercase().as_str())
        }
        _ => false,
    };
    if off {
        return Ok(default_value(key));
    }
    let message = match key.kind {
        Kind::Secret => format!("{} is not available in this version", key.name),
        _ => format!("{} = {} is not available in this version", key.name, quoted(text)),
    };
    let valid = match key.default {
        DefaultValue::Text(text) => format!("valid: {text}, or no such key"),
        _ => "valid: no such key".to_owned(),
    };
    Err((message, valid))
}

fn unknown(section: &Section, entry: &Entry, kind: SectionType) -> Finding {
    let mut others = SectionType::ALL.into_iter();
    let valid = match others.find(|other| other.key(&entry.key).is_some()) {
        Some(other) => format!("it belongs into {other}"),
        None => format!("the nearest known key is '{}'", kind.nearest(&entry.key)),
    };
    let message = format!("{kind} has no such key; it is ignored");
    let mut finding = at(section, entry, Severity::Warning, message, valid);
    // The value of a mistyped key may be a password.
    finding.found = entry.key.clone();
    finding
}

/// A finding about this entry.
pub(super) fn at(
    section: &Section,
    entry: &Entry,
    severity: Severity,
    message: impl Into<String>,
    valid: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        file: entry.origin.file.clone(),
        line: entry.origin.line,
        section: section.written.clone(),
        key: entry.key.clone(),
        found: entry.value.clone(),
        message: message.into(),
        valid: valid.into(),
    }
}

/// A finding about a line that cannot be read.
pub(super) fn broken_finding(broken: &Broken, section: &str) -> Finding {
    let (found, message, valid) = match &broken.fault {
        Fault::Header(text) => (
            text.clone(),
            format!("the header {} does not end with its ']'", quoted(text)),
            "valid: [Name] alone on the line",
        ),
        Fault::PortWithoutName(text) => (
            text.clone(),
            format!("the header '[{text}]' has no name behind the dot"),
            "valid: [Port.name]",
        ),
        Fault::Junk(text) => {
            // The rest of the line may be a password behind a ':'.
            let start = text.split([' ', '\t', ':', '=']).next().unwrap_or_default();
            (
                start.to_owned(),
                format!("the line that starts with {} is no header, key or comment", quoted(start)),
                "valid: key = value; a value never goes on in the next line",
            )
        }
        Fault::StrayReturn => (
            String::new(),
            "a carriage return stands inside the line".to_owned(),
            "valid: lines that end with LF or CRLF",
        ),
    };
    Finding {
        severity: Severity::Error,
        file: broken.origin.file.clone(),
        line: broken.origin.line,
        section: section.to_owned(),
        key: String::new(),
        found,
        message,
        valid: valid.to_owned(),
    }
}

/// The place of something earlier, within a sentence.
pub(super) fn place(origin: &Origin) -> String {
    match origin.line {
        0 => "by the program".to_owned(),
        line => format!("in {}:{line}", origin.file),
    }
}
