//! C programs against the shared library: what each function answers, what it leaves
//! alone, and who releases what. Programs that need connections are elsewhere.

mod c_programs;

use std::fmt::Write;

use c_programs::{read, root, run_c, run_c_text};
use nativeport::event::{Party, Stage};
use nativeport::status::{CloseReason, Status};

#[test]
fn the_config_functions_do_what_the_header_says() {
    assert_eq!(run_c("config", &root().join("tests/c/config.c")), "ok\n");
}

#[test]
fn what_is_handed_over_is_released_exactly_once_on_every_path() {
    assert_eq!(run_c("ownership", &root().join("tests/c/ownership.c")), "ok\n");
}

#[test]
fn any_value_is_a_safe_handle_and_any_size_a_safe_struct() {
    assert_eq!(run_c("handles", &root().join("tests/c/handles.c")), "ok\n");
}

#[test]
#[cfg(target_os = "linux")]
fn garbage_sizes_are_refused_unread_and_sizes_without_memory_are_a_status() {
    assert_eq!(run_c("limits", &root().join("tests/c/limits.c")), "ok\n");
}

#[test]
fn the_header_and_the_library_have_the_version_of_cargo_toml() {
    let output = run_c_text(
        "version",
        "#include <nativeport.h>\n\
         #include <stdio.h>\n\
         int main(void) {\n\
             printf(\"%d.%d.%d %d %s\\n\", NP_VERSION_MAJOR, NP_VERSION_MINOR,\n\
                    NP_VERSION_PATCH, NP_VERSION_NUMBER, NP_VERSION_STRING);\n\
             printf(\"%u %s\\n\", np_version_number(), np_version_string());\n\
             printf(\"%d %d %d\\n\", np_has_feature(\"deflate\"), np_has_feature(\"magic\"),\n\
                    np_has_feature(NULL));\n\
             return 0;\n\
         }\n",
    );
    let version = env!("CARGO_PKG_VERSION");
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    let number = parts[0] * 1_000_000 + parts[1] * 1_000 + parts[2];
    let expected = format!("{version} {number} {version}\n{number} {version}\n1 0 0\n");
    assert_eq!(output, expected);
}

#[test]
fn every_status_and_close_reason_has_its_number_name_and_message_in_c() {
    let mut program =
        String::from("#include <nativeport.h>\n#include <stdio.h>\nint main(void) {\n");
    let mut expected = String::new();
    let mut line = |constant: &str, call: &str, number: i32, text: &str| {
        let _ = writeln!(program, "    printf(\"%d %s\\n\", {constant}, {call}({constant}));");
        let _ = writeln!(expected, "{number} {text}");
    };
    for status in Status::ALL {
        let constant = format!("NP_{}", status.name());
        line(&constant, "np_status_name", status.code(), &constant);
        line(&constant, "np_status_message", status.code(), status.message());
    }
    for reason in CloseReason::ALL {
        let constant = format!("NP_CLOSE_{}", reason.name().to_uppercase());
        line(&constant, "np_close_reason_name", reason.code(), reason.name());
    }
    for party in Party::ALL {
        let constant = format!("NP_BY_{}", party.name().to_uppercase());
        line(&constant, "np_close_by_name", party as i32, party.name());
    }
    for stage in Stage::ALL {
        let constant = format!("NP_STAGE_{}", stage.name().to_uppercase());
        line(&constant, "np_close_stage_name", stage as i32, stage.name());
    }
    line("0", "np_close_by_name", 0, "unknown");
    line("6", "np_close_stage_name", 6, "unknown");
    line("1", "np_status_name", 1, "unknown");
    line("(-1)", "np_status_message", -1, "unknown");
    line("0", "np_close_reason_name", 0, "unknown");
    program.push_str("    return 0;\n}\n");
    assert_eq!(run_c_text("statuses", &program), expected);
}

#[test]
fn the_header_has_no_status_that_the_tables_do_not_have() {
    let header = read("include/nativeport.h");
    let count = |prefix: &str| header.matches(&format!("#define {prefix}")).count();
    // NP_OK and NP_ERROR_INIT are the two of other forms.
    assert_eq!(count("NP_ERR_") + count("NP_OK "), Status::ALL.len());
    assert_eq!(count("NP_CLOSE_"), CloseReason::ALL.len());
    assert_eq!(count("NP_BY_"), Party::ALL.len());
    assert_eq!(count("NP_STAGE_"), Stage::ALL.len());
}
