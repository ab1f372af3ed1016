//! An engine whose reads can be held up and are counted.

use std::{sync::Arc, time::Duration};

use bowline_engine::{
    Append, AppendError, Appended, BoxFuture, Engine, EngineHealth, EngineStats, Listener, Memory,
    Page, PageLimit, ReadError, SessionKey,
};
use bowline_proto::recovery::{ChannelState, EngineClock};
use tokio::{sync::watch, time::timeout};

/// Far above what anything here takes: a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Gated {
    log: Memory,
    /// Whether reads are let through.
    pub(crate) open: watch::Sender<bool>,
    /// How many were asked for.
    pub(crate) reads: watch::Sender<usize>,
}

impl Gated {
    /// One that lets reads through at first.
    pub(crate) fn over(log: Memory) -> Arc<Self> {
        Arc::new(Self {
            log,
            open: watch::Sender::new(true),
            reads: watch::Sender::new(0),
        })
    }

    pub(crate) async fn reads_reach(&self, count: usize) {
        let mut reads = self.reads.subscribe();
        timeout(DEADLINE, reads.wait_for(|reads| *reads >= count))
            .await
            .expect("a page is read in time")
            .expect("the engine lives");
    }
}

impl Engine for Gated {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        self.log.append(batch)
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        self.log.channel(channel)
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            self.reads.send_modify(|reads| *reads += 1);
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
            self.log.read(&channel, after, limit).await
        })
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        self.log.session(session)
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        self.log.end_session(session)
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.log.listen(listener);
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
