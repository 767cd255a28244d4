//! TLS, stage 3 of the path: the only module that names types of the TLS library.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `options` | what a TLS section of the configuration says, and the error that names its key |
//! | `identity` | certificate chain and private key, from files or made for trying things out |
//! | `pem` | the blocks of PEM text |
//! | `private_key` | the kind of a private key, and the signer made of it |
//! | `chain` | which certificate of a file is the server's own, and the order in which all are sent |
//! | `policy` | versions, suites, groups and ALPN, checked |
//! | `acceptor` | identity and policy made ready; shared by all connections of a port |
//! | `client_hello` | a bounded look at the first message |
//! | `engine` | one connection: bytes in, plain text and bytes out |
//! | `unbuffered` | how the TLS library is driven for it |
//! | `expiry` | certificates whose dates clients refuse, or soon will |
//! | `failure` | why a handshake or connection failed, in words that help |
//!
//! Nothing here knows a socket or a clock: deadlines, flushing and closing are left to the
//! connection machine. Nothing is global: the crypto provider belongs to each acceptor.

mod acceptor;
mod chain;
mod client_hello;
mod engine;
pub(crate) mod expiry;
mod failure;
mod identity;
mod options;
mod pem;
mod policy;
mod private_key;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
pub(crate) mod test_peer;
#[cfg(test)]
mod tests;
mod unbuffered;

pub use acceptor::Acceptor;
#[cfg(any(test, fuzzing))]
pub use client_hello::peek;
pub use client_hello::{ClientHello, Gathering, MAX_HELLO, Peek};
pub use engine::{Engine, Facts, MAX_HANDSHAKE, SealError};
pub use failure::TlsError;
pub(crate) use identity::Dates;
#[cfg(any(test, fuzzing))]
pub(crate) use identity::Source;
pub use identity::{Identity, Validity};
pub use options::{KeyPermissions, LoadError, TlsOptions, Version};
#[cfg(any(test, fuzzing))]
pub(crate) use pem::certificates;
pub use policy::Policy;
