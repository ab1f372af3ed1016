//! When a key set is fetched: at a bounded rate, once for all who wait, and never because of what a
//! token says beyond a name that is not known yet.
//!
//! Owns the policy of one issuer's URL, which is fixed by the configuration: `jku`, `x5u` and `iss` of
//! tokens lead nowhere. Must not know HTTP.

use std::{sync::Arc, time::Duration};

use tokio::{sync, task::JoinHandle, time::Instant};

use super::{
    KeySet, Keys,
    fetch::{FetchError, Location},
};
use crate::sync::{Mutex, lock};

/// Where the keys of an issuer are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksSource {
    /// `https://…`, or `http://…` on loopback. Redirections are not followed.
    pub url: String,
    /// Authorities (PEM) by which its certificate is believed besides the system's.
    pub authorities: Vec<u8>,
    /// Keys are fetched anew once they are so old (default 10 minutes) and a token comes, meanwhile the
    /// old ones are believed; not where they are twice as old: then the fetch is waited for. So a key
    /// that was taken out is believed for up to twice as long. Where the fetch fails, or
    /// [`refetch_interval`](Self::refetch_interval) puts it off, the old ones stay and it is tried again.
    pub max_age: Duration,
    /// The shortest time between two fetches (default 30 s): a flood of tokens with made-up key
    /// names costs the issuer no more.
    pub refetch_interval: Duration,
}

impl JwksSource {
    /// With the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorities: Vec::new(),
            max_age: Duration::from_secs(600),
            refetch_interval: Duration::from_secs(30),
        }
    }
}

#[derive(Debug)]
pub(super) struct Remote {
    location: Location,
    max_age: Duration,
    refetch_interval: Duration,
    /// Held while a fetch runs, so that all who need one wait for the same.
    turn: Arc<sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last fetch began.
    attempted: Option<Instant>,
    /// When the keys that are there were fetched.
    fetched: Option<Instant>,
}

impl Remote {
    pub(super) fn new(source: &JwksSource) -> Result<Self, FetchError> {
        Ok(Self {
            location: Location::new(&source.url, &source.authorities)?,
            max_age: source.max_age,
            refetch_interval: source.refetch_interval,
            turn: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// Whether any keys were ever fetched.
    pub(super) fn has_keys(&self) -> bool {
        lock(&self.state).fetched.is_some()
    }

    /// How old the keys are; none where there are none yet.
    fn age(&self) -> Option<Duration> {
        let fetched = lock(&self.state).fetched;
        fetched.map(|fetched| fetched.elapsed())
    }

    /// Notes that a fetch begins; false where it is too early for one.
    fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        let early = state
            .attempted
            .is_some_and(|attempted| attempted.elapsed() < self.refetch_interval);
        if !early {
            state.attempted = Some(Instant::now());
        }
        !early
    }
}

impl KeySet {
    /// Fetches the keys again where they are old: in the background, unless they are too old to be
    /// believed without asking, or there are none yet.
    pub(super) async fn keep_fresh(&self) {
        let Some(remote) = &self.remote else {
            return;
        };
        let believed_for = remote.max_age.saturating_mul(2);
        let Some(age) = remote.age().filter(|age| *age < believed_for) else {
            return self.look_again().await;
        };
        if age >= remote.max_age
            && let Ok(turn) = remote.turn.clone().try_lock_owned()
            && remote.begin()
        {
            drop(self.fetch(turn));
        }
    }

    /// Waits for a fetch that may bring a key that is missing: for the one that runs, or for a new
    /// one if it is time.
    pub(super) async fn look_again(&self) {
        let Some(remote) = &self.remote else {
            return;
        };
        let attempted = lock(&remote.state).attempted;
        let turn = remote.turn.clone().lock_owned().await;
        // Whoever waited for another's fetch has got it.
        let waited = lock(&remote.state).attempted != attempted;
        if !waited && remote.begin() {
            // A task of its own: it goes on if this client's time is over.
            let _ = self.fetch(turn).await;
        }
    }

    fn fetch(&self, turn: sync::OwnedMutexGuard<()>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            match this.fetch_now().await {
                Ok(()) => tracing::debug!("the keys of tokens were fetched"),
                Err(error) => tracing::warn!(%error, "the keys of tokens can't be fetched"),
            }
            drop(turn);
        })
    }

    /// Fetches the keys where they come from a URL, whenever they were fetched before: for a start
    /// that wants to know that it works. It takes 4 s at most.
    ///
    /// # Errors
    /// [`FetchError`]; the keys that were there before stay, unless the issuer has said that there are
    /// none.
    pub async fn fetch_now(&self) -> Result<(), FetchError> {
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        lock(&remote.state).attempted = Some(Instant::now());
        let body = remote.location.get().await?;
        let fresh = Arc::new(Keys::of_set(self.algorithm, &body)?);
        *lock(&self.keys) = fresh.clone();
        lock(&remote.state).fetched = Some(Instant::now());
        Ok(fresh.check()?)
    }
}
