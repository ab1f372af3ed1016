//! What the outside has seen: applications behind clients, backends, and who reads on the wire.
//!
//! Owns the account that checkers judge. Must not know machines, wires or the server.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::{Position, message::GapReason, recovery::Recovery};
use bytes::Bytes;

/// What one client process saw of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It asked for the channel, behind this position where it knew one.
    Asked(Option<Position>),
    /// The subscription began or went on.
    Began { recovery: Recovery, then: Then },
    /// Publications are missing.
    Gap {
        position: Option<Position>,
        reason: GapReason,
        missed: Option<u64>,
        then: Then,
    },
    /// A publication.
    Message {
        position: Option<Position>,
        data: Bytes,
    },
    /// The subscription ended.
    Ended,
}

/// How a channel stood when something was told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Then {
    pub(crate) now_ms: u64,
    /// How often an older disk had been put back.
    pub(crate) rewinds: u64,
    /// Its records in order of time.
    pub(crate) records: Vec<Standing>,
}

/// What was left of a channel's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) epoch: u64,
    /// The lowest offset that retention had left.
    pub(crate) floor: u64,
    pub(crate) is_forgotten: bool,
}

/// Where a client's message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Channel(Arc<str>),
    Application,
}

/// How a client's message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Acked,
    Refused,
    Unknown,
}

/// A message that a client was told to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) data: Bytes,
    pub(crate) target: Target,
    /// How many processes of the server there had been by then.
    pub(crate) processes: u64,
    /// The session in which it was last written; none where it never was.
    pub(crate) session: Option<Box<str>>,
    /// Exactly one, once all has settled.
    pub(crate) ends: Vec<Ended>,
}

/// One client process, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) user: usize,
    pub(crate) steps: BTreeMap<Arc<str>, Vec<Step>>,
    pub(crate) sent: Vec<Sent>,
    /// The channels that it follows now.
    pub(crate) wanted: BTreeMap<Arc<str>, ()>,
    /// It runs to the end.
    pub(crate) is_alive: bool,
    /// Why it has not converged; empty where it has.
    pub(crate) stuck: Option<String>,
}

/// A publication of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) channel: Arc<str>,
    pub(crate) data: Bytes,
    pub(crate) keyed: bool,
    pub(crate) end: Option<Ended>,
}

/// The fullest that was seen, beside what is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fullest {
    pub(crate) queue_bytes: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) tail_bytes: usize,
    pub(crate) tail_bytes_max: usize,
}
