//! An engine whose reads can be held up and are counted.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bowline_engine::{BoxFuture, Engine, Memory, Page, PageLimit, ReadError};
use bowline_proto::recovery::ChannelState;
use tokio::{sync::watch, time::timeout};

#[path = "delegate.rs"]
pub(crate) mod delegate;
use delegate::delegate;

use super::client::DEADLINE;

pub(crate) struct Gated {
    log: Memory,
    /// Whether reads are let through.
    pub(crate) open: watch::Sender<bool>,
    /// How many were asked for.
    pub(crate) reads: watch::Sender<usize>,
    /// It says that it has no channels, as one that has forgotten them.
    pub(crate) forgetful: AtomicBool,
}

impl Gated {
    /// One that lets reads through at first.
    pub(crate) fn over(log: Memory) -> Arc<Self> {
        Arc::new(Self {
            log,
            open: watch::Sender::new(true),
            reads: watch::Sender::new(0),
            forgetful: AtomicBool::new(false),
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

    fn channel(&self, name: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        if self.forgetful.load(Ordering::Relaxed) {
            return Box::pin(ready(Ok(ChannelState::Absent)));
        }
        self.log.channel(name)
    }

    delegate!(log: append session end_session listen clock stats health);
}
