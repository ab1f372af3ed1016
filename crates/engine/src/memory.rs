//! The engine `memory`: the log behind a mutex, with the system's clock and entropy.
//!
//! Owns the lock, the time and the random bits, and the order of hints. Must not know what an
//! append means: that is in `log`.

mod clock;
mod hints;

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard},
};

use bowline_proto::recovery::{ChannelState, EngineClock};

use crate::{
    config::{ConfigProblem, EngineConfig},
    contract::{
        Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Listener,
        Page, PageLimit, ReadError, SessionKey,
    },
    log::{Log, Seed},
};
pub use clock::{Clock, SystemClock};
pub use hints::HINTS_PENDING_MAX;
use hints::Hints;

/// An engine that keeps everything in this process's memory.
///
/// What it has acknowledged lasts until it is dropped: a new one has a new epoch, so positions of
/// an earlier one are never taken for its own. Every operation is done within the call, under one
/// lock; the future that it returns is already complete.
pub struct Memory {
    log: Mutex<Log>,
    hints: Hints,
    clock: Arc<dyn Clock>,
    epoch: u64,
    forget_after_s: u32,
}

/// An engine can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Settings that can't be used, all of them.
    #[error("the engine's settings can't be used: {}", join(.0))]
    Config(Vec<ConfigProblem>),
    /// The operating system gave no random bits.
    #[error("the system's source of random numbers is not available: {0}")]
    Entropy(String),
}

impl Memory {
    /// An empty engine on the system's clock.
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        Self::open_with_clock(config, Arc::new(SystemClock::start()))
    }

    /// An empty engine on a clock of the caller's.
    pub fn open_with_clock(config: EngineConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let draw = || getrandom::u64().map_err(|error| OpenError::Entropy(error.to_string()));
        let bits = draw()?;
        let seed = Seed {
            hash: draw()?,
            // The lowest bit is set so that a term is never 0.
            term: (bits >> 32) as u32 | 1,
        };
        Ok(Self {
            log: Mutex::new(Log::open(&config, seed)),
            hints: Hints::default(),
            clock,
            epoch: draw()?,
            forget_after_s: u32::try_from(config.channel_forget_after.as_secs())
                .expect("the configuration was checked"),
        })
    }

    fn append_now(&self, batch: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let Some(mut log) = self.lock() else {
            return vec![Err(AppendError::StorageUnavailable); batch.len()];
        };
        let mut committed = Vec::with_capacity(batch.len());
        let outcomes = log.append(
            self.clock.now_ms(),
            batch,
            &mut || getrandom::u64().ok(),
            &mut committed,
        );
        // Queued under the log's lock, so that hints stand in the order of their offsets; delivered
        // outside of it, so that no listener holds up other appends or reads.
        self.hints.queue(committed);
        drop(log);
        self.hints.deliver();
        outcomes
    }

    /// None after a panic under the lock: what it left behind can't be trusted.
    fn lock(&self) -> Option<MutexGuard<'_, Log>> {
        self.log.lock().ok()
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Log, u64) -> T) -> Result<T, ReadError> {
        let mut log = self.lock().ok_or(ReadError::StorageUnavailable)?;
        Ok(question(&mut log, self.clock.now_ms()))
    }
}

impl Engine for Memory {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        Box::pin(ready(self.append_now(batch)))
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        Box::pin(ready(self.ask(|log, now_ms| log.channel(now_ms, channel))))
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        let page = self.ask(|log, now_ms| log.read(now_ms, channel, after, limit));
        Box::pin(ready(page))
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(ready(self.ask(|log, now_ms| log.session(now_ms, session))))
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        let ended = self
            .lock()
            .map(|mut log| log.end_session(session))
            .ok_or(AppendError::StorageUnavailable);
        Box::pin(ready(ended))
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.hints.listen(listener);
    }

    fn clock(&self) -> EngineClock {
        let now_s = self.clock.now_ms() / 1_000;
        EngineClock {
            epoch: self.epoch,
            // Seconds since 1970 fit until 2106; a clock set beyond that stands still there.
            now_s: u32::try_from(now_s).unwrap_or(u32::MAX),
            forget_after_s: self.forget_after_s,
        }
    }

    fn stats(&self) -> EngineStats {
        let mut stats = self.lock().map(|log| log.stats()).unwrap_or_default();
        stats.details = vec![("hints_pending", self.hints.pending() as u64)];
        stats
    }

    fn health(&self) -> EngineHealth {
        if self.log.is_poisoned() {
            EngineHealth::Refusing("the log failed by a panic; restart the server".into())
        } else {
            EngineHealth::Ready
        }
    }
}

fn join(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
