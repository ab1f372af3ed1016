//! What the time after an opening may not end yet.
//!
//! A clock that was set wrong while the log was closed must not make it forget: what was alive when the log ended
//! stays alive for a while, so that there is time to set the clock right, and for those who were
//! waiting for an answer to ask again.

/// A deadline that has passed counts only outside of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Grace {
    /// When the log ended.
    ended_ms: u64,
    /// Until when what was alive then stays alive.
    until_ms: u64,
}

impl Grace {
    pub(super) fn new(ended_ms: u64, until_ms: u64) -> Self {
        Self { ended_ms, until_ms }
    }

    /// Whether something with this deadline is over.
    pub(super) fn is_over(self, deadline_ms: u64, now_ms: u64) -> bool {
        let is_spared = deadline_ms > self.ended_ms && now_ms < self.until_ms;
        deadline_ms <= now_ms && !is_spared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_alive_when_the_log_ended_is_spared_for_a_while() {
        let grace = Grace::new(100, 1_000);
        assert!(grace.is_over(100, 500), "it was over before");
        assert!(!grace.is_over(101, 999));
        assert!(grace.is_over(101, 1_000));
        assert!(!grace.is_over(2_000, 1_999));
        assert!(grace.is_over(2_000, 2_000));
        assert!(Grace::default().is_over(1, 1));
    }
}
