//! The document: the raw sections of all sources, in file order.
//!
//! What the program adds and sets is in `edit`.
//!
//! Promises: nothing that a file says is lost, and every entry knows its place. Port
//! sections stay apart under canonical names, others with one name are one section.
//! Whether keys and values are right is left to `resolve`.

use super::finding::Origin;
use super::name::{Name, fold, name_of};
use super::scan::{BLANKS, Content, NotText, scan};
use super::values::Normalised;
use crate::status::{Error, Status};
use std::collections::HashMap;
use std::path::PathBuf;

/// All sections, and what could not become a part of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// In the order of files and lines; what the program added comes where it was added.
    pub sections: Vec<Section>,
    /// The names of the sources, in the order of loading.
    pub sources: Vec<String>,
    /// Lines that are an error whatever section they are in.
    pub broken: Vec<Broken>,
    /// How many `[Port]` there are.
    pub bare_ports: usize,
}

/// One section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The name that programs use.
    pub canonical: String,
    /// As the file writes it.
    pub written: String,
    /// The header.
    pub origin: Origin,
    /// Whether it is a port section.
    pub is_port: bool,
    /// The earlier port section with the same canonical name.
    pub duplicate_of: Option<Origin>,
    /// Further headers with this name.
    pub repeats: Vec<Origin>,
    /// In the order of lines; keys may repeat.
    pub entries: Vec<Entry>,
    /// Lines that are no header, key or comment.
    pub junk: Vec<Broken>,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As written.
    pub key: String,
    /// As written.
    pub value: String,
    /// The line.
    pub origin: Origin,
    /// Where relative paths start; `None` leaves them to the process's working folder.
    pub folder: Option<PathBuf>,
}

/// A line that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The line.
    pub origin: Origin,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A header without its end; the text.
    Header(String),
    /// `[Port.]`; the text.
    PortWithoutName(String),
    /// No header, key or comment; the text.
    Junk(String),
    /// A carriage return that ends no line.
    StrayReturn,
}

impl Document {
    /// Appends what this text says. On an error the document is as it was.
    pub(super) fn load(
        &mut self,
        bytes: &[u8],
        source: &str,
        folder: Option<PathBuf>,
    ) -> Result<(), Error> {
        let lines = scan(bytes).map_err(|NotText { line, message }| {
            Error::new(Status::ConfigFile, format!("{source}:{line}: error: {message}"))
        })?;
        let mut normalised = Normalised::new();
        for line in &lines {
            match &line.content {
                Content::Header(_) => normalised.begin_section(),
                Content::Entry { value, .. } => normalised.push(line.number, value),
                _ => {}
            }
        }
        let mut values: HashMap<u32, String> = normalised.read()?.into_iter().collect();

        self.sources.push(source.to_owned());
        let mut current = Place::BeforeFirstHeader;
        for line in lines {
            let origin = Origin { file: source.to_owned(), line: line.number };
            match line.content {
                Content::Blank | Content::Comment => {}
                Content::Header(name) => current = self.begin(&name, origin),
                Content::BrokenHeader(text) => {
                    // A file with the line ends of the old Mac is one such line.
                    let fault = match text.contains('\r') {
                        true => Fault::StrayReturn,
                        false => Fault::Header(text),
                    };
                    self.broken.push(Broken { origin, fault });
                    current = Place::Nowhere;
                }
                Content::Entry { key, .. } => {
                    if let Place::Section(index) = current {
                        // `read` gives every line that was pushed above.
                        let value = values.remove(&line.number).unwrap_or_default();
                        let folder = folder.clone();
                        self.sections[index].entries.push(Entry { key, value, origin, folder });
                    }
                }
                Content::Junk(text) => {
                    if let Place::Section(index) = current {
                        let fault = Fault::Junk(text);
                        self.sections[index].junk.push(Broken { origin, fault });
                    }
                }
                Content::StrayReturn => {
                    let fault = Fault::StrayReturn;
                    match current {
                        Place::Section(index) => {
                            self.sections[index].junk.push(Broken { origin, fault });
                        }
                        // Such a line may hide every header of the file.
                        Place::BeforeFirstHeader => self.broken.push(Broken { origin, fault }),
                        Place::Nowhere => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, written: &str, origin: Origin) -> Place {
        let (canonical, is_port) = match name_of(written) {
            Name::Unnamed => {
                let fault = Fault::PortWithoutName(written.to_owned());
                self.broken.push(Broken { origin, fault });
                return Place::Nowhere;
            }
            Name::BarePort => (self.next_bare_port(), true),
            Name::Port(name) => (name, true),
            Name::Other(name) => (name, false),
        };
        let earlier = self.index_of(&canonical);
        match earlier {
            Some(index) if !is_port => {
                self.sections[index].repeats.push(origin);
                Place::Section(index)
            }
            _ => {
                let duplicate_of = earlier.map(|index| self.sections[index].origin.clone());
                self.sections.push(Section {
                    duplicate_of,
                    ..Section::new(canonical, written.to_owned(), origin, is_port)
                });
                Place::Section(self.sections.len() - 1)
            }
        }
    }

    /// The canonical name of one more `[Port]`.
    pub(super) fn next_bare_port(&mut self) -> String {
        self.bare_ports += 1;
        match self.bare_ports {
            1 => "Port".to_owned(),
            n => format!("Port.#{n}"),
        }
    }

    /// The section of this name, canonical or as a file may write it.
    pub(super) fn find(&self, section: &str) -> Option<&Section> {
        self.find_index(section).map(|index| &self.sections[index])
    }

    /// The port sections in file order, those with a name of an earlier one left out.
    pub(super) fn ports(&self) -> impl Iterator<Item = &Section> {
        let ports = self.sections.iter().filter(|section| section.is_port);
        ports.filter(|section| section.duplicate_of.is_none())
    }

    /// Where `find` finds it.
    pub(super) fn find_index(&self, section: &str) -> Option<usize> {
        match name_of(section.trim_matches(BLANKS)) {
            Name::Unnamed => None,
            Name::BarePort => self.index_of("Port"),
            Name::Port(canonical) | Name::Other(canonical) => self.index_of(&canonical),
        }
    }

    /// Where the section with this canonical name is.
    pub(super) fn index_of(&self, canonical: &str) -> Option<usize> {
        let wanted = fold(canonical);
        let same = |section: &Section| fold(&section.canonical) == wanted;
        self.sections.iter().position(same)
    }
}

impl Section {
    /// An empty section.
    pub(super) fn new(
        canonical: String,
        written: String,
        origin: Origin,
        is_port: bool,
    ) -> Section {
        Section {
            canonical,
            written,
            origin,
            is_port,
            duplicate_of: None,
            repeats: Vec::new(),
            entries: Vec::new(),
            junk: Vec::new(),
        }
    }

    /// The entry of this key that counts: the last one.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter().rev();
        entries.find(|entry| entry.key.eq_ignore_ascii_case(key))
    }
}

/// Where the scanned line belongs.
enum Place {
    BeforeFirstHeader,
    Section(usize),
    /// Behind a header that cannot be read.
    Nowhere,
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
    fn the_nth_bare_port_has_a_number_and_file_order_counts() {
        let document = document("[Port]\n[port9]\n[Runtime]\n[PORT]\n[Port]\n");
        assert_eq!(names(&document), ["Port", "Port.9", "Runtime", "Port.#2", "Port.#3"]);
    }

    #[test]
    fn the_name_as_written_and_the_place_are_kept() {
        let document = document("\n[ pOrt 7 ]\n\nKey = Value\n");
        let section = &document.sections[0];
        assert_eq!((section.written.as_str(), section.origin.line), ("pOrt 7", 2));
        let entry = &section.entries[0];
        assert_eq!((entry.key.as_str(), entry.value.as_str()), ("Key", "Value"));
        assert_eq!(entry.origin, Origin { file: "test.ini".into(), line: 4 });
    }

    #[test]
    fn the_same_canonical_port_name_twice_is_kept_apart() {
        let document = document("[Port1]\nport=1\n[Port.1]\nport=2\n");
        let first = document.sections[1].duplicate_of.as_ref().map(|origin| origin.line);
        assert_eq!(first, Some(1));
        assert_eq!(document.ports().count(), 1);
    }

    #[test]
    fn other_repeated_sections_merge_and_the_last_value_counts() {
        let document = document("[Tls]\na=1\nb=1\n[x]\n[TLS]\na=2\n");
        assert_eq!(names(&document), ["Tls", "x"]);
        let tls = &document.sections[0];
        assert_eq!(tls.repeats.len(), 1);
        let value = |key| tls.entry(key).map(|entry| entry.value.as_str());
        assert_eq!((value("A"), value("b"), value("c")), (Some("2"), Some("1"), None));
    }

    #[test]
    fn a_backslash_at_the_end_of_a_value_does_not_swallow_the_next_line() {
        let document = document("[A]\na = C:\\certs\\\nb = 1\n");
        assert_eq!(document.sections[0].entries[0].value, "C:\\certs\\");
        assert_eq!(document.sections[0].entries[1].value, "1");
    }

    #[test]
    fn a_text_that_cannot_be_read_leaves_the_document_as_it_was() {
        let mut document = document("[Port]\n");
        let error = document.load(b"[A]\n\0", "b.ini", None).expect_err("NUL");
        assert_eq!(error.status, Status::ConfigFile);
        assert!(error.message.starts_with("b.ini:2: error: "), "{error}");
        assert_eq!(names(&document), ["Port"]);
    }
}
