//! What was published to a channel since its last broadcast.
//!
//! Owns the hints between those who publish and the one who broadcasts, within a bound. Must not
//! know threads: the shell locks it for one push or one take.

use std::collections::VecDeque;

use crate::server::Tail;

/// The most publications put aside for a broadcast. Beyond it only the newest one's place is kept:
/// subscribers then read the log, and on a channel without history are told of a gap.
pub const INCOMING_MAX: usize = 1_024;

/// Publications on their way to a channel's [`Tail`]; `P` is what the shell knows of each.
#[derive(Debug)]
pub struct Incoming<P> {
    queue: VecDeque<Hint<P>>,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Hint<P> {
    epoch: u64,
    offset: u64,
    publication: P,
}

/// The newest publication that found no room.
#[derive(Clone, Copy, Debug)]
struct Lost {
    epoch: u64,
    offset: u64,
    count: u64,
}

impl<P> Incoming<P> {
    /// Nothing was published.
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            lost: None,
        }
    }

    /// Puts a publication aside; `offset` is 0 on a channel without history.
    pub fn push(&mut self, epoch: u64, offset: u64, publication: P) {
        if self.lost.is_none() && self.queue.len() < INCOMING_MAX {
            self.queue.push_back(Hint {
                epoch,
                offset,
                publication,
            });
        } else {
            let count = self.lost.map_or(1, |lost| lost.count + 1);
            self.lost = Some(Lost {
                epoch,
                offset,
                count,
            });
        }
    }

    /// Whether nothing was published.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lost.is_none()
    }

    /// Takes everything.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Moves it all into the tail; `encode` makes what is written of a publication, with its size
    /// in bytes.
    pub fn move_into<T>(self, tail: &mut Tail<T>, mut encode: impl FnMut(u64, P) -> (T, usize)) {
        for hint in self.queue {
            // Without history there are no offsets: the tail counts by itself.
            let offset = match hint.offset {
                0 => tail.head() + 1,
                offset => offset,
            };
            let (item, bytes) = encode(hint.epoch, hint.publication);
            tail.push(hint.epoch, offset, item, bytes);
        }
        if let Some(lost) = self.lost {
            let head = match lost.offset {
                0 => tail.head() + lost.count,
                offset => offset,
            };
            tail.reach(lost.epoch, head);
        }
    }
}

impl<P> Default for Incoming<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_leaves_only_its_place() {
        let mut incoming = Incoming::new();
        let last = INCOMING_MAX as u64 + 2;
        for offset in 1..=last {
            incoming.push(7, offset, offset);
        }
        let mut tail = Tail::new(2 * INCOMING_MAX, usize::MAX);
        incoming
            .take()
            .move_into(&mut tail, |_, offset| (offset, 1));
        assert!(incoming.is_empty());
        assert_eq!((tail.start(), tail.head()), (last + 1, last));
    }

    #[test]
    fn without_history_what_is_lost_still_counts() {
        let mut incoming = Incoming::new();
        for _ in 0..INCOMING_MAX + 3 {
            incoming.push(0, 0, ());
        }
        let mut tail = Tail::new(2 * INCOMING_MAX, usize::MAX);
        incoming.take().move_into(&mut tail, |_, ()| ((), 1));
        assert_eq!(tail.head(), INCOMING_MAX as u64 + 3);
    }
}
