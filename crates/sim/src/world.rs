//! The simulated world: one server, its disk, many clients and the links between them, in virtual
//! time.
//!
//! Owns time and the agenda. It moves bytes and breaks things; every decision about delivery is
//! made by the types that the server and the clients run. `links` moves bytes, `clients` feeds the
//! clients' machines, `apps` plays the applications, `faults` breaks, `process` starts and ends the
//! server.

mod apps;
mod clients;
mod faults;
mod links;
mod process;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bowline_engine::SimDisk;
use bowline_proto::{Evidence, Time};

use crate::{
    access::Grants,
    check::{Holders, Readers, Violation},
    counters::Counters,
    handler::Application,
    node::Node,
    observed::{Fullest, Life, Published},
    plan::{Cuts, Plan},
    rng::Rng,
    trace::Trace,
    truth::Truth,
    wire::{Bell, lock},
};
use clients::Actor;
use links::{Chunk, Link};

/// How long the world may take to converge once nothing breaks any more.
const LIVENESS_MS: u64 = 60_000;
/// How often it is looked whether it has.
const LOOK_MS: u64 = 200;
/// A seed that takes more steps than this does not end by itself.
const STEPS_MAX: u64 = 3_000_000;

/// What will happen.
#[derive(Debug)]
enum Event {
    Timer(usize),
    Dialled(u64),
    Opened(u64),
    Up(u64, Vec<u8>),
    UpEnd(u64),
    Reset(u64),
    Down(u64, Chunk),
    DownEnd(u64),
    Lost(u64, Evidence),
    Read(u64),
    Token(usize),
    Connect(usize),
    Thaw(usize),
    Resubscribe(usize, Arc<str>),
    Unpause(usize, usize, Arc<str>),
    Publish,
    Repeat(usize),
    Fault,
    ThawServer,
    Kill,
    Restore,
    Boot,
    Drained,
    FreeDisk,
    Heal,
    LastWords,
    Look,
}

/// Everything that a seed has.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) counters: Counters,
    pub(crate) truth: Arc<Mutex<Truth>>,
    pub(crate) lives: Vec<Life>,
    pub(crate) published: Vec<Published>,
    pub(crate) application: Application,
    pub(crate) fullest: Fullest,
    pub(crate) violations: Vec<Violation>,
    pub(crate) trace: Trace,
    rng: Rng,
    now: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    planned: u64,
    channels: Vec<Arc<str>>,
    actors: Vec<Actor>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    bell: Arc<Bell>,
    disk: SimDisk,
    backup: Option<SimDisk>,
    is_older_disk: bool,
    skew_ms: i64,
    node: Option<Node>,
    processes: u64,
    frozen_until: Option<u64>,
    /// Channels to which nobody publishes until then.
    silent_until: BTreeMap<Arc<str>, u64>,
    grants: Arc<Mutex<Grants>>,
    readers: Readers,
    holders: Holders,
    healed: bool,
    done: bool,
}

impl World {
    /// A world at its beginning.
    pub(crate) fn new(seed: u64, cuts: &Cuts, trace: Trace) -> Self {
        let plan = Plan::draw(seed, cuts);
        let rng = Rng::new(seed).fork(2);
        let mut world = Self {
            counters: Counters::default(),
            truth: Arc::new(Mutex::new(Truth::new(plan.engine.clone()))),
            lives: Vec::new(),
            published: Vec::new(),
            application: Application::default(),
            fullest: Fullest {
                queue_bytes_max: plan.server.send_queue_bytes_max,
                tail_bytes_max: plan.server.tail_channel_bytes_max,
                ..Fullest::default()
            },
            violations: Vec::new(),
            trace,
            now: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            channels: Vec::new(),
            actors: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            bell: Arc::default(),
            disk: process::disk(seed),
            backup: None,
            is_older_disk: false,
            skew_ms: 0,
            node: None,
            processes: 0,
            frozen_until: None,
            silent_until: BTreeMap::new(),
            grants: Arc::default(),
            readers: Readers::default(),
            holders: Holders::default(),
            healed: false,
            done: false,
            rng,
            plan,
        };
        world.found();
        world
    }

    /// Runs to the end: faults, healing, convergence.
    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while let Some((&(at, _), _)) = self.agenda.first_key_value() {
            if self.done {
                break;
            }
            steps += 1;
            if steps > STEPS_MAX {
                self.violate("liveness", format!("no end after {steps} steps"));
                break;
            }
            self.advance(at);
            self.collect();
            let Some(entry) = self.agenda.first_entry() else {
                break;
            };
            if entry.key().0 <= self.now {
                let event = entry.remove();
                self.happen(event);
            }
        }
        self.finish();
    }

    /// Lets the server run until this time, or until it has touched a wire.
    fn advance(&mut self, at: u64) {
        self.now = match &self.node {
            Some(node) if self.frozen_until.is_none() => node.run_until(at),
            _ => at,
        };
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Timer(client) => self.on_timer(client),
            Event::Dialled(link) => self.on_dialled(link),
            Event::Opened(link) => self.on_opened(link),
            Event::Up(link, bytes) => self.on_up(link, &bytes),
            Event::UpEnd(link) => self.on_up_end(link),
            Event::Reset(link) => self.on_reset(link),
            Event::Down(link, chunk) => self.on_down(link, chunk),
            Event::DownEnd(link) => self.on_down_end(link),
            Event::Lost(link, evidence) => self.on_lost(link, evidence),
            Event::Read(link) => self.on_read(link),
            Event::Token(client) => self.on_token(client),
            Event::Connect(client) => self.on_connect(client),
            Event::Thaw(client) => self.on_thaw(client),
            Event::Resubscribe(client, channel) => self.subscribe(client, &channel),
            Event::Unpause(client, life, channel) => self.unpause(client, life, channel),
            Event::Publish => self.on_publish(),
            Event::Repeat(number) => self.publish_again(number),
            Event::Fault => self.on_fault(),
            Event::ThawServer => self.on_thaw_server(),
            Event::Kill => self.kill(),
            Event::Restore => self.restore(),
            Event::Boot => self.boot(),
            Event::Drained => self.on_drained(),
            Event::FreeDisk => self.disk.set_full(false),
            Event::Heal => self.heal(),
            Event::LastWords => self.last_words(),
            Event::Look => self.look(),
        }
    }

    /// Whether all has converged, and else whether it may still.
    fn look(&mut self) {
        self.settle_answers();
        let stuck = self.stuck();
        let deadline = self.plan.safety_ms + LIVENESS_MS;
        if stuck.is_empty() || self.now >= deadline {
            for (life, why) in stuck {
                self.lives[life].stuck = Some(why);
            }
            self.done = true;
        } else {
            self.plan_in(LOOK_MS, Event::Look);
        }
    }

    fn finish(&mut self) {
        self.settle_answers();
        self.note_totals();
        self.counters.seeds = 1;
        self.counters.clients = self.actors.len() as u64;
        let truth = lock(&self.truth);
        self.counters.publications = truth.commits;
        self.counters.recreated = truth.recreated;
        let faults = truth.faults.iter();
        self.violations
            .extend(faults.map(|text| Violation::new("log", text.clone())));
        drop(truth);
        self.violations.append(&mut self.readers.violations);
        self.violations.append(&mut self.holders.violations);
    }

    fn violate(&mut self, checker: &'static str, text: String) {
        let now = self.now;
        self.trace
            .say(now, || format!("VIOLATION {checker}: {text}"));
        self.violations.push(Violation::new(checker, text));
    }

    fn plan_in(&mut self, after_ms: u64, event: Event) {
        self.plan_at(self.now + after_ms, event);
    }

    fn plan_at(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.agenda.insert((at.max(self.now), self.planned), event);
    }

    const fn time(&self) -> Time {
        Time::from_millis(self.now)
    }
}
