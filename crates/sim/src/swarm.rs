//! Many seeds, on all cores.
//!
//! Owns the threads: a seed runs on one of them from its beginning to its end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Counters, Cuts, Told, Violation, run, wire::lock};

/// Failing seeds that are kept; the swarm ends with the first where it is told so.
const FAILURES_MAX: usize = 20;

/// When a swarm ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// After so many seeds.
    Seeds(u64),
    /// After so long.
    Time(Duration),
}

/// What a swarm has found.
#[derive(Debug, Default)]
pub struct Swarm {
    /// Consecutive seeds from the first one that were all played.
    pub seeds: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What the seeds went through.
    pub counters: Counters,
    /// Seeds that broke a promise.
    pub failures: Vec<(u64, Vec<Violation>)>,
}

/// Plays consecutive seeds.
pub fn swarm(first: u64, bound: Bound, threads: usize, stop_at_failure: bool) -> Swarm {
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Swarm::default());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match bound {
                        Bound::Time(span) if started.elapsed() >= span => return,
                        _ => {}
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if matches!(bound, Bound::Seeds(count) if seed - first >= count) {
                        return;
                    }
                    let (violations, counters) = play(seed);
                    let mut found = lock(&found);
                    found.seeds += 1;
                    found.counters.add(&counters);
                    if !violations.is_empty() {
                        found.failures.push((seed, violations));
                        let enough = found.failures.len() >= FAILURES_MAX;
                        stop.fetch_or(stop_at_failure || enough, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut swarm = found.into_inner().unwrap_or_default();
    swarm.elapsed = started.elapsed();
    swarm.failures.sort();
    swarm
}

/// A seed; a panic in it is a violation like any other.
pub(crate) fn play(seed: u64) -> (Vec<Violation>, Counters) {
    play_with(seed, &Cuts::default())
}

pub(crate) fn play_with(seed: u64, cuts: &Cuts) -> (Vec<Violation>, Counters) {
    match catch_unwind(AssertUnwindSafe(|| run(seed, cuts, Told::Nothing))) {
        Ok(outcome) => (outcome.violations, outcome.counters),
        Err(_) => {
            let panicked = Violation::new("panic", "the seed panicked".to_owned());
            (vec![panicked], Counters::default())
        }
    }
}
