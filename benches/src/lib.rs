//! What the load generator and the TLS yardstick share: epoll, and rustls' unbuffered
//! interface, which has the same shape on both sides.

pub mod epoll;
pub mod tls;
