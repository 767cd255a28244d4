//! The other side for tests: a TLS client in memory, and ways to cut a ClientHello.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::crypto::tls13::OkmBlock;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct,
    Error, KeyLog, ProtocolVersion, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};

/// Trusts every certificate, but checks signatures: the handshake is what is tested.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How a client is set up.
pub struct Setup<'a> {
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub name: &'a str,
    pub alpn: &'a [&'a [u8]],
    pub provider: CryptoProvider,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            versions: rustls::ALL_VERSIONS,
            name: "host.example",
            alpn: &[],
            provider: aws_lc_rs::default_provider(),
        }
    }
}

impl Setup<'_> {
    pub fn connect(self) -> ClientConnection {
        let name = self.name.to_owned();
        connect(&self.config(), &name)
    }

    /// For several connections: what one leaves for the next is kept in it.
    pub fn config(self) -> Arc<ClientConfig> {
        let provider = Arc::new(self.provider);
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

pub fn connect(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    client.set_buffer_limit(None);
    client
}

/// Keeps the secret of the client's direction in the handshake.
#[derive(Debug, Default)]
pub struct HandshakeSecret(pub Mutex<Vec<u8>>);

impl KeyLog for HandshakeSecret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

/// Everything the client wants to send.
pub fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client bytes and answers the plain text in them.
pub fn received(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        // Fails with WouldBlock where the text ends, which is no error here.
        let _ = client.reader().read_to_end(&mut plain);
    }
    Ok(plain)
}

/// The records of `data`.
pub fn sealed(client: &mut ClientConnection, data: &[u8]) -> Vec<u8> {
    client.writer().write_all(data).unwrap();
    sent(client)
}

/// A ClientHello in one record.
pub fn client_hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut client = Setup { name, alpn, ..Setup::default() }.connect();
    sent(&mut client)
}

/// One handshake record, cut into records with `size` bytes each.
pub fn fragmented(record: &[u8], size: usize) -> Vec<u8> {
    fragmented_body(&record[5..], size)
}

/// A handshake message in records with `size` bytes each.
pub fn fragmented_body(message: &[u8], size: usize) -> Vec<u8> {
    let record =
        |part: &[u8]| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat();
    message.chunks(size).flat_map(record).collect()
}

/// One handshake record as two, the first with `at` bytes.
pub fn cut_at(record: &[u8], at: usize) -> Vec<u8> {
    let (first, second) = record[5..].split_at(at);
    [fragmented_body(first, 16384), fragmented_body(second, 16384)].concat()
}

/// A client that seals what it is told to, valid or not.
pub struct RawClient {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

/// Opens what such a client gets.
pub struct RawReader {
    decrypter: Box<dyn MessageDecrypter>,
    sequence: u64,
}

impl RawReader {
    /// The content of all records, each with its type before it.
    pub fn open(&mut self, mut records: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        while !records.is_empty() {
            let length = usize::from(u16::from_be_bytes([records[3], records[4]]));
            let (record, rest) = records.split_at(5 + length);
            let mut payload = record[5..].to_vec();
            let version = ProtocolVersion::TLSv1_2;
            let message = InboundOpaqueMessage::new(record[0].into(), version, &mut payload);
            let opened = self.decrypter.decrypt(message, self.sequence).unwrap();
            self.sequence += 1;
            content.push(u8::from(opened.typ));
            content.extend_from_slice(opened.payload);
            records = rest;
        }
        content
    }
}

fn aes_256_key(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (key, iv),
        _ => panic!("another cipher"),
    }
}

impl RawClient {
    /// Takes over the keys of a TLS 1.2 client after its handshake.
    pub fn tls12(client: ClientConnection) -> (RawClient, RawReader) {
        let Some(SupportedCipherSuite::Tls12(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.2");
        };
        let secrets = client.dangerous_extract_secrets().unwrap();
        let ((sent, sealing), (got, opening)) = (secrets.tx, secrets.rx);
        let (key_out, iv_out) = aes_256_key(sealing);
        let (key_in, iv_in) = aes_256_key(opening);
        let iv = iv_out.as_ref();
        let encrypter = suite.aead_alg.encrypter(key_out, &iv[..4], &iv[4..]);
        let decrypter = suite.aead_alg.decrypter(key_in, &iv_in.as_ref()[..4]);
        let mut client = RawClient { encrypter, sequence: 0 };
        // The cipher wants to have counted from the first.
        (0..sent).for_each(|_| drop(client.seal(ContentType::ApplicationData, b"")));
        (client, RawReader { decrypter, sequence: got })
    }

    /// Takes over the keys of a TLS 1.3 client after its handshake.
    pub fn tls13(client: ClientConnection) -> (RawClient, RawReader) {
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.3");
        };
        let secrets = client.dangerous_extract_secrets().unwrap();
        let ((sent, sealing), (got, opening)) = (secrets.tx, secrets.rx);
        let (key_out, iv_out) = aes_256_key(sealing);
        let (key_in, iv_in) = aes_256_key(opening);
        let encrypter = suite.aead_alg.encrypter(key_out, iv_out);
        let decrypter = suite.aead_alg.decrypter(key_in, iv_in);
        (RawClient { encrypter, sequence: sent }, RawReader { decrypter, sequence: got })
    }

    /// A client of TLS 1.3 that has the keys of the handshake, from the secret of its direction.
    pub fn in_handshake(client: &ClientConnection, secret: &[u8]) -> RawClient {
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.3");
        };
        let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
        let expand = |label: &str, out: &mut [u8]| {
            let label = format!("tls13 {label}");
            let length = [0, out.len() as u8, label.len() as u8];
            expander.expand_slice(&[&length, label.as_bytes(), &[0]], out).unwrap();
        };
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        expand("key", &mut key);
        expand("iv", &mut iv);
        RawClient { encrypter: suite.aead_alg.encrypter(key.into(), iv.into()), sequence: 0 }
    }

    pub fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        self.sequence += 1;
        self.encrypter.encrypt(message, self.sequence - 1).unwrap().encode()
    }
}

/// A folder of its own for a test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(Folder::sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("nativeport-tls-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    /// Removes what processes that are gone have left: nobody drops what a static holds.
    fn sweep() {
        let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let left = name.to_str().and_then(|name| name.strip_prefix("nativeport-tls-"));
            if let Some((pid, _)) = left.and_then(|left| left.split_once('-'))
                && pid.parse::<u32>().is_ok()
                && !std::path::Path::new("/proc").join(pid).exists()
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
