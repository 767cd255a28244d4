//! The check of one section against the table of keys.
//!
//! Promises: every entry and every unreadable line of the section that deserves a
//! finding gets one, and the values that come out are right or the defaults. What
//! sections and keys mean together is left to `resolve`.

use super::document::{Broken, Entry, Section};
use super::finding::{Finding, Findings, Severity};
use super::keys::{DefaultValue, Key, SectionType, cores};
use super::kind::{Kind, Value};
use super::name::foreign;
use super::says::{self, Text};
use super::scan::{Fault, MOST_LINE_BYTES};
use super::secret::{begins_pem, is_secret_key, may_be_secret};
use super::settings::Places;
use super::text::{HIDDEN, code, name, quoted};
use super::{hint, work};
use std::collections::HashMap;

/// The values of one section, defaults included.
pub(super) struct Values<'a> {
    values: HashMap<&'static str, (Value, Option<&'a Entry>)>,
    /// The keys whose value is an error.
    wrong: Vec<&'static str>,
}

impl<'a> Values<'a> {
    /// The defaults alone.
    pub(super) fn defaults(kind: SectionType) -> Values<'a> {
        let keys = kind.keys().iter();
        let values = keys.map(|key| (key.name, (default_value(key), None))).collect();
        Values { values, wrong: Vec::new() }
    }

    /// The entry that gave this key its value; `None` for a default.
    pub(super) fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.values.get(name).and_then(|(_, entry)| *entry)
    }

    /// The keys whose value is an error.
    pub(super) fn wrong(&self) -> &[&'static str] {
        &self.wrong
    }

    /// Where the section and the keys that count stand.
    pub(super) fn places(&self, section: &Section) -> Places {
        let given = self.values.iter().filter_map(|(name, (_, entry))| Some((*name, (*entry)?)));
        Places {
            section: section.spot.origin(),
            keys: given.map(|(name, entry)| (name, entry.spot.origin())).collect(),
        }
    }

    /// Of an integer, a duration (ms) or a size (bytes).
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        let number = match self.values.get(name) {
            Some((Value::Number(number), _)) => T::try_from(*number).ok(),
            _ => None,
        };
        // The table is constant: a wrong name, kind or range fails in every test.
        number.unwrap_or_else(|| unreachable!("{name} is a number that fits"))
    }

    /// Of an integer that may be left to the library, then `None`.
    pub(super) fn number_or_auto(&self, name: &str) -> Option<u64> {
        match self.values.get(name) {
            Some((Value::Word(_), _)) => None,
            _ => Some(self.number(name)),
        }
    }

    /// Of a choice, as a variant of its enum.
    pub(super) fn word<T>(&self, name: &str, from_word: fn(&str) -> Option<T>) -> T {
        let word = match self.values.get(name) {
            Some((Value::Word(word), _)) => from_word(word),
            _ => None,
        };
        // As above; a test in `resolve` goes through all words of all choices.
        word.unwrap_or_else(|| unreachable!("{name} is a word of its choice"))
    }

    /// Of a flag.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.values.get(name) {
            Some((Value::Flag(flag), _)) => *flag,
            // As above.
            _ => unreachable!("{name} is a flag"),
        }
    }

    /// Of a list; empty if there is none.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            Some((Value::List(items), _)) => items.clone(),
            _ => Vec::new(),
        }
    }
}

/// Checks the section and reads its values.
pub(super) fn check<'a>(
    section: &'a Section,
    kind: SectionType,
    findings: &mut Findings,
) -> Values<'a> {
    for broken in &section.broken {
        findings.push(broken_finding(broken, &section.written));
    }
    let mut values = Values::defaults(kind);
    for (folded, entry) in &section.entries {
        work::count(folded.len());
        repeated(section, entry, findings);
        let Some(key) = kind.key(folded) else {
            findings.warn(|| unknown(section, entry, kind));
            continue;
        };
        match accept(key, &entry.value) {
            Ok(value) => {
                doubtful(section, entry, key, &value, findings);
                values.values.insert(key.name, (value, Some(entry)));
            }
            Err(text) => {
                values.wrong.push(key.name);
                findings.push(at(section, entry, Severity::Error, text));
            }
        }
    }
    values
}

/// Warns at each repetition of a key, which names the one before it.
fn repeated(section: &Section, entry: &Entry, findings: &mut Findings) {
    let mut later = entry.earlier.iter().skip(1).chain([&entry.spot]);
    for before in &entry.earlier {
        let Some(spot) = later.next() else { break };
        findings.warn(|| {
            let text = says::key_twice(before.in_words());
            let mut finding = Finding::new(Severity::Warning, spot, &section.written, text);
            finding.key = shown_key(entry);
            // The value may be a password.
            finding.found.clone_from(&finding.key);
            finding
        });
    }
}

/// Warns of a value that is legal and probably not what was meant.
fn doubtful(section: &Section, entry: &Entry, key: &Key, value: &Value, findings: &mut Findings) {
    let mut warn = |text| findings.warn(|| at(section, entry, Severity::Warning, text));
    if hint::is_short_time(key.kind, &entry.value) {
        warn(says::short_time(&*entry.value));
    }
    match (key.kind, value) {
        (Kind::Alpn, Value::List(names)) => {
            // As many as a ClientHello may hold; more are not worth the work.
            names.iter().take(100).filter_map(|name| hint::alpn(name)).for_each(&mut warn);
        }
        (Kind::Path | Kind::Text(_) | Kind::List | Kind::Names | Kind::Addresses, _) => {
            // A section's name may hold anything, and is there or not.
            let hint = hint::habit(key.kind, &entry.value).filter(|_| key.name != "sslSection");
            hint.into_iter().for_each(warn);
        }
        _ => {}
    }
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
fn accept(key: &Key, text: &str) -> Result<Value, Text> {
    if text.is_empty() {
        return Err(match key.default {
            DefaultValue::Required => says::no_value(key.kind),
            _ => says::no_value_but_default(key.kind, key.name),
        });
    }
    // Others refuse what is no number or word of theirs, and do not show it.
    let is_free = !matches!(
        key.kind,
        Kind::Flag
            | Kind::Integer { .. }
            | Kind::IntegerOrAuto { .. }
            | Kind::Duration { .. }
            | Kind::Size { .. }
            | Kind::Choice(_)
            | Kind::TlsVersion
    );
    // Whether a path that looks like a key is one, is known when it is opened.
    let is_key = begins_pem(text)
        || (key.kind != Kind::Path
            && text.len() >= 40
            && !text.contains('.')
            && may_be_secret(text));
    if is_free && !is_secret(key.name) && is_key {
        return Err(says::key_as_value());
    }
    let parsed = key.kind.parse(text);
    if !key.built {
        return accept_off(key, text, parsed.ok());
    }
    parsed.map_err(|wrong| {
        let hint = match (key.kind, text.parse::<u64>()) {
            (Kind::Duration { .. }, Ok(ms)) => Some(says::milliseconds(ms)),
            _ => hint::habit(key.kind, text),
        };
        says::wrong_value(shown_value(key.name, text), wrong, key.kind).and(hint)
    })
}

/// A key that is not built yet takes what it does in this version: nothing.
fn accept_off(key: &Key, text: &str, parsed: Option<Value>) -> Result<Value, Text> {
    let off = match key.default {
        DefaultValue::Text(_) => parsed.is_some_and(|value| value == default_value(key)),
        DefaultValue::Nothing => {
            ["none", "off", "no"].iter().any(|word| word.eq_ignore_ascii_case(text))
        }
        _ => false,
    };
    if off {
        return Ok(default_value(key));
    }
    let valid = match key.default {
        DefaultValue::Text(text) => format!("{text}, or no such key"),
        _ => "no such key".to_owned(),
    };
    Err(match is_secret(key.name) {
        true => says::unavailable_secret(key.name, valid),
        false => says::unavailable(key.name, quoted(text), valid),
    })
}

/// Whether the value of a key of this name is a secret, or a password may stand in its place.
fn is_secret(key: &str) -> bool {
    let kinds = SectionType::ALL.iter().filter_map(|section| section.key(key));
    is_secret_key(key) || kinds.into_iter().any(|key| key.kind == Kind::Secret)
}

/// The value as a message shows it.
fn shown_value(key: &str, value: &str) -> String {
    if is_secret(key) { "the value".to_owned() } else { quoted(value) }
}

/// The key as a message shows it. A line of base64 that ends with `=` looks like a key with hardly a
/// value; no key of ours has both cases and digits.
pub(super) fn shown_key(entry: &Entry) -> String {
    let is_known = SectionType::ALL.iter().any(|section| section.key(&entry.key).is_some());
    let has_no_letter = !entry.value.contains(char::is_alphanumeric);
    let has = |of: fn(&char) -> bool| entry.key.chars().any(|c| of(&c));
    let is_mixed =
        has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
    match entry.key.contains('.') {
        false if is_known => entry.key.to_string(),
        _ if !is_known && (has_no_letter || is_mixed) => HIDDEN.to_owned(),
        _ => name(&entry.key),
    }
}

fn unknown(section: &Section, entry: &Entry, kind: SectionType) -> Finding {
    let mut others = SectionType::ALL.into_iter();
    let text = match others.find(|other| other.key(&entry.key).is_some()) {
        Some(other) => says::key_elsewhere(kind, other),
        None => says::unknown_key(kind, kind.nearest(&entry.key)),
    };
    let foreign = foreign(&entry.key).map(|c| says::foreign_letter(code(c)));
    let mut finding = at(section, entry, Severity::Warning, text.and(foreign));
    // The value of a mistyped key may be a password.
    finding.found.clone_from(&finding.key);
    finding
}

/// A finding about this entry.
pub(super) fn at(section: &Section, entry: &Entry, severity: Severity, text: Text) -> Finding {
    let mut finding = Finding::new(severity, &entry.spot, &section.written, text);
    finding.key = shown_key(entry);
    if !is_secret(&entry.key) {
        finding.found = super::text::value(&entry.value);
    }
    finding
}

/// A finding about a line that cannot be read.
pub(super) fn broken_finding(broken: &Broken, section: &str) -> Finding {
    let mut found = String::new();
    let mut with = |text: &String| {
        found.clone_from(text);
        text.clone()
    };
    let text = match &broken.fault {
        Fault::UnclosedHeader(text) => says::unclosed_header(with(text)),
        Fault::PortWithoutName(text) => says::port_without_name(with(text)),
        Fault::HiddenHeader(c) => says::hidden_header(code(*c)),
        Fault::WideBracket { bracket, .. } => says::wide_bracket(code(*bracket)),
        Fault::Junk(Some(word)) => says::junk(with(word)),
        Fault::Junk(None) => says::hidden_junk(),
        Fault::Pem => says::pem(),
        Fault::StrayReturn { .. } => says::stray_return(),
        Fault::StrayBreak(c) => says::stray_break(code(*c)),
        Fault::LongLine => says::long_line(MOST_LINE_BYTES),
    };
    let mut finding = Finding::new(Severity::Error, &broken.spot, section, text);
    finding.found = found;
    finding
}
