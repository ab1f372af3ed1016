//! The application behind the server: it takes what clients `send`, refuses some, and is late with
//! some.
//!
//! Owns the account of what it has handled, which outlives the server's processes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline::{Incoming, Payload, Rejection, Reply};
use bowline_engine::BoxFuture;
use bytes::Bytes;
use tokio::time::sleep;

use crate::{rng::Rng, store::Faults, wire::lock};

/// What the application has taken, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handled {
    /// The same for each repetition of a message.
    pub(crate) key: String,
    pub(crate) data: Bytes,
    /// Which of the server's processes called.
    pub(crate) process: u64,
    /// The process may not know that it was taken before: the log did not say that its number is
    /// stored.
    pub(crate) untold: bool,
}

/// The application.
#[derive(Clone, Default)]
pub(crate) struct Application {
    pub(crate) handled: Arc<Mutex<Vec<Handled>>>,
    process: u64,
    running: Option<(Arc<Mutex<Rng>>, Arc<Faults>)>,
}

impl Application {
    /// The same for the next process of the server.
    pub(crate) fn begin(&self, rng: Rng, faults: Arc<Faults>) -> Arc<Self> {
        let mut seed = rng;
        Arc::new(Self {
            handled: self.handled.clone(),
            process: seed.next(),
            running: Some((Arc::new(Mutex::new(seed)), faults)),
        })
    }

    /// Handles one message.
    pub(crate) fn handle(
        self: Arc<Self>,
        incoming: Incoming,
    ) -> BoxFuture<'static, Result<Reply, Rejection>> {
        let key = incoming.idempotency_key().unwrap_or_default();
        let is_known = lock(&self.handled).iter().any(|one| one.key == key);
        let (rng, faults) = self.running.clone().expect("it has begun");
        let (choice, wait_ms) = {
            let mut rng = lock(&rng);
            let choice = rng.below(100);
            // What was taken once is taken again, or refused for that: the answer may have been lost.
            let choice = match (is_known, choice) {
                (false, choice) => choice,
                (true, 0..50) => 0,
                (true, _) => 99,
            };
            (choice, rng.below(6))
        };
        Box::pin(async move {
            sleep(Duration::from_millis(wait_ms)).await;
            match choice {
                0..5 => return Err(Rejection::new("not this one")),
                5..10 => {
                    let after = Duration::from_millis(20);
                    return Err(Rejection::retry_after("not now", after));
                }
                10..13 => sleep(Duration::from_secs(3_600)).await,
                _ => {}
            }
            let Payload::Data(data) = &incoming.payload else {
                return Err(Rejection::new("no plain clients here"));
            };
            let number = incoming.session.zip(incoming.seq);
            lock(&self.handled).push(Handled {
                key,
                data: data.bytes().clone(),
                process: self.process,
                untold: number.is_some_and(|(session, seq)| faults.is_untold(session, seq)),
            });
            Ok(Reply::Data(data.clone()))
        })
    }
}
