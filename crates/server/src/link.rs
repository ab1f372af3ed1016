//! A link: the half of a connection that others may touch.
//!
//! Owns the socket, the bytes that wait for it, and the cursors of its subscriptions, behind one
//! lock. The hub delivers through it from the broadcasting task; the connection's own task reads
//! the socket, flushes and catches up. Nothing here waits. What runs for it is in `work`, what
//! statistics see of it in `inspection`.

mod inspection;
mod work;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_engine::SessionKey;
use bowline_proto::{
    Position, Time,
    message::{ClientInfo, ErrorInfo, ServerMessage},
    server::{Beat, Cursors, Delivery, Heartbeat, Subscription, Tail},
};
use bowline_ws::Extensions;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Semaphore;

use crate::{
    access::Identity,
    channel::{Channel, Handle},
    clock::Clock,
    config::Config,
    expiry::{Due, Expiry},
    frames::{Compression, Mode, Shared, server_frame},
    limits::Pass,
    node::Node,
    outbox::{Outbox, Written},
    pages::EncodedPage,
    socket::Socket,
    stats::{Counters, RecentErrors},
    sync::{AtomicBool, Mutex, lock},
};
pub(crate) use inspection::Inspection;
use inspection::LinkCounts;
pub(crate) use work::Work;

/// One connection, as the rest of the server sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) mode: Mode,
    /// What the handshake agreed on for the frames.
    pub(crate) extensions: Extensions,
    compression: Compression,
    pub(crate) peer: SocketAddr,
    /// When it was made.
    pub(crate) opened: Time,
    pub(crate) origin: Option<Box<str>>,
    pub(crate) socket: Socket,
    /// Its place within the limits.
    pub(crate) pass: Pass,
    queue_bytes_max: usize,
    counters: Arc<Counters>,
    inner: Mutex<Inner>,
    /// The connection's task, and whether it was woken: tokio's `Notify` would need a waiter in
    /// the task of every idle connection.
    task: AtomicWaker,
    woken: AtomicBool,
    work: Semaphore,
}

#[derive(Debug)]
struct Inner {
    outbox: Outbox,
    subscriptions: Cursors<Handle>,
    heart: Heartbeat,
    /// Who the client is, once that is known.
    identity: Option<Arc<Identity>>,
    /// The session that it holds.
    session: Option<SessionKey>,
    /// Whose session that was, while something runs that was accepted from it.
    before: Option<Arc<Link>>,
    /// Which program the client says that it is.
    client: Option<Arc<ClientInfo>>,
    /// What it was refused; most connections never have any.
    errors: Option<Box<RecentErrors>>,
    /// When that ends; on the heap, since most connections of most servers have none.
    expiry: Option<Box<Expiry>>,
    /// The client is welcomed: heartbeats begin.
    begun: bool,
    /// Since when the socket has taken nothing although bytes wait.
    stuck_since: Option<Time>,
    /// Why the connection must end; no more messages are queued once it is set.
    ending: Option<Ending>,
    broken: bool,
    /// The close frame is queued: nothing follows it.
    closed: bool,
    counts: LinkCounts,
}

/// Why others end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A newer link has taken the session over.
    Replaced,
    /// The server shuts down.
    Draining,
    /// Whoever runs the server wants it gone.
    Disconnected,
    /// Nothing has come for too long.
    Stale,
}

/// What a connection's task has to do next.
#[derive(Debug)]
pub(crate) struct Chores {
    /// A channel that must be read from behind this offset.
    pub(crate) catch_up: Option<(Arc<Channel>, u64)>,
    /// Bytes wait for the socket.
    pub(crate) blocked: bool,
    /// It must end.
    pub(crate) ending: Option<Ending>,
    /// The socket has failed.
    pub(crate) broken: bool,
}

impl Link {
    pub(crate) fn new(
        node: &Node,
        mode: Mode,
        peer: SocketAddr,
        origin: Option<Box<str>>,
        socket: Socket,
        pass: Pass,
    ) -> Self {
        let now = node.clock.now();
        Self {
            id: node.new_link_id(),
            mode,
            extensions: Extensions::NONE,
            compression: Compression::NONE,
            peer,
            opened: now,
            origin,
            socket,
            pass,
            queue_bytes_max: node.config.send_queue_bytes_max,
            counters: node.counters.clone(),
            inner: Mutex::new(Inner {
                outbox: Outbox::default(),
                subscriptions: Cursors::new(),
                heart: Heartbeat::new(now),
                identity: None,
                session: None,
                before: None,
                client: None,
                errors: None,
                expiry: None,
                begun: false,
                stuck_since: None,
                ending: None,
                broken: false,
                closed: false,
                counts: LinkCounts::default(),
            }),
            task: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            work: Semaphore::new(1),
        }
    }

    /// The same link with what its handshake agreed on.
    pub(crate) fn with_extensions(mut self, extensions: Extensions, config: &Config) -> Self {
        self.extensions = extensions;
        self.compression = Compression::new(extensions, config);
        self
    }

    /// Sets who the client is, from now on for as long as its token holds.
    pub(crate) fn identify(&self, identity: Arc<Identity>, now: Time) {
        let expiry = identity
            .expires_in
            .map(|left| Box::new(Expiry::new(left, now)));
        let mut inner = lock(&self.inner);
        inner.identity = Some(identity);
        inner.expiry = expiry;
        drop(inner);
        // The task waits for the end of the token before.
        self.wake();
    }

    /// What is due of the client's token; none where it does not end.
    pub(crate) fn expiry(&self, now: Time) -> Option<Due> {
        let mut inner = lock(&self.inner);
        let listening = inner.begun && self.mode == Mode::Bowline;
        Some(inner.expiry.as_mut()?.poll(now, listening))
    }

    /// Who the client is; none before its credentials were taken.
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        lock(&self.inner).identity.clone()
    }

    /// Sets the session that it holds from now on.
    pub(crate) fn hold(&self, session: SessionKey) {
        lock(&self.inner).session = Some(session);
    }

    /// The session that it holds.
    pub(crate) fn session(&self) -> Option<SessionKey> {
        lock(&self.inner).session
    }

    /// Sets which program the client says that it is.
    pub(crate) fn introduce(&self, client: Arc<ClientInfo>) {
        lock(&self.inner).client = Some(client);
    }

    /// The verified user.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        let inner = lock(&self.inner);
        inner.identity.as_ref()?.user.clone()
    }

    /// Delivers what the tail has for this link; true if its task must be woken.
    pub(crate) fn deliver(&self, channel: &Channel, tail: &Tail<Arc<Shared>>, now: Time) -> bool {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        if inner.ending.is_some() || inner.closed || inner.broken {
            return false;
        }
        let room = inner.outbox.room(self.queue_bytes_max);
        let delivery = inner.subscriptions.deliver(&**channel.name(), tail, room);
        let Some(delivery) = delivery else {
            return false;
        };
        inner.counts.catchups_started += u32::from(delivery.fell);
        if delivery.count > 0 {
            let mut items = tail
                .from(delivery.first)
                .take(delivery.count)
                .map(|(shared, _)| shared);
            let form = (self.mode, self.compression);
            if (delivery.count, delivery.missed) == (1, None)
                && let Some(shared) = items.next()
            {
                inner.write(shared.frame(self.mode, self.compression), &self.socket, now);
            } else {
                inner.queue(form, channel, &delivery, items, None);
                inner.flush(&self.socket, now);
            }
        }
        delivery.fell || inner.is_blocked(&self.socket) || inner.broken
    }

    /// Queues a page for a subscription that catches up.
    pub(crate) fn deliver_page(
        &self,
        channel: &Channel,
        after: u64,
        page: &EncodedPage,
        now: Time,
    ) {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        let closed = inner.ending.is_some() || inner.closed;
        if closed {
            return;
        }
        let delivery = inner
            .subscriptions
            .page(&**channel.name(), after, page.view);
        let Some(delivery) = delivery else {
            return;
        };
        let within = delivery.within(page.view.first.unwrap_or(delivery.first));
        let items = page.shared.get(within).unwrap_or_default();
        let form = (self.mode, self.compression);
        inner.queue(form, channel, &delivery, items.iter(), page.end);
        inner.flush(&self.socket, now);
    }

    /// Goes live where the tail reaches the cursor, and takes what the tail has; true if it rose.
    pub(crate) fn rise(&self, channel: &Channel, now: Time) -> bool {
        let rose = channel.with_tail(|tail| {
            let rose = lock(&self.inner).rise(channel, tail);
            if rose {
                self.deliver(channel, tail, now);
            }
            rose
        });
        if rose {
            self.wake();
        }
        rose
    }

    /// A page can't be read now: other subscriptions go first.
    pub(crate) fn pass_turn(&self, channel: &Channel) {
        lock(&self.inner).subscriptions.pass_turn(&**channel.name());
    }

    /// Queues a message of the connection itself.
    pub(crate) fn send(&self, message: &ServerMessage, now: Time) {
        if let ServerMessage::Error { error, .. } = message {
            self.note(error, now);
        }
        self.send_frame(server_frame(message), now);
    }

    /// Queues the close frame; nothing follows it.
    pub(crate) fn close(&self, frame: Bytes, now: Time) {
        let mut inner = lock(&self.inner);
        if !std::mem::replace(&mut inner.closed, true) {
            inner.outbox.push(frame);
            inner.flush(&self.socket, now);
        }
    }

    /// Queues a frame, given as it is without compression.
    pub(crate) fn send_frame(&self, frame: Bytes, now: Time) {
        let frame = self.compression.apply(frame);
        let mut inner = lock(&self.inner);
        if inner.closed {
            return;
        }
        inner.counts.messages_out += 1;
        inner.outbox.push(frame);
        inner.flush(&self.socket, now);
        let blocked = inner.is_blocked(&self.socket);
        drop(inner);
        if blocked {
            self.wake();
        }
    }

    /// Notes the membership of a channel, before its subscription begins.
    pub(crate) fn joined(&self, channel: Arc<Channel>) {
        lock(&self.inner).subscriptions.join(Handle(channel));
    }

    /// Begins subscriptions; the answer is queued before anything of them can be.
    pub(crate) fn subscribe(
        &self,
        answer: Option<&ServerMessage>,
        begun: Vec<(Arc<Channel>, Subscription)>,
        now: Time,
    ) {
        if let Some(ServerMessage::Welcome(welcome)) = answer {
            let outcomes = welcome.subscriptions.iter();
            let refused = outcomes.filter_map(|(_, outcome)| outcome.as_ref().err());
            refused.for_each(|error| self.note(error, now));
        }
        let answer = answer.map(|answer| self.compression.apply(server_frame(answer)));
        let mut inner = lock(&self.inner);
        inner.begun = true;
        if let Some(answer) = answer {
            inner.counts.messages_out += 1;
            inner.outbox.push(answer);
            inner.flush(&self.socket, now);
        }
        let mut live = Vec::new();
        for (channel, cursor) in begun {
            inner.subscriptions.begin(&**channel.name(), cursor);
            if !cursor.is_catching_up() {
                live.push(channel);
            }
        }
        drop(inner);
        // What was published since it joined and is in no log.
        for channel in live {
            channel.with_tail(|tail| self.deliver(&channel, tail, now));
        }
        self.wake();
    }

    /// Ends a subscription; nothing of it is queued afterwards.
    pub(crate) fn unsubscribe(&self, name: &str) -> Option<Arc<Channel>> {
        let Handle(channel) = lock(&self.inner).subscriptions.leave(name)?;
        Some(channel)
    }

    /// Ends all subscriptions.
    pub(crate) fn unsubscribe_all(&self) -> Vec<Arc<Channel>> {
        let handles = lock(&self.inner).subscriptions.leave_all();
        handles.into_iter().map(|Handle(channel)| channel).collect()
    }

    /// The names of the channels that it is subscribed to.
    pub(crate) fn channels(&self) -> Vec<Arc<str>> {
        let inner = lock(&self.inner);
        let channels = inner.subscriptions.channels();
        channels
            .map(|Handle(channel)| channel.name().clone())
            .collect()
    }

    /// Whether it is subscribed to this channel, and to how many in all.
    pub(crate) fn subscriptions(&self, name: &str) -> (bool, usize) {
        let inner = lock(&self.inner);
        (
            inner.subscriptions.contains(name),
            inner.subscriptions.len(),
        )
    }

    /// Whether its client is welcomed.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.inner).begun
    }

    /// Asks the connection's task to end; no message is queued from now on.
    pub(crate) fn end(&self, ending: Ending) {
        let mut inner = lock(&self.inner);
        if inner.ending.is_none() || ending == Ending::Replaced {
            inner.ending = Some(ending);
        }
        drop(inner);
        self.wake();
    }

    /// Waits until a newer link has taken its session over.
    pub(crate) async fn replaced(&self) {
        while lock(&self.inner).ending != Some(Ending::Replaced) {
            poll_fn(|cx| self.poll_woken(cx)).await;
        }
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Ready where there may be chores; one task at a time may wait for them.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered first, so that no wake falls between the look and the wait.
        self.task.register(cx.waker());
        if self.woken.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// What the connection's task has to do.
    pub(crate) fn chores(&self) -> Chores {
        let mut inner = lock(&self.inner);
        let queued = inner.outbox.bytes();
        let behind = inner
            .subscriptions
            .behind(queued, self.queue_bytes_max)
            .map(|(Handle(channel), after)| (channel, after));
        Chores {
            catch_up: behind,
            blocked: inner.is_blocked(&self.socket),
            ending: inner.ending,
            broken: inner.broken,
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&self, now: Time) {
        lock(&self.inner).flush(&self.socket, now);
    }

    /// Since when the socket takes nothing.
    pub(crate) fn stuck_since(&self) -> Option<Time> {
        lock(&self.inner).stuck_since
    }

    /// Whether the queue is over its bound, so that no request should be taken that adds to it.
    pub(crate) fn is_full(&self) -> bool {
        lock(&self.inner).outbox.bytes() > self.queue_bytes_max
    }

    /// Ready once the queue is within its bound, which it may wait for the socket.
    ///
    /// # Errors
    /// The socket has failed.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, clock: Clock) -> Poll<io::Result<()>> {
        while self.is_full() {
            ready!(self.socket.poll_writable(cx))?;
            self.flush(clock.now());
            if self.is_broken() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes wait for the socket.
    #[cfg(feature = "simulation")]
    pub(crate) fn queued(&self) -> usize {
        lock(&self.inner).outbox.bytes()
    }

    /// Bytes came, and completed so many messages.
    pub(crate) fn received(&self, now: Time, bytes: usize, messages: usize) {
        let mut inner = lock(&self.inner);
        inner.heart.received(now);
        inner.counts.bytes_in += bytes as u64;
        inner.counts.messages_in += messages as u64;
    }

    /// So many messages more were in what came before.
    pub(crate) fn found(&self, messages: usize) {
        lock(&self.inner).counts.messages_in += messages as u64;
    }

    /// Counts a refusal that this connection is told.
    pub(crate) fn note(&self, error: &ErrorInfo, now: Time) {
        if let Some(code) = self.counters.errors.note(error) {
            let mut inner = lock(&self.inner);
            inner.errors.get_or_insert_default().push(now, code);
        }
    }

    /// Whether nothing came for so long, or the socket has failed.
    pub(crate) fn is_silent(&self, now: Time, silence: Duration) -> bool {
        let inner = lock(&self.inner);
        inner.broken || inner.heart.last_received() + silence <= now
    }

    /// A pong came for a ping of that time.
    pub(crate) fn ponged(&self, sent: Time, now: Time) {
        lock(&self.inner).heart.measured(now - sent);
    }

    /// What the heartbeat wants.
    pub(crate) fn beat(&self, now: Time, interval: Duration, timeout: Duration) -> Beat {
        let mut inner = lock(&self.inner);
        if !inner.begun {
            // `welcome` precedes everything, and the handshake has a deadline of its own.
            return Beat::Wait(now + interval);
        }
        inner.heart.poll(now, interval, timeout)
    }

    /// An error of the socket, once it has one.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.inner).broken
    }

    /// Reads from the socket into a buffer of the caller's.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.socket.try_read(buffer);
        if self.socket.holds_bytes() {
            // Reading under TLS may owe an answer of its own.
            self.wake();
        }
        outcome
    }
}

impl Inner {
    fn rise(&mut self, channel: &Channel, tail: &Tail<Arc<Shared>>) -> bool {
        let rose = self.subscriptions.rise(&**channel.name(), tail);
        self.counts.catchups_finished += u32::from(rose == Some(true));
        rose.is_some()
    }

    fn queue<'a>(
        &mut self,
        (mode, compression): (Mode, Compression),
        channel: &Channel,
        delivery: &Delivery,
        items: impl Iterator<Item = &'a Arc<Shared>>,
        end: Option<Position>,
    ) {
        let mut items = items.peekable();
        if let (Some(missed), Mode::Bowline) = (delivery.missed, mode) {
            let cursor = self.subscriptions.cursor(&**channel.name());
            let epoch = cursor.map_or(0, |cursor| cursor.epoch());
            let position = items.peek().and_then(|next| next.position_before(epoch));
            let position = position.or(end);
            let gap = missed.gap(channel.name().clone(), position);
            self.outbox.push(server_frame(&gap));
        }
        for shared in items {
            self.outbox.push(shared.frame(mode, compression).clone());
        }
        self.counts.messages_out += delivery.count as u64;
    }

    /// Whether bytes wait for the socket.
    fn is_blocked(&self, socket: &Socket) -> bool {
        !self.outbox.is_empty() || socket.holds_bytes()
    }

    fn write(&mut self, frame: &Bytes, socket: &Socket, now: Time) {
        self.counts.messages_out += 1;
        let outcome = self.outbox.write(frame, socket);
        self.note_written(outcome, now);
    }

    fn flush(&mut self, socket: &Socket, now: Time) {
        let outcome = self.outbox.flush(socket);
        self.note_written(outcome, now);
    }

    fn note_written(&mut self, outcome: io::Result<Written>, now: Time) {
        let Ok(written) = outcome else {
            self.broken = true;
            return;
        };
        self.counts.bytes_out += written.bytes as u64;
        if written.bytes > 0 {
            self.heart.sent(now);
        }
        match (written.all, written.moved, self.stuck_since) {
            (true, ..) => self.stuck_since = None,
            (false, true, _) | (false, false, None) => self.stuck_since = Some(now),
            (false, false, Some(_)) => {}
        }
    }
}
