//! Where messages are served, one after the other.
//!
//! Owns what requests are served with, which is on the heap while some are: an idle connection has
//! no memory for it. What each message asks for is `requests` and `plain`.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
};

use bowline_engine::BoxFuture;
use bowline_proto::{Code, codec::DecodeError, message::ErrorInfo};

use super::{End, Peer, reading::Arrived};
use crate::{access::Identity, link::Link, node::Node};

/// What requests are served with.
pub(super) struct Desk {
    pub(super) node: Arc<Node>,
    pub(super) link: Arc<Link>,
    pub(super) peer: Peer,
}

/// What an idle connection keeps for its requests, or the serving of some, which gives it back and
/// says whether the connection goes on.
pub(super) enum Service {
    Idle(Peer),
    Busy(BoxFuture<'static, (Peer, Result<(), End>)>),
}

impl Service {
    /// Begins to serve what has arrived, unless it is busy.
    pub(super) fn begin(&mut self, node: &Arc<Node>, link: &Arc<Link>, arrived: Vec<Arrived>) {
        // Without a size, so that this allocates nothing.
        let nothing = Self::Busy(Box::pin(pending()));
        *self = match std::mem::replace(self, nothing) {
            Self::Idle(peer) => {
                let (node, link) = (node.clone(), link.clone());
                let mut desk = Desk { node, link, peer };
                Self::Busy(Box::pin(async move {
                    let outcome = desk.take_all(arrived).await;
                    (desk.peer, outcome)
                }))
            }
            busy @ Self::Busy(_) => busy,
        };
    }
}

impl Desk {
    async fn take_all(&mut self, arrived: Vec<Arrived>) -> Result<(), End> {
        for message in arrived {
            // Requests add to the queue, so none is taken while it is over its bound.
            poll_fn(|cx| self.link.poll_room(cx, self.node.clock))
                .await
                .map_err(|_| End::Broken)?;
            self.take(message).await?;
        }
        Ok(())
    }

    async fn take(&mut self, arrived: Arrived) -> Result<(), End> {
        let config = &self.node.config;
        let now = self.node.clock.now();
        let (rate, burst) = (config.messages_per_second, config.messages_burst_max);
        let limited = self.peer.bucket.take(rate, burst, now).err();
        let limited = limited.map(|ms| ErrorInfo::new(Code::RateLimited).with_retry_after_ms(ms));
        match arrived {
            // There is no message to refuse with, so a flood ends the connection.
            Arrived::Plain { .. } if limited.is_some() => Err(End::code(Code::RateLimited)),
            Arrived::Plain { text, data } => self.take_plain(text, data),
            Arrived::Message(Ok(message)) => super::requests::take(self, message, limited).await,
            Arrived::Message(Err(DecodeError { to, error, .. })) => {
                super::requests::refuse(self, to, limited.unwrap_or(error));
                Ok(())
            }
        }
    }

    /// Does and answers what was accepted.
    pub(super) async fn finish(&mut self) {
        while self.peer.pipeline.is_running() {
            let done = poll_fn(|cx| self.peer.pipeline.poll_done(cx)).await;
            let Peer {
                pipeline, upstream, ..
            } = &mut self.peer;
            pipeline.settle(&self.node, &self.link, upstream, done);
        }
    }

    /// Who the client is.
    pub(super) fn identity(&self) -> Arc<Identity> {
        let identity = self.link.identity();
        identity.expect("requests are served only once the client is known")
    }
}
