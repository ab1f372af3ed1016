//! `/ws/stats`: the server as a whole, at one moment.
//!
//! Owns what is gathered for it and for `/metrics`.

use std::{collections::BTreeMap, sync::Arc};

use bowline_engine::EngineStats;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{node::Node, sync::lock};

/// The server at one moment. Totals are since its start, and never fall. With more than 1,024
/// connections those of messages, bytes and catch-ups may be a little old.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stats {
    /// The server process.
    #[schema(value_type = String)]
    pub(super) node: Box<str>,
    /// Bowline's version.
    pub(super) version: &'static str,
    /// Seconds since its start.
    pub(super) uptime_s: u64,
    /// Open WebSocket connections.
    pub(super) connections: u64,
    /// Verified users among them.
    pub(super) users: u64,
    /// Sessions that one of them holds.
    pub(super) sessions: u64,
    /// Channels that one of them follows.
    pub(super) channels: u64,
    /// Refusals of every kind by code, those that were never told left out.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Ends of connections by close code; 1006 without a close frame.
    pub(super) disconnects: BTreeMap<String, u64>,
    /// Total of messages from clients.
    pub(super) messages_in: u64,
    /// Total of messages to clients.
    pub(super) messages_out: u64,
    /// Total of bytes from clients, after the handshake and before decompression.
    pub(super) bytes_in: u64,
    /// Total of bytes to clients.
    pub(super) bytes_out: u64,
    /// Where the logs live; fields beyond these are the engine's own.
    pub(super) engine: EngineReport,
    /// Further totals.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(super) totals: BTreeMap<&'static str, u64>,
}

/// The engine at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EngineReport {
    /// Channel records.
    pub(super) channels: u64,
    /// Publications held.
    pub(super) messages: u64,
    /// Bytes of data, users and tags of the publications held.
    pub(super) bytes: u64,
    /// Session records.
    pub(super) sessions: u64,
    /// Idempotency keys remembered.
    pub(super) keys: u64,
    /// Total of entries that took effect.
    pub(super) appended: u64,
    /// Total of entries refused as duplicates by their session's number.
    pub(super) session_duplicates: u64,
    /// Total of entries refused as duplicates by their idempotency key.
    pub(super) key_duplicates: u64,
    /// Total of entries that failed.
    pub(super) failed: u64,
    /// Total of keys forgotten before their window ended.
    pub(super) keys_evicted: u64,
    /// What only this engine measures.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(super) details: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// The node now. What its connections count may be a while old where they are very many.
    pub(crate) async fn of(node: &Arc<Node>) -> Self {
        let mut totals = node.totals().await;
        let mut take = |name| totals.remove(name).unwrap_or_default();
        let [messages_in, messages_out, bytes_in, bytes_out] =
            ["messages_in", "messages_out", "bytes_in", "bytes_out"].map(&mut take);
        let errors = node.counters.errors.totals();
        Self {
            node: node.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: node.clock.now().as_millis() / 1_000,
            connections: node.link_count() as u64,
            users: node.limits.users() as u64,
            sessions: lock(&node.sessions).len() as u64,
            channels: node.hub.channels() as u64,
            errors: errors.filter(|(_, total)| *total > 0).collect(),
            disconnects: node.counters.disconnects.totals().into_iter().collect(),
            messages_in,
            messages_out,
            bytes_in,
            bytes_out,
            engine: EngineReport::new(node.engine.stats()),
            totals,
        }
    }
}

impl EngineReport {
    fn new(stats: EngineStats) -> Self {
        Self {
            channels: stats.channels,
            messages: stats.messages,
            bytes: stats.bytes,
            sessions: stats.sessions,
            keys: stats.keys,
            appended: stats.appended,
            session_duplicates: stats.session_duplicates,
            key_duplicates: stats.key_duplicates,
            failed: stats.failed,
            keys_evicted: stats.keys_evicted,
            details: stats.details.into_iter().collect(),
        }
    }
}
