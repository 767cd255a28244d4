//! System calls that fail: the n-th one of each kind, for n = 1 until there are no more, in a
//! C host that lives its whole life. Never a crash, a hang or silence: either an error with
//! words, or clients that are served in the end. And whatever it was, what the host has handed
//! over is released, and no descriptor and no thread is left.

mod c_programs;

use c_programs::{build_c, can_trace, root, skipped};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

/// A kind of call, and errors that the system may answer it with.
///
/// EAGAIN is no true answer of a socket that is ready, but one that a connection has to
/// survive or end by its deadline; an accepter that is told it sees no edge until the next
/// connection, so accept4 has none.
const CALLS: &[(&str, &[&str])] = &[
    ("socket", &["EMFILE", "ENOMEM"]),
    ("setsockopt", &["ENOMEM"]),
    ("bind", &["EADDRINUSE", "EACCES"]),
    ("listen", &["EADDRINUSE"]),
    ("getsockname", &["ENOBUFS"]),
    ("fcntl", &["EMFILE"]),
    ("epoll_create1", &["EMFILE", "ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("eventfd2", &["EMFILE", "ENOMEM"]),
    ("clone3", &["EAGAIN"]),
    (
        "accept4",
        &["ECONNABORTED", "EPERM", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EINTR", "EPROTO"],
    ),
    ("epoll_wait", &["EINTR", "EINVAL"]),
    ("recvfrom", &["ECONNRESET", "EINTR", "ENOMEM", "EAGAIN"]),
    ("recvmsg", &["ECONNRESET", "EINTR", "EAGAIN"]),
    ("sendto", &["ECONNRESET", "EPIPE", "EINTR", "ENOBUFS", "EAGAIN"]),
    ("sendmsg", &["ECONNRESET", "EPIPE", "EINTR", "ENOBUFS", "EAGAIN"]),
    ("shutdown", &["ENOTCONN"]),
];

/// Those that set up a runtime and its ports: each consumer of events has its own way through them.
const SET_UP: &[&str] =
    &["socket", "bind", "listen", "fcntl", "epoll_create1", "epoll_ctl", "eventfd2", "clone3"];

/// No thread of the host makes as many calls of a kind.
const LAST_NUMBER: usize = 200;

/// What came of one run.
struct Run {
    injected: bool,
    /// What is wrong with it, if anything.
    wrong: Option<String>,
}

fn run(program: &Path, consumer: &str, call: &str, error: &str, number: usize) -> Run {
    let trace = program.with_file_name(format!("{consumer}-{call}-{error}-{number}"));
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={number}"), "-o"])
        .arg(&trace)
        .arg(program)
        .arg(consumer)
        .output()
        .unwrap();
    let calls = fs::read_to_string(&trace).unwrap_or_default();
    fs::remove_file(&trace).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = match (output.status.code(), output.status.signal()) {
        (Some(0), _) => None,
        // An error, with the function, the status and words.
        (Some(3), _) if said.starts_with("np_") && said.matches(": ").count() >= 2 => None,
        _ => Some(format!(
            "{consumer}: {call}, {error}, number {number}: {}\n{said}{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            calls.lines().filter(|line| line.contains("INJECTED")).collect::<Vec<_>>().join("\n"),
        )),
    };
    Run { injected: calls.contains("INJECTED"), wrong }
}

#[test]
fn any_system_call_may_fail_at_any_time_without_a_crash_a_hang_or_silence() {
    if !can_trace() {
        skipped("strace is not installed or may not trace; no system call was made to fail");
        return;
    }
    let program: PathBuf = build_c("torture", &root().join("tests/c/torture.c"), &[]);
    let cases = ["callbacks", "workers", "poll"].into_iter().flat_map(|consumer| {
        let calls =
            CALLS.iter().filter(move |(call, _)| consumer == "callbacks" || SET_UP.contains(call));
        calls.flat_map(move |(call, errors)| {
            errors.iter().map(move |error| (consumer, *call, *error))
        })
    });
    let left = Mutex::new(cases);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // Most of a run is waiting.
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((consumer, call, error)) = left.lock().unwrap().next() else { return };
                    let (begun, mut runs) = (Instant::now(), 0);
                    for number in 1..=LAST_NUMBER {
                        let run = run(&program, consumer, call, error, number);
                        wrong.lock().unwrap().extend(run.wrong);
                        if !run.injected {
                            break;
                        }
                        runs = number;
                        assert!(number < LAST_NUMBER, "{call} is made more often than that");
                    }
                    let took = begun.elapsed().as_millis();
                    println!("{consumer}: {call} {error}: {runs} runs in {took} ms");
                    if runs == 0 {
                        let never = format!("{consumer}: {call} was never made to fail");
                        wrong.lock().unwrap().push(never);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
