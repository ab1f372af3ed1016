//! When to dial again: full jitter, growing delays, the server's advice first.
//!
//! Owns the number of failed attempts in a row and the recent error rate. Must not know why an
//! attempt failed (`classify`) nor what is dialled.

use std::time::Duration;

use crate::{rng::Rng, time::Time};

/// The longest advice that is obeyed: a mistaken server must not silence a client for days.
pub(crate) const ADVICE_MS_MAX: u64 = 10 * 60 * 1_000;
/// The most that a dial is put off after a hint. Hints are local to a device or its network, so that
/// no server meets all its clients at once; and somebody is looking.
const HINTED_MS_MAX: u64 = 100;
/// The doublings after which any ceiling is at its bound.
const DOUBLINGS_MAX: u32 = 16;

/// The bounds of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The ceiling of the first delay. Default 1 s: a burst of clients spreads over it after a server's crash.
    pub min_ms: u64,
    /// The ceiling of every delay that the server did not ask for. Default 30 s.
    pub max_ms: u64,
    /// A link that lived so long proves that the path works. Default 10 s.
    pub min_uptime_ms: u64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min_ms: 1_000,
            max_ms: 30_000,
            min_uptime_ms: 10_000,
        }
    }
}

/// The delays between one client's attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    /// Smoothed share of attempts that failed, in thousandths.
    errors_permille: u32,
    opened_at: Option<Time>,
}

impl Backoff {
    /// Nothing has failed yet.
    pub const fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            failures: 0,
            errors_permille: 0,
            opened_at: None,
        }
    }

    /// A link was welcomed. That alone proves little: a server that crashes on each client's first
    /// message welcomes it, too.
    pub fn opened(&mut self, now: Time) {
        self.opened_at = Some(now);
        self.errors_permille -= self.errors_permille / 8;
    }

    /// The server stored something: the path works, delays begin anew.
    pub fn proved(&mut self) {
        self.failures = 0;
    }

    /// Whether the link that was welcomed last lived long enough to prove something.
    pub fn lasted(&self, now: Time) -> bool {
        self.opened_at.is_some_and(|opened_at| {
            now - opened_at >= Duration::from_millis(self.config.min_uptime_ms)
        })
    }

    /// An attempt or a link has failed: how long to wait before the next.
    pub fn failed(&mut self, now: Time, advice_ms: Option<u64>, rng: &mut Rng) -> Duration {
        if self.lasted(now) {
            self.failures = 0;
        }
        self.opened_at = None;
        let ceiling_ms = self.ceiling_ms();
        self.failures = self.failures.saturating_add(1);
        self.errors_permille += (1_000 - self.errors_permille) / 8;
        Duration::from_millis(match advice_ms {
            // Those who were told the same time must not come at the same time.
            Some(advice) => {
                let advice = advice.min(ADVICE_MS_MAX);
                advice + rng.below(advice / 4 + self.config.min_ms + 1)
            }
            None => rng.below(ceiling_ms + 1),
        })
    }

    /// The wait after a hint that dialling is worthwhile: short, yet spread.
    pub fn hinted(&self, rng: &mut Rng) -> Duration {
        Duration::from_millis(rng.below(self.config.min_ms.min(HINTED_MS_MAX) + 1))
    }

    /// Attempts that failed in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The recent share of failures, in thousandths.
    pub const fn errors_permille(&self) -> u32 {
        self.errors_permille
    }

    /// Doubles with each failure and grows up to threefold with the error rate, so that a client
    /// whose links open and break again waits longer than one that was cut once.
    fn ceiling_ms(&self) -> u64 {
        let doubled = self
            .config
            .min_ms
            .saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        let grown = doubled.saturating_mul(1_000 + 2 * u64::from(self.errors_permille)) / 1_000;
        grown.min(self.config.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(BackoffConfig::default())
    }

    fn longest(backoff: &Backoff, advice: Option<u64>) -> u128 {
        let longest = (0..300).map(|seed| {
            let mut copy = backoff.clone();
            copy.failed(Time::ZERO, advice, &mut Rng::new(seed))
                .as_millis()
        });
        longest.max().expect("300 draws")
    }

    #[test]
    fn the_first_retry_is_fully_jittered_too() {
        let draws: Vec<u128> = (0..300)
            .map(|seed| {
                backoff()
                    .failed(Time::ZERO, None, &mut Rng::new(seed))
                    .as_millis()
            })
            .collect();
        assert!(draws.iter().any(|ms| *ms < 50) && draws.iter().any(|ms| *ms > 950));
        assert!(draws.iter().all(|ms| *ms <= 1_000));
    }

    #[test]
    fn delays_grow_and_never_pass_thirty_seconds() {
        let mut backoff = backoff();
        let mut rng = Rng::new(1);
        for _ in 0..4 {
            backoff.failed(Time::ZERO, None, &mut rng);
        }
        assert!(longest(&backoff, None) > 16_000);
        for _ in 0..100 {
            assert!(backoff.failed(Time::ZERO, None, &mut rng) <= Duration::from_secs(30));
        }
    }

    #[test]
    fn only_uptime_or_an_ack_begins_anew() {
        let mut backoff = backoff();
        let mut rng = Rng::new(1);
        for _ in 0..3 {
            backoff.failed(Time::ZERO, None, &mut rng);
        }
        backoff.opened(Time::ZERO);
        backoff.failed(Time::from_millis(9_999), None, &mut rng);
        assert_eq!(backoff.failures(), 4);
        backoff.opened(Time::ZERO);
        backoff.failed(Time::from_millis(10_000), None, &mut rng);
        assert_eq!(backoff.failures(), 1);
        backoff.proved();
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn the_error_rate_lengthens_the_first_delay() {
        let mut flapping = backoff();
        for _ in 0..20 {
            flapping.failed(Time::ZERO, None, &mut Rng::new(1));
            flapping.opened(Time::ZERO);
            flapping.proved();
        }
        assert!(longest(&flapping, None) > longest(&backoff(), None) + 500);
    }

    #[test]
    fn advice_comes_first_and_is_bounded() {
        let mut rng = Rng::new(3);
        let delay = backoff().failed(Time::ZERO, Some(60_000), &mut rng);
        assert!(delay >= Duration::from_secs(60) && delay <= Duration::from_secs(76));
        assert!(longest(&backoff(), Some(u64::MAX)) <= 751_000);
    }
}
