//! The document: the raw sections of all sources, in file order.
//!
//! What the program adds and sets is in `edit`.
//!
//! Promises: nothing that a file says is lost, and every entry knows its place. Port
//! sections stay apart under canonical names, others with one name are one section. The work grows with
//! the text, and no faster. Whether keys and values are right is left to `resolve`.

use super::finding::Origin;
use super::name::{Name, fold, name_of};
use super::says;
use super::scan::{BLANKS, Content, Decoded, Fault, NotText, decode};
use super::secret::Wiped;
use super::source::MOST_BYTES;
use super::values::Passage;
use super::work::count;
use super::{resolve, text};
use crate::base::canary::{self, Canary};
use crate::status::{Error, Status};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Of a text, blank lines and comments left out: each costs some hundred bytes.
const MOST_LINES: usize = 100_000;

/// All sections, and what could not become a part of one.
#[derive(Clone, Default)]
pub(super) struct Document {
    /// In the order of files and lines; what the program added comes where it was added.
    pub sections: Vec<Section>,
    /// The names of the sources, in the order of loading.
    pub sources: Vec<Arc<str>>,
    /// Lines that are an error whatever section they are in.
    pub broken: Vec<Broken>,
    /// How many `[Port]` there are.
    bare_ports: usize,
    /// Where the first section of each canonical name is; in folded names.
    index: HashMap<Box<str>, usize>,
    /// Where the port sections are, those with a name of an earlier one left out.
    ports: Vec<usize>,
}

/// The place of a section or key, small since there is one for each key.
#[derive(Clone, Debug, Default)]
pub(super) struct Spot {
    /// Empty if the program set the value.
    pub file: Arc<str>,
    /// From 1; 0 if the program set the value.
    pub line: u32,
}

impl Spot {
    pub(super) fn origin(&self) -> Origin {
        Origin { file: self.file.to_string(), line: self.line }
    }

    /// The place of something earlier, within a sentence.
    pub(super) fn in_words(&self) -> String {
        match self.line {
            0 => "by the program".to_owned(),
            line => format!("in {}:{line}", self.file),
        }
    }

    /// What became of something earlier, within a sentence.
    pub(super) fn stands(&self) -> String {
        match self.line {
            0 => "was set by the program".to_owned(),
            _ => format!("stands {}", self.in_words()),
        }
    }
}

/// One section.
#[derive(Clone)]
pub(super) struct Section {
    /// The name that programs use.
    pub canonical: String,
    /// As the file writes it, with invisible characters escaped: for messages.
    pub written: String,
    /// The header.
    pub spot: Spot,
    /// Whether it is a port section.
    pub is_port: bool,
    /// The earlier port section with the same canonical name.
    pub duplicate_of: Option<Spot>,
    /// Further headers with this name.
    pub repeats: Vec<Spot>,
    /// By their keys in lower case.
    pub entries: BTreeMap<Box<str>, Entry>,
    /// Lines that are no header, key or comment.
    pub broken: Vec<Broken>,
}

/// One key with its value, the last one that was given.
#[derive(Clone)]
pub(super) struct Entry {
    /// As written.
    pub key: Box<str>,
    /// As written.
    pub value: Wiped,
    /// The line.
    pub spot: Spot,
    /// Where relative paths start; `None` leaves them to the process's working folder.
    pub folder: Option<Arc<Path>>,
    /// The places where the key was given before.
    pub earlier: Vec<Spot>,
}

/// A line that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The line.
    pub spot: Spot,
    /// What is wrong.
    pub fault: Fault,
}

/// Without values, and without names that may hold a key by mistake.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut document = f.debug_struct("Document");
        document.field("sources", &self.sources).field("broken", &self.broken.len());
        for section in &self.sections {
            document.field("written", &text::name(&section.written)).field("spot", &section.spot);
            document.field("keys", &section.entries.len()).field("broken", &section.broken.len());
        }
        document.finish()
    }
}

impl Document {
    /// Appends what this text says. On an error the document is as it was.
    pub(super) fn load(
        &mut self,
        bytes: &[u8],
        source: &str,
        folder: Option<&Path>,
    ) -> Result<(), Error> {
        let source = &text::path(source);
        let refused = |place: String, text: says::Text| {
            Error::new(Status::ConfigFile, format!("{place}: error: {text}"))
        };
        if bytes.len() > MOST_BYTES {
            return Err(refused(source.clone(), says::too_large(MOST_BYTES >> 20)));
        }
        let decoded = decode(bytes)
            .map_err(|NotText { line, text }| refused(format!("{source}:{line}"), text))?;
        let mut passage = Passage::new();
        for (before, line) in decoded.lines().enumerate() {
            if before == MOST_LINES {
                let place = format!("{source}:{}", line.number);
                return Err(refused(place, says::too_many_lines(MOST_LINES)));
            }
            if let Content::Entry { key, value } = line.content {
                passage.push(key, value)?;
            }
        }
        self.append(&decoded, passage.finish()?, source, folder);
        Ok(())
    }

    fn append(
        &mut self,
        decoded: &Decoded,
        values: Vec<Wiped>,
        source: &str,
        folder: Option<&Path>,
    ) {
        let mut values = values.into_iter();
        let (file, folder) = (Arc::<str>::from(source), folder.map(Arc::<Path>::from));
        self.sources.push(file.clone());
        let mut current = Place::BeforeFirstHeader;
        for line in decoded.lines() {
            let spot = Spot { file: file.clone(), line: line.number };
            match line.content {
                Content::Header(name) => current = self.begin(name, spot),
                Content::Entry { key, .. } => {
                    // There is a value for each entry.
                    let value = values.next().unwrap_or_else(|| Wiped::new(""));
                    if let Place::Section(index) = current {
                        let folder = folder.clone();
                        self.sections[index].add(key, value, spot, folder);
                    }
                }
                Content::Broken(fault) => {
                    let may_be_header = fault.may_be_header();
                    // Such a line may hide every header of the file.
                    let hides = matches!(fault, Fault::StrayReturn { .. } | Fault::StrayBreak(_));
                    let anywhere = may_be_header || fault == Fault::LongLine;
                    let broken = Broken { spot, fault };
                    match current {
                        _ if anywhere => self.broken.push(broken),
                        Place::Section(index) => self.sections[index].broken.push(broken),
                        Place::BeforeFirstHeader if hides => self.broken.push(broken),
                        Place::BeforeFirstHeader | Place::Nowhere => {}
                    }
                    if may_be_header {
                        current = Place::Nowhere;
                    }
                }
            }
        }
    }

    fn begin(&mut self, written: &str, spot: Spot) -> Place {
        let (canonical, is_port) = match name_of(written) {
            Name::Unnamed => {
                let fault = Fault::PortWithoutName(text::quoted(&format!("[{written}]")));
                self.broken.push(Broken { spot, fault });
                return Place::Nowhere;
            }
            Name::BarePort => (self.next_bare_port(), true),
            Name::Port(name) => (name, true),
            Name::Other(name) => (name, false),
        };
        match self.index_of(&canonical) {
            Some(index) if !is_port => {
                self.sections[index].repeats.push(spot);
                Place::Section(index)
            }
            _ => Place::Section(self.push(canonical, written, spot, is_port)),
        }
    }

    /// Appends an empty section; gives where it is.
    pub(super) fn push(
        &mut self,
        canonical: String,
        written: &str,
        spot: Spot,
        is_port: bool,
    ) -> usize {
        let index = self.sections.len();
        let first = *self.index.entry(fold(&canonical).into()).or_insert(index);
        let duplicate_of = (first != index).then(|| self.sections[first].spot.clone());
        if is_port && duplicate_of.is_none() {
            self.ports.push(index);
        }
        self.sections.push(Section {
            canonical,
            written: text::written(written),
            spot,
            is_port,
            duplicate_of,
            repeats: Vec::new(),
            entries: BTreeMap::new(),
            broken: Vec::new(),
        });
        index
    }

    /// The canonical name of one more `[Port]`.
    pub(super) fn next_bare_port(&mut self) -> String {
        self.bare_ports += 1;
        match self.bare_ports {
            1 => "Port".to_owned(),
            n => format!("Port.#{n}"),
        }
    }

    /// Takes the last `next_bare_port` back.
    pub(super) fn forget_bare_port(&mut self) {
        self.bare_ports -= 1;
    }

    /// The section of this name, canonical or as a file may write it.
    pub(super) fn find(&self, section: &str) -> Option<&Section> {
        self.find_index(section).map(|index| &self.sections[index])
    }

    /// The port sections in file order, those with a name of an earlier one left out.
    pub(super) fn ports(&self) -> impl ExactSizeIterator<Item = &Section> {
        self.ports.iter().map(|&index| &self.sections[index])
    }

    /// The port section at this place among them.
    pub(super) fn port(&self, place: usize) -> Option<&Section> {
        self.ports.get(place).map(|&index| &self.sections[index])
    }

    /// Where the sections are that an `sslSection` names.
    pub(super) fn tls_sections(&self) -> HashSet<usize> {
        let ports = self.sections.iter().filter(|section| section.is_port);
        let references = ports.filter_map(|port| port.entry("sslSection"));
        references.filter_map(|entry| resolve::tls_section(self, &entry.value)).collect()
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
        count(canonical.len());
        let wanted = fold(canonical);
        if canary::is_on(Canary::SearchedNames) {
            return self.sections.iter().position(|section| {
                // A copy of the name.
                count(section.canonical.len() + 32);
                fold(&section.canonical) == wanted
            });
        }
        self.index.get(wanted.as_str()).copied()
    }
}

impl Section {
    /// The entry of this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key.to_ascii_lowercase().as_str())
    }

    /// Adds a key of a file; the last one counts.
    fn add(&mut self, key: &str, value: Wiped, spot: Spot, folder: Option<Arc<Path>>) {
        count(key.len());
        let entry = Entry { key: key.into(), value, spot, folder, earlier: Vec::new() };
        let name = key.to_ascii_lowercase().into_boxed_str();
        match self.entries.entry(name) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(entry);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let last = place.get_mut();
                let before = std::mem::replace(last, entry);
                // Another file may repeat what the program has set.
                last.earlier = before.earlier;
                last.earlier.push(before.spot);
            }
        }
    }
}

/// Where the scanned line belongs.
#[derive(Clone, Copy)]
enum Place {
    BeforeFirstHeader,
    Section(usize),
    /// After a header that cannot be read.
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
        assert_eq!((section.written.as_str(), section.spot.line), ("pOrt 7", 2));
        let entry = section.entry("KEY").expect("it is there");
        assert_eq!((&*entry.key, &*entry.value), ("Key", "Value"));
        assert_eq!(entry.spot.origin(), Origin { file: "test.ini".into(), line: 4 });
    }

    #[test]
    fn the_same_canonical_port_name_twice_is_kept_apart() {
        let document = document("[Port1]\nport=1\n[Port.1]\nport=2\n");
        let first = document.sections[1].duplicate_of.as_ref().map(|spot| spot.line);
        assert_eq!(first, Some(1));
        assert_eq!(document.ports().count(), 1);
    }

    #[test]
    fn other_repeated_sections_merge_and_the_last_value_counts() {
        let document = document("[Tls]\na=1\nb=1\n[x]\n[TLS]\na=2\n");
        assert_eq!(names(&document), ["Tls", "x"]);
        let tls = &document.sections[0];
        assert_eq!(tls.repeats.len(), 1);
        let value = |key| tls.entry(key).map(|entry| entry.value.to_string());
        assert_eq!(
            (value("A"), value("b"), value("c")),
            (Some("2".into()), Some("1".into()), None)
        );
    }

    #[test]
    fn a_backslash_at_the_end_of_a_value_does_not_swallow_the_next_line() {
        let document = document("[A]\na = C:\\certs\\\nb = 1\n");
        let value = |key| document.sections[0].entry(key).map(|entry| entry.value.to_string());
        assert_eq!((value("a"), value("b")), (Some("C:\\certs\\".into()), Some("1".into())));
    }

    #[test]
    fn a_text_that_cannot_be_read_leaves_the_document_as_it_was() {
        let mut document = document("[Port]\n");
        let error = document.load(b"[A]\n\0", "b.ini", None).expect_err("NUL");
        assert_eq!(error.status, Status::ConfigFile);
        assert!(error.message.starts_with("b.ini:2: error: "), "{error}");
        assert_eq!(names(&document), ["Port"]);
    }

    #[test]
    fn a_text_beyond_the_bounds_is_refused_and_leaves_the_document_as_it_was() {
        let mut document = document("[Port]\n");
        let mut refused = |text: &str| {
            let error = document.load(text.as_bytes(), "b.ini", None).expect_err("too much");
            assert_eq!((error.status, document.sections.len()), (Status::ConfigFile, 1));
            error.message
        };
        let large = refused(&"\n".repeat(MOST_BYTES + 1));
        assert!(large.starts_with("b.ini: error: the configuration is larger than 8 MiB; "));
        let long = refused(&"\n[]\n".repeat(MOST_LINES + 1));
        assert!(long.starts_with("b.ini:200002: error: the configuration has more than 100000 "));
    }

    #[test]
    fn debug_shows_no_value() {
        let document = document("[Runtime]\nlogLevel=hunter2\n");
        assert!(!format!("{document:?}").contains("hunter2"));
    }
}
