//! What the library bounds over all connections: how many there are (`gate`, by port), how many of
//! them are not identified (`waiting`), descriptors by address (`descriptors`), and what they hold
//! (`memory`).

pub(crate) mod descriptors;
pub(crate) mod gate;
pub(crate) mod memory;
pub(crate) mod waiting;
