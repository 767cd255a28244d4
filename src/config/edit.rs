//! What the program itself adds to a document.
//!
//! Promises: an argument that could not stand in a file is refused, and a refused call
//! changes nothing. Whether keys and values are right is left to `resolve`.

use super::document::{Document, Entry, Spot};
use super::name::{Name, name_of};
use super::scan::{BLANKS, MOST_LINE_BYTES};
use super::secret::Wiped;
use super::{says, text};
use crate::status::{Error, Status};
use std::path::Path;
use std::sync::Arc;

impl Document {
    /// Adds an empty port section; gives its canonical name. An empty name, or `Port`,
    /// is the next bare one.
    pub(super) fn add_port(&mut self, name: &str) -> Result<String, Error> {
        let name = checked(name, "the name of a port section")?;
        let bare = name.is_empty() || name_of(name) == Name::BarePort;
        let canonical = match name_of(name) {
            _ if bare => self.next_bare_port(),
            Name::Port(canonical) => canonical,
            Name::Unnamed => return Err(refused(Status::Argument, says::no_port_name())),
            Name::BarePort | Name::Other(_) => format!("Port.{name}"),
        };
        if self.index_of(&canonical).is_some() {
            if bare {
                self.forget_bare_port();
            }
            return Err(refused(Status::Argument, says::port_is_there(text::section(&canonical))));
        }
        self.push(canonical.clone(), &canonical, Spot::default(), true);
        Ok(canonical)
    }

    /// Sets a key, in place of all that the files say about it. A section that is no
    /// port is made if there is none. Relative paths start in the folder.
    pub(super) fn set(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
        folder: Option<&Path>,
    ) -> Result<(), Error> {
        let section = checked(section, "the name of a section")?;
        let key = checked(key, "a key")?;
        let value = checked(value, "a value")?;
        if section.is_empty() {
            return Err(refused(Status::Argument, says::no_section_named()));
        }
        if key.is_empty() || key.contains('=') {
            return Err(refused(Status::Argument, says::bad_key()));
        }
        let index = match (self.find_index(section), name_of(section)) {
            (Some(index), _) => index,
            (None, Name::Other(canonical)) => self.push(canonical, section, Spot::default(), false),
            (None, _) => {
                return Err(refused(Status::NotFound, says::unknown_port(text::name(section))));
            }
        };
        let entry = Entry {
            key: key.into(),
            value: Wiped::new(value),
            spot: Spot::default(),
            folder: folder.map(Arc::from),
            earlier: Vec::new(),
        };
        self.sections[index].entries.insert(key.to_ascii_lowercase().into(), entry);
        Ok(())
    }
}

fn refused(status: Status, text: says::Text) -> Error {
    Error::new(status, text.to_string())
}

fn checked<'a>(text: &'a str, what: &str) -> Result<&'a str, Error> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(refused(Status::Argument, says::no_line_end(what)));
    }
    if text.len() > MOST_LINE_BYTES {
        return Err(refused(Status::Argument, says::long_text(what, MOST_LINE_BYTES)));
    }
    Ok(text.trim_matches(BLANKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        let mut document = Document::default();
        let loaded = document.load(text.as_bytes(), "test.ini", None);
        loaded.expect("the test gives text");
        document
    }

    fn names(document: &Document) -> Vec<&str> {
        document.sections.iter().map(|s| s.canonical.as_str()).collect()
    }

    #[test]
    fn set_replaces_what_the_files_say() {
        let mut document = document("[Runtime]\na=1\nA=2\n");
        document.set("RUNTIME", "a", " 3 ", None).expect("the section exists");
        let entry = document.sections[0].entry("A").expect("it is set");
        assert_eq!((&*entry.value, entry.spot.line, entry.earlier.len()), ("3", 0, 0));
    }

    #[test]
    fn only_blanks_and_tabs_around_a_name_are_trimmed_when_it_is_set_and_when_it_is_asked_for() {
        let mut config = crate::config::Config::new();
        for (section, key) in [(" T ", "\ta "), ("\u{b}T", "\u{b}a"), ("T\u{a0}", "a\u{2003}")] {
            config.set(section, key, "1").expect("no line end in it");
            assert_eq!(config.get(section, key).as_deref(), Some("1"), "{section:?} {key:?}");
        }
    }

    #[test]
    fn set_makes_a_section_but_never_a_port() {
        let mut document = document("");
        document.set("Tls", "a", "1", None).expect("the section is made");
        assert_eq!(names(&document), ["Tls"]);
        let error = document.set("Port1", "a", "1", None).expect_err("no such port");
        assert_eq!(error.status, Status::NotFound);
        for (section, key, value) in
            [("", "a", "1"), ("T", "", "1"), ("T", "a=b", "1"), ("T", "a", "1\n2")]
        {
            let error = document.set(section, key, value, None).expect_err("bad argument");
            assert_eq!(error.status, Status::Argument);
        }
    }

    #[test]
    fn added_ports_get_canonical_names() {
        let mut document = document("[Port]\n");
        let mut add = |name| document.add_port(name).map_err(|error| error.status);
        assert_eq!(add(""), Ok("Port.#2".into()));
        assert_eq!(add("port"), Ok("Port.#3".into()));
        assert_eq!(add("Port 4"), Ok("Port.4".into()));
        assert_eq!(add("web"), Ok("Port.web".into()));
        assert_eq!(add("Port.WEB"), Err(Status::Argument));
        assert_eq!(add("Port."), Err(Status::Argument));
    }
}
