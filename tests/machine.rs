//! A machine that fails and a process with habits of its own: no descriptors, errors of
//! accept, storms of resets, signals, fork, two copies of the library, a log sink and
//! callbacks that block. Most tests drive `tests/c/host.c`, a C host that echoes.

mod c_programs;
mod support;

use c_programs::{build_c, can_trace, folder, library, must, root, skipped};
use nativeport::config::Config;
use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::log::{Level, Record, Sink};
use nativeport::status::CloseReason;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::*;

const PORT: &str = "[Port]\nport=0\nbindAddress=127.0.0.1\n";

/// A running C host.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    addresses: Vec<SocketAddr>,
}

fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build_c("host", &root().join("tests/c/host.c"), &[])).clone()
}

impl Host {
    fn start(ini: &str) -> Host {
        let mut command = Command::new(program());
        command.arg(ini);
        Host::spawn(command, ini)
    }

    /// With at most so many descriptors.
    fn with_descriptors(ini: &str, limit: u64) -> Host {
        let mut command = Command::new(program());
        command.arg(ini);
        let set = move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            // SAFETY: a plain system call, between fork and exec.
            match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: it allocates nothing.
        unsafe { command.pre_exec(set) };
        Host::spawn(command, ini)
    }

    /// Under strace with these options.
    fn traced(ini: &str, options: &[&str]) -> Host {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(options).arg(program()).arg(ini);
        Host::spawn(command, ini)
    }

    fn spawn(mut command: Command, ini: &str) -> Host {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a host");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut host = Host { child, input, output, addresses: Vec::new() };
        for _ in 0..ini.matches("[Port").count() {
            let line = host.line();
            let port: u16 = line.strip_prefix("port ").expect("a port").parse().unwrap();
            host.addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        host
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the host has ended: {}", self.child.wait().unwrap());
        line.trim_end().to_owned()
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
        self.line()
    }

    /// An answer of the form `name=number …`.
    fn numbers(&mut self, what: &str) -> HashMap<String, i64> {
        self.ask(what)
            .split_whitespace()
            .map(|pair| {
                let (name, number) = pair.split_once('=').unwrap();
                (name.to_owned(), number.parse().unwrap())
            })
            .collect()
    }

    fn stat(&mut self, name: &str) -> i64 {
        self.numbers("stats").get(name).copied().unwrap_or(0)
    }

    fn wait_for(&mut self, what: &str, mut done: impl FnMut(&HashMap<String, i64>) -> bool) {
        let begun = Instant::now();
        loop {
            let stats = self.numbers("stats");
            if done(&stats) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} did not come about: {stats:?}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many of those who came have not ended.
    fn wait_for_open(&mut self, open: i64, came_at_least: i64) {
        let others = ["accepted", "accept_errors", "opened", "closed", "log_lines", "complaints"];
        self.wait_for("the ends of the others", |stats| {
            let reasons = stats.iter().filter(|(name, _)| !others.contains(&name.as_str()));
            let ends: i64 = reasons.map(|(_, count)| count).sum();
            stats["accepted"] >= came_at_least && ends == stats["accepted"] - open
        });
    }

    /// Waits until it cannot open anything any more, a folder neither.
    fn wait_for_none_left(&mut self) {
        let begun = Instant::now();
        while self.numbers("resources")["fds"] >= 0 {
            assert!(begun.elapsed() < PATIENCE, "descriptors are left");
            sleep(Duration::from_millis(1));
        }
    }

    /// How often each accepter has gone to sleep.
    fn sleeps_of_accepters(&self) -> HashMap<PathBuf, u64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let accepters = threads.map(|thread| thread.unwrap().path()).filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("np-acc-"))
        });
        let sleeps = |thread: PathBuf| {
            let status = fs::read_to_string(thread.join("status")).unwrap();
            let name = "voluntary_ctxt_switches:";
            let sleeps = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            (thread, sleeps.trim().parse().unwrap())
        };
        accepters.map(sleeps).collect()
    }

    /// While accepting fails, an accepter tries again after 10 ms at first, then after twice as
    /// long each time, up to 200 ms.
    fn assert_accepter_backs_off(&self) {
        let (before, begun) = (self.sleeps_of_accepters(), Instant::now());
        // One that spins does not come to that; one that waits too little does too soon. Others may
        // have nobody to accept.
        wait_until("ten sleeps", || {
            let mut now = self.sleeps_of_accepters().into_iter();
            now.any(|(accepter, sleeps)| sleeps >= before[&accepter] + 10)
        });
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(500), "ten times back in {took:?}");
    }

    /// Ends it in order; everything must have ended well.
    fn finish(mut self) {
        assert_eq!(self.ask("stop"), "stopped");
        drop(self.input.take());
        assert_eq!(self.line(), "over");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status} {:?}", status.signal());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One frame there and back.
fn echoes(client: &mut TcpStream) {
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_frame(client), b"hello");
}

/// What becomes of a client that says its first byte: answered, or ended. Never left hanging.
fn is_let_in(client: &mut TcpStream) -> bool {
    let mut byte = [0];
    // A reset may be there already.
    let _ = client.write_all(&[1]);
    match client.read(&mut byte) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "a client was left hanging");
            false
        }
    }
}

#[test]
fn without_descriptors_those_over_are_reset_and_a_later_client_is_served() {
    for (accepters, descriptors) in [(1, 40), (4, 55)] {
        those_over_are_reset(accepters, descriptors);
    }
}

fn those_over_are_reset(accepters: u32, descriptors: u64) {
    let ini = format!(
        "{PORT}maxHandshakes=0\naccepterThreads={accepters}\n[Runtime]\nioThreads=1\nhandshakeThreads=1\n"
    );
    let mut host = Host::with_descriptors(&ini, descriptors);
    let begun = Instant::now();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(host.address())).collect();
    let (mut inside, outside): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .map(|mut client| (is_let_in(&mut client), client))
        .partition(|(inside, _)| *inside);
    assert!(inside.len() > 15 && outside.len() >= 20, "{} {}", inside.len(), outside.len());
    inside.iter_mut().for_each(|(_, client)| echoes(client));
    // While one of those over held a descriptor, there was one less for the others: who comes later gets it.
    loop {
        let mut client = connect(host.address());
        if !is_let_in(&mut client) {
            break;
        }
        inside.push((true, client));
    }
    // Now all are taken, and the shortage lasts: nobody spins, and still nobody hangs.
    host.assert_accepter_backs_off();
    let refused = outside.len() as i64 + 1;
    host.wait_for("the count of those over", |stats| stats["no_descriptors"] == refused);
    host.wait_for("a complaint", |stats| stats["complaints"] >= 1);
    // One for each second at most, however many accepters there are.
    let complaints = host.stat("complaints");
    assert!(complaints <= 1 + begun.elapsed().as_secs() as i64, "{complaints}");
    drop(outside);
    inside.truncate(inside.len() - 5);
    host.wait_for("five ends", |stats| stats.get("peer_closed").is_some_and(|ends| *ends >= 5));
    let mut late = connect(host.address());
    assert!(is_let_in(&mut late));
    echoes(&mut late);
    host.finish();
}

#[test]
fn the_reserved_descriptor_comes_back_after_others_have_taken_it() {
    let ini = format!("{PORT}maxHandshakes=0\n[Runtime]\nioThreads=1\nhandshakeThreads=1\n");
    let mut host = Host::with_descriptors(&ini, 60);
    let mut early = framed(host.address());
    // The host takes every descriptor that becomes free, the reserved one too.
    assert_eq!(host.ask("hog"), "hogging");
    host.wait_for_none_left();
    let waiting: Vec<TcpStream> = (0..40).map(|_| connect(host.address())).collect();
    host.assert_accepter_backs_off();
    echoes(&mut early);
    assert_eq!(host.ask("yield"), "yielded");
    for mut client in waiting {
        // Reset by then, or served now.
        is_let_in(&mut client);
    }
    host.wait_for_open(1, 41);
    assert!(is_let_in(&mut connect(host.address())));
    // The next shortage finds the reserved descriptor in its place.
    let mut clients = Vec::new();
    loop {
        let mut client = connect(host.address());
        if !is_let_in(&mut client) {
            break;
        }
        clients.push(client);
        assert!(clients.len() < 60);
    }
    assert!(host.stat("no_descriptors") > 0);
    host.finish();
}

/// Twelve clients, each of which meets this error of accept.
fn all_are_served_despite(error: &str) {
    let trace = folder(&format!("accept-{error}")).join("trace");
    let inject = format!("inject=accept4:error={error}:when=1..40+3");
    let options = ["-e", "trace=accept4", "-e", &inject, "-o", trace.to_str().unwrap()];
    let mut host = Host::traced(PORT, &options);
    for _ in 0..12 {
        echoes(&mut framed(host.address()));
    }
    // The trace may tell of a call a moment later than the server has counted it.
    wait_until("each failure to be counted", || {
        let injected = fs::read_to_string(&trace).unwrap().matches("INJECTED").count() as i64;
        injected > 1 && host.stat("accept_errors") == injected
    });
    host.finish();
}

#[test]
fn no_error_of_accept_ends_a_listener() {
    if !can_trace() {
        skipped("strace is not installed or may not trace; no accept was made to fail");
        return;
    }
    for error in ["ECONNABORTED", "EPERM", "ENOBUFS", "ENFILE", "ENOMEM", "EMFILE", "EPROTO"] {
        all_are_served_despite(error);
    }
}

#[test]
fn an_accept_that_fails_for_ever_neither_spins_nor_keeps_a_listener_from_stopping() {
    if !can_trace() {
        skipped("strace is not installed or may not trace; no accept was made to fail");
        return;
    }
    // Each round ends in a pause: after 64 errors that may be those of one connection each, or
    // after the second of a shortage and one more call to get rid of somebody.
    for (error, a_round) in [("EPERM", 64), ("EINVAL", 64), ("ECONNABORTED", 64), ("ENFILE", 3)] {
        let trace = folder(&format!("accept-for-ever-{error}")).join("trace");
        let inject = format!("inject=accept4:error={error}:when=1+");
        let options = ["-ttt", "-e", "trace=accept4", "-e", &inject, "-o", trace.to_str().unwrap()];
        let mut host = Host::traced(PORT, &options);
        let _client = connect(host.address());
        // Pauses of 10, 20, 40, 80, 160 and 200 ms lie between seven rounds. One that spins gets
        // there at once, and a busy machine only makes it later.
        let calls = 6 * a_round + 1;
        let mut times = Vec::new();
        wait_until("its calls", || {
            times = times_of_injected(&fs::read_to_string(&trace).unwrap_or_default());
            times.len() >= calls
        });
        let took = times[calls - 1] - times[0];
        assert!(took >= 0.5, "{error}: {calls} calls in {took} s");
        host.wait_for("a complaint", |stats| stats.get("complaints").is_some_and(|n| *n >= 1));
        host.finish();
    }
}

/// When each call of a trace was made to fail, in seconds.
fn times_of_injected(trace: &str) -> Vec<f64> {
    // The last line may be half written.
    let whole = trace.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let injected = whole.lines().filter(|line| line.contains("INJECTED"));
    injected.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

/// Connects and resets, or connects and closes, until at least `count` have come. Some never
/// come: the system may lose a connection that is reset while the backlog is full.
fn storm(host: &mut Host, count: usize, with_reset: bool) {
    let (address, over) = (host.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _over = OverAtLast(&over);
        for part in 0..2 {
            let over = &over;
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    // It may have been evicted before it knew that it was connected.
                    let Ok(mut client) = TcpStream::connect(address) else { continue };
                    // Some before their first byte, some after it.
                    if (number + part) % 4 == 0 {
                        let _ = client.write_all(&[1, 0, 0]);
                    }
                    if with_reset {
                        reset(client);
                    }
                }
            });
        }
        let target = host.stat("accepted") as u64 + count as u64;
        wait_for_count("the storm", target, || host.stat("accepted") as u64);
    });
    // Accepted behind all of them.
    drop(framed(address));
    host.wait_for_open(1, 0);
}

/// Ends a storm also where the test fails: its threads are waited for.
struct OverAtLast<'a>(&'a AtomicBool);

impl Drop for OverAtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn a_storm_leaves_nothing_behind(with_reset: bool, count: usize) {
    let mut host = Host::start(PORT);
    let mut bystander = framed(host.address());
    let at_first = host.numbers("resources");
    // Buffers and tables grow to what was there at once, not to what has been there: of some
    // waves one finds them large enough.
    let mut grew = Vec::new();
    storm(&mut host, count / 2, with_reset);
    while grew.last().is_none_or(|grew| *grew >= 512) {
        assert!(grew.len() < 5, "memory grows with each wave, in KiB: {grew:?}");
        let before = host.numbers("resources");
        storm(&mut host, count, with_reset);
        // They are counted just before they let go.
        let mut after = host.numbers("resources");
        wait_until("the end of what they held", || {
            after = host.numbers("resources");
            after["fds"] <= at_first["fds"]
        });
        assert_eq!(after["threads"], at_first["threads"]);
        grew.push(after["anonymous"] - before["anonymous"]);
    }
    let stats = host.numbers("stats");
    assert_eq!(stats["opened"], stats["closed"] + 1);
    assert_eq!(stats["complaints"], 0);
    echoes(&mut bystander);
    println!("grown by {grew:?} KiB\n{stats:?}");
    drop(bystander);
    host.finish();
}

#[test]
fn a_storm_of_resets_leaves_descriptors_threads_and_memory_as_they_were() {
    a_storm_leaves_nothing_behind(true, 20_000);
}

#[test]
fn connecting_and_closing_leaves_descriptors_threads_and_memory_as_they_were() {
    // Each close leaves a port in TIME_WAIT for a minute.
    a_storm_leaves_nothing_behind(false, 5_000);
}

const WITH_TLS_PORT: &str = "[Port.plain]\nport=0\nbindAddress=127.0.0.1\n[Port.tls]\nport=0\n\
    bindAddress=127.0.0.1\nsslSection=Tls\n[Tls]\nselfSigned=localhost\n";

#[test]
fn threads_of_the_library_have_names_that_begin_with_np_and_are_shown_whole() {
    let host = Host::start(&format!("{WITH_TLS_PORT}[Runtime]\nioThreads=1\nhandshakeThreads=1\n"));
    let mut names = ["handshake-0", "io-0", "log"].map(|name| format!("np-{name}\n")).to_vec();
    names.extend(host.addresses.iter().map(|at| format!("np-acc-{}-0\n", at.port())));
    names.sort();
    let main = host.child.id().to_string();
    let tasks = format!("/proc/{main}/task");
    // A thread names itself when it begins.
    wait_until(&format!("{names:?}"), || {
        let tasks = fs::read_dir(&tasks).unwrap().map(Result::unwrap);
        let others = tasks.filter(|task| task.file_name() != *main);
        let mut all: Vec<_> =
            others.map(|task| fs::read_to_string(task.path().join("comm")).unwrap()).collect();
        all.sort();
        all == names
    });
    host.finish();
}

#[test]
fn a_host_with_sigpipe_at_default_survives_peers_that_vanish() {
    let mut host = Host::start(WITH_TLS_PORT);
    assert_eq!(host.ask("spam"), "spamming");
    let (plain, tls) = (host.addresses[0], host.addresses[1]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for first in [1, 2, 3, 4].into_iter().cycle().take(400) {
                let mut client = connect(plain);
                client.write_all(&[first]).unwrap();
                let _ = client.write_all(&frame(&[9; 50_000]));
                if first % 2 == 0 {
                    let _ = client.read(&mut [0; 10]);
                }
                reset(client);
            }
        });
        scope.spawn(move || {
            for number in 0..60 {
                let mut client = tls_connect(tls);
                client.write_all(&[1]).unwrap();
                let _ = client.write_all(&frame(&[9; 30_000]));
                if number % 2 == 0 {
                    reset(client.sock);
                }
            }
        });
    });
    assert_eq!(host.ask("calm"), "calm");
    host.wait_for("the end of all", |stats| {
        // Every second one of the first waits until it is served.
        stats["opened"] >= 200 && stats["opened"] == stats["closed"]
    });
    echoes(&mut framed(plain));
    host.finish();
}

#[test]
fn signals_reach_the_hosts_own_thread_and_its_masks_and_dispositions_stay() {
    let mut host = Host::start(WITH_TLS_PORT);
    let mut client = framed(host.address());
    let pid = host.child.id() as libc::pid_t;
    for round in 0..200 {
        let signal = if round % 2 == 0 { libc::SIGUSR1 } else { libc::SIGALRM };
        // SAFETY: a signal that the host handles, to a child that is not reaped.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        echoes(&mut client);
    }
    let answer = host.numbers("signals");
    assert!(answer["here"] > 0, "{answer:?}");
    assert_eq!((answer["elsewhere"], answer["mask"], answer["dispositions"]), (0, 1, 1));
    host.finish();
}

#[test]
fn no_thread_of_the_library_blocks_signals_of_its_own_faults_or_takes_the_hosts() {
    let host = Host::start(WITH_TLS_PORT);
    let _client = framed(host.address());
    let pid = host.child.id();
    // A thread begins with everything blocked, and sets its mask when it first runs.
    wait_until("the masks of five threads", || masks_are_right(pid) >= 5);
    host.finish();
}

/// How many threads beside the first one a process has, if their masks are as they should be.
fn masks_are_right(pid: u32) -> usize {
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap();
        if task.file_name().to_string_lossy() == pid.to_string() {
            continue;
        }
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
        let is_blocked = |signal: i32| blocked >> (signal - 1) & 1 == 1;
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        let others = [libc::SIGPIPE, libc::SIGUSR1, libc::SIGTERM, libc::SIGCHLD, libc::SIGALRM];
        if faults.into_iter().any(is_blocked) || !others.into_iter().all(is_blocked) {
            return 0;
        }
        threads += 1;
    }
    threads
}

#[test]
fn every_descriptor_is_closed_on_exec() {
    let mut host = Host::start(WITH_TLS_PORT);
    let _plain = framed(host.addresses[0]);
    let _tls = tls_framed(host.addresses[1]);
    let answer = host.numbers("inherited");
    assert!(answer["seen"] >= 10, "{answer:?}");
    assert_eq!(answer["inherited"], 0);
    // A program that is started while all of this is open has no socket of ours.
    assert_eq!(host.ask("exec"), "0");
    host.finish();
}

/// The calls of a trace, those put together that another thread has interrupted.
fn whole_calls(trace: &str) -> Vec<String> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut whole = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        if let Some(call) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, call);
        } else if let Some((_, end)) = rest.split_once("resumed>") {
            whole.push(format!("{}{end}", begun.remove(thread).unwrap_or_default()));
        } else {
            whole.push(rest.to_owned());
        }
    }
    whole
}

#[test]
fn every_descriptor_is_made_with_close_on_exec() {
    if !can_trace() {
        skipped("strace is not installed or may not trace; how descriptors are made was not seen");
        return;
    }
    let trace = folder("cloexec").join("trace");
    let calls = "trace=socket,accept,accept4,epoll_create,epoll_create1,eventfd,eventfd2,pipe,\
                 pipe2,open,openat,dup,dup2,dup3,fcntl,socketpair,timerfd_create,signalfd4,\
                 inotify_init1,memfd_create";
    let host = Host::traced(WITH_TLS_PORT, &["-e", calls, "-o", trace.to_str().unwrap()]);
    let _plain = framed(host.addresses[0]);
    let _tls = tls_framed(host.addresses[1]);
    host.finish();
    let trace = fs::read_to_string(trace).unwrap();
    for call in ["socket(", "accept4(", "epoll_create1(", "eventfd2("] {
        assert!(trace.contains(call), "{call} was not seen");
    }
    let careless: Vec<String> = whole_calls(&trace)
        .into_iter()
        .filter(|call| !call.contains("fcntl(") || call.contains("F_DUPFD"))
        .filter(|call| !call.contains("CLOEXEC"))
        .collect();
    assert!(careless.is_empty(), "{careless:#?}");
}

#[test]
fn the_child_of_a_fork_is_told_state_by_every_function_and_its_parent_goes_on() {
    let mut host = Host::start(WITH_TLS_PORT);
    // Threads of the host and of the library hold locks at any moment.
    let mut flooded = framed(host.address());
    assert_eq!(host.ask("spam"), "spamming");
    let drain = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while flooded.read(&mut buffer).is_ok_and(|got| got > 0) {}
    });
    let answer = host.numbers("fork");
    assert_eq!(answer["good"], answer["forks"]);
    assert_eq!(host.ask("calm"), "calm");
    echoes(&mut framed(host.address()));
    host.finish();
    drain.join().unwrap();
}

#[test]
fn two_copies_of_the_library_in_one_process_serve_side_by_side() {
    let folder = folder("two-copies");
    let copies = ["one.so", "two.so"].map(|name| folder.join(name));
    for copy in &copies {
        fs::copy(library(), copy).unwrap();
    }
    let source = root().join("tests/c/two_copies.c");
    let program = folder.join("program");
    let mut command = c_programs::compiler("cc", "c11");
    must(command.arg(source).arg("-o").arg(&program).arg("-ldl"));
    let output = must(Command::new(&program).args(&copies));
    assert_eq!(output.stdout, b"ok\n");
}

#[test]
fn a_wall_clock_that_jumps_moves_no_deadline() {
    let shim = folder("jumping-clock").join("shim.so");
    let mut command = c_programs::compiler("cc", "c11");
    command.args(["-shared", "-fPIC"]).arg(root().join("tests/c/jumping_clock.c"));
    must(command.arg("-o").arg(&shim));
    // One port for each deadline: nobody has to be quick.
    let ini = format!(
        "{PORT}readTimeout=300ms\n{}idleTimeout=800ms\n",
        PORT.replace("[Port]", "[Port.idle]")
    );
    let mut command = Command::new(program());
    command.arg(&ini).env("LD_PRELOAD", &shim);
    let mut host = Host::spawn(command, &ini);
    // Moved by a jump, they would come at once, or after hours.
    for (index, first, deadline, reason) in
        [(0, &b""[..], 300, "read_timeout"), (1, &b"\x01"[..], 800, "idle_timeout")]
    {
        let begun = Instant::now();
        let mut client = connect(host.addresses[index]);
        client.write_all(first).unwrap();
        // The answer to a first byte, and the end.
        assert_eq!(read_to_end(&mut client), first);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(deadline - 100), "{reason} after {took:?}");
        host.wait_for(reason, |stats| stats.get(reason) == Some(&1));
    }
    host.finish();
}

/// Something that blocks until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait_for(&self, count: usize) {
        wait_until("blocking", || self.waiting.load(Ordering::SeqCst) >= count);
    }
}

/// Opens a gate when it is dropped.
struct OpenedAtLast(Arc<Gate>);

impl Drop for OpenedAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Stuck(Arc<Gate>, Arc<AtomicUsize>);

impl Sink for Stuck {
    fn log(&mut self, _: &Record<'_>) {
        self.0.pass();
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_log_sink_that_blocks_does_not_stop_connections_and_drops_are_counted() {
    let (gate, logged) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let server = echo_server("maxHandshakes=0\nmaxHandshakesPerAddress=0", "");
    // Opened also if the test fails: the runtime would wait for its sink for ever.
    let _opened = OpenedAtLast(gate.clone());
    let sink = Stuck(gate.clone(), logged.clone());
    server.runtime.set_log(Level::Debug, Some(Box::new(sink))).unwrap();
    let slow_before = server.runtime.stats().slow_turns;
    let mut client = framed(server.address);
    // One record for each.
    for _ in 0..3000 {
        drop(connect(server.address));
    }
    gate.wait_for(1);
    wait_until("drops", || server.runtime.stats().log_dropped > 0);
    for _ in 0..100 {
        echoes(&mut client);
    }
    wait_for_count("all ends", 3000, || {
        server.listener.stats().closes[CloseReason::ClosedBeforeIdentified.code() as usize]
    });
    // Listeners end while the sink is stuck; only the runtime waits for it.
    drop(client);
    server.listener.stop(0).unwrap();
    server.listener.wait(Some(PATIENCE.as_millis() as u64)).unwrap();
    gate.open();
    server.runtime.stop(0).unwrap();
    server.runtime.wait(None).unwrap();
    // 3,000 ends before the first byte, that of the client, and the listener's; a machine with
    // no time for a loop is told of too.
    let stats = server.runtime.stats();
    let told = logged.load(Ordering::SeqCst) as u64 + stats.log_dropped;
    assert_eq!(told, 3002 + stats.slow_turns - slow_before);
}

/// Keeps the lines of one stage.
struct Stage(&'static str, Arc<Mutex<Vec<String>>>);

impl Sink for Stage {
    fn log(&mut self, record: &Record<'_>) {
        if record.stage == self.0 {
            self.1.lock().unwrap().push(record.text.to_owned());
        }
    }
}

#[test]
fn the_log_tells_of_listeners_that_start_and_stop() {
    let mut config = Config::new();
    config.load_string(b"[Port]\nport=0\nbindAddress=127.0.0.1\n", "file.ini").unwrap();
    let runtime = runtime_of(&config);
    let lines = Arc::new(Mutex::new(Vec::new()));
    runtime.set_log(Level::Info, Some(Box::new(Stage("listener", lines.clone())))).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    listener.stop(0).unwrap();
    runtime.stop(0).unwrap();
    runtime.wait(None).unwrap();
    let expected = [format!("[Port] listens on {address}"), "[Port] listens no more".to_owned()];
    assert_eq!(*lines.lock().unwrap(), expected);
}

/// Keeps the lines that tell of an end.
struct Ends(Arc<Mutex<Vec<String>>>);

impl Sink for Ends {
    fn log(&mut self, record: &Record<'_>) {
        if record.text.contains(" closed: ") {
            self.0.lock().unwrap().push(format!("{}: {}", record.stage, record.text));
        }
    }
}

#[test]
fn every_line_about_an_end_names_the_port_and_what_is_known_of_the_reason() {
    let mut config = Config::new();
    let text =
        b"[Runtime]\nlogLevel=debug\n[Port 7]\nport=0\nbindAddress=127.0.0.1\nmaxConnections=1\n";
    config.load_string(text, "file.ini").unwrap();
    let runtime = runtime_of(&config);
    let lines = Arc::new(Mutex::new(Vec::new()));
    runtime.set_log(Level::Debug, Some(Box::new(Ends(lines.clone())))).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let (handler, log) = recorder(false, |_, _| {});
    listener.on(Protocol::Client, handler).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let (mut expected, mut count) = (Vec::new(), 0);
    let mut ended = |peer: SocketAddr, end: &str| {
        expected.push(
            end.replace("HERE", &format!("[Port 7] port {}: {peer} closed:", address.port())),
        );
        count += 1;
        wait_until("the line", || lines.lock().unwrap().len() == count);
        wait_until("the end", || listener.stats().connections == 0);
    };
    // A protocol without a handler: the first byte is the only hint.
    let mut web = connect(address);
    web.write_all(b"G").unwrap();
    assert_ends_without_a_byte(&mut web);
    let peer = web.local_addr().unwrap();
    ended(
        peer,
        "identify: HERE no_handler in identify, 1 bytes in, 0 out, 0 unsent: first byte 71, no \
         handler for unknown",
    );
    // An end by the host, with its code, and one that is refused before it is a connection.
    let client = framed(address);
    let peer = client.local_addr().unwrap();
    let conn = log.opened();
    let refused = connect(address);
    let refused_peer = refused.local_addr().unwrap();
    wait_until("the refusal", || lines.lock().unwrap().len() == 2);
    conn.close(-7).unwrap();
    log.closed();
    drop((client, refused));
    wait_until("the end", || listener.stats().connections == 0);
    let seen = lines.lock().unwrap()[1].clone();
    let here = format!("[Port 7] port {}: {refused_peer} closed:", address.port());
    assert_eq!(seen, format!("accept: {here} max_connections"));
    lines.lock().unwrap().remove(1);
    ended(peer, "open: HERE host_closed in open, 1 bytes in, 1 out, 0 unsent, code -7");
    // And one by the system, with its error.
    let client = framed(address);
    let peer = client.local_addr().unwrap();
    log.opened();
    reset(client);
    ended(
        peer,
        "open: HERE peer_reset in open, 1 bytes in, 1 out, 0 unsent: Connection reset by peer (os \
         error 104)",
    );
    // The time that a connection has lasted is left out.
    let told = lines.lock().unwrap().clone();
    let told: Vec<String> = told
        .iter()
        .map(|line| {
            let (before, rest) = line.split_once(" after ").expect(line);
            format!("{before}{}", rest.split_once(" ms").expect(line).1)
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn a_key_that_means_nothing_is_told_by_the_log_once_when_its_listener_is_made() {
    let text = b"[Port.1]\nport=0\nsslSektion=TLS\n[Port.2]\nport=0\nsslSection=TLS\nssll=on\n\
        [TLS]\nselfSigned=localhost\nminVersoin=1.3\n";
    let mut config = Config::new();
    config.load_string(text, "file.ini").unwrap();
    let runtime = runtime_of(&config);
    let lines = Arc::new(Mutex::new(Vec::new()));
    runtime.set_log(Level::Warn, Some(Box::new(Stage("config", lines.clone())))).unwrap();
    for index in [0, 1, 1] {
        drop(Listener::new(&runtime, &config, index).unwrap());
    }
    runtime.stop(0).unwrap();
    runtime.wait(None).unwrap();
    let lines = lines.lock().unwrap();
    let times = |key: &str| lines.iter().filter(|line| line.contains(key)).count();
    let told = ["sslSektion", "ssll", "minVersoin", "selfSigned"].map(times);
    assert_eq!((told, lines.len()), ([1; 4], 4), "{lines:?}");
}

/// Says on which loop it is asked; blocks where it is told so; else echoes.
struct Blocking(Arc<Gate>);

impl Handler for Blocking {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if let Event::Frames(frames) = &event {
            if frames.iter().any(|frame| frame.data == b"where?") {
                let name = std::thread::current().name().unwrap().to_owned();
                conn.send_frame(name.as_bytes(), SendFlags::default()).unwrap();
                return;
            }
            if frames.iter().any(|frame| frame.data == b"block") {
                self.0.pass();
            }
        }
        Echo.on_event(conn, event);
    }
}

#[test]
fn a_callback_that_blocks_stops_its_own_loop_only() {
    let gate = Arc::new(Gate::default());
    let handler = Arc::new(Blocking(gate.clone()));
    let server = server_with("ioThreads=3", "", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    // Opened also if the test fails: the runtime would wait for its callback for ever.
    let _opened = OpenedAtLast(gate.clone());
    // Newcomers go to the loop with the fewest connections: two on each.
    let clients: Vec<(String, TcpStream)> = (0..6)
        .map(|_| {
            let mut client = framed(server.address);
            client.write_all(&frame(b"where?")).unwrap();
            (String::from_utf8(read_frame(&mut client)).unwrap(), client)
        })
        .collect();
    let blocked = clients[0].0.clone();
    let (mut stopped, mut others): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|(name, _)| *name == blocked);
    assert_eq!((stopped.len(), others.len()), (2, 4));
    stopped[0].1.write_all(&frame(b"block")).unwrap();
    gate.wait_for(1);
    stopped.iter_mut().for_each(|(_, client)| client.write_all(&frame(b"hello")).unwrap());
    // The watchdog tells of it while it lasts.
    wait_until("the watchdog", || server.runtime.stats().loops_held_up == 1);
    let line = "nativeport_loops_held_up 1\n";
    wait_until("its metric", || server.runtime.prometheus().contains(line));
    let slow_turns = server.runtime.stats().slow_turns;
    // The port accepts, and those on other loops are served meanwhile.
    for (_, client) in &mut others {
        (0..100).for_each(|_| echoes(client));
    }
    let waiting = connect(server.address);
    wait_until("a newcomer", || server.listener.stats().accepted == 7);
    for (_, client) in &mut stopped {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
    }
    gate.open();
    for (_, client) in &mut stopped {
        while read_frame(client) != b"hello" {}
        echoes(client);
    }
    drop(waiting);
    wait_until("the watchdog's calm", || server.runtime.stats().loops_held_up == 0);
    wait_until("its count", || server.runtime.stats().slow_turns > slow_turns);
}

// A crowd.

#[test]
fn a_crowd_from_one_address_that_comes_while_its_loop_is_held_up_is_served_whole() {
    let gate = Arc::new(Gate::default());
    let handler = Arc::new(Blocking(gate.clone()));
    let keys = "compression=off\nmaxHandshakes=100\nmaxHandshakesPerAddress=50";
    let server = server_with("ioThreads=1", keys, "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let _opened = OpenedAtLast(gate.clone());
    let mut first = framed(server.address);
    first.write_all(&frame(b"block")).unwrap();
    gate.wait_for(1);
    // Each has said who it is, and nobody has heard it.
    let mut crowd: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut client = connect(server.address);
            client.write_all(&[&[1][..], &frame(b"hello")].concat()).unwrap();
            client
        })
        .collect();
    // An accepter runs ahead of a loop by so many.
    let accepted = || server.listener.stats().accepted;
    wait_for_count("those that are accepted", 1 + 128, accepted);
    assert_eq!(accepted(), 1 + 128);
    gate.open();
    for client in &mut crowd {
        assert_eq!(read_exact(client, 10), b"\x01\0\0\0\x05hello");
    }
}

#[test]
fn the_log_tells_who_is_closed_by_a_limit_and_which_key_it_is() {
    for (key, evicts, what) in [
        ("maxConnections", false, "it is closed"),
        ("maxConnectionsPerAddress", false, "it is closed"),
        ("maxHandshakesPerAddress", true, "the oldest silent one of its address is evicted"),
    ] {
        let server = echo_server(&format!("{key}=1"), "");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Box::new(Stage("accept", lines.clone()));
        server.runtime.set_log(Level::Warn, Some(sink)).unwrap();
        let mut first = if evicts { connect(server.address) } else { framed(server.address) };
        let mut next = connect(server.address);
        assert_ends_without_a_byte(if evicts { &mut first } else { &mut next });
        server.runtime.stop(0).unwrap();
        server.runtime.wait(None).unwrap();
        let told = format!("[Port] {key} is reached by a connection from 127.0.0.1: {what}");
        assert_eq!(*lines.lock().unwrap(), [told]);
    }
}

#[test]
fn the_log_tells_that_newcomers_wait_while_nobody_can_be_evicted_and_then_who_is() {
    let server = echo_server("maxHandshakes=1", "");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Box::new(Stage("accept", lines.clone()));
    server.runtime.set_log(Level::Warn, Some(sink)).unwrap();
    let mut silent = connect(server.address);
    let crowded = "[Port] maxHandshakes is reached and nobody can be evicted yet: newcomers wait in \
        the backlog";
    let evicted = "[Port] maxHandshakes is reached by a connection from 127.0.0.1: the oldest silent one \
        of the address that holds most is evicted";
    // Once a second, either of them.
    wait_until("both lines", || {
        let mut next = connect(server.address);
        assert_ends_without_a_byte(&mut silent);
        std::mem::swap(&mut silent, &mut next);
        let lines = lines.lock().unwrap();
        [crowded, evicted].iter().all(|line| lines.iter().any(|told| told == line))
    });
}

#[test]
fn a_port_serves_with_the_longest_times_that_its_keys_take() {
    let keys = ["readTimeout", "frameTimeout", "idleTimeout", "writeTimeout"]
        .map(|key| format!("{key}=720h\n"));
    let server = echo_server(&(keys.concat() + "keepAlive=9h"), "");
    framed(server.address);
}
