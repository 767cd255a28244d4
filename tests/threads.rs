//! What threads of the host that have sent something go on holding. Alone in its process, as memory
//! is measured.

mod support;

use nativeport::event::Protocol;
use nativeport::handles::SendFlags;
use std::sync::Barrier;
use std::time::Instant;
use support::*;

const THREADS: usize = 200;

#[test]
fn threads_that_have_sent_a_compressed_frame_and_live_on_hold_no_memory_for_that() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    let conn = log.opened();
    let payload = vec![7; 512];
    let step = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for no_compress in [true, false] {
                    conn.send_frame(&payload, SendFlags { no_compress }).unwrap();
                    step.wait();
                    step.wait();
                }
            });
        }
        step.wait();
        // Their stacks, and whatever else a thread that sends needs.
        let before = anonymous_kib();
        step.wait();
        step.wait();
        // A state is 300 KiB. Those that were in use at the same moment are kept for some seconds.
        let (begun, most) = (Instant::now(), 20 << 10);
        let mut grown = anonymous_kib() - before;
        while grown >= most && begun.elapsed() < PATIENCE {
            look_again_soon();
            grown = anonymous_kib() - before;
        }
        // Before the assertion: these threads wait for it.
        step.wait();
        println!("{THREADS} threads: {grown} KiB more");
        assert!(grown < most, "{grown} KiB");
    });
    for _ in 0..2 * THREADS {
        let (compressed, wire) = read_wire_frame(&mut client);
        assert!(if compressed { unzlib(&wire) } else { wire } == payload);
    }
}
