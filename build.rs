//! Writes the C header into OUT_DIR and names the shared library.
//!
//! The header has one section per public module of `src/capi/mod.rs`, in that order, each
//! written by cbindgen from that file alone, so that types and functions of one noun stand
//! together. Version macros come from Cargo.toml, the numbers of statuses and close
//! reasons from the tables in `src/status.rs`. `include/nativeport.h` is a copy of the
//! result; `tests/capi_header.rs` compares both.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    for path in ["build.rs", "cbindgen.toml", "src/capi", "src/status.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("nativeport.h"), header()).expect("OUT_DIR is writable");

    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Unloading keeps the code mapped: a thread of ours may still be on its way out.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{}", soname());
    }
}

/// Before 1.0 the ABI may change with the minor version.
fn soname() -> String {
    match version() {
        [0, minor, _] => format!("libnativeport.so.0.{minor}"),
        [major, ..] => format!("libnativeport.so.{major}"),
    }
}

fn version() -> [u32; 3] {
    ["MAJOR", "MINOR", "PATCH"].map(|part| {
        let value = env::var(format!("CARGO_PKG_VERSION_{part}")).expect("cargo sets it");
        value.parse().expect("a part of a version is a number")
    })
}

fn header() -> String {
    let modules = read("src/capi/mod.rs");
    let mut out = read("src/capi/prologue.h");
    for line in modules.lines() {
        let Some(noun) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'))
        else {
            continue;
        };
        let path = format!("src/capi/{noun}.rs");
        let source = read(&path);
        let title = source.lines().next().and_then(|first| first.strip_prefix("//! "));
        let title = title.unwrap_or_else(|| panic!("{path} does not begin with a //! line"));
        let rule = "-".repeat(88);
        write!(out, "\n/* {rule}\n * {title}\n * {rule} */\n\n").expect("a String takes all");
        match noun {
            "version" => out.push_str(&version_macros()),
            "status" => out.push_str(&status_macros()),
            _ => {}
        }
        out.push_str(section(&path).trim());
        out.push('\n');
    }
    out.push_str(
        "\n#ifdef __cplusplus\n} /* extern \"C\" */\n#endif\n\n#endif /* NATIVEPORT_H */\n",
    );
    out
}

fn section(path: &str) -> String {
    let config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml is good");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(path).generate();
    let mut text = Vec::new();
    let bindings = bindings.unwrap_or_else(|error| panic!("{path}: {error}"));
    bindings.write(&mut text);
    tidy(&String::from_utf8(text).expect("cbindgen writes UTF-8"))
}

/// Puts a comment of one line into one line, and names types without their tag: cbindgen
/// writes the tag only for types that it has seen, which differs between sections.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let words = lines.get(at + 1).and_then(|next| next.trim().strip_prefix("* "));
        let ends = lines.get(at + 2).is_some_and(|next| next.trim() == "*/");
        if let (true, Some(words), true) = (line.trim() == "/**", words, ends) {
            let indent = &line[..line.len() - 3];
            writeln!(out, "{indent}/** {words} */").expect("a String takes all");
            at += 3;
            continue;
        }
        match line.starts_with("typedef struct ") {
            true => out.push_str(line),
            false => out.push_str(&line.replace("struct np_", "np_")),
        }
        out.push('\n');
        at += 1;
    }
    out
}

fn version_macros() -> String {
    let [major, minor, patch] = version();
    format!(
        "/** The version of this header. NUMBER is major * 1000000 + minor * 1000 + patch. */\n\
         #define NP_VERSION_MAJOR {major}\n\
         #define NP_VERSION_MINOR {minor}\n\
         #define NP_VERSION_PATCH {patch}\n\
         #define NP_VERSION_NUMBER \\\n    \
         (NP_VERSION_MAJOR * 1000000 + NP_VERSION_MINOR * 1000 + NP_VERSION_PATCH)\n\
         #define NP_VERSION_STRING \"{major}.{minor}.{patch}\"\n\n"
    )
}

fn status_macros() -> String {
    let table = read("src/status.rs");
    let mut out = String::new();
    let mut prefix = "";
    for line in table.lines().map(str::trim) {
        match line {
            "Status:" => prefix = "NP_",
            "CloseReason:" => {
                prefix = "NP_CLOSE_";
                out.push('\n');
            }
            "}" => prefix = "",
            _ if prefix.is_empty() => {}
            _ => {
                if let Some((number, name, message)) = entry(line) {
                    let number = match number {
                        ..0 => format!("({number})"),
                        _ => number.to_string(),
                    };
                    let name = name.to_uppercase();
                    writeln!(out, "/** {message} */\n#define {prefix}{name} {number}")
                        .expect("a String takes all");
                }
            }
        }
    }
    // The table is read as text: a line of another form must not vanish silently.
    let lines = table.lines().filter(|line| line.contains(" = ") && line.ends_with("\";"));
    assert_eq!(
        out.matches("#define").count(),
        lines.count(),
        "a line of src/status.rs was not read"
    );
    out.push('\n');
    out
}

/// Takes `Variant = number, "NAME", "message";` apart.
fn entry(line: &str) -> Option<(i32, &str, &str)> {
    let (_, rest) = line.split_once(" = ")?;
    let (number, rest) = rest.split_once(", \"")?;
    let (name, rest) = rest.split_once("\", \"")?;
    Some((number.parse().ok()?, name, rest.strip_suffix("\";")?))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
