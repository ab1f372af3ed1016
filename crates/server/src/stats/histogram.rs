//! A histogram of durations, for any number of threads.
//!
//! Owns the bounds of its buckets. Must not know what is measured.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::count;

/// Upper bounds in microseconds: from an answer out of memory to the longest timeouts, about three
/// a decade, so that a quantile is off by a factor of 2.5 at most.
pub(super) const BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Durations, counted by bucket.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Each without those of the buckets before; the last one has no bound.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Takes in a duration.
    pub(crate) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        count(&self.buckets[bucket], 1);
        count(&self.sum_us, us);
    }

    /// Takes in what has passed since then.
    pub(crate) fn since(&self, begun: Instant) {
        self.observe(begun.elapsed());
    }

    /// How many were at most as long as each bound, then how many in all.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS_US.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|index| {
            sum += self.buckets[index].load(Ordering::Relaxed);
            sum
        })
    }

    /// The sum of all durations.
    pub(super) fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..2], [2, 3]);
        assert_eq!(cumulative[14..], [4, 5]);
        assert_eq!(histogram.sum(), Duration::from_micros(20_000_202));
    }
}
