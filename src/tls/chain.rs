//! The certificates of a file: which is the server's own, and in which order all are sent.
//!
//! Promises: the first certificate that is sent is the one that the key belongs to; each other
//! one is sent exactly once; whatever differs from the file's order is a warning with the lines.
//! Names are compared byte by byte, signatures are not checked: clients do that. A certificate
//! that cannot be read is sent where it stands, unless it is the server's own.

use std::collections::{HashMap, HashSet};

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

use super::pem::{Block, Content, Label};
use super::private_key::RSASSA_PSS;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
pub(super) const DAMAGED: &str =
    "this certificate is damaged, or is no X.509 certificate; copy it again";

/// A certificate of a file.
pub(super) struct Certificate<'a> {
    pub line: u32,
    pub der: &'a [u8],
    /// `None`: its bytes are one sequence, of which nothing is known.
    pub x509: Option<X509Certificate<'a>>,
}

impl<'a> Certificate<'a> {
    /// Reads a block that has the label of a certificate; the error is what is wrong with it.
    pub(super) fn read(block: &'a Block) -> Result<Certificate<'a>, &'static str> {
        let Content::Der(der) = &block.content else {
            return Err("this certificate is encrypted; get it without encryption");
        };
        let Ok((rest, x509)) = X509Certificate::from_der(der) else {
            let whole =
                Any::from_der(der).ok().filter(|(_, any)| any.header.tag() == Tag::Sequence);
            return match whole {
                Some(([], _)) => Ok(Certificate { line: block.line, der, x509: None }),
                _ => Err(DAMAGED),
            };
        };
        // Behind a trusted certificate stands what OpenSSL trusts it for.
        if !rest.is_empty() && block.label != Label::TrustedCertificate {
            return Err("this certificate has further bytes behind its end; copy it again");
        }
        Ok(Certificate { line: block.line, der: &der[..der.len() - rest.len()], x509: Some(x509) })
    }

    fn subject(&self) -> Option<&[u8]> {
        self.x509.as_ref().map(|x509| x509.subject().as_raw())
    }

    fn issuer(&self) -> Option<&[u8]> {
        self.x509.as_ref().map(|x509| x509.issuer().as_raw())
    }

    /// Whether a key with this public key belongs to it. A point of a curve may be compressed.
    pub(super) fn has_key(&self, public_key: &SubjectPublicKeyInfo<'_>) -> bool {
        let Some(x509) = &self.x509 else { return false };
        let (own, key) = (x509.public_key(), &public_key.subject_public_key.data[..]);
        let own_key = &own.subject_public_key.data[..];
        own_key == key || compressed(own).is_some_and(|point| is_same_point(point, key))
    }

    /// Why the TLS library does not take it as a server's own; `place` is the file.
    pub(super) fn unusable(&self, public_key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
        let Some(x509) = &self.x509 else { return Some(DAMAGED.to_owned()) };
        // Counted from 0.
        let version = x509.version().0 + 1;
        if version != 3 {
            return Some(format!(
                "this certificate is X.509 version {version}, and TLS clients need version 3; make it again with a subjectAltName: openssl req -x509 -addext subjectAltName=DNS:NAME, or openssl x509 -req -extfile FILE where FILE says subjectAltName=DNS:NAME"
            ));
        }
        let own = x509.public_key();
        if own.raw == public_key.raw {
            return None;
        }
        let parameters = own.algorithm.parameters.as_ref().map(|any| any.header.tag());
        let reason = match own.algorithm.algorithm.to_id_string().as_str() {
            RSASSA_PSS => {
                "this certificate is for an RSASSA-PSS key, which the TLS library does not support; get one for an ordinary RSA key (rsaEncryption), with which TLS makes PSS signatures too: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEWFILE"
            }
            RSA if parameters != Some(Tag::Null) => {
                "this certificate names the algorithm of its RSA key without the parameter NULL, which RFC 3279 demands; have it issued again, by a certificate authority or tool that writes it"
            }
            EC if compressed(own).is_some() => {
                "this certificate holds its public key as a compressed point, which TLS does not take; get one for a key with uncompressed points: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE"
            }
            EC if parameters == Some(Tag::Sequence) => {
                "this certificate writes the parameters of its key in an unusual form, as explicit parameters of a curve; get one for a key with a named curve: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE"
            }
            _ => {
                "this certificate writes its public key in an unusual form, which the TLS library does not take; get one for a new key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE"
            }
        };
        Some(reason.to_owned())
    }
}

/// The compressed point of a key: 2 or 3, and x.
fn compressed<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Option<&'a [u8]> {
    let point = &key.subject_public_key.data[..];
    let is_ec = key.algorithm.algorithm.to_id_string() == EC;
    (is_ec && matches!(point, [2 | 3, ..])).then_some(point)
}

/// Whether an uncompressed point, 4 and x and y, is this compressed one: its first byte says whether
/// y is odd.
fn is_same_point(compressed: &[u8], point: &[u8]) -> bool {
    let [first, x @ ..] = compressed else { return false };
    let [4, rest @ ..] = point else { return false };
    rest.len() == 2 * x.len()
        && rest.starts_with(x)
        && rest.last().is_some_and(|last| 2 + (last & 1) == *first)
}

/// The chain that is sent, its positions in `all`, and warnings.
pub(super) struct Chain {
    pub order: Vec<usize>,
    /// Those of them that lead from the server's own certificate to a root, without the root.
    pub issuers: Vec<usize>,
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
    let is_root = |at: &usize| all[*at].subject() == all[*at].issuer();
    let issuers = sorted[1..].iter().copied().filter(|at| !is_root(at)).collect();
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
    let unread = lone.iter().filter(|&&at| all[at].x509.is_none());
    let mut unread = unread.map(|&at| all[at].line).peekable();
    // Otherwise the one that cannot be read may be what is missing.
    if let Some(&first) = unread.peek() {
        let unread: Vec<u32> = unread.collect();
        let text = format!(
            "dates and issuers of certificates cannot be read, and they are sent as they are (lines {}); if clients refuse the chain, replace them",
            lines(unread.iter().copied())
        );
        warnings.push((first, text));
    } else if let Some(&first) = lone.first() {
        let text = format!(
            "certificates that are no issuers of the one that the key belongs to are sent too (lines {}); remove them, or add what is missing between",
            lines(lone.iter().map(|&at| all[at].line))
        );
        warnings.push((all[first].line, text));
    }
    Chain { order, issuers, warnings }
}

/// The leaf, its issuers, theirs, and so on; and what none of these leads to.
fn issuers_first_come(
    all: &[Certificate<'_>],
    kept: &[usize],
    leaf: usize,
) -> (Vec<usize>, Vec<usize>) {
    let mut by_subject: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for &at in kept.iter().filter(|&&at| at != leaf) {
        if let Some(subject) = all[at].subject() {
            by_subject.entry(subject).or_default().push(at);
        }
    }
    let mut sorted = vec![leaf];
    let mut next = 0;
    while let Some(&at) = sorted.get(next) {
        // Each name is taken once.
        let issued = all[at].issuer().and_then(|issuer| by_subject.remove(issuer));
        sorted.extend(issued.unwrap_or_default());
        next += 1;
    }
    let taken: HashSet<usize> = sorted.iter().copied().collect();
    let lone = kept.iter().copied().filter(|at| !taken.contains(at)).collect();
    (sorted, lone)
}

/// Whether in the file's order the leaf is first, and each of its issuers behind one it issued.
fn is_chain(all: &[Certificate<'_>], kept: &[usize], sorted: &[usize], leaf: usize) -> bool {
    let linked: HashSet<usize> = sorted.iter().copied().collect();
    let mut issuers = HashSet::from([all[leaf].issuer()]);
    kept.first() == Some(&leaf)
        && kept[1..].iter().filter(|at| linked.contains(at)).all(|&at| {
            let fits = issuers.contains(&all[at].subject());
            issuers.insert(all[at].issuer());
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
    let is_ca = |at: usize| all[at].x509.as_ref().is_some_and(|x509| x509.is_ca());
    matching.iter().find(|&&at| !is_ca(at)).or(matching.first()).copied()
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
