//! The certificates of a file: which is the server's own, and in which order all are sent.
//!
//! Promises: the first certificate that is sent is the one that the key belongs to; each other
//! one is sent exactly once; whatever differs from the file's order is a warning with the lines.
//! Names are compared byte by byte, signatures are not checked: clients do that.

use std::collections::{HashMap, HashSet};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

use super::pem::{Block, Content, Label};
use super::private_key::RSASSA_PSS;

/// A certificate of a file.
pub(super) struct Certificate<'a> {
    pub line: u32,
    pub der: &'a [u8],
    pub x509: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads a block that has the label of a certificate; the error is what is wrong with it.
    pub(super) fn read(block: &'a Block) -> Result<Certificate<'a>, &'static str> {
        let Content::Der(der) = &block.content else {
            return Err("this certificate is encrypted; get it without encryption");
        };
        let Ok((rest, x509)) = X509Certificate::from_der(der) else {
            return Err("this certificate is damaged, or is no X.509 certificate; copy it again");
        };
        // Behind a trusted certificate stands what OpenSSL trusts it for.
        if !rest.is_empty() && block.label != Label::TrustedCertificate {
            return Err("this certificate has further bytes behind its end; copy it again");
        }
        Ok(Certificate { line: block.line, der: &der[..der.len() - rest.len()], x509 })
    }

    /// Whether a key with this public key belongs to it.
    pub(super) fn has_key(&self, public_key: &SubjectPublicKeyInfo<'_>) -> bool {
        self.x509.public_key().subject_public_key.data == public_key.subject_public_key.data
    }

    /// Why the TLS library does not take it as a server's own; `place` is the file.
    pub(super) fn unusable(&self, public_key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
        // Counted from 0.
        let version = self.x509.version().0 + 1;
        if version != 3 {
            return Some(format!(
                "this certificate is X.509 version {version}, and TLS clients need version 3; make it again with a subjectAltName: openssl req -x509 -addext subjectAltName=DNS:NAME, or openssl x509 -req -extfile FILE where FILE says subjectAltName=DNS:NAME"
            ));
        }
        let own = self.x509.public_key();
        if own.algorithm.algorithm.to_id_string() == RSASSA_PSS {
            return Some("this certificate is for an RSASSA-PSS key, which the TLS library does not support; get one for an ordinary RSA key (rsaEncryption), with which TLS makes PSS signatures too: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEWFILE".to_owned());
        }
        (own.raw != public_key.raw).then(|| {
            "this certificate writes the parameters of its key in an unusual form, as explicit parameters of a curve; get one for a key with a named curve: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE".to_owned()
        })
    }
}

/// The chain that is sent, its positions in `all`, and warnings.
pub(super) struct Chain {
    pub order: Vec<usize>,
    /// What is to be told, with the line it begins with.
    pub warnings: Vec<(u32, String)>,
}

/// Puts `leaf` first and each other certificate in the file's order if it has a meaning, or else
/// behind the one that it issued.
pub(super) fn order(all: &[Certificate<'_>], leaf: usize) -> Chain {
    let mut warnings = Vec::new();
    let mut seen = HashSet::from([all[leaf].der]);
    let mut repeated = Vec::new();
    let mut kept = Vec::new();
    for (at, certificate) in all.iter().enumerate() {
        if at == leaf || seen.insert(certificate.der) {
            kept.push(at);
        } else {
            repeated.push(certificate.line);
        }
    }
    let (mut sorted, lone) = issuers_first_come(all, &kept, leaf);
    let order = if is_chain(all, &kept, &sorted, leaf) {
        kept
    } else {
        sorted.extend(&lone);
        let lines = |order: &[usize]| lines(order.iter().map(|&at| all[at].line));
        warnings.push((
            all[leaf].line,
            format!(
                "the certificate that the key belongs to and its issuers do not stand in order; they are sent in the order of lines {}; put them into this order",
                lines(&sorted)
            ),
        ));
        sorted
    };
    if let Some(&first) = repeated.first() {
        let text = format!(
            "certificates that stand in the file already are not sent again (lines {}); remove them",
            lines(repeated.iter().copied())
        );
        warnings.push((first, text));
    }
    if let Some(&first) = lone.first() {
        let text = format!(
            "certificates that are no issuers of the one that the key belongs to are sent too (lines {}); remove them, or add what is missing between",
            lines(lone.iter().map(|&at| all[at].line))
        );
        warnings.push((all[first].line, text));
    }
    Chain { order, warnings }
}

/// The leaf, its issuers, theirs, and so on; and what none of these leads to.
fn issuers_first_come(
    all: &[Certificate<'_>],
    kept: &[usize],
    leaf: usize,
) -> (Vec<usize>, Vec<usize>) {
    let mut by_subject: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for &at in kept.iter().filter(|&&at| at != leaf) {
        by_subject.entry(all[at].x509.subject().as_raw()).or_default().push(at);
    }
    let mut sorted = vec![leaf];
    let mut next = 0;
    while let Some(&at) = sorted.get(next) {
        // Each name is taken once.
        sorted.extend(by_subject.remove(all[at].x509.issuer().as_raw()).unwrap_or_default());
        next += 1;
    }
    let taken: HashSet<usize> = sorted.iter().copied().collect();
    let lone = kept.iter().copied().filter(|at| !taken.contains(at)).collect();
    (sorted, lone)
}

/// Whether in the file's order the leaf is first, and each of its issuers behind one it issued.
fn is_chain(all: &[Certificate<'_>], kept: &[usize], sorted: &[usize], leaf: usize) -> bool {
    let linked: HashSet<usize> = sorted.iter().copied().collect();
    let mut issuers = HashSet::from([all[leaf].x509.issuer().as_raw()]);
    kept.first() == Some(&leaf)
        && kept[1..].iter().filter(|at| linked.contains(at)).all(|&at| {
            let fits = issuers.contains(all[at].x509.subject().as_raw());
            issuers.insert(all[at].x509.issuer().as_raw());
            fits
        })
}

/// Owned copies in this order.
pub(super) fn owned(all: &[Certificate<'_>], order: &[usize]) -> Vec<CertificateDer<'static>> {
    order.iter().map(|&at| CertificateDer::from(all[at].der.to_vec())).collect()
}

/// Which of the certificates that a key belongs to is the server's own: a file may hold the key
/// of a CA, too.
pub(super) fn leaf_of(all: &[Certificate<'_>], matching: &[usize]) -> Option<usize> {
    matching.iter().find(|&&at| !all[at].x509.is_ca()).or(matching.first()).copied()
}

const MAX_SHOWN: usize = 8;

/// "1, 5, 9", cut if there are many.
pub(super) fn lines(lines: impl ExactSizeIterator<Item = u32>) -> String {
    let count = lines.len();
    let shown: Vec<String> = lines.take(MAX_SHOWN).map(|line| line.to_string()).collect();
    let more = match count.saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
