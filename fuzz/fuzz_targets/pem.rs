#![no_main]

libfuzzer_sys::fuzz_target!(init: nativeport::fuzzing::init(), |input: &[u8]| {
    nativeport::fuzzing::pem(input);
});
