//! The C++ header: compiles alone and without a warning, does what it says over real sockets,
//! sanitizers find nothing, and what would be a mistake does not compile.

mod c_programs;
#[allow(dead_code)] // Part of it is for other programs.
#[path = "example_programs/running.rs"]
mod running;
mod support;

use c_programs::{build, compiler, exists, folder, root, run, skipped};
use running::listening;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::{fs, str};
use support::{frame, framed, read_frame, tls_framed};

const STANDARDS: [&str; 2] = ["c++17", "c++20"];
const SANITIZERS: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// The compilers that are installed; those that are not are told of.
fn compilers() -> impl Iterator<Item = &'static str> {
    ["g++", "clang++"].into_iter().filter(|program| {
        let found = exists(program);
        if !found {
            skipped(&format!("{program} is not installed, C++ was not tried with it"));
        }
        found
    })
}

/// A program of `tests/cpp`.
fn source(name: &str) -> PathBuf {
    root().join("tests/cpp").join(name).with_extension("cpp")
}

#[test]
fn what_the_header_promises_holds_with_every_compiler_and_standard() {
    holds_with_every_compiler_and_standard("behaviour");
}

#[test]
fn what_the_header_promises_of_consumers_holds_with_every_compiler_and_standard() {
    holds_with_every_compiler_and_standard("consumers");
}

fn holds_with_every_compiler_and_standard(name: &str) {
    for program in compilers() {
        for standard in STANDARDS {
            let test = format!("cpp_{name}_{program}_{standard}");
            let built = build(&test, compiler(program, standard).arg(source(name)));
            assert_eq!(run(&built), "ok\n", "{test}");
        }
    }
}

#[test]
fn a_mistake_is_told_of_on_stderr_where_the_program_has_asked_for_nothing_else() {
    let Some(compiler_name) = compilers().next() else { return };
    let mut command = compiler(compiler_name, "c++17");
    let program = build("cpp_mistakes", command.arg(source("mistakes")));
    let outcome = |mistake: &str| {
        let output = Command::new(&program).arg(mistake).output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    };
    for silent in ["sort", "hook"] {
        let (status, said) = outcome(silent);
        assert!(status.success() && said.is_empty(), "{silent}: {status}: {said}");
    }
    let (status, said) = outcome("throw");
    assert!(status.success(), "{status}: {said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for line in lines {
        assert!(line.starts_with("nativeport: a callback of connection "), "{line}");
        assert!(line.ends_with(" threw: what it says"), "{line}");
    }
    for mistake in ["destroy", "cycle"] {
        let (status, said) = outcome(mistake);
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{mistake}: {said}");
        let told = "nativeport: a runtime or listener was destroyed inside of a callback";
        assert!(said.starts_with(told) && said.contains("std::ref"), "{mistake}: {said}");
    }
}

#[test]
fn before_cpp_17_the_header_says_what_it_needs() {
    let Some(program) = compilers().next() else { return };
    let output = Command::new(program)
        .args(["-std=c++14", "-fsyntax-only", "-x", "c++", "-I"])
        .arg(root().join("include"))
        .arg(root().join("bindings/cpp/nativeport.hpp"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("needs C++17 or later"), "{said}");
}

/// The compilers that can build with sanitizers; those that cannot are told.
fn with_sanitizers() -> impl Iterator<Item = &'static str> {
    static HAVE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let has = |program: &&'static str| {
            let folder = folder(&format!("cpp_sanitizers_{program}"));
            let source = folder.join("nothing.cpp");
            fs::write(&source, "int main() {}\n").unwrap();
            let mut command = compiler(program, "c++17");
            command.args(SANITIZERS).arg(source).arg("-o").arg(folder.join("program"));
            let has = command.output().is_ok_and(|output| output.status.success());
            if !has {
                skipped(&format!("{program} has no sanitizers here, it was not tried with them"));
            }
            has
        };
        compilers().filter(has).collect()
    });
    HAVE.iter().copied()
}

#[test]
fn sanitizers_find_nothing_in_what_the_header_promises() {
    sanitizers_find_nothing_in("behaviour");
}

#[test]
fn sanitizers_find_nothing_in_what_the_header_promises_of_consumers() {
    sanitizers_find_nothing_in("consumers");
}

fn sanitizers_find_nothing_in(name: &str) {
    // Each compiler has another standard here, which costs no time.
    for (program, standard) in with_sanitizers().zip(STANDARDS) {
        let mut command = compiler(program, standard);
        let test = format!("cpp_{name}_sanitized_{program}");
        let built = build(&test, command.args(SANITIZERS).arg(source(name)));
        assert_eq!(run(&built), "ok\n", "{test}");
    }
}

#[test]
fn sanitizers_find_nothing_in_an_echo_over_plain_and_tls() {
    echoes_over_plain_and_tls("cpp_echo", root().join("examples-c/echo.cpp"), &["callbacks"]);
}

#[test]
fn sanitizers_find_nothing_in_an_echo_of_each_consumer_over_plain_and_tls() {
    let consumers = ["workers", "poll", "inbox"];
    echoes_over_plain_and_tls("cpp_consumers_echo", source("consumers_echo"), &consumers);
}

fn echoes_over_plain_and_tls(test: &str, source: PathBuf, consumers: &[&str]) {
    // What the two above have tried with each compiler is tried here with one.
    let Some(compiler_name) = with_sanitizers().next() else { return };
    let program = build(test, compiler(compiler_name, "c++17").args(SANITIZERS).arg(source));
    let folder = program.parent().unwrap();
    for consumer in consumers {
        let ini = folder.join("echo.ini");
        let text = format!(
            "[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=Tls\nssl=auto\n\
             compression=off\n[Tls]\nselfSigned=localhost\n[Host]\nconsumer={consumer}\n"
        );
        fs::write(&ini, text).unwrap();
        let (server, address) = listening(folder, "program", &ini.display().to_string());
        let (mut plain, mut tls) = (framed(address), tls_framed(address));
        for _ in 0..3 {
            assert_echoes(&mut plain);
            assert_echoes(&mut tls);
        }
        server.signal(libc::SIGTERM);
        let ended = server.end();
        assert_eq!((ended.code(), ended.stderr.len()), (0, 0), "{consumer}: {ended:?}");
    }
}

fn assert_echoes(stream: &mut (impl Read + Write)) {
    for payload in [&b"hello"[..], b"", &[7; 100_000]] {
        stream.write_all(&frame(payload)).unwrap();
        assert!(read_frame(stream) == payload);
    }
}

/// Compiles a text alone, without making anything.
fn compiled(program: &str, standard: &str, test: &str, text: &str) -> Output {
    let source = folder(&format!("cpp_{test}_{program}_{standard}")).join("source.cpp");
    fs::write(&source, text).unwrap();
    compiler(program, standard).arg("-fsyntax-only").arg(source).output().unwrap()
}

#[test]
fn two_units_that_include_the_header_twice_link() {
    let unit = "#include <nativeport.hpp>\n#include <nativeport.hpp>\n";
    for program in compilers() {
        let sources = folder(&format!("cpp_units_{program}"));
        let (one, other) = (sources.join("one.cpp"), sources.join("other.cpp"));
        fs::write(&one, format!("{unit}int main() {{ nativeport::config config; }}\n")).unwrap();
        fs::write(&other, format!("{unit}void other() {{ nativeport::config config; }}\n"))
            .unwrap();
        let mut command = compiler(program, "c++17");
        let built = build(&format!("cpp_twice_{program}"), command.args([one, other]));
        assert_eq!(run(&built), "");
    }
}

#[test]
fn a_handler_can_be_written_with_the_names_of_its_callbacks() {
    let text = "#include <nativeport.hpp>\n\
                nativeport::handler made() {\n\
                    return {.on_data = [](nativeport::connection, nativeport::bytes_view) {}};\n\
                }\n";
    for program in compilers() {
        let output = compiled(program, "c++20", "designated", text);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The errors that a compiler tells: the line of `traps.cpp` that each is about, and its message.
fn refusals(said: &str) -> Vec<(usize, &str)> {
    let line_in_traps = |place: &str| -> Option<usize> {
        place.split_once("traps.cpp:")?.1.split(':').next()?.parse().ok()
    };
    // An error in the header belongs to the line that has asked for it: g++ names it before, and
    // clang++ in notes, of which the last counts.
    let (mut asked, mut errors) = (None, Vec::new());
    for line in said.lines() {
        if let Some((place, message)) = line.split_once(": error: ") {
            let own = line_in_traps(place);
            errors.push((own, asked, message));
        } else if line.ends_with("required from here") {
            asked = line_in_traps(line);
        } else if line.ends_with("requested here") {
            let error = errors.last_mut().expect("an error before its notes");
            error.1 = line_in_traps(line).or(error.1);
        }
    }
    let placed = |(own, asked, message): (Option<usize>, _, _)| Some((own.or(asked)?, message));
    errors.into_iter().filter_map(placed).collect()
}

#[test]
fn what_would_be_a_mistake_does_not_compile() {
    let file = fs::read_to_string(source("traps")).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|&at| lines[at].starts_with("#ifdef ")).collect();
    assert_eq!(starts.len(), 82, "traps that vanish are not seen otherwise");
    let heads = starts.iter().map(|&at| lines[at].split_once(" // ").expect("what is told"));
    let defines: String = heads.map(|(trap, _)| trap.replace("ifdef", "define") + " 1\n").collect();
    for program in compilers() {
        let traps = folder(&format!("cpp_traps_{program}")).join("traps.hpp");
        fs::write(&traps, &defines).unwrap();
        let compiled = |flags: &[&str]| {
            let mut command = compiler(program, "c++17");
            command.args(["-fsyntax-only", "-Wnon-virtual-dtor"]).args(flags);
            command.arg(source("traps")).output().unwrap()
        };
        let right = compiled(&[]);
        assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
        let no_limit = if program == "g++" { "-fmax-errors=0" } else { "-ferror-limit=0" };
        let output = compiled(&[no_limit, "-include", traps.to_str().unwrap()]);
        let said = str::from_utf8(&output.stderr).unwrap();
        let refused = refusals(said);
        for &start in &starts {
            let (trap, words) = lines[start].split_once(" // ").unwrap();
            let length = lines[start..].iter().position(|line| matches!(*line, "#else" | "#endif"));
            // Lines are counted from 1.
            let own = start + 1..=start + length.unwrap();
            let mut told = refused.iter().filter(|(line, _)| own.contains(line));
            let fits = |message: &str| words.split(" | ").any(|word| message.contains(word));
            assert!(told.any(|(_, message)| fits(message)), "{program}: {trap}: {said}");
        }
    }
}

#[test]
fn without_exceptions_failures_are_told() {
    for program in compilers() {
        let mut command = compiler(program, "c++17");
        command.args(["-fno-exceptions", "-fno-rtti"]).arg(source("without_exceptions"));
        let built = build(&format!("cpp_without_exceptions_{program}"), &mut command);
        assert_eq!(run(&built), "ok\n", "{program}");
    }
}

#[test]
fn user_data_is_known_to_libraries_whose_symbols_are_hidden() {
    for program in compilers() {
        let hidden = || {
            let mut command = compiler(program, "c++17");
            command.arg("-fvisibility=hidden").arg(source("user_data"));
            command
        };
        let mut library = hidden();
        library.args(["-DLIBRARY", "-shared", "-fPIC"]);
        let library = build(&format!("cpp_user_data_library_{program}"), &mut library);
        let built = build(&format!("cpp_user_data_{program}"), hidden().arg(library));
        assert_eq!(run(&built), "ok\n", "{program}");
    }
}
