//! What a seed decides before it begins: sizes, rates, and which faults there are.
//!
//! Owns the swarm: each seed has other sizes and leaves some kinds of fault out, so that each kind
//! is met alone and with every other. Must not know how any of it is done.

use std::{collections::BTreeSet, time::Duration};

use bowline::Config;
use bowline_engine::{ChannelPolicy, EngineConfig, LogConfig, Retention};

use crate::rng::Rng;

/// How many of a hundred seeds have channels that are forgotten before their end.
const FORGETFUL_PERCENT: u64 = 25;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $text:literal $weight:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn weight(self) -> u64 {
                match self { $(Self::$name => $weight,)* }
            }
        }
    };
}

faults! {
    /// A link is reset at once.
    Cut "cut" 8,
    /// A link is reset after so many bytes more, in the middle of whatever they are.
    CutAtByte "cut-at-byte" 8,
    /// Nothing passes any more in either direction, and nobody is told.
    HalfOpen "half-open" 5,
    /// What the client says is lost.
    LossUp "loss-up" 4,
    /// What the server says is lost.
    LossDown "loss-down" 4,
    /// A link is slow for the rest of its life.
    Delay "delay" 4,
    /// A client's next hello comes after its patience.
    LateHello "late-hello" 4,
    /// A client stands still for a while.
    FreezeClient "freeze-client" 5,
    /// The server stands still for a while.
    FreezeServer "freeze-server" 2,
    /// A client reads few bytes at a time.
    SlowReader "slow-reader" 6,
    /// A client's environment says that the network changed.
    Hint "hint" 6,
    /// A client's process begins anew from what it had saved.
    Reload "reload" 4,
    /// A client says its last and ends its session; its next process begins another, or does not know
    /// that it has ended.
    Goodbye "goodbye" 3,
    /// A second client uses the session of another.
    Clone "clone" 3,
    /// A client gives up everything in its outbox.
    ClearOutbox "clear-outbox" 3,
    /// A client leaves a channel, and comes back later.
    Unsubscribe "unsubscribe" 4,
    /// A client's tokens expire.
    ExpireToken "expire-token" 4,
    /// A user loses a grant.
    Revoke "revoke" 2,
    /// Many publications at once, so that retention overtakes readers.
    Burst "burst" 6,
    /// The server is killed and the disk loses what was not synced.
    Crash "crash" 3,
    /// The power goes in the middle of writing.
    TornCrash "torn-crash" 3,
    /// The server is stopped in order, and started again.
    Drain "drain" 2,
    /// The server comes back with its disk as it was before.
    OlderDisk "older-disk" 1,
    /// At the next start the system's clock is another.
    ClockJump "clock-jump" 2,
    /// The disk is full for a while.
    DiskFull "disk-full" 3,
    /// A sync fails, and the server is started again.
    BrokenSync "broken-sync" 2,
    /// Nobody publishes to a channel for so long that it is forgotten; where that may happen within a
    /// seed.
    Silence "silence" 8,
}

/// What makes a failing seed smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// At most so many clients.
    pub clients: Option<usize>,
    /// At most so many publications.
    pub publications: Option<usize>,
    /// Only the first faults.
    pub faults: Option<usize>,
    /// Without these kinds.
    pub without: BTreeSet<Fault>,
}

/// The sizes and rates of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) users: usize,
    pub(crate) channels: usize,
    pub(crate) publications: usize,
    pub(crate) faults: usize,
    /// The kinds that this seed has, each as often as its weight.
    pub(crate) kinds: Vec<Fault>,
    /// How long faults go on.
    pub(crate) safety_ms: u64,
    pub(crate) latency_ms: (u64, u64),
    /// Bytes on their way to a client that has not read them.
    pub(crate) window_bytes: usize,
    /// The longest wait of the engine, in ms.
    pub(crate) engine_ms: u64,
    pub(crate) token_ttl_ms: u64,
    pub(crate) lost_hints_permille: u64,
    /// The longest that a client stands still.
    pub(crate) freeze_ms: u64,
    /// Channels, sessions and what is published are forgotten within seconds.
    pub(crate) is_forgetful: bool,
    /// Backends repeat what was not answered: keys are remembered for longer than they do.
    pub(crate) keyed_percent: u64,
    pub(crate) server: Config,
    pub(crate) engine: EngineConfig,
    pub(crate) log: LogConfig,
}

impl Plan {
    pub(crate) fn draw(seed: u64, cuts: &Cuts) -> Self {
        let mut rng = Rng::new(seed).fork(1);
        let clients = rng.within(18, 27) as usize;
        let publications = rng.within(450, 750) as usize;
        let faults = rng.within(20, 45) as usize;
        let mut kinds = Vec::new();
        for &fault in Fault::ALL {
            if fault == Fault::Silence {
                continue;
            }
            let is_in = rng.percent(70) || matches!(fault, Fault::Cut | Fault::CutAtByte);
            if is_in && !cuts.without.contains(&fault) {
                kinds.extend((0..fault.weight()).map(|_| fault));
            }
        }
        let low = rng.within(1, 10);
        let spread = *[0, 3, 20, 60].get(rng.index(4)).expect("one of four");
        let mut plan = Self {
            seed,
            clients: clients.min(cuts.clients.unwrap_or(usize::MAX)),
            users: rng.within(10, 20) as usize,
            channels: rng.within(4, 8) as usize,
            publications: publications.min(cuts.publications.unwrap_or(usize::MAX)),
            faults: if kinds.is_empty() {
                0
            } else {
                faults.min(cuts.faults.unwrap_or(usize::MAX))
            },
            kinds,
            safety_ms: rng.within(4_000, 10_000),
            latency_ms: (low, low + spread),
            window_bytes: rng.within(600, 16_000) as usize,
            engine_ms: *[0, 1, 5, 30].get(rng.index(4)).expect("one of four"),
            token_ttl_ms: rng.within(2_000, 30_000),
            lost_hints_permille: *[0, 10, 50].get(rng.index(3)).expect("one of three"),
            freeze_ms: 3_000,
            is_forgetful: false,
            keyed_percent: 60,
            server: server(&mut rng),
            engine: engine(&mut rng),
            log: LogConfig {
                segment_bytes: rng.within(4_096, 32_768),
                log_bytes_max: 1 << 28,
                ..LogConfig::default()
            },
        };
        let mut rng = Rng::new(seed).fork(4);
        if rng.percent(FORGETFUL_PERCENT) {
            plan.make_forgetful(&mut rng, cuts);
        }
        plan
    }

    /// What a process of the server is started with: later ones may take less at a time, and shorter
    /// messages, than the first.
    pub(crate) fn settings(&self, mut rng: Rng, process: u64) -> Config {
        let mut settings = self.server.clone();
        if process > 1 && rng.percent(40) {
            settings.inflight_max = rng.within(1, settings.inflight_max as u64) as usize;
            settings.message_bytes_max = rng.within(30, 400) as usize;
        }
        settings
    }

    fn make_forgetful(&mut self, rng: &mut Rng, cuts: &Cuts) {
        self.is_forgetful = true;
        let after = Duration::from_secs(rng.within(1, 3));
        let after_ms = after.as_millis() as u64;
        self.engine.channel_forget_after = after;
        self.engine.key_window = after;
        self.engine.session_ttl = after;
        self.server.session_ttl = after;
        for policy in &mut self.engine.policies {
            if let Some(history) = &mut policy.history {
                history.age = Duration::from_millis(rng.within(100, after_ms));
            }
        }
        self.keyed_percent = 0;
        // Long enough for a channel to come and go.
        self.freeze_ms = 10_000;
        self.safety_ms = rng.within(10_000, 20_000);
        // A clock that is set wrong makes all of it over at once.
        self.kinds.retain(|kind| *kind != Fault::ClockJump);
        if self.faults > 0 && !cuts.without.contains(&Fault::Silence) {
            self.kinds
                .extend((0..Fault::Silence.weight()).map(|_| Fault::Silence));
        }
    }
}

/// Small bounds, so that they are reached.
fn server(rng: &mut Rng) -> Config {
    let millis = Duration::from_millis;
    let inflight_max = rng.within(2, 24) as usize;
    let tail_channel_bytes_max = rng.within(300, 5_000) as usize;
    Config {
        ping_interval: millis(rng.within(400, 1_500)),
        pong_timeout: millis(rng.within(250, 700)),
        connection_timeout: millis(rng.within(800, 2_000)),
        send_timeout: millis(rng.within(500, 2_000)),
        publish_timeout: millis(rng.within(100, 1_000)),
        handler_timeout: millis(rng.within(50, 300)),
        access_timeout: millis(500),
        shutdown_timeout: millis(rng.within(400, 2_000)),
        message_bytes_max: 400,
        send_queue_bytes_max: rng.within(4_496, 9_000) as usize,
        page_bytes_max: rng.within(60, 2_500) as usize,
        tail_channel_bytes_max,
        tail_bytes_max: tail_channel_bytes_max.max(1 << 20),
        catchup_slots: rng.within(1, 4) as usize,
        inflight_max,
        messages_per_second: rng.within(10, 100) as u32,
        messages_burst_max: (inflight_max as u64 + rng.within(0, 60)) as u32,
        connections_per_user_max: 1_000,
        subscriptions_per_connection_max: 32,
        ..Config::default()
    }
}

fn engine(rng: &mut Rng) -> EngineConfig {
    let hour = Duration::from_secs(3_600);
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    let small = Retention {
        messages: rng.within(5, 40) as u32,
        bytes: rng.within(500, 8_000),
        age: hour,
    };
    let large = Retention {
        messages: rng.within(100, 400) as u32,
        bytes: 1 << 20,
        age: hour * 12,
    };
    EngineConfig {
        policies: vec![
            policy("live-*", None),
            policy("small-*", Some(small)),
            policy("*", Some(large)),
        ],
        // Above the clock's jumps, as an operator must have it who sets clocks.
        key_window: hour * 12,
        ..EngineConfig::default()
    }
}
