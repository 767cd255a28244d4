//! Every message of the configuration, with its place, cause and remedy.

use super::{ALL, SAID};
use crate::config::{Config, source};
use std::path::Path;
use std::time::Duration;

/// What is told about a text: the error of the load, or all findings.
fn told(text: &[u8]) -> Vec<String> {
    let mut config = Config::new();
    if let Err(error) = config.load_string(text, "a.ini") {
        return vec![error.message];
    }
    let (_, findings) = config.resolved();
    let no_port = config.finding_if_no_port();
    findings.iter().chain(&no_port).map(|finding| finding.to_string()).collect()
}

/// The texts, and what is told about them.
const TEXTS: &[(&str, &[&str])] = &[
//TEXTS
];

/// Calls, and the errors they give.
fn calls() -> Vec<(String, &'static str)> {
    let mut config = Config::new();
    config.load_string(b"[Port.a]\nport=1\n", "a.ini").expect("it is text");
    let long = "v".repeat(70_000);
    let mut set = |section: &str, key: &str, value: &str| {
        config.set(section, key, value).expect_err("it is refused").message
    };
    let mut messages = vec![
        set("Port.b", "port", "1"),
        set("", "port", "1"),
        set("T", "", "1"),
        set("T", "a", "1\n2"),
        set("T", "a", &long),
    ];
    let mut add = |name: &str| config.add_port(name).expect_err("it is refused").message;
    messages.extend([add("A"), add("Port.")]);
    let mut load = |path: &str| Config::new().load_file(path).expect_err("it is refused").message;
    messages.extend([load("/no/such/file.ini"), load("/"), load("/dev/zero")]);
    let (reader, _writer) = std::io::pipe().expect("there are descriptors");
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let silent = source::read(Path::new(&path), Duration::ZERO).map(|_| ());
    messages.push(silent.map_err(|unread| unread.text.to_string()).expect_err("it is silent"));
    // Which no text brings about; see `values`.
    messages.push(super::passage(3).to_string());
    let expected = [
//CALLS
    ];
    messages.into_iter().zip(expected).collect()
}

#[test]
fn every_message_has_its_place_cause_and_remedy() {
    for (text, expected) in TEXTS {
        assert_eq!(told(text.as_bytes()), *expected, "{text:?}");
    }
    for (bytes, expected) in [
        (&b"\xff\xfe[\0"[..], "a.ini:1: error: the file is UTF-16; save it as UTF-8"),
        (b"\xef\xbb\xbf\n\xfc", "a.ini:2: error: the byte order mark says UTF-8, but a byte here is not UTF-8; save the file as UTF-8"),
    ] {
        assert_eq!(told(bytes), [expected]);
    }
    let long = told(format!("[Host]\nk={}\n[Port]\nport=1\n", "v".repeat(65_535)).as_bytes());
    assert_eq!(long, ["a.ini:2: error: the line is longer than 65536 bytes; valid: shorter lines; split what stands here, or move it into a file"]);
    let many = told("[a]\n".repeat(250_001).as_bytes());
    assert_eq!(many, ["a.ini:250001: error: the configuration has more than 250000 lines that are neither blank nor comments; check that the path is that of the configuration, or split it"]);
    let mut many = told(format!("[Port]\nport=1\n{}", "x\n".repeat(1_001)).as_bytes());
    assert_eq!(many.pop().as_deref(), Some("a.ini: error: 1 errors and 0 warnings more are not shown; mend those above first"));
    for (message, expected) in calls() {
        assert_eq!(message, expected);
    }
    let said = SAID.take();
    let missing: Vec<_> = ALL.iter().filter(|name| !said.contains(*name)).collect();
    assert!(missing.is_empty(), "no test shows {missing:?}");
}

/// The words that follow a value, of the types of keys.
#[test]
fn every_fault_of_a_value_is_in_the_table() {
    let source = include_str!("../kind.rs");
    let (source, _) = source.split_once("#[cfg(test)]").expect("it has tests");
    let words = source.split('"').skip(1).step_by(2);
    let faults: Vec<_> =
        words.filter(|w| ["is ", "has ", "does "].iter().any(|start| w.starts_with(start))).collect();
    assert!(faults.len() > 8);
    for fault in faults {
        let told = TEXTS.iter().any(|(_, told)| told.iter().any(|line| line.contains(fault)));
        assert!(told, "no test shows {fault:?}");
    }
}
