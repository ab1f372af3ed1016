//! The thread that gives space back, checks what was opened by hints, and writes new hints.
//!
//! Owns its pace and its rounds. Must not know what is worth keeping.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::shared::{Shared, Trouble};
use crate::{
    compact::{CompactError, StateLock, choose, compact, is_nearly_full},
    config::LogConfig,
    contract::EngineStats,
    disk::Disk,
    hint, names,
    scan::{self, BeginError, Damage},
    state::State,
    writer::not_known,
};

/// After the disk has refused a rewriting, the next one is tried so much later.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// It rests for so long before it looks again whether it may.
const REST_MAX: Duration = Duration::from_millis(100);

/// Rewrites what is worth it.
pub(crate) struct Compactor {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    log_bytes_max: u64,
    dead_percent: u32,
    bytes_per_second: u64,
    /// Another salt for each rewriting comes from this and their number.
    salt: u64,
    stopped: Mutex<bool>,
    stop: Condvar,
    pub(crate) totals: CompactTotals,
}

/// What was done since the engine was opened.
#[derive(Default)]
pub(crate) struct CompactTotals {
    pub(crate) rewrites: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) hints: AtomicU64,
    pub(crate) hint_bytes: AtomicU64,
}

impl CompactTotals {
    /// Adds them to what an engine says of itself.
    pub(crate) fn show(&self, stats: &mut EngineStats) {
        let count = |total: &AtomicU64| total.load(Ordering::Relaxed);
        stats.details.extend([
            ("compactions", count(&self.rewrites)),
            ("compaction_written_bytes", count(&self.written_bytes)),
            ("compaction_failures", count(&self.failures)),
            ("hint_files_written", count(&self.hints)),
            ("hint_written_bytes", count(&self.hint_bytes)),
        ]);
    }
}

impl Compactor {
    pub(crate) fn new(disk: Arc<dyn Disk>, log: &LogConfig, salt: u64) -> Self {
        Self {
            disk,
            segment_bytes: log.segment_bytes,
            log_bytes_max: log.log_bytes_max,
            dead_percent: log.compact_dead_percent,
            bytes_per_second: log.compact_bytes_per_second,
            salt,
            stopped: Mutex::new(false),
            stop: Condvar::new(),
            totals: CompactTotals::default(),
        }
    }

    /// Ends the work, at the next frame.
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    /// Rewrites one run of segments if one is worth it; whether it was.
    pub(crate) fn round(&self, shared: &Shared, pace: &mut dyn FnMut(u64) -> bool) -> bool {
        if shared.trouble().is_some_and(|trouble| trouble.is_final) {
            return false;
        }
        let now_ms = shared.now_ms();
        let Some(originals) = shared.read_state().and_then(|state| {
            choose(
                &state.files,
                now_ms,
                self.segment_bytes,
                self.log_bytes_max,
                self.dead_percent,
            )
        }) else {
            return false;
        };
        let tried = &self.totals;
        let tried = tried.rewrites.load(Ordering::Relaxed) + tried.failures.load(Ordering::Relaxed);
        let salt = self
            .salt
            .wrapping_add(tried.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let salt = (salt >> 32) as u32;
        match compact(&*self.disk, shared, &originals, now_ms, salt, pace) {
            Ok(bytes) => {
                self.totals.rewrites.fetch_add(1, Ordering::Relaxed);
                self.totals
                    .written_bytes
                    .fetch_add(bytes, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.totals.failures.fetch_add(1, Ordering::Relaxed);
                match error {
                    CompactError::Damaged(damage) => tell(shared, &damage),
                    // The name of the next segment would seem to last, and might not.
                    CompactError::Nameless(error) => shared.set_trouble(Some(Trouble {
                        reason: not_known("making a rewritten segment's name last", &error),
                        is_final: true,
                    })),
                    CompactError::Stopped | CompactError::Io => {}
                }
                false
            }
        }
    }

    /// Checks one sealed segment that was opened by its hint, or writes the hint of one that has none;
    /// whether there was one.
    pub(crate) fn tend(&self, shared: &Shared, pace: &mut dyn FnMut(u64) -> bool) -> bool {
        if shared.trouble().is_some_and(|trouble| trouble.is_final) {
            return false;
        }
        let untended = shared.read_state().and_then(|state| state.files.untended());
        let Some((number, file)) = untended else {
            return false;
        };
        let name = names::segment(file.header.number);
        // A file that was rewritten meanwhile keeps its bytes as long as it is open.
        let segment = match scan::begin(&*file.file, &name, file.header.number) {
            Ok(segment) => segment,
            Err(BeginError::Damaged(damage)) => {
                tell(shared, &damage);
                return false;
            }
            // Not now: the next round tries again.
            Err(BeginError::Io(_) | BeginError::Unborn | BeginError::Newer(_)) => return false,
        };
        let built = match hint::build(&segment, &name) {
            Ok(built) => built,
            Err(damage) => {
                tell(shared, &damage);
                return false;
            }
        };
        let mut bytes = segment.bytes.len() as u64;
        if file.wants_hint && hint::write(&*self.disk, file.header.number, &built).is_ok() {
            self.totals.hints.fetch_add(1, Ordering::Relaxed);
            let written = built.len() as u64;
            self.totals.hint_bytes.fetch_add(written, Ordering::Relaxed);
            bytes += written;
        }
        shared.with_mut(&mut |state| state.files.tended(number));
        pace(bytes)
    }

    /// Rests after so many bytes, as long as the log is not nearly full: what has no room is refused, which is
    /// worse than late. False once it is to end.
    fn rest(&self, shared: &Shared, bytes: u64) -> bool {
        let full = || {
            let state = shared.read_state();
            state.is_some_and(|state| is_nearly_full(&state.files, self.log_bytes_max))
        };
        let mut left =
            Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second);
        while !left.is_zero() && !full() {
            let now = left.min(REST_MAX);
            if self.wait(now) {
                return false;
            }
            left -= now;
        }
        !self.wait(Duration::ZERO)
    }

    /// Waits; true once it is to end.
    fn wait(&self, span: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .stop
            .wait_timeout_while(stopped, span, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Looks for something to rewrite until it is stopped.
pub(crate) fn run_compactor(compactor: &Compactor, shared: &Shared, interval: Duration) {
    loop {
        let failures = compactor.totals.failures.load(Ordering::Relaxed);
        let mut pace = |bytes: u64| compactor.rest(shared, bytes);
        let did = compactor.round(shared, &mut pace) || compactor.tend(shared, &mut pace);
        let failed = compactor.totals.failures.load(Ordering::Relaxed) > failures;
        let pause = if failed {
            PAUSE_AFTER_ERROR.max(interval)
        } else if did {
            Duration::ZERO
        } else {
            interval
        };
        if compactor.wait(pause) {
            return;
        }
    }
}

/// Damage was found: nothing more is acknowledged on a log of which that is known.
fn tell(shared: &Shared, damage: &Damage) {
    shared.set_trouble(Some(Trouble {
        reason: format!(
            "the log is damaged: {}, byte {}: {}; `bowline log verify` on the data folder shows more",
            damage.file, damage.offset, damage.problem
        )
        .into(),
        is_final: true,
    }));
}

impl StateLock for Shared {
    fn with(&self, work: &mut dyn FnMut(&State)) -> bool {
        self.read_state().map(|state| work(&state)).is_some()
    }

    fn with_mut(&self, work: &mut dyn FnMut(&mut State)) -> bool {
        self.write_state()
            .map(|mut state| work(&mut state))
            .is_some()
    }
}
