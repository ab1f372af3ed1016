//! Event logs: what the harness wrote down about a run, read back for the checkers.
//!
//! Owns the format of both kinds of log (the harness's own ledger and the drivers' events of
//! `DRIVERS.md`) and the [`History`] that checkers see. Must not judge anything.

mod event;
mod history;
mod names;
mod record;

pub use event::Event;
pub use history::{
    Fate, History, HistoryError, Position, Publication, Step, StruckBy, Track, Upstream,
};
pub use names::Id;
pub use record::{Load, Outcome, Record};

/// The ledger's file name within a run's folder.
pub const LEDGER_FILE: &str = "harness.jsonl";
/// The drivers' files are `driver-0.jsonl`, `driver-1.jsonl` and so on.
pub const DRIVER_FILE_PREFIX: &str = "driver-";
/// A longer line breaks the contract with drivers.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
