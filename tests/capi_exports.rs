//! What leaves the library: the golden list of symbols, the header and the dynamic table
//! agree, nothing else is exported, and no export runs outside the guard.

mod c_programs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use c_programs::{
    declared, exists, folder, library, must, read, root, run_c_static, skipped, soname,
};

fn golden() -> BTreeSet<String> {
    read("include/nativeport.symbols").lines().map(str::to_string).collect()
}

fn assert_golden(found: &BTreeSet<String>, place: &str) {
    let golden = golden();
    let gone: Vec<_> = golden.difference(found).collect();
    let new: Vec<_> = found.difference(&golden).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{place} and include/nativeport.symbols differ; missing: {gone:?}, not listed: {new:?}"
    );
}

/// Names of the symbols that `nm` shows with these options.
fn nm(options: &[&str], file: &Path) -> BTreeSet<String> {
    let output = must(Command::new("nm").args(options).arg(file));
    let text = String::from_utf8(output.stdout).expect("nm prints ASCII");
    text.lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(|name| name.split('@').next().unwrap_or(name).to_string())
        .collect()
}

#[test]
fn the_golden_list_is_sorted_and_has_no_doubles() {
    let text = read("include/nativeport.symbols");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn the_header_declares_the_golden_list() {
    assert_golden(&declared().into_iter().collect(), "the header");
}

#[test]
fn the_shared_library_exports_the_golden_list_and_nothing_else() {
    assert_golden(&nm(&["-D", "--defined-only"], &library()), "the shared library");
}

/// The static archive as it is installed, in a folder of its own; None without the tools.
fn static_archive(test: &str) -> Option<PathBuf> {
    for tool in ["ld", "objcopy", "readelf", "ar", "nm"] {
        if !exists(tool) {
            skipped(&format!("{tool} is not installed, the static archive was not tried"));
            return None;
        }
    }
    let out = folder(test).join("libnativeport.a");
    let script = root().join("scripts/static-archive");
    must(Command::new(script).arg(library().with_file_name("libnativeport.a")).arg(&out));
    Some(out)
}

#[test]
fn the_static_archive_exports_the_golden_list_and_nothing_else() {
    let Some(archive) = static_archive("static_archive") else { return };
    assert_golden(&nm(&["-g", "--defined-only"], &archive), "the static archive");
}

#[test]
fn a_program_with_the_static_archive_runs() {
    let Some(archive) = static_archive("static_archive_alone") else { return };
    let program = root().join("tests/c/config.c");
    assert_eq!(run_c_static("static_program", &program, &[&archive]), "ok\n");
}

#[test]
fn the_static_archive_lives_beside_another_rust_archive() {
    let Some(archive) = static_archive("static_archive_beside") else { return };
    let other = folder("other_archive").join("libother.a");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "staticlib", "-o"]).arg(&other);
    must(rustc.arg(root().join("tests/c/other_archive.rs")));
    let program = root().join("tests/c/two_archives.c");
    for (test, archives) in [("ours_first", [&archive, &other]), ("ours_last", [&other, &archive])]
    {
        assert_eq!(run_c_static(test, &program, &archives), "ok\n", "{test}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_shared_library_names_its_abi_and_stays_mapped() {
    if !exists("readelf") {
        skipped("readelf is not installed, soname and nodelete were not looked at");
        return;
    }
    let output = must(Command::new("readelf").arg("-dW").arg(library()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("[{}]", soname())), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}

#[test]
fn the_body_of_every_export_is_one_call_of_the_guard() {
    let mut exports = BTreeSet::new();
    for file in std::fs::read_dir(root().join("src/capi")).expect("src/capi is there") {
        let path = file.expect("src/capi can be read").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("sources are UTF-8");
            exports.extend(guarded_exports(&source, &path.display().to_string()));
        }
    }
    assert_golden(&exports, "the sources");
}

/// The exports of one source, each looked at.
fn guarded_exports(source: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    // Whatever is exported under its name has the attribute; whatever has the ABI must be.
    let attributes = source.matches("#[unsafe(no_mangle)]").count();
    for item in source.split("extern \"C\" fn ").skip(1) {
        let name = item.split('(').next().unwrap_or_default().to_string();
        let end = item.find("\n}").unwrap_or_else(|| panic!("{path}: {name} has no end"));
        let start = item.find(" {\n").unwrap_or_else(|| panic!("{path}: {name} has no body"));
        let lines = item[start + 2..end].lines().map(str::trim);
        let body: Vec<_> = lines.filter(|line| !line.starts_with("//")).collect();
        let body = body.join(" ");
        let body = body.trim();
        let inner = match body.strip_prefix("unsafe {") {
            Some(inner) => inner.strip_suffix('}').unwrap_or(inner).trim(),
            None => body,
        };
        let call = inner.strip_suffix(';').unwrap_or(inner);
        assert!(
            call.starts_with("entry::") && closes_at_its_end(call),
            "{path}: {name} does more than one guard call: {call}"
        );
        names.push(name);
    }
    assert_eq!(attributes, names.len(), "{path}: exports and extern \"C\" functions differ");
    names
}

/// True if the first parenthesis of `call` is closed by its last character.
fn closes_at_its_end(call: &str) -> bool {
    let mut depth = 0;
    for (at, character) in call.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1 == call.len();
                }
            }
            _ => {}
        }
    }
    false
}

#[test]
fn nothing_outside_the_c_api_is_exported() {
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("sources are UTF-8");
            if !path.starts_with(root().join("src/capi")) {
                assert!(!source.contains("no_mangle"), "{} has an export", path.display());
                assert!(!source.contains("extern \"C\""), "{} has extern C", path.display());
            }
        }
    }
}
