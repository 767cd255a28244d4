//! The manual and the code say the same.

use nativeport::status::{CloseReason, Status};

#[test]
fn the_tables_of_close_reasons_and_statuses_are_those_of_the_code() {
    let manual = include_str!("../docs/close-reasons.md");
    let row = |code: i32, name: &str, message: &str| format!("| {code} | `{name}` | {message} |");
    let code = CloseReason::ALL.iter().map(|r| row(r.code(), r.name(), r.message()));
    let code = code.chain(Status::ALL.iter().map(|s| row(s.code(), s.name(), s.message())));
    let rows = manual.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    assert_eq!(rows.collect::<Vec<_>>(), code.collect::<Vec<_>>());
}

/// The texts of all Rust sources below a folder.
fn sources(folder: &std::path::Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_table_of_faults_names_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    sources(&root.join("tests"), &mut texts);
    sources(&root.join("src"), &mut texts);
    let table = include_str!("../docs/reliability.md");
    let names: Vec<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= 4 && name.chars().all(|c| c != '.' && c != '/'))
        .collect();
    assert!(names.len() > 50, "{}", names.len());
    for name in names {
        let test = format!("fn {name}()");
        assert!(texts.iter().any(|text| text.contains(&test)), "there is no test {name}");
    }
}
