//! The writing half: flush, heartbeat, catch-up.
//!
//! Owns every wait for the socket to take bytes, and the reading of pages for subscriptions that
//! are behind. A catch-up slot covers reading a page, not draining it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_engine::{BoxFuture, PageLimit};
use bowline_proto::{
    Code, Position,
    message::{Echo, ServerMessage},
    recovery::ChannelState,
    server::{Beat, PageView},
};
use bowline_ws::{ControlPayload, encode_ping};
use tokio::time::{Instant, Sleep, sleep};

use super::{End, grants, speaks_bowline};
use crate::{
    channel::Channel,
    expiry::Due,
    frames::Shared,
    link::Link,
    node::{Node, count},
    pages::EncodedPage,
};

/// How long a page that could not be read is waited for.
pub(super) const READ_RETRY: Duration = Duration::from_millis(200);

/// The most publications in one page: each costs an allocation, however small it is.
const PAGE_MESSAGES_MAX: usize = 512;

/// What the writing half keeps between polls: little, since every idle connection has it.
#[derive(Default)]
pub(super) struct Writing {
    /// The page being read: while it is waited for, everything else goes on.
    page: Option<BoxFuture<'static, Result<(), End>>>,
    /// Nothing has happened since the chores were looked at.
    looked: bool,
    /// Bytes wait for the socket.
    blocked: bool,
}

/// The writing half alone, until the connection must end.
pub(super) async fn run(node: &Arc<Node>, link: &Arc<Link>) -> End {
    let mut writing = Writing::default();
    let mut timer = pin!(timer(node));
    poll_fn(|cx| writing.poll(cx, timer.as_mut(), node, link)).await
}

/// What wakes the writing half for heartbeats and deadlines.
pub(super) fn timer(node: &Node) -> Sleep {
    sleep(node.config.ping_interval)
}

impl Writing {
    /// Does what there is to do; ready once the connection must end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        node: &Arc<Node>,
        link: &Arc<Link>,
    ) -> Poll<End> {
        loop {
            if !self.looked {
                if let Err(end) = self.look(timer.as_mut(), node, link) {
                    return Poll::Ready(end);
                }
                self.looked = true;
            }
            // Others queued bytes, left this link behind, or want it to end.
            let mut ready = link.poll_woken(cx).is_ready();
            // The socket takes bytes again.
            let writable = self.blocked && link.socket.poll_writable(cx).is_ready();
            // A page was read and queued.
            let mut ended = None;
            if let Some(reading) = &mut self.page
                && let Poll::Ready(read) = reading.as_mut().poll(cx)
            {
                self.page = None;
                ended = read.err();
                ready = true;
            }
            // A heartbeat or the send timeout is due.
            ready |= timer.as_mut().poll(cx).is_ready();
            if !ready && !writable {
                return Poll::Pending;
            }
            if writable {
                link.flush(node.clock.now());
            }
            if let Some(end) = ended {
                return Poll::Ready(end);
            }
            self.looked = false;
        }
    }

    /// Looks at what is to be done, and sets the timer for what is to be done later.
    ///
    /// # Errors
    /// The connection must end.
    fn look(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        node: &Arc<Node>,
        link: &Arc<Link>,
    ) -> Result<(), End> {
        let chores = link.chores();
        if chores.broken {
            return Err(End::Broken);
        }
        if let Some(ending) = chores.ending {
            return Err(ending.into());
        }
        self.blocked = chores.blocked;
        if self.page.is_none()
            && let Some((channel, after)) = chores.catch_up
        {
            // Most that begin have missed nothing: those need no page.
            if !link.rise(&channel, node.clock.now()) {
                let page = catch_up(node.clone(), link.clone(), channel, after);
                self.page = Some(Box::pin(page));
            }
        }
        let due = beat(node, link).and_then(|due| Ok(due.min(token(node, link, due)?)));
        let due = due.map_err(End::code)?;
        let stuck = link
            .stuck_since()
            .map(|since| since + node.config.send_timeout);
        if stuck.is_some_and(|deadline| node.clock.now() >= deadline) {
            return Err(End::code(Code::SendTimeout));
        }
        let due = stuck.map_or(due, |deadline| due.min(node.clock.instant(deadline)));
        // A timer that is early only looks again, so it is not set anew for every byte that comes.
        if due < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        Ok(())
    }
}

/// Sends a ping if one is due, and answers when to look again.
///
/// # Errors
/// The link is stale.
fn beat(node: &Node, link: &Link) -> Result<Instant, Code> {
    loop {
        let now = node.clock.now();
        match link.beat(now, node.config.ping_interval, node.config.pong_timeout) {
            Beat::Wait(until) => return Ok(node.clock.instant(until)),
            Beat::Stale => return Err(Code::Stale),
            Beat::Ping if speaks_bowline(link) => {
                let ts = Some(Echo::from(now.as_micros()));
                link.send(&ServerMessage::Ping { ts }, now);
            }
            Beat::Ping => {
                let sent = now.as_micros().to_be_bytes();
                let payload = ControlPayload::new(&sent[..]).expect("eight bytes fit");
                link.send_frame(encode_ping(&payload, None), now);
            }
        }
    }
}

/// Tells the client that its token ends, once that is due, and answers when to look again.
///
/// # Errors
/// The token has ended.
fn token(node: &Node, link: &Link, otherwise: Instant) -> Result<Instant, Code> {
    loop {
        let now = node.clock.now();
        match link.expiry(now) {
            None => return Ok(otherwise),
            Some(Due::Wait(until)) => return Ok(node.clock.instant(until)),
            Some(Due::Over) => return Err(Code::TokenExpired),
            Some(Due::Tell(left)) => {
                let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                link.send(&ServerMessage::Expiring { in_ms }, now);
            }
        }
    }
}

/// Reads a page for a subscription that is still granted.
async fn catch_up(
    node: Arc<Node>,
    link: Arc<Link>,
    channel: Arc<Channel>,
    after: u64,
) -> Result<(), End> {
    let (node, link, channel) = (&*node, &link, &channel);
    if !grants::hold(node, link, channel).await? {
        return Ok(());
    }
    let read = read_page(node, channel, after);
    let Some(page) = channel.pages().read(after, read).await else {
        // The log can't be read, or the channel is being forgotten: both pass.
        tracing::warn!(connection = link.id, channel = %channel.name(), "a page can't be read");
        link.pass_turn(channel);
        sleep(READ_RETRY).await;
        return Ok(());
    };
    link.deliver_page(channel, after, &page, node.clock.now());
    channel.with_tail(|tail| tail.reach(page.view.epoch, page.view.head));
    Ok(())
}

/// Reads and encodes a page; none where that is not possible now.
async fn read_page(node: &Node, channel: &Channel, after: u64) -> Option<Arc<EncodedPage>> {
    count(&node.counters.pages_read, 1);
    let limit = PageLimit {
        count: PAGE_MESSAGES_MAX,
        bytes: node.config.page_bytes_max,
    };
    let _slot = node.page_slots.acquire().await;
    let page = node.engine.read(channel.name(), after, limit).await;
    let page = page.ok().flatten()?;
    let view = PageView {
        epoch: page.epoch,
        floor: page.floor,
        head: page.head,
        first: page
            .publications
            .first()
            .map(|publication| publication.offset),
        count: page.publications.len(),
    };
    let end = if page.floor > page.head {
        Some(end_of_history(node, channel, view).await?)
    } else {
        None
    };
    let encode = |publication| Arc::new(Shared::new(channel.name(), view.epoch, publication));
    Some(Arc::new(EncodedPage {
        view,
        shared: page.publications.into_iter().map(encode).collect(),
        end,
    }))
}

/// Where a reader stands in a channel whose history is empty: no publication is there to tell.
async fn end_of_history(node: &Node, channel: &Channel, view: PageView) -> Option<Position> {
    match node.engine.channel(channel.name()).await.ok()? {
        ChannelState::Present(record) if record.epoch == view.epoch => {
            Some(record.position_at(view.head))
        }
        _ => None,
    }
}
