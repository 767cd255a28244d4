//! The servers that are compared give back every byte they are sent: what is measured is an
//! echo, and the same one everywhere.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

const WARNINGS: [&str; 6] =
    ["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

struct Server {
    process: Child,
    port: String,
    tls: bool,
}

impl Server {
    fn start(command: &mut Command) -> Server {
        let tls = format!("{command:?}").contains("tls");
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.strip_prefix("listening ").expect(&line).trim().to_string();
        Server { process, port, tls }
    }

    fn load(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.args(arguments).args(["--port", &self.port, "--check", "--warm", "0"]);
        command.args(self.tls.then_some("--tls"));
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
    }

    /// Sizes at the edges, whole and cut at random places, and whole connections.
    fn gives_back_every_byte(&self) {
        for size in ["0", "1", "511", "65536", "1048576"] {
            let cell =
                ["echo", "--conns", "3", "--window", "5", "--seconds", "0.05", "--size", size];
            self.load(&cell);
            self.load(&[&cell[..], &["--cut"]].concat());
        }
        self.load(&["connect", "--conns", "8", "--size", "511", "--seconds", "0.1"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("yardstick").join(name)
}

fn compile(source: &Path, name: &str, libraries: &[String]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new("cc");
    command.args(WARNINGS).arg("-O2").arg(source).arg("-o").arg(&program);
    command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../include"));
    let status = command.args(libraries).status().unwrap();
    assert!(status.success(), "{command:?}");
    program
}

#[test]
fn the_epoll_yardstick_gives_back_every_byte() {
    let program = compile(&source("epoll.c"), "epoll", &[]);
    Server::start(&mut Command::new(program)).gives_back_every_byte();
}

#[test]
fn the_libuv_yardstick_gives_back_every_byte() {
    let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe.c");
    fs::write(&probe, "#include <uv.h>\n").unwrap();
    let found = Command::new("cc").arg("-E").arg(&probe).output().unwrap();
    if !found.status.success() {
        eprintln!("skipped: libuv1-dev is not installed");
        return;
    }
    let program = compile(&source("uv.c"), "uv", &["-luv".into()]);
    Server::start(&mut Command::new(program)).gives_back_every_byte();
}

#[test]
fn the_tls_yardstick_gives_back_every_byte() {
    Server::start(&mut Command::new(env!("CARGO_BIN_EXE_tls-yardstick"))).gives_back_every_byte();
}

#[test]
fn the_library_gives_back_every_byte() {
    // The archive of this build lies beside this test.
    let archive = env::current_exe().unwrap().with_file_name("libnativeport.a");
    let libraries = [archive.to_str().unwrap(), "-lpthread", "-ldl", "-lm"];
    let program = compile(&source("np.c"), "np", &libraries.map(String::from));
    let ways = ["--each", "--tls", "--workers", "--poll", "--inbox"];
    for arguments in ways.iter().map(std::slice::from_ref).chain([&[][..]]) {
        Server::start(Command::new(&program).args(arguments)).gives_back_every_byte();
    }
}

/// A server that sends one wrong byte is found out.
#[test]
fn the_load_notices_a_wrong_byte() {
    let text = fs::read_to_string(source("epoll.c")).unwrap();
    let right = "    if ((before_len || at > start) && send_both(";
    assert!(text.contains(right));
    let wrong =
        format!("    if (at > start + 9) ((uint8_t *)(uintptr_t)data)[start + 8] ^= 1;\n{right}");
    let broken = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.c");
    fs::write(&broken, text.replace(right, &wrong)).unwrap();
    let program = compile(&broken, "broken", &[]);
    let server = Server::start(&mut Command::new(program));
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["echo", "--check", "--size", "511", "--port", &server.port])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("wrong payload at byte 8"), "{error}");
}
