//! How many handshakes begin, and when those that are turned away come back.
//!
//! Owns the rate of handshakes and the spreading of a reconnect storm. Must not know who comes.

use std::time::Duration;

use bowline_proto::Time;

use crate::bucket::Bucket;

/// Nobody is asked to come back sooner: handshakes take a round trip or two.
const RETURN_MIN: Duration = Duration::from_millis(500);
/// Nobody is asked to wait longer: whoever would have to is spread over the same time again.
const RETURN_MAX: Duration = Duration::from_secs(30);

/// The queue of handshakes, which holds nobody: each is told when its turn may come.
#[derive(Debug)]
pub(super) struct Admission {
    bucket: Bucket,
    /// The last turn that was given away.
    turn: Time,
}

impl Admission {
    pub(super) fn new(rate: u32, now: Time) -> Self {
        Self {
            bucket: Bucket::full(rate, now),
            turn: now,
        }
    }

    /// Whether a handshake could begin now.
    pub(super) fn is_open(&mut self, rate: u32, now: Time) -> bool {
        self.bucket.wait_ms(rate, rate, now) == 0
    }

    /// A handshake begins.
    pub(super) fn begin(&mut self, rate: u32, now: Time) {
        let _ = self.bucket.take(rate, rate, now);
    }

    /// In how many milliseconds to come back; each caller gets a turn of its own.
    pub(super) fn turn_in_ms(&mut self, rate: u32, now: Time) -> u64 {
        let earliest = now + RETURN_MIN;
        let next = self.turn.max(earliest) + Duration::from_secs(1) / rate.max(1);
        self.turn = if next > now + RETURN_MAX {
            earliest
        } else {
            next
        };
        u64::try_from((self.turn - now).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_at_the_rate_and_bounded() {
        let now = Time::from_millis(1_000);
        let mut admission = Admission::new(10, now);
        for _ in 0..10 {
            assert!(admission.is_open(10, now));
            admission.begin(10, now);
        }
        assert!(!admission.is_open(10, now));
        let turns: Vec<_> = (0..400).map(|_| admission.turn_in_ms(10, now)).collect();
        assert_eq!(turns[..3], [600, 700, 800]);
        assert!(turns.iter().all(|turn| (500..=30_000).contains(turn)));
        assert!(admission.is_open(10, Time::from_millis(1_100)));
    }
}
