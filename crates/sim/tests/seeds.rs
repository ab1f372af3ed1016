//! Seeds that every run of the tests plays: those that once failed, and a few from the beginning.

use bowline_sim::{Cuts, Told, run};

/// The first number of each line.
fn regressions() -> Vec<u64> {
    include_str!("../regressions.txt")
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for seed in regressions() {
        let outcome = run(seed, &Cuts::default(), Told::Nothing);
        assert_eq!(outcome.violations, [], "bowline-sim --seed {seed}");
    }
}

#[test]
fn a_seed_repeats_itself() {
    let first = run(7, &Cuts::default(), Told::Digest);
    assert_eq!(first, run(7, &Cuts::default(), Told::Digest));
    assert_ne!(first.digest, run(8, &Cuts::default(), Told::Digest).digest);
}
