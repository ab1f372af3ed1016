//! Looking at very many connections: in steps, and not again for each who asks.
//!
//! Owns the size of a step, the time that a walk takes, and how long its answer is given to others.
//! Must not know what is looked for.

use std::{sync::Arc, time::Duration};

use bowline_proto::Time;
use tokio::sync::Mutex;

use crate::clock::Clock;

/// Connections that are looked at in one step, and under one lock: at up to 1 µs each, 1 ms.
pub(crate) const STEP_MAX: usize = 1_024;

/// An answer is kept for so many times as long as it took, so that asking without end takes at most
/// 5 % of a core.
const KEEP_TIMES: u32 = 20;

/// The longest that one is kept, should the thread have been stopped amid a step. A walk of 1.5 s
/// looks at about a million connections.
const KEEP_MAX: Duration = Duration::from_secs(30);

/// A walk over connections, with the time that its steps take.
#[derive(Debug)]
pub(crate) struct Walk {
    clock: Clock,
    /// When this step began.
    begun: Time,
    /// What the steps before have taken; none where this is the first.
    before: Option<Duration>,
}

/// An answer that is given to others for a while; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Kept<T>(Arc<Mutex<Option<(T, Time)>>>);

impl Walk {
    pub(crate) fn begin(clock: Clock) -> Self {
        Self {
            clock,
            begun: clock.now(),
            before: None,
        }
    }

    /// Lets others go on before the next step. How long they take is not counted.
    pub(crate) async fn rest(&mut self) {
        self.before = Some(self.took());
        tokio::task::yield_now().await;
        self.begun = self.clock.now();
    }

    /// How long the answer is to be kept. What took one step is not: it is exact for each who asks,
    /// however slow the machine is.
    pub(crate) fn keep_for(&self) -> Option<Duration> {
        self.before.is_some().then(|| keep_for(self.took()))
    }

    fn took(&self) -> Duration {
        self.before.unwrap_or_default() + (self.clock.now() - self.begun)
    }
}

fn keep_for(took: Duration) -> Duration {
    took.saturating_mul(KEEP_TIMES).min(KEEP_MAX)
}

impl<T: Clone + Send + 'static> Kept<T> {
    /// The answer that is kept, or one that is made now and says for how long it may be; one at a
    /// time, for all who ask meanwhile.
    pub(crate) async fn get(
        &self,
        clock: Clock,
        make: impl Future<Output = (T, Option<Duration>)> + Send + 'static,
    ) -> T {
        let mut kept = self.0.clone().lock_owned().await;
        if let Some((answer, until)) = &*kept
            && clock.now() < *until
        {
            return answer.clone();
        }
        *kept = None;
        // A task of its own: else who asks and goes away, again and again, makes it begin each time.
        let making = tokio::spawn(async move {
            let (answer, keep_for) = make.await;
            *kept = keep_for.map(|keep_for| (answer.clone(), clock.now() + keep_for));
            answer
        });
        making.await.expect("a walk only looks")
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[cfg(test)]
mod tests;
