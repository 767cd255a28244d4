//! The C border: every function of the golden list, called as a clumsy host may, whenever and
//! from wherever; by itself, under valgrind and with the compiler's sanitizers.
//!
//! `NP_LONG=1` tries ten million random handles instead of 200,000.

mod c_programs;

use c_programs::{build_c, exists, folder, read, root, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Builds a program of `tests/c` with a case for each function of the golden list.
fn build_with_all(program: &str, test: &str, flags: &[&str]) -> PathBuf {
    let list = folder(&format!("{test}-list"));
    let names: String =
        read("include/nativeport.symbols").lines().map(|name| format!("NAME({name})\n")).collect();
    fs::write(list.join("border_symbols.h"), names).unwrap();
    let include = format!("-I{}", list.display());
    let source = root().join("tests/c").join(program);
    build_c(test, &source, &[&[include.as_str()], flags].concat())
}

fn build(test: &str, flags: &[&str]) -> PathBuf {
    build_with_all("border.c", test, flags)
}

fn assert_well(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("ok\n"),
        "{command:?}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(program: &Path, rounds: u32, handles: u32) {
    let mut command = Command::new(program);
    command.args([rounds.to_string(), handles.to_string()]);
    assert_well(command);
}

#[test]
fn every_function_answers_a_status_whatever_it_is_given_and_whenever() {
    let handles = if env::var_os("NP_LONG").is_some() { 10_000_000 } else { 200_000 };
    run(&build("border", &[]), 10, handles);
}

#[test]
#[cfg(target_os = "linux")]
fn every_function_answers_in_a_threads_last_destructors_and_state_in_the_child_of_a_fork() {
    assert_well(Command::new(build_with_all("anywhere.c", "anywhere", &[])));
}

#[test]
fn the_border_is_clean_under_valgrind() {
    if !exists("valgrind") {
        skipped("valgrind is not installed; the C border was not tried under it");
        return;
    }
    let program = build("border-valgrind", &["-g"]);
    let mut command = Command::new("valgrind");
    command.args(["-q", "--error-exitcode=9", "--leak-check=full"]);
    command.arg("--errors-for-leak-kinds=definite").arg(program).args(["1", "2000"]);
    assert_well(command);
}

#[test]
fn the_border_is_clean_with_the_compilers_sanitizers() {
    let flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let probe = folder("sanitizers").join("probe");
    let mut compiler = Command::new("cc");
    compiler.args(flags).args(["-x", "c", "-", "-o"]).arg(&probe);
    if !compiler.stdin(empty_program(&probe)).status().is_ok_and(|status| status.success()) {
        skipped("the compiler has no sanitizers; the C border was not tried with them");
        return;
    }
    run(&build("border-sanitized", &flags), 2, 20_000);
}

/// A program that does nothing, to be read by a compiler.
fn empty_program(beside: &Path) -> fs::File {
    let source = beside.with_extension("txt");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    fs::File::open(source).unwrap()
}
