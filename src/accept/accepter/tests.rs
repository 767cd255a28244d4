//! Tests of `accepter`.

use super::*;
use crate::config::Config;
use crate::port::commons::Clock;
use crate::runtime::{Consumer, Core};

#[test]
#[cfg_attr(miri, ignore = "it has sockets")]
fn an_accepter_that_is_paused_in_its_turn_accepts_nobody_until_it_is_resumed() {
    let mut config = Config::new();
    config.load_string(b"[Port]\nport = 0\n", "test").unwrap();
    let (settings, _) = config.resolve();
    let clock = Clock::Real(std::time::Instant::now());
    // Loops that nobody drives.
    let (core, _parts) = Core::assemble(&settings.runtime, Consumer::Callbacks, clock).unwrap();
    let port = core.make_port(settings.ports.into_iter().next().unwrap(), 0).unwrap();
    core.simulate_start(&port);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let _waiting = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(port.listening.open(vec![mio::net::TcpListener::from_std(listener)]));
    let mut accepter = Accepter::new(port.clone(), core.loops.clone()).unwrap();
    for (mode, accepted) in [(Mode::Pause, 0), (Mode::Run, 1)] {
        port.switch.set(mode);
        accepter.accept_batch(0);
        assert_eq!(port.gate.counts(), (accepted, accepted));
    }
    // A running port and its core hold one another.
    core.stop_port(&port, 0);
}

/// The first record of the log that is not a debug record, and the text of it.
fn told(port: &Port) -> Vec<String> {
    std::iter::from_fn(|| port.log.next_record()).map(|record| record.text).collect()
}

/// A port with a self-signed certificate, loaded at this time.
fn port_with_tls(now_ms: &Arc<AtomicU64>) -> (Arc<Core>, Arc<Port>) {
    let mut config = Config::new();
    let text = b"[Port]\nport = 0\nsslSection = T\n[T]\nselfSigned = localhost\n";
    config.load_string(text, "test").unwrap();
    let (settings, _) = config.resolve();
    let clock = Clock::Simulated(now_ms.clone());
    let (core, _parts) = Core::assemble(&settings.runtime, Consumer::Poll, clock).unwrap();
    core.commons.log.set_level(Level::Warn);
    let port = core.make_port(settings.ports.into_iter().next().unwrap(), 0).unwrap();
    (core, port)
}

#[test]
#[cfg_attr(miri, ignore = "it has sockets and files")]
fn the_accepter_warns_of_an_expired_certificate_once_a_day() {
    const DAY_MS: u64 = 86_400_000;
    let (identity, _) = crate::tls::Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let end_ms = identity.validity().not_after_s as u64 * 1000;
    let now_ms = Arc::new(AtomicU64::new(end_ms - DAY_MS / 2));
    let (core, port) = port_with_tls(&now_ms);
    let mut accepter = Accepter::new(port.clone(), core.loops.clone()).unwrap();
    assert_eq!(accepter.look_at_certificate(), None);
    accepter.watches_certificate();
    // It was told when it was loaded.
    let loaded = told(&port).join("\n");
    assert!(loaded.contains("the certificate expires on 4096-01-01 00:00 UTC"), "{loaded}");
    let mut told_in = |ms: u64| {
        let until = now_ms.load(Ordering::SeqCst) + ms;
        while let left_ms @ 1.. = until - now_ms.load(Ordering::SeqCst) {
            let again_ms = accepter.look_at_certificate().unwrap().min(left_ms);
            now_ms.fetch_add(again_ms.max(1), Ordering::SeqCst);
        }
        accepter.look_at_certificate();
        told(&port)
    };
    let [end] = &told_in(DAY_MS)[..] else { panic!("its end is told") };
    let words = "[Port] port 0: the certificate expired on 4096-01-01 00:00 UTC, 1 second ago: clients refuse it";
    assert!(end.starts_with(words), "{end}");
    let days: Vec<String> = told_in(3 * DAY_MS);
    assert_eq!(days.len(), 3, "{days:?}");
    assert!(days[2].contains("UTC, 3 days ago: clients refuse it; renew it"), "{}", days[2]);
}

#[test]
#[cfg_attr(miri, ignore = "it has sockets and files")]
fn a_certificate_that_ends_between_load_and_start_is_told_at_the_start() {
    let (identity, _) = crate::tls::Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let end_ms = identity.validity().not_after_s as u64 * 1000;
    // In the middle of its time, long before anything is to be told.
    let now_ms = Arc::new(AtomicU64::new(end_ms / 2));
    let (core, port) = port_with_tls(&now_ms);
    assert!(!told(&port).join("\n").contains("expire"));
    now_ms.store(end_ms + 1000, Ordering::SeqCst);
    let mut accepter = Accepter::new(port.clone(), core.loops.clone()).unwrap();
    accepter.watches_certificate();
    accepter.look_at_certificate();
    let [end] = &told(&port)[..] else { panic!("its end is told once") };
    assert!(end.contains("the certificate expired on 4096-01-01"), "{end}");
    accepter.look_at_certificate();
    assert_eq!(told(&port), [""; 0]);
}
