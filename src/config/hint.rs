//! Values that are legal, or nearly, and probably not what was meant.
//!
//! Promises: a hint is about one value alone, and never shows a secret. A text that a key may hold is
//! never refused here.

use super::keys::edit_distance;
use super::kind::Kind;
use super::says::{self, Text};
use super::text::{code, is_invisible, quoted};
use super::units;

/// A habit of another format that shows in the value.
pub(super) fn habit(kind: Kind, value: &str) -> Option<Text> {
    let is_path = matches!(kind, Kind::Path);
    let begins = |start: &str| value.starts_with(start);
    let is_quoted = |text: &str| {
        let pairs =
            [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('‘', '’'), ('«', '»'), ('`', '`')];
        let ends = |&(left, right)| {
            let inner = text.strip_prefix(left).and_then(|rest| rest.strip_suffix(right));
            inner.is_some()
        };
        pairs.iter().any(ends)
    };
    let mut items = value.split(',').map(str::trim);
    let variable = ["${", "$(", "{{", "<%"].iter().any(|start| value.contains(start))
        || value
            .strip_prefix('$')
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
        || value.strip_prefix('%').is_some_and(|name| name.contains('%'));
    let is_list = matches!(kind, Kind::List | Kind::Names | Kind::Addresses | Kind::Alpn);
    if is_list && units::is_long_list(value) {
        Some(says::long_list(units::MOST_ITEMS))
    } else if let Some(c) = value.chars().find(|&c| is_invisible(c) && c != '\t') {
        Some(says::invisible(code(c)))
    } else if without_comment(value).is_some() {
        Some(says::comment())
    } else if is_quoted(value) || items.any(is_quoted) {
        Some(says::quotes())
    } else if variable {
        Some(says::variable())
    } else if is_path && begins("~") {
        Some(says::home())
    } else if is_path && begins("file:") {
        Some(says::url())
    } else {
        None
    }
}

/// What stands before a comment after a value.
fn without_comment(value: &str) -> Option<&str> {
    let comment =
        value.match_indices([';', '#']).find(|(at, _)| value[..*at].ends_with([' ', '\t']));
    let (at, _) = comment?;
    Some(value[..at].trim_end()).filter(|before| !before.is_empty())
}

/// A time without a unit that is shorter than a second, where most are some seconds long.
pub(super) fn is_short_time(kind: Kind, value: &str) -> bool {
    matches!(kind, Kind::Duration { .. })
        && units::integer(value).is_some_and(|n| (1..1_000).contains(&n))
}

/// Of <https://www.iana.org/assignments/tls-extensiontype-values> (ALPN).
const ALPN: [&str; 37] = [
    "http/0.9",
    "http/1.0",
    "http/1.1",
    "spdy/1",
    "spdy/2",
    "spdy/3",
    "stun.turn",
    "stun.nat-discovery",
    "h2",
    "h2c",
    "webrtc",
    "c-webrtc",
    "ftp",
    "imap",
    "pop3",
    "managesieve",
    "coap",
    "co",
    "xmpp-client",
    "xmpp-server",
    "acme-tls/1",
    "mqtt",
    "dot",
    "ntske/1",
    "sunrpc",
    "h3",
    "smb",
    "irc",
    "nntp",
    "nnsp",
    "doq",
    "sip/2",
    "tds/8.0",
    "dicom",
    "postgresql",
    "radius/1.0",
    "radius/1.1",
];

/// What is doubtful about the name of an application protocol. Names of the host's own are not.
pub(super) fn alpn(name: &str) -> Option<Text> {
    if ALPN.contains(&name) {
        return None;
    }
    // Names are short; the distance of a long one is work for nothing.
    let plain =
        name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+:".contains(c));
    if !plain && name.contains([' ', '\t', ';', '"', '\'', '#', '“', '”']) {
        return Some(says::alpn_commas(quoted(name)).and(habit(Kind::Alpn, name)));
    }
    let lower = name.to_ascii_lowercase();
    let http = match lower.as_str() {
        "http2" | "http/2" | "http/2.0" | "h/2" => Some("h2"),
        "http3" | "http/3" | "http/3.0" | "h/3" => Some("h3"),
        "http" | "http1" | "http/1" => Some("http/1.1"),
        _ => None,
    };
    // So short a name has many at a distance of 1.
    let is_near = |known: &str| {
        plain
            && known.len() >= 4
            && lower.len().abs_diff(known.len()) <= 1
            && edit_distance(&lower, known) == 1
    };
    let mut known = ALPN.into_iter();
    let same = known.clone().find(|known| lower == *known);
    let near = http.or(same).or_else(|| known.find(|known| is_near(known)));
    near.map(|near| says::alpn_near(quoted(name), near))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_of_other_formats_are_seen() {
        let remedy = |value| habit(Kind::Path, value).map(|hint| hint.remedy().to_owned());
        for (value, start) in [
            ("a ; b", "comments"),
            ("a\t# b", "comments"),
            ("\"a\"", "quotes"),
            ("'a', b", "quotes"),
            ("“a”", "quotes"),
            ("${A}", "variables"),
            ("$HOME/a", "variables"),
            ("%TEMP%\\a", "variables"),
            ("{{ a }}", "variables"),
            ("~/a", "'~'"),
            ("file:///a", "write the path"),
            ("a\u{a0}", "delete the invisible character U+00A0"),
        ] {
            assert!(remedy(value).is_some_and(|remedy| remedy.starts_with(start)), "{value}");
        }
        for value in ["a;b", "a#b", "#1", "a b", "C:\\a", "it's", "a$b", "100%", "", ";"] {
            assert_eq!(remedy(value), None, "{value}");
        }
        assert!(habit(Kind::List, "~a").is_none());
    }

    #[test]
    fn registered_protocols_and_those_of_the_host_are_not_doubtful() {
        for name in ALPN.iter().chain(&["myproto/1", "game", "x2", "h4", "MyProto", "grüße"]) {
            assert!(alpn(name).is_none(), "{name}");
        }
        for (name, near) in [
            ("H2", "'h2'"),
            ("http1.1", "'http/1.1'"),
            ("HTTP/1.1", "'http/1.1'"),
            ("http/2", "'h2'"),
        ] {
            let hint = alpn(name).expect("it is doubtful");
            assert!(hint.remedy().contains(near), "{name}: {}", hint.remedy());
        }
        for name in ["h2 ; web", "\"h2\"", "h2 http/1.1", "h2;http/1.1", "“h2”"] {
            assert!(alpn(name).is_some_and(|hint| hint.remedy().contains("commas")), "{name}");
        }
    }
}
