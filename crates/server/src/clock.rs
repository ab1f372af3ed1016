//! The server's clock: the one place that reads monotonic time for the core.

use bowline_proto::Time;
use tokio::time::Instant;

/// Counts from the start of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        let micros = self.0.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The same point for the runtime's timers.
    pub(crate) fn instant(self, time: Time) -> Instant {
        self.0 + std::time::Duration::from_micros(time.as_micros())
    }
}
