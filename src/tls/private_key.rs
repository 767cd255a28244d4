//! A private key of a PEM block: what kind it is, and the signer that the TLS library makes of it.
//!
//! Promises: keys in PKCS#8, PKCS#1 and SEC1 are told apart by their structure, not by the label;
//! a key that cannot be used is named by its kind, with the command that makes one that can; no
//! copy of the key is left but the one that the crypto library signs with.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

use super::pem::{Block, Content, Label};

/// The signer of a block, or why there is none: what is wrong, and what to do.
pub(super) fn signer(block: &Block, place: &str) -> Result<Arc<dyn SigningKey>, String> {
    let der = match &block.content {
        _ if block.label == Label::EncryptedPrivateKey => return Err(encrypted(place)),
        Content::Encrypted => return Err(encrypted(place)),
        _ if block.label == Label::OpenSshPrivateKey => {
            return Err(format!(
                "a key in the format of OpenSSH is not supported; copy the file, and convert the copy with: ssh-keygen -p -N '' -m PKCS8 -f COPY-OF-{}",
                file_name(place)
            ));
        }
        Content::Der(der) => der,
    };
    let shape = Shape::of(der).ok_or_else(damaged)?;
    let key: PrivateKeyDer<'_> = match shape.format {
        Format::Pkcs8 => PrivatePkcs8KeyDer::from(der.as_slice()).into(),
        Format::Pkcs1 => PrivatePkcs1KeyDer::from(der.as_slice()).into(),
        Format::Sec1 => PrivateSec1KeyDer::from(der.as_slice()).into(),
        Format::Dsa => return Err(Kind::Dsa.reason(place).unwrap_or_else(damaged)),
    };
    // Borrows the key; the caller's block is wiped when it is dropped.
    any_supported_type(&key).map_err(|_| shape.kind.reason(place).unwrap_or_else(damaged))
}

/// Whether these bytes, which are no PEM text, are a private key in DER.
pub(super) fn is_private_key(der: &[u8]) -> bool {
    Shape::of(der).is_some()
}

fn encrypted(place: &str) -> String {
    format!(
        "this private key is encrypted, which is not available in this version; decrypt it with: openssl pkey -in {place} -out NEWFILE"
    )
}

fn damaged() -> String {
    "this private key is damaged or of an unknown kind; copy it again, or make a new one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE".to_owned()
}

fn file_name(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or(place)
}

struct Shape {
    format: Format,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Format {
    Pkcs8,
    Pkcs1,
    Sec1,
    Dsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bits of the modulus.
    Rsa(usize),
    RsaPss,
    Dsa,
    /// By name, if it is known.
    Curve(Option<&'static str>),
    ExplicitCurve,
    Ed25519,
    Other(&'static str),
    Unknown,
}

const CURVES: [(&str, &str); 10] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.2.156.10197.1.301", "SM2"),
];

const OTHERS: [(&str, &str); 8] = [
    ("1.3.101.113", "Ed448"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.2.840.113549.1.3.1", "Diffie-Hellman"),
    ("1.2.840.10046.2.1", "Diffie-Hellman"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

/// OID of the keys and certificates of RSASSA-PSS.
pub(super) const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

impl Shape {
    fn of(der: &[u8]) -> Option<Shape> {
        let content = element(der, Tag::Sequence)?.0;
        let (version, rest) = element(content, Tag::Integer)?;
        let (rest, second) = Any::from_der(rest).ok()?;
        let shape = |format, kind| Some(Shape { format, kind });
        match second.header.tag() {
            Tag::Sequence => {
                let inside = element(rest, Tag::OctetString)?.0;
                shape(Format::Pkcs8, Kind::of_algorithm(second.data, inside)?)
            }
            Tag::Integer if version == [0] => match integers(rest)? {
                // Behind the first of them DSA has q, g, y, x, and RSA seven or more.
                4 => shape(Format::Dsa, Kind::Dsa),
                7.. => shape(Format::Pkcs1, Kind::Rsa(bits(second.data))),
                _ => None,
            },
            Tag::OctetString if version == [1] => {
                let kind = match Any::from_der(rest) {
                    Ok((_, any)) if any.header.class() == Class::ContextSpecific => curve(any.data),
                    _ => Kind::Curve(None),
                };
                shape(Format::Sec1, kind)
            }
            _ => None,
        }
    }
}

impl Kind {
    fn of_algorithm(algorithm: &[u8], inside: &[u8]) -> Option<Kind> {
        let (parameters, oid) = Any::from_der(algorithm).ok()?;
        let oid = oid.oid().ok()?.to_id_string();
        Some(match oid.as_str() {
            "1.2.840.113549.1.1.1" => {
                let content = element(inside, Tag::Sequence)?.0;
                let (_version, rest) = element(content, Tag::Integer)?;
                Kind::Rsa(bits(element(rest, Tag::Integer)?.0))
            }
            RSASSA_PSS => Kind::RsaPss,
            "1.2.840.10040.4.1" => Kind::Dsa,
            "1.2.840.10045.2.1" => curve(parameters),
            "1.3.101.112" => Kind::Ed25519,
            _ => OTHERS
                .iter()
                .find(|(other, _)| *other == oid)
                .map_or(Kind::Unknown, |(_, name)| Kind::Other(name)),
        })
    }

    /// Why a key of this kind cannot be used, if it is for its kind.
    fn reason(self, place: &str) -> Option<String> {
        const EC: &str =
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEWFILE";
        const RSA: &str =
            "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEWFILE";
        let new = |what: &str, command: &str| {
            Some(format!(
                "{what}; make a new key with: {command}, and get a new certificate for it"
            ))
        };
        match self {
            Kind::Rsa(bits @ ..2048) => new(
                &format!("an RSA key of {bits} bits is too short, 2048 to 8192 are supported"),
                RSA,
            ),
            Kind::Rsa(bits @ 8193..) => new(
                &format!("an RSA key of {bits} bits is too long, 2048 to 8192 are supported"),
                RSA,
            ),
            Kind::RsaPss => new(
                "this is an RSASSA-PSS key, which the TLS library does not support; TLS makes PSS signatures with ordinary RSA keys (rsaEncryption)",
                RSA,
            ),
            Kind::Dsa => new("DSA keys do not exist in TLS 1.3 and are not supported", EC),
            Kind::Curve(Some(name @ ("P-256" | "P-384" | "P-521"))) => Some(format!(
                "this {name} key is damaged; copy it again, or make a new one with: {EC}"
            )),
            Kind::Curve(Some(name)) => new(
                &format!("keys on the curve {name} are not supported, only P-256, P-384 and P-521"),
                EC,
            ),
            Kind::Curve(None) => new(
                "this is an elliptic curve key on an unknown curve; P-256, P-384 and P-521 are supported",
                EC,
            ),
            Kind::ExplicitCurve => Some(format!(
                "this key writes its curve as explicit parameters; name the curve with: openssl pkey -in {place} -ec_param_enc named_curve -out NEWFILE, and get a new certificate for it"
            )),
            Kind::Other(name) => new(&format!("{name} keys are not supported"), EC),
            Kind::Rsa(_) | Kind::Ed25519 | Kind::Unknown => None,
        }
    }
}

fn curve(parameters: &[u8]) -> Kind {
    let Ok((_, any)) = Any::from_der(parameters) else { return Kind::Curve(None) };
    match any.header.tag() {
        Tag::Sequence => Kind::ExplicitCurve,
        _ => {
            let oid = any.oid().map(|oid| oid.to_id_string()).unwrap_or_default();
            Kind::Curve(CURVES.iter().find(|(curve, _)| *curve == oid).map(|(_, name)| *name))
        }
    }
}

/// Content of the first element, which has this tag, and what stands behind it.
fn element(der: &[u8], tag: Tag) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    (any.header.tag() == tag).then_some((any.data, rest))
}

fn integers(mut der: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !der.is_empty() {
        let (rest, any) = Any::from_der(der).ok()?;
        count += usize::from(any.header.tag() == Tag::Integer);
        der = rest;
    }
    Some(count)
}

fn bits(integer: &[u8]) -> usize {
    let leading = integer.iter().take_while(|&&byte| byte == 0).count();
    match integer[leading..].first() {
        Some(first) => (integer.len() - leading) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}
