//! The last errors of one connection.
//!
//! Owns their bound. A connection that never erred has none of this.

use std::collections::VecDeque;

use bowline_proto::{Code, Time};

/// So many tell what a client does wrong; older ones are only counted.
const RECENT_MAX: usize = 8;

/// What one connection was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentErrors {
    total: u64,
    recent: VecDeque<(Time, Code)>,
}

impl RecentErrors {
    /// One more.
    pub(crate) fn push(&mut self, now: Time, code: Code) {
        self.total += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, code));
    }

    /// How many there were in all.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// The last ones, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, Code)> {
        self.recent.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_all_are_counted() {
        let mut errors = RecentErrors::default();
        for ms in 0..20 {
            errors.push(Time::from_millis(ms), Code::Forbidden);
        }
        assert_eq!(errors.total(), 20);
        let kept: Vec<_> = errors.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(kept, (12..20).collect::<Vec<_>>());
    }
}
