//! The bounds of an engine: how much it keeps, for how long, of what.
//!
//! Owns every limit with its default, reason and cost, and the check of a whole configuration.
//! Must not know files, flags or environment: `cli` resolves those into this type.

mod log;

use std::time::Duration;

pub use log::LogConfig;

/// At most so many channel patterns: they are tried in turn, a few nanoseconds each, when a channel
/// is created and at every publication without history.
pub const POLICIES_MAX: usize = 256;

const MIB: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3_600);

/// The bounds of an engine. Memory costs are those of [`Memory`](crate::Memory) on 64-bit machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Channel records at once (default 1,000,000). A bound because the first publish creates one:
    /// about 250 bytes each with a name of 40 bytes and an empty history.
    pub channels_max: usize,
    /// What channels keep, by name; the first pattern that matches decides, and where none does
    /// the channel has the default [`Retention`] (default: no patterns; at most [`POLICIES_MAX`]).
    pub policies: Vec<ChannelPolicy>,
    /// Publications held in all channels (default 2,000,000): about 150 bytes each beside their
    /// payload. Beyond it appends answer `StorageFull`.
    pub messages_max: u64,
    /// Bytes of data, users and tags held in all channels (default 1 GiB, all of it memory). Beyond
    /// it appends answer `StorageFull`.
    pub bytes_max: u64,
    /// Session records at once (default 1,000,000): about 100 bytes each. Beyond it the first
    /// numbered message of a new session is refused; evicting another would let that one double.
    pub sessions_max: usize,
    /// Session records at once of one user (default 10,000), so that none fills the table for all;
    /// about 20 bytes for each user who has any. Beyond it the first numbered message of a new
    /// session of that user is refused.
    pub sessions_per_user_max: usize,
    /// How long a session is remembered after its last stored number (default 24 h). It must exceed
    /// the age at which clients give up resending, or a resent message is stored twice.
    pub session_ttl: Duration,
    /// How long an idempotency key is remembered after its publication (default 5 min): longer than
    /// a backend's retries, short enough to hold all keys in memory.
    pub key_window: Duration,
    /// Idempotency keys at once, over all channels (default 1,000,000, which is 3,300 keyed
    /// publications a second): about 190 bytes each. Beyond it the oldest is forgotten early,
    /// which `EngineStats::keys_evicted` counts.
    pub keys_max: usize,
    /// How long an empty channel keeps its record (default 30 days): for so long the position of an
    /// absent channel holds, so it is above any retention age, session and key window.
    pub channel_forget_after: Duration,
}

/// What the channels with matching names keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPolicy {
    /// A channel's name, or the beginning of one followed by `*`.
    pub pattern: String,
    /// What they keep; none for channels without history, whose publications are only notified.
    pub history: Option<Retention>,
}

/// How much history a channel keeps: what is beyond any of the three is trimmed, except that count
/// and bytes never trim the newest publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications (default 10,000).
    pub messages: u32,
    /// Bytes of data, users and tags (default 4 MiB).
    pub bytes: u64,
    /// From its publication on (default 24 h).
    pub age: Duration,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    /// The field, as a path such as `policies[2].history.age`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            channels_max: 1_000_000,
            policies: Vec::new(),
            messages_max: 2_000_000,
            bytes_max: 1_024 * MIB,
            sessions_max: 1_000_000,
            sessions_per_user_max: 10_000,
            session_ttl: 24 * HOUR,
            key_window: Duration::from_secs(300),
            keys_max: 1_000_000,
            channel_forget_after: 30 * 24 * HOUR,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            messages: 10_000,
            bytes: 4 * MIB,
            age: 24 * HOUR,
        }
    }
}

impl ChannelPolicy {
    /// Whether this policy is for the channel of that name.
    pub fn matches(&self, channel: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == self.pattern,
        }
    }
}

impl EngineConfig {
    /// Everything that is wrong with it, at once.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, key: String, problem: &str| {
            if !holds {
                problems.push(ConfigProblem {
                    key,
                    problem: problem.to_owned(),
                });
            }
        };
        for (key, count) in [
            ("channels_max", self.channels_max as u64),
            ("messages_max", self.messages_max),
            ("bytes_max", self.bytes_max),
            ("sessions_max", self.sessions_max as u64),
            ("sessions_per_user_max", self.sessions_per_user_max as u64),
            ("keys_max", self.keys_max as u64),
        ] {
            demand(count > 0, key.to_owned(), "must be at least 1");
        }
        let slots = u32::MAX as usize - 1;
        for (key, count) in [
            ("channels_max", self.channels_max),
            ("sessions_max", self.sessions_max),
        ] {
            demand(count <= slots, key.to_owned(), "must be below 2^32 - 1");
        }
        let millisecond = Duration::from_millis(1);
        for (key, span) in [
            ("session_ttl", self.session_ttl),
            ("key_window", self.key_window),
        ] {
            demand(span >= millisecond, key.to_owned(), "must be at least 1 ms");
            demand(
                span <= self.channel_forget_after,
                key.to_owned(),
                "must not exceed channel_forget_after",
            );
        }
        demand(
            self.channel_forget_after >= Duration::from_secs(1)
                && u32::try_from(self.channel_forget_after.as_secs()).is_ok(),
            "channel_forget_after".to_owned(),
            "must be at least 1 s and below 2^32 s",
        );
        self.check_policies(&mut demand);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    fn check_policies(&self, demand: &mut impl FnMut(bool, String, &str)) {
        demand(
            self.policies.len() <= POLICIES_MAX,
            "policies".to_owned(),
            "must be at most 256 patterns",
        );
        for (index, policy) in self.policies.iter().enumerate() {
            let at = |field: &str| format!("policies[{index}].{field}");
            let prefix = policy.pattern.strip_suffix('*').unwrap_or(&policy.pattern);
            demand(
                !policy.pattern.is_empty() && !prefix.contains('*'),
                at("pattern"),
                "must be a channel name, or its beginning followed by one *",
            );
            let Some(history) = policy.history else {
                continue;
            };
            demand(
                history.messages > 0,
                at("history.messages"),
                "must be at least 1; leave history out to keep none",
            );
            demand(
                history.bytes > 0,
                at("history.bytes"),
                "must be at least 1; leave history out to keep none",
            );
            demand(
                history.age >= Duration::from_millis(1) && history.age <= self.channel_forget_after,
                at("history.age"),
                "must be at least 1 ms and must not exceed channel_forget_after",
            );
        }
        if self.policies.iter().all(|policy| policy.pattern != "*") {
            demand(
                Retention::default().age <= self.channel_forget_after,
                "channel_forget_after".to_owned(),
                "must be at least 24 h, the age that channels without a pattern keep",
            );
        }
    }
}

#[cfg(test)]
mod tests;
