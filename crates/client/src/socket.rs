//! One WebSocket connection over TCP or TLS: dial, read, write, close.
//!
//! Owns a socket and its buffers. Must not know `bowline.v1`; every future here may be dropped at
//! any await point without losing bytes.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_ws::{
    ClientRequest, CloseCode, CloseFrame, Closing, Decoder, Deflater, Event, Extensions, Inflater,
    Limits, MaskKey, MessageKind, ProtocolError, Refusal, RequestError, Response, ResponseError,
    Role, Step, append_message, encode_close, encode_pong,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{endpoint::Endpoint, tls::TrustError, transport::Transport};

/// What one read takes at most; also all that a connection buffers of undecoded input.
const READ_BYTES: usize = 16 * 1024;
/// With more than this unwritten nothing is read, so that a peer that does not read can't make our
/// answers pile up.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;
/// A write without progress for so long: the peer is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of the body of a refusal: Bowline's have some hundred bytes.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// How long that body may take. What is missing then is done without: the status has come.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Mask keys drawn from the system at once: one call for 64 frames.
const MASK_BYTES: usize = 256;

thread_local! {
    /// The thread's, since no connection keeps one between messages: 56 KB once it was used.
    static INFLATER: RefCell<Inflater> = const { RefCell::new(Inflater::new()) };
    /// The same: 380 KB once it was used.
    static DEFLATER: RefCell<Deflater> = const { RefCell::new(Deflater::new()) };
}

/// An open WebSocket connection, as a client.
#[derive(Debug)]
pub struct WebSocket {
    stream: Transport,
    decoder: Decoder,
    closing: Closing,
    input: Box<[u8]>,
    /// The undecoded part of `input`.
    pending: std::ops::Range<usize>,
    output: Vec<u8>,
    written: usize,
    /// Written bytes may wait in the TLS layer.
    unflushed: bool,
    /// When the oldest unwritten byte last made progress.
    progress_at: Instant,
    masks: Masks,
    /// From which length on messages are sent compressed.
    compress_from: Option<usize>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// Bytes that are no whole message, or a control frame: the peer lives.
    Progress,
    /// The peer's close frame; call [`WebSocket::finish`].
    Closed {
        /// Its code; 1005 where it had none.
        code: u16,
        /// Its reason.
        reason: String,
    },
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name was not found or TCP failed.
    #[error("the server can't be reached: {0}")]
    Io(#[from] io::Error),
    /// The server is not believed, or does not speak TLS.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// There is nothing by which a server could be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The URL can't stand in a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer is no answer to an upgrade.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The server refused with an HTTP status.
    #[error("the server refused the upgrade with status {}", .refusal.status)]
    Refused {
        /// The status, and what the head says besides.
        refusal: Refusal,
        /// What came of the body within 2 s, at most its first 4 KiB.
        body: Vec<u8>,
    },
}

/// How an open connection ended without a close frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// TCP failed or ended.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer violated RFC 6455; [`WebSocket::finish`] tells it so.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl WebSocket {
    /// Connects and shakes hands. The caller bounds the time.
    ///
    /// # Errors
    /// There is no connection, or what answers is no WebSocket server.
    pub async fn dial(
        endpoint: &Endpoint,
        protocols: &[&str],
        limits: Limits,
    ) -> Result<Self, DialError> {
        Self::dial_as(endpoint, protocols, limits, None).await
    }

    /// The same with an offer of permessage-deflate (RFC 7692), without context takeover: where the
    /// server agrees, it may send compressed, and messages of `compress_from` bytes or more are
    /// sent so.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub async fn dial_compressed(
        endpoint: &Endpoint,
        protocols: &[&str],
        limits: Limits,
        compress_from: usize,
    ) -> Result<Self, DialError> {
        Self::dial_as(endpoint, protocols, limits, Some(compress_from)).await
    }

    /// Dials, with an offer of permessage-deflate if a length to compress from is given.
    pub(crate) async fn dial_as(
        endpoint: &Endpoint,
        protocols: &[&str],
        limits: Limits,
        compress_from: Option<usize>,
    ) -> Result<Self, DialError> {
        let mut key = [0; 16];
        draw_entropy(&mut key)?;
        let request = ClientRequest {
            host: endpoint.authority(),
            target: endpoint.target(),
            key,
            protocols,
            headers: &[],
        };
        let (request, handshake) = match compress_from {
            Some(_) => request.encode_offering_deflate()?,
            None => request.encode()?,
        };
        let trust = endpoint.trust()?;
        let tcp = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        tcp.set_nodelay(true)?;
        let mut stream = match trust {
            None => Transport::Tcp(tcp),
            Some(trust) => {
                let secured = trust.secure(endpoint.host(), tcp).await;
                Transport::Tls(Box::new(secured.map_err(DialError::Tls)?))
            }
        };
        stream.write_all(&request).await?;
        stream.flush().await?;
        // Bounded by RESPONSE_BYTES_MAX, which `parse` enforces, and one read.
        let mut head = Vec::new();
        loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            match handshake.parse(&head)? {
                None => {}
                Some(Response::Refused(refusal)) => {
                    let begun = head.split_off(refusal.head_bytes);
                    let body = rest_of_body(&mut stream, begun, refusal.content_length).await;
                    return Err(DialError::Refused { refusal, body });
                }
                Some(Response::Accepted {
                    head_bytes,
                    extensions,
                    ..
                }) => {
                    let mut socket = Self::new(stream, limits, extensions, &head[head_bytes..]);
                    socket.compress_from =
                        compress_from.filter(|_| extensions.may_send_compressed());
                    return Ok(socket);
                }
            }
        }
    }

    fn new(stream: Transport, limits: Limits, extensions: Extensions, early: &[u8]) -> Self {
        let mut input = vec![0; READ_BYTES.max(early.len())].into_boxed_slice();
        input[..early.len()].copy_from_slice(early);
        Self {
            stream,
            decoder: Decoder::new(Role::Client, limits).with_extensions(extensions),
            closing: Closing::new(Role::Client),
            input,
            pending: 0..early.len(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            progress_at: Instant::now(),
            masks: Masks::default(),
            compress_from: None,
        }
    }

    /// Queues a message; [`receive`](Self::receive) writes it. Nothing is queued once the
    /// connection closes.
    ///
    /// # Errors
    /// The system has no entropy for the mask.
    pub fn send(&mut self, kind: MessageKind, payload: &[u8]) -> io::Result<()> {
        if self.closing.may_send() {
            let mask = self.masks.draw()?;
            self.begin_output();
            let output = &mut self.output;
            let wanted = self.compress_from.is_some_and(|min| payload.len() >= min);
            let compressed = wanted
                && DEFLATER.with_borrow_mut(|deflater| {
                    deflater.append_message(output, kind, payload, Some(mask))
                });
            if !compressed {
                append_message(output, kind, payload, Some(mask));
            }
        }
        Ok(())
    }

    /// Queues a close frame; go on receiving until the peer's.
    ///
    /// # Errors
    /// The system has no entropy for the mask.
    pub fn close(&mut self, code: CloseCode) -> io::Result<()> {
        if self.closing.start() {
            self.queue_close(Some(&CloseFrame::new(code, "")))?;
        }
        Ok(())
    }

    /// Bytes that are queued and not yet written.
    pub fn unwritten_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what is queued and waits for what comes next.
    ///
    /// # Errors
    /// The connection broke, or the peer broke the protocol.
    pub async fn receive(&mut self) -> Result<Received, SocketError> {
        loop {
            if let Some(received) = self.decode()? {
                return Ok(received);
            }
            if self.exchange().await? {
                // An event may be whole now; where none is, the bytes still prove life.
                return Ok(self.decode()?.unwrap_or(Received::Progress));
            }
        }
    }

    /// Ends the closing handshake: writes what is owed, lets the server end TCP, within 2 s.
    pub async fn finish(mut self) {
        let end = async {
            self.stream.write_all(&self.output[self.written..]).await?;
            self.stream.flush().await?;
            if self.closing.step() != Step::AwaitEof {
                self.stream.shutdown().await?;
            }
            while self.stream.read(&mut self.input).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever fails here, the connection is gone, which is what was wanted.
        let _ = timeout(CLOSE_TIMEOUT, end).await;
    }

    /// One write, flush or read, whichever is possible first; whether bytes were read.
    async fn exchange(&mut self) -> io::Result<bool> {
        let waits = self.output.len() > self.written || self.unflushed;
        let deadline = self.progress_at + SEND_TIMEOUT;
        tokio::select! {
            biased;
            exchanged = poll_fn(|cx| self.poll_exchange(cx)) => exchanged,
            () = tokio::time::sleep_until(deadline), if waits => {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // First, because what is owed to the peer must not wait for what it sends.
        let unwritten = &self.output[self.written..];
        if !unwritten.is_empty() {
            if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, unwritten) {
                return Poll::Ready(match written {
                    Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        self.wrote(count);
                        Ok(false)
                    }
                    Err(error) => Err(error),
                });
            }
        } else if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.unflushed = false;
            // The caller comes back without a deadline: nothing is owed to the peer any more.
            return Poll::Ready(flushed.map(|()| false));
        }
        if self.output.len() - self.written >= UNWRITTEN_BYTES_MAX {
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(&mut self.input);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        read.map(|read| {
            read?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pending = 0..count;
            Ok(true)
        })
    }

    /// The next event of the bytes that are here; control frames are answered at once.
    fn decode(&mut self) -> Result<Option<Received>, SocketError> {
        // Bounded by the pending bytes: each turn takes a frame.
        loop {
            let mut input = &mut self.input[self.pending.clone()];
            let decoded =
                INFLATER.with_borrow_mut(|inflater| self.decoder.decode_with(&mut input, inflater));
            let event = match decoded {
                Ok(event) => event.map(Event::into_owned),
                Err(error) => {
                    if let Some(frame) = self.closing.fail(&error) {
                        self.queue_close(Some(&frame))?;
                    }
                    return Err(error.into());
                }
            };
            self.pending.start = self.pending.end - input.len();
            match event {
                None => return Ok(None),
                Some(Event::Text(text)) => return Ok(Some(Received::Text(text.into_owned()))),
                Some(Event::Binary(data)) => return Ok(Some(Received::Binary(data.into_owned()))),
                Some(Event::Pong(_)) => {}
                Some(Event::Ping(payload)) => {
                    if self.closing.may_send() {
                        let mask = self.masks.draw()?;
                        self.begin_output();
                        self.output
                            .extend_from_slice(&encode_pong(&payload, Some(mask)));
                    }
                }
                Some(Event::Close(frame)) => {
                    if let Some(answer) = self.closing.received(frame.as_ref()) {
                        self.queue_close(answer.as_ref())?;
                    }
                    return Ok(Some(Received::Closed {
                        code: self.closing.outcome().code,
                        reason: frame.map_or_else(String::new, |frame| frame.reason().to_owned()),
                    }));
                }
            }
        }
    }

    fn queue_close(&mut self, frame: Option<&CloseFrame<'_>>) -> io::Result<()> {
        let mask = self.masks.draw()?;
        self.begin_output();
        self.output
            .extend_from_slice(&encode_close(frame, Some(mask)));
        Ok(())
    }

    /// The send timeout counts from the first unwritten byte, not from the last write of all.
    fn begin_output(&mut self) {
        if self.output.is_empty() && !self.unflushed {
            self.progress_at = Instant::now();
        }
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        self.unflushed = true;
        self.progress_at = Instant::now();
        if self.written == self.output.len() {
            self.written = 0;
            // An idle connection keeps no buffer.
            self.output = Vec::new();
        }
    }
}

/// The body of a refusal, of which this has come with the head.
async fn rest_of_body(stream: &mut Transport, mut body: Vec<u8>, length: Option<u64>) -> Vec<u8> {
    let length = length.and_then(|length| usize::try_from(length).ok());
    let wanted = length.map_or(REFUSAL_BYTES_MAX, |length| length.min(REFUSAL_BYTES_MAX));
    let rest = async {
        while body.len() < wanted && stream.read_buf(&mut body).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever fails here, the server has refused.
    let _ = timeout(REFUSAL_TIMEOUT, rest).await;
    body.truncate(wanted);
    body
}

/// Mask keys, drawn from the system in blocks.
#[derive(Debug)]
struct Masks {
    bytes: [u8; MASK_BYTES],
    used: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self {
            bytes: [0; MASK_BYTES],
            used: MASK_BYTES,
        }
    }
}

impl Masks {
    fn draw(&mut self) -> io::Result<MaskKey> {
        if self.used == MASK_BYTES {
            draw_entropy(&mut self.bytes)?;
            self.used = 0;
        }
        let (keys, _) = self.bytes.as_chunks();
        self.used += 4;
        Ok(keys[self.used / 4 - 1])
    }
}

fn draw_entropy(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}
