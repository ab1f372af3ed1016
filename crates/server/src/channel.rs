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
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bowline_proto::{Publication, Time, server::Tail};

use crate::{frames::Shared, link::Link, sync::lock};

/// After so many writes a broadcast gives the thread to others: at 5 µs each, 1.3 ms.
pub(crate) const TURN_WRITES_MAX: usize = 256;

/// The most publications put aside for the broadcasting task. A hint beyond it is dropped, which
/// is no loss: subscribers then read the log.
const INCOMING_MAX: usize = 1_024;

/// The bounds of each channel's tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailBounds {
    /// The most publications.
    pub(crate) count_max: usize,
    /// The most bytes.
    pub(crate) bytes_max: usize,
}

/// A channel that has subscribers on this node.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Arc<str>,
    incoming: Mutex<VecDeque<(u64, Arc<Publication>)>>,
    broadcasting: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tail: Tail<Arc<Shared>>,
    members: Vec<Arc<Link>>,
    /// Members moved since the pass began, so that one may have been left out.
    moved: bool,
}

/// One pass of a broadcast over the members, in turns.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    at: usize,
    head: u64,
}

impl Channel {
    pub(crate) fn new(name: Arc<str>, bounds: TailBounds) -> Self {
        let tail = Tail::new(bounds.count_max, bounds.bytes_max);
        Self {
            name,
            incoming: Mutex::new(VecDeque::new()),
            broadcasting: AtomicBool::new(false),
            state: Mutex::new(State {
                tail,
                members: Vec::new(),
                moved: false,
            }),
        }
    }

    /// Puts a publication aside; true if the caller must start the broadcasting task.
    pub(crate) fn publish(&self, epoch: u64, publication: &Arc<Publication>) -> bool {
        let mut incoming = lock(&self.incoming);
        if incoming.len() < INCOMING_MAX {
            incoming.push_back((epoch, publication.clone()));
        }
        drop(incoming);
        !self.broadcasting.swap(true, Ordering::AcqRel)
    }

    /// Broadcasts until nothing is left; run by the one task that [`publish`](Self::publish) asked
    /// for.
    pub(crate) async fn broadcast(self: Arc<Self>, clock: impl Fn() -> Time) {
        let mut pass = Pass::default();
        loop {
            let done = self.turn(&mut pass, clock());
            if done {
                self.broadcasting.store(false, Ordering::Release);
                // What came between the last look and the store has seen the flag still set.
                let more = !lock(&self.incoming).is_empty();
                if !more || self.broadcasting.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// One turn; true where the pass is complete and nothing has changed since it began.
    fn turn(&self, pass: &mut Pass, now: Time) -> bool {
        let mut state = lock(&self.state);
        let state = &mut *state;
        self.take_incoming(&mut state.tail);
        if pass.at == 0 {
            pass.head = state.tail.head();
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
        let done = complete && !state.moved && state.tail.head() == pass.head;
        let _ = state;
        for link in woken {
            link.wake();
        }
        done
    }

    fn take_incoming(&self, tail: &mut Tail<Arc<Shared>>) {
        let incoming = std::mem::take(&mut *lock(&self.incoming));
        for (epoch, publication) in incoming {
            // Without history there are no offsets: the tail counts by itself.
            let offset = match publication.offset {
                0 => tail.head() + 1,
                offset => offset,
            };
            let shared = Arc::new(Shared::new(&self.name, epoch, publication));
            let bytes = shared.len();
            tail.push(epoch, offset, shared, bytes);
        }
    }

    /// Looks at the tail, with everything that was published before, under the channel's lock.
    pub(crate) fn with_tail<R>(&self, look: impl FnOnce(&mut Tail<Arc<Shared>>) -> R) -> R {
        let mut state = lock(&self.state);
        self.take_incoming(&mut state.tail);
        look(&mut state.tail)
    }

    /// Adds a member.
    pub(crate) fn add(&self, link: &Arc<Link>) {
        lock(&self.state).members.push(link.clone());
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

    /// The members, for statistics and presence.
    pub(crate) fn members(&self) -> Vec<Arc<Link>> {
        lock(&self.state).members.clone()
    }
}
