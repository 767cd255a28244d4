//! The C++ header: compiles alone and without a warning, does what it says over real sockets,
//! sanitizers find nothing, and what would be a mistake does not compile.

mod c_programs;
#[allow(dead_code)] // Part of it is for other programs.
#[path = "example_programs/running.rs"]
mod running;
mod support;

use c_programs::{build, compiler, exists, folder, must, root, run, skipped};
use running::listening;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::{fs, str};
use support::{frame, framed, read_frame, tls_framed};

const STANDARDS: [&str; 2] = ["c++17", "c++20"];
const SANITIZERS: [&str; 4] =
    ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

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
    let (status, said) = outcome("sort");
    assert!(status.success() && said.is_empty(), "{status}: {said}");
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
    for program in with_sanitizers() {
        let mut command = compiler(program, "c++17");
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

/// Compiles `tests/cpp/traps.cpp`, with what its `flag` defines.
fn traps(program: &str, folder: &Path, flag: Option<&str>) -> Output {
    let mut command = compiler(program, "c++17");
    command.arg("-fsyntax-only").arg("-include").arg(folder.join("all.hpp"));
    command.arg(source("traps")).args(flag).output().unwrap()
}

#[test]
fn what_would_be_a_mistake_does_not_compile() {
    let file = fs::read_to_string(source("traps")).unwrap();
    let wrong: Vec<(&str, &str)> =
        file.lines().filter_map(|line| line.strip_prefix("#ifdef ")?.split_once(" // ")).collect();
    assert!(wrong.len() > 60 && file.matches("#ifdef TRAP_").count() == wrong.len());
    let try_all = |program, folder: &Path, some: &[(&str, &str)]| {
        for (trap, message) in some {
            let output = traps(program, folder, Some(&format!("-D{trap}")));
            let told = str::from_utf8(&output.stderr).unwrap();
            assert!(!output.status.success() && told.contains(message), "{trap}: {told}");
        }
    };
    for (at, program) in compilers().enumerate() {
        // The header is compiled once: many times it would take minutes.
        let folder = folder(&format!("cpp_traps_{program}"));
        fs::write(folder.join("all.hpp"), "#include <nativeport.hpp>\n").unwrap();
        let mut header = compiler(program, "c++17");
        header.args(["-x", "c++-header"]).arg(folder.join("all.hpp"));
        must(header.arg("-o").arg(folder.join("all.hpp.gch")));
        let right = traps(program, &folder, None);
        assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
        // One compiler is enough to try each mistake; the others compile what is right.
        if at == 0 {
            let (some, others) = wrong.split_at(wrong.len() / 2);
            std::thread::scope(|scope| {
                scope.spawn(|| try_all(program, &folder, some));
                try_all(program, &folder, others);
            });
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
