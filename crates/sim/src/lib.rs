//! A seeded simulation of `bowline.v1`: many clients, a server and its disk, in virtual time.
//!
//! Runs the types that `serve` runs: the server of the library over byte streams that no kernel
//! carries, the log's core on a disk that loses and tears, the clients' machine. Holds no delivery
//! decision of its own. One seed decides everything; [`run`] plays it and judges what was seen.
#![forbid(unsafe_code)]

mod access;
mod check;
mod counters;
mod handler;
mod minimise;
mod node;
mod observed;
mod plan;
mod rng;
mod store;
mod swarm;
mod trace;
mod truth;
mod wire;
mod world;

pub use check::Violation;
pub use counters::Counters;
pub use minimise::minimise;
pub use plan::{Cuts, Fault};
pub use swarm::{Bound, Swarm, swarm};

use trace::Trace;
use wire::lock;
use world::World;

/// What became of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The promises that were broken.
    pub violations: Vec<Violation>,
    /// What it went through.
    pub counters: Counters,
    /// Of its trace, where one was kept: the same for the same seed.
    pub digest: u64,
}

/// How much of a seed is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// The digest of its trace.
    Digest,
    /// Its trace, on standard output.
    Trace,
}

/// Plays a seed and judges it.
pub fn run(seed: u64, cuts: &Cuts, told: Told) -> Outcome {
    let trace = match told {
        Told::Nothing => Trace::default(),
        Told::Digest => Trace::digested(),
        Told::Trace => Trace::printed(),
    };
    let mut world = World::new(seed, cuts, trace);
    world.run();
    let mut violations = std::mem::take(&mut world.violations);
    violations.extend(check::judge(&account(&world)));
    world.counters.handled = lock(&world.application.handled).len() as u64;
    Outcome {
        violations,
        counters: world.counters.clone(),
        digest: world.trace.digest(),
    }
}

fn account(world: &World) -> check::Account {
    check::Account {
        truth: lock(&world.truth).clone(),
        lives: world.lives.clone(),
        published: world.published.clone(),
        handled: lock(&world.application.handled).clone(),
        fullest: world.fullest,
        page_bytes_max: world.plan.server.page_bytes_max,
    }
}
