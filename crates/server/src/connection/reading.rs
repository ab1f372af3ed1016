//! The reading half: bytes to messages, one buffer at a time.
//!
//! Owns the read buffer, which belongs to the thread and not to the connection, and the order of
//! requests. While an append is on its way it goes on reading.

use std::{cell::RefCell, io::ErrorKind, sync::Arc};

use bowline_proto::{
    Code,
    codec::{DecodeError, Incoming, decode_client},
    message::{ClientMessage, ErrorInfo},
};
use bowline_ws::{Closing, ControlPayload, Decoder, Event, Role, encode_pong};
use bytes::Bytes;
use tokio::time::timeout_at;

use super::{End, Guard, Peer, PlainRequest, speaks_bowline, upstream::Pipeline};
use crate::{
    link::Link,
    node::{Node, count},
};

/// The size of each thread's read buffer: a batch of small messages, or a good part of a large one.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8; READ_BYTES]>> = RefCell::new(Box::new([0; READ_BYTES]));
}

/// The state of the reading half.
pub(super) struct Reading {
    pub(super) node: Arc<Node>,
    pub(super) link: Arc<Link>,
    pub(super) decoder: Decoder,
    /// What came with the handshake.
    pub(super) received: Vec<u8>,
    pub(super) guard: Guard,
    /// How the connection ends, once what came before has been served.
    pub(super) ending: Option<End>,
}

/// What one read has brought.
pub(super) enum Arrived {
    /// A message of `bowline.v1`, or the refusal that it is owed.
    Message(Result<ClientMessage, DecodeError>),
    /// A message in plain mode: text or bytes.
    Plain { text: bool, data: Bytes },
}

impl Reading {
    /// Runs until the connection must end.
    pub(super) async fn run(&mut self, plain: PlainRequest) -> End {
        match self.serve(plain).await {
            Ok(never) => match never {},
            // The peer's close frame has come already, behind what makes this side close.
            Err(End::Close(frame)) if matches!(self.ending, Some(End::Answer(_))) => {
                End::Answer(Some(frame))
            }
            Err(end) => end,
        }
    }

    async fn serve(&mut self, plain: PlainRequest) -> Result<std::convert::Infallible, End> {
        let mut arrived = Vec::new();
        let deadline = plain.deadline;
        let mut peer = if speaks_bowline(&self.link) {
            let hello = timeout_at(deadline, Box::pin(self.hello(&mut arrived))).await;
            hello.unwrap_or_else(|_| Err(End::code(Code::HelloTimeout)))?
        } else {
            let begun = timeout_at(deadline, Box::pin(self.begin_plain(plain))).await;
            begun.unwrap_or_else(|_| Err(End::code(Code::HelloTimeout)))?
        };
        let mut pipeline = Pipeline::default();
        loop {
            // Taken whole, so that an idle connection keeps no buffer.
            for message in std::mem::take(&mut arrived) {
                // Requests add to the queue, so none is taken while it is over its bound.
                self.room().await?;
                Box::pin(self.take(message, &mut peer, &mut pipeline)).await?;
            }
            if let Some(end) = self.ending.take() {
                // What was accepted is stored and answered, as far as the peer still reads.
                while pipeline.is_running() {
                    let done = pipeline.done().await;
                    pipeline.settle(&self.node, &self.link, &mut peer, done);
                }
                return Err(end);
            }
            self.room().await?;
            tokio::select! {
                biased;
                // An append or a handler has finished: its ack goes first, and the next starts.
                done = pipeline.done() => pipeline.settle(&self.node, &self.link, &mut peer, done),
                // The peer has sent something.
                outcome = self.read(&mut arrived) => outcome?,
            }
        }
    }

    /// Waits while the queue is over its bound.
    async fn room(&self) -> Result<(), End> {
        while self.link.is_full() {
            self.link.socket.writable().await.map_err(|_| End::Broken)?;
            self.link.flush(self.node.clock.now());
            if self.link.is_broken() {
                return Err(End::Broken);
            }
        }
        Ok(())
    }

    /// Waits for the first message and answers it.
    async fn hello(&mut self, arrived: &mut Vec<Arrived>) -> Result<Peer, End> {
        while arrived.is_empty() {
            if let Some(end) = self.ending.take() {
                return Err(end);
            }
            self.read(arrived).await?;
        }
        match arrived.remove(0) {
            Arrived::Message(Ok(ClientMessage::Hello(hello))) => {
                super::hello::answer(&self.node, &self.link, &mut self.guard, *hello).await
            }
            Arrived::Message(Err(refused)) if refused.error.code != Code::UnknownType.as_str() => {
                Err(End::code(Code::Malformed))
            }
            _ => Err(End::code(Code::HelloExpected)),
        }
    }

    /// Waits for bytes and decodes what they complete.
    async fn read(&mut self, arrived: &mut Vec<Arrived>) -> Result<(), End> {
        if !self.received.is_empty() {
            let mut received = std::mem::take(&mut self.received);
            self.decode(&mut received, arrived);
            return Ok(());
        }
        loop {
            self.link.socket.readable().await.map_err(|_| End::Broken)?;
            let outcome =
                BUFFER.with_borrow_mut(|buffer| match self.link.try_read(&mut **buffer) {
                    Ok(0) => Some(Err(End::Broken)),
                    Ok(read) => {
                        self.decode(&mut buffer[..read], arrived);
                        Some(Ok(()))
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    Err(_) => Some(Err(End::Broken)),
                });
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    fn decode(&mut self, mut input: &mut [u8], arrived: &mut Vec<Arrived>) {
        let now = self.node.clock.now();
        self.link.received(now);
        count(&self.node.counters.bytes_in, input.len() as u64);
        let mut closing = Closing::new(Role::Server);
        while self.ending.is_none() {
            match self.decoder.decode(&mut input) {
                Ok(None) => return,
                Ok(Some(Event::Text(text))) => self.arrive(Incoming::Text(&text), arrived),
                Ok(Some(Event::Binary(bytes))) => self.arrive(Incoming::Binary(&bytes), arrived),
                Ok(Some(Event::Ping(payload))) => {
                    self.link.send_frame(encode_pong(&payload, None), now);
                }
                Ok(Some(Event::Pong(payload))) => self.pong(&payload),
                Ok(Some(Event::Close(frame))) => {
                    let answer = closing.received(frame.as_ref());
                    self.ending = Some(answer.map_or(End::Broken, End::Answer));
                }
                Err(error) => {
                    tracing::debug!(connection = self.link.id, %error, "RFC 6455 is violated");
                    self.ending = Some(closing.fail(&error).map_or(End::Broken, End::Fail));
                }
            }
        }
    }

    fn arrive(&self, incoming: Incoming<'_>, arrived: &mut Vec<Arrived>) {
        if speaks_bowline(&self.link) {
            arrived.extend(decode_client(incoming).map(Arrived::Message));
            return;
        }
        let (text, data) = match incoming {
            Incoming::Text(text) => (true, Bytes::copy_from_slice(text.as_bytes())),
            Incoming::Binary(bytes) => (false, Bytes::copy_from_slice(bytes)),
        };
        arrived.push(Arrived::Plain { text, data });
    }

    fn pong(&self, payload: &ControlPayload<'_>) {
        if let Ok(sent) = <[u8; 8]>::try_from(&**payload) {
            let sent = bowline_proto::Time::from_micros(u64::from_be_bytes(sent));
            self.link.ponged(sent, self.node.clock.now());
        }
    }

    async fn take(
        &mut self,
        arrived: Arrived,
        peer: &mut Peer,
        pipeline: &mut Pipeline,
    ) -> Result<(), End> {
        count(&self.node.counters.messages_in, 1);
        let config = &self.node.config;
        let now = self.node.clock.now();
        let (rate, burst) = (config.messages_per_second, config.messages_burst_max);
        let limited = peer.bucket.take(rate, burst, now).err();
        let limited = limited.map(|ms| ErrorInfo::new(Code::RateLimited).with_retry_after_ms(ms));
        match arrived {
            // There is no message to refuse with, so a flood ends the connection.
            Arrived::Plain { .. } if limited.is_some() => Err(End::code(Code::RateLimited)),
            Arrived::Plain { text, data } => self.take_plain(text, data, peer, pipeline),
            Arrived::Message(Ok(message)) => {
                super::requests::take(self, message, limited, peer, pipeline).await
            }
            Arrived::Message(Err(DecodeError { to, error, .. })) => {
                super::requests::refuse(self, to, limited.unwrap_or(error), peer);
                Ok(())
            }
        }
    }
}
