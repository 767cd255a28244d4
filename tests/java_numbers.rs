//! `NativeNumbers.java`, which has every number that Java and the native library must agree on: it
//! is what is generated here, from the tables of the core and of `bindings/jni/src/numbers.rs`.

mod c_programs;

/// The same source as in the library for Java, which no test can link; here nothing is written to
/// Java.
#[path = "../bindings/jni/src/numbers.rs"]
mod numbers;

use c_programs::root;
use nativeport::event::{Party, Protocol};
use nativeport::status::{CloseReason, Status};
use numbers::Group;
use std::fmt::Write;
use std::{env, fs};

const FILE: &str = "java/src/main/java/org/nativeport/internal/NativeNumbers.java";

/// What natives answer: the class that `Status.java` inherits from.
const RESULT: &str = "Result";

const BEGIN: &str = "\
package org.nativeport.internal;

import org.nativeport.CloseInfo.Party;
import org.nativeport.Protocol;
import org.nativeport.ServerSocketInterface2.TlsMode;

/**
 * The numbers that Java and the native library must agree on. Generated from {@code src/status.rs}, {@code src/event.rs}
 * and {@code bindings/jni/src/numbers.rs}: change them there, then {@code make header} writes this file.
 *
 * <p>An enum that lacks a constant for what the library has does not compile with it.
 */
public final class NativeNumbers {
    private NativeNumbers() {}
";

/// What a text of Rust is in a comment of Java.
fn comment(text: &str) -> String {
    let text = text.trim().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    assert!(!text.contains("*/") && !text.contains('@') && !text.contains('`'), "{text}");
    text
}

/// A class of constants.
fn class(out: &mut String, group: &Group) {
    let Group { name, about, numbers } = group;
    // Classes inherit from these, to have their constants.
    let (kind, constructor) = if [RESULT, "Argument"].contains(name) {
        ("abstract static", "")
    } else {
        ("static final", "private ")
    };
    writeln!(out, "\n    /** {} */", comment(about)).unwrap();
    writeln!(out, "    public {kind} class {name} {{").unwrap();
    for (name, number, doc) in numbers.iter().filter(|(name, ..)| !name.starts_with('_')) {
        if !doc.trim().is_empty() {
            writeln!(out, "        /** {} */", comment(doc)).unwrap();
        }
        let number = i32::try_from(*number).expect("a number of Java's int");
        writeln!(out, "        public static final int {name} = {number};").unwrap();
    }
    writeln!(out, "\n        {constructor}{name}() {{}}\n    }}").unwrap();
}

/// A function from numbers to the constants of an enum, and what it does with others.
fn constant_of(
    out: &mut String,
    class: &str,
    name: &str,
    constants: &[(i64, String)],
    other: &str,
) {
    writeln!(out, "    public static {class} {name}(int number) {{").unwrap();
    writeln!(out, "        return switch (number) {{").unwrap();
    for (number, constant) in constants {
        writeln!(out, "            case {number} -> {class}.{constant};").unwrap();
    }
    writeln!(out, "            default -> {other};\n        }};\n    }}\n").unwrap();
}

/// The table of statuses, without the prefix of C.
fn results() -> Group {
    let number = |status: &Status| {
        let name = status.name();
        let name = name.strip_prefix("ERR_").unwrap_or(name).to_owned();
        (name, i64::from(status.code()), status.message())
    };
    let numbers = Status::ALL.iter().map(number).collect();
    Group { name: RESULT, about: "What natives answer.", numbers }
}

fn close_numbers() -> Group {
    let number = |reason: &CloseReason| {
        (reason.name().to_uppercase(), i64::from(reason.code()), reason.message())
    };
    let numbers = CloseReason::ALL.iter().map(number).collect();
    Group { name: "CloseNumber", about: "Why a connection ended.", numbers }
}

/// The names of a group, as constants of an enum.
fn constants(group: &Group) -> Vec<(i64, String)> {
    group.numbers.iter().map(|(name, number, _)| (*number, name.clone())).collect()
}

fn generated() -> String {
    let mut out = BEGIN.to_owned();
    let groups = [
        results(),
        numbers::native::group(),
        numbers::operation::group(),
        numbers::words::group(),
        numbers::log_level::group(),
        numbers::EventRecord::group(),
        numbers::event_kind::group(),
        numbers::Entry::group(),
        numbers::entry_flag::group(),
        numbers::CloseRecord::group(),
        close_numbers(),
        numbers::LogRecord::group(),
        numbers::counters_group(),
    ];
    groups.iter().for_each(|group| class(&mut out, group));

    let none = numbers::NO_CERTIFICATE;
    writeln!(out, "\n    /** Stands for the days that are left without TLS. */").unwrap();
    writeln!(out, "    public static final long NO_CERTIFICATE = {none}L;\n").unwrap();

    let reasons = constants(&close_numbers());
    writeln!(out, "    /** Null for a number that is not known here. */").unwrap();
    constant_of(&mut out, "CloseReason", "closeReason", &reasons, "null");
    let unknown = "throw new IllegalArgumentException(Integer.toString(number))";
    let parties = Party::ALL.map(|party| (party as i64, party.name().to_uppercase()));
    constant_of(&mut out, "Party", "party", &parties, unknown);
    let modes = constants(&numbers::tls_mode::group());
    constant_of(&mut out, "TlsMode", "tlsMode", &modes, unknown);
    let protocols = Protocol::ALL.map(|protocol| (protocol as i64, protocol.name().to_uppercase()));
    constant_of(&mut out, "Protocol", "protocol", &protocols, unknown);

    writeln!(out, "    /** Its position where there is one for each protocol. */").unwrap();
    writeln!(out, "    public static int index(Protocol protocol) {{").unwrap();
    writeln!(out, "        return switch (protocol) {{").unwrap();
    for protocol in Protocol::ALL {
        let (name, index) = (protocol.name().to_uppercase(), protocol.index());
        writeln!(out, "            case {name} -> {index};").unwrap();
    }
    out.push_str("        };\n    }\n}\n");
    out
}

#[test]
fn the_committed_numbers_of_java_are_the_generated_ones() {
    let path = root().join(FILE);
    let generated = generated();
    if env::var_os("UPDATE_JAVA").is_some() {
        fs::write(&path, &generated).expect("the folder is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if generated != committed {
        let lines = generated.lines().zip(committed.lines());
        let differs = lines.take_while(|(new, old)| new == old).count() + 1;
        panic!("{FILE} differs from line {differs} on: run make header");
    }
}
