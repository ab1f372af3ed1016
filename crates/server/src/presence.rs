//! Who follows a channel on this node.
//!
//! Owns the answer for both doors, WebSocket and HTTP. Who may ask is judged there.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use utoipa::ToSchema;

use crate::node::Node;

/// The most users in an answer.
const USERS_MAX: usize = 1_000;

/// Who is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Presence {
    /// The channel.
    #[schema(value_type = String)]
    channel: Arc<str>,
    /// The first of its verified users, by name.
    #[schema(value_type = Vec<String>)]
    users: Vec<Arc<str>>,
    /// How many verified users follow it.
    user_count: u64,
    /// How many connections follow it, those without a verified user included.
    connection_count: u64,
}

impl Presence {
    /// Of this channel, with at most so many users by name.
    pub(crate) fn of(node: &Node, channel: &str, limit: Option<usize>) -> Self {
        let members = node.hub.channel(channel).map(|channel| channel.members());
        let members = members.unwrap_or_default();
        let users: BTreeSet<Arc<str>> = members.iter().filter_map(|link| link.user()).collect();
        let (user_count, connection_count) = (users.len() as u64, members.len() as u64);
        let limit = limit.unwrap_or(USERS_MAX).min(USERS_MAX);
        Self {
            channel: channel.into(),
            users: users.into_iter().take(limit).collect(),
            user_count,
            connection_count,
        }
    }
}
