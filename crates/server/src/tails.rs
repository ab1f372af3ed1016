//! The bound of all tails together.
//!
//! Owns the count of the bytes that the channels' tails hold, and whose tail is given up first where
//! they are too many. A tail that is given up costs no message: who would have risen from it
//! reads the log instead.
//!
//! Locks: a channel's state may be held while bytes are counted, and must not be held while room is
//! made.

use std::{
    collections::VecDeque,
    sync::{
        Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    channel::Channel,
    sync::{Mutex, lock},
};

/// Entries that are looked at for each that is added, so that channels that are gone leave the list
/// faster than others come.
const SWEEP: usize = 2;

/// What all channels share for their tails.
#[derive(Debug)]
pub(crate) struct TailBudget {
    /// The most publications of one tail.
    pub(crate) count_max: usize,
    /// The most bytes of one tail.
    pub(crate) channel_bytes_max: usize,
    /// The most bytes of all tails.
    bytes_max: usize,
    bytes: AtomicUsize,
    /// The channels whose tails hold something, longest first; at most twice as many as there are.
    holders: Mutex<VecDeque<Weak<Channel>>>,
}

impl TailBudget {
    pub(crate) fn new(count_max: usize, channel_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            count_max,
            channel_bytes_max,
            bytes_max,
            bytes: AtomicUsize::new(0),
            holders: Mutex::new(VecDeque::new()),
        }
    }

    /// A tail that held `before` bytes holds `now`.
    pub(crate) fn count(&self, before: usize, now: usize) {
        if now >= before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Lists a channel whose tail was empty.
    pub(crate) fn list(&self, channel: Weak<Channel>) {
        let mut holders = lock(&self.holders);
        for _ in 0..SWEEP {
            match holders.pop_front() {
                Some(holder) if holder.strong_count() > 0 => holders.push_back(holder),
                _ => {}
            }
        }
        holders.push_back(channel);
    }

    /// Whether the tails hold more than they may.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    /// The bytes of all tails.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets channels that are not broadcasting give up their tails, until the bound holds or all
    /// were asked.
    pub(crate) fn make_room(&self) {
        let mut left = lock(&self.holders).len();
        while left > 0 && self.is_exceeded() {
            left -= 1;
            // Not held while the channel is asked, which takes its own lock.
            let Some(holder) = lock(&self.holders).pop_front() else {
                return;
            };
            if let Some(channel) = holder.upgrade()
                && !channel.give_up_tail()
            {
                lock(&self.holders).push_back(holder);
            }
        }
    }

    /// How many are on the list.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        lock(&self.holders).len()
    }
}
