//! Identity and policy made ready: what all connections of a port share.
//!
//! Promises: building one binds nothing and touches nothing global, so it serves a check of
//! the configuration as well; a clone is cheap, and running connections keep the one they began
//! with. No tickets, no session store, no 0-RTT, no key log.
//! There are two configurations inside, because the TLS library ends a handshake in which the
//! ALPN lists have nothing in common, and this port shall go on without ALPN.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::SingleCertAndKey;

use super::client_hello::ClientHello;
use super::identity::{Identity, Validity};
use super::options::{LoadError, TlsOptions, Version};
use super::policy::{Policy, suite_name};

/// Makes the TLS side of new connections.
#[derive(Clone)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    plain: Arc<ServerConfig>,
    with_alpn: Arc<ServerConfig>,
    alpn: Vec<Vec<u8>>,
    min_version: Version,
    validity: Validity,
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
        let mut plain = ServerConfig::builder_with_provider(Arc::new(policy.provider()))
            .with_protocol_versions(&versions)
            .map_err(|error| LoadError::new("cipherSuites", error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
        plain.ignore_client_order = true;
        plain.session_storage = Arc::new(NoServerSessionStorage {});
        plain.send_tls13_tickets = 0;
        let mut with_alpn = plain.clone();
        with_alpn.alpn_protocols = policy.alpn.clone();
        Ok(Acceptor {
            shared: Arc::new(Shared {
                plain: Arc::new(plain),
                with_alpn: Arc::new(with_alpn),
                alpn: policy.alpn.clone(),
                min_version: policy.min_version,
                validity,
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
        let ours = |name: &[u8]| self.shared.alpn.iter().any(|known| known == name);
        let common = hello.is_some_and(|hello| hello.alpn().any(ours));
        let config = if common { &self.shared.with_alpn } else { &self.shared.plain };
        UnbufferedServerConnection::new(config.clone())
    }

    /// When its certificates are valid.
    pub fn validity(&self) -> Validity {
        self.shared.validity
    }

    /// The oldest version permitted here, for error texts.
    pub(super) fn min_version(&self) -> Version {
        self.shared.min_version
    }
}

/// TLS 1.2 suites name the kind of certificate; a list may exclude the one that is there.
fn unusable_tls12(identity: &Identity, policy: &Policy) -> Option<LoadError> {
    let kind = match identity.key.key.algorithm() {
        rustls::SignatureAlgorithm::RSA => "_RSA_",
        _ => "_ECDSA_",
    };
    let fits = |name: String| name.contains(kind) || !name.contains("_WITH_");
    let tls12 = |name: &String| name.contains("_WITH_");
    let names = || policy.suites.iter().map(suite_name);
    (policy.min_version == Version::Tls12 && !names().filter(tls12).any(fits)).then(|| {
        LoadError::new("cipherSuites", format!("cipherSuites has no TLSv1.2 suite for this kind of certificate (one with {kind}); clients of TLSv1.2 will be refused"))
    })
}
