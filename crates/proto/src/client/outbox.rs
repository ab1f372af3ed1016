//! Numbered messages that wait for their ack.
//!
//! Owns their order, their numbers and their bounds (PROTOCOL.md, "Upstream"). A message gets its
//! seq when first written. One that is given up after that stays as a *skip*, because its number
//! must be taken before the session can go on. Must not know links beyond "a new one".

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    client::contract::{DropReason, Fate, Item},
    code::Code,
    codec::FRAME_OVERHEAD_BYTES,
    message::{ClientMessage, ErrorInfo, Publish, Send},
    time::Time,
};

/// The ceiling of the first wait after a refusal that came without advice; it doubles.
const RETRY_MS: u64 = 250;
/// The ceiling of those waits.
const RETRY_MS_MAX: u64 = 30_000;

/// How long the reply of a `send` that was written twice may come after its ack. A server writes the two
/// close together, and to a duplicate the ack alone.
const REPLY_AFTER_ACK_MS: u64 = 10_000;

/// Room for the channel, tag and method of a message, as JSON, in a frame that the server reads: what
/// it has beside the payload, but for the names of the fields and the number.
const HEADER_BYTES_MAX: usize = FRAME_OVERHEAD_BYTES - 128;

/// Refusals after which the message may still take effect.
const UNKNOWN_FATES: [Code; 2] = [Code::FateUnknown, Code::HandlerTimeout];

/// The bounds of an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The most messages. Default 1,000.
    pub messages_max: usize,
    /// The most bytes of payload. Default 4 MiB.
    pub bytes_max: usize,
    /// Older ones are dropped. Default 12 h; at most half of the `session_ttl` that the server has told,
    /// so that the session's record outlives every message that counts on it.
    pub age_max_ms: u64,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            messages_max: 1_000,
            bytes_max: 4 << 20,
            age_max_ms: 12 * 60 * 60 * 1_000,
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A bound of the outbox is reached.
    #[error("the outbox is full")]
    Full,
    /// The server would not read its frame.
    #[error(
        "the message is larger than message_bytes_max, or what it has beside its data is too large"
    )]
    TooBig,
}

/// A message that leaves the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Stored.
    Acked(u64),
    /// Stored, and its reply can't come any more.
    ReplyLost(u64),
    /// Given up.
    Dropped(u64, Fate, DropReason),
}

#[derive(Clone, Debug)]
struct Entry {
    key: u64,
    /// None: a skip.
    item: Option<Item>,
    bytes: usize,
    /// None: never written.
    seq: Option<u64>,
    queued_at: Time,
    /// The reply of a `send` came before its ack.
    replied: bool,
    /// Written more than once in its session: the server may take it for a duplicate.
    rewritten: bool,
    /// It was on its way when the server lost track, in a session that was lost, or to the application
    /// when the link ended: a refusal says nothing of the other attempt.
    doubtful: bool,
}

/// The outbox of one client.
#[derive(Clone, Debug)]
pub struct Outbox {
    config: OutboxConfig,
    /// The age at which messages are given up.
    age_max_ms: u64,
    /// In order of seq, then the unnumbered ones; numbered ones are contiguous up to `next − 1`.
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
    /// The next entry to write on the present link.
    cursor: usize,
    paused_until: Option<Time>,
    refusals: u32,
    /// Acked sends whose reply may still come over the present link, by seq: the key, and until when.
    /// Bounded by `messages_max`: the oldest is given up first.
    replies: BTreeMap<u64, (u64, Option<Time>)>,
}

impl Outbox {
    /// Empty, numbered from 1.
    pub const fn new(config: OutboxConfig) -> Self {
        Self {
            age_max_ms: config.age_max_ms,
            config,
            entries: VecDeque::new(),
            bytes: 0,
            next: 1,
            cursor: 0,
            paused_until: None,
            refusals: 0,
            replies: BTreeMap::new(),
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// A bound is reached; the message was not numbered and nothing has changed.
    pub fn push(
        &mut self,
        now: Time,
        key: u64,
        item: Item,
        message_bytes_max: Option<u64>,
    ) -> Result<(), Refused> {
        let (data, beside) = match &item {
            Item::Publish { channel, data, tag } => {
                (data, [Some(&**channel), tag.as_deref(), None])
            }
            Item::Send { data, method } => (data, [None, None, method.as_deref()]),
        };
        let bytes = data.len();
        if is_too_big(bytes, beside, message_bytes_max) {
            return Err(Refused::TooBig);
        }
        if self.entries.len() >= self.config.messages_max
            || self.bytes.saturating_add(bytes) > self.config.bytes_max
        {
            return Err(Refused::Full);
        }
        self.bytes += bytes;
        self.entries.push_back(Entry {
            key,
            item: Some(item),
            bytes,
            seq: None,
            queued_at: now,
            replied: false,
            rewritten: false,
            doubtful: false,
        });
        Ok(())
    }

    /// A new link: everything unresolved is written again, and replies of the old one are lost. What was
    /// on its way to the application may have had its effect, which no number tells.
    pub fn relink(&mut self) -> Vec<Resolved> {
        for entry in self.entries.iter_mut().take(self.cursor) {
            entry.doubtful |= matches!(entry.item, Some(Item::Send { .. }));
        }
        self.cursor = 0;
        self.paused_until = None;
        std::mem::take(&mut self.replies)
            .into_values()
            .map(|(key, _)| Resolved::ReplyLost(key))
            .collect()
    }

    /// The next message for the present link, or none: all are written, `inflight_max` is reached,
    /// a refusal asked to wait, or it is a skip and what stands before it is not answered, which it
    /// would take as well.
    pub fn write(&mut self, now: Time, inflight_max: u64) -> Option<ClientMessage> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        if self.entries.get(self.cursor)?.item.is_none() && self.cursor > 0 {
            return None;
        }
        // A run of skips is one `skip`: it takes every number up to its own.
        while self.entries.get(self.cursor)?.item.is_none()
            && self
                .entries
                .get(self.cursor + 1)
                .is_some_and(|entry| entry.item.is_none())
        {
            self.cursor += 1;
        }
        let written = self.cursor as u64;
        let entry = self.entries.get_mut(self.cursor)?;
        if entry.item.is_some() && written >= inflight_max {
            return None;
        }
        entry.rewritten = entry.seq.is_some();
        let seq = *entry.seq.get_or_insert_with(|| {
            self.next += 1;
            self.next - 1
        });
        self.cursor += 1;
        Some(match &entry.item {
            None => ClientMessage::Skip { seq },
            Some(Item::Publish { channel, data, tag }) => ClientMessage::Publish(Publish {
                seq: Some(seq),
                id: None,
                channel: channel.clone(),
                data: data.clone(),
                tag: tag.clone(),
            }),
            Some(Item::Send { data, method }) => ClientMessage::Send(Send {
                seq: Some(seq),
                id: None,
                data: data.clone(),
                method: method.clone(),
            }),
        })
    }

    /// Everything up to `seq` is stored. `final_word`: no reply can follow, as after `welcome`.
    pub fn acked(&mut self, now: Time, seq: u64, final_word: bool) -> Vec<Resolved> {
        let mut resolved = Vec::new();
        while let Some(number) = self.entries.front().and_then(|entry| entry.seq)
            && number <= seq
            && let Some(entry) = self.entries.pop_front()
        {
            self.cursor = self.cursor.saturating_sub(1);
            self.refusals = 0;
            self.bytes -= entry.bytes;
            let Some(item) = entry.item else { continue };
            resolved.push(Resolved::Acked(entry.key));
            if matches!(item, Item::Send { .. }) && !entry.replied {
                if final_word {
                    resolved.push(Resolved::ReplyLost(entry.key));
                    continue;
                }
                if self.replies.len() >= self.config.messages_max
                    && let Some((_, (lost, _))) = self.replies.pop_first()
                {
                    resolved.push(Resolved::ReplyLost(lost));
                }
                let patience = Duration::from_millis(REPLY_AFTER_ACK_MS);
                let until = entry.rewritten.then(|| now + patience);
                self.replies.insert(number, (entry.key, until));
            }
        }
        resolved
    }

    /// The key of the `send` that a reply answers.
    pub fn replied(&mut self, seq: u64) -> Option<u64> {
        let waiting = self.replies.remove(&seq).map(|(key, _)| key);
        waiting.or_else(|| {
            let mut entries = self.entries.iter_mut();
            let entry = entries.find(|entry| entry.seq == Some(seq))?;
            let first = entry.item.is_some() && !std::mem::replace(&mut entry.replied, true);
            first.then_some(entry.key)
        })
    }

    /// The server refused `seq`, and with it discards everything above; or, where that is acked, its
    /// reply alone. `jitter` draws below its argument.
    pub fn refused(
        &mut self,
        now: Time,
        seq: u64,
        error: &ErrorInfo,
        jitter: impl FnOnce(u64) -> u64,
    ) -> Vec<Resolved> {
        let mut resolved = self.acked(now, seq.saturating_sub(1), false);
        // Of a number that is acked it says that its reply can't come.
        let lost = self.replies.remove(&seq).map(|(key, _)| key);
        resolved.extend(lost.map(Resolved::ReplyLost));
        if self.entries.front().and_then(|entry| entry.seq) != Some(seq) {
            return resolved;
        }
        self.cursor = 0;
        if UNKNOWN_FATES.iter().any(|code| code.as_str() == error.code) {
            // What followed it may have been in the same commit.
            let written = self.entries.iter_mut().filter(|entry| entry.seq.is_some());
            written.for_each(|entry| entry.doubtful = true);
        }
        if error.retry {
            let immediately = [Code::OutOfOrder.as_str(), Code::TooManyInflight.as_str()];
            let wait_ms = match error.retry_after_ms {
                Some(advice) => advice.min(RETRY_MS_MAX * 10),
                None if self.refusals == 0 && immediately.contains(&&*error.code) => 0,
                None => jitter((RETRY_MS << self.refusals.min(7)).min(RETRY_MS_MAX) + 1),
            };
            self.refusals += 1;
            self.paused_until = Some(now + Duration::from_millis(wait_ms));
        } else {
            let entry = &mut self.entries[0];
            if entry.item.take().is_some() {
                self.bytes -= entry.bytes;
                entry.bytes = 0;
                let fate = if entry.doubtful {
                    Fate::Unknown
                } else {
                    Fate::Refused
                };
                resolved.push(Resolved::Dropped(entry.key, fate, error.code.clone()));
            }
        }
        resolved
    }

    /// Gives up what is too old, or everything: what was never written goes, what was becomes a
    /// skip. One that is on its way is answered anyhow: its skip is written where the server has
    /// refused it or one before it, or on the next link. Written before, it would let the server take
    /// what follows twice.
    pub fn clear(&mut self, older_than: Option<Time>, reason: &'static str) -> Vec<Resolved> {
        self.give_up(reason, |entry| {
            older_than.is_none_or(|bound| entry.queued_at <= bound)
        })
    }

    /// The server remembers the session for so long: what waits for longer than half of it is given up.
    pub fn outlive(&mut self, now: Time, session_ttl_ms: u64) -> Vec<Resolved> {
        self.age_max_ms = self.config.age_max_ms.min(session_ttl_ms / 2);
        self.expire(now)
    }

    /// The server takes no larger ones from now on: it would close the link over their frames, and over
    /// each that follows.
    pub fn limit(&mut self, message_bytes_max: u64) -> Vec<Resolved> {
        let reason = Code::MessageTooBig.as_str();
        self.give_up(reason, |entry| entry.bytes as u64 > message_bytes_max)
    }

    fn give_up(&mut self, reason: &'static str, chosen: impl Fn(&Entry) -> bool) -> Vec<Resolved> {
        let mut resolved = Vec::new();
        for entry in &mut self.entries {
            if !chosen(entry) || entry.item.take().is_none() {
                continue;
            }
            self.bytes -= entry.bytes;
            entry.bytes = 0;
            let fate = if entry.seq.is_some() || entry.doubtful {
                Fate::Unknown
            } else {
                Fate::Refused
            };
            resolved.push(Resolved::Dropped(entry.key, fate, reason.into()));
        }
        self.entries
            .retain(|entry| entry.item.is_some() || entry.seq.is_some());
        resolved
    }

    /// Drops what is older than the bound, and waits for no reply any longer than it may take.
    pub fn expire(&mut self, now: Time) -> Vec<Resolved> {
        let mut resolved = match self.oldest_expires_at() {
            Some(at) if at <= now => {
                let age = Duration::from_millis(self.age_max_ms);
                let bound = Time::from_micros(now.as_micros() - age.as_micros() as u64);
                self.clear(Some(bound), "expired")
            }
            _ => Vec::new(),
        };
        self.replies.retain(|_, (key, until)| {
            let is_lost = until.is_some_and(|until| until <= now);
            resolved.extend(is_lost.then_some(Resolved::ReplyLost(*key)));
            !is_lost
        });
        resolved
    }

    /// The session's numbers are void: what was never written moves to the new one, numbered from
    /// 1; the rest is reported, or moves too.
    pub fn fresh(&mut self, resend: bool, reason: &'static str) -> Vec<Resolved> {
        let mut resolved = self.relink();
        for entry in &mut self.entries {
            let written = entry.seq.take().is_some();
            entry.doubtful |= written;
            if written && !resend && entry.item.take().is_some() {
                self.bytes -= entry.bytes;
                resolved.push(Resolved::Dropped(entry.key, Fate::Unknown, reason.into()));
            }
        }
        self.entries.retain(|entry| entry.item.is_some());
        self.next = 1;
        self.refusals = 0;
        resolved
    }

    /// The lowest unresolved seq.
    pub fn first(&self) -> u64 {
        self.entries
            .front()
            .and_then(|entry| entry.seq)
            .unwrap_or(self.next)
    }

    /// The next unused seq.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// When [`write`](Self::write) has something again after a refusal.
    pub const fn paused_until(&self) -> Option<Time> {
        self.paused_until
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn expires_at(&self) -> Option<Time> {
        let replies = self.replies.values().filter_map(|(_, until)| *until).min();
        self.oldest_expires_at().into_iter().chain(replies).min()
    }

    fn oldest_expires_at(&self) -> Option<Time> {
        let oldest = self.entries.iter().find(|entry| entry.item.is_some())?;
        Some(oldest.queued_at + Duration::from_millis(self.age_max_ms))
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether the server would not read the frame of a message with so many bytes of payload, and these
/// strings beside it: channel, tag and method.
pub(super) fn is_too_big(bytes: usize, beside: [Option<&str>; 3], bytes_max: Option<u64>) -> bool {
    let header = serde_json::to_vec(&beside).expect("strings serialize");
    header.len() > HEADER_BYTES_MAX || bytes_max.is_some_and(|max| bytes as u64 > max)
}
