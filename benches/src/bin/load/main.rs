//! The load generator. One thread, edge-triggered epoll, one mode per run, one line of JSON.
//!
//! Operations are echoed frames, or whole connections in mode `connect`. What an operation
//! costs is the CPU time of the server process over the measured time, divided by them.

mod connect;
mod echo;
mod frames;
mod idle;
mod options;
mod peer;
mod process;
mod rate;

use options::{Mode, Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("load: {message}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    nativeport_bench::epoll::raise_descriptor_limit();
    let result = match options.mode {
        Mode::Echo => echo::run(&options),
        Mode::Connect => connect::run(&options),
        Mode::Idle => idle::run(&options),
        Mode::Rate => rate::run(&options),
    };
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
