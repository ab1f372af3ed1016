//! A server on a loopback port, and the client's end of a WebSocket connection to it, frame by frame.

use std::{net::SocketAddr, time::Duration};

use bowline::{Server, ServerBuilder};
use bowline_ws::{
    ClientHandshake, ClientRequest, Decoder, Event, Extensions, Limits, MessageKind, Response,
    Role, encode_message,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Far above what anything here takes: a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 24,
};

/// Serves what is built.
pub(crate) async fn serve(builder: ServerBuilder) -> (Server, SocketAddr) {
    let server = builder.build().expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    (server, address)
}

pub(crate) struct Peer<S = TcpStream> {
    pub(crate) socket: S,
    decoder: Decoder,
    /// What was read and not yet decoded.
    pub(crate) input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Asks for an upgrade; `Err` is a refusal over HTTP, head and body.
    pub(crate) async fn upgrade(socket: S, request: ClientRequest<'_>) -> Result<Self, Vec<u8>> {
        let (request, handshake) = request.encode().expect("it is well formed");
        let asked = Self::ask(socket, &request, &handshake).await;
        asked.map(|(peer, ..)| peer)
    }

    /// Asks with these bytes; besides, the head of the answer and what was agreed on.
    pub(crate) async fn ask(
        mut socket: S,
        request: &[u8],
        handshake: &ClientHandshake,
    ) -> Result<(Self, Vec<u8>, Extensions), Vec<u8>> {
        socket.write_all(request).await.expect("it is read");
        socket.flush().await.expect("it is read");
        let mut input = Vec::new();
        loop {
            let whole = match handshake.parse(&input).expect("an HTTP answer") {
                Some(Response::Accepted {
                    head_bytes,
                    extensions,
                    ..
                }) => {
                    let head = input.drain(..head_bytes).collect();
                    let decoder = Decoder::new(Role::Client, LIMITS).with_extensions(extensions);
                    let peer = Self {
                        socket,
                        decoder,
                        input,
                    };
                    return Ok((peer, head, extensions));
                }
                Some(Response::Refused(refusal)) => {
                    let body = usize::try_from(refusal.content_length.unwrap_or(0)).expect("short");
                    Some(refusal.head_bytes + body)
                }
                None => None,
            };
            if whole.is_some_and(|whole| input.len() >= whole) {
                return Err(input);
            }
            assert!(read(&mut socket, &mut input).await, "no answer");
        }
    }

    pub(crate) async fn send(&mut self, kind: MessageKind, payload: &[u8]) {
        let frame = encode_message(kind, payload, Some([1, 2, 3, 4]));
        self.write(&frame).await;
    }

    /// Writes bytes as they stand.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("it is taken");
        self.socket.flush().await.expect("it is taken");
    }

    /// The next event; none where the link breaks.
    pub(crate) async fn event(&mut self) -> Option<Event<'static>> {
        loop {
            let mut input = self.input.as_mut_slice();
            let event = self.decoder.decode(&mut input);
            let event = event.expect("the server is correct").map(Event::into_owned);
            let left = input.len();
            self.input.drain(..self.input.len() - left);
            if event.is_some() {
                return event;
            }
            if !read(&mut self.socket, &mut self.input).await {
                return None;
            }
        }
    }
}

/// Whether anything more came.
pub(crate) async fn read(socket: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>) -> bool {
    let read = timeout(DEADLINE, socket.read_buf(input)).await;
    read.expect("an answer in time").is_ok_and(|read| read > 0)
}
