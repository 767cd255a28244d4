//! What has to hold for every input, as functions of bytes: `fuzz/` drives each of them with a
//! fuzzer (`make fuzz`), the tests here with the seeds that the repository keeps.
//!
//! Nothing of this is in a library that is built for use.

mod client_hello;
mod connection;
mod framing;
mod ini;
mod pem;
pub(crate) mod reference;

pub use client_hello::{client_hello, identify};
pub use connection::connection;
pub use framing::{frame_decode, inflate, round_trip};
pub use ini::ini;
pub use pem::pem;

#[cfg(fuzzing)]
use crate::base::canary::{Canary, set_canary};

/// Switches a fault on that the environment names in `CANARY`: then a fuzzer must find it.
#[cfg(fuzzing)]
pub fn init() {
    let Ok(name) = std::env::var("CANARY") else { return };
    let canary = Canary::ALL.into_iter().find(|canary| format!("{canary:?}") == name);
    set_canary(Some(canary.unwrap_or_else(|| panic!("there is no canary {name}"))));
}

/// Takes `N` bytes off the front of an input, zeros where it is too short.
fn split<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    match input.split_first_chunk() {
        Some((front, rest)) => (*front, rest),
        None => ([0; N], &[]),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Every kept input of a target, and each of its beginnings if there are few of them.
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = fs::read_dir(&folder).expect("each target has seeds");
        let mut inputs = vec![Vec::new()];
        inputs.extend(files.map(|file| fs::read(file.unwrap().path()).unwrap()));
        assert!(inputs.len() > 1, "{target} has no seeds");
        for input in inputs {
            run(&input);
            for end in (0..input.len()).step_by(input.len() / 50 + 1) {
                run(&input[..end]);
            }
        }
    }

    #[test]
    fn a_turn_without_an_end_is_noticed() {
        // A budget of one unit, and two empty frames.
        let input = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        super::frame_decode(&input);
        crate::base::canary::set_canary(Some(crate::base::canary::Canary::EndlessTurn));
        let result = std::panic::catch_unwind(|| super::frame_decode(&input));
        crate::base::canary::set_canary(None);
        assert!(result.is_err());
    }

    #[test]
    fn a_search_among_all_names_is_noticed() {
        let input = b"[Port]\nport=1\n[Host]\na=1\n[Web]\n";
        super::ini(input);
        crate::base::canary::set_canary(Some(crate::base::canary::Canary::SearchedNames));
        let result = std::panic::catch_unwind(|| super::ini(input));
        crate::base::canary::set_canary(None);
        assert!(result.is_err());
    }

    #[test]
    fn frames_come_out_as_the_reference_says_however_they_are_cut() {
        replay("frame_decode", super::frame_decode);
    }

    #[test]
    fn inflation_in_steps_is_inflation_at_once_and_keeps_its_limits() {
        replay("inflate", super::inflate);
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        replay("round_trip", super::round_trip);
    }

    #[test]
    fn a_protocol_once_decided_stays_decided() {
        replay("identify", super::identify);
    }

    #[test]
    fn any_text_is_a_configuration_or_a_clear_error() {
        replay("ini", super::ini);
    }

    #[test]
    fn a_client_hello_is_read_as_the_tls_library_reads_it() {
        replay("client_hello", super::client_hello);
    }

    #[test]
    fn any_bytes_are_an_identity_or_an_error_that_shows_none_of_them() {
        replay("pem", super::pem);
    }

    #[test]
    fn an_error_that_shows_pem_text_is_noticed() {
        let input = b"-----BEGIN X-----bmF0aXZlcG9ydA==";
        super::pem(input);
        crate::base::canary::set_canary(Some(crate::base::canary::Canary::ToldText));
        let result = std::panic::catch_unwind(|| super::pem(input));
        crate::base::canary::set_canary(None);
        assert!(result.is_err());
    }

    #[test]
    fn a_connection_tells_what_the_model_says_for_any_bytes() {
        replay("connection", super::connection);
    }
}
