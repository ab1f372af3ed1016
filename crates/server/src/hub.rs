//! The hub: which channels have subscribers on this node.
//!
//! Owns the map from names to channels and listens to the engine's hints. A channel is in the map
//! while it has a member; its bound is subscriptions per connection times connections.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use bowline_engine::Listener;
use bowline_proto::{Publication, Time};
use tokio::runtime::Handle;

use crate::{
    channel::Channel,
    clock::Clock,
    link::Link,
    sync::{Mutex, lock},
    tails::TailBudget,
};

/// Locks of the map: publishers of different channels rarely meet on the same one.
const SHARDS: usize = 16;

/// The channels with subscribers.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: [Mutex<HashMap<Arc<str>, Arc<Channel>>>; SHARDS],
    hasher: RandomState,
    tails: Arc<TailBudget>,
    clock: Clock,
    runtime: Handle,
}

impl Hub {
    pub(crate) fn new(tails: TailBudget, clock: Clock, runtime: Handle) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            hasher: RandomState::new(),
            tails: Arc::new(tails),
            clock,
            runtime,
        }
    }

    /// Makes a link a member of a channel.
    pub(crate) fn join(&self, name: &Arc<str>, link: &Arc<Link>) -> Arc<Channel> {
        let mut shard = lock(self.shard(name));
        let channel = shard
            .entry(name.clone())
            .or_insert_with(|| Channel::new(name.clone(), self.tails.clone()))
            .clone();
        channel.add(link);
        link.joined(channel.clone());
        channel
    }

    /// Ends a membership.
    pub(crate) fn leave(&self, channel: &Channel, link: &Arc<Link>) {
        let mut shard = lock(self.shard(channel.name()));
        if channel.remove(link) {
            shard.remove(channel.name());
        }
    }

    /// The channel, if anyone here is subscribed to it.
    pub(crate) fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        lock(self.shard(name)).get(name).cloned()
    }

    /// How many channels have subscribers here.
    pub(crate) fn channels(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// The bytes in each channel's tail.
    #[cfg(feature = "simulation")]
    pub(crate) fn tail_bytes(&self) -> Vec<usize> {
        let channels = |shard: &Mutex<HashMap<_, Arc<Channel>>>| -> Vec<Arc<Channel>> {
            lock(shard).values().cloned().collect()
        };
        let channels = self.shards.iter().flat_map(channels);
        channels.map(|channel| channel.tail_bytes()).collect()
    }

    fn shard(&self, name: &str) -> &Mutex<HashMap<Arc<str>, Arc<Channel>>> {
        let hash = self.hasher.hash_one(name);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("below the number of shards")]
    }
}

impl Listener for Hub {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let Some(channel) = self.channel(channel) else {
            return;
        };
        if channel.publish(epoch, publication) {
            let clock = self.clock;
            self.runtime
                .spawn(channel.broadcast(move || -> Time { clock.now() }));
        }
    }
}
