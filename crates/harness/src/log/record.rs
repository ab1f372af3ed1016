//! The harness's own ledger: what it did, and what the server answered.

use serde::{Deserialize, Serialize};

/// One line of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// First line: how to repeat the run.
    Run {
        /// The seed of every random choice.
        seed: u64,
        /// How much was asked for.
        load: Load,
    },
    /// This client was told to subscribe to this channel and to stay.
    Expect {
        /// The client.
        client: String,
        /// The channel.
        channel: String,
    },
    /// A publication over HTTP and how it ended.
    Published {
        /// Its message id.
        m: String,
        /// Its channel.
        channel: String,
        /// How it ended.
        outcome: Outcome,
        /// The position that was answered.
        position: Option<String>,
        /// The server had it already, by its key.
        duplicate: bool,
        /// How often it was sent.
        attempts: u32,
        /// The length of its padding.
        pad_len: u64,
    },
    /// A client was told to publish this; written before it was told.
    Upstream {
        /// The client.
        client: String,
        /// The message id.
        m: String,
        /// The channel.
        channel: String,
        /// The length of its padding.
        pad_len: u64,
    },
    /// How often a kind of fault took hold, in all.
    Fault {
        /// The kind's name.
        kind: String,
        /// How often.
        felt: u64,
    },
    /// The kinds of faults that this run owes.
    Kinds {
        /// Their names.
        kinds: Vec<String>,
    },
    /// A fault, or two at once.
    Strike {
        /// The kind's name.
        kind: String,
        /// That of the other one.
        with: Option<String>,
        /// How often it took hold: on so many links, for example. Of two, the lesser.
        felt: u64,
        /// Messages that were under way at any time of it: given to a client or an HTTP publisher before
        /// its end, and not answered before its beginning.
        in_flight: u64,
        /// How long.
        lasted_ms: u64,
    },
    /// How often the link of a client was cut.
    Link {
        /// The client.
        client: String,
        /// How often.
        cuts: u64,
    },
    /// The server was killed, and came back with an empty memory.
    Killed,
    /// What the server said of itself at the end.
    Stats {
        /// The body of `/ws/stats`.
        stats: serde_json::Value,
    },
}

/// How much a run is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Clients, each behind a link of its own.
    pub clients: usize,
    /// Channels in all.
    pub channels: usize,
    /// Channels that each client subscribes to.
    pub per_client: usize,
    /// Publications over HTTP.
    pub publications: usize,
    /// Publications by clients.
    pub upstream: usize,
    /// A short run owes less.
    pub short: bool,
}

/// How a publication over HTTP ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered with a position.
    Acked,
    /// The server said that it won't take it: it must never appear.
    Refused,
    /// No answer within the time: it may appear once.
    Unknown,
}
