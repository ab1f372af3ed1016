//! One process of the server, from its start to its end.
//!
//! Owns a runtime with virtual time, and in it the server that `serve` runs and the log's core on a
//! simulated disk. Dropping it is kill -9. Must not know links, clients or faults.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bowline::{Data, Incoming, PublishError, Published, Server, simulation::Gauges};
use bowline_engine::{
    Append, AppendError, BoxFuture, Clock, Effect, Engine, IdempotencyKey, Inline, OpenError, Page,
    PageLimit, ReadError, SimDisk,
};
use bowline_proto::recovery::ChannelState;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep_until},
};

use crate::{
    access::{Access, Grants},
    handler::Application,
    plan::Plan,
    rng::Rng,
    store::{Faults, Store},
    truth::{Ear, Truth},
    wire::{Bell, Pipe, lock},
};

/// When every seed begins, in milliseconds since 1970: a time in 2026.
pub(crate) const BEGINNING_MS: u64 = 1_780_000_000_000;

/// A node's clock: the world's time, and the system's, which may have been set wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    started: Instant,
    world_ms: u64,
    skew_ms: i64,
}

impl NodeClock {
    /// The world's time; inside the node's runtime only.
    pub(crate) fn world_ms(self) -> u64 {
        self.world_ms + self.started.elapsed().as_millis() as u64
    }
}

impl Clock for NodeClock {
    fn now_ms(&self) -> u64 {
        BEGINNING_MS.saturating_add_signed(self.skew_ms) + self.world_ms()
    }
}

/// The fate of a publication of the backend.
pub(crate) type Answer = (usize, Published);

/// What a node is started with.
pub(crate) struct Boot<'a> {
    pub(crate) now_ms: u64,
    /// Which of the server's processes, from 1.
    pub(crate) process: u64,
    pub(crate) skew_ms: i64,
    pub(crate) plan: &'a Plan,
    pub(crate) rng: Rng,
    pub(crate) disk: &'a SimDisk,
    pub(crate) bell: &'a Arc<Bell>,
    pub(crate) grants: &'a Arc<Mutex<Grants>>,
    pub(crate) truth: &'a Arc<Mutex<Truth>>,
    pub(crate) application: &'a Application,
}

/// A running server.
pub(crate) struct Node {
    runtime: Runtime,
    server: Server,
    log: Arc<Inline>,
    clock: NodeClock,
    bell: Arc<Bell>,
    pub(crate) faults: Arc<Faults>,
    answers: Arc<Mutex<Vec<Answer>>>,
    drained: Arc<AtomicBool>,
}

impl Node {
    /// Starts a server on what the disk has.
    pub(crate) fn boot(mut boot: Boot<'_>) -> Result<Self, OpenError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(OpenError::Thread)?;
        let entered = runtime.enter();
        let clock = NodeClock {
            started: Instant::now(),
            world_ms: boot.now_ms,
            skew_ms: boot.skew_ms,
        };
        let mut entropy = boot.rng.fork(1);
        let log = Arc::new(Inline::open(
            Arc::new(boot.disk.clone()),
            boot.plan.engine.clone(),
            boot.plan.log.clone(),
            Arc::new(clock),
            Box::new(move || Some(entropy.next())),
        )?);
        log.listen(Arc::new(Ear {
            truth: boot.truth.clone(),
            clock,
        }));
        let faults = Faults::new(boot.rng.fork(2), boot.plan);
        let application = boot.application.begin(boot.rng.fork(3), faults.clone());
        let server = Server::builder()
            .config(boot.plan.settings(boot.rng.fork(4), boot.process))
            .engine(Arc::new(Store::new(log.clone(), faults.clone())))
            .access(Access {
                grants: boot.grants.clone(),
                clock,
            })
            .on_message(move |incoming: Incoming| application.clone().handle(incoming))
            .seed(boot.rng.next())
            .build()
            .expect("the plan draws settings that can be used");
        drop(entered);
        Ok(Self {
            runtime,
            server,
            log,
            clock,
            bell: boot.bell.clone(),
            faults,
            answers: Arc::default(),
            drained: Arc::default(),
        })
    }

    /// Runs until this time, or until a wire was touched; answers the time that was reached.
    pub(crate) fn run_until(&self, at_ms: u64) -> u64 {
        let at = self.clock.started + Duration::from_millis(at_ms - self.clock.world_ms);
        self.runtime.block_on(async {
            let mut end = pin!(sleep_until(at));
            poll_fn(|cx| {
                if self.bell.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                Pin::as_mut(&mut end).poll(cx)
            })
            .await;
            self.clock.world_ms().min(at_ms)
        })
    }

    /// The process stood still until this time.
    pub(crate) fn thaw(&self, at_ms: u64) {
        self.runtime.block_on(async {
            let behind = at_ms.saturating_sub(self.clock.world_ms());
            advance(Duration::from_millis(behind)).await;
        });
    }

    pub(crate) fn attach(&self, pipe: Box<Pipe>, peer: std::net::SocketAddr) {
        let _entered = self.runtime.enter();
        self.server.attach(pipe, peer);
    }

    /// Publishes as a backend does; with a key it can be repeated.
    pub(crate) fn publish(
        &self,
        number: usize,
        channel: &Arc<str>,
        data: Data,
        key: Option<IdempotencyKey>,
    ) {
        let answers = self.answers.clone();
        let effect = Effect::Publish {
            channel: channel.clone(),
            data: data.clone(),
            user: None,
            tag: None,
            key,
        };
        let (server, channel) = (self.server.clone(), channel.clone());
        let store = Store::new(self.log.clone(), self.faults.clone());
        self.runtime.spawn(async move {
            let outcome = if key.is_some() {
                let producer = None;
                let batch = vec![Append { producer, effect }];
                store
                    .append(batch)
                    .await
                    .pop()
                    .unwrap_or(Err(AppendError::FateUnknown))
                    .map_err(PublishError::from)
            } else {
                server.publish(&channel, data).await
            };
            lock(&answers).push((number, outcome));
        });
    }

    pub(crate) fn answers(&self) -> Vec<Answer> {
        std::mem::take(&mut lock(&self.answers))
    }

    /// Begins to stop in order.
    pub(crate) fn drain(&self) {
        let (server, drained) = (self.server.clone(), self.drained.clone());
        self.runtime.spawn(async move {
            server.shut_down().await;
            drained.store(true, Ordering::Relaxed);
        });
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Closes the log in order; the node must be dropped next.
    pub(crate) fn close(&self) {
        let _entered = self.runtime.enter();
        self.log.close();
    }

    pub(crate) fn channel(&self, channel: &str) -> Result<ChannelState, ReadError> {
        let _entered = self.runtime.enter();
        now(self.log.channel(channel))
    }

    pub(crate) fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> Result<Option<Page>, ReadError> {
        let _entered = self.runtime.enter();
        now(self.log.read(channel, after, limit))
    }

    pub(crate) fn gauges(&self) -> Gauges {
        self.server.gauges()
    }

    pub(crate) fn totals(&self) -> Vec<(&'static str, u64)> {
        self.server.totals()
    }
}

/// The log itself answers within the call.
fn now<T>(mut answer: BoxFuture<'_, T>) -> T {
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("Inline does its work in the call"),
    }
}
