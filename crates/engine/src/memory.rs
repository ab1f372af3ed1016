//! The engine `memory`: the same log without the disk, committed in the call.
//!
//! Owns the lock that stands in for the committer's thread. Must not know what an append means.

use std::{
    collections::VecDeque,
    future::{Future, ready},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bowline_proto::recovery::ChannelState;

use crate::{
    commit::Entropy,
    config::{EngineConfig, LogConfig},
    contract::{
        Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Listener,
        Page, PageLimit, ReadError, SessionKey,
    },
    disk::{Disk, RamDisk},
    open::OpenError,
    shell::{
        Committer, Compactor, Shared, Work,
        clock::{Clock, SystemClock},
        oneshot, open,
    },
};

/// Small, so that what is trimmed is given back soon.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Whenever a segment is full, this many runs of sealed ones are rewritten at most, so that space is
/// given back faster than it is taken and no call is long.
const ROUNDS_PER_SEGMENT: usize = 2;

/// An engine that keeps everything in this process's memory.
///
/// What it has acknowledged lasts until it is dropped: a new one has a new epoch, so positions of
/// an earlier one are never taken for its own. Every operation is done within the call, under one
/// lock; the future that it returns is already complete.
pub struct Memory(Inline);

/// An engine without threads of its own: whoever calls does the work. On a disk of a simulation it
/// is the engine `embedded` as a seed can repeat it.
pub struct Inline {
    shared: Shared,
    committer: Mutex<Committer>,
    compactor: Compactor,
    /// Whether hint files are worth it: not where nothing is ever opened again.
    keeps_hints: bool,
}

impl Memory {
    /// An empty engine on the system's clock.
    ///
    /// # Errors
    /// [`OpenError::Config`], [`OpenError::Entropy`].
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        Self::open_with_clock(config, Arc::new(SystemClock::start()))
    }

    /// An empty engine on a clock of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(config: EngineConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let log = LogConfig {
            segment_bytes: SEGMENT_BYTES,
            log_bytes_max: u64::MAX,
            ..LogConfig::default()
        };
        let entropy: Entropy = Box::new(|| getrandom::u64().ok());
        let mut inline = Inline::open(Arc::new(RamDisk::default()), config, log, clock, entropy)?;
        inline.keeps_hints = false;
        Ok(Self(inline))
    }
}

impl Inline {
    /// Opens the log on a disk.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: EngineConfig,
        log: LogConfig,
        clock: Arc<dyn Clock>,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let (shared, committer) = open(disk.clone(), &config, &log, clock, entropy)?;
        let compactor = Compactor::new(disk, &log, committer.salt());
        Ok(Self {
            shared,
            committer: Mutex::new(committer),
            compactor,
            keeps_hints: true,
        })
    }

    /// Says in the log that it ends here, as an engine does that is closed in order.
    pub fn close(&self) {
        if let Ok(mut committer) = self.committer.lock() {
            committer.close(&self.shared);
        }
    }

    /// Trims what is due by age.
    pub fn tick(&self) {
        self.commit(Work::Tick);
    }

    fn commit(&self, work: Work) {
        if let Ok(mut committer) = self.committer.lock() {
            let is_before = committer.segments();
            committer.commit(&self.shared, &mut VecDeque::from([work]));
            if committer.segments() > is_before {
                self.compact(ROUNDS_PER_SEGMENT);
            }
        } else {
            work.fail(AppendError::StorageUnavailable);
        }
        self.shared.hints.deliver();
    }

    /// Gives space back, in at most so many rewrites, and tends what is left; whether there was
    /// something to do.
    pub fn compact(&self, rounds: usize) -> bool {
        let mut pace = |_: u64| true;
        (0..rounds)
            .take_while(|_| {
                self.compactor.round(&self.shared, &mut pace)
                    || (self.keeps_hints && self.compactor.tend(&self.shared, &mut pace))
            })
            .count()
            > 0
    }

    fn append_now(&self, batch: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let count = batch.len();
        let (reply, answer) = oneshot();
        self.commit(Work::append(batch, reply));
        now(answer).unwrap_or_else(|| vec![Err(AppendError::FateUnknown); count])
    }

    fn read_now(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> Result<Option<Page>, ReadError> {
        let Some(mut reader) = self.shared.plan(channel, after, limit)? else {
            return Ok(None);
        };
        match reader.read(true) {
            Ok(_) => Ok(Some(reader.finish())),
            Err(error) => Err(self.shared.read_failed(&error)),
        }
    }

    fn end_session_now(&self, session: SessionKey) -> Result<(), AppendError> {
        let (reply, answer) = oneshot();
        self.commit(Work::EndSession { session, reply });
        now(answer).unwrap_or(Err(AppendError::FateUnknown))
    }
}

impl Engine for Inline {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        Box::pin(ready(self.append_now(batch)))
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        Box::pin(ready(self.shared.channel(channel)))
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        Box::pin(ready(self.read_now(channel, after, limit)))
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(ready(self.shared.session(session)))
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(ready(self.end_session_now(session)))
    }

    fn expire_sessions(&self) -> BoxFuture<'_, Result<u64, AppendError>> {
        let (reply, answer) = oneshot();
        self.commit(Work::Expire { sessions: 0, reply });
        let expired = now(answer).unwrap_or(Err(AppendError::FateUnknown));
        Box::pin(ready(expired))
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.shared.hints.listen(listener);
    }

    fn clock(&self) -> bowline_proto::recovery::EngineClock {
        self.shared.engine_clock()
    }

    fn stats(&self) -> EngineStats {
        let mut stats = self.shared.stats();
        self.compactor.totals.show(&mut stats);
        stats
    }

    fn health(&self) -> EngineHealth {
        if self.committer.is_poisoned() {
            return EngineHealth::Refusing("the log failed by a panic; restart the server".into());
        }
        self.shared.health()
    }
}

impl Engine for Memory {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        self.0.append(batch)
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        self.0.channel(channel)
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        self.0.read(channel, after, limit)
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        self.0.session(session)
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        self.0.end_session(session)
    }

    fn expire_sessions(&self) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.0.expire_sessions()
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.0.listen(listener);
    }

    fn clock(&self) -> bowline_proto::recovery::EngineClock {
        self.0.clock()
    }

    fn stats(&self) -> EngineStats {
        self.0.stats()
    }

    fn health(&self) -> EngineHealth {
        self.0.health()
    }
}

/// The output of a future that has been answered already.
fn now<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
