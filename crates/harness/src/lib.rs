//! Real processes under faults.
//!
//! Owns the fault proxy, the checkers over event logs, and the scenarios that drive a server and
//! client drivers as processes (the contract with drivers is `DRIVERS.md`). Must not know any
//! other crate of the workspace: what it judges, it sees from outside only.
#![forbid(unsafe_code)]

mod chaos;
mod check;
mod clock;
mod command;
mod disk;
mod driver;
mod hostile;
mod http;
mod log;
mod network;
mod plan;
mod process;
mod progress;
mod proof;
mod proxy;
mod rng;
mod scenario;
mod tracer;
mod verdict;
mod volume;

pub use check::{CHECKERS, Checker, Findings, Plant, Totals, plant, totals};
pub use clock::Clock;
pub use driver::{Driver, DriverError, DriverSpec};
pub use hostile::discard;
pub use http::{HttpClient, HttpError};
pub use log::{
    DRIVER_FILE_PREFIX, Event, Fate, History, HistoryError, Id, LEDGER_FILE, LINE_BYTES_MAX, Load,
    Outcome, Position, Publication, Record, Step, StruckBy, Track, Upstream,
};
pub use network::{Inside, Network, NetworkFault, PathFault};
pub use plan::{PlanOptions, PlannedFault, plan, play};
pub use process::{Server, ServerError, ServerSpec, signal, terminate};
pub use progress::Progress;
pub use proof::{ProofError, ProofRun};
pub use proxy::{
    Direction, Fault, FaultKind, FrameAction, FrameRule, Link, LinkCounts, Proxy, Route,
};
pub use rng::Rng;
pub use scenario::{RunError, RunOptions, Scenario, Sizes, scenario, scenarios};
pub use tracer::{SyncFault, Tracer};
pub use verdict::{Row, Verdict};
pub use volume::Volume;
