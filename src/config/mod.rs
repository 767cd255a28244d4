//! The configuration: INI files and what the program sets, checked and typed.
//!
//! In the order in which a file walks it: `source` (its bytes), `scan` (bytes to lines), `values`
//! (through rust-ini), `document` (raw sections, `name`s made canonical; `edit` is
//! what the program adds), `check` (one section
//! against `keys`, whose types are in `kind`, `units` and `address`; `hint` knows what is legal and doubtful),
//! `resolve` (what sections mean together; `overlap`: ports that exclude each other), `settings`. A `finding` is
//! what is wrong or doubtful; its words are in `says`, texts of the file in it are shown by `text`, and never if
//! they may be a `secret`.
//!
//! Promises: no setting is ignored silently, and no file but the INI file is touched. Time and memory
//! grow with the text and no faster (`work` counts that), and both are bounded.
//! Binding, certificates, cipher suite and group names are left to those who use them.

mod address;
mod check;
mod document;
mod edit;
mod finding;
mod hint;
pub mod keys;
mod kind;
mod material;
mod name;
mod overlap;
mod resolve;
mod says;
mod scan;
mod secret;
mod settings;
mod source;
mod text;
mod units;
mod values;
pub(crate) mod work;

pub(crate) use address::BindAddress;
pub use finding::{Finding, Origin, Severity};
pub use kind::Kind;
pub(crate) use material::load_tls;
pub use settings::{
    AccepterPriority, AlpnMismatch, CallbackThreads, Compression, KeyPermissions, LogLevel,
    PortSettings, RuntimeSettings, Settings, SslMode, TlsSettings, TlsVersion,
};
pub use source::MOST_BYTES;

use crate::status::{Error, Status};
use document::Document;
use finding::Findings;
use keys::{DefaultValue, SectionType};
use scan::BLANKS;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// A configuration that files and the program fill, in this order or another. A copy is made when one of
/// both is changed: it goes its own way when one of both is changed.
#[derive(Clone, Default)]
pub struct Config {
    document: Arc<Document>,
    derived: Arc<Derived>,
}

/// What follows from the document, made when it is first asked for.
#[derive(Default)]
struct Derived {
    resolved: OnceLock<Resolved>,
    tls_sections: OnceLock<HashSet<usize>>,
}

struct Resolved {
    settings: Settings,
    findings: Findings,
    in_order: Vec<Finding>,
    /// The names of all ports, as findings have them.
    ports: HashSet<String>,
}

/// A file that was read and not yet taken.
pub(crate) struct FileText {
    bytes: Zeroizing<Vec<u8>>,
    name: String,
    folder: Option<PathBuf>,
}

/// Without values and what follows from them.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

impl Config {
    /// An empty one: no ports, and the defaults of `[Runtime]`.
    pub fn new() -> Config {
        Config::default()
    }

    /// Reads a file, or a pipe, which may take 5 s; 8 MiB at most. What is wrong inside it, `resolve`
    /// tells; an error here means that the file cannot be read as text, and nothing of it was taken.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.load_read(Config::read_file(path.as_ref())?)
    }

    /// Waits as `load_file`, which does this and `load_read`.
    pub(crate) fn read_file(path: &Path) -> Result<FileText, Error> {
        let name = path.to_string_lossy().into_owned();
        let shown = text::path(&name);
        let refused = |unread: source::Unread| Error {
            status: Status::ConfigFile,
            os_error: unread.os_error,
            tls_alert: -1,
            message: format!("{shown}: error: {}", unread.text),
        };
        let read = source::read(path, source::PIPE_WAIT).map_err(refused)?;
        let absolute = std::path::absolute(path)
            .map_err(|error| refused(source::Unread::because(path, error)))?;
        let folder = absolute.parent().filter(|_| read.is_file).map(Path::to_path_buf);
        Ok(FileText { bytes: read.bytes, name, folder })
    }

    /// Takes what `read_file` has read. Waits for nothing.
    pub(crate) fn load_read(&mut self, file: FileText) -> Result<(), Error> {
        self.load_text(&file.bytes, &file.name, file.folder)
    }

    /// Reads a text as if it were a file of this name. Relative paths in it start at the
    /// process's working folder at this time.
    pub fn load_string(&mut self, text: &[u8], name: &str) -> Result<(), Error> {
        self.load_text(text, name, None)
    }

    /// Reads a text as if it were a file of this name, in this folder: relative paths in it
    /// start there, or with `None` at the process's working folder at this time.
    pub fn load_text(
        &mut self,
        text: &[u8],
        name: &str,
        folder: Option<PathBuf>,
    ) -> Result<(), Error> {
        let folder = folder.or_else(working_folder);
        self.document_mut().load(text, name, folder.as_deref())
    }

    /// Adds an empty port section after the others and gives its canonical name. An
    /// empty name makes a further bare `[Port]`, `web` makes `[Port.web]`.
    pub fn add_port(&mut self, name: &str) -> Result<String, Error> {
        self.document_mut().add_port(name)
    }

    /// Sets a key, in place of what files say. The section is named canonically, in any
    /// case; it is made if there is none, unless it is a port: `NotFound` then. Whether
    /// key and value are right, `resolve` tells.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), Error> {
        let folder = working_folder();
        self.document_mut().set(section, key, value, folder.as_deref())
    }

    /// The document, for a change: nothing follows from it any more.
    fn document_mut(&mut self) -> &mut Document {
        self.derived = Arc::default();
        Arc::make_mut(&mut self.document)
    }

    /// The effective value as a text, defaults included. Empty if the key exists and
    /// has nothing; `None` if there is no such section or key, or the key is required
    /// and missing. Keys of the host's own sections can be asked for too.
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let (section, key) = (section.trim_matches(BLANKS), key.trim_matches(BLANKS));
        let index = self.document.find_index(section);
        let found = index.map(|index| &self.document.sections[index]);
        if let Some(entry) = found.and_then(|found| found.entry(key)) {
            return Some(entry.value.to_string());
        }
        let kind = match found {
            Some(found) if found.is_port => SectionType::Port,
            _ if section.eq_ignore_ascii_case(resolve::RUNTIME) => SectionType::Runtime,
            Some(_) if index.is_some_and(|index| self.is_tls(index)) => SectionType::Tls,
            _ => return None,
        };
        match kind.key(key)?.default {
            DefaultValue::SameAs(other) => self.get(section, other),
            default => check::default_text(default),
        }
    }

    /// The canonical names of the ports, in file order.
    pub fn port_names(&self) -> Vec<String> {
        self.document.ports().map(|section| section.canonical.clone()).collect()
    }

    /// How many ports there are.
    pub fn port_count(&self) -> usize {
        self.document.ports().len()
    }

    /// The canonical name of the port at this place in the order of files.
    pub fn port_name(&self, index: usize) -> Option<&str> {
        self.document.port(index).map(|section| section.canonical.as_str())
    }

    /// The name of the port at this place as its file writes it.
    pub fn port_written_name(&self, index: usize) -> Option<&str> {
        self.document.port(index).map(|section| section.written.as_str())
    }

    /// As `resolved`, as copies.
    pub fn resolve(&self) -> (Settings, Vec<Finding>) {
        let (settings, findings) = self.resolved();
        (settings.clone(), findings.to_vec())
    }

    /// As `resolve`, whatever was resolved before.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn resolve_anew(&self) -> (Settings, Vec<Finding>) {
        let (settings, findings) = resolve::resolve(&self.document);
        (settings, findings.finish(&self.document))
    }

    /// Checks everything and gives the settings with all findings in file order, up to 1,000 errors and
    /// 1,000 warnings. If one
    /// of them is an error, the settings hold defaults where it is and must not be used.
    /// Touches no file. Takes no time if it was called since the last change.
    pub fn resolved(&self) -> (&Settings, &[Finding]) {
        let Resolved { settings, in_order, .. } = self.derived();
        (settings, in_order)
    }

    /// The findings that are not about other ports than this one.
    pub fn findings_for(&self, port: usize) -> impl Iterator<Item = &Finding> {
        let Resolved { settings, in_order, ports, .. } = self.derived();
        let own = settings.ports.get(port).map(|port| text::section(&port.written));
        in_order.iter().filter(move |finding| {
            Some(&finding.section) == own.as_ref() || !ports.contains(&finding.section)
        })
    }

    fn derived(&self) -> &Resolved {
        self.derived.resolved.get_or_init(|| {
            let (settings, findings) = resolve::resolve(&self.document);
            let in_order = findings.clone().finish(&self.document);
            let ports = settings.ports.iter().map(|port| text::section(&port.written)).collect();
            Resolved { settings, findings, in_order, ports }
        })
    }

    /// The names of the ports as the file writes them, in file order.
    pub fn port_written_names(&self) -> Vec<String> {
        self.document.ports().map(|section| section.written.clone()).collect()
    }

    /// Everything that can be said without binding: `resolve`, then the files that TLS
    /// sections name, each section once.
    pub fn check(&self) -> Vec<Finding> {
        let Resolved { settings, findings, .. } = self.derived();
        let mut findings = findings.clone();
        let mut seen = HashSet::new();
        for tls in settings.ports.iter().filter_map(|port| port.tls.as_ref()) {
            if !seen.insert(Arc::as_ptr(tls)) || findings.has_error(&tls.section) {
                continue;
            }
            match load_tls(tls, crate::tls::expiry::unix_now_s()) {
                Ok((_, warnings)) => {
                    warnings.into_iter().for_each(|warning| findings.push(warning))
                }
                Err(error) => findings.push(*error),
            }
        }
        findings.finish(&self.document)
    }

    /// The finding that there is no port section, for programs that serve the file.
    pub fn finding_if_no_port(&self) -> Option<Finding> {
        let text = match self.document.sections.as_slice() {
            _ if self.port_count() > 0 => return None,
            [] => says::no_section(),
            sections => says::no_port_section(resolve::list_of(sections.iter())),
        };
        let file = self.document.sources.last().cloned().unwrap_or_default();
        let spot = document::Spot { file, line: 0 };
        Some(Finding::new(Severity::Error, &spot, "", text))
    }

    fn is_tls(&self, index: usize) -> bool {
        let sections = &self.derived.tls_sections;
        sections.get_or_init(|| self.document.tls_sections()).contains(&index)
    }
}

/// Where relative paths start that stand in no file. It may have been removed: then they stay as they are.
fn working_folder() -> Option<PathBuf> {
    std::env::current_dir().ok()
}
