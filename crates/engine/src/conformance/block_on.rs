//! A minimal executor: one future on one thread, with a deadline.
//!
//! Owns the waiting of the suite. Must not know what is waited for.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// An engine that has not answered for so long never will: the case fails instead of hanging.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
///
/// # Panics
/// When it has not ended after [`ANSWER_DEADLINE`].
#[expect(
    clippy::disallowed_methods,
    reason = "the deadline guards the suite itself and decides no outcome"
)]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let started = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let left = ANSWER_DEADLINE.saturating_sub(started.elapsed());
        assert!(!left.is_zero(), "no answer within {ANSWER_DEADLINE:?}");
        thread::park_timeout(left);
    }
}
