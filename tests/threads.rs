//! What threads of the host that have sent something go on holding. Alone in its process, as memory
//! is measured.

mod support;

use nativeport::event::Protocol;
use nativeport::handles::SendFlags;
use std::sync::Barrier;
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
        let grown = anonymous_kib() - before;
        println!("{THREADS} threads: {grown} KiB more");
        // A state is 300 KiB.
        assert!(grown < 20 << 10, "{grown} KiB");
        step.wait();
    });
    for _ in 0..2 * THREADS {
        let (compressed, wire) = read_wire_frame(&mut client);
        assert!(if compressed { unzlib(&wire) } else { wire } == payload);
    }
}
