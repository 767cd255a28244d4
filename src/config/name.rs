//! Section names: which are ports, and the canonical names that programs use.
//!
//! ```text
//! [Port]                        the first is Port, the n-th is Port.#n
//! [Port1]  [Port 1]  [Port.1]   Port.1
//! [Port.web]                    Port.web
//! [Portal]  [Port web]          no port
//! ```

use super::scan::BLANKS;

/// What a section name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `Port`; its canonical name depends on how many there were before.
    BarePort,
    /// A port with this canonical name.
    Port(String),
    /// `Port.` with nothing after it.
    Unnamed,
    /// No port; the name as written.
    Other(String),
}

/// Reads a section name as written between brackets.
pub(super) fn name_of(written: &str) -> Name {
    const PORT: &str = "port";
    let other = || Name::Other(written.to_owned());
    let Some((head, tail)) = written.split_at_checked(PORT.len()) else {
        return other();
    };
    if !head.eq_ignore_ascii_case(PORT) {
        return other();
    }
    let tail = tail.trim_matches(BLANKS);
    if tail.is_empty() {
        return Name::BarePort;
    }
    if let Some(name) = tail.strip_prefix('.') {
        return match name.trim_matches(BLANKS) {
            "" => Name::Unnamed,
            name => Name::Port(format!("Port.{name}")),
        };
    }
    if tail.bytes().all(|byte| byte.is_ascii_digit()) {
        return Name::Port(format!("Port.{tail}"));
    }
    other()
}

/// A form that is equal for names that differ in case only.
pub(super) fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Whether the two may look the same: each letter is equal, or none of ASCII.
pub(super) fn resembles(name: &str, meant: &str) -> bool {
    let mut pairs = name.chars().zip(meant.chars());
    name != meant
        && name.chars().count() == meant.chars().count()
        && pairs.all(|(a, b)| a == b || !a.is_ascii())
}

/// The first character that is not ASCII, and so may look like another one.
pub(super) fn foreign(name: &str) -> Option<char> {
    name.chars().find(|c| !c.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port1_port_1_and_port_dot_1_are_one_name() {
        for written in ["Port1", "Port 1", "Port.1", "PORT1", "port  1", "Port. 1"] {
            assert_eq!(name_of(written), Name::Port("Port.1".into()), "{written}");
        }
    }

    #[test]
    fn port_dot_name_keeps_its_name() {
        assert_eq!(name_of("Port.web"), Name::Port("Port.web".into()));
        assert_eq!(name_of("port.a.b"), Name::Port("Port.a.b".into()));
        assert_eq!(name_of("Port."), Name::Unnamed);
    }

    #[test]
    fn bare_port_is_read_in_any_case() {
        assert_eq!((name_of("Port"), name_of("PORT")), (Name::BarePort, Name::BarePort));
    }

    #[test]
    fn portal_is_no_port() {
        for written in ["Portal", "Ports", "Port web", "Port1a", "Port-1", "Por", "", "Pörtö"] {
            assert_eq!(name_of(written), Name::Other(written.into()), "{written}");
        }
    }

    #[test]
    fn names_that_differ_in_case_only_fold_to_one() {
        assert_eq!(fold("Größe"), fold("GRÖßE"));
    }

    #[test]
    fn letters_of_other_alphabets_may_look_the_same() {
        assert!(resembles("p\u{43e}rt", "port") && resembles("\u{440}\u{43e}rt", "port"));
        assert!(!resembles("port", "port") && !resembles("part", "port"));
        assert_eq!((foreign("p\u{43e}rt"), foreign("port")), (Some('\u{43e}'), None));
    }
}
