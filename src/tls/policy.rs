//! Versions, cipher suites, groups and ALPN of a port: names from the configuration, checked.
//!
//! Promises: a policy that exists can serve every version it permits; an unknown name is an
//! error that lists what exists. No tickets, no session store, no 0-RTT, no key log: see
//! `acceptor`, which turns a policy into what the TLS library takes.
//! The order of suites is the server's preference. The order of groups is not: the TLS library
//! takes the first group of the *client's* list that is permitted here.

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, ProtocolVersion, SignatureScheme, SupportedCipherSuite};

use super::options::{LoadError, TlsOptions, Version};
use crate::base::shown::shown;

/// What a port permits.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) min_version: Version,
    pub(super) max_version: Version,
    pub(super) suites: Vec<SupportedCipherSuite>,
    pub(super) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(super) alpn: Vec<Vec<u8>>,
    /// Peers whose list has nothing in common with `alpn` go on without.
    pub(super) alpn_may_mismatch: bool,
}

/// Signature schemes by IANA name.
pub(super) static SCHEMES: [(SignatureScheme, &str); 13] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa_secp256r1_sha256"),
    (SignatureScheme::ECDSA_NISTP384_SHA384, "ecdsa_secp384r1_sha384"),
    (SignatureScheme::ECDSA_NISTP521_SHA512, "ecdsa_secp521r1_sha512"),
    (SignatureScheme::ED25519, "ed25519"),
    (SignatureScheme::ED448, "ed448"),
    (SignatureScheme::RSA_PSS_SHA256, "rsa_pss_rsae_sha256"),
    (SignatureScheme::RSA_PSS_SHA384, "rsa_pss_rsae_sha384"),
    (SignatureScheme::RSA_PSS_SHA512, "rsa_pss_rsae_sha512"),
    (SignatureScheme::RSA_PKCS1_SHA256, "rsa_pkcs1_sha256"),
    (SignatureScheme::RSA_PKCS1_SHA384, "rsa_pkcs1_sha384"),
    (SignatureScheme::RSA_PKCS1_SHA512, "rsa_pkcs1_sha512"),
    (SignatureScheme::RSA_PKCS1_SHA1, "rsa_pkcs1_sha1"),
    (SignatureScheme::ECDSA_SHA1_Legacy, "ecdsa_sha1"),
];

/// Groups by IANA name, in the order of the default; the second name is another spelling.
static GROUPS: [(&str, &str, &dyn SupportedKxGroup); 4] = [
    ("X25519MLKEM768", "", aws_lc_rs::kx_group::X25519MLKEM768),
    ("X25519", "", aws_lc_rs::kx_group::X25519),
    ("secp256r1", "P-256", aws_lc_rs::kx_group::SECP256R1),
    ("secp384r1", "P-384", aws_lc_rs::kx_group::SECP384R1),
];

impl Policy {
    /// Checks the names and turns them into a policy.
    pub fn new(options: &TlsOptions) -> Result<Policy, LoadError> {
        if options.min_version > options.max_version {
            return Err(LoadError::new(
                "minVersion",
                "minVersion is newer than maxVersion; nothing is left",
            ));
        }
        let policy = Policy {
            min_version: options.min_version,
            max_version: options.max_version,
            suites: suites(&options.cipher_suites)?,
            groups: groups(&options.groups)?,
            alpn: alpn(&options.alpn)?,
            alpn_may_mismatch: options.alpn_may_mismatch,
        };
        for version in policy.versions() {
            let wire = wire_version(version);
            if !policy.suites.iter().any(|s| s.version().version == wire) {
                return Err(left_without("cipherSuites", version, "cipher suite"));
            }
            if !policy.groups.iter().any(|g| g.usable_for_version(wire)) {
                return Err(left_without("groups", version, "group"));
            }
        }
        Ok(policy)
    }

    /// The permitted versions, newest first.
    pub fn versions(&self) -> impl Iterator<Item = Version> {
        [Version::Tls13, Version::Tls12]
            .into_iter()
            .filter(|v| (self.min_version..=self.max_version).contains(v))
    }

    /// The policy in words, one fact a line: what an upgrade must not change unseen.
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.versions().map(|v| format!("version {}", v.name())));
        lines.extend(self.suites.iter().map(|s| format!("suite {}", suite_name(s))));
        lines.extend(self.groups.iter().map(|g| format!("group {}", group_name(*g))));
        let alpn = self.alpn.iter().map(|name| String::from_utf8_lossy(name));
        lines.extend(alpn.map(|name| format!("alpn {name}")));
        lines.join("\n") + "\n"
    }

    /// The crypto of this policy; never installed as the default of the process.
    pub(super) fn provider(&self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: self.suites.clone(),
            kx_groups: self.groups.clone(),
            ..aws_lc_rs::default_provider()
        }
    }
}

fn wire_version(version: Version) -> ProtocolVersion {
    match version {
        Version::Tls12 => ProtocolVersion::TLSv1_2,
        Version::Tls13 => ProtocolVersion::TLSv1_3,
    }
}

fn left_without(key: &'static str, version: Version, what: &str) -> LoadError {
    let version = version.name();
    LoadError::new(
        key,
        format!(
            "the list leaves {version} without a {what}; add one or exclude {version} with minVersion or maxVersion"
        ),
    )
}

/// The IANA name of a suite.
pub(super) fn suite_name(suite: &SupportedCipherSuite) -> String {
    iana_name(suite.suite())
}

/// The IANA name of any suite; the library spells those of TLS 1.3 its own way.
pub(super) fn iana_name(suite: CipherSuite) -> String {
    let name = format!("{suite:?}");
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// The IANA name of a signature scheme, or its number.
pub(super) fn scheme_name(number: u16) -> String {
    let known = SCHEMES.iter().find(|(scheme, _)| u16::from(*scheme) == number);
    known.map_or_else(|| format!("{number:#06x}"), |(_, name)| (*name).into())
}

/// The IANA name of a group.
pub(super) fn group_name(group: &dyn SupportedKxGroup) -> &'static str {
    let known = GROUPS.iter().find(|(.., g)| g.name() == group.name());
    known.map_or("unknown", |(name, ..)| name)
}

fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, LoadError> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    if names.is_empty() {
        return Ok(aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec());
    }
    let find = |name: &String| {
        let found = all.iter().find(|s| suite_name(s).eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| {
            let known = all.iter().map(suite_name).collect::<Vec<_>>();
            unknown("cipherSuites", "cipher suite", name, &known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn groups(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, LoadError> {
    if names.is_empty() {
        return Ok(GROUPS.iter().map(|(.., group)| *group).collect());
    }
    let find = |name: &String| {
        let is = |spelling: &str| spelling.eq_ignore_ascii_case(name);
        let found = GROUPS.iter().find(|(iana, other, _)| is(iana) || is(other));
        found.map(|(.., group)| *group).ok_or_else(|| {
            let known = GROUPS.map(|(iana, ..)| iana);
            unknown("groups", "group", name, &known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn alpn(names: &[String]) -> Result<Vec<Vec<u8>>, LoadError> {
    let check = |name: &String| match name.len() {
        1..=255 => Ok(name.clone().into_bytes()),
        _ => Err(LoadError::new(
            "alpn",
            format!("a protocol name has 1 to 255 bytes, \"{}\" has {}", shown(name), name.len()),
        )),
    };
    names.iter().map(check).collect()
}

fn unknown(key: &'static str, what: &str, name: &str, known: &str) -> LoadError {
    LoadError::new(key, format!("unknown {what} \"{}\"; there are {known}", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::super::identity::Identity;
    use super::*;

    fn with(change: impl FnOnce(&mut TlsOptions)) -> Result<Policy, LoadError> {
        let mut options = TlsOptions::default();
        change(&mut options);
        Policy::new(&options)
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_default_policy_is_the_golden_one() {
        let policy = with(|_| {}).unwrap();
        assert_eq!(policy.describe(), include_str!("policy.golden"));
    }

    #[test]
    fn names_keep_their_order_and_other_spellings_are_known() {
        let policy = with(|o| {
            o.groups = list(&["P-384", "x25519", "P-256"]);
            o.cipher_suites = list(&[
                "TLS_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
            ]);
        });
        let text = policy.unwrap().describe();
        assert_eq!(
            text.lines().skip(2).collect::<Vec<_>>(),
            [
                "suite TLS_AES_128_GCM_SHA256",
                "suite TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "suite TLS_AES_256_GCM_SHA384",
                "group secp384r1",
                "group X25519",
                "group secp256r1",
            ]
        );
    }

    #[test]
    fn an_unknown_name_lists_what_exists() {
        let error = with(|o| o.cipher_suites = list(&["RC4-MD5"])).unwrap_err();
        assert_eq!(error.key, "cipherSuites");
        assert!(error.message.contains("\"RC4-MD5\"; there are TLS_AES_256_GCM_SHA384, "));
        let error = with(|o| o.groups = list(&["secp521r1"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "groups: unknown group \"secp521r1\"; there are X25519MLKEM768, X25519, secp256r1, secp384r1"
        );
    }

    #[test]
    fn a_permitted_version_without_suite_or_group_is_an_error() {
        let error = with(|o| o.cipher_suites = list(&["TLS_AES_128_GCM_SHA256"])).unwrap_err();
        assert_eq!(error.key, "cipherSuites");
        assert!(error.message.contains("leaves TLSv1.2 without a cipher suite"));
        let error = with(|o| o.groups = list(&["X25519MLKEM768"])).unwrap_err();
        assert_eq!(error.key, "groups");
        assert!(
            with(|o| {
                o.cipher_suites = list(&["TLS_AES_128_GCM_SHA256"]);
                o.groups = list(&["X25519MLKEM768"]);
                o.min_version = Version::Tls13;
            })
            .is_ok()
        );
    }

    #[test]
    fn versions_the_wrong_way_round_are_an_error() {
        let error = with(|o| {
            o.min_version = Version::Tls13;
            o.max_version = Version::Tls12;
        });
        assert_eq!(error.unwrap_err().key, "minVersion");
    }

    #[test]
    fn names_are_shown_cut_and_escaped_and_secrets_are_not() {
        let key = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
        for (name, words) in [
            ("a\u{1b}[2J\nb".to_owned(), "\"a\\u{1b}[2J\\u{a}b\""),
            ("n".repeat(300), "nn…\""),
            (key.repeat(5), "(not shown: it may be a secret)"),
        ] {
            let mut errors = vec![
                with(|o| o.cipher_suites = list(&[&name])).unwrap_err().message,
                with(|o| o.groups = list(&[&name])).unwrap_err().message,
            ];
            if name.len() > 255 {
                errors.push(with(|o| o.alpn = list(&[&name])).unwrap_err().message);
            }
            let all = || list(&[&name]);
            let options = TlsOptions {
                cipher_suites: all(),
                groups: all(),
                alpn: all(),
                self_signed: all(),
                ..TlsOptions::default()
            };
            errors.push(Identity::self_signed(&all()).map_or_else(|e| e.message, |(_, w)| w));
            for error in &errors {
                assert!(!error.contains(&name) && !error.contains('\n'), "{error}");
            }
            assert!(errors[..2].iter().all(|error| error.contains(words)), "{errors:?}");
            assert!(!format!("{options:?}").contains(&name), "{options:?}");
        }
    }

    #[test]
    fn an_empty_or_long_protocol_name_is_an_error() {
        assert_eq!(with(|o| o.alpn = list(&[""])).unwrap_err().key, "alpn");
        assert_eq!(with(|o| o.alpn = vec!["x".repeat(256)]).unwrap_err().key, "alpn");
    }
}
