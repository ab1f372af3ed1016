//! The subscriptions of one link: what each is written, and which one is read a page next.
//!
//! Owns the places of one link in all of its channels, and the turns in which they catch up. Must
//! not know frames, sockets or channels: `K` is the shell's handle of a channel, in the order of
//! the names that it is found by.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, VecDeque},
    ops::Bound::Included,
};

use crate::server::{Delivery, PageView, Subscription, Tail};

/// The subscriptions of one link; their bound is the shell's.
///
/// Most links have one: it stands here, without an allocation. Most others have two, where a map
/// would hold room for eleven. Each is found in logarithmic time.
#[derive(Debug)]
pub struct Cursors<K> {
    one: Option<(K, Entry)>,
    two: Option<Box<(K, Entry)>>,
    others: BTreeMap<K, Entry>,
    /// Those that are behind, in the order of their turns, at most once each. Those that went live
    /// meanwhile leave when their turn comes.
    turns: VecDeque<K>,
    /// Not even one publication fitted: trying again before the queue is empty would only spin.
    waits: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// None while it is not known yet where the subscription begins.
    cursor: Option<Subscription>,
    /// It has been live and fell back.
    fell: bool,
    /// It stands in `turns`.
    has_turn: bool,
}

impl Entry {
    fn is_catching_up(&self) -> bool {
        self.cursor.is_some_and(|cursor| cursor.is_catching_up())
    }
}

impl<K: Ord + Clone> Cursors<K> {
    /// No subscriptions.
    pub const fn new() -> Self {
        Self {
            one: None,
            two: None,
            others: BTreeMap::new(),
            turns: VecDeque::new(),
            waits: false,
        }
    }

    /// Notes the membership of a channel, before its subscription begins: nothing is delivered yet.
    pub fn join(&mut self, channel: K) {
        if self.one.is_none() {
            self.one = Some((channel, Entry::default()));
        } else if self.two.is_none() {
            self.two = Some(Box::new((channel, Entry::default())));
        } else {
            self.others.insert(channel, Entry::default());
        }
    }

    /// Begins the subscription of a channel that was joined; one that was left meanwhile stays left.
    pub fn begin<Q: Ord + ?Sized>(&mut self, name: &Q, cursor: Subscription)
    where
        K: Borrow<Q>,
    {
        if let Some((_, entry)) = self.find(name) {
            entry.cursor = Some(cursor);
        }
        self.take_turn(name);
    }

    /// Decides what the tail has for this link, whose queue has `room` bytes left; none where it is
    /// not subscribed. What is answered counts as written.
    pub fn deliver<T, Q: Ord + ?Sized>(
        &mut self,
        name: &Q,
        tail: &Tail<T>,
        room: usize,
    ) -> Option<Delivery>
    where
        K: Borrow<Q>,
    {
        let (_, entry) = self.find(name)?;
        let delivery = entry.cursor.as_mut()?.on_tail(tail, room);
        entry.fell |= delivery.fell;
        if delivery.fell {
            self.waits |= delivery.count == 0;
            self.take_turn(name);
        }
        Some(delivery)
    }

    /// Decides what of a page that was read behind `after` is written; none where the page is of a
    /// subscription that has ended or moved meanwhile. Another subscription has the next turn.
    pub fn page<Q: Ord + ?Sized>(
        &mut self,
        name: &Q,
        after: u64,
        view: PageView,
    ) -> Option<Delivery>
    where
        K: Borrow<Q>,
    {
        self.pass_turn(name);
        let cursor = self.find(name)?.1.cursor.as_mut()?;
        (cursor.last() == after).then(|| cursor.on_page(view))
    }

    /// Goes live where the tail reaches the cursor; answers whether it had been live before. Called
    /// under the channel's lock, and followed by [`deliver`](Self::deliver) under the same.
    pub fn rise<T, Q: Ord + ?Sized>(&mut self, name: &Q, tail: &Tail<T>) -> Option<bool>
    where
        K: Borrow<Q>,
    {
        let (_, entry) = self.find(name)?;
        let rose = entry.cursor.as_mut()?.rise(tail);
        rose.then(|| std::mem::take(&mut entry.fell))
    }

    /// The subscription that must be read a page now, and behind which offset. None while more than
    /// half of the queue's bound waits: a page would only lie there.
    pub fn behind(&mut self, queue_bytes: usize, queue_bytes_max: usize) -> Option<(K, u64)> {
        self.waits &= queue_bytes > 0;
        if self.waits || queue_bytes > queue_bytes_max / 2 {
            return None;
        }
        while let Some(channel) = self.turns.front().cloned() {
            let found = self.find(&channel);
            let cursor = found.and_then(|(_, entry)| {
                entry.has_turn = entry.is_catching_up();
                entry.cursor.filter(|_| entry.has_turn)
            });
            if let Some(cursor) = cursor {
                return Some((channel, cursor.last()));
            }
            self.turns.pop_front();
        }
        // Nobody is behind: an idle link keeps no buffer.
        self.turns = VecDeque::new();
        None
    }

    /// Lets the others go first when the next page is read: this one was read, or can't be.
    pub fn pass_turn<Q: Ord + ?Sized>(&mut self, name: &Q)
    where
        K: Borrow<Q>,
    {
        if self.turns.front().is_some_and(|next| next.borrow() == name) {
            self.turns.rotate_left(1);
        }
    }

    /// Ends a subscription; nothing of it is delivered afterwards.
    pub fn leave<Q: Ord + ?Sized>(&mut self, name: &Q) -> Option<K>
    where
        K: Borrow<Q>,
    {
        let one = self.one.take_if(|one| one.0.borrow() == name);
        let two = || Some(*self.two.take_if(|two| two.0.borrow() == name)?);
        let found = one.or_else(two);
        let (channel, entry) = found.or_else(|| self.others.remove_entry(name))?;
        if entry.has_turn {
            self.turns.retain(|waiting| waiting.borrow() != name);
        }
        Some(channel)
    }

    /// Ends all of them.
    pub fn leave_all(&mut self) -> Vec<K> {
        self.turns = VecDeque::new();
        let two = self.two.take().map(|two| *two);
        let few = self.one.take().into_iter().chain(two);
        let others = std::mem::take(&mut self.others);
        few.map(|(channel, _)| channel)
            .chain(others.into_keys())
            .collect()
    }

    /// The channels that were joined.
    pub fn channels(&self) -> impl Iterator<Item = &K> {
        let few = self.one.iter().chain(self.two.as_deref());
        few.map(|(channel, _)| channel).chain(self.others.keys())
    }

    /// Whether a channel was joined.
    pub fn contains<Q: Ord + ?Sized>(&self, name: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let mut few = self.one.iter().chain(self.two.as_deref());
        few.any(|(channel, _)| channel.borrow() == name) || self.others.contains_key(name)
    }

    /// The cursor of a subscription that has begun.
    pub fn cursor<Q: Ord + ?Sized>(&mut self, name: &Q) -> Option<Subscription>
    where
        K: Borrow<Q>,
    {
        self.find(name)?.1.cursor
    }

    /// How many channels were joined.
    pub fn len(&self) -> usize {
        usize::from(self.one.is_some()) + usize::from(self.two.is_some()) + self.others.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a subscription that is behind for its turn.
    fn take_turn<Q: Ord + ?Sized>(&mut self, name: &Q)
    where
        K: Borrow<Q>,
    {
        let Some((channel, entry)) = self.find(name) else {
            return;
        };
        if !entry.has_turn && entry.is_catching_up() {
            entry.has_turn = true;
            let channel = channel.clone();
            self.turns.push_back(channel);
        }
    }

    fn find<Q: Ord + ?Sized>(&mut self, name: &Q) -> Option<(&K, &mut Entry)>
    where
        K: Borrow<Q>,
    {
        let mut few = self.one.iter_mut().chain(self.two.as_deref_mut());
        if let Some((channel, entry)) = few.find(|few| few.0.borrow() == name) {
            return Some((channel, entry));
        }
        // A range of one name: `get_mut` does not answer the key.
        let one = (Included(name), Included(name));
        self.others.range_mut(one).next()
    }
}

impl<K: Ord + Clone> Default for Cursors<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use super::*;

    fn subscribed(channels: &[char]) -> Cursors<char> {
        let mut cursors = Cursors::new();
        for channel in channels {
            cursors.join(*channel);
            cursors.begin(channel, Subscription::after(1, 4));
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
        assert_eq!(cursors.deliver(&'a', &tail, 100), None);
        assert_eq!(cursors.behind(0, 100), None);
    }

    #[test]
    fn those_that_are_behind_take_turns() {
        let mut cursors = subscribed(&['a', 'b']);
        assert_eq!(cursors.behind(0, 100), Some(('a', 4)));
        assert!(cursors.page(&'a', 4, view(5, 2)).is_some());
        assert_eq!(cursors.behind(0, 100), Some(('b', 4)));
        // A page that can't be read holds nobody else up.
        cursors.pass_turn(&'b');
        assert_eq!(cursors.behind(0, 100), Some(('a', 6)));
    }

    #[test]
    fn it_makes_no_difference_where_a_subscription_is_kept() {
        let names = ['a', 'b', 'c', 'd'];
        for left in names {
            let mut cursors = subscribed(&names);
            assert_eq!(cursors.leave(&left), Some(left));
            assert_eq!(cursors.leave(&left), None);
            assert!(!cursors.contains(&left));
            assert_eq!((cursors.len(), cursors.channels().count()), (3, 3));
            cursors.join(left);
            assert_eq!(cursors.cursor(&left), None);
            cursors.begin(&left, Subscription::after(1, 9));
            for name in names {
                let last = if name == left { 9 } else { 4 };
                assert_eq!(
                    cursors.cursor(&name).map(|cursor| cursor.last()),
                    Some(last)
                );
            }
            let mut all = cursors.leave_all();
            all.sort_unstable();
            assert_eq!(all, names);
            assert!(cursors.is_empty());
        }
    }

    #[test]
    fn a_page_for_another_place_is_dropped() {
        let mut cursors = subscribed(&['a']);
        assert_eq!(cursors.page(&'a', 3, view(4, 2)), None);
        cursors.leave(&'a');
        assert_eq!(cursors.page(&'a', 4, view(5, 2)), None);
    }

    #[test]
    fn no_page_is_asked_for_while_the_queue_is_half_full_or_nothing_fits() {
        let mut cursors = subscribed(&['a']);
        assert_eq!(cursors.behind(51, 100), None);
        let mut tail = Tail::new(4, 1_000);
        tail.push(1, 4, (), 1);
        assert_eq!(cursors.rise(&'a', &tail), Some(false));
        tail.push(1, 5, (), 200);
        let fell = cursors.deliver(&'a', &tail, 90);
        assert!(fell.is_some_and(|delivery| delivery.fell && delivery.count == 0));
        assert_eq!(cursors.behind(10, 100), None);
        assert_eq!(cursors.behind(0, 100), Some(('a', 4)));
        assert_eq!(cursors.rise(&'a', &tail), Some(true));
    }

    thread_local! {
        static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    /// A name that counts how often it is looked at.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Counted(u32);

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn ten_thousand_subscriptions_are_found_without_a_search() {
        const COUNT: usize = 10_000;
        let names: Vec<_> = (0..COUNT as u32).map(Counted).collect();
        let mut cursors = Cursors::new();
        for name in &names {
            assert!(!cursors.contains(name));
            cursors.join(name.clone());
            cursors.begin(name, Subscription::after(1, 4));
        }
        for name in &names {
            let (turn, after) = cursors.behind(0, 100).expect("all are behind");
            assert_eq!(turn, *name);
            cursors.page(name, after, view(after + 1, 1));
        }
        assert_eq!(cursors.len(), COUNT);
        // A search through all of them takes a thousand times as many.
        let comparisons = COMPARISONS.get();
        assert!(comparisons < 500 * COUNT, "{comparisons}");
    }

    #[test]
    fn who_leaves_and_returns_has_one_turn() {
        let mut cursors = subscribed(&['a', 'b']);
        for _ in 0..5 {
            assert_eq!(cursors.leave(&'a'), Some('a'));
            cursors.join('a');
            cursors.begin(&'a', Subscription::after(1, 6));
        }
        assert_eq!(cursors.turns, ['b', 'a']);
        assert_eq!(cursors.leave_all(), ['a', 'b']);
        assert_eq!(cursors.behind(0, 100), None);
    }
}
