//! What all connections of one server share.
//!
//! Owns the parts and their construction; each part guards itself. The live connections are in `links`.

mod links;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bowline_engine::{Append, AppendError, Appended, Engine, SessionKey};
use bowline_proto::server::Sessions;
use sha2::{Digest, Sha256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

pub(crate) use crate::stats::count;
use crate::{
    access::{Access, AccessControl, Identity},
    clients::Clients,
    clock::Clock,
    config::Config,
    entropy::Entropy,
    handler::MessageHandler,
    hub::Hub,
    limits::Limits,
    link::{Link, Work},
    stats::Counters,
    sync::{Mutex, lock},
    walk::Kept,
};
use links::{LinkTotals, Links};

/// What came of one entry of a batch.
type Outcome = Result<Appended, AppendError>;

fn unknown(count: usize) -> Vec<Outcome> {
    vec![Err(AppendError::FateUnknown); count]
}

/// One server process's shared parts.
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) access: Access,
    pub(crate) handler: Option<Arc<dyn MessageHandler>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Clock,
    /// Who all are of whom nothing is known, once for all of them.
    anonymous: Arc<Identity>,
    /// Which programs clients say that they are.
    pub(crate) clients: Clients,
    pub(crate) entropy: Entropy,
    /// Who may come in.
    pub(crate) limits: Arc<Limits>,
    /// One permit per refused peer that is told why.
    pub(crate) refusals: Arc<Semaphore>,
    /// Who holds each session; an entry per connection at most.
    pub(crate) sessions: Mutex<Sessions<SessionKey, u64>>,
    /// One permit per hello that is larger than other frames may be.
    pub(crate) large_hellos: Arc<Semaphore>,
    /// Slots for reading pages, so that a herd of readers takes turns.
    pub(crate) page_slots: Semaphore,
    links: Mutex<Links>,
    /// What all links have counted, where there are very many.
    link_sum: Kept<LinkTotals>,
    next_link: AtomicU64,
    draining: AtomicBool,
    pub(crate) counters: Arc<Counters>,
}

impl Node {
    pub(crate) fn new(
        name: Box<str>,
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        access: Arc<dyn AccessControl>,
        handler: Option<Arc<dyn MessageHandler>>,
        hub: Arc<Hub>,
        (clock, entropy): (Clock, Entropy),
    ) -> Self {
        let access = Access::new(access, config.access_timeout);
        let limits = Arc::new(Limits::new(config.clone(), clock));
        let refusals = Arc::new(Semaphore::new(config.refusals_max));
        let large_hellos = Arc::new(Semaphore::new(config.large_hellos_max));
        let page_slots = Semaphore::new(config.catchup_slots);
        Self {
            name,
            config,
            engine,
            access,
            handler,
            hub,
            clock,
            anonymous: Arc::new(Identity::anonymous()),
            clients: Clients::default(),
            entropy,
            limits,
            refusals,
            sessions: Mutex::new(Sessions::new()),
            large_hellos,
            page_slots,
            links: Mutex::new(Links::default()),
            link_sum: Kept::default(),
            next_link: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            counters: Arc::default(),
        }
    }

    /// The identity, as connections keep it.
    pub(crate) fn shared(&self, identity: Identity) -> Arc<Identity> {
        if identity == *self.anonymous {
            self.anonymous.clone()
        } else {
            Arc::new(identity)
        }
    }

    /// A number that no other connection of this process has.
    pub(crate) fn new_link_id(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection; false where the server shuts down.
    pub(crate) fn register(&self, link: &Arc<Link>) -> bool {
        let mut links = lock(&self.links);
        // Judged under the lock, so that no connection slips in after the drain has listed them.
        if self.is_draining() {
            return false;
        }
        links.live.insert(link.id, link.clone());
        count(&self.counters.connections_opened, 1);
        true
    }

    /// Hands a batch to the engine, for at most `publish_timeout`: then its fate is not known.
    pub(crate) async fn append(&self, batch: Vec<Append>) -> Vec<Outcome> {
        let count = batch.len();
        let answer = self.in_time(self.engine.append(batch)).await;
        answer.unwrap_or_else(|| unknown(count))
    }

    /// The same for a link, whose work is over when the engine has answered, in time or not: until then
    /// the numbers that are stored for its session are not final.
    pub(crate) async fn append_for(
        self: &Arc<Self>,
        work: Work,
        batch: Vec<Append>,
    ) -> Vec<Outcome> {
        let (node, count) = (self.clone(), batch.len());
        let mut appending = Box::pin(async move {
            let outcomes = node.engine.append(batch).await;
            drop(work);
            outcomes
        });
        let answer = self.in_time(&mut appending).await;
        answer.unwrap_or_else(|| {
            tokio::spawn(appending);
            unknown(count)
        })
    }

    async fn in_time<T>(&self, appending: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let answer = timeout(self.config.publish_timeout, appending).await.ok();
        self.counters.appends.since(begun);
        if answer.is_none() {
            tracing::warn!("the engine did not answer within publish_timeout");
        }
        answer
    }

    /// Lets no new connection in from now on.
    pub(crate) fn begin_drain(&self) {
        let _links = lock(&self.links);
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the server shuts down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// The key of a session: digests of user and session id, so that a guessed id of another user is
/// simply a new session, and no secret is stored. Half of a user's key is the user's, who is known
/// by the highest bit; of a guest's all but that bit is the session's.
pub(crate) fn session_key(user: Option<&str>, session: &str) -> SessionKey {
    const OF_A_USER: u8 = 0x80;
    let mut key: [u8; 16] = digest(session);
    match user {
        None => key[0] &= !OF_A_USER,
        Some(user) => {
            key[..8].copy_from_slice(&digest::<8>(user));
            key[0] |= OF_A_USER;
        }
    }
    SessionKey(key)
}

/// The first bytes of the text's SHA-256.
fn digest<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    let mut first = [0; BYTES];
    first.copy_from_slice(&Sha256::digest(text)[..BYTES]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_their_users() {
        let [mine, my_other, yours] = [("ana", "a"), ("ana", "b"), ("ben", "a")]
            .map(|(user, session)| session_key(Some(user), session));
        assert_ne!(mine, my_other);
        assert_eq!(mine.user(), my_other.user());
        assert_ne!(mine.user(), yours.user());
        let (guest, nameless) = (session_key(None, "a"), session_key(Some(""), "a"));
        assert_eq!((guest.user(), nameless.user().is_some()), (None, true));
    }
}
