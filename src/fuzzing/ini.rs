//! The configuration.

use crate::config::keys::SectionType;
use crate::config::{Config, Severity};

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
    let (again, same) = config.clone().resolve();
    assert_eq!(format!("{settings:?}"), format!("{again:?}"), "resolving has one answer");
    assert_eq!(findings, same);
    for finding in &findings {
        let line = finding.to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?} is not one line");
        assert!(finding.line as usize <= lines, "{line}: there are {lines} lines");
        assert!(!finding.message.is_empty());
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
}

fn load(config: &mut Config, text: &[u8]) {
    let before = format!("{config:?}");
    if let Err(error) = config.load_string(text, "fuzz.ini") {
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?} is not one line");
        assert_eq!(before, format!("{config:?}"), "a text that is refused leaves nothing");
    }
}
