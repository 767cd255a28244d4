//! Identity and policy made ready: what all connections of a port share.
//!
//! Promises: building one binds nothing and touches nothing global, so it serves a check of
//! the configuration as well; a clone is cheap, and running connections keep the one they began
//! with. No tickets, no session store, no 0-RTT, no key log.
//! The TLS library ends a handshake in which the ALPN lists have nothing in common. Where a port shall go
//! on (`alpnMismatch = continue`), such a connection gets a configuration without ALPN.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};

use super::client_hello::ClientHello;
use super::identity::{Dates, Identity, Validity};
use super::options::{LoadError, TlsOptions, Version};
use super::policy::{Policy, SCHEMES, suite_name};

/// Makes the TLS side of new connections.
#[derive(Clone)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<ServerConfig>,
    /// For peers whose ALPN list has nothing in common with ours, where these may go on.
    without_alpn: Option<Arc<ServerConfig>>,
    min_version: Version,
    validity: Validity,
    dates: Vec<Dates>,
    /// In DER, the server's own first.
    certificates: Vec<Vec<u8>>,
    key_kind: SignatureAlgorithm,
    /// What the key can sign.
    schemes: Vec<u16>,
}

impl Acceptor {
    /// Joins an identity and a policy.
    pub fn new(identity: Identity, policy: &Policy) -> Result<Acceptor, LoadError> {
        let versions: Vec<_> = policy
            .versions()
            .map(|version| match version {
                Version::Tls12 => &rustls::version::TLS12,
                Version::Tls13 => &rustls::version::TLS13,
            })
            .collect();
        let validity = identity.validity();
        let certificates = identity.key.cert.iter().map(|der| der.to_vec()).collect();
        let key_kind = identity.key.key.algorithm();
        let can_sign =
            |scheme: &SignatureScheme| identity.key.key.choose_scheme(&[*scheme]).is_some();
        let schemes = SCHEMES.iter().filter(|(scheme, _)| can_sign(scheme));
        let schemes = schemes.map(|(scheme, _)| u16::from(*scheme)).collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(policy.provider()))
            .with_protocol_versions(&versions)
            .map_err(|error| LoadError::new("cipherSuites", error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let without_alpn = policy.alpn_may_mismatch.then(|| Arc::new(config.clone()));
        config.alpn_protocols = policy.alpn.clone();
        Ok(Acceptor {
            shared: Arc::new(Shared {
                config: Arc::new(config),
                without_alpn,
                min_version: policy.min_version,
                validity,
                dates: identity.dates,
                certificates,
                key_kind,
                schemes,
            }),
        })
    }

    /// Loads everything a TLS section names. The second part holds warnings, with the key that
    /// each is about.
    pub fn load(options: &TlsOptions) -> Result<(Acceptor, Vec<LoadError>), LoadError> {
        let (identity, mut warnings) = match (&options.certificate, &options.private_key) {
            (Some(_), _) | (_, Some(_)) if !options.self_signed.is_empty() => {
                return Err(LoadError::new(
                    "selfSigned",
                    "selfSigned stands beside certificate or privateKey; keep one of them",
                ));
            }
            (Some(certificate), Some(private_key)) => {
                Identity::load(certificate, private_key, options.key_permissions)?
            }
            (Some(_), None) => {
                return Err(LoadError::new(
                    "privateKey",
                    "privateKey is missing; certificate needs it",
                ));
            }
            (None, Some(_)) => {
                return Err(LoadError::new(
                    "certificate",
                    "certificate is missing; privateKey needs it",
                ));
            }
            (None, None) if options.self_signed.is_empty() => {
                return Err(LoadError::new(
                    "certificate",
                    "no identity; set certificate and privateKey, or selfSigned for trying things out",
                ));
            }
            (None, None) => {
                let (identity, warning) = Identity::self_signed(&options.self_signed)?;
                (identity, vec![LoadError::new("selfSigned", warning)])
            }
        };
        let policy = Policy::new(options)?;
        warnings.extend(unusable_tls12(&identity, &policy));
        Ok((Acceptor::new(identity, &policy)?, warnings))
    }

    /// A new connection for a peer that said `hello`, if that could be read.
    pub(super) fn connect(
        &self,
        hello: Option<&ClientHello>,
    ) -> Result<UnbufferedServerConnection, rustls::Error> {
        let ours = |name: &[u8]| self.alpn().iter().any(|known| known == name);
        let config = match &self.shared.without_alpn {
            Some(without) if !hello.is_some_and(|hello| hello.alpn().any(ours)) => without,
            _ => &self.shared.config,
        };
        UnbufferedServerConnection::new(config.clone())
    }

    /// When the server's own certificate is valid.
    pub fn validity(&self) -> Validity {
        self.shared.validity
    }

    /// The dates of its certificates that clients judge: its own first.
    pub(crate) fn dates(&self) -> &[Dates] {
        &self.shared.dates
    }

    /// The certificates that peers get, in DER: the server's own first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.shared.certificates
    }

    // What error texts need.

    /// The oldest version permitted here.
    pub(super) fn min_version(&self) -> Version {
        self.shared.min_version
    }

    /// The protocol names of this port.
    pub(super) fn alpn(&self) -> &[Vec<u8>] {
        &self.shared.config.alpn_protocols
    }

    /// What the key can sign, by number.
    pub(super) fn schemes(&self) -> &[u16] {
        &self.shared.schemes
    }

    /// The kind of key as suites of TLS 1.2 name it.
    pub(super) fn key_kind(&self) -> &'static str {
        match self.shared.key_kind {
            SignatureAlgorithm::RSA => "RSA",
            _ => "ECDSA",
        }
    }

    /// The suites of TLS 1.2 that are permitted here, by number.
    pub(super) fn tls12_suites(&self) -> Vec<u16> {
        let suites = self.shared.config.crypto_provider().cipher_suites.iter();
        suites.filter(|s| s.tls13().is_none()).map(|s| u16::from(s.suite())).collect()
    }
}

/// TLS 1.2 suites name the kind of certificate; a list may exclude the one that is there.
fn unusable_tls12(identity: &Identity, policy: &Policy) -> Option<LoadError> {
    let kind = match identity.key.key.algorithm() {
        SignatureAlgorithm::RSA => "_RSA_",
        _ => "_ECDSA_",
    };
    let fits = |name: String| name.contains(kind) || !name.contains("_WITH_");
    let tls12 = |name: &String| name.contains("_WITH_");
    let names = || policy.suites.iter().map(suite_name);
    (policy.min_version == Version::Tls12 && !names().filter(tls12).any(fits)).then(|| {
        LoadError::new("cipherSuites", format!("cipherSuites has no TLSv1.2 suite for this kind of certificate (one with {kind}); clients of TLSv1.2 will be refused"))
    })
}
