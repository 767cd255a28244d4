//! The native half of the Java layer: static natives over the core's poll consumer.
//!
//! Java owns the threads that drive loops; no thread of ours calls into the virtual machine or
//! is attached to it, and nothing here waits, but a loop's thread for its events. Natives take
//! and give numbers and `byte[]`; `loopNew` takes direct buffers, `sendFrames` lengths as `int[]`,
//! `listenerSwitch` a `boolean`, and counters go into a `long[]`. A negative result is a status
//! (`nativeport::status`).
//!
//! | file | natives |
//! | --- | --- |
//! | `config` | `inspect` |
//! | `runtime` | `initialize`, `runtimeNew`, `runtimeStop`, `runtimeLog`, `stats`, `prometheus`, `release` |
//! | `listener` | `listenerNew`, `listenerStart`, `listenerSwitch`, `listenerStop`, `listenerAddresses` |
//! | `loops` | `loopNew`, `loopPoll`, `loopWake`, `fetch`, `sendPolled` |
//! | `conn` | `sendFrame`, `sendFrames`, `sendBytes`, `connControl`, `connRefuse` |
//!
//! `objects` is the table from numbers to what they stand for, `polled` a loop with its buffers, `guard`
//! what stands around each native. Java has the constants of `numbers` too.

mod config;
mod conn;
mod guard;
mod listener;
mod loops;
mod numbers;
mod objects;
mod polled;
mod runtime;
