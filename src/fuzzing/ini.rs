//! The configuration.

use crate::config::keys::SectionType;
use crate::config::{Config, Finding, Severity, work};

/// Input: a text; behind a byte 0xff the key and value of a call, and behind another one a
/// second text.
pub fn ini(input: &[u8]) {
    let mut parts = input.split(|&byte| byte == 0xff);
    let mut config = Config::new();
    let first = parts.next().unwrap_or_default();
    let mut lines = first.iter().filter(|&&byte| byte == b'\n').count() + 1;
    load(&mut config, first);
    if let Some(call) = parts.next() {
        let call = String::from_utf8_lossy(call);
        let mut words = call.splitn(3, '=');
        let mut word = || words.next().unwrap_or_default();
        let (section, key, value) = (word(), word(), word());
        if config.set(section, key, value).is_ok() {
            assert!(config.get(section, key).is_some(), "a value that was set is there");
        }
        if let Ok(name) = config.add_port(section) {
            assert!(config.port_names().contains(&name));
        }
    }
    if let Some(second) = parts.next() {
        lines = lines.max(second.iter().filter(|&&byte| byte == b'\n').count() + 1);
        load(&mut config, second);
    }

    let (settings, findings) = config.resolve();
    let (again, same) = config.resolve_anew();
    assert_eq!(format!("{settings:?}"), format!("{again:?}"), "resolving has one answer");
    assert_eq!(findings, same);
    for finding in &findings {
        let line = finding.to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?} is not one line");
        assert!(finding.line as usize <= lines, "{line}: there are {lines} lines");
        assert!(!finding.message.is_empty() && !finding.valid.is_empty(), "{line}: no remedy");
    }
    let usable = findings.iter().all(|finding| finding.severity != Severity::Error);
    assert_eq!(config.port_names().len(), config.port_count());
    if usable {
        assert_eq!(settings.ports.len(), config.port_count(), "every port has its settings");
    }
    let ports = config.port_names();
    for section in ports.iter().take(2).map(String::as_str).chain(["Runtime", "nobody"]) {
        for kind in SectionType::ALL {
            for key in kind.keys() {
                let _ = config.get(section, key.name);
            }
        }
    }
    costs(first);
    hides(first);
}

fn load(config: &mut Config, text: &[u8]) {
    let before = format!("{config:?}");
    if let Err(error) = config.load_string(text, "fuzz.ini") {
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?} is not one line");
        assert_eq!(before, format!("{config:?}"), "a text that is refused leaves nothing");
    }
}

/// The work of loading and resolving this text.
fn work_of(text: &[u8]) -> u64 {
    work::take();
    let mut config = Config::new();
    if config.load_string(text, "fuzz.ini").is_ok() {
        config.resolved();
        config.finding_if_no_port();
    }
    work::take()
}

/// A text that is many times as long takes so many times the work: of copies that are all the same,
/// and of those that have sections of their own.
fn costs(text: &[u8]) {
    const MOST: usize = 8_000;
    let copies = (MOST / (text.len() + 1)).min(100);
    let mut same = Vec::with_capacity(MOST);
    let mut own = Vec::with_capacity(2 * MOST);
    for copy in 0..copies {
        for line in text.split(|&byte| byte == b'\n') {
            same.extend_from_slice(line);
            same.push(b'\n');
            match line.split_last() {
                Some((b']', rest)) => {
                    own.extend_from_slice(rest);
                    own.extend_from_slice(format!("{copy}]").as_bytes());
                }
                _ => own.extend_from_slice(line),
            }
            own.push(b'\n');
        }
    }
    // Copies have findings that the text has not: of keys that repeat, of sections that are missing.
    let most = copies as u64 * (4 * work_of(text) + 16 * text.len() as u64 + 200);
    for (what, text) in [("the same", same), ("others", own)] {
        let work = work_of(&text);
        assert!(work <= most, "{copies} copies, {what}, take {work} steps, not {most} at most");
    }
}

/// A key or password, whatever stands around it, is never shown.
fn hides(text: &[u8]) {
    /// Of base64, and such that no eight characters in a row stand anywhere else.
    const KEY: &str = "MIIq7ZxW4vK9pLm3Rt5VbYc8NfGh2JdSaQ6eXwUo1TzHkIrEuPyBnMlCjDgFsA0v";
    let forms = [
        format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n{}==\n-----END PRIVATE KEY-----", &KEY[..20]),
        format!("-----BEGIN RSA PRIVATE KEY----- {KEY} -----END RSA PRIVATE KEY-----"),
        format!("keyPassword = {}", &KEY[3..15]),
        format!("keyPasswordFile = {}", &KEY[3..15]),
        format!("privateKey = -----BEGIN PRIVATE KEY-----\n{KEY}\n{KEY}\n"),
        format!("privateKey = {KEY}"),
        KEY.to_owned(),
    ];
    let choice =
        text.iter().fold(0usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let form = &forms[choice % forms.len()];
    let lines = text.split(|&byte| byte == b'\n').count();
    // At the start, the end or between, as a line of its own.
    let at = choice / forms.len() % (lines + 1);
    let mut mixed: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    mixed.insert(at, form.as_bytes());
    let mixed = mixed.join(&b'\n');
    let mut config = Config::new();
    let mut told = Vec::new();
    match config.load_string(&mixed, "fuzz.ini") {
        Err(error) => told.push(error.message),
        Ok(()) => {
            let (_, findings) = config.resolved();
            let all = findings.iter().map(|finding: &Finding| format!("{finding} {finding:?}"));
            told.extend(all.chain([format!("{config:?}")]));
        }
    }
    for told in &told {
        for window in KEY.as_bytes().windows(8) {
            let window = std::str::from_utf8(window).expect("it is ASCII");
            assert!(!told.contains(window), "{told:?} shows {window} of {form:?}");
        }
    }
}
