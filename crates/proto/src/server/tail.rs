//! The tail of a channel: its newest publications, kept in memory for live delivery.
//!
//! Owns a contiguous run of offsets, bounded by count and bytes. Must not know subscribers.

use std::collections::VecDeque;

/// What became of a publication that was offered to the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It continues the tail.
    Taken,
    /// The tail has passed it already: a hint came twice or late.
    Known,
    /// Hints were lost before it: the tail begins anew here, and live subscribers that stand
    /// lower will fall back to the log.
    Restarted,
}

/// The newest publications of one channel; `T` is what the shell writes for each.
#[derive(Debug)]
pub struct Tail<T> {
    items: VecDeque<(T, usize)>,
    /// The channel record that the offsets belong to; 0 until one is known.
    epoch: u64,
    /// The offset that comes next; 0 until the first is known.
    next: u64,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl<T> Tail<T> {
    /// An empty tail that will hold at most `count_max` publications of `bytes_max` bytes in all.
    pub fn new(count_max: usize, bytes_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            epoch: 0,
            next: 0,
            bytes: 0,
            count_max,
            bytes_max,
        }
    }

    /// Tells a tail where the log's head was seen. Another channel record than the tail's wins: if
    /// it was the older one, the next publication tells.
    pub fn reach(&mut self, epoch: u64, head: u64) {
        if self.epoch != epoch || head >= self.next {
            self.clear();
            self.epoch = epoch;
            self.next = head + 1;
        }
    }

    /// Takes a publication of `bytes` bytes.
    pub fn push(&mut self, epoch: u64, offset: u64, item: T, bytes: usize) -> Pushed {
        let same = epoch == self.epoch || self.epoch == 0;
        if same && offset < self.next {
            return Pushed::Known;
        }
        let continues = same && (offset == self.next || self.next == 0);
        if !continues {
            self.clear();
        }
        self.epoch = epoch;
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        self.next = offset + 1;
        while self.items.len() > self.count_max || self.bytes > self.bytes_max {
            let Some((_, bytes)) = self.items.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
        if continues {
            Pushed::Taken
        } else {
            Pushed::Restarted
        }
    }

    /// Forgets the publications but not where the head is.
    pub fn clear(&mut self) {
        self.items = VecDeque::new();
        self.bytes = 0;
    }

    /// Forgets all of the channel record `epoch`, of which the log knows nothing any more; another one
    /// has come meanwhile where the tail's is not that.
    pub fn forget(&mut self, epoch: u64) {
        if self.epoch == epoch {
            self.clear();
            (self.epoch, self.next) = (0, 0);
        }
    }

    /// The offset of the newest publication; 0 where nothing is known.
    pub fn head(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The channel record that the offsets belong to; 0 while none is known.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The lowest offset held; `head + 1` where none is.
    pub fn start(&self) -> u64 {
        self.next - self.items.len() as u64
    }

    /// The bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The publications from `offset` on, each with its size; empty where it is not held.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = &(T, usize)> {
        let skip = usize::try_from(offset.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let held = if offset >= self.start() {
            skip
        } else {
            usize::MAX
        };
        self.items.iter().skip(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest_within_both_bounds() {
        let mut tail = Tail::new(3, 10);
        for offset in 5..=9 {
            tail.push(1, offset, offset, 3);
        }
        assert_eq!((tail.start(), tail.head(), tail.bytes()), (7, 9, 9));
        tail.push(1, 10, 10, 10);
        assert_eq!((tail.start(), tail.head()), (10, 10));
        tail.push(1, 11, 11, 11);
        assert_eq!((tail.start(), tail.head(), tail.bytes()), (12, 11, 0));
    }

    #[test]
    fn a_forgotten_record_leaves_nothing_and_another_one_stays() {
        let mut tail = Tail::new(8, 100);
        tail.push(1, 1, 'a', 1);
        tail.forget(2);
        assert_eq!((tail.epoch(), tail.head(), tail.bytes()), (1, 1, 1));
        tail.forget(1);
        assert_eq!((tail.epoch(), tail.head(), tail.bytes()), (0, 0, 0));
        assert_eq!(tail.push(2, 1, 'b', 1), Pushed::Taken);
    }

    #[test]
    fn a_lost_hint_restarts_it_and_a_late_one_is_known() {
        let mut tail = Tail::new(8, 100);
        assert_eq!(tail.push(1, 1, 'a', 1), Pushed::Taken);
        assert_eq!(tail.push(1, 3, 'c', 1), Pushed::Restarted);
        assert_eq!(tail.push(1, 2, 'b', 1), Pushed::Known);
        assert_eq!((tail.start(), tail.head()), (3, 3));
        assert_eq!(tail.from(2).count(), 0);
        assert_eq!(tail.from(3).count(), 1);
        tail.reach(1, 2);
        assert_eq!(tail.head(), 3);
        tail.reach(1, 7);
        assert_eq!((tail.start(), tail.head()), (8, 7));
    }

    #[test]
    fn another_channel_record_begins_anew() {
        let mut tail = Tail::new(8, 100);
        tail.push(1, 40, 'a', 1);
        assert_eq!(tail.push(2, 1, 'b', 1), Pushed::Restarted);
        assert_eq!((tail.epoch(), tail.start(), tail.head()), (2, 1, 1));
        tail.reach(3, 7);
        assert_eq!((tail.epoch(), tail.start(), tail.head()), (3, 8, 7));
    }
}
