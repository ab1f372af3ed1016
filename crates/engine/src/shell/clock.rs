//! The time that an engine sees.
//!
//! Owns the way from the system's clocks to one that never jumps. Must not know what is timed.

use std::time::{Duration, Instant, SystemTime};

/// Time in milliseconds since 1970.
pub trait Clock: Send + Sync + 'static {
    /// Now. A later answer may be lower: the log takes the highest it has seen.
    fn now_ms(&self) -> u64;
}

/// The system's time when it was started, moved on by its monotonic clock: a jump of the system's
/// time, as by a late NTP correction, expires nothing.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
    started_since_1970: Duration,
}

impl SystemClock {
    /// Reads the system's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell's one reading of the clock"
    )]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            // A system time before 1970 counts as 1970: only spans matter from here on.
            started_since_1970: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_1970 = self.started_since_1970 + self.started.elapsed();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}
