//! The subscriptions of one link: what each is written, and which one is read a page next.
//!
//! Owns the places of one link in all of its channels, and the turns in which they catch up. Must
//! not know frames, sockets or channels: `K` is the shell's handle of a channel, and it is asked
//! which one is meant.

use crate::server::{Delivery, PageView, Subscription, Tail};

/// The subscriptions of one link; their bound is the shell's.
#[derive(Debug)]
pub struct Cursors<K> {
    entries: Vec<Entry<K>>,
}

#[derive(Debug)]
struct Entry<K> {
    channel: K,
    /// None while it is not known yet where the subscription begins.
    cursor: Option<Subscription>,
    /// It has been live and fell back.
    fell: bool,
    /// Not even one publication fitted: trying again before the queue is empty would only spin.
    waits: bool,
}

impl<K> Cursors<K> {
    /// No subscriptions.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Notes the membership of a channel, before its subscription begins: nothing is delivered yet.
    pub fn join(&mut self, channel: K) {
        self.entries.push(Entry {
            channel,
            cursor: None,
            fell: false,
            waits: false,
        });
    }

    /// Begins the subscription of a channel that was joined; one that was left meanwhile stays left.
    pub fn begin(&mut self, is: impl Fn(&K) -> bool, cursor: Subscription) {
        if let Some(entry) = self.find(is) {
            entry.cursor = Some(cursor);
        }
    }

    /// Decides what the tail has for this link, whose queue has `room` bytes left; none where it is
    /// not subscribed. What is answered counts as written.
    pub fn deliver<T>(
        &mut self,
        is: impl Fn(&K) -> bool,
        tail: &Tail<T>,
        room: usize,
    ) -> Option<Delivery> {
        let entry = self.find(is)?;
        let delivery = entry.cursor.as_mut()?.on_tail(tail, room);
        entry.fell |= delivery.fell;
        entry.waits = delivery.fell && delivery.count == 0;
        Some(delivery)
    }

    /// Decides what of a page that was read behind `after` is written; none where the page is of a
    /// subscription that has ended or moved meanwhile. Another subscription has the next turn.
    pub fn page(
        &mut self,
        is: impl Fn(&K) -> bool,
        after: u64,
        view: PageView,
    ) -> Option<Delivery> {
        self.pass_turn(&is);
        let cursor = self.find(is)?.cursor.as_mut()?;
        (cursor.last() == after).then(|| cursor.on_page(view))
    }

    /// Goes live where the tail reaches the cursor; answers whether it had been live before. Called
    /// under the channel's lock, and followed by [`deliver`](Self::deliver) under the same.
    pub fn rise<T>(&mut self, is: impl Fn(&K) -> bool, tail: &Tail<T>) -> Option<bool> {
        let entry = self.find(is)?;
        let rose = entry.cursor.as_mut()?.rise(tail);
        rose.then(|| std::mem::take(&mut entry.fell))
    }

    /// The subscription that must be read a page now, and behind which offset. None while more than
    /// half of the queue's bound waits: a page would only lie there.
    pub fn behind(&self, queue_bytes: usize, queue_bytes_max: usize) -> Option<(&K, u64)> {
        if queue_bytes > queue_bytes_max / 2 {
            return None;
        }
        let mut entries = self.entries.iter();
        entries.find_map(|entry| {
            let due = queue_bytes == 0 || !entry.waits;
            let cursor = entry
                .cursor
                .filter(|cursor| due && cursor.is_catching_up())?;
            Some((&entry.channel, cursor.last()))
        })
    }

    /// Lets the others go first when the next page is read: this one was read, or can't be.
    pub fn pass_turn(&mut self, is: impl Fn(&K) -> bool) {
        if let Some(index) = self.entries.iter().position(|entry| is(&entry.channel)) {
            self.entries[index..].rotate_left(1);
        }
    }

    /// Ends a subscription; nothing of it is delivered afterwards.
    pub fn leave(&mut self, is: impl Fn(&K) -> bool) -> Option<K> {
        let index = self.entries.iter().position(|entry| is(&entry.channel))?;
        Some(self.entries.remove(index).channel)
    }

    /// Ends all of them.
    pub fn leave_all(&mut self) -> Vec<K> {
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().map(|entry| entry.channel).collect()
    }

    /// The channels that were joined.
    pub fn channels(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|entry| &entry.channel)
    }

    /// The cursor of a subscription that has begun.
    pub fn cursor(&self, is: impl Fn(&K) -> bool) -> Option<Subscription> {
        self.entries.iter().find(|entry| is(&entry.channel))?.cursor
    }

    /// How many channels were joined.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&mut self, is: impl Fn(&K) -> bool) -> Option<&mut Entry<K>> {
        self.entries.iter_mut().find(|entry| is(&entry.channel))
    }
}

impl<K> Default for Cursors<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(channels: &[char]) -> Cursors<char> {
        let mut cursors = Cursors::new();
        for channel in channels {
            cursors.join(*channel);
            cursors.begin(|is| is == channel, Subscription::after(1, 4));
        }
        cursors
    }

    fn view(first: u64, count: usize) -> PageView {
        PageView {
            epoch: 1,
            floor: 1,
            head: 9,
            first: Some(first),
            count,
        }
    }

    #[test]
    fn a_joined_channel_delivers_nothing_before_it_begins() {
        let mut cursors = Cursors::new();
        cursors.join('a');
        let mut tail = Tail::new(4, 100);
        tail.push(1, 1, (), 1);
        assert_eq!(cursors.deliver(|is| *is == 'a', &tail, 100), None);
        assert_eq!(cursors.behind(0, 100), None);
    }

    #[test]
    fn those_that_are_behind_take_turns() {
        let mut cursors = subscribed(&['a', 'b']);
        assert_eq!(cursors.behind(0, 100), Some((&'a', 4)));
        assert!(cursors.page(|is| *is == 'a', 4, view(5, 2)).is_some());
        assert_eq!(cursors.behind(0, 100), Some((&'b', 4)));
        // A page that can't be read holds nobody else up.
        cursors.pass_turn(|is| *is == 'b');
        assert_eq!(cursors.behind(0, 100), Some((&'a', 6)));
    }

    #[test]
    fn a_page_for_another_place_is_dropped() {
        let mut cursors = subscribed(&['a']);
        assert_eq!(cursors.page(|is| *is == 'a', 3, view(4, 2)), None);
        cursors.leave(|is| *is == 'a');
        assert_eq!(cursors.page(|is| *is == 'a', 4, view(5, 2)), None);
    }

    #[test]
    fn no_page_is_asked_for_while_the_queue_is_half_full_or_nothing_fits() {
        let mut cursors = subscribed(&['a']);
        assert_eq!(cursors.behind(51, 100), None);
        let mut tail = Tail::new(4, 1_000);
        tail.push(1, 4, (), 1);
        assert_eq!(cursors.rise(|is| *is == 'a', &tail), Some(false));
        tail.push(1, 5, (), 200);
        let fell = cursors.deliver(|is| *is == 'a', &tail, 90);
        assert!(fell.is_some_and(|delivery| delivery.fell && delivery.count == 0));
        assert_eq!(cursors.behind(10, 100), None);
        assert_eq!(cursors.behind(0, 100), Some((&'a', 4)));
        assert_eq!(cursors.rise(|is| *is == 'a', &tail), Some(true));
    }
}
