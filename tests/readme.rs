//! The README's programs compile and do what it says, with the README's INI file.

mod c_programs;
mod support;

use c_programs::{compiler, folder, library, must, read, readme_block, root, soname};
use nativeport::config::{Config, Severity};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use support::{frame, read_frame, tls_framed};

#[test]
fn the_c_program_of_the_readme_serves_with_the_ini_file_of_the_readme() {
    // The port is the README's business; a test takes a free one, which only the C
    // interface can tell: so the program prints it before it waits.
    let told = "{ np_address a; np_listener_get_address(listener, 0, &a);\n\
                printf(\"%u\\n\", (unsigned)a.port); fflush(stdout); getchar(); }";
    let program = readme_block("c", "main").replacen("getchar();", told, 1);
    assert!(program.contains(told));
    assert_serves("cc", "c11", "readme.c", &program, echoes);
}

#[test]
fn the_cpp_program_of_the_readme_does_the_same() {
    let told = "std::cout << listener.addresses()[0].port << std::endl; std::cin.get();";
    let program = readme_block("cpp", "main").replacen("std::cin.get();", told, 1);
    assert!(program.contains(told));
    assert_serves("c++", "c++17", "readme.cpp", &program, echoes);
}

#[test]
fn the_chat_of_the_readme_sends_every_frame_to_all() {
    let headers =
        ["nativeport.hpp", "iostream", "mutex", "set"].map(|it| format!("#include <{it}>\n"));
    let chat = readme_block("cpp", "class chat").replacen("private:", "public:", 1);
    let main = "int main() {\n\
                    nativeport::config config;\n\
                    chat server(config.load_file(\"server.ini\"));\n\
                    std::cout << server.listener_.addresses()[0].port << std::endl;\n\
                    std::cin.get();\n\
                }\n";
    let program = headers.concat() + &chat + main;
    assert_serves("c++", "c++17", "readme_chat.cpp", &program, |address| {
        let mut first = tls_framed(address);
        first.write_all(&frame(b"alone")).unwrap();
        assert_eq!(read_frame(&mut first), b"alone");
        let mut second = tls_framed(address);
        second.write_all(&frame(b"to both")).unwrap();
        for client in [&mut first, &mut second] {
            assert_eq!(read_frame(client), b"to both");
        }
    });
}

fn echoes(address: SocketAddr) {
    let mut client = tls_framed(address);
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_frame(&mut client), b"hello");
}

fn assert_serves(
    compile: &str,
    standard: &str,
    name: &str,
    program: &str,
    talk: impl FnOnce(SocketAddr),
) {
    let folder = folder(name);
    fs::write(folder.join(name), program).unwrap();
    let ini = readme_block("ini", "").replace("port = 8443", "port = 0");
    assert!(ini.contains("port = 0"));
    fs::write(folder.join("server.ini"), ini).unwrap();
    std::os::unix::fs::symlink(library(), folder.join(soname())).unwrap();
    let program = folder.join("readme");
    must(
        compiler(compile, standard)
            .arg(folder.join(name))
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

    talk(([127, 0, 0, 1], port).into());

    server.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn the_ini_file_of_the_readme_has_no_errors() {
    let mut config = Config::new();
    config.load_string(readme_block("ini", "").as_bytes(), "server.ini").unwrap();
    let errors = config.check().into_iter().filter(|f| f.severity == Severity::Error);
    assert_eq!(errors.count(), 0);
}

#[test]
fn every_file_that_the_readme_links_to_exists() {
    // In a block of code the same characters are something else: `[](connection conn)`.
    let text = read("README.md").split("```").step_by(2).collect::<String>();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    for (link, _) in links {
        assert!(root().join(link).exists(), "{link}");
    }
}
