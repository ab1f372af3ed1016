//! A channel with subscribers: its tail, its members, and the turns in which it is broadcast.
//!
//! Owns fan-out. A publication is put aside by whoever publishes and taken by the channel's one
//! broadcasting task, so a publisher never waits for subscribers; whatever has come by the time a
//! member is visited goes to it in one write. Which publications those are is decided by the
//! member's cursor (`bowline_proto::server::Subscription`), nowhere here.
//!
//! Locks: `state` is held for one turn of at most [`TURN_WRITES_MAX`] writes and for nothing else;
//! a link's own lock is taken inside it, never the other way round.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    sync::{Arc, Weak, atomic},
};

use bowline_proto::{
    Publication, Time,
    server::{Incoming, Tail},
};

use crate::{
    frames::Shared,
    link::Link,
    pages::Pages,
    presence::Presence,
    sync::{AtomicBool, Mutex, lock},
    tails::TailBudget,
    walk::{Kept, STEP_MAX},
};

/// After so many writes a broadcast gives the thread to others: at 5 µs each, 1.3 ms.
pub(crate) const TURN_WRITES_MAX: usize = 256;

/// A channel that has subscribers on this node.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Arc<str>,
    incoming: Mutex<Incoming<Arc<Publication>>>,
    broadcasting: AtomicBool,
    state: Mutex<State>,
    pages: Pages,
    budget: Arc<TailBudget>,
    /// Itself, for the list of those that hold a tail.
    this: Weak<Self>,
}

/// A channel, told from others by its name: what a link keeps its subscriptions by.
#[derive(Clone, Debug)]
pub(crate) struct Handle(pub(crate) Arc<Channel>);

impl Borrow<str> for Handle {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Ord for Handle {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl PartialOrd for Handle {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Handle {}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

#[derive(Debug)]
struct State {
    tail: Tail<Arc<Shared>>,
    members: Vec<Arc<Link>>,
    /// Members moved since the pass began, so that one may have been left out.
    moved: bool,
    /// Counts what was taken into the tail, by whomever.
    version: u64,
    /// The bytes of the tail as they are counted in the budget.
    counted: usize,
    /// It is on the list of those that hold a tail.
    listed: bool,
    /// Who its members are, where they are many and somebody has asked.
    presence: Option<Kept<Arc<Presence>>>,
}

/// One pass of a broadcast over the members, in turns.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    at: usize,
    version: u64,
}

impl Channel {
    pub(crate) fn new(name: Arc<str>, budget: Arc<TailBudget>) -> Arc<Self> {
        let tail = Tail::new(budget.count_max, budget.channel_bytes_max);
        Arc::new_cyclic(|this| Self {
            name,
            incoming: Mutex::new(Incoming::new()),
            broadcasting: AtomicBool::new(false),
            state: Mutex::new(State {
                tail,
                members: Vec::new(),
                moved: false,
                version: 0,
                counted: 0,
                listed: false,
                presence: None,
            }),
            pages: Pages::new(),
            budget,
            this: this.clone(),
        })
    }

    /// Puts a publication aside; true if the caller must start the broadcasting task.
    pub(crate) fn publish(&self, epoch: u64, publication: &Arc<Publication>) -> bool {
        lock(&self.incoming).push(epoch, publication.offset, publication.clone());
        !self.broadcasting.swap(true, atomic::Ordering::AcqRel)
    }

    /// Broadcasts until nothing is left; run by the one task that [`publish`](Self::publish) asked
    /// for.
    pub(crate) async fn broadcast(self: Arc<Self>, clock: impl Fn() -> Time) {
        let mut pass = Pass::default();
        loop {
            let done = self.turn(&mut pass, clock());
            if done {
                self.broadcasting.store(false, atomic::Ordering::Release);
                // What came between the last look and the store has seen the flag still set, and
                // may have been taken into the tail meanwhile by a link that rises.
                let more = self.has_more(&pass);
                if !more || self.broadcasting.swap(true, atomic::Ordering::AcqRel) {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn has_more(&self, pass: &Pass) -> bool {
        let state = lock(&self.state);
        let incoming = lock(&self.incoming);
        state.version != pass.version || !incoming.is_empty()
    }

    /// One turn; true where the pass is complete and nothing has changed since it began.
    fn turn(&self, pass: &mut Pass, now: Time) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        self.take_incoming(state);
        if pass.at == 0 {
            pass.version = state.version;
            state.moved = false;
        }
        let end = state.members.len().min(pass.at + TURN_WRITES_MAX);
        let begin = pass.at.min(end);
        let woken: Vec<Arc<Link>> = state.members[begin..end]
            .iter()
            .filter(|link| link.deliver(self, &state.tail, now))
            .cloned()
            .collect();
        let complete = end == state.members.len();
        pass.at = if complete { 0 } else { end };
        let done = complete && !state.moved && state.version == pass.version;
        drop(guard);
        for link in woken {
            link.wake();
        }
        self.keep_within_budget();
        done
    }

    /// Makes room where all tails together hold too much: first from channels that rest, else from
    /// this one's, whose members then read the log.
    fn keep_within_budget(&self) {
        if !self.budget.is_exceeded() {
            return;
        }
        self.budget.make_room();
        if self.budget.is_exceeded() {
            self.clear_tail(&mut lock(&self.state));
        }
    }

    /// Gives the tail up, unless it is being broadcast; true if it holds nothing any more.
    pub(crate) fn give_up_tail(&self) -> bool {
        let mut state = lock(&self.state);
        if self.broadcasting.load(atomic::Ordering::Acquire) {
            return false;
        }
        self.clear_tail(&mut state);
        state.listed = false;
        true
    }

    fn clear_tail(&self, state: &mut State) {
        state.tail.clear();
        self.count_tail(state);
    }

    /// Tells the budget what the tail holds now.
    fn count_tail(&self, state: &mut State) {
        let bytes = state.tail.bytes();
        self.budget.count(state.counted, bytes);
        state.counted = bytes;
        if bytes > 0 && !state.listed {
            state.listed = true;
            self.budget.list(self.this.clone());
        }
    }

    fn take_incoming(&self, state: &mut State) {
        let incoming = lock(&self.incoming).take();
        state.version += u64::from(!incoming.is_empty());
        incoming.move_into(&mut state.tail, |epoch, publication| {
            let shared = Arc::new(Shared::new(&self.name, epoch, publication));
            let bytes = shared.len();
            (shared, bytes)
        });
        self.count_tail(state);
    }

    /// Looks at the tail, with everything that was published before, under the channel's lock.
    pub(crate) fn with_tail<R>(&self, look: impl FnOnce(&mut Tail<Arc<Shared>>) -> R) -> R {
        let mut state = lock(&self.state);
        self.take_incoming(&mut state);
        let seen = look(&mut state.tail);
        self.count_tail(&mut state);
        seen
    }

    /// The pages of its log that are being read.
    pub(crate) const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The bytes in its tail.
    #[cfg(feature = "simulation")]
    pub(crate) fn tail_bytes(&self) -> usize {
        lock(&self.state).tail.bytes()
    }

    /// Adds a member.
    pub(crate) fn add(&self, link: &Arc<Link>) {
        let members = &mut lock(&self.state).members;
        if members.is_empty() {
            // A personal channel rarely has a second one, and there is one for each user.
            members.reserve_exact(1);
        }
        members.push(link.clone());
    }

    /// Removes a member; true if none is left.
    pub(crate) fn remove(&self, link: &Arc<Link>) -> bool {
        let mut state = lock(&self.state);
        if let Some(index) = state
            .members
            .iter()
            .position(|member| Arc::ptr_eq(member, link))
        {
            state.members.swap_remove(index);
            state.moved = true;
        }
        state.members.is_empty()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Up to so many members, the last of those before `end`, and where they begin. In steps from
    /// the end to the beginning nobody is missed who is there throughout: who is removed gives its
    /// place to the last one, who has been seen or is still ahead.
    pub(crate) fn members_before(&self, end: usize, count: usize) -> (Vec<Arc<Link>>, usize) {
        let members = &lock(&self.state).members;
        let end = end.min(members.len());
        let begin = end.saturating_sub(count);
        (members[begin..end].to_vec(), begin)
    }

    /// Where the answer to who its members are is kept; none where they are seen in one step, and
    /// then nothing is kept any more.
    pub(crate) fn presence(&self) -> Option<Kept<Arc<Presence>>> {
        let mut state = lock(&self.state);
        if state.members.len() > STEP_MAX {
            return Some(state.presence.get_or_insert_default().clone());
        }
        let kept = state.presence.take();
        drop(state);
        drop(kept);
        None
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let counted = state.map_or_else(
            |poisoned| poisoned.into_inner().counted,
            |state| state.counted,
        );
        self.budget.count(counted, 0);
    }
}

#[cfg(test)]
mod tests;
