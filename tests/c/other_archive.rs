//! A second Rust library for one program, with a panic of its own that it catches.

/// Half of an even number, -1 for an odd one.
#[unsafe(no_mangle)]
pub extern "C" fn other_half(number: i32) -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    let half = std::panic::catch_unwind(|| {
        assert!(number % 2 == 0, "odd");
        vec![0u8; number as usize / 2].len() as i32
    });
    half.unwrap_or(-1)
}
