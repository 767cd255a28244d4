//! What the tests of examples-c share: the programs, built once for each compiler; running
//! ones, whose lines are read and which end with the test; HTTP and JSON, written here.

pub mod http;
pub mod json;
pub mod running;

use super::c_programs::{compiler, exists, folder, library, must, root, skipped, soname};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The programs of examples-c, each a file of this folder.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| build("cc", "c++"))
}

/// As [`programs`], from clang; `None`, visibly, if it is not installed.
pub fn programs_of_clang() -> Option<&'static Path> {
    static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = PROGRAMS.get_or_init(|| {
        if !exists("clang") {
            skipped("clang is not installed");
            return None;
        }
        Some(build("clang", "clang++"))
    });
    built.as_deref()
}

/// Those of all compilers.
pub fn all_programs() -> impl Iterator<Item = &'static Path> {
    [Some(programs()), programs_of_clang()].into_iter().flatten()
}

fn build(c: &str, cpp: &str) -> PathBuf {
    let folder = folder(&format!("examples_{c}"));
    // The loader looks for the soname, the linker for the plain name.
    for name in ["libnativeport.so", &soname()] {
        std::os::unix::fs::symlink(library(), folder.join(name)).expect("a fresh folder");
    }
    let examples = root().join("examples-c");
    for name in ["echo", "threads", "workers", "poll", "blocking", "client"] {
        link(c, "c11", &folder, name, &[examples.join(format!("{name}.c"))]);
    }
    link(cpp, "c++17", &folder, "echo-cpp", &[examples.join("echo.cpp")]);
    let mut serve: Vec<PathBuf> = fs::read_dir(examples.join("serve"))
        .expect("the folder exists")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    serve.sort();
    link(c, "c11", &folder, "serve", &serve);
    folder
}

fn link(program: &str, standard: &str, folder: &Path, name: &str, sources: &[PathBuf]) {
    let mut command = compiler(program, standard);
    command.args(sources).arg("-o").arg(folder.join(name));
    command.arg("-L").arg(folder).args(["-lnativeport", "-lpthread"]);
    must(command.arg(format!("-Wl,-rpath,{}", folder.display())));
}

/// An INI file in a folder of its own, and certificates for it.
pub struct Files {
    pub folder: PathBuf,
}

impl Files {
    pub fn new(test: &str) -> Files {
        Files { folder: folder(&format!("files_{test}")) }
    }

    /// Writes a file, readable by its owner alone, and gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.join(name);
        fs::write(&path, text).expect("the folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    }

    /// Writes a self-signed certificate and its key, and gives both paths.
    pub fn identity(&self, name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = self.write(&format!("{name}.pem"), &made.cert.pem());
        (certificate, self.write(&format!("{name}.key"), &made.signing_key.serialize_pem()))
    }
}

/// A port that somebody listens on, as long as the listener lives.
pub fn taken_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Whether nobody listens there any more.
pub fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}
