//! Time as the core sees it: a point that the shell hands in, never a clock.
//!
//! Owns the type [`Time`]. Must not know where the shell takes it from: the server and the clients
//! count from the start of their process, the simulation from the start of its seed.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in monotonic time, in microseconds since an origin that the shell chooses.
///
/// ```
/// use bowline_proto::Time;
/// use std::time::Duration;
///
/// let start = Time::from_millis(1_000);
/// assert_eq!(start + Duration::from_millis(250) - start, Duration::from_millis(250));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// A point that many microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A point that many milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of time: a deadline that far away never comes.
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Time {
    type Output = Duration;

    /// The span from `earlier` to here, zero where `earlier` is in fact later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
