//! Places for channels, found by number.
//!
//! Owns the memory, in blocks, so that growing never copies and never doubles it. Must not know
//! what a channel is good for.

use std::collections::BTreeSet;

use super::channel::Channel;

/// The highest number of a place: the sum of all channels' memory would be far beyond any machine's.
pub(crate) const SLOT_MAX: u32 = (1 << 28) - 1;

const BLOCK: usize = 1_024;

#[derive(Default)]
struct Place {
    channel: Option<Channel>,
    /// Of the channel that has the place or had it last; one that comes has a higher one.
    generation: u32,
}

/// All places.
#[derive(Default)]
pub(super) struct Slab {
    blocks: Vec<Box<[Place]>>,
    /// Places below this have been used.
    end: u32,
    free: BTreeSet<u32>,
}

impl Slab {
    /// The first free place from `from` on, with the generation that its next channel has.
    pub(super) fn free_from(&self, from: u32) -> (u32, u32) {
        match self.free.range(from..).next() {
            Some(&slot) => (slot, self.next_generation(slot)),
            None => (self.end.max(from), 0),
        }
    }

    /// The generation of the next channel in this place.
    pub(super) fn next_generation(&self, slot: u32) -> u32 {
        self.place(slot)
            .map_or(0, |place| place.generation.wrapping_add(1))
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Channel> {
        self.place(slot)?.channel.as_ref()
    }

    /// The channel of this generation.
    pub(super) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut Channel> {
        let place = self.blocks.get_mut(slot as usize / BLOCK)?;
        let place = &mut place[slot as usize % BLOCK];
        (place.generation == generation)
            .then_some(place.channel.as_mut())
            .flatten()
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.place(slot).map_or(0, |place| place.generation)
    }

    /// Puts a channel in a place, and answers the one that had it.
    pub(super) fn put(&mut self, slot: u32, generation: u32, channel: Channel) -> Option<Channel> {
        self.extend(slot);
        self.free.remove(&slot);
        let place = &mut self.blocks[slot as usize / BLOCK][slot as usize % BLOCK];
        place.generation = generation;
        place.channel.replace(channel)
    }

    /// Frees a place if its channel is of this generation.
    pub(super) fn remove(&mut self, slot: u32, generation: u32) -> Option<Channel> {
        let place = self.blocks.get_mut(slot as usize / BLOCK)?;
        let place = &mut place[slot as usize % BLOCK];
        let channel = place.channel.take_if(|_| place.generation == generation)?;
        self.free.insert(slot);
        Some(channel)
    }

    /// A record of this generation was seen: no channel to come may be taken for its own.
    pub(super) fn saw(&mut self, slot: u32, generation: u32) {
        if slot > SLOT_MAX {
            return;
        }
        self.extend(slot);
        let place = &mut self.blocks[slot as usize / BLOCK][slot as usize % BLOCK];
        if place.channel.is_none() {
            place.generation = place.generation.max(generation);
        }
    }

    /// The places that are taken.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        (0..self.end).filter(|&slot| self.get(slot).is_some())
    }

    fn extend(&mut self, slot: u32) {
        while self.blocks.len() <= slot as usize / BLOCK {
            let block: Vec<Place> = (0..BLOCK).map(|_| Place::default()).collect();
            self.blocks.push(block.into());
        }
        if slot >= self.end {
            self.free.extend(self.end..=slot);
            self.end = slot + 1;
        }
    }

    fn place(&self, slot: u32) -> Option<&Place> {
        let block = self.blocks.get(slot as usize / BLOCK)?;
        Some(&block[slot as usize % BLOCK])
    }
}
