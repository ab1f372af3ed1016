//! The engine `embedded`: the log on a disk, behind a thread that commits.
//!
//! Owns the threads and the queues that lead to them. Must not know what an append means.

use std::{
    collections::VecDeque,
    future::{poll_fn, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use bowline_proto::recovery::{ChannelState, EngineClock};

use crate::{
    commit::Entropy,
    config::{EngineConfig, LogConfig},
    contract::{
        Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Listener,
        Page, PageLimit, ReadError, SessionKey,
    },
    disk::{Disk, RealDisk},
    open::OpenError,
    read::PageReader,
    shell::{
        Committer, Compactor, Queue, ReadJob, Shared, Trouble, Work,
        clock::{Clock, SystemClock},
        oneshot, open, run_compactor, run_reader,
    },
};

/// Looks at the queue before a commit, at most: about 0.2 ms where nobody else wants the processor,
/// a small part of what a sync takes.
const GATHER_YIELDS_MAX: usize = 256;
/// Looks that find nobody new before the commit goes on without them.
const GATHER_IDLE_YIELDS_MAX: usize = 8;

/// An engine whose log is on this machine's disk.
///
/// What it has acknowledged survives anything but the loss of the disk: an append is answered after
/// its frame was written and `fdatasync` has returned. docs/durability.md says what that rests on.
/// Dropping it closes the log.
pub struct Embedded {
    shared: Arc<Shared>,
    work: Arc<Queue<Work>>,
    reads: Arc<Queue<ReadJob>>,
    compactor: Arc<Compactor>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the log in a folder, or begins one, on the system's clock.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path, config: EngineConfig, log: LogConfig) -> Result<Self, OpenError> {
        let disk = RealDisk::open(folder).map_err(|source| OpenError::Io {
            folder: folder.display().to_string(),
            source,
        })?;
        let entropy: Entropy = Box::new(|| getrandom::u64().ok());
        Self::open_on(
            Arc::new(disk),
            config,
            log,
            Arc::new(SystemClock::start()),
            entropy,
        )
    }

    /// Opens the log on a disk, a clock and random bits of the caller's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: EngineConfig,
        log: LogConfig,
        clock: Arc<dyn Clock>,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let (shared, committer) = open(disk.clone(), &config, &log, clock, entropy)?;
        let salt = committer.salt();
        let engine = Self {
            compactor: Arc::new(Compactor::new(disk, &log, salt)),
            shared: Arc::new(shared),
            work: Arc::new(Queue::new(log.queue_requests_max, log.queue_bytes_max)),
            reads: Arc::new(Queue::new(log.queue_reads_max, usize::MAX)),
            threads: Mutex::default(),
        };
        engine.start(committer, &log).map_err(OpenError::Thread)?;
        Ok(engine)
    }

    /// Commits what is queued, says in the log that it ends here, and ends the threads. Further
    /// appends are answered `StorageUnavailable`.
    pub fn close(&self) {
        self.work.close();
        self.reads.close();
        self.compactor.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has left its traces in the health.
            let _ = thread.join();
        }
    }

    fn start(&self, committer: Committer, log: &LogConfig) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, work, log) = (self.shared.clone(), self.work.clone(), log.clone());
        let (read_threads, interval) = (log.read_threads, log.maintenance_interval);
        threads.push(
            thread::Builder::new()
                .name("bowline-commit".to_owned())
                .spawn(move || guard_committer(committer, &shared, &work, &log))?,
        );
        let (shared, compactor) = (self.shared.clone(), self.compactor.clone());
        threads.push(
            thread::Builder::new()
                .name("bowline-compact".to_owned())
                .spawn(move || run_compactor(&compactor, &shared, interval))?,
        );
        for number in 0..read_threads {
            let (shared, reads) = (self.shared.clone(), self.reads.clone());
            threads.push(
                thread::Builder::new()
                    .name(format!("bowline-read-{number}"))
                    .spawn(move || run_reader(&shared, &reads))?,
            );
        }
        Ok(())
    }

    async fn submit(&self, work: Work, bytes: usize) {
        let mut work = Some(work);
        let back = poll_fn(|context| self.work.poll_push(context, &mut work, bytes)).await;
        if let Some(work) = back {
            work.fail(AppendError::StorageUnavailable);
        }
    }

    async fn read_page(
        &self,
        planned: Result<Option<PageReader>, ReadError>,
    ) -> Result<Option<Page>, ReadError> {
        let Some(mut reader) = planned? else {
            return Ok(None);
        };
        match reader.read(false) {
            Ok(true) => return Ok(Some(reader.finish())),
            Ok(false) => {}
            Err(error) => return Err(self.shared.read_failed(&error)),
        }
        let (reply, answer) = oneshot();
        let mut job = Some(ReadJob { reader, reply });
        poll_fn(|context| self.reads.poll_push(context, &mut job, 0)).await;
        answer.await.unwrap_or(Err(ReadError::StorageUnavailable))
    }
}

impl Engine for Embedded {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        let count = batch.len();
        let (reply, answer) = oneshot();
        let work = Work::append(batch, reply);
        let (_, bytes) = work.extent();
        Box::pin(async move {
            self.submit(work, bytes).await;
            let unknown = || vec![Err(AppendError::FateUnknown); count];
            answer.await.unwrap_or_else(unknown)
        })
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
        Box::pin(self.read_page(self.shared.plan(channel, after, limit)))
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(ready(self.shared.session(session)))
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        let (reply, answer) = oneshot();
        Box::pin(async move {
            self.submit(Work::EndSession { session, reply }, 0).await;
            answer.await.unwrap_or(Err(AppendError::FateUnknown))
        })
    }

    fn expire_sessions(&self) -> BoxFuture<'_, Result<u64, AppendError>> {
        let (reply, answer) = oneshot();
        Box::pin(async move {
            let work = Work::Expire { sessions: 0, reply };
            self.submit(work, 0).await;
            answer.await.unwrap_or(Err(AppendError::FateUnknown))
        })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.shared.hints.listen(listener);
    }

    fn clock(&self) -> EngineClock {
        self.shared.engine_clock()
    }

    fn stats(&self) -> EngineStats {
        let mut stats = self.shared.stats();
        self.compactor.totals.show(&mut stats);
        stats
            .details
            .push(("requests_queued", self.work.len() as u64));
        stats
            .details
            .push(("reads_queued", self.reads.len() as u64));
        stats
    }

    fn health(&self) -> EngineHealth {
        self.shared.health()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends the queue with its committer, whatever ends that: nobody may wait for one who is gone.
fn guard_committer(committer: Committer, shared: &Shared, queue: &Queue<Work>, log: &LogConfig) {
    let run = AssertUnwindSafe(|| run_committer(committer, shared, queue, log));
    if catch_unwind(run).is_err() {
        shared.set_trouble(Some(Trouble {
            reason: "the committer failed by a panic; restart the server".into(),
            is_final: true,
        }));
    }
    queue.close();
    let mut rest = VecDeque::new();
    queue.take_all(&mut rest, Duration::ZERO);
    for work in rest {
        work.fail(AppendError::StorageUnavailable);
    }
}

/// Commits what comes until the queue is closed. Never waits for more to come.
fn run_committer(mut committer: Committer, shared: &Shared, queue: &Queue<Work>, log: &LogConfig) {
    let mut work = VecDeque::new();
    let mut answered = 0;
    loop {
        let in_trouble = shared.trouble().is_some_and(|trouble| !trouble.is_final);
        let wait = if in_trouble {
            committer.look_again_in(log.probe_interval)
        } else {
            log.maintenance_interval
        };
        if !queue.take_all(&mut work, wait) {
            committer.close(shared);
            return;
        }
        gather(queue, &mut work, answered);
        answered = work.len();
        if work.is_empty() {
            if in_trouble {
                committer.probe(shared);
            }
            work.push_back(Work::Tick);
        }
        committer.commit(shared, &mut work);
        shared.hints.deliver();
    }
}

/// Lets those who were just answered come back before the next commit, as long as each look at the
/// queue finds more of them: without this the first of them would get a sync of its own, and all the
/// others would wait for it. No time is waited: it gives up the processor, a bounded number of times.
fn gather(queue: &Queue<Work>, work: &mut VecDeque<Work>, answered: usize) {
    let mut idle = 0;
    let mut before = work.len();
    for _ in 0..GATHER_YIELDS_MAX {
        if work.is_empty() || before >= answered || idle >= GATHER_IDLE_YIELDS_MAX {
            break;
        }
        thread::yield_now();
        let now = work.len() + queue.len();
        idle = if now > before { 0 } else { idle + 1 };
        before = now;
    }
    if before > work.len() {
        queue.take_all(work, Duration::ZERO);
    }
}

#[cfg(test)]
pub(crate) mod tests;
