//! What scripts/prepare, and those that need a nightly toolchain, do on machines that lack something. Each
//! machine is a folder of small stand-ins for programs, which is all that a script finds there; they note how
//! they were called.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// What every machine has, from this one.
const BASE: [&str; 18] = [
    "bash", "sh", "cat", "chmod", "cut", "dirname", "echo", "env", "grep", "mkdir", "mktemp",
    "printf", "readlink", "rm", "sed", "sort", "tr", "xargs",
];
/// What the libraries and the programs are built with.
const BUILDING: [&str; 4] = ["cc", "c++", "make", "git"];

/// What further tools the tests are run with.
const TESTING: [&str; 10] = [
    "clang",
    "cmake",
    "curl",
    "javac",
    "mvn",
    "openssl",
    "pkg-config",
    "python3",
    "shellcheck",
    "strace",
];

struct Machine {
    folder: PathBuf,
}

impl Machine {
    /// With the tools for building, a new Rust and the rights of root.
    fn new(test: &str) -> Machine {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prepare-{test}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).expect("the target folder is writable");
        let machine = Machine { folder };
        for tool in BASE {
            symlink(find(tool), machine.tool_path(tool)).expect("a fresh folder");
        }
        for tool in BUILDING {
            machine.tool(tool, "cat");
        }
        machine.tool("id", "echo 0");
        machine.tool("cargo", "exit 0");
        machine.rust("1.999.0");
        machine.packages("true");
        machine
    }

    fn tool_path(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    fn tool(&self, name: &str, body: &str) {
        let path = self.tool_path(name);
        fs::write(&path, script(body)).expect("the folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our file");
    }

    fn without(self, tool: &str) -> Machine {
        fs::remove_file(self.tool_path(tool)).expect("the machine had it");
        self
    }

    fn rust(&self, version: &str) {
        self.tool("rustc", &format!("echo 'rustc {version} (0 2000-01-01)'"));
    }

    /// An apt-get that notes its calls and then runs `installing` for an installation.
    fn packages(&self, installing: &str) {
        let calls = self.folder.join("calls");
        self.tool(
            "apt-get",
            &format!(
                "echo \"apt-get $*\" >>{calls}\n\
                 case $* in *--simulate*) ;; install*) {installing} ;; esac",
                calls = calls.display()
            ),
        );
        self.tool("apt-cache", "exit 0");
    }

    /// apt knows this one package that has to do with Rust.
    fn candidate(&self, package: &str, version: &str) {
        self.tool(
            "apt-cache",
            &format!("[ \"$2\" != {package} ] || echo '  Candidate: {version}'"),
        );
    }

    fn prepare(&self, stage: &str) -> Output {
        self.command("prepare").arg(stage).output().expect("bash runs")
    }

    /// One of scripts, which finds nothing but this machine.
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.tool_path("bash"));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script))
            .env_clear()
            .env("PATH", self.folder.join("bin"))
            .env("HOME", &self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("SSL_CERT_FILE", self.tool_path("bash"));
        command
    }

    /// A rustup and a cargo that note their calls. Both have what the files of these names in the machine's
    /// folder say: nightly, miri and fuzz. What `installing` installs, they make.
    fn rustup(self, installing: &str) -> Machine {
        for tool in ["tee", "timeout", "touch", "nproc"] {
            symlink(find(tool), self.tool_path(tool)).expect("a fresh folder");
        }
        let folder = self.folder.display();
        let note = format!("cd {folder}\necho \"${{0##*/}} $*\" >>calls");
        self.tool("rustup", &format!("{note}\n{installing}"));
        self.tool(
            "rustc",
            "[ \"$1\" != +nightly ] || [ -e \"$HOME/nightly\" ] || exit 1\necho 'rustc 1.999.0'",
        );
        self.tool(
            "cargo",
            &format!(
                "[ \"$*\" != --version ] || exit 0\n{note}\ncase $* in\n'+nightly miri --version') [ -e miri ] ;;\n\
                 'fuzz --version') [ -e fuzz ] ;;\n'install '*) {installing} ;;\n\
                 '+nightly fuzz build'*) echo 'requires rustc'; exit 1 ;;\nesac"
            ),
        );
        self
    }

    /// The calls of apt-get that were no simulation.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| !call.contains("--simulate")).map(str::to_string).collect()
    }
}

fn script(body: &str) -> String {
    format!("#!/bin/sh\n{body}\n")
}

fn find(tool: &str) -> PathBuf {
    let path = env::var_os("PATH").expect("tests run with a PATH");
    let mut found = env::split_paths(&path).map(|folder| folder.join(tool));
    found.find(|file| file.exists()).unwrap_or_else(|| panic!("{tool} is not in the PATH"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both outputs of a run that ended well.
fn good(output: &Output) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    said
}

#[test]
fn where_nothing_is_missing_nothing_is_said_or_done() {
    let machine = Machine::new("complete");
    assert_eq!(good(&machine.prepare("build")), "");
    assert!(machine.calls().is_empty());
}

#[test]
fn root_is_told_of_missing_packages_and_gets_them_installed() {
    let machine = Machine::new("root").without("git");
    let said = good(&machine.prepare("build"));
    assert!(said.contains("apt-get install -y --no-install-recommends git\n"), "{said}");
    let calls = machine.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].starts_with("apt-get update"));
    assert!(calls[1].starts_with("apt-get install ") && calls[1].ends_with(" git"));
}

#[test]
fn only_the_stage_of_the_tests_gets_what_only_tests_need() {
    let machine = Machine::new("testing");
    for tool in TESTING {
        machine.tool(tool, "cat");
    }
    assert_eq!(good(&machine.prepare("test")), "");
    let machine = machine.without("cmake").without("pkg-config");
    assert_eq!(good(&machine.prepare("build")), "");
    good(&machine.prepare("test"));
    assert!(machine.calls()[1].ends_with(" cmake pkgconf"), "{:?}", machine.calls());
}

#[test]
fn a_user_gets_the_exact_command_and_status_2() {
    let machine = Machine::new("user").without("git").without("make");
    machine.tool("id", "echo 1000");
    let output = machine.prepare("build");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let command =
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends make git\n";
    assert!(said.contains(command), "{said}");
    assert!(machine.calls().is_empty());
}

#[test]
fn without_apt_the_missing_packages_are_named_with_status_2() {
    let machine = Machine::new("other").without("git").without("apt-get");
    let output = machine.prepare("build");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(" git "));
}

#[test]
fn an_old_rust_is_replaced_by_the_rustup_of_the_distribution() {
    let machine = Machine::new("rustup");
    machine.rust("1.60.0");
    let bin = machine.folder.join("bin");
    // The toolchain is there once rustup was asked for it.
    let toolchain = format!(
        "case $1 in toolchain) printf '#!/bin/sh\\necho rustc 1.999.0\\n' >{0}/rustc ;; esac",
        bin.display()
    );
    machine.tool("new-rustup", &toolchain);
    machine
        .packages(&format!("cat {0}/new-rustup >{0}/rustup; chmod +x {0}/rustup", bin.display()));
    machine.candidate("rustup", "1.27.1");
    let said = good(&machine.prepare("build"));
    assert!(said.contains("found: 1.60.0"), "{said}");
    assert!(said.contains("rustup toolchain install stable --profile minimal"), "{said}");
    assert!(machine.calls()[1].ends_with(" rustup"));
}

#[test]
fn a_packaged_rust_counts_only_if_it_is_new_enough() {
    let machine = Machine::new("packaged");
    let bin = machine.folder.join("bin");
    let new = format!("printf '#!/bin/sh\\necho rustc 1.999.0\\n' >{}/rustc", bin.display());
    machine.rust("1.60.0");
    machine.packages(&new);
    machine.tool(
        "apt-cache",
        "case $2 in rustc) echo '  Candidate: 1.63.0' ;; rustc-web) echo '  Candidate: 1.999.0' ;; esac",
    );
    good(&machine.prepare("build"));
    assert!(machine.calls()[1].ends_with(" rustc-web cargo-web"), "{:?}", machine.calls());
}

#[test]
fn without_a_packaged_rust_the_official_installer_is_announced_and_run() {
    let machine = Machine::new("installer").without("rustc").without("cargo");
    // It leaves Rust where a shell does not look for it.
    let installer = machine.folder.join("installer");
    let installed = "mkdir -p $HOME/.cargo/bin; cd $HOME/.cargo/bin\n\
                     printf '#!/bin/sh\\necho rustc 1.999.0\\n' >rustc\n\
                     printf '#!/bin/sh\\n' >cargo; chmod +x rustc cargo";
    fs::write(&installer, script(installed)).expect("the folder is writable");
    let curl = "while [ \"$1\" != -o ]; do shift; done";
    machine.tool("curl", &format!("{curl}\ncat {} >\"$2\"", installer.display()));
    let said = good(&machine.prepare("build"));
    assert!(said.contains("found: none"), "{said}");
    assert!(said.contains("https://sh.rustup.rs"), "{said}");
    assert_eq!(good(&machine.prepare("build")), "", "the second time finds it");
}

#[test]
fn an_installer_that_cannot_be_reached_is_an_error_in_words() {
    let machine = Machine::new("unreachable").without("rustc");
    machine.tool("curl", "exit 6");
    let output = machine.prepare("build");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot be reached"), "{}", text(&output.stderr));
}

/// What a run says that was skipped: with its code, and a line with this reason.
fn skipped(output: &Output, reason: &str) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains(&format!("SKIPPED, {reason}")), "{said}");
    said
}

#[test]
fn in_ci_a_nightly_that_cannot_be_had_is_tried_for_and_skipped_visibly() {
    for (script, components) in [("miri", " --component=miri --component=rust-src"), ("fuzz", "")] {
        let machine = Machine::new(&format!("no-nightly-{script}")).rustup("exit 1");
        skipped(
            &machine.command(script).output().expect("bash runs"),
            "there is no nightly toolchain",
        );
        assert!(machine.calls().is_empty(), "{:?}", machine.calls());
        let output = machine.command(script).env("CI", "true").output().expect("bash runs");
        let tried = format!(
            "rustup toolchain install nightly --profile minimal --no-self-update{components}"
        );
        let said = skipped(&output, "there is no nightly toolchain");
        assert!(said.contains(&format!("==> {tried}\n")), "{said}");
        assert_eq!(machine.calls(), [tried]);
    }
}

#[test]
fn in_ci_miri_and_cargo_fuzz_are_installed() {
    let machine =
        Machine::new("miri").rustup("touch nightly; [ \"$1\" != component ] || touch miri");
    let said = good(&machine.command("miri").env("CI", "true").output().expect("bash runs"));
    let add = "rustup component add --toolchain nightly miri rust-src";
    assert!(said.contains(&format!("==> {add}\n")), "{said}");
    let calls = machine.calls();
    assert!(calls[0].starts_with("rustup toolchain install nightly "), "{calls:?}");
    assert!(calls[1..3] == ["cargo +nightly miri --version", add], "{calls:?}");
    assert!(calls[3].starts_with("cargo +nightly miri test "), "{calls:?}");

    let machine = Machine::new("fuzz").rustup("touch nightly; [ \"$1\" != install ] || touch fuzz");
    // Its nightly is too old in the end: nothing is fuzzed on this machine.
    let output = machine.command("fuzz").env("CI", "true").output().expect("bash runs");
    let said = skipped(&output, "the nightly toolchain is too old");
    assert!(said.contains("==> cargo install --locked cargo-fuzz\n"), "{said}");
    let calls = machine.calls();
    assert!(calls[0].starts_with("rustup toolchain install nightly "), "{calls:?}");
    assert_eq!(calls[1..3], ["cargo fuzz --version", "cargo install --locked cargo-fuzz"]);
    assert!(calls[3].starts_with("cargo +nightly fuzz build "), "{calls:?}");
}

#[test]
fn in_ci_what_cannot_be_added_to_a_nightly_is_skipped_visibly() {
    for (script, missing) in
        [("miri", "miri cannot be added"), ("fuzz", "cargo-fuzz cannot be installed")]
    {
        let machine = Machine::new(&format!("bare-nightly-{script}")).rustup("exit 1");
        fs::write(machine.folder.join("nightly"), "").expect("the folder is writable");
        skipped(&machine.command(script).env("CI", "true").output().expect("bash runs"), missing);
    }
}
