//! The configuration: INI files and what the program sets, checked and typed.
//!
//! In the order in which a file walks it: `scan` (bytes to lines), `values` (through
//! rust-ini), `document` (raw sections, `name`s made canonical; `edit` is
//! what the program adds), `check` (one section
//! against `keys`, whose types are in `kind`, `units` and `address`), `resolve` (what sections mean
//! together; `overlap`: ports that exclude each other), `settings`. A `finding` is what is wrong or doubtful.
//!
//! Promises: no setting is ignored silently, and no file but the INI file is touched.
//! Binding, certificates, cipher suite and group names are left to those who use them.

mod address;
mod check;
mod document;
mod edit;
mod finding;
pub mod keys;
mod kind;
mod material;
mod name;
mod overlap;
mod resolve;
mod scan;
mod settings;
mod units;
mod values;

pub(crate) use address::BindAddress;
pub use finding::{Finding, Origin, Severity};
pub use kind::Kind;
pub(crate) use material::load_tls;
pub use settings::{
    AccepterPriority, AlpnMismatch, Compression, KeyPermissions, LogLevel, PortSettings,
    RuntimeSettings, Settings, SslMode, TlsSettings, TlsVersion,
};

use crate::status::{Error, Status};
use document::{Document, Section};
use keys::{DefaultValue, SectionType};
use scan::BLANKS;
use std::path::{Path, PathBuf};

/// A configuration that files and the program fill, in this order or another.
#[derive(Clone, Debug, Default)]
pub struct Config {
    document: Document,
}

impl Config {
    /// An empty one: no ports, and the defaults of `[Runtime]`.
    pub fn new() -> Config {
        Config::default()
    }

    /// Reads a file. What is wrong inside it, `resolve` tells; an error here means that
    /// the file cannot be read as text, and nothing of it was taken.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| Error {
            status: Status::ConfigFile,
            os_error: error.raw_os_error().unwrap_or(0),
            tls_alert: -1,
            message: format!("{name}: error: the configuration file cannot be read: {error}"),
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        self.load_text(&bytes, &name, absolute.parent().map(Path::to_path_buf))
    }

    /// Reads a text as if it were a file of this name. Relative paths in it start at the
    /// process's working folder.
    pub fn load_string(&mut self, text: &[u8], name: &str) -> Result<(), Error> {
        self.load_text(text, name, None)
    }

    /// Reads a text as if it were a file of this name, in this folder: relative paths in it
    /// start there, or with `None` at the process's working folder.
    pub fn load_text(
        &mut self,
        text: &[u8],
        name: &str,
        folder: Option<PathBuf>,
    ) -> Result<(), Error> {
        self.document.load(text, name, folder)
    }

    /// Adds an empty port section behind the others and gives its canonical name. An
    /// empty name makes a further bare `[Port]`, `web` makes `[Port.web]`.
    pub fn add_port(&mut self, name: &str) -> Result<String, Error> {
        self.document.add_port(name)
    }

    /// Sets a key, in place of what files say. The section is named canonically, in any
    /// case; it is made if there is none, unless it is a port: `NotFound` then. Whether
    /// key and value are right, `resolve` tells.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), Error> {
        self.document.set(section, key, value)
    }

    /// The effective value as a text, defaults included. Empty if the key exists and
    /// has nothing; `None` if there is no such section or key, or the key is required
    /// and missing. Keys of the host's own sections can be asked for too.
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let (section, key) = (section.trim_matches(BLANKS), key.trim_matches(BLANKS));
        let found = self.document.find(section);
        let kind = match found {
            Some(found) if found.is_port => Some(SectionType::Port),
            _ if section.eq_ignore_ascii_case(resolve::RUNTIME) => Some(SectionType::Runtime),
            Some(found) if self.is_tls(found) => Some(SectionType::Tls),
            _ => None,
        };
        if let Some(entry) = found.and_then(|found| found.entry(key)) {
            return Some(entry.value.clone());
        }
        match kind?.key(key)?.default {
            DefaultValue::SameAs(other) => self.get(section, other),
            default => check::default_text(default),
        }
    }

    /// The canonical names of the ports, in file order.
    pub fn port_names(&self) -> Vec<String> {
        let ports = self.document.ports();
        ports.map(|section| section.canonical.clone()).collect()
    }

    /// How many ports there are.
    pub fn port_count(&self) -> usize {
        self.document.ports().count()
    }

    /// Checks everything and gives the settings with all findings in file order. If one
    /// of them is an error, the settings hold defaults where it is and must not be used.
    /// Touches no file.
    pub fn resolve(&self) -> (Settings, Vec<Finding>) {
        resolve::resolve(&self.document)
    }

    /// The names of the ports as the file writes them, in file order.
    pub fn port_written_names(&self) -> Vec<String> {
        let ports = self.document.ports();
        ports.map(|section| section.written.clone()).collect()
    }

    /// Everything that can be said without binding: `resolve`, then the files that TLS
    /// sections name, each section once.
    pub fn check(&self) -> Vec<Finding> {
        let (settings, mut findings) = self.resolve();
        let mut seen: Vec<&str> = Vec::new();
        let all_tls = settings.ports.iter().filter_map(|port| port.tls.as_ref());
        let broken = |findings: &[Finding], tls: &TlsSettings| {
            let of_section = |f: &Finding| f.section.eq_ignore_ascii_case(&tls.section);
            findings.iter().any(|f| f.severity == Severity::Error && of_section(f))
        };
        for tls in all_tls {
            if seen.contains(&tls.section.as_str()) || broken(&findings, tls) {
                continue;
            }
            seen.push(&tls.section);
            match load_tls(tls) {
                Ok((_, warnings)) => findings.extend(warnings),
                Err(error) => findings.push(*error),
            }
        }
        findings
    }

    /// The finding that there is no port section, for programs that serve the file.
    pub fn finding_if_no_port(&self) -> Option<Finding> {
        (self.port_count() == 0).then(|| Finding {
            severity: Severity::Error,
            file: self.document.sources.last().cloned().unwrap_or_default(),
            line: 0,
            section: String::new(),
            key: String::new(),
            found: String::new(),
            message: match self.document.sections.as_slice() {
                [] => "there is no section at all".to_owned(),
                sections => {
                    let names = sections.iter().map(|section| format!("[{}]", section.written));
                    let names: Vec<String> = names.collect();
                    format!("there is no port section, only {}", names.join(", "))
                }
            },
            valid: "valid: [Port] with port = a number from 0 to 65535".to_owned(),
        })
    }

    fn is_tls(&self, section: &Section) -> bool {
        let mut references = self.document.ports().filter_map(|port| port.entry("sslSection"));
        references.any(|entry| {
            let named = resolve::tls_section(&self.document, &entry.value);
            named.is_some_and(|named| std::ptr::eq(named, section))
        })
    }
}
