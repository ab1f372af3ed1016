//! The one who commits.
//!
//! Owns the order of its steps, and what becomes of everybody's answers when one of them fails.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    shared::{Shared, Trouble},
    work::Work,
};
use crate::{
    commit::{Entropy, Stage},
    compact::is_nearly_full,
    config::LogConfig,
    contract::AppendError,
    format::{
        frame::{FRAME_HEADER_BYTES, Frame, FrameHeader},
        record::Record,
    },
    scan,
    state::{Context, Seeded, SegmentFile, State},
    writer::{WriteError, Writer, Written},
};

/// How long no write may have been refused before the log is said to be well again. A disk that is
/// nearly full takes small frames, such as those that probe it, between the large ones that it
/// refuses; space that is back is told of soon enough.
const CALM: Duration = Duration::from_secs(2);

/// Commits, one frame at a time.
pub(crate) struct Committer {
    writer: Writer,
    stage: Stage,
    entropy: Entropy,
    salt: u64,
    commit_bytes_max: usize,
    log_bytes_max: u64,
    /// Nothing is trimmed by age before, unless room is needed.
    trims_from_ms: u64,
    /// The number among open files of the segment that is written.
    active: Option<u32>,
    /// When a write was last refused.
    refused: Option<Instant>,
    /// When the log may be said to be well again; none before a write was taken.
    well_at: Option<Instant>,
}

impl Committer {
    pub(super) fn new(
        writer: Writer,
        entropy: Entropy,
        salt: u64,
        log: &LogConfig,
        hash_seed: u64,
        trims_from_ms: u64,
    ) -> Self {
        Self {
            writer,
            stage: Stage::new(Seeded::new(hash_seed)),
            entropy,
            salt,
            commit_bytes_max: log.commit_bytes_max,
            log_bytes_max: log.log_bytes_max,
            trims_from_ms,
            active: None,
            refused: None,
            well_at: None,
        }
    }

    /// How long after a trouble until it is worth a look whether all is well again, at most `probe`.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is a wait of real time; only what the shell says of its health is decided by it"
    )]
    pub(crate) fn look_again_in(&self, probe: Duration) -> Duration {
        let calm = |at: Instant| at.saturating_duration_since(Instant::now());
        self.well_at.map_or(probe, |at| probe.min(calm(at)))
    }

    /// Random bits, drawn once when the log was opened.
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// The number of the segment to come.
    pub(crate) fn segments(&self) -> u64 {
        self.writer.next_number()
    }

    /// Writes the first frame of a new log.
    pub(super) fn begin(&mut self, shared: &Shared) -> Result<(), Arc<str>> {
        self.probe(shared);
        shared
            .trouble()
            .map_or(Ok(()), |trouble| Err(trouble.reason))
    }

    /// Writes a frame without records, to see whether that is possible.
    pub(crate) fn probe(&mut self, shared: &Shared) {
        let now_ms = shared.now_ms();
        if let Some(state) = shared.read_state() {
            self.stage
                .begin(&state, now_ms, self.writer.term(), u64::MAX, Vec::new());
        }
        // A failure is told by the shared health.
        let _ = self.write_stage(shared, now_ms, 0);
    }

    /// Says that nothing follows, if that can be said.
    pub(crate) fn close(&mut self, shared: &Shared) {
        if shared.trouble().is_some_and(|trouble| trouble.is_final) {
            return;
        }
        let now_ms = shared.now_ms();
        let Some(state) = shared.read_state() else {
            return;
        };
        self.stage
            .begin(&state, now_ms, self.writer.term(), u64::MAX, Vec::new());
        drop(state);
        self.stage.put(&Record::Close);
        let _ = self.write_stage(shared, now_ms, 0);
    }

    /// Commits all the work, in as many frames as it takes, and answers it.
    pub(crate) fn commit(&mut self, shared: &Shared, work: &mut VecDeque<Work>) {
        // Each turn judges at least one entry or ends one request.
        while !work.is_empty() {
            self.commit_frame(shared, work);
        }
    }

    fn commit_frame(&mut self, shared: &Shared, work: &mut VecDeque<Work>) {
        let is_over = shared.trouble().is_some_and(|trouble| trouble.is_final);
        if is_over || self.writer.is_broken() {
            for work in work.drain(..) {
                work.fail(AppendError::StorageUnavailable);
            }
            return;
        }
        let now_ms = shared.now_ms();
        let mut judged = Vec::with_capacity(work.len());
        if !self.judge(shared, now_ms, work, &mut judged) {
            for work in judged.into_iter().chain(work.drain(..)) {
                work.fail(AppendError::StorageUnavailable);
            }
            return;
        }
        let entries = self.stage.hints.len() as u64;
        let written = if self.stage.is_empty() {
            self.keep_totals(shared)
        } else {
            self.write_stage(shared, now_ms, entries)
        };
        match written {
            Ok(()) => {
                shared.hints.queue(std::mem::take(&mut self.stage.hints));
                for done in judged.into_iter().rev() {
                    if let Some(rest) = done.succeed() {
                        work.push_front(rest);
                    }
                }
            }
            Err(error) => judged.into_iter().for_each(|work| work.fail(error)),
        }
    }

    /// Judges as much work as one frame takes.
    fn judge(
        &mut self,
        shared: &Shared,
        now_ms: u64,
        work: &mut VecDeque<Work>,
        judged: &mut Vec<Work>,
    ) -> bool {
        let (entries, bytes) = work
            .iter()
            .map(Work::extent)
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let trims = now_ms >= self.trims_from_ms;
        let Some(mut state) = shared.write_state() else {
            return false;
        };
        if let Some(expiry) = work.iter_mut().find(|work| work.is_expiry()) {
            expiry.expired(state.expire_all(now_ms));
        }
        let is_full = is_nearly_full(&state.files, self.log_bytes_max);
        let due = state.tidy(now_ms, entries, bytes as u64, is_full, trims);
        drop(state);
        let Some(state) = shared.read_state() else {
            return false;
        };
        let room = self.log_bytes_max.saturating_sub(state.files.bytes());
        self.stage
            .begin(&state, now_ms, self.writer.term(), room, due);
        let frame_bytes = self.commit_bytes_max;
        while let Some(mut next) = work.pop_front() {
            let is_whole = next.stage(&mut self.stage, &state, frame_bytes, &mut self.entropy);
            judged.push(next);
            if !is_whole || self.stage.frame.len() >= frame_bytes {
                break;
            }
        }
        true
    }

    /// Nothing was to be written, but there were answers.
    fn keep_totals(&self, shared: &Shared) -> Result<(), AppendError> {
        let mut state = shared
            .write_state()
            .ok_or(AppendError::StorageUnavailable)?;
        state.totals = self.stage.totals;
        self.stage
            .due
            .iter()
            .for_each(|&slot| state.channels.arm(slot));
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the shell measures how long a commit takes, and since when none was refused; \
                  only what it says of its health is decided by it"
    )]
    fn write_stage(
        &mut self,
        shared: &Shared,
        now_ms: u64,
        entries: u64,
    ) -> Result<(), AppendError> {
        let started = Instant::now();
        let stage = &mut self.stage;
        let written = self
            .writer
            .write(&mut stage.frame, now_ms, stage.records, &mut self.entropy);
        let totals = self.writer.totals;
        shared.counters.syncs.store(totals.syncs, Ordering::Relaxed);
        shared
            .counters
            .written_bytes
            .store(totals.bytes, Ordering::Relaxed);
        let mut state = shared.write_state().ok_or(AppendError::FateUnknown)?;
        let outcome = match written {
            Ok(written) => {
                self.active = Some(apply(&mut state, stage, &written, self.active, now_ms));
                self.well_at = self.refused.map(|refused| refused + CALM);
                if self.well_at.is_none_or(|at| started >= at) {
                    self.refused = None;
                    shared.set_trouble(None);
                }
                shared.counters.committed(entries, started.elapsed());
                Ok(())
            }
            Err(error) => {
                self.refused = Some(started);
                self.well_at = None;
                state.totals.failed += entries;
                shared
                    .counters
                    .refused_commits
                    .fetch_add(1, Ordering::Relaxed);
                Err(tell(shared, error))
            }
        };
        stage
            .due
            .drain(..)
            .for_each(|slot| state.channels.arm(slot));
        outcome
    }
}

/// Gives a durable frame its effect, by the same way as replay, and answers its file's number.
fn apply(
    state: &mut State,
    stage: &Stage,
    written: &Written,
    active: Option<u32>,
    now_ms: u64,
) -> u32 {
    let file = match (&written.opened, active) {
        (Some(opened), before) => {
            if let Some(before) = before {
                state.files.seal(before);
            }
            state.files.add(SegmentFile {
                file: opened.file.clone(),
                header: opened.header,
                bytes: opened.end,
                live_bytes: 0,
                kept_bytes: 0,
                judged_ms: 0,
                wait_ms: 0,
                is_sealed: false,
                is_checked: true,
                wants_hint: true,
            })
        }
        (None, Some(active)) => {
            state.files.grow(active, written.frame_bytes);
            active
        }
        (None, None) => unreachable!("the first frame opens a segment"),
    };
    let frame = Frame {
        header: FrameHeader {
            body_bytes: (stage.frame.len() - FRAME_HEADER_BYTES) as u32,
            seq: written.seq,
            time_ms: now_ms,
            term: stage.term(),
            records: stage.records,
        },
        body: &stage.frame[FRAME_HEADER_BYTES..],
    };
    let mut context = Context {
        file,
        time_ms: now_ms,
        term: stage.term(),
    };
    let applied = scan::records(&frame, written.body_pos, |record, place| {
        match state.apply(&mut context, record, place) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => ControlFlow::Break(problem),
        }
    });
    // A panic here poisons the state: nothing more is served or taken, and the log is whole.
    assert!(
        matches!(applied, Ok(ControlFlow::Continue(()))),
        "a commit does not follow from the state that it was judged by: {applied:?}"
    );
    state.totals = stage.totals;
    state.last_seq = written.seq;
    file
}

fn tell(shared: &Shared, error: WriteError) -> AppendError {
    match error {
        WriteError::Refused { error, reason } => {
            let is_final = false;
            shared.set_trouble(Some(Trouble { reason, is_final }));
            error
        }
        WriteError::Broken { is_known, reason } => {
            let is_final = true;
            shared.set_trouble(Some(Trouble { reason, is_final }));
            if is_known {
                AppendError::StorageUnavailable
            } else {
                AppendError::FateUnknown
            }
        }
    }
}
