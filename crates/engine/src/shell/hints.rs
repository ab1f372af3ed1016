//! Hints to listeners, in the order of the commits and outside the log's lock.
//!
//! Owns the queue between the two. Must not know the log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use crate::{commit::Hint, contract::Listener};

/// Beyond so many undelivered hints an appender waits until its own are delivered; below, it leaves
/// them to the appender that is delivering already. About 2 MB of references when full. The queue
/// passes it by at most one batch per waiting thread.
pub const HINTS_PENDING_MAX: usize = 65_536;

/// Hints taken from the queue at a time, to touch its lock once for many.
const HINTS_PER_TURN: usize = 64;

#[derive(Default)]
pub(crate) struct Hints {
    listeners: Mutex<Arc<[Arc<dyn Listener>]>>,
    pending: Mutex<VecDeque<Hint>>,
    /// Held by the one thread that is calling listeners.
    delivering: Mutex<()>,
}

impl Hints {
    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) {
        let mut listeners = lock(&self.listeners);
        *listeners = listeners.iter().cloned().chain([listener]).collect();
    }

    /// Adds hints behind those that wait. The caller holds the log's lock, which orders the calls.
    pub(crate) fn queue(&self, hints: Vec<Hint>) {
        if !hints.is_empty() {
            lock(&self.pending).extend(hints);
        }
    }

    /// Returns when every hint queued before the call is delivered or in the hands of another
    /// thread that delivers.
    ///
    /// The loop ends when the queue is empty. It can't be kept going for long: a hint costs less
    /// than the append that queues it, and beyond the bound appenders wait here.
    pub(crate) fn deliver(&self) {
        loop {
            let pending = self.pending();
            if pending == 0 {
                return;
            }
            let role = if pending > HINTS_PENDING_MAX {
                lock(&self.delivering)
            } else {
                match self.delivering.try_lock() {
                    Ok(role) => role,
                    Err(TryLockError::Poisoned(role)) => role.into_inner(),
                    // Whoever holds the role looks at the queue again after giving it up, and
                    // these hints were queued before: they are not left lying.
                    Err(TryLockError::WouldBlock) => return,
                }
            };
            self.empty_queue();
            drop(role);
        }
    }

    pub(crate) fn pending(&self) -> usize {
        lock(&self.pending).len()
    }

    fn empty_queue(&self) {
        let listeners = lock(&self.listeners).clone();
        loop {
            let turn: Vec<Hint> = {
                let mut pending = lock(&self.pending);
                let count = pending.len().min(HINTS_PER_TURN);
                pending.drain(..count).collect()
            };
            if turn.is_empty() {
                return;
            }
            for hint in &turn {
                for listener in listeners.iter() {
                    listener.published(&hint.channel, hint.epoch, &hint.publication);
                }
            }
        }
    }
}

/// A listener's panic leaves these queues whole, so the poison says nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
