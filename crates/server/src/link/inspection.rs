//! What statistics see of a link.
//!
//! Owns the counts of one link, and the picture of it at one moment, taken under one lock. Must not
//! know how either is shown, nor change anything.

use std::{sync::Arc, time::Duration};

use bowline_engine::SessionKey;
use bowline_proto::{Time, message::ClientInfo, server::Subscription};

use super::Link;
use crate::{
    channel::{Channel, Handle},
    stats::RecentErrors,
    sync::lock,
};

/// What statistics show of a link at one moment.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) session: Option<SessionKey>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) client: Option<Arc<ClientInfo>>,
    /// When bytes last came.
    pub(crate) last_seen: Time,
    /// The answer to a ping is late.
    pub(crate) late: bool,
    /// The smoothed round trip and its jitter.
    pub(crate) latency: Option<(Duration, Duration)>,
    pub(crate) counts: LinkCounts,
    pub(crate) queue_bytes: usize,
    pub(crate) errors: Option<Box<RecentErrors>>,
    pub(crate) subscriptions: Vec<(Arc<Channel>, Subscription)>,
    pub(crate) subscription_count: usize,
}

/// What a link counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkCounts {
    /// Messages received.
    pub(crate) messages_in: u64,
    /// Messages queued.
    pub(crate) messages_out: u64,
    /// Bytes received.
    pub(crate) bytes_in: u64,
    /// Bytes that the socket took.
    pub(crate) bytes_out: u64,
    /// Live subscriptions that fell back to the log.
    pub(super) catchups_started: u32,
    /// Those that went live again.
    pub(super) catchups_finished: u32,
}

impl Link {
    /// What it has counted so far.
    pub(crate) fn counts(&self) -> LinkCounts {
        lock(&self.inner).counts
    }

    /// What statistics show of it, with at most so many of its subscriptions.
    pub(crate) fn inspect(&self, now: Time, subscriptions_max: usize) -> Inspection {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let channels = inner.subscriptions.channels().take(subscriptions_max);
        let channels: Vec<_> = channels.map(|Handle(channel)| channel.clone()).collect();
        let subscriptions = channels.into_iter().filter_map(|channel| {
            let cursor = inner.subscriptions.cursor(&**channel.name())?;
            Some((channel, cursor))
        });
        let subscriptions = subscriptions.collect();
        Inspection {
            session: inner.session,
            user: inner.identity.as_ref().and_then(|who| who.user.clone()),
            client: inner.client.clone(),
            last_seen: inner.heart.last_received(),
            late: inner.heart.is_late(now),
            latency: inner.heart.latency(),
            counts: inner.counts,
            queue_bytes: inner.outbox.bytes(),
            errors: inner.errors.clone(),
            subscriptions,
            subscription_count: inner.subscriptions.len(),
        }
    }
}

impl LinkCounts {
    /// All of them: messages in and out, bytes in and out, catch-ups started and finished.
    pub(crate) fn list(self) -> [u64; 6] {
        [
            self.messages_in,
            self.messages_out,
            self.bytes_in,
            self.bytes_out,
            self.catchups_started.into(),
            self.catchups_finished.into(),
        ]
    }
}
