//! Heartbeats: when to ping, and when silence means death.
//!
//! Owns PROTOCOL.md, "Heartbeats", for the server's side of a link, and the link's latency. Must
//! not know which ping is used (JSON or RFC 6455).

use std::time::Duration;

use crate::Time;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before this time.
    Wait(Time),
    /// A ping must be sent now; then ask again.
    Ping,
    /// Nothing came for `pong_timeout` after a ping: the link is dead.
    Stale,
}

/// See [`Heartbeat::is_late`].
const LATE: Duration = Duration::from_secs(1);

/// The pulse of one link. The two durations are handed in, since all links share them.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    received: Time,
    sent: Time,
    /// The ping that nothing has come after yet.
    pinged: Option<Time>,
    srtt_us: u32,
    jitter_us: u32,
}

impl Heartbeat {
    /// Begins with a link that was just opened.
    pub fn new(now: Time) -> Self {
        Self {
            received: now,
            sent: now,
            pinged: None,
            srtt_us: 0,
            jitter_us: 0,
        }
    }

    /// Bytes came: the only proof of life.
    pub fn received(&mut self, now: Time) {
        self.received = now;
        self.pinged = None;
    }

    /// Bytes were taken by the socket.
    pub fn sent(&mut self, now: Time) {
        self.sent = now;
    }

    /// A `pong` told how long its ping took: RFC 6298's estimator, whose variance is the jitter.
    pub fn measured(&mut self, rtt: Duration) {
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        if self.srtt_us == 0 {
            (self.srtt_us, self.jitter_us) = (rtt.max(1), rtt / 2);
            return;
        }
        let deviation = self.srtt_us.abs_diff(rtt);
        self.jitter_us = self.jitter_us - self.jitter_us / 4 + deviation / 4;
        self.srtt_us = (self.srtt_us - self.srtt_us / 8)
            .saturating_add(rtt / 8)
            .max(1);
    }

    /// What is due now. After [`Beat::Ping`] a ping counts as sent.
    ///
    /// The time of [`Beat::Wait`] is never too late, whatever comes before it: nobody needs to ask for
    /// each byte that is received.
    pub fn poll(&mut self, now: Time, interval: Duration, timeout: Duration) -> Beat {
        let deadline = self.pinged.map(|pinged| pinged + timeout);
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Beat::Stale;
        }
        // Nothing has come since the ping that is unanswered, which stands for what is received.
        let quiet_since = match self.pinged {
            Some(_) => self.sent,
            None => self.received.min(self.sent),
        };
        let due = quiet_since + interval;
        if now < due {
            return Beat::Wait(deadline.map_or(due, |deadline| deadline.min(due)));
        }
        self.pinged.get_or_insert(now);
        self.sent = now;
        Beat::Ping
    }

    /// Whether the answer to a ping is late: the least wait of RFC 6298 (2.4) has passed.
    pub fn is_late(&self, now: Time) -> bool {
        self.pinged.is_some_and(|pinged| pinged + LATE <= now)
    }

    /// When bytes last came.
    pub fn last_received(&self) -> Time {
        self.received
    }

    /// The smoothed round trip time and its jitter; none before the first measurement.
    pub fn latency(&self) -> Option<(Duration, Duration)> {
        let micros = |us: u32| Duration::from_micros(us.into());
        (self.srtt_us > 0).then(|| (micros(self.srtt_us), micros(self.jitter_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn silence_of_either_side_is_pinged_and_then_fatal() {
        let mut heart = Heartbeat::new(at(0));
        heart.sent(at(20));
        assert_eq!(heart.poll(at(29), INTERVAL, TIMEOUT), Beat::Wait(at(30)));
        assert_eq!(heart.poll(at(30), INTERVAL, TIMEOUT), Beat::Ping);
        heart.sent(at(35));
        assert!(!heart.is_late(at(30)) && heart.is_late(at(31)));
        assert_eq!(heart.poll(at(39), INTERVAL, TIMEOUT), Beat::Wait(at(40)));
        assert_eq!(heart.poll(at(40), INTERVAL, TIMEOUT), Beat::Stale);
    }

    #[test]
    fn any_byte_after_the_ping_is_life() {
        let mut heart = Heartbeat::new(at(0));
        assert_eq!(heart.poll(at(30), INTERVAL, TIMEOUT), Beat::Ping);
        heart.received(at(31));
        assert_eq!(heart.poll(at(40), INTERVAL, TIMEOUT), Beat::Wait(at(60)));
    }

    /// Asks only when it was told to; what is sent beside pings is in `sent`.
    fn pings_until_stale(interval: u64, timeout: u64, received: &[u64], sent: &[u64]) -> Vec<u64> {
        let (interval, timeout) = (Duration::from_secs(interval), Duration::from_secs(timeout));
        let mut heart = Heartbeat::new(at(0));
        let (mut now, mut pings) = (at(0), Vec::new());
        loop {
            match heart.poll(now, interval, timeout) {
                Beat::Ping => pings.push(now.as_micros() / 1_000_000),
                Beat::Stale => break,
                Beat::Wait(until) => {
                    let passed = |&&second: &&u64| now <= at(second) && at(second) < until;
                    received
                        .iter()
                        .filter(passed)
                        .for_each(|second| heart.received(at(*second)));
                    sent.iter()
                        .filter(passed)
                        .for_each(|second| heart.sent(at(*second)));
                    now = until;
                }
            }
        }
        pings.push(now.as_micros() / 1_000_000);
        pings
    }

    #[test]
    fn pings_keep_their_interval_under_a_longer_timeout() {
        // Answered at once, and then no more.
        assert_eq!(pings_until_stale(2, 5, &[2], &[]), [2, 4, 6, 8, 9]);
        // Each answered: the next one does not wait for the end of the timeout.
        assert_eq!(pings_until_stale(1, 10, &[1, 2, 3], &[])[..4], [1, 2, 3, 4]);
        // Answered late, when the next one is due already.
        assert_eq!(pings_until_stale(2, 5, &[5], &[]), [2, 4, 6, 8, 10, 11]);
        // What else is sent stands for the next one.
        assert_eq!(pings_until_stale(2, 5, &[], &[3]), [2, 5, 7]);
        // A longer interval: one wake for the ping, one for the deadline.
        assert_eq!(pings_until_stale(30, 10, &[35], &[]), [30, 60, 70]);
    }

    #[test]
    fn a_server_that_only_receives_still_pings() {
        let mut heart = Heartbeat::new(at(0));
        heart.received(at(29));
        assert_eq!(heart.poll(at(30), INTERVAL, TIMEOUT), Beat::Ping);
    }

    #[test]
    fn latency_is_smoothed() {
        let mut heart = Heartbeat::new(at(0));
        assert_eq!(heart.latency(), None);
        heart.measured(Duration::from_millis(80));
        heart.measured(Duration::from_millis(160));
        let (srtt, jitter) = heart.latency().expect("measured");
        assert_eq!((srtt.as_millis(), jitter.as_millis()), (90, 50));
    }
}
