//! A whole connection.

use super::split;
use crate::simulation;

/// Input: how long the script is, the script (decisions of a simulated world, two bytes each:
/// settings, cuts, time, what the host does), then the bytes that the first peer sends.
pub fn connection(input: &[u8]) {
    let ([len], rest) = split(input);
    let (script, wire) = rest.split_at(usize::from(len).min(rest.len()));
    simulation::play(script, wire);
}
