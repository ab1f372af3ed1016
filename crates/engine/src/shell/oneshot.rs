//! One answer for one who waits.
//!
//! Owns the hand-over between a thread and a task of whatever runtime.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

enum Slot<T> {
    Empty(Option<Waker>),
    Full(T),
    /// Answered and taken, or never to be answered.
    Done,
}

/// Gives the answer. Dropped without one, the other side learns that there will be none.
pub(crate) struct Reply<T>(Arc<Mutex<Slot<T>>>);

/// Waits for the answer; none if there will be none.
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

/// The two ends.
pub(crate) fn oneshot<T>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot::Empty(None)));
    (Reply(slot.clone()), Answer(slot))
}

impl<T> Reply<T> {
    pub(crate) fn send(self, value: T) {
        self.fill(Slot::Full(value));
    }

    fn fill(&self, value: Slot<T>) {
        let waker = {
            let mut slot = lock(&self.0);
            let Slot::Empty(waker) = &mut *slot else {
                return;
            };
            let waker = waker.take();
            *slot = value;
            waker
        };
        // Outside the lock, for the woken task may run at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.fill(Slot::Done);
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if let Slot::Empty(waker) = &mut *slot {
            match waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Slot::Done) {
            Slot::Full(value) => Poll::Ready(Some(value)),
            _ => Poll::Ready(None),
        }
    }
}

/// Nothing that panics is done under these locks.
fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
