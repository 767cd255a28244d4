//! Compiles C and C++ programs against the committed header, links them with the shared
//! library of this build and runs them. Shared by the tests whose names begin with capi.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// What every program is compiled with.
pub const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the project.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first code block of the README in this language that has `words` in it.
pub fn readme_block(language: &str, words: &str) -> String {
    let text = read("README.md");
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    let mut blocks = blocks.map(|rest| rest.split_once("```").expect("its end").0);
    blocks.find(|block| block.contains(words)).expect("a block").to_owned()
}

/// A fresh folder for one test.
pub fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// The shared library that belongs to the running test.
pub fn library() -> PathBuf {
    let deps = env::current_exe().expect("a test has a path");
    let path = deps.with_file_name("libnativeport.so");
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// The name under which programs look for it: before 1.0 with the minor version.
pub fn soname() -> String {
    match (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")) {
        ("0", minor) => format!("libnativeport.so.0.{minor}"),
        (major, _) => format!("libnativeport.so.{major}"),
    }
}

/// Tells that a part of a test was left out, past the harness's capture of output.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// True if the program can be run.
pub fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// True if programs can be traced here.
pub fn can_trace() -> bool {
    exists("strace")
        && Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-e", "trace=none", "true"])
            .status()
            .is_ok_and(|status| status.success())
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A compiler call with our warnings and the paths of the headers.
pub fn compiler(program: &str, standard: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("-std={standard}")).args(WARNINGS);
    command.arg("-I").arg(root().join("include"));
    command.arg("-I").arg(root().join("bindings/cpp"));
    command
}

/// Compiles a C program with further `flags` and links it with the library.
pub fn build_c(test: &str, source: &Path, flags: &[&str]) -> PathBuf {
    build(test, compiler("cc", "c11").arg(source).args(flags))
}

/// Completes a compiler call to one that makes a program with the library, and gives that.
pub fn build(test: &str, command: &mut Command) -> PathBuf {
    let folder = folder(test);
    let program = folder.join("program");
    // The loader looks for the soname, the linker for the plain name.
    for name in ["libnativeport.so", &soname()] {
        std::os::unix::fs::symlink(library(), folder.join(name)).expect("a fresh folder");
    }
    command.arg("-o").arg(&program);
    command.arg("-L").arg(&folder).args(["-lnativeport", "-pthread"]);
    must(command.arg(format!("-Wl,-rpath,{}", folder.display())));
    program
}

/// Compiles a C program, links it with the library, runs it, gives what it printed.
pub fn run_c(test: &str, source: &Path) -> String {
    run(&build_c(test, source, &[]))
}

/// Runs a program that must succeed, in its own folder, and gives what it printed.
pub fn run(program: &Path) -> String {
    let output = must(Command::new(program).current_dir(program.parent().expect("a folder")));
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}

/// Compiles a C program, links it with whole static archives, runs it, gives what it
/// printed.
pub fn run_c_static(test: &str, source: &Path, archives: &[&PathBuf]) -> String {
    let program = folder(test).join("program");
    let mut command = compiler("cc", "c11");
    command.arg(source).arg("-o").arg(&program);
    command.arg("-Wl,--whole-archive").args(archives).arg("-Wl,--no-whole-archive");
    must(command.args(["-lpthread", "-ldl", "-lm", "-lgcc_s"]));
    let output = must(&mut Command::new(&program));
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}

/// As [`run_c`], for a program that the test has made.
pub fn run_c_text(test: &str, text: &str) -> String {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.c"));
    fs::write(&source, text).expect("the target folder is writable");
    run_c(test, &source)
}

/// The names of the functions that the committed header declares, in its order.
pub fn declared() -> Vec<String> {
    prototypes().into_iter().map(|(name, _)| name).collect()
}

/// The functions of the committed header, each with the comment before it.
pub fn prototypes() -> Vec<(String, String)> {
    let header = read("include/nativeport.h");
    let mut out = Vec::new();
    let mut comment = String::new();
    let mut inside = false;
    for line in header.lines() {
        if line.starts_with("/**") {
            comment.clear();
            inside = true;
        }
        if inside {
            comment.push_str(line);
            comment.push('\n');
            inside = !line.trim_end().ends_with("*/");
            continue;
        }
        let starts = line.starts_with(|first: char| first.is_ascii_lowercase());
        let prototype = starts && !line.starts_with("typedef");
        if let (true, Some((head, _))) = (prototype, line.split_once('(')) {
            let name = head.rsplit([' ', '*']).next().unwrap_or(head);
            out.push((name.to_string(), std::mem::take(&mut comment)));
        }
    }
    out
}
