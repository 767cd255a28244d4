#![no_main]

libfuzzer_sys::fuzz_target!(init: nativeport::fuzzing::pemt(), |input: &[u8]| {
    nativeport::fuzzing::pem(input);
});
