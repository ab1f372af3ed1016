//! What all connections of one server share.
//!
//! Owns the parts and their construction; each part guards itself.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bowline_engine::{Engine, SessionKey};
use bowline_proto::server::Sessions;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    access::AccessControl, clock::Clock, config::Config, handler::MessageHandler, hub::Hub,
    limits::Limits, link::Link, sync::lock,
};

/// One server process's shared parts.
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) access: Arc<dyn AccessControl>,
    pub(crate) handler: Option<Arc<dyn MessageHandler>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Clock,
    /// Who may come in.
    pub(crate) limits: Arc<Limits>,
    /// One permit per refused peer that is told why.
    pub(crate) refusals: Arc<Semaphore>,
    /// Who holds each session; an entry per connection at most.
    pub(crate) sessions: Mutex<Sessions<SessionKey, u64>>,
    /// Slots for reading pages, so that a herd of readers takes turns.
    pub(crate) page_slots: Semaphore,
    /// The live connections, by id.
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    next_link: AtomicU64,
    draining: AtomicBool,
    pub(crate) counters: Counters,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since the start of the server.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            /// Each total with its name, as `/ws/stats` shows it.
            pub(crate) fn totals(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Connections that were opened.
    connections_opened,
    /// Connections whose task panicked.
    connections_panicked,
    /// Messages from clients.
    messages_in,
    /// Messages to clients, of connections that have ended.
    messages_out,
    /// Bytes from clients.
    bytes_in,
    /// Bytes to clients, of connections that have ended.
    bytes_out,
    /// Pages read from the log for subscriptions that were behind.
    pages_read,
    /// Live subscriptions that fell back to the log, of connections that have ended.
    catchups_started,
    /// Those of them that went live again.
    catchups_finished,
    /// Numbered messages that were stored already.
    upstream_duplicates,
    /// Numbered messages that were refused.
    upstream_refused,
    /// Resumes that answered `recovered:true`.
    recovered,
    /// Resumes that answered `recovered:false`.
    not_recovered,
    /// Sessions taken over by a newer link.
    takeovers,
}

/// Adds to a total.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Node {
    pub(crate) fn new(
        name: Box<str>,
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        access: Arc<dyn AccessControl>,
        handler: Option<Arc<dyn MessageHandler>>,
        hub: Arc<Hub>,
        clock: Clock,
    ) -> Self {
        let limits = Arc::new(Limits::new(config.clone(), clock));
        let refusals = Arc::new(Semaphore::new(config.refusals_max));
        let page_slots = Semaphore::new(config.catchup_slots);
        Self {
            name,
            config,
            engine,
            access,
            handler,
            hub,
            clock,
            limits,
            refusals,
            sessions: Mutex::new(Sessions::new()),
            page_slots,
            links: Mutex::new(BTreeMap::new()),
            next_link: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            counters: Counters::default(),
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
        links.insert(link.id, link.clone());
        count(&self.counters.connections_opened, 1);
        true
    }

    /// Removes a connection.
    pub(crate) fn forget(&self, link: &Link) {
        lock(&self.links).remove(&link.id);
        link.pass.release();
        let counts = link.counts();
        count(&self.counters.messages_out, counts.messages_out);
        count(&self.counters.bytes_out, counts.bytes_out);
        count(&self.counters.catchups_started, counts.catchups_started);
        count(&self.counters.catchups_finished, counts.catchups_finished);
    }

    /// Lets no new connection in from now on, and answers those that are there.
    pub(crate) fn begin_drain(&self) -> Vec<Arc<Link>> {
        let links = lock(&self.links);
        self.draining.store(true, Ordering::Release);
        links.values().cloned().collect()
    }

    /// Whether the server shuts down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// A live connection.
    pub(crate) fn link(&self, id: u64) -> Option<Arc<Link>> {
        lock(&self.links).get(&id).cloned()
    }

    /// All live connections.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().cloned().collect()
    }
}

/// The key of a session: a digest of user and session id together, so that a guessed id of another
/// user is simply a new session, and no secret is stored.
pub(crate) fn session_key(user: Option<&str>, session: &str) -> SessionKey {
    let mut digest = Sha256::new();
    // The length keeps ("ab", "c") and ("a", "bc") apart; none and the empty user differ too.
    digest.update(
        user.map_or(u64::MAX, |user| user.len() as u64)
            .to_be_bytes(),
    );
    digest.update(user.unwrap_or_default().as_bytes());
    digest.update(session.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest.finalize()[..16]);
    SessionKey(key)
}
