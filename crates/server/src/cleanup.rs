//! Removing at once what would go by itself in time, and whom an operator wants gone.
//!
//! Owns `POST /ws/cleanup` and `POST /api/disconnect` behind HTTP. Connections end in their own
//! tasks; here they are told to, and waited for within bounds.

use std::{sync::Arc, time::Duration};

use bowline_engine::SessionKey;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use crate::{
    link::{Ending, Link},
    node::Node,
};

/// A closing handshake is cut after two waits of a second each, so all are gone by then.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What was removed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Connections from which nothing had come for too long.
    connections: u64,
    /// Session records whose time was over.
    sessions: u64,
    /// Addresses whose attempts are all past.
    addresses: u64,
}

/// Whom to disconnect.
#[derive(Debug)]
pub(crate) enum Target {
    User(String),
    Session(SessionKey),
    Connection(u64),
}

impl Node {
    /// Ends the connections from which nothing came for so long, and forgets what has expired.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn clean_up(
        self: &Arc<Self>,
        silence: Duration,
    ) -> Result<Removed, bowline_engine::AppendError> {
        let now = self.clock.now();
        let is_chosen = move |link: &Link| link.is_silent(now, silence);
        let ended = self.end_all(Ending::Stale, is_chosen).await;
        self.gone(&ended).await;
        Ok(Removed {
            connections: ended.len() as u64,
            sessions: self.engine.expire_sessions().await?,
            addresses: self.limits.forget_past() as u64,
        })
    }

    /// Ends the connections of somebody, and answers how many those were.
    pub(crate) async fn disconnect(self: &Arc<Self>, target: &Target) -> u64 {
        let ended = match target {
            Target::Connection(id) => {
                let link = self.link(*id);
                link.iter().for_each(|link| link.end(Ending::Disconnected));
                link.into_iter().collect()
            }
            Target::User(user) => {
                let user = user.clone();
                let is_chosen = move |link: &Link| link.user().as_deref() == Some(&*user);
                self.end_all(Ending::Disconnected, is_chosen).await
            }
            Target::Session(session) => {
                let session = *session;
                let is_chosen = move |link: &Link| link.session() == Some(session);
                self.end_all(Ending::Disconnected, is_chosen).await
            }
        };
        self.gone(&ended).await;
        ended.len() as u64
    }

    /// A task of its own: whoever asks and goes away amid it has asked for all of them.
    async fn end_all(
        self: &Arc<Self>,
        ending: Ending,
        chosen: impl Fn(&Link) -> bool + Send + Sync + 'static,
    ) -> Vec<Arc<Link>> {
        let node = self.clone();
        let ending = tokio::spawn(async move {
            let mut ended = Vec::new();
            let visited = node.visit_links(|link| {
                if chosen(&link) {
                    link.end(ending);
                    ended.push(link);
                }
            });
            visited.await;
            ended
        });
        ending.await.unwrap_or_default()
    }

    /// Waits until these are gone, so that who asks next no longer sees them.
    async fn gone(&self, links: &[Arc<Link>]) {
        let end = Instant::now() + GONE_WITHIN;
        for link in links {
            while self.link(link.id).is_some() && Instant::now() < end {
                sleep(LOOK_EVERY).await;
            }
        }
    }
}
