//! A clock that stands still until it is moved.
//!
//! Owns the time of engines under test. Must not know the system's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::shell::clock::Clock;

/// Where a new clock stands: an ordinary day, so that spans before it are representable.
const START_MS: u64 = 1_800_000_000_000;

/// A clock moved by hand. Clones share their time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves it forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
    }

    /// Moves it back, as a corrected system clock would.
    pub fn set_back(&self, span: Duration) {
        self.0.fetch_sub(span.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(START_MS)))
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
