//! A channel as a commit in the making would leave it.

use crate::{
    format::record::ChannelId,
    state::{Channel, Channels, Extent, Keep},
};

/// A channel within a commit.
pub(super) struct Staged {
    pub(super) id: ChannelId,
    pub(super) epoch: u64,
    /// The lowest offset that it holds.
    pub(super) base: u64,
    pub(super) head: u64,
    /// Of the publications that it holds.
    pub(super) bytes: u64,
    /// The head before the commit.
    committed: u64,
    /// Of the publications since, trimmed or not.
    pub(super) sizes: Vec<u32>,
}

impl Staged {
    /// A record that begins.
    pub(super) fn new(id: ChannelId, epoch: u64) -> Self {
        Self {
            id,
            epoch,
            base: 1,
            head: 0,
            bytes: 0,
            committed: 0,
            sizes: Vec::new(),
        }
    }

    /// A record that stands.
    pub(super) fn of(id: ChannelId, channel: &Channel) -> Self {
        Self {
            id,
            epoch: channel.epoch,
            base: channel.base(),
            head: channel.head(),
            bytes: channel.held().bytes,
            committed: channel.head(),
            sizes: Vec::new(),
        }
    }

    /// Drops what is below the floor and answers what that frees.
    pub(super) fn raise(&mut self, channels: &Channels, floor: u64) -> Extent {
        let mut freed = Extent::default();
        while self.base < floor {
            freed.messages += 1;
            freed.bytes += self.size_of(channels, self.base);
            self.base += 1;
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// The base that lets a message of `size` bytes in, and what that frees.
    pub(super) fn displaced(&self, channels: &Channels, keep: Keep, size: u64) -> (u64, Extent) {
        let mut freed = Extent::default();
        let mut base = self.base;
        while base <= self.head {
            let left = self.head + 1 - base;
            if left < keep.messages && self.bytes - freed.bytes + size <= keep.bytes {
                break;
            }
            freed.messages += 1;
            freed.bytes += self.size_of(channels, base);
            base += 1;
        }
        (base, freed)
    }

    fn size_of(&self, channels: &Channels, offset: u64) -> u64 {
        let size = match offset.checked_sub(self.committed + 1) {
            Some(index) => self.sizes.get(index as usize).copied(),
            None => channels
                .get(self.id.slot)
                .and_then(|channel| channel.entry(offset))
                .map(|entry| entry.size),
        };
        size.unwrap_or(0).into()
    }
}
