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

/// The most publications put aside for the broadcasting task. Beyond it only the newest one's place
/// is kept: subscribers then read the log, and on a channel without history are told of a gap.
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
    incoming: Mutex<Incoming>,
    broadcasting: AtomicBool,
    state: Mutex<State>,
}

/// What was published since the last turn.
#[derive(Debug, Default)]
struct Incoming {
    queue: VecDeque<(u64, Arc<Publication>)>,
    /// The epoch and offset of the newest publication that found no room, and how many did.
    lost: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
struct State {
    tail: Tail<Arc<Shared>>,
    members: Vec<Arc<Link>>,
    /// Members moved since the pass began, so that one may have been left out.
    moved: bool,
    /// Counts what was taken into the tail, by whomever.
    version: u64,
}

/// One pass of a broadcast over the members, in turns.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    at: usize,
    version: u64,
}

impl Channel {
    pub(crate) fn new(name: Arc<str>, bounds: TailBounds) -> Self {
        let tail = Tail::new(bounds.count_max, bounds.bytes_max);
        Self {
            name,
            incoming: Mutex::new(Incoming::default()),
            broadcasting: AtomicBool::new(false),
            state: Mutex::new(State {
                tail,
                members: Vec::new(),
                moved: false,
                version: 0,
            }),
        }
    }

    /// Puts a publication aside; true if the caller must start the broadcasting task.
    pub(crate) fn publish(&self, epoch: u64, publication: &Arc<Publication>) -> bool {
        let mut incoming = lock(&self.incoming);
        if incoming.lost.is_none() && incoming.queue.len() < INCOMING_MAX {
            incoming.queue.push_back((epoch, publication.clone()));
        } else {
            let lost = incoming.lost.map_or(1, |(.., count)| count + 1);
            incoming.lost = Some((epoch, publication.offset, lost));
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
                // What came between the last look and the store has seen the flag still set, and
                // may have been taken into the tail meanwhile by a link that rises.
                let more = self.has_more(&pass);
                if !more || self.broadcasting.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn has_more(&self, pass: &Pass) -> bool {
        let state = lock(&self.state);
        let incoming = lock(&self.incoming);
        state.version != pass.version || incoming.lost.is_some() || !incoming.queue.is_empty()
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
        done
    }

    fn take_incoming(&self, state: &mut State) {
        let Incoming { queue, lost } = std::mem::take(&mut *lock(&self.incoming));
        state.version += u64::from(!queue.is_empty() || lost.is_some());
        let tail = &mut state.tail;
        for (epoch, publication) in queue {
            // Without history there are no offsets: the tail counts by itself.
            let offset = match publication.offset {
                0 => tail.head() + 1,
                offset => offset,
            };
            let shared = Arc::new(Shared::new(&self.name, epoch, publication));
            let bytes = shared.len();
            tail.push(epoch, offset, shared, bytes);
        }
        if let Some((epoch, offset, count)) = lost {
            let head = if offset == 0 {
                tail.head() + count
            } else {
                offset
            };
            tail.reach(epoch, head);
        }
    }

    /// Looks at the tail, with everything that was published before, under the channel's lock.
    pub(crate) fn with_tail<R>(&self, look: impl FnOnce(&mut Tail<Arc<Shared>>) -> R) -> R {
        let mut state = lock(&self.state);
        self.take_incoming(&mut state);
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
