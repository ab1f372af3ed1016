//! The reading half: bytes to messages, one buffer at a time.
//!
//! Owns the read buffer and the inflater, which belong to the thread and not to the connection, and the order of
//! requests. While an append is on its way it goes on reading.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    io::ErrorKind,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bowline_proto::{
    Code, Time,
    codec::{DecodeError, Incoming, decode_client},
    message::{ClientMessage, ErrorInfo},
};
use bowline_ws::{Closing, ControlPayload, Decoder, Event, Inflater, Limits, Role, encode_pong};
use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::timeout_at};

use super::{End, Peer, PlainRequest, desk::Service, speaks_bowline};
use crate::{link::Link, node::Node, sync::lock};

/// The size of each thread's read buffer: a batch of small messages, or a good part of a large one.
const READ_BYTES: usize = 16 * 1024;

/// The messages that wait to be served at most; what was read behind them is decoded later. A compressed
/// frame of 100 bytes can hold 30,000.
const ARRIVED_MAX: usize = 256;

/// Behind so many bytes of frames nothing more is decoded before they are served: each may be as long as
/// one can be, and compressed a hundredth of that.
const ARRIVED_BYTES_MAX: usize = READ_BYTES;

/// The pings of one read that are answered each for itself; of what comes beyond, only the last is
/// (RFC 6455, 5.5.3), so that a flood of pings makes none of pongs.
const PONGS_PER_READ_MAX: usize = 16;

crate::sync::thread_local! {
    static BUFFER: RefCell<Box<[u8; READ_BYTES]>> = RefCell::new(Box::new([0; READ_BYTES]));
}

thread_local! {
    /// About 56 KB once a compressed message came.
    static INFLATER: RefCell<Inflater> = const { RefCell::new(Inflater::new()) };
}

/// When a large hello may come again that found no place: those before it are answered within a
/// round trip or two.
const LARGE_RETRY_MS: u64 = 1_000;

/// What holds for every frame but that of hello.
fn frame_limits(node: &Node) -> Limits {
    Limits {
        message_bytes_max: node.config.message_bytes_max
            + bowline_proto::codec::FRAME_OVERHEAD_BYTES,
    }
}

/// The state of the reading half. Its end takes the connection out of everything it is in, however its
/// task ends.
pub(super) struct Reading {
    pub(super) node: Arc<Node>,
    pub(super) link: Arc<Link>,
    decoder: Decoder,
    /// What was read and is not served yet, at most [`ARRIVED_MAX`].
    arrived: Vec<Arrived>,
    /// What was read behind it and is not decoded yet.
    undecoded: Option<Box<Undecoded>>,
    /// How the connection ends, once what came before has been served; most never know, so it is
    /// on the heap.
    ending: Option<Box<End>>,
}

/// What one read has brought.
pub(super) enum Arrived {
    /// A message of `bowline.v1`, or the refusal that it is owed.
    Message(Result<ClientMessage, DecodeError>),
    /// A message in plain mode: text or bytes.
    Plain { text: bool, data: Bytes },
}

/// What was read and not decoded, because enough waits to be served.
#[derive(Default)]
struct Undecoded {
    /// A text frame, and in how many of its bytes the messages stand that were taken from it.
    frame: String,
    taken_bytes: usize,
    /// What came behind it, at most one read.
    input: Vec<u8>,
    /// The frame before it was larger than others may be, which only the first can.
    is_large: bool,
    /// The place of one that is large.
    place: Option<OwnedSemaphorePermit>,
}

impl Undecoded {
    /// What is left of the frame.
    fn frame(&self) -> &str {
        self.frame[self.taken_bytes..].trim_ascii_start()
    }
}

impl Reading {
    pub(super) fn new(node: Arc<Node>, link: Arc<Link>) -> Self {
        let mut limits = frame_limits(&node);
        if speaks_bowline(&link) {
            limits.message_bytes_max = limits.message_bytes_max.max(node.config.hello_bytes_max);
        }
        let decoder = Decoder::new(Role::Server, limits).with_extensions(link.extensions);
        Self {
            node,
            link,
            decoder,
            arrived: Vec::new(),
            undecoded: None,
            ending: None,
        }
    }

    /// Finds out who the client is, within the time that a handshake has; bytes may have come with it.
    pub(super) async fn open(
        &mut self,
        mut received: Vec<u8>,
        plain: PlainRequest,
    ) -> Result<Peer, End> {
        let deadline = plain.deadline;
        let opened = if speaks_bowline(&self.link) {
            self.decode(&mut received);
            timeout_at(deadline, self.hello()).await
        } else {
            let begun = timeout_at(deadline, self.begin_plain(plain)).await;
            if let Ok(Ok(_)) = begun {
                self.decode(&mut received);
            }
            begun
        };
        let opened = opened.unwrap_or_else(|_| Err(End::code(Code::HelloTimeout)));
        opened.map_err(|end| self.end(end))
    }

    /// Reads and serves; ready once the connection must end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, service: &mut Service) -> Poll<End> {
        match ready!(self.poll_serve(cx, service)) {
            Ok(never) => match never {},
            Err(end) => Poll::Ready(self.end(end)),
        }
    }

    /// Ends the connection with the closing handshake.
    pub(super) async fn close(&mut self, end: End) {
        tracing::debug!(connection = self.link.id, ?end, "connection ends");
        let (close, code) = end.codes();
        self.node.counters.disconnects.add(close);
        if let Some(code) = code {
            self.node.counters.errors.add(code);
        }
        self.arrived = Vec::new();
        let undecoded = self.undecoded.take().unwrap_or_default().input;
        let is_between = self.decoder.is_between_messages();
        let undecoded = is_between.then_some(undecoded);
        super::closing::run(&self.node, &self.link, undecoded, end).await;
        self.finish().await;
    }

    /// Ends the connection whose task has panicked.
    pub(super) async fn crash(&mut self) {
        super::panicked(&self.node, self.link.id);
        self.finish().await;
    }

    /// Holds the session until what was accepted is finished, so that its next link sees it; one that
    /// takes it over waits by itself.
    async fn finish(&self) {
        // Nobody is counted who waits for nothing but the engine.
        self.link.pass.release();
        tokio::select! {
            () = self.link.fence() => {}
            () = self.link.replaced() => {}
        }
    }

    fn end(&self, end: End) -> End {
        match end {
            // The peer's close frame has come already, behind what makes this side close.
            End::Close(frame) if matches!(self.ending.as_deref(), Some(End::Answer(_))) => {
                End::Answer(Some(frame))
            }
            end => end,
        }
    }

    fn poll_serve(
        &mut self,
        cx: &mut Context<'_>,
        service: &mut Service,
    ) -> Poll<Result<Infallible, End>> {
        loop {
            let peer = match service {
                Service::Busy(serving) => {
                    let (peer, outcome) = ready!(serving.as_mut().poll(cx));
                    *service = Service::Idle(peer);
                    outcome?;
                    continue;
                }
                Service::Idle(peer) => peer,
            };
            if !self.arrived.is_empty() {
                // Taken whole, so that an idle connection keeps no buffer.
                let arrived = std::mem::take(&mut self.arrived);
                service.begin(&self.node, &self.link, arrived);
                continue;
            }
            if self.ending.is_none() {
                let room = self.link.poll_room(cx, self.node.clock);
                ready!(room).map_err(|_| End::Broken)?;
            }
            // An append or a handler has finished: its ack goes first, and the next starts.
            if let Poll::Ready(done) = peer.pipeline.poll_done(cx) {
                let (pipeline, upstream) = (&mut peer.pipeline, &mut peer.upstream);
                pipeline.settle(&self.node, &self.link, upstream, done);
                continue;
            }
            if self.undecoded.is_some() {
                self.decode_on();
                // Much can stand in few bytes: others have their turn in between.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.ending.take() {
                // The peer has sent something.
                None => ready!(self.poll_read(cx))?,
                // What was accepted is stored and answered, as far as the peer still reads.
                Some(end) if peer.pipeline.is_running() => {
                    self.ending = Some(end);
                    return Poll::Pending;
                }
                Some(end) => return Poll::Ready(Err(*end)),
            }
        }
    }

    /// Waits for the first message and answers it.
    async fn hello(&mut self) -> Result<Peer, End> {
        let node = self.node.clone();
        let usual_bytes = frame_limits(&node).message_bytes_max;
        // A place among the large ones, from the moment that it is one until its answer has left, and what
        // stood behind it in its frame is served.
        let mut place = None;
        let large = || {
            let place = node.large_hellos.clone().try_acquire_owned();
            place.map_err(|_| {
                End::info(&ErrorInfo::new(Code::Overloaded).with_retry_after_ms(LARGE_RETRY_MS))
            })
        };
        while self.arrived.is_empty() {
            if let Some(end) = self.ending.take() {
                return Err(*end);
            }
            let buffered = self.decoder.buffered_bytes();
            if place.is_none() && buffered > usual_bytes {
                place = Some(large()?);
            }
            // Pongs are owed to whoever has not said hello as well.
            let room = poll_fn(|cx| self.link.poll_room(cx, node.clock)).await;
            room.map_err(|_| End::Broken)?;
            poll_fn(|cx| self.poll_read(cx)).await?;
        }
        let first = self.arrived.remove(0);
        // Where nothing came with it, as mostly, no buffer is kept.
        self.arrived.shrink_to_fit();
        match first {
            Arrived::Message(Ok(ClientMessage::Hello(hello))) => {
                // Compressed, it may have come in one read.
                let is_large = self.undecoded.as_ref().is_some_and(|left| left.is_large)
                    || hello.subscribe.len() > node.config.subscriptions_per_connection_max;
                if place.is_none() && is_large {
                    place = Some(large()?);
                }
                let answer = super::hello::answer(&node, &self.link, *hello);
                let peer = answer.await?;
                if place.is_some() {
                    // Kept until that is looked at, behind everything else.
                    self.undecoded.get_or_insert_default().place = place;
                }
                Ok(peer)
            }
            Arrived::Message(Err(refused)) if refused.error.code != Code::UnknownType.as_str() => {
                Err(End::code(Code::Malformed))
            }
            _ => Err(End::code(Code::HelloExpected)),
        }
    }

    /// Reads bytes, once there are some, and decodes what they complete.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            ready!(self.link.socket.poll_readable(cx)).map_err(|_| End::Broken)?;
            let outcome = BUFFER.with(|buffer| {
                let buffer = &mut **buffer.borrow_mut();
                match self.link.try_read(buffer) {
                    Ok(0) => Some(Err(End::Broken)),
                    Ok(read) => {
                        self.decode(&mut buffer[..read]);
                        Some(Ok(()))
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    Err(_) => Some(Err(End::Broken)),
                }
            });
            if let Some(outcome) = outcome {
                return Poll::Ready(outcome);
            }
        }
    }

    /// Decodes what was just read.
    fn decode(&mut self, input: &mut [u8]) {
        if input.is_empty() {
            return;
        }
        let (now, bytes) = (self.node.clock.now(), input.len());
        self.decode_events(input, now);
        self.link.received(now, bytes, self.arrived.len());
    }

    /// Decodes on where enough had waited. Nothing waits now.
    fn decode_on(&mut self) {
        let Some(mut undecoded) = self.undecoded.take() else {
            return;
        };
        if undecoded.frame().is_empty() {
            let now = self.node.clock.now();
            self.decode_events(&mut undecoded.input, now);
        } else {
            let left = &undecoded.frame[undecoded.taken_bytes..];
            undecoded.taken_bytes += self.take_messages(Incoming::Text(left));
            self.undecoded = Some(undecoded);
        }
        self.link.found(self.arrived.len());
    }

    /// Decodes until enough waits, and keeps what is left then.
    fn decode_events(&mut self, mut input: &mut [u8], now: Time) {
        let mut closing = Closing::new(Role::Server);
        let (mut pings, mut last_pong) = (0, None);
        let mut bytes = 0;
        while self.ending.is_none() {
            let is_enough = self.arrived.len() >= ARRIVED_MAX || bytes >= ARRIVED_BYTES_MAX;
            if is_enough || self.undecoded.is_some() {
                if !input.is_empty() {
                    self.undecoded.get_or_insert_default().input = input.to_vec();
                }
                break;
            }
            let decoded =
                INFLATER.with_borrow_mut(|inflater| self.decoder.decode_with(&mut input, inflater));
            match decoded {
                Ok(None) => break,
                Ok(Some(Event::Text(text))) => bytes += self.arrive(Incoming::Text(&text)),
                Ok(Some(Event::Binary(data))) => bytes += self.arrive(Incoming::Binary(&data)),
                Ok(Some(Event::Ping(payload))) => {
                    pings += 1;
                    let pong = encode_pong(&payload, None);
                    if pings <= PONGS_PER_READ_MAX {
                        self.link.send_frame(pong, now);
                    } else {
                        last_pong = Some(pong);
                    }
                }
                Ok(Some(Event::Pong(payload))) => self.pong(&payload),
                Ok(Some(Event::Close(frame))) => {
                    let answer = closing.received(frame.as_ref());
                    self.ending = Some(Box::new(answer.map_or(End::Broken, End::Answer)));
                }
                Err(error) => {
                    tracing::debug!(connection = self.link.id, %error, "RFC 6455 is violated");
                    let end = closing.fail(&error).map_or(End::Broken, End::Fail);
                    self.ending = Some(Box::new(end));
                }
            }
        }
        if let Some(pong) = last_pong {
            self.link.send_frame(pong, now);
        }
    }

    /// Takes a frame in, as far as its messages may wait, and answers how many bytes it has.
    fn arrive(&mut self, frame: Incoming<'_>) -> usize {
        let bytes = match frame {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(data) => data.len(),
        };
        if speaks_bowline(&self.link) {
            self.arrive_in_bowline(frame, bytes);
            return bytes;
        }
        let (text, data) = match frame {
            Incoming::Text(text) => (true, Bytes::copy_from_slice(text.as_bytes())),
            Incoming::Binary(data) => (false, Bytes::copy_from_slice(data)),
        };
        self.arrived.push(Arrived::Plain { text, data });
        bytes
    }

    fn arrive_in_bowline(&mut self, frame: Incoming<'_>, bytes: usize) {
        let usual = frame_limits(&self.node);
        // Only the first message may be as long as hello.
        self.decoder.set_limits(usual);
        let taken_bytes = self.take_messages(frame);
        let left = match frame {
            Incoming::Text(text) => text[taken_bytes..].trim_ascii_start(),
            // It has one message.
            Incoming::Binary(_) => "",
        };
        let is_large = bytes > usual.message_bytes_max;
        if !left.is_empty() || is_large {
            let undecoded = self.undecoded.get_or_insert_default();
            undecoded.frame = left.to_owned();
            undecoded.is_large = is_large;
        }
    }

    /// Takes as many messages of a frame as may wait, and answers in how many of its bytes they stand.
    fn take_messages(&mut self, frame: Incoming<'_>) -> usize {
        let mut messages = decode_client(frame);
        let room = ARRIVED_MAX.saturating_sub(self.arrived.len());
        let taken = messages.by_ref().take(room).map(Arrived::Message);
        self.arrived.extend(taken);
        messages.read_bytes()
    }

    fn pong(&self, payload: &ControlPayload<'_>) {
        if let Ok(sent) = <[u8; 8]>::try_from(&**payload) {
            let sent = Time::from_micros(u64::from_be_bytes(sent));
            self.link.ponged(sent, self.node.clock.now());
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for channel in self.link.unsubscribe_all() {
            self.node.hub.leave(&channel, &self.link);
        }
        if let Some(session) = self.link.session() {
            lock(&self.node.sessions).release(&session, self.link.id);
        }
        self.node.forget(&self.link);
    }
}
