//! An engine that delays and fails appends, around one that does not.
//!
//! Owns the faults: which, how often, in which order, from one seed. Must not know the engine inside
//! beyond its contract, nor a clock: the caller brings the timer. Everything that it answers is
//! something that the contract allows, so it passes the suite, and a server must live with it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_proto::recovery::{ChannelState, EngineClock};

use crate::contract::{
    Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Listener, Page,
    PageLimit, ReadError, SessionKey,
};

/// Makes a future that ends after a span, as `tokio::time::sleep` does.
pub type Timer = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// How often each fault happens, in thousandths of the appends, drawn from a seed.
///
/// The faults of one append are drawn in the order in which appends are polled first: the seed
/// repeats a run only where that order repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Decides everything that is random; print it.
    pub seed: u64,
    /// Delayed, before or after the effect, beside any other fault.
    pub delayed_permille: u32,
    /// The longest delay.
    pub delay_max: Duration,
    /// Refused as a whole, with `StorageFull` or `StorageUnavailable`.
    pub refused_permille: u32,
    /// Stored in part: from some entry on the batch is refused.
    pub torn_permille: u32,
    /// Answered `FateUnknown`, stored or not.
    pub unknown_permille: u32,
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// All appends.
    pub appends: u64,
    /// Delayed appends.
    pub delayed: u64,
    /// Appends refused as a whole.
    pub refused: u64,
    /// Appends stored in part.
    pub torn: u64,
    /// Appends stored and answered `FateUnknown`.
    pub unknown_stored: u64,
    /// Appends not stored and answered `FateUnknown`.
    pub unknown_lost: u64,
}

/// The wrapper.
pub struct Faulty {
    inner: Arc<dyn Engine>,
    plan: FaultPlan,
    timer: Timer,
    random: Mutex<SplitMix>,
    healed: AtomicBool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    appends: AtomicU64,
    delayed: AtomicU64,
    refused: AtomicU64,
    torn: AtomicU64,
    unknown_stored: AtomicU64,
    unknown_lost: AtomicU64,
}

/// What happens to one append.
struct Fate {
    before: Option<Duration>,
    after: Option<Duration>,
    fault: Fault,
}

enum Fault {
    None,
    Refused(AppendError),
    /// So many entries are stored.
    Torn(usize, AppendError),
    UnknownStored,
    UnknownLost,
}

/// The generator of Steele, Lea and Flood (2014): small, and good enough to pick faults.
struct SplitMix(u64);

impl Faulty {
    /// Wraps an engine.
    pub fn new(inner: Arc<dyn Engine>, plan: FaultPlan, timer: Timer) -> Self {
        Self {
            inner,
            plan,
            timer,
            random: Mutex::new(SplitMix(plan.seed)),
            healed: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// Ends all faults, for a phase in which everything must come right.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// What has happened so far; a test of faults fails unless each has happened often enough.
    pub fn counts(&self) -> FaultCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FaultCounts {
            appends: read(&self.counts.appends),
            delayed: read(&self.counts.delayed),
            refused: read(&self.counts.refused),
            torn: read(&self.counts.torn),
            unknown_stored: read(&self.counts.unknown_stored),
            unknown_lost: read(&self.counts.unknown_lost),
        }
    }

    fn draw(&self, entries: usize) -> Fate {
        self.counts.appends.fetch_add(1, Ordering::Relaxed);
        let mut fate = Fate {
            before: None,
            after: None,
            fault: Fault::None,
        };
        if self.healed.load(Ordering::Relaxed) {
            return fate;
        }
        let random = &mut *self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if random.below(1_000) < u64::from(self.plan.delayed_permille) {
            self.counts.delayed.fetch_add(1, Ordering::Relaxed);
            let micros = u64::try_from(self.plan.delay_max.as_micros()).unwrap_or(u64::MAX - 1);
            let delay = Some(Duration::from_micros(random.below(micros + 1)));
            if random.below(2) == 0 {
                fate.before = delay;
            } else {
                fate.after = delay;
            }
        }
        fate.fault = self.draw_fault(random, entries);
        fate
    }

    fn draw_fault(&self, random: &mut SplitMix, entries: usize) -> Fault {
        let plan = &self.plan;
        let dice = random.below(1_000);
        let refused = u64::from(plan.refused_permille);
        let torn = refused + u64::from(plan.torn_permille);
        let unknown = torn + u64::from(plan.unknown_permille);
        let error = if random.below(2) == 0 {
            AppendError::StorageFull
        } else {
            AppendError::StorageUnavailable
        };
        let (count, fault) = if dice < refused {
            (&self.counts.refused, Fault::Refused(error))
        } else if dice < torn && entries > 1 {
            let stored = 1 + random.below(entries as u64 - 1) as usize;
            (&self.counts.torn, Fault::Torn(stored, error))
        } else if dice >= torn && dice < unknown {
            if random.below(2) == 0 {
                (&self.counts.unknown_stored, Fault::UnknownStored)
            } else {
                (&self.counts.unknown_lost, Fault::UnknownLost)
            }
        } else {
            return Fault::None;
        };
        count.fetch_add(1, Ordering::Relaxed);
        fault
    }

    async fn delay(&self, span: Option<Duration>) {
        if let Some(span) = span {
            (self.timer)(span).await;
        }
    }

    async fn append_faulty(&self, mut batch: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let fate = self.draw(batch.len());
        self.delay(fate.before).await;
        let outcomes = match fate.fault {
            Fault::None => self.inner.append(batch).await,
            Fault::Refused(error) => refuse(&batch, error, BTreeSet::new()),
            Fault::Torn(stored, error) => {
                let rest = batch.split_off(stored);
                let sessions = sessions_of(&batch);
                let mut outcomes = self.inner.append(batch).await;
                let failed = sessions
                    .into_iter()
                    .zip(&outcomes)
                    .filter_map(|(session, outcome)| session.filter(|_| outcome.is_err()))
                    .collect();
                outcomes.extend(refuse(&rest, error, failed));
                outcomes
            }
            Fault::UnknownStored => {
                let count = self.inner.append(batch).await.len();
                vec![Err(AppendError::FateUnknown); count]
            }
            Fault::UnknownLost => vec![Err(AppendError::FateUnknown); batch.len()],
        };
        self.delay(fate.after).await;
        outcomes
    }
}

impl Engine for Faulty {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        Box::pin(self.append_faulty(batch))
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        self.inner.channel(channel)
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        self.inner.read(channel, after, limit)
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        self.inner.session(session)
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            let fate = self.draw(1);
            self.delay(fate.before).await;
            let ended = match fate.fault {
                Fault::Refused(error) => Err(error),
                Fault::UnknownLost => Err(AppendError::FateUnknown),
                Fault::UnknownStored => {
                    self.inner.end_session(session).await?;
                    Err(AppendError::FateUnknown)
                }
                Fault::None | Fault::Torn(..) => self.inner.end_session(session).await,
            };
            self.delay(fate.after).await;
            ended
        })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.inner.listen(listener);
    }

    fn clock(&self) -> EngineClock {
        self.inner.clock()
    }

    fn stats(&self) -> EngineStats {
        self.inner.stats()
    }

    fn health(&self) -> EngineHealth {
        self.inner.health()
    }
}

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The bias of the remainder does not matter for bounds this far below 2^64.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn sessions_of(batch: &[Append]) -> Vec<Option<SessionKey>> {
    batch
        .iter()
        .map(|append| append.producer.map(|producer| producer.session))
        .collect()
}

/// Refuses every entry; those of sessions that have failed before are aborted.
fn refuse(
    batch: &[Append],
    error: AppendError,
    mut failed: BTreeSet<SessionKey>,
) -> Vec<Result<Appended, AppendError>> {
    sessions_of(batch)
        .into_iter()
        .map(|session| match session {
            Some(session) if !failed.insert(session) => Err(AppendError::Aborted),
            _ => Err(error),
        })
        .collect()
}
