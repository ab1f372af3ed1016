//! Real processes under faults.
//!
//! Owns the fault proxy, the checkers over event logs, and the scenarios that drive a server and
//! client drivers as processes (the contract with drivers is `DRIVERS.md`). Must not know any
//! other crate of the workspace: what it judges, it sees from outside only.
#![forbid(unsafe_code)]

mod proxy;
mod rng;

pub use proxy::{Fault, FaultKind, Link, LinkCounts, Proxy};
pub use rng::Rng;
