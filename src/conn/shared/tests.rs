//! Tests of `shared`.

use super::*;
use crate::config::Config;
use crate::conn::door::Role;
use crate::consumer::{Consumer, Put};
use crate::event::{Event, Handler};
use crate::limits::memory::Memory;
use crate::port::commons::Clock;
use crate::reactor::WAKE;
use crate::runtime::Core;

/// Counts what it is told.
#[derive(Default)]
struct Counting {
    told: AtomicUsize,
    wants_inbox: bool,
}

impl Handler for Counting {
    fn on_event(&self, _: Conn, _: Event<'_>) {
        self.told.fetch_add(1, Ordering::SeqCst);
    }

    fn wants_inbox(&self) -> bool {
        self.wants_inbox
    }
}

/// A connection without a socket, whose loop nobody drives, and that has workers.
struct Scene {
    core: Arc<Core>,
    shared: Arc<Shared>,
    counting: Arc<Counting>,
    _poll: mio::Poll,
}

impl Scene {
    fn new(wants_inbox: bool) -> Scene {
        let counting = Arc::new(Counting { told: AtomicUsize::new(0), wants_inbox });
        let mut config = Config::new();
        config.load_string(b"[Port]\nport = 0\n", "test").unwrap();
        let (settings, _) = config.resolve();
        let now = Arc::new(std::sync::atomic::AtomicU64::new(1000));
        let clock = Clock::Simulated(now);
        let (core, _) = Core::assemble(&settings.runtime, Consumer::Workers, clock).unwrap();
        let port = core.make_port(settings.ports.into_iter().next().unwrap(), 0).unwrap();
        core.simulate_start(&port);
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), WAKE).unwrap();
        let (door, _) = Door::new(Role::Io, waker);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let birth = Birth {
            key: 0,
            door,
            port,
            protocol: Protocol::Unknown,
            asks_admission: false,
            peer: nowhere,
            local: nowhere,
            accepted_ms: 1000,
            tls: None,
            delivery: Delivery::new(Consumer::Workers, &*counting),
        };
        Scene { core, shared: Shared::new(1, birth), counting, _poll: poll }
    }

    fn put(&self, event: Event<'_>) {
        let handler = self.counting.clone();
        assert!(matches!(self.shared.delivery.put(&self.shared, handler, event), Put::Taken));
    }

    fn told(&self) -> usize {
        self.counting.told.load(Ordering::SeqCst)
    }

    fn work(&self) {
        let pool = self.shared.port.commons.workers.as_ref().unwrap();
        while pool.run_one() {}
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A running port and its core hold one another.
        self.core.stop_port(&self.shared.port, 0);
    }
}

#[test]
fn whose_input_has_been_consumed_holds_no_memory_for_it() {
    for wants_inbox in [false, true] {
        let scene = Scene::new(wants_inbox);
        let delivery = &scene.shared.delivery;
        (0..1000).for_each(|_| scene.put(Event::Data(b"x")));
        // The inbox takes no other events.
        scene.put(Event::Writable);
        assert!(delivery.reserved() >= 1001);
        scene.work();
        if wants_inbox {
            let taken = delivery.bytes(&scene.shared, &mut [0; 1000], Some(0));
            assert_eq!((taken, scene.told()), (Ok(1000), 1));
        } else {
            assert_eq!(scene.told(), 1001);
        }
        assert_eq!((delivery.reserved(), delivery.waiting_bytes()), (0, 0));
    }
}

#[test]
fn a_refused_send_is_worth_another_try_when_the_evicted_one_is_gone_unless_its_connection_is() {
    // More than the free share has room for.
    const LARGE: usize = 1 << 20;
    let [largest, refused, ended] = [1, 2, 3].map(|id| {
        let mut scene = Scene::new(false);
        Arc::get_mut(&mut scene.shared).unwrap().id = id;
        scene
    });
    let memory = Memory::new(FREE_BYTES);
    let goes = |scene: &Scene| {
        scene.shared.is_over.store(true, Ordering::SeqCst);
        memory.recount(&scene.shared);
    };
    largest.shared.holds_input_bytes(4 << 20);
    memory.recount(&largest.shared);
    assert!(!memory.refuses_send(&refused.shared, LARGE), "nobody is evicted yet");
    assert!(memory.claim(&refused.shared, 1));
    for scene in [&refused, &ended, &refused, &ended] {
        assert!(memory.refuses_send(&scene.shared, LARGE));
    }
    assert_eq!(Arc::strong_count(&ended.shared), 2);
    goes(&ended);
    assert_eq!(Arc::strong_count(&ended.shared), 1);
    memory.recount(&refused.shared);
    let is_writable = |scene: &Scene| scene.shared.wants_writable.load(Ordering::SeqCst);
    assert!(!is_writable(&refused));
    goes(&largest);
    assert!(is_writable(&refused) && !is_writable(&ended));
    assert!(!memory.refuses_send(&refused.shared, LARGE));
}

#[test]
fn a_refused_send_that_has_become_small_enough_is_worth_another_try_at_once() {
    let [largest, mut refused] = [1, 2].map(|id| {
        let mut scene = Scene::new(false);
        Arc::get_mut(&mut scene.shared).unwrap().id = id;
        scene
    });
    let memory = Memory::new(FREE_BYTES);
    largest.shared.holds_input_bytes(4 << 20);
    memory.recount(&largest.shared);
    assert!(memory.claim(&refused.shared, 1));
    let shared = &mut refused.shared;
    shared.holds_input_bytes(FREE_BYTES);
    assert!(memory.refuses_send(shared, 1000));
    memory.recount(shared);
    assert!(!shared.wants_writable.load(Ordering::SeqCst), "nothing has changed");
    shared.holds_input_bytes(FREE_BYTES - 1000);
    memory.recount(shared);
    assert!(shared.wants_writable.load(Ordering::SeqCst));
    assert!(!memory.refuses_send(shared, 1000));
    assert_eq!(Arc::strong_count(shared), 1);
}

#[test]
fn room_that_is_told_of_several_times_before_a_worker_comes_is_told_of_once() {
    let scene = Scene::new(false);
    (0..3).for_each(|_| scene.put(Event::Writable));
    scene.work();
    assert_eq!(scene.told(), 1);
    scene.put(Event::Writable);
    scene.work();
    assert_eq!(scene.told(), 2);
}
