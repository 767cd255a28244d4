//! What the program itself adds to a document.
//!
//! Promises: an argument that could not stand in a file is refused, and a refused call
//! changes nothing. Whether keys and values are right is left to `resolve`.

use super::document::{Document, Entry, Section};
use super::finding::Origin;
use super::name::{Name, name_of};
use super::scan::BLANKS;
use crate::status::{Error, Status};

impl Document {
    /// Adds an empty port section; gives its canonical name. An empty name, or `Port`,
    /// is the next bare one.
    pub(super) fn add_port(&mut self, name: &str) -> Result<String, Error> {
        let name = checked(name, "the name of a port section")?;
        let before = self.bare_ports;
        let canonical = match name_of(name) {
            _ if name.is_empty() => self.next_bare_port(),
            Name::BarePort => self.next_bare_port(),
            Name::Port(canonical) => canonical,
            Name::Other(name) => format!("Port.{name}"),
            Name::Unnamed => {
                let message = "a port section needs a name behind the dot";
                return Err(Error::new(Status::Argument, message));
            }
        };
        if self.index_of(&canonical).is_some() {
            self.bare_ports = before;
            let message = format!("there is a section [{canonical}] already");
            return Err(Error::new(Status::Argument, message));
        }
        let written = canonical.clone();
        let section = Section::new(canonical.clone(), written, Origin::default(), true);
        self.sections.push(section);
        Ok(canonical)
    }

    /// Sets a key, in place of all that the files say about it. A section that is no
    /// port is made if there is none.
    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), Error> {
        let section = checked(section, "the name of a section")?;
        let key = checked(key, "a key")?;
        let value = checked(value, "a value")?;
        if section.is_empty() {
            let message = "no section is named; a port is added before its keys are set";
            return Err(Error::new(Status::Argument, message));
        }
        if key.is_empty() || key.contains('=') {
            let message = "a key is needed, and it has no '='";
            return Err(Error::new(Status::Argument, message));
        }
        let index = match (self.find_index(section), name_of(section)) {
            (Some(index), _) => index,
            (None, Name::Other(canonical)) => {
                let written = canonical.clone();
                let section = Section::new(canonical, written, Origin::default(), false);
                self.sections.push(section);
                self.sections.len() - 1
            }
            (None, _) => {
                let message = format!("there is no port section [{section}]; add it first");
                return Err(Error::new(Status::NotFound, message));
            }
        };
        let entries = &mut self.sections[index].entries;
        entries.retain(|entry| !entry.key.eq_ignore_ascii_case(key));
        entries.push(Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            origin: Origin::default(),
            folder: None,
        });
        Ok(())
    }
}

fn checked<'a>(text: &'a str, what: &str) -> Result<&'a str, Error> {
    if text.contains(['\n', '\r', '\0']) {
        let message = format!("{what} has no line end and no NUL");
        return Err(Error::new(Status::Argument, message));
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
        document.set("RUNTIME", "a", " 3 ").expect("the section exists");
        let entries = &document.sections[0].entries;
        assert_eq!((entries.len(), entries[0].value.as_str()), (1, "3"));
        assert_eq!(entries[0].origin, Origin::default());
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
        document.set("Tls", "a", "1").expect("the section is made");
        assert_eq!(names(&document), ["Tls"]);
        let error = document.set("Port1", "a", "1").expect_err("no such port");
        assert_eq!(error.status, Status::NotFound);
        for (section, key, value) in
            [("", "a", "1"), ("T", "", "1"), ("T", "a=b", "1"), ("T", "a", "1\n2")]
        {
            let error = document.set(section, key, value).expect_err("bad argument");
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
