//! The engine as the server sees it: the log's core on a simulated disk, with the waits of a real
//! one and hints that get lost.
//!
//! Owns waits, lost answers and lossy hints, all within the contract of
//! [`Engine`](bowline_engine::Engine). Must not decide what is stored.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_engine::{
    Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Inline, Listener,
    Page, PageLimit, Producer, ReadError, SessionKey,
};
use bowline_proto::{
    Publication,
    recovery::{ChannelState, EngineClock},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{plan::Plan, rng::Rng, wire::lock};

/// Answers that get lost, and reads that fail, in thousandths.
const LOST_ANSWERS_PERMILLE: u64 = 5;
const FAILED_READS_PERMILLE: u64 = 5;

/// The log behind its waits.
pub(crate) struct Store {
    pub(crate) log: Arc<Inline>,
    faults: Arc<Faults>,
}

/// What goes wrong between the server and its engine.
pub(crate) struct Faults {
    rng: Mutex<Rng>,
    wait_ms: u64,
    lost_hints_permille: u64,
    /// The first hint of a record comes: by it those who wait for the channel learn of it before it
    /// is forgotten again.
    keeps_first_hints: bool,
    /// How long the server waits for the answer to an append.
    patience: Duration,
    healed: AtomicBool,
    /// Numbers of which the server was not told that they are stored.
    untold: Mutex<BTreeSet<(SessionKey, u64)>>,
    /// Answers, reads and hints that went wrong.
    pub(crate) count: AtomicU64,
}

impl Faults {
    pub(crate) fn new(rng: Rng, plan: &Plan) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(rng),
            wait_ms: plan.engine_ms,
            lost_hints_permille: plan.lost_hints_permille,
            keeps_first_hints: plan.is_forgetful,
            patience: plan.server.publish_timeout,
            healed: AtomicBool::new(false),
            untold: Mutex::default(),
            count: AtomicU64::new(0),
        })
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// Whether the server may not know that this number is stored.
    pub(crate) fn is_untold(&self, session: SessionKey, seq: u64) -> bool {
        lock(&self.untold).contains(&(session, seq))
    }

    fn happens(&self, permille: u64) -> bool {
        let happens = !self.healed.load(Ordering::Relaxed) && lock(&self.rng).permille(permille);
        self.count.fetch_add(u64::from(happens), Ordering::Relaxed);
        happens
    }

    /// A wait of the device; now and then a long one.
    async fn wait(&self) {
        if self.healed.load(Ordering::Relaxed) {
            return;
        }
        let wait_ms = {
            let mut rng = lock(&self.rng);
            let long = if rng.permille(10) { 20 } else { 1 };
            rng.below(self.wait_ms * long + 1)
        };
        if wait_ms > 0 {
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

impl Store {
    pub(crate) const fn new(log: Arc<Inline>, faults: Arc<Faults>) -> Self {
        Self { log, faults }
    }

    async fn reading(&self) -> Result<(), ReadError> {
        self.faults.wait().await;
        if self.faults.happens(FAILED_READS_PERMILLE) {
            return Err(ReadError::StorageUnavailable);
        }
        Ok(())
    }
}

impl Engine for Store {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        let count = batch.len();
        let (log, faults) = (self.log.clone(), self.faults.clone());
        let producers: Vec<_> = batch.iter().map(|append| append.producer).collect();
        let begun = Instant::now();
        let (answer, answered) = oneshot::channel();
        // A task of its own: whoever gives the answer up undoes nothing.
        tokio::spawn(async move {
            faults.wait().await;
            let outcomes = log.append(batch).await;
            faults.wait().await;
            let stored: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
            let told = !faults.happens(LOST_ANSWERS_PERMILLE)
                && answer.send(outcomes).is_ok()
                && begun.elapsed() < faults.patience;
            for (producer, stored) in producers.into_iter().zip(stored) {
                if let (Some(Producer { session, seq }), false) = (producer, told && stored) {
                    lock(&faults.untold).insert((session, seq));
                }
            }
        });
        Box::pin(async move {
            let outcomes = answered.await;
            outcomes.unwrap_or_else(|_| vec![Err(AppendError::FateUnknown); count])
        })
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            self.reading().await?;
            let state = self.log.channel(&channel).await;
            self.faults.wait().await;
            state
        })
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            self.reading().await?;
            let page = self.log.read(&channel, after, limit).await;
            self.faults.wait().await;
            page
        })
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async move {
            self.reading().await?;
            let record = self.log.session(session).await;
            self.faults.wait().await;
            record
        })
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        self.log.end_session(session)
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.log.listen(Arc::new(Lossy {
            to: listener,
            faults: self.faults.clone(),
            held: Mutex::new(None),
        }));
    }

    fn clock(&self) -> EngineClock {
        self.log.clock()
    }

    fn stats(&self) -> EngineStats {
        self.log.stats()
    }

    fn health(&self) -> EngineHealth {
        self.log.health()
    }
}

type Hint = (Arc<str>, u64, Arc<Publication>);

/// Hints that get lost, come twice, or come after later ones.
struct Lossy {
    to: Arc<dyn Listener>,
    faults: Arc<Faults>,
    held: Mutex<Option<Hint>>,
}

impl Listener for Lossy {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let permille = self.faults.lost_hints_permille;
        let is_kept = self.faults.keeps_first_hints && publication.offset == 1;
        if self.faults.happens(permille) && !is_kept {
            return;
        }
        let held = lock(&self.held).take();
        // Without history there are no offsets by which a late hint could be told.
        if held.is_none() && epoch != 0 && self.faults.happens(permille) {
            *lock(&self.held) = Some((channel.clone(), epoch, publication.clone()));
            return;
        }
        self.to.published(channel, epoch, publication);
        if self.faults.happens(permille) && epoch != 0 {
            self.to.published(channel, epoch, publication);
        }
        if let Some((channel, epoch, publication)) = held {
            self.to.published(&channel, epoch, &publication);
        }
    }
}
