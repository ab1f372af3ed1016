//! A live view of a run, from the drivers' events: for pacing, waiting and the progress line.
//!
//! It judges nothing: verdicts come from the logs.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::log::Event;

/// Counters and positions of all clients of a run.
#[derive(Debug)]
pub struct Progress {
    clients: Vec<Client>,
    /// Handler calls.
    pub deliveries: AtomicU64,
    /// Upstream messages that were acked.
    pub acked: AtomicU64,
    /// Upstream messages that were dropped.
    pub dropped: AtomicU64,
    /// `subscribed` with `recovered:true` that was not a first subscription.
    pub recovered: AtomicU64,
    /// `gap` and `recovered:false`.
    pub gaps: AtomicU64,
    /// Messages that were given to a client or an HTTP publisher.
    pub issued: AtomicU64,
    /// Those of them that have been answered, whatever the answer.
    pub settled: AtomicU64,
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Client {
    unresolved: AtomicU32,
    /// Channel → the last message that the handler got; empty after `subscribed`.
    channels: Mutex<HashMap<String, String>>,
}

impl Progress {
    /// For clients `c000` to `c<clients - 1>`.
    pub fn new(clients: usize) -> Self {
        Self {
            clients: (0..clients).map(|_| Client::default()).collect(),
            deliveries: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            issued: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// The name of a client.
    pub fn client_name(index: usize) -> String {
        format!("c{index:03}")
    }

    /// Takes an event of a driver; unknown clients and events are none of its business.
    pub fn take(&self, event: &Event) {
        let Some(client) = event
            .client
            .as_deref()
            .and_then(|name| name.strip_prefix('c'))
            .and_then(|digits| digits.parse::<usize>().ok())
            .and_then(|index| self.clients.get(index))
        else {
            return;
        };
        match event.event.as_str() {
            "subscribed" => {
                let again = event.reason.as_deref() != Some("new");
                match event.recovered {
                    Some(true) => self.recovered.fetch_add(u64::from(again), Relaxed),
                    _ => self.gaps.fetch_add(1, Relaxed),
                };
                if let Some(channel) = &event.channel {
                    client.channels().entry(channel.clone()).or_default();
                }
            }
            "delivered" => {
                self.deliveries.fetch_add(1, Relaxed);
                if let (Some(channel), Some(m)) = (&event.channel, &event.m)
                    && let Some(last) = client.channels().get_mut(channel)
                {
                    last.clone_from(m);
                }
            }
            "gap" => {
                self.gaps.fetch_add(1, Relaxed);
            }
            "acked" => {
                self.acked.fetch_add(1, Relaxed);
                self.settled.fetch_add(1, Relaxed);
                client.resolve();
            }
            "dropped" => {
                self.dropped.fetch_add(1, Relaxed);
                self.settled.fetch_add(1, Relaxed);
                client.resolve();
            }
            _ => {}
        }
    }

    /// A publish was handed to this client's driver.
    pub fn publish_sent(&self, client: usize) {
        self.issued.fetch_add(1, Relaxed);
        self.clients[client].unresolved.fetch_add(1, Relaxed);
    }

    /// Publishes of this client that have neither been acked nor dropped.
    pub fn unresolved(&self, client: usize) -> u32 {
        self.clients[client].unresolved.load(Relaxed)
    }

    /// The same over all clients.
    pub fn unresolved_total(&self) -> u64 {
        self.clients
            .iter()
            .map(|client| u64::from(client.unresolved.load(Relaxed)))
            .sum()
    }

    /// How many of these subscriptions (client, channel) have not been made yet.
    pub fn missing(&self, expected: &[(usize, String)]) -> usize {
        expected
            .iter()
            .filter(|(client, channel)| !self.clients[*client].channels().contains_key(channel))
            .count()
    }

    /// How many of these subscriptions have not got their channel's last message yet.
    pub fn lagging(&self, expected: &[(usize, String)], last: impl Fn(&str) -> String) -> usize {
        expected
            .iter()
            .filter(|(client, channel)| {
                self.clients[*client].channels().get(channel) != Some(&last(channel))
            })
            .count()
    }

    /// Something ended that should not have: the run can't go on.
    pub fn fail(&self, reason: String) {
        self.failure_slot().get_or_insert(reason);
    }

    /// The first such reason.
    pub fn failure(&self) -> Option<String> {
        self.failure_slot().clone()
    }

    fn failure_slot(&self) -> MutexGuard<'_, Option<String>> {
        self.failure
            .lock()
            .expect("no holder of this lock can panic")
    }
}

impl Client {
    fn channels(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.channels
            .lock()
            .expect("no holder of this lock can panic")
    }

    fn resolve(&self) {
        // A second answer is for the checker to find; here it must not wrap around.
        let _ = self
            .unresolved
            .fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }
}
