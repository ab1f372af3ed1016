//! Who follows a channel on this node.
//!
//! Owns the answer for both doors, WebSocket and HTTP. Who may ask is judged there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    channel::Channel,
    clock::Clock,
    node::Node,
    walk::{STEP_MAX, Walk},
};

/// The most users in an answer.
const USERS_MAX: usize = 1_000;

/// Who is there. Of a channel with more than 1,024 connections the answer may be a little old: it is
/// given to others for 20 times as long as it took.
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
    /// Of this channel, with at most so many users by name. Where it has very many members, the
    /// answer may be one that was made for somebody else a while ago.
    pub(crate) async fn of(node: &Node, name: &str, limit: Option<usize>) -> Self {
        let Some(channel) = node.hub.channel(name) else {
            return Self::of_nobody(name.into());
        };
        let kept = channel.presence();
        let making = Self::make(channel, node.clock, STEP_MAX);
        let whole = match kept {
            Some(kept) => kept.get(node.clock, making).await,
            None => making.await.0,
        };
        let limit = limit.unwrap_or(USERS_MAX).min(whole.users.len());
        Self {
            channel: whole.channel.clone(),
            users: whole.users[..limit].to_vec(),
            ..*whole
        }
    }

    fn of_nobody(channel: Arc<str>) -> Self {
        Self {
            channel,
            users: Vec::new(),
            user_count: 0,
            connection_count: 0,
        }
    }

    /// Looks at all members, and says how long the answer may be kept.
    pub(crate) async fn make(
        channel: Arc<Channel>,
        clock: Clock,
        step_max: usize,
    ) -> (Arc<Self>, Option<Duration>) {
        let mut walk = Walk::begin(clock);
        let mut users = BTreeSet::new();
        let (mut members, mut begin) = channel.members_before(usize::MAX, step_max);
        // Of the beginning: whoever comes later is seen at most in place of one of these.
        let connection_count = begin + members.len();
        loop {
            users.extend(members.iter().filter_map(|link| link.user()));
            drop(members);
            if begin == 0 {
                break;
            }
            walk.rest().await;
            (members, begin) = channel.members_before(begin, step_max);
        }
        let user_count = users.len() as u64;
        let mut users = users.into_iter();
        let first = users.by_ref().take(USERS_MAX).collect();
        // To free the others takes its time as well.
        while users.by_ref().take(step_max).count() == step_max {
            walk.rest().await;
        }
        let answer = Self {
            channel: channel.name().clone(),
            users: first,
            user_count,
            connection_count: connection_count as u64,
        };
        (Arc::new(answer), walk.keep_for())
    }
}
