//! A histogram of durations with a bounded error, which processes can hand to each other as text.
//!
//! Owns the buckets: each power of two is cut into 64, so a percentile is at most 1.6 % off.

use std::{collections::BTreeMap, num::ParseIntError};

const SUB_BITS: u32 = 6;

/// Counts of durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: BTreeMap<u32, u64>,
    total: u64,
}

impl Histogram {
    /// Counts a duration `times` times.
    pub(crate) fn record(&mut self, nanos: u64, times: u64) {
        *self.counts.entry(bucket(nanos)).or_default() += times;
        self.total += times;
    }

    /// Adds what another process has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.counts {
            *self.counts.entry(bucket).or_default() += count;
        }
        self.total += other.total;
    }

    /// How many durations were counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The duration that `per_mille` of a thousand do not exceed, 0 if nothing was counted.
    pub(crate) fn percentile(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (&bucket, &count) in &self.counts {
            seen += count;
            if seen >= rank {
                return upper(bucket);
            }
        }
        0
    }

    /// As `bucket:count` pairs on one line.
    pub(crate) fn to_line(&self) -> String {
        let pairs: Vec<_> = self
            .counts
            .iter()
            .map(|(bucket, count)| format!("{bucket}:{count}"))
            .collect();
        pairs.join(" ")
    }

    /// What [`to_line`](Self::to_line) has written.
    pub(crate) fn from_line(line: &str) -> Result<Self, ParseIntError> {
        let mut counts = BTreeMap::new();
        for pair in line.split_whitespace() {
            let (bucket, count) = pair.split_once(':').unwrap_or((pair, ""));
            counts.insert(bucket.parse()?, count.parse()?);
        }
        let total = counts.values().sum();
        Ok(Self { counts, total })
    }
}

fn bucket(nanos: u64) -> u32 {
    let exponent = nanos.max(1).ilog2().saturating_sub(SUB_BITS);
    let mantissa = u32::try_from(nanos >> exponent).expect("below 2 to the power of 7");
    (exponent << SUB_BITS) + mantissa
}

fn upper(bucket: u32) -> u64 {
    let exponent = (bucket >> SUB_BITS).saturating_sub(1);
    let mantissa = u64::from(bucket - (exponent << SUB_BITS));
    ((mantissa + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_value_and_is_narrow() {
        for nanos in (0..40).flat_map(|bit| [1u64 << bit, (1 << bit) + 1, (3 << bit) - 1]) {
            let top = upper(bucket(nanos));
            assert!(top >= nanos, "{nanos} is above its bucket's top {top}");
            assert!(top - nanos <= nanos / 64 + 1, "{nanos} is far below {top}");
        }
    }

    #[test]
    fn percentiles_survive_the_way_through_text() {
        let mut first = Histogram::default();
        let mut second = Histogram::default();
        for nanos in 1..=1_000_000u64 {
            let half = if nanos % 2 == 0 {
                &mut first
            } else {
                &mut second
            };
            half.record(nanos * 10, 1);
        }
        let mut all = Histogram::from_line(&first.to_line()).unwrap();
        all.merge(&second);
        assert_eq!(all.len(), 1_000_000);
        for (per_mille, exact) in [(500, 5_000_000), (990, 9_900_000), (999, 9_990_000)] {
            let found = all.percentile(per_mille);
            assert!(
                found >= exact && found <= exact + exact / 50,
                "{per_mille}: {found}"
            );
        }
        assert_eq!(Histogram::default().percentile(500), 0);
    }
}
