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
