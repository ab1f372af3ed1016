//! What surrounds the log: time, random bits, locks, queues, threads and those who wait.
//!
//! Owns the order of a commit: judge, write, sync, apply, answer, hint. Must not know what an append
//! means: that is in `commit` and `state`.

pub(crate) mod clock;
mod committer;
mod compactor;
mod hints;
mod oneshot;
mod queue;
mod readers;
mod shared;
mod work;

pub(crate) use committer::Committer;
pub(crate) use compactor::{Compactor, run_compactor};
pub use hints::HINTS_PENDING_MAX;
pub(crate) use oneshot::oneshot;
pub(crate) use queue::Queue;
pub(crate) use readers::{ReadJob, run_reader};
pub(crate) use shared::{Shared, Trouble, open};
pub(crate) use work::Work;
