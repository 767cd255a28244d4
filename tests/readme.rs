//! The README's program compiles and does what it says, with the README's INI file.

mod c_programs;

use c_programs::{compiler, folder, library, must, read, root, soname};
use nativeport::config::{Config, Severity};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

/// The first code block of a language.
fn block(language: &str) -> String {
    let text = read("README.md");
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn the_program_of_the_readme_serves_with_the_ini_file_of_the_readme() {
    let folder = folder("readme");
    // The port is the README's business; a test takes a free one, which only the C
    // interface can tell: so the program prints it before it waits.
    let told = "np_address a; np_listener_get_address(listener, 0, &a);\n\
                printf(\"%u\\n\", (unsigned)a.port); fflush(stdout); getchar();";
    let program = block("c").replacen("getchar();", &format!("{{ {told} }}"), 1);
    assert!(program.contains(told));
    fs::write(folder.join("readme.c"), program).unwrap();
    let ini = block("ini").replace("port = 8443", "port = 0");
    assert!(ini.contains("port = 0"));
    fs::write(folder.join("server.ini"), ini).unwrap();
    std::os::unix::fs::symlink(library(), folder.join(soname())).unwrap();
    let program = folder.join("readme");
    must(
        compiler("cc", "c11")
            .arg(folder.join("readme.c"))
            .arg(folder.join(soname()))
            .arg("-o")
            .arg(&program),
    );
    let mut server = Command::new(&program)
        .env("LD_LIBRARY_PATH", &folder)
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();

    let mut client = tls_client(port);
    client.write_all(b"\x01\x00\x00\x00\x05hello").unwrap();
    let mut answer = [0; 10];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\x01\x00\x00\x00\x05hello");

    server.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn the_ini_file_of_the_readme_has_no_errors() {
    let mut config = Config::new();
    config.load_string(block("ini").as_bytes(), "server.ini").unwrap();
    let errors = config.check().into_iter().filter(|f| f.severity == Severity::Error);
    assert_eq!(errors.count(), 0);
}

#[test]
fn every_file_that_the_readme_links_to_exists() {
    let text = read("README.md");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    for (link, _) in links {
        assert!(root().join(link).exists(), "{link}");
    }
}

/// A TLS client that takes any certificate: whom it talks to is not what is tested.
fn tls_client(port: u16) -> impl Read + Write {
    use rustls::pki_types::ServerName;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    rustls::StreamOwned::new(session, socket)
}

#[derive(Debug)]
struct AnyCertificate(std::sync::Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
