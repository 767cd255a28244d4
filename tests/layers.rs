//! The rooms of `src` and the order in which they build on each other: an import that runs against
//! it fails here, so that no two rooms ever need one another. The server in C has parts likewise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room may use those before it. A room is a file or folder of `src`.
const ROOMS: [&str; 15] = [
    "status", "event", "base", "frame", "tls", "config", "net", "limits", "consumer", "port",
    "conn", "reactor", "accept", "runtime", "capi",
];

/// What only tests are made of: it may use every room, and none of those may use it.
const TESTS: [&str; 5] = ["simulation", "fuzzing", "faults", "models", "lib"];

/// Imports that run against the order nevertheless: the file, the room, and the reason. At most five.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a file without comments and without its tests, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("\nmod tests {").unwrap_or(text.len());
    let lines = text[..tests].lines().enumerate();
    lines.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The first names behind `crate::` in a line.
fn used(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

#[test]
fn no_import_runs_against_the_order_of_the_rooms() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut wrong, mut imports) = (Vec::new(), 0);
    for file in files {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let room = name.split(['/', '.']).next().unwrap().to_owned();
        if TESTS.contains(&&*room) || name.ends_with("/tests.rs") || name.ends_with("test_peer.rs")
        {
            continue;
        }
        let Some(own) = ROOMS.iter().position(|other| *other == room) else {
            wrong.push(format!("{name}: {room} is no room: give it its place in tests/layers.rs"));
            continue;
        };
        for (number, line) in code(&fs::read_to_string(&file).unwrap()) {
            for other in used(line) {
                imports += 1;
                let is_below = ROOMS[..=own].contains(&other);
                let is_exception = EXCEPTIONS.iter().any(|(f, to, _)| *f == name && *to == other);
                if !is_below && !is_exception {
                    wrong.push(format!("{name}:{number}: {room} must not use {other}"));
                }
            }
            if line.contains("use crate::{") {
                wrong.push(format!("{name}:{number}: name each room on a line of its own"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(imports > 200, "only {imports} imports were found: does this test still read them?");
    assert!(EXCEPTIONS.len() <= 5);
}

/// The functions of a file that have more than 60 lines.
fn long_functions(lines: &[&str]) -> Vec<String> {
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some((_, rest)) = line.split_once("fn ").filter(|_| !line.ends_with('}')) else {
            continue;
        };
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        // Of a declaration in a trait there is no end at its own indentation that is its own.
        let body = lines[at..].iter().position(|end| *end == format!("{indent}}}"));
        let is_declared =
            lines[at..].iter().take(12).find(|l| l.ends_with('{') || l.ends_with(';'));
        if is_declared.is_some_and(|l| l.ends_with('{')) && body.is_some_and(|lines| lines >= 60) {
            long.push(name.to_owned());
        }
    }
    long
}

#[test]
fn files_over_500_lines_and_functions_over_60_give_their_reason() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut wrong, mut long) = (Vec::new(), 0);
    for file in files {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        if TESTS.iter().any(|test| name.starts_with(test)) || name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = &text[..text.find("\nmod tests {").unwrap_or(text.len())];
        let head: Vec<&str> = text.lines().filter(|line| line.starts_with("//!")).collect();
        let head = head.join(" ");
        if text.lines().count() > 500 && !head.contains("This file is long: ") {
            wrong.push(format!("{name} has {} lines", text.lines().count()));
        }
        for function in long_functions(&code.lines().collect::<Vec<_>>()) {
            long += 1;
            if !head.contains(&format!("`{function}` is long"))
                && !head.contains(&format!("`{function}` is //! long"))
            {
                wrong.push(format!("{name}: {function} has more than 60 lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "give the reason in the first lines:\n{}", wrong.join("\n"));
    assert!(long > 5, "only {long} long functions were found: does this test still read them?");
}

#[test]
fn each_room_is_in_the_map() {
    let map = include_str!("../src/lib.rs");
    let docs: String = map.lines().filter(|line| line.starts_with("//!")).collect();
    for room in ROOMS {
        assert!(docs.contains(&format!("`{room}`")), "src/lib.rs does not say what {room} is");
    }
}

/// What a file of the server in C includes of its own folder: `x.c` and `x.h` are one part.
fn included(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let part = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let includes = text.lines().filter_map(|line| line.strip_prefix("#include \""));
        let others = includes.map(|rest| rest.split('.').next().unwrap().to_owned());
        parts.entry(part.clone()).or_default().extend(others.filter(|other| *other != part));
    }
    parts
}

#[test]
fn no_two_parts_of_the_server_in_c_need_one_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples-c/serve");
    let mut parts = included(&folder);
    let includes: usize = parts.values().map(BTreeSet::len).sum();
    assert!(includes > 10, "only {includes} includes were found: does this test still read them?");
    // What needs nothing that is left can be taken away; a circle stays.
    loop {
        let left: BTreeSet<String> = parts.keys().cloned().collect();
        parts.retain(|_, others| others.iter().any(|other| left.contains(other)));
        if parts.len() == left.len() {
            break;
        }
    }
    assert!(parts.is_empty(), "a circle is among {parts:?}");
}
