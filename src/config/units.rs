//! Values with units: booleans, numbers, durations, sizes, lists.
//!
//! Promises: nothing is clamped or rounded; what does not fit is `None` or an error.
//! Ranges and messages are left to `keys`.

use super::scan::BLANKS;

const DURATION_UNITS_MS: &[(&str, u64)] =
    &[("", 1), ("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];

const SIZE_UNITS_BYTES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
];

/// 1/0, true/false, yes/no, on/off, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Decimal digits only.
pub(super) fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Milliseconds; units ms, s, m or min, h.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    with_unit(text, DURATION_UNITS_MS)
}

/// Bytes; units K, M, G (1024 each), with B or iB after them if wanted.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    with_unit(text, SIZE_UNITS_BYTES)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_matches(BLANKS).to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    integer(digits)?.checked_mul(*factor)
}

/// A longer list is an error: each item costs some ten bytes.
pub(super) const MOST_ITEMS: usize = 256;

/// The items between commas, trimmed; an empty text is an empty list. An error is in words that follow
/// the text.
pub(super) fn list(text: &str) -> Result<Vec<String>, &'static str> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if is_long_list(text) {
        return Err("has too many items");
    }
    let items = text.split(',').map(|item| item.trim_matches(BLANKS));
    items
        .map(|item| (!item.is_empty()).then(|| item.to_owned()).ok_or("has an empty item"))
        .collect()
}

/// Whether the text has too many items for a list.
pub(super) fn is_long_list(text: &str) -> bool {
    text.split(',').nth(MOST_ITEMS).is_some()
}

/// A duration as short as it can be written exactly.
pub(super) fn show_duration(ms: u64) -> String {
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms != 0 && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    if ms == 0 { "0".to_owned() } else { format!("{ms}ms") }
}

/// A size as short as it can be written exactly.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("G", 30), ("M", 20), ("K", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_1_0_true_false_yes_no_on_off_in_any_case() {
        for text in ["1", "true", "yes", "on", "TRUE", "Yes", "oN"] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["0", "false", "no", "off", "FALSE", "No", "OFF"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "2", "y", "n", "enabled", "-1"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_digits_and_overflow_is_an_error() {
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX));
        for text in ["18446744073709551616", "", "-1", "+1", "1.5", "1 000", "0x10", "1k"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_milliseconds_unless_a_unit_is_given() {
        for (text, ms) in [
            ("250", 250),
            ("250ms", 250),
            ("30s", 30_000),
            ("30 s", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("2H", 7_200_000),
            ("0", 0),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "30 sec", "1d", "1m30s", "18446744073709551615s"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_a_unit_is_given() {
        for (text, bytes) in [
            ("512", 512),
            ("512B", 512),
            ("64K", 65_536),
            ("64KB", 65_536),
            ("64 KiB", 65_536),
            ("64m", 67_108_864),
            ("64MB", 67_108_864),
            ("64mib", 67_108_864),
            ("1G", 1 << 30),
            ("1gb", 1 << 30),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "K", "1.5M", "-1", "1T", "64kbit", "18446744073709551615K"] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_comma_separated() {
        assert_eq!(list("a, b ,c"), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(list("a b"), Ok(vec!["a b".into()]));
        assert_eq!(list(""), Ok(vec![]));
        for text in ["a,,b", "a,", ","] {
            assert_eq!(list(text), Err("has an empty item"));
        }
        assert_eq!(list(&vec!["a"; MOST_ITEMS].join(",")).map(|items| items.len()), Ok(MOST_ITEMS));
        assert_eq!(list(&vec!["a"; MOST_ITEMS + 1].join(",")), Err("has too many items"));
    }

    #[test]
    fn durations_and_sizes_are_shown_as_short_as_they_can_be_written_exactly() {
        assert_eq!(show_duration(0), "0");
        assert_eq!(show_duration(1_500), "1500ms");
        assert_eq!(show_duration(90_000), "90s");
        assert_eq!(show_duration(7_200_000), "2h");
        assert_eq!(show_size(0), "0");
        assert_eq!(show_size(1_000), "1000");
        assert_eq!(show_size(64 << 20), "64M");
    }
}
