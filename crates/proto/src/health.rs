//! How well a link does: round trips, jitter, missed probes and the error rate as one level.
//!
//! Owns the estimate. Must not know when probes are sent; that is the machines' decision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The least wait for the answer to a probe. RFC 6298 (2.4) has 1 s; two of these, and a timer that
/// is late, must fit into the 2 s in which a dead link is to be noticed after a hint.
const RTO_MIN: Duration = Duration::from_millis(800);

/// A word for how well a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No proof of life: two probes in a row were missed.
    Dead,
    /// Usable with patience, or one probe was missed.
    Poor,
    /// Delays can be felt.
    Fair,
    /// Nothing to complain of, or nothing is known yet.
    Good,
    /// As on a local network.
    Excellent,
}

/// The bounds from a level down to the next: round trip and jitter in microseconds, errors in
/// thousandths. 100 ms is the limit under which a reaction feels instant, 1 s where a train of
/// thought breaks (Nielsen 1993); a third of each for jitter.
const BOUNDS: [(Level, u64, u64, u32); 3] = [
    (Level::Poor, 1_000_000, 300_000, 500),
    (Level::Fair, 300_000, 100_000, 250),
    (Level::Good, 100_000, 30_000, 50),
];

impl Level {
    /// The level of a link with so many missed probes in a row, this smoothed round trip and jitter
    /// in microseconds, and so many errors in a thousand messages.
    pub fn of(missed: u32, rtt_us: Option<u64>, jitter_us: u64, errors_permille: u32) -> Self {
        match missed {
            2.. => return Self::Dead,
            1 => return Self::Poor,
            0 => {}
        }
        let best = if rtt_us.is_some() {
            Self::Excellent
        } else {
            Self::Good
        };
        let rtt_us = rtt_us.unwrap_or(0);
        BOUNDS
            .iter()
            .find(|(_, rtt_max, jitter_max, errors_max)| {
                rtt_us > *rtt_max || jitter_us > *jitter_max || errors_permille > *errors_max
            })
            .map_or(best, |(level, ..)| *level)
    }

    /// Its name in statistics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Poor => "poor",
            Self::Fair => "fair",
            Self::Good => "good",
            Self::Excellent => "excellent",
        }
    }
}

/// The estimate for one client's links.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Smoothed round trip and its deviation, in microseconds (RFC 6298, section 2).
    rtt: Option<(u64, u64)>,
    last_us: u64,
    jitter_us: u64,
    missed: u32,
}

impl Health {
    /// A round trip was measured.
    pub fn measured(&mut self, sample: Duration) {
        let sample_us = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX / 16);
        self.rtt = Some(match self.rtt {
            None => (sample_us, sample_us / 2),
            Some((srtt, rttvar)) => (
                (7 * srtt + sample_us) / 8,
                (3 * rttvar + srtt.abs_diff(sample_us)) / 4,
            ),
        });
        if self.last_us > 0 {
            // RFC 3550, 6.4.1: the smoothed difference of neighbouring samples.
            self.jitter_us = (15 * self.jitter_us + self.last_us.abs_diff(sample_us)) / 16;
        }
        self.last_us = sample_us;
        self.missed = 0;
    }

    /// Something arrived: whatever was missed before, the link lives.
    pub fn alive(&mut self) {
        self.missed = 0;
    }

    /// A probe was not answered in time.
    pub fn missed(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    /// How long to wait for the answer to a probe: RFC 6298's timeout, at least 0.8 s and at most `most`.
    pub fn probe_timeout(&self, most: Duration) -> Duration {
        match self.rtt {
            Some((srtt, rttvar)) => Duration::from_micros(srtt.saturating_add(4 * rttvar))
                .max(RTO_MIN)
                .min(most),
            None => most,
        }
    }

    /// The smoothed round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(srtt, _)| Duration::from_micros(srtt))
    }

    /// The smoothed difference between neighbouring round trips.
    pub const fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter_us)
    }

    /// Probes missed in a row.
    pub const fn missed_probes(&self) -> u32 {
        self.missed
    }

    /// All of it as one word.
    pub fn level(&self, errors_permille: u32) -> Level {
        Level::of(
            self.missed,
            self.rtt.map(|(srtt, _)| srtt),
            self.jitter_us,
            errors_permille,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(samples_ms: &[u64]) -> Health {
        let mut health = Health::default();
        for ms in samples_ms {
            health.measured(Duration::from_millis(*ms));
        }
        health
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_says() {
        let health = measured(&[100, 200]);
        // SRTT = 7/8 · 100 + 1/8 · 200; RTTVAR = 3/4 · 50 + 1/4 · 100; RTO = SRTT + 4 · RTTVAR.
        assert_eq!(health.rtt, Some((112_500, 62_500)));
        let most = Duration::from_secs(10);
        assert_eq!(health.probe_timeout(most), RTO_MIN);
        assert_eq!(
            measured(&[2_000]).probe_timeout(most),
            Duration::from_secs(6)
        );
        assert_eq!(Health::default().probe_timeout(most), most);
    }

    #[test]
    fn each_kind_of_trouble_lowers_the_level() {
        assert_eq!(Health::default().level(0), Level::Good);
        assert_eq!(measured(&[5]).level(0), Level::Excellent);
        assert_eq!(measured(&[150]).level(0), Level::Good);
        assert_eq!(measured(&[400]).level(0), Level::Fair);
        assert_eq!(measured(&[1_500]).level(0), Level::Poor);
        assert_eq!(measured(&[5]).level(300), Level::Fair);
        let shaky: Vec<u64> = (0..40).map(|i| if i % 2 == 0 { 1 } else { 80 }).collect();
        assert_eq!(measured(&shaky).level(0), Level::Good);
        let mut silent = measured(&[5]);
        silent.missed();
        assert_eq!(silent.level(0), Level::Poor);
        silent.missed();
        assert_eq!(silent.level(0), Level::Dead);
        silent.alive();
        assert_eq!(silent.level(0), Level::Excellent);
    }
}
