//! The header as a document and as C: it is the generated one, every function states its
//! contract, and it compiles alone in both languages without a warning.

mod c_programs;

use std::path::Path;
use std::{env, fs};

use c_programs::{compiler, exists, folder, must, prototypes, read, root, skipped};

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = Path::new(env!("OUT_DIR")).join("nativeport.h");
    let committed = root().join("include/nativeport.h");
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::copy(&generated, &committed).expect("include is writable");
    }
    let generated = fs::read_to_string(generated).expect("build.rs has written it");
    let committed = fs::read_to_string(committed).unwrap_or_default();
    if generated != committed {
        let lines = generated.lines().zip(committed.lines());
        let differs = lines.take_while(|(new, old)| new == old).count() + 1;
        panic!("include/nativeport.h differs from line {differs} on: run make header");
    }
}

#[test]
fn every_function_states_its_contract() {
    let functions = prototypes();
    assert!(functions.len() > 50, "only {} functions were found", functions.len());
    let mut missing = Vec::new();
    for (name, comment) in functions {
        let mut rest = comment.as_str();
        for word in ["Thread:", "Blocking:", "Owns:", "Null:", "Fails:"] {
            // Each on its own line, with words behind it, in this order.
            match rest.split_once(&format!("\n * {word} ")) {
                Some((_, after)) if !after.trim_start().is_empty() => rest = after,
                _ => missing.push(format!("{name}: {word}")),
            }
        }
    }
    assert!(missing.is_empty(), "contract lines are missing: {missing:#?}");
}

#[test]
fn a_function_that_may_block_says_so_and_can_refuse_inside_a_callback() {
    for (name, comment) in prototypes() {
        let blocking = comment.contains("Blocking: yes");
        assert_eq!(blocking, comment.contains("NP_ERR_IN_CALLBACK"), "{name}");
    }
}

#[test]
fn the_header_names_only_statuses_and_functions_that_exist() {
    let header = read("include/nativeport.h");
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let known = |word: &str| {
        header.contains(&format!("#define {word} "))
            || header.contains(&format!("{word}("))
            || header.contains(&format!("}} {word};"))
            || header.contains(&format!("struct {word} {word};"))
            || header.contains(&format!("(*{word})"))
            || word == "np_status"
    };
    for word in words {
        // A prefix such as NP_CLOSE_ stands for all that begin with it.
        if (word.starts_with("np_") || word.starts_with("NP_")) && !word.ends_with('_') {
            assert!(known(word), "{word} is named and does not exist");
        }
    }
}

#[test]
fn the_header_compiles_alone_and_uses_every_macro() {
    let folder = folder("header_alone");
    let source = root().join("tests/c/header_alone.c");
    for (program, standard, language) in [
        ("gcc", "c11", "c"),
        ("g++", "c++17", "c++"),
        ("clang", "c11", "c"),
        ("clang++", "c++17", "c++"),
    ] {
        if !exists(program) {
            skipped(&format!("{program} is not installed, the header was not tried with it"));
            continue;
        }
        let mut command = compiler(program, standard);
        command.args(["-x", language, "-c"]).arg(&source);
        must(command.arg("-o").arg(folder.join(format!("{program}.o"))));
    }
}

#[test]
fn two_units_of_cpp_that_include_it_twice_link() {
    for program in ["g++", "clang++"] {
        if !exists(program) {
            skipped(&format!("{program} is not installed, two units were not tried with it"));
            continue;
        }
        let mut command = compiler(program, "c++17");
        for unit in ["twice_main.cpp", "twice_other.cpp"] {
            command.arg(root().join("tests/c").join(unit));
        }
        must(command.arg("-o").arg(folder(&format!("twice_{program}")).join("program")));
    }
}

#[test]
fn the_example_in_the_prologue_compiles() {
    let header = read("include/nativeport.h");
    let (_, example) =
        header.split_once("sends every frame back:\n").expect("the example is there");
    let (example, _) = example.split_once("*/").expect("the prologue ends");
    let lines =
        example.lines().map(|line| line.trim_start_matches(" *").trim_start_matches("    "));
    let example = lines.collect::<Vec<_>>().join("\n") + "\n";
    assert!(example.contains("int main"));
    let folder = folder("prologue");
    let source = folder.join("echo.c");
    fs::write(&source, example).expect("a fresh folder");
    for (program, standard, language) in [("gcc", "c11", "c"), ("g++", "c++17", "c++")] {
        if !exists(program) {
            skipped(&format!("{program} is not installed, the example was not tried with it"));
            continue;
        }
        let mut command = compiler(program, standard);
        command.args(["-x", language, "-c"]).arg(&source);
        must(command.arg("-o").arg(folder.join("echo.o")));
    }
}
