//! What `make install` installs, and that programs outside of the tree find it, in C and C++,
//! shared and static, through pkg-config and CMake, also when it was moved.

mod c_programs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use c_programs::{exists, folder, library, must, read, readme_block, root, run, skipped, soname};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const LANGUAGES: [(&str, &str, &str); 2] = [("c", "cc", "c11"), ("cpp", "c++", "c++17")];

/// The static archive as `make` makes it.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let archive = folder("install_archive").join("libnativeport.a");
        let script = root().join("scripts/static-archive");
        must(Command::new(script).arg(library().with_file_name("libnativeport.a")).arg(&archive));
        archive
    })
}

/// Runs make with the libraries of this build, which it must not build anew.
fn make(target: &str, variables: &[(&str, &Path)]) {
    let mut command = Command::new("make");
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("DESTDIR");
    command.arg("-C").arg(root()).arg(target).arg("CARGO=false");
    let libraries = [("SHARED", library()), ("ARCHIVE", archive().to_owned())];
    for (name, value) in &libraries {
        command.arg(format!("{name}={}", value.display()));
    }
    for (name, value) in variables {
        command.arg(format!("{name}={}", value.display()));
    }
    must(&mut command);
}

/// False, visibly, where the static archive cannot be made.
fn has_tools() -> bool {
    ["make", "ld", "objcopy", "readelf", "ar"].into_iter().all(|tool| {
        let found = exists(tool);
        if !found {
            skipped(&format!("{tool} is not installed, installing was not tried"));
        }
        found
    })
}

/// A prefix that was moved after installing: where it now lies.
fn moved() -> &'static Path {
    static MOVED: OnceLock<PathBuf> = OnceLock::new();
    MOVED.get_or_init(|| {
        let folder = folder("install_moved");
        let (first, moved) = (folder.join("first"), folder.join("moved"));
        make("install", &[("PREFIX", &first)]);
        fs::rename(first, &moved).unwrap();
        moved
    })
}

/// All that is not a folder, as paths from `folder`; links with what they lead to.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if let Ok(target) = fs::read_link(&path) {
                found.insert(format!("{name} -> {}", target.display()));
            } else if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(name);
            }
        }
    }
    found
}

fn readelf(options: &str, file: &Path) -> String {
    let output = must(Command::new("readelf").env("LC_ALL", "C").arg(options).arg(file));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn exported(options: &[&str], file: &Path) -> BTreeSet<String> {
    let output = must(Command::new("nm").args(options).arg(file));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

#[test]
fn these_files_are_installed_below_destdir_and_uninstalled_again() {
    if !has_tools() {
        return;
    }
    let destdir = folder("install_destdir");
    let where_to = [("DESTDIR", &*destdir), ("PREFIX", Path::new("/opt/np"))];
    make("install", &where_to);
    let expected = [
        "include/nativeport.h".to_owned(),
        "include/nativeport.hpp".to_owned(),
        "lib/cmake/nativeport/nativeport-config-version.cmake".to_owned(),
        "lib/cmake/nativeport/nativeport-config.cmake".to_owned(),
        "lib/libnativeport.a".to_owned(),
        format!("lib/libnativeport.so -> {}", soname()),
        format!("lib/{} -> libnativeport.so.{VERSION}", soname()),
        format!("lib/libnativeport.so.{VERSION}"),
        "lib/pkgconfig/nativeport.pc".to_owned(),
    ];
    assert_eq!(files(&destdir.join("opt/np")), BTreeSet::from(expected));
    for name in ["lib/pkgconfig/nativeport.pc", "lib/cmake/nativeport/nativeport-config.cmake"] {
        let text = fs::read_to_string(destdir.join("opt/np").join(name)).unwrap();
        assert!(!text.contains("/opt") && !text.contains('@'), "{text}");
    }

    let shared = destdir.join("opt/np/lib/libnativeport.so");
    assert!(readelf("-dW", &shared).contains(&format!("soname: [{}]", soname())));
    let golden: BTreeSet<_> =
        read("include/nativeport.symbols").lines().map(str::to_owned).collect();
    assert_eq!(exported(&["-D", "--defined-only"], &shared), golden);
    let archive = destdir.join("opt/np/lib/libnativeport.a");
    assert_eq!(exported(&["-g", "--defined-only"], &archive), golden);

    fs::write(destdir.join("opt/np/lib/other"), "").unwrap();
    make("install", &where_to); // over what is there
    make("uninstall", &where_to);
    assert_eq!(files(&destdir), BTreeSet::from(["opt/np/lib/other".to_owned()]));
    make("uninstall", &where_to);
}

/// What pkg-config answers for a prefix.
fn pkg_config(libdir: &Path, options: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", libdir.join("pkgconfig")).args(options).arg("nativeport");
    let text = String::from_utf8(must(&mut command).stdout).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

fn has_pkg_config() -> bool {
    let found = exists("pkg-config");
    if !found {
        skipped("pkg-config is not installed, it was not tried");
    }
    found
}

/// A program of tests/install, compiled with these flags and no others of ours.
fn build(folder: &Path, language: (&str, &str, &str), flags: &[String]) -> PathBuf {
    let (suffix, program, standard) = language;
    let out = folder.join(format!("program_{suffix}"));
    let source = root().join("tests/install").join(format!("server.{suffix}"));
    let mut command = Command::new(program);
    command.arg(format!("-std={standard}")).arg(source).arg("-o").arg(&out).args(flags);
    must(&mut command);
    out
}

fn needs_shared(program: &Path) -> bool {
    readelf("-dW", program).contains(&format!("[{}]", soname()))
}

fn versions() -> String {
    format!("{VERSION} {VERSION}\n")
}

#[test]
fn install_strip_leaves_out_what_only_a_debugger_reads() {
    if !has_tools() {
        return;
    }
    let prefix = folder("install_strip");
    make("install-strip", &[("PREFIX", &prefix)]);
    let installed = prefix.join("lib").join(soname());
    let has_lines = |file: &Path| readelf("-SW", file).contains(".debug_line");
    assert!(has_lines(&library()) && !has_lines(&installed));
    assert!(!has_lines(&prefix.join("lib/libnativeport.a")));
    let defined = ["-D", "--defined-only"];
    assert_eq!(exported(&defined, &installed), exported(&defined, &library()));
}

#[test]
fn pkg_config_finds_the_shared_library_where_the_prefix_was_moved_to() {
    if !has_tools() || !has_pkg_config() {
        return;
    }
    let libdir = moved().join("lib");
    assert_eq!(pkg_config(&libdir, &["--modversion"]), [VERSION]);
    let flags = pkg_config(&libdir, &["--cflags", "--libs"]);
    let folder = folder("install_pkg_config");
    for language in LANGUAGES {
        let program = build(&folder, language, &flags);
        assert!(needs_shared(&program));
        let output = must(Command::new(program).env("LD_LIBRARY_PATH", &libdir));
        assert_eq!(String::from_utf8_lossy(&output.stdout), versions());
    }
}

#[test]
fn pkg_config_static_makes_a_program_that_needs_no_library_at_all() {
    if !has_tools() || !has_pkg_config() {
        return;
    }
    let folder = folder("install_static");
    fs::write(folder.join("empty.c"), "int main(void) { return 0; }\n").unwrap();
    let mut command = Command::new("cc");
    command.current_dir(&folder).args(["-static", "empty.c", "-o", "empty"]);
    if !command.output().unwrap().status.success() {
        skipped("there is no static libc, pkg-config --static was not tried");
        return;
    }
    let libdir = moved().join("lib");
    let mut flags = pkg_config(&libdir, &["--static", "--cflags", "--libs"]);
    flags.insert(0, "-static".to_owned());
    for language in LANGUAGES {
        let program = build(&folder, language, &flags);
        assert!(!readelf("-dW", &program).contains("NEEDED"));
        assert_eq!(run(&program), versions());
    }
}

#[test]
fn pkg_config_finds_what_was_installed_into_another_libdir() {
    if !has_tools() || !has_pkg_config() {
        return;
    }
    let prefix = folder("install_libdir");
    let libdir = prefix.join("lib/of/machine");
    make("install", &[("PREFIX", &prefix), ("LIBDIR", &libdir)]);
    let flags = pkg_config(&libdir, &["--cflags", "--libs"]);
    let program = build(&prefix, LANGUAGES[0], &flags);
    let output = must(Command::new(program).env("LD_LIBRARY_PATH", &libdir));
    assert_eq!(String::from_utf8_lossy(&output.stdout), versions());
}

/// Has CMake look for the package; `wanted` is a version or empty.
fn configure(sources: &Path, build: &Path, wanted: &str) -> Command {
    let mut command = Command::new("cmake");
    command.arg("-S").arg(sources).arg("-B").arg(build);
    command.arg(format!("-DCMAKE_PREFIX_PATH={}", moved().display()));
    command.arg(format!("-DWANTED={wanted}"));
    command
}

#[test]
fn cmake_builds_shared_and_static_where_the_prefix_was_moved_to() {
    if !has_tools() {
        return;
    }
    if !exists("cmake") {
        skipped("cmake is not installed, it was not tried");
        return;
    }
    // A copy, as a project of somebody else.
    let project = folder("install_cmake");
    for file in ["CMakeLists.txt", "server.c", "server.cpp"] {
        fs::copy(root().join("tests/install").join(file), project.join(file)).unwrap();
    }
    let build = project.join("build");
    must(&mut configure(&project, &build, &abi()));
    must(Command::new("cmake").arg("--build").arg(&build));
    for (language, ..) in LANGUAGES {
        let shared = build.join(format!("shared_{language}"));
        assert!(needs_shared(&shared));
        assert_eq!(run(&shared), versions());
        let fixed = build.join(format!("static_{language}"));
        assert!(!needs_shared(&fixed));
        assert_eq!(run(&fixed), versions());
    }

    let accepts =
        |wanted: &str| configure(&project, &build, wanted).output().unwrap().status.success();
    assert!(accepts("") && accepts(VERSION));
    // One that only begins alike, a later one, and a newer one of the same ABI.
    for wanted in [format!("{}9", abi()), "9.0".to_owned(), format!("{}.99", abi())] {
        assert!(!accepts(&wanted), "{wanted}");
    }
}

/// What stands behind the name of the shared library: "0.1".
fn abi() -> String {
    soname().replace("libnativeport.so.", "")
}

#[test]
fn the_commands_of_the_readme_build_and_run_its_program() {
    if !has_tools() || !has_pkg_config() {
        return;
    }
    // A home with what the README has installed there, and its program in a folder beside.
    let home = folder("install_readme");
    std::os::unix::fs::symlink(moved(), home.join("nativeport")).unwrap();
    let project = home.join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("server.cpp"), readme_block("cpp", "main")).unwrap();
    // Any port will do, and at the end of its input the server ends.
    let ini = readme_block("ini", "").replace("port = 8443", "port = 0");
    fs::write(project.join("server.ini"), ini).unwrap();
    let commands = readme_block("sh", "pkg-config");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &commands]).env("HOME", &home).current_dir(&project);
    must(shell.stdin(Stdio::null()));

    if exists("cmake") {
        let lines = readme_block("cmake", "find_package");
        let text = format!(
            "cmake_minimum_required(VERSION 3.13)\nproject(readme CXX)\n\
             set(CMAKE_CXX_STANDARD 17)\nadd_executable(server server.cpp)\n{lines}"
        );
        fs::write(project.join("CMakeLists.txt"), text).unwrap();
        let build = project.join("build");
        must(&mut configure(&project, &build, ""));
        must(Command::new("cmake").arg("--build").arg(&build));
        let mut server = Command::new(build.join("server"));
        must(server.current_dir(&project).stdin(Stdio::null()));
    }
}
