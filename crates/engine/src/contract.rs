//! The contract between the server and its storage: the [`Engine`] trait and what passes through it.
//!
//! Owns the promises that `conformance` checks. Must not know how any engine keeps them, nor who
//! publishes and who listens.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bowline_proto::{
    Data, Position, Publication,
    recovery::{ChannelState, EngineClock},
};

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps the channels' logs, and with them the sessions' sequence numbers and idempotency keys.
///
/// Durability is the engine's own, stated by each: what [`append`](Self::append) has answered `Ok`
/// survives whatever that engine says it survives. Everything else here holds for every engine,
/// and the suite in `conformance` checks it.
///
/// An engine may begin an operation when it is called or when its future is first polled. Two
/// appends are ordered only if the first was answered before the second was called, so a caller
/// keeps at most one append of a session in flight, and puts what came meanwhile in the next batch.
pub trait Engine: Send + Sync + 'static {
    /// Appends a run of entries in order and answers one outcome per entry.
    ///
    /// Each entry takes effect wholly or not at all: its publication, its session's number and its
    /// key are stored in one commit. Once an entry of a session fails, every later entry of that
    /// session in the batch answers [`AppendError::Aborted`] (or also `FateUnknown`); entries of
    /// other sessions and without session go on. An engine commits many callers' batches together
    /// if it likes.
    ///
    /// Every append is answered at some time, if need be with `FateUnknown`: until then nobody can take
    /// its session over. Dropping the future undoes nothing: the fate of its entries is then unknown.
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>>;

    /// The channel at one moment. Asking never creates it.
    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>>;

    /// The publications with an offset above `after`, from the lowest that history still has, in
    /// order and without holes; none where the channel has no record (absent, or no history).
    ///
    /// Expired publications are never served, trimmed or not. A page that begins above `after + 1`
    /// says by its `floor` that history no longer reaches back.
    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>>;

    /// R: the highest sequence number stored for this session, none without a record.
    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>>;

    /// Forgets the session's record; one that is unknown is no error.
    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Forgets now every session whose time is over, rather than when its turn comes, and answers
    /// how many that were. Nothing that can be asked for changes by it. An engine whose storage
    /// forgets them by itself, on time, has nothing to do here.
    fn expire_sessions(&self) -> BoxFuture<'_, Result<u64, AppendError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Adds a listener for hints of what was committed. Listeners live as long as the engine.
    ///
    /// Hints are lossy by contract: a reader that misses one finds the publication in
    /// [`read`](Self::read). One engine calls in offset order per channel, after the commit. Of a
    /// channel that did not exist, a hint must come before it may be forgotten again: those who wait for
    /// it would else take the next record of that name for its first.
    fn listen(&self, listener: Arc<dyn Listener>);

    /// The engine's epoch and time, for the positions of absent channels.
    fn clock(&self) -> EngineClock;

    /// Counts and sizes at this moment.
    fn stats(&self) -> EngineStats;

    /// Whether appends are being accepted, for readiness probes.
    fn health(&self) -> EngineHealth;
}

/// Takes hints of committed publications.
pub trait Listener: Send + Sync {
    /// Called after the commit. `epoch` is that of the channel's record, 0 on a channel without
    /// history. Must not block and must not append: it runs on the appender's thread.
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>);
}

/// One entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The session that numbered it; none for what is not numbered.
    pub producer: Option<Producer>,
    /// What it does.
    pub effect: Effect,
}

/// A numbered message's origin: only a number above all those stored for the session has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Whose number it is.
    pub session: SessionKey,
    /// From 1. Gaps are allowed here: whether a jump is taken is decided above the engine.
    pub seq: u64,
}

/// A session of one user, as a 128-bit digest of both, so that no secret of a client is stored.
///
/// With the highest bit set, the first 8 bytes are the same in all sessions of one user, which are
/// bounded together ([`EngineConfig::sessions_per_user_max`](crate::EngineConfig)). Without it, it
/// is a session of nobody known.
///
/// ```
/// use bowline_engine::SessionKey;
///
/// assert!(SessionKey([0x80; 16]).user().is_some());
/// assert!(SessionKey([0x7f; 16]).user().is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub [u8; 16]);

impl SessionKey {
    /// What all sessions of its user have in common; none where there is no known user.
    pub fn user(self) -> Option<u64> {
        let [common @ .., _, _, _, _, _, _, _, _] = self.0;
        let user = u64::from_be_bytes(common);
        (user >> 63 == 1).then_some(user)
    }
}

/// The digest in lower-case hexadecimal digits, as statistics and logs show it.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A publisher's key for one publication of one channel, as a 128-bit collision-resistant digest
/// of its text, so that a key costs the same whatever its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(pub [u8; 16]);

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Appends a publication; the first one creates the channel.
    Publish {
        /// Where to.
        channel: Arc<str>,
        /// The payload.
        data: Data,
        /// The verified user who publishes.
        user: Option<Arc<str>>,
        /// The publisher's own mark.
        tag: Option<Arc<str>>,
        /// Within the key window, a second publication of the channel with this key has no effect.
        key: Option<IdempotencyKey>,
    },
    /// Moves the session's number without a message: a handled `send`, or a `skip`. Without a
    /// producer it does nothing.
    Advance,
}

/// The outcome of an entry that took effect, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the publication stands; for a repeated key that of the first one. None on channels
    /// without history, for `Advance`, and for a repeated sequence number.
    pub position: Option<Position>,
    /// It had taken effect before; this time nothing was stored.
    pub duplicate: bool,
}

/// Why an entry had no effect, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A bound on messages or bytes, or the disk, is reached; nothing was stored.
    #[error("the storage is full")]
    StorageFull,
    /// The storage can't be written now; nothing was stored.
    #[error("the storage is not available")]
    StorageUnavailable,
    /// The channel does not exist, and as many as are allowed do; nothing was stored.
    #[error("no further channel can be created")]
    TooManyChannels,
    /// The session has no record, and as many as are allowed do, in all or of its user; nothing was
    /// stored.
    #[error("no further session can be recorded")]
    TooManySessions,
    /// The key stands for another publication (other data, user or tag); nothing was stored.
    #[error("the idempotency key was used for another message")]
    KeyReused,
    /// An earlier entry of the same session in the batch failed; nothing was stored.
    #[error("an earlier message of the session failed")]
    Aborted,
    /// It may or may not have taken effect: repeat it with the same number or key.
    #[error("whether the message was stored is not known")]
    FateUnknown,
}

/// Why a question had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The storage can't be read now.
    #[error("the storage is not available")]
    StorageUnavailable,
}

/// How much one page may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// At most so many publications; 0 counts as 1.
    pub count: usize,
    /// At most so many bytes of data, users and tags, except that one publication always fits.
    pub bytes: usize,
}

/// Part of a channel's history, with the channel as it was at the moment of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Of the channel's record.
    pub epoch: u64,
    /// The lowest offset that history still has; `head + 1` where it is empty.
    pub floor: u64,
    /// The highest offset ever given.
    pub head: u64,
    /// In rising order of offset, each one more than the last.
    pub publications: Vec<Arc<Publication>>,
}

/// What an engine counts. Totals are since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Channel records.
    pub channels: u64,
    /// Publications held, those included that have expired but are not trimmed yet.
    pub messages: u64,
    /// Bytes of data, users and tags of the publications held.
    pub bytes: u64,
    /// Session records.
    pub sessions: u64,
    /// Idempotency keys remembered.
    pub keys: u64,
    /// Total of entries that took effect.
    pub appended: u64,
    /// Total of entries refused as duplicates by their session's number.
    pub session_duplicates: u64,
    /// Total of entries refused as duplicates by their idempotency key.
    pub key_duplicates: u64,
    /// Total of entries that failed.
    pub failed: u64,
    /// Total of keys forgotten before their window ended, because `keys_max` were younger.
    pub keys_evicted: u64,
    /// What only this kind of engine measures, as name and value, shown as it stands.
    pub details: Vec<(&'static str, u64)>,
}

/// Whether an engine accepts appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineHealth {
    /// It does.
    Ready,
    /// It refuses them for the stated reason; reads may still work.
    Refusing(Arc<str>),
}
