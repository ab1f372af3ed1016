//! A subscription's cursor: the delivery rule.
//!
//! Owns `next`, the one number that decides delivery: a publication is delivered if its offset is
//! `next`; a lower one is skipped; a higher one sends the subscription back to the log. Must not
//! know frames or sockets: it is told how many bytes the connection has room for.

use std::{ops::Range, sync::Arc};

use crate::{
    message::{GapReason, ServerMessage},
    position::Position,
    recovery::{ChannelState, Recovery},
    server::Tail,
};

/// What a subscriber has missed, to be told before anything else is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Why.
    pub reason: GapReason,
    /// How many publications, where it is known.
    pub count: Option<u64>,
    /// The last offset that is given up.
    pub up_to: u64,
}

/// What to write for a subscriber now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// A gap to announce first.
    pub missed: Option<Missed>,
    /// The first offset to write.
    pub first: u64,
    /// How many publications from there.
    pub count: usize,
    /// The subscription left the live tail with this delivery: it must be read a page.
    pub fell: bool,
}

/// What a page of the log says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageView {
    /// The channel record that was read.
    pub epoch: u64,
    /// The lowest offset that history had.
    pub floor: u64,
    /// The highest offset ever given.
    pub head: u64,
    /// The offset of the page's first publication.
    pub first: Option<u64>,
    /// How many publications it has; their offsets are contiguous.
    pub count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    CatchingUp,
    /// At the floor of another channel record than it followed, which is to be read from there: the
    /// gap is told with what is found.
    Recreated,
    /// Live, on a channel whose publications are nowhere but in the tail.
    Volatile {
        missed: u64,
    },
}

/// One subscriber's place in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    next: u64,
    epoch: u64,
    phase: Phase,
}

impl Missed {
    /// What the subscriber is told. `position` is where it stands then, as the publication that
    /// follows vouches for it; none on a channel without history.
    pub fn gap(self, channel: Arc<str>, position: Option<Position>) -> ServerMessage {
        ServerMessage::Gap {
            channel,
            position,
            reason: self.reason,
            missed: self.count,
        }
    }
}

impl Delivery {
    /// The places of what is delivered in a run of publications that begins with offset `first`.
    pub fn within(&self, first: u64) -> Range<usize> {
        let skip = usize::try_from(self.first.saturating_sub(first)).unwrap_or(usize::MAX);
        skip..skip.saturating_add(self.count)
    }
}

impl Subscription {
    /// Begins where the answer to the subscriber says. On a channel without history that is what
    /// follows `tail_head`, the head of its tail.
    pub fn begin(channel: &ChannelState, answer: &Recovery, tail_head: u64) -> Self {
        match (channel, answer.position) {
            (ChannelState::Present(record), Some(at)) => Self::after(record.epoch, at.offset),
            (ChannelState::NoHistory, _) => Self::volatile(tail_head),
            _ => Self::absent(),
        }
    }

    /// Begins behind `offset` of the channel record `epoch`, reading the log until it has reached
    /// the tail.
    pub fn after(epoch: u64, offset: u64) -> Self {
        Self {
            next: offset + 1,
            epoch,
            phase: Phase::CatchingUp,
        }
    }

    /// Begins before the first publication of a channel that does not exist yet, whichever record
    /// it will get.
    pub fn absent() -> Self {
        Self::after(0, 0)
    }

    /// Begins behind the head of a channel without history.
    pub fn volatile(head: u64) -> Self {
        Self {
            next: head + 1,
            epoch: 0,
            phase: Phase::Volatile { missed: 0 },
        }
    }

    /// Decides what to write from the tail into a queue that has `room` bytes left. What it answers
    /// counts as written: the shell writes or queues all of it.
    pub fn on_tail<T>(&mut self, tail: &Tail<T>, room: usize) -> Delivery {
        if self.epoch == 0 {
            // The channel's first record has just been created; without history it stays 0.
            self.epoch = tail.epoch();
        }
        let idle = self.next > tail.head() && tail.epoch() == self.epoch;
        if self.is_catching_up() || idle {
            return Delivery::default();
        }
        let first = self.next.max(tail.start());
        let other_record = tail.epoch() != self.epoch;
        let mut delivery = Delivery {
            first,
            ..Delivery::default()
        };
        match &mut self.phase {
            Phase::Volatile { missed } => *missed += first - self.next,
            _ if first > self.next || other_record => {
                self.phase = Phase::CatchingUp;
                return Delivery {
                    fell: true,
                    ..Delivery::default()
                };
            }
            _ => {}
        }
        let mut left = room;
        for (_, bytes) in tail.from(first) {
            if *bytes > left {
                break;
            }
            left -= bytes;
            delivery.count += 1;
        }
        let behind = tail.head() + 1 - first - delivery.count as u64;
        self.next = first + delivery.count as u64;
        self.settle(&mut delivery, behind);
        delivery
    }

    /// What did not fit: a channel with history is read again from the log, another has dropped it.
    fn settle(&mut self, delivery: &mut Delivery, behind: u64) {
        match &mut self.phase {
            Phase::Volatile { missed } => {
                if delivery.count > 0 && *missed > 0 {
                    let count = Some(std::mem::take(missed));
                    let up_to = delivery.first - 1;
                    delivery.missed = Some(Missed {
                        reason: GapReason::Slow,
                        count,
                        up_to,
                    });
                }
                *missed += behind;
                self.next += behind;
            }
            phase if behind > 0 => {
                *phase = Phase::CatchingUp;
                delivery.fell = true;
            }
            _ => {}
        }
    }

    /// Decides what to write of a page that was read behind [`Self::last`]. One of another channel
    /// record tells only where that begins, unless it begins there itself: the offset that it was read
    /// behind is of the record before.
    pub fn on_page(&mut self, page: PageView) -> Delivery {
        let mut delivery = Delivery::default();
        if !self.is_catching_up() {
            return delivery;
        }
        if self.epoch == 0 {
            self.epoch = page.epoch;
        }
        if page.epoch != self.epoch {
            self.epoch = page.epoch;
            self.phase = Phase::Recreated;
        }
        if self.phase == Phase::Recreated {
            self.next = page.floor;
            if page.first.unwrap_or(page.head + 1) != page.floor {
                return delivery;
            }
            self.phase = Phase::CatchingUp;
            delivery.missed = Some(Missed {
                reason: GapReason::UnknownEpoch,
                count: None,
                up_to: page.floor - 1,
            });
        }
        let first = page.first.unwrap_or(page.floor);
        if first > self.next {
            delivery.missed = Some(Missed {
                reason: GapReason::Expired,
                count: Some(first - self.next),
                up_to: first - 1,
            });
            self.next = first;
        }
        let end = page.first.map_or(0, |first| first + page.count as u64);
        delivery.first = self.next;
        delivery.count = usize::try_from(end.saturating_sub(self.next)).unwrap_or(0);
        self.next += delivery.count as u64;
        delivery
    }

    /// Goes live if the tail reaches down to the cursor. Called under the channel's lock, so that
    /// nothing is published between this look and the next delivery.
    pub fn rise<T>(&mut self, tail: &Tail<T>) -> bool {
        let same = self.epoch == tail.epoch() || self.epoch == 0;
        let reached = self.next >= tail.start() && self.next <= tail.head() + 1;
        if self.phase == Phase::CatchingUp && same && reached {
            self.phase = Phase::Live;
            self.epoch = tail.epoch();
            return true;
        }
        false
    }

    /// Whether it reads the log.
    pub fn is_catching_up(&self) -> bool {
        matches!(self.phase, Phase::CatchingUp | Phase::Recreated)
    }

    /// The offset of the last publication that was delivered or given up.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The channel record that it follows; 0 on a channel without history or without record.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests;
