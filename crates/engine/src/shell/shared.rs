//! What threads and callers share: the state behind its lock, the time, and what is wrong.
//!
//! Owns every question that needs no commit. Must not know how commits are made.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_proto::recovery::{ChannelState, EngineClock};

use super::{clock::Clock, committer::Committer, hints::Hints};
use crate::{
    commit::Entropy,
    config::{EngineConfig, LogConfig},
    contract::{EngineHealth, EngineStats, PageLimit, ReadError, SessionKey},
    disk::{Disk, DiskLock},
    names,
    open::{self, OpenError},
    read::{PageError, PageReader},
    state::State,
    writer::Writer,
};

/// What all threads of an engine share.
pub(crate) struct Shared {
    state: RwLock<State>,
    pub(crate) hints: Hints,
    clock: Arc<dyn Clock>,
    /// Added to the clock: the log's latest time at the opening may have been later.
    skew_ms: u64,
    latest_ms: AtomicU64,
    epoch: u64,
    forget_after_s: u32,
    trouble: Mutex<Option<Trouble>>,
    pub(crate) counters: Counters,
    _lock: DiskLock,
}

/// Why appends are refused.
#[derive(Clone)]
pub(crate) struct Trouble {
    pub(crate) reason: Arc<str>,
    /// Only a restart helps.
    pub(crate) is_final: bool,
}

/// Totals that the shell counts.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) commit_entries: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) commit_micros_max: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) refused_commits: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) hinted: AtomicU64,
    pub(crate) failed_reads: AtomicU64,
    pub(crate) damaged_reads: AtomicU64,
}

/// Opens the log on a disk: what is shared, and what commits.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    config: &EngineConfig,
    log: &LogConfig,
    clock: Arc<dyn Clock>,
    mut entropy: Entropy,
) -> Result<(Shared, Committer), OpenError> {
    let problems = [config.check().err(), log.check().err()];
    let problems: Vec<_> = problems.into_iter().flatten().flatten().collect();
    if !problems.is_empty() {
        return Err(OpenError::Config(problems));
    }
    let failed = |source| OpenError::Io {
        folder: disk.describe(),
        source,
    };
    let lock = disk.lock().map_err(|source| {
        if source.kind() == std::io::ErrorKind::WouldBlock {
            OpenError::Locked {
                folder: disk.describe(),
            }
        } else {
            failed(source)
        }
    })?;
    let mut draw = || entropy().ok_or(OpenError::Entropy);
    let hash_seed = draw()?;
    // The lowest bit is set so that a term is never 0.
    let term = (draw()? >> 32) as u32 | 1;
    let salt = draw()?;
    let mut opened = open::open(&*disk, config, hash_seed, log.open_check_bytes)?;
    let is_new = opened.epoch.is_none();
    let epoch = opened.epoch.map_or_else(&mut draw, Ok)?;
    let skew_ms = opened.time_ms.saturating_sub(clock.now_ms());
    let now_ms = clock.now_ms() + skew_ms;
    let trims_from_ms = if is_new {
        0
    } else {
        now_ms.saturating_add(log.trim_grace.as_millis() as u64)
    };
    opened.state.spare(opened.time_ms, trims_from_ms);
    opened.state.expire_all(now_ms);
    opened.state.channels.arm_all();
    opened.state.files.keep_rests(now_ms);
    let writer = Writer::new(
        disk.clone(),
        log.segment_bytes,
        epoch,
        term,
        opened.next_number,
        opened.next_seq,
    );
    let counters = Counters {
        torn_bytes: opened.torn_bytes.into(),
        hinted: opened.hinted.into(),
        ..Counters::default()
    };
    let shared = Shared {
        state: RwLock::new(opened.state),
        hints: Hints::default(),
        clock,
        skew_ms,
        latest_ms: AtomicU64::new(now_ms),
        epoch,
        forget_after_s: u32::try_from(config.channel_forget_after.as_secs())
            .expect("the configuration was checked"),
        trouble: Mutex::new(None),
        counters,
        _lock: lock,
    };
    let mut committer = Committer::new(writer, entropy, salt, log, hash_seed, trims_from_ms);
    if is_new {
        // The log's epoch must last as long as positions that carry it.
        committer.begin(&shared).map_err(|reason| OpenError::Io {
            folder: disk.describe(),
            source: std::io::Error::other(reason.to_string()),
        })?;
    }
    Ok((shared, committer))
}

impl Shared {
    /// Now, in milliseconds since 1970; never before an earlier answer or what the log has seen.
    pub(crate) fn now_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms().saturating_add(self.skew_ms);
        self.latest_ms
            .fetch_max(now_ms, Ordering::Relaxed)
            .max(now_ms)
    }

    /// None after a panic under the lock: what it left behind can't be trusted.
    pub(crate) fn read_state(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.state.read().ok()
    }

    /// As [`read_state`](Self::read_state), to change it.
    pub(crate) fn write_state(&self) -> Option<RwLockWriteGuard<'_, State>> {
        self.state.write().ok()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Trouble>) {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| current.is_final) {
            *current = trouble;
        }
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn channel(&self, channel: &str) -> Result<ChannelState, ReadError> {
        let now_ms = self.now_ms();
        let state = self.read_state().ok_or(ReadError::StorageUnavailable)?;
        Ok(state.channel(now_ms, channel))
    }

    pub(crate) fn session(&self, session: SessionKey) -> Result<Option<u64>, ReadError> {
        let now_ms = self.now_ms();
        let state = self.read_state().ok_or(ReadError::StorageUnavailable)?;
        Ok(state.session(now_ms, session))
    }

    /// A page that is still to be read; none without a record.
    pub(crate) fn plan(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> Result<Option<PageReader>, ReadError> {
        let now_ms = self.now_ms();
        let state = self.read_state().ok_or(ReadError::StorageUnavailable)?;
        let Some(plan) = state.plan(now_ms, channel, after, limit) else {
            return Ok(None);
        };
        let mut files = Vec::new();
        for entry in &plan.entries {
            if !files.iter().any(|(number, _)| *number == entry.file) {
                let file = state.files.get(entry.file);
                let file = file.expect("an entry leads to an open file");
                files.push((entry.file, file.file.clone()));
            }
        }
        Ok(Some(PageReader::new(plan, files)))
    }

    /// A page could not be read.
    pub(crate) fn read_failed(&self, error: &PageError) -> ReadError {
        self.counters.failed_reads.fetch_add(1, Ordering::Relaxed);
        if let PageError::Damaged { file, pos } = *error {
            self.counters.damaged_reads.fetch_add(1, Ordering::Relaxed);
            let name = self.read_state().and_then(|state| {
                let file = state.files.get(file)?;
                Some(names::segment(file.header.number))
            });
            let name = name.unwrap_or_default();
            self.set_trouble(Some(Trouble {
                reason: format!(
                    "a record of the log is damaged (file {name}, byte {pos}); \
                     `bowline log verify` on the data folder shows more"
                )
                .into(),
                is_final: true,
            }));
        }
        ReadError::StorageUnavailable
    }

    pub(crate) fn engine_clock(&self) -> EngineClock {
        EngineClock {
            epoch: self.epoch,
            // Seconds since 1970 fit until 2106; a clock set beyond that stands still there.
            now_s: u32::try_from(self.now_ms() / 1_000).unwrap_or(u32::MAX),
            forget_after_s: self.forget_after_s,
        }
    }

    pub(crate) fn health(&self) -> EngineHealth {
        if self.state.is_poisoned() {
            return EngineHealth::Refusing("the log failed by a panic; restart the server".into());
        }
        match self.trouble() {
            Some(trouble) => EngineHealth::Refusing(trouble.reason),
            None => EngineHealth::Ready,
        }
    }

    pub(crate) fn stats(&self) -> EngineStats {
        let Some(state) = self.read_state() else {
            return EngineStats::default();
        };
        let mut stats = state.stats();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        stats.details = vec![
            ("segments", state.files.len() as u64),
            ("log_bytes", state.files.bytes()),
            ("compaction_debt_bytes", state.files.dead_bytes()),
            ("commits", count(&counters.commits)),
            ("commit_entries", count(&counters.commit_entries)),
            ("commit_micros", count(&counters.commit_micros)),
            ("commit_micros_max", count(&counters.commit_micros_max)),
            ("commits_refused", count(&counters.refused_commits)),
            ("fsyncs", count(&counters.syncs)),
            ("written_bytes", count(&counters.written_bytes)),
            ("torn_bytes_at_opening", count(&counters.torn_bytes)),
            ("segments_hinted_at_opening", count(&counters.hinted)),
            ("unchecked_bytes", state.files.unchecked_bytes()),
            ("failed_reads", count(&counters.failed_reads)),
            ("damaged_reads", count(&counters.damaged_reads)),
            ("hints_pending", self.hints.pending() as u64),
        ];
        stats
    }
}

impl Counters {
    /// One commit more.
    pub(crate) fn committed(&self, entries: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_entries.fetch_add(entries, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
        self.commit_micros_max.fetch_max(micros, Ordering::Relaxed);
    }
}
