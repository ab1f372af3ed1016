//! Real processes under faults.
//!
//! Owns the fault proxy, the checkers over event logs, and the scenarios that drive a server and
//! client drivers as processes (the contract with drivers is `DRIVERS.md`). Must not know any
//! other crate of the workspace: what it judges, it sees from outside only.
#![forbid(unsafe_code)]

mod check;
mod log;
mod proxy;
mod rng;

pub use check::{CHECKERS, Checker, Findings, Plant, Totals, plant, totals};
pub use log::{
    DRIVER_FILE_PREFIX, Event, Fate, History, HistoryError, Id, LEDGER_FILE, LINE_BYTES_MAX,
    Outcome, Position, Publication, Record, Step, Track, Upstream,
};
pub use proxy::{Fault, FaultKind, Link, LinkCounts, Proxy};
pub use rng::Rng;
