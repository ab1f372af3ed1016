//! The token bucket that bounds a rate: a connection's messages, or handshakes and verdicts.

use bowline_proto::Time;

/// A refill of `rate` tokens a second up to `burst`, counted in thousandths of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    level: u64,
    filled: Time,
}

const TOKEN: u64 = 1_000;

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(burst: u32, now: Time) -> Self {
        Self {
            level: u64::from(burst) * TOKEN,
            filled: now,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// In how many milliseconds there will be one.
    pub(crate) fn take(&mut self, rate: u32, burst: u32, now: Time) -> Result<(), u64> {
        match self.wait_ms(rate, burst, now) {
            0 => {
                self.level -= TOKEN;
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    /// In how many milliseconds there will be a token; 0 where there is one.
    pub(crate) fn wait_ms(&mut self, rate: u32, burst: u32, now: Time) -> u64 {
        // Thousandths of a token per millisecond are tokens per second.
        let elapsed_ms = now.as_millis().saturating_sub(self.filled.as_millis());
        let refill = elapsed_ms.saturating_mul(rate.into());
        self.level = self
            .level
            .saturating_add(refill)
            .min(u64::from(burst) * TOKEN);
        self.filled = self.filled.max(now);
        TOKEN
            .saturating_sub(self.level)
            .div_ceil(u64::from(rate.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let at = Time::from_millis;
        let mut bucket = Bucket::full(3, at(0));
        let mut take = |ms| bucket.take(10, 3, at(ms));
        assert_eq!(
            [take(0), take(0), take(0), take(0)],
            [Ok(()), Ok(()), Ok(()), Err(100)]
        );
        assert_eq!(
            [take(50), take(100), take(100)],
            [Err(50), Ok(()), Err(100)]
        );
        assert_eq!(
            [take(60_000), take(60_000), take(60_000), take(60_000)].map(|t| t.is_ok()),
            [true, true, true, false]
        );
    }
}
