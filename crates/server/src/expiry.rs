//! When a client's token ends, and when it is told so beforehand.
//!
//! Owns PROTOCOL.md, "expiring", for one link. Must not know tokens, sockets or clocks.

use std::time::Duration;

use bowline_proto::Time;

/// The longest notice: time for the application to fetch a token, and for some attempts to fail.
/// A token that lives for less than twice as long is told of at half its life.
const NOTICE_MAX: Duration = Duration::from_secs(60);

/// The end of a link's token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    at: Time,
    /// When the client is told; none once it was.
    tell_at: Option<Time>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this time.
    Wait(Time),
    /// The client is to be told that so much is left; then ask again.
    Tell(Duration),
    /// The token has ended.
    Over,
}

impl Expiry {
    /// Of a token that holds for `left` from now on.
    pub(crate) fn new(left: Duration, now: Time) -> Self {
        let notice = NOTICE_MAX.min(left / 2);
        Self {
            at: now + left,
            tell_at: Some(now + (left - notice)),
        }
    }

    /// What is due now; a client that is not `listening` yet is told later.
    pub(crate) fn poll(&mut self, now: Time, listening: bool) -> Due {
        if now >= self.at {
            return Due::Over;
        }
        match self.tell_at {
            Some(tell_at) if now < tell_at => Due::Wait(tell_at),
            Some(_) if listening => {
                self.tell_at = None;
                Due::Tell(self.at - now)
            }
            _ => Due::Wait(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_client_is_told_once_and_in_time() {
        let at = Time::from_millis;
        for (left, told_ms) in [(HOUR, 3_540_000), (Duration::from_secs(10), 5_000)] {
            let mut expiry = Expiry::new(left, at(1_000));
            let tell_at = at(1_000 + told_ms);
            let end = at(1_000) + left;
            assert_eq!(expiry.poll(at(1_000), true), Due::Wait(tell_at));
            // Nobody listens yet: it is told as soon as somebody does.
            assert_eq!(expiry.poll(tell_at, false), Due::Wait(end));
            assert_eq!(expiry.poll(tell_at, true), Due::Tell(end - tell_at));
            assert_eq!(expiry.poll(tell_at, true), Due::Wait(end));
            assert_eq!(expiry.poll(end, true), Due::Over);
        }
    }
}
