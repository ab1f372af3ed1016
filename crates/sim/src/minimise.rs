//! Makes a failing seed smaller: fewer kinds of fault, faults, clients and publications, as long as
//! the same checker still complains.
//!
//! Owns the search. A smaller world is another world, so each step is tried, not assumed.

use std::collections::BTreeSet;

use crate::{Cuts, Fault, swarm::play_with};

/// The smallest cuts that were found; none where the seed does not fail.
pub fn minimise(seed: u64) -> Option<Cuts> {
    let mut cuts = Cuts::default();
    let checkers = complaints(seed, &cuts);
    if checkers.is_empty() {
        return None;
    }
    let fails = |cuts: &Cuts| !complaints(seed, cuts).is_disjoint(&checkers);
    for &fault in Fault::ALL {
        let mut without = cuts.clone();
        without.without.insert(fault);
        if fails(&without) {
            cuts = without;
        }
    }
    for (most, set) in [
        (
            50,
            (|cuts, count| cuts.faults = Some(count)) as fn(&mut Cuts, usize),
        ),
        (30, |cuts, count| cuts.clients = Some(count)),
        (800, |cuts, count| cuts.publications = Some(count)),
    ] {
        let mut count = most;
        while count > 1 {
            let mut fewer = cuts.clone();
            let next = count * 2 / 3;
            set(&mut fewer, next);
            if !fails(&fewer) {
                break;
            }
            (cuts, count) = (fewer, next);
        }
    }
    Some(cuts)
}

fn complaints(seed: u64, cuts: &Cuts) -> BTreeSet<&'static str> {
    let (violations, _) = play_with(seed, cuts);
    violations.into_iter().map(|found| found.checker).collect()
}
