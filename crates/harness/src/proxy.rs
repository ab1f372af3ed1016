//! The fault proxy: TCP links that carry bytes exactly and break on demand.
//!
//! Owns one listening port per link and the relays behind it. Must not know what the bytes mean (a framed
//! proxy reads where frames end and what type they are, no more), nor when faults are due: a plan (or a test) begins and ends them. Every buffer is bounded and
//! small, so that back pressure passes through and a throttled link really slows its server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::task::JoinSet;

use crate::rng::Rng;

mod fault;
mod frames;
mod line;
mod link;
mod pump;
mod relay;

pub use fault::{Direction, Fault, FaultKind};
pub use frames::{FrameAction, FrameRule};
pub use link::{Link, LinkCounts};

/// Where a link listens, and from where it dials; loopback by default.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its address for clients.
    pub listen: IpAddr,
    /// Its address for the server; none lets the kernel choose.
    pub from: Option<IpAddr>,
}

/// A set of links to one upstream address. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    links: Vec<Arc<Link>>,
    _listeners: JoinSet<()>,
}

impl Proxy {
    /// Opens a link for each route; by default one is a free port on loopback. Jitter is drawn from the
    /// seed, separately for each link. Of links that are `framed` [`FrameRule`]s can strike the WebSocket
    /// frames.
    pub async fn start(
        upstream: SocketAddr,
        routes: &[Route],
        rng: &Rng,
        framed: bool,
    ) -> io::Result<Self> {
        let mut links = Vec::with_capacity(routes.len());
        let mut listeners = JoinSet::new();
        for (index, route) in routes.iter().enumerate() {
            let (link, listener) = link::open(*route, upstream, framed)?;
            listeners.spawn(listener.run(rng.fork(index as u64)));
            links.push(link);
        }
        Ok(Self {
            links,
            _listeners: listeners,
        })
    }

    /// All links, in the order of their indexes.
    pub fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// Ends every fault that is in force and disarms every cut that waits.
    pub fn heal(&self) {
        for link in &self.links {
            link.heal();
        }
    }

    /// How often faults of this kind took hold, over all links.
    pub fn felt(&self, kind: FaultKind) -> u64 {
        self.links.iter().map(|link| link.counts().felt(kind)).sum()
    }
}

impl Default for Route {
    fn default() -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            from: None,
        }
    }
}
