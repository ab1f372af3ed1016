//! The entrance for simulations: connections over byte streams that nobody's kernel carries.
//!
//! Owns [`Stream`], and the two ways in and out that need no listener. Everything behind them is
//! what [`Server::serve`](crate::Server::serve) runs.

use std::{
    fmt, io,
    net::SocketAddr,
    task::{Context, Poll},
};

use bowline_ws::Extensions;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    Server,
    connection::{self, PlainRequest},
    frames::Mode,
    socket::Socket,
    upgrade::{self, Arrival},
};

/// A connected stream of bytes, as a non-blocking socket is one.
pub trait Stream: fmt::Debug + Send + Sync {
    /// Reads what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where nothing is, else the stream's failure.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes some of these bytes, not 0 of them.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where it takes none, else the stream's failure.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready where [`try_read`](Self::try_read) may have an answer; else every waker that was
    /// handed in is woken once it may.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The same for [`try_write`](Self::try_write).
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends this side's half; what was taken still arrives.
    ///
    /// # Errors
    /// The stream's failure.
    fn shut_down(&self) -> io::Result<()>;
}

/// The fullest of what a server's bounds bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections.
    pub connections: usize,
    /// Bytes in the longest queue of a connection.
    pub queue_bytes: usize,
    /// Bytes in the largest tail of a channel.
    pub tail_bytes: usize,
}

impl Server {
    /// Serves a client of `bowline.v1` from right behind its upgrade on.
    pub fn attach(&self, stream: Box<dyn Stream>, peer: SocketAddr) -> JoinHandle<()> {
        let node = self.node().clone();
        let arrival = Arrival {
            mode: Mode::Bowline,
            extensions: Extensions::NONE,
            peer,
            origin: None,
            plain: PlainRequest {
                token: None,
                channels: Vec::new(),
                deadline: Instant::now() + node.config.connection_timeout,
            },
            socket: Socket::Simulated(stream),
            received: Vec::new(),
        };
        // Simulated clients have no addresses by which to limit them.
        let outcome = node.limits.enter(None, true);
        let opening = upgrade::attend(node, arrival, outcome);
        tokio::spawn(connection::serve(Box::pin(opening)))
    }

    /// Lets the clients go as at the end of [`serve`](Self::serve), within `shutdown_timeout`.
    pub async fn shut_down(&self) {
        self.drain().await;
    }

    /// What its bounds bound, at this moment.
    pub fn gauges(&self) -> Gauges {
        let links = self.node().links_after(0, usize::MAX);
        let tails = self.node().hub.tail_bytes();
        Gauges {
            connections: links.len(),
            queue_bytes: links.iter().map(|link| link.queued()).max().unwrap_or(0),
            tail_bytes: tails.into_iter().max().unwrap_or(0),
        }
    }

    /// Each total of the node with its name, as `/ws/stats` shows it.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        self.node().totals_at_once().into_iter().collect()
    }
}
