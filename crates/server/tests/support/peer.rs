//! The client's end of a WebSocket connection, frame by frame.

use std::time::Duration;

use bowline_ws::{ClientRequest, Decoder, Event, Limits, MessageKind, Role, encode_message};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Far above what anything here takes: a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    decoder: Decoder,
    /// What was read and not yet decoded.
    pub(crate) input: Vec<u8>,
}

impl Peer {
    /// Asks for an upgrade; `Err` is a refusal over HTTP, head and body.
    pub(crate) async fn upgrade(
        mut socket: TcpStream,
        request: ClientRequest<'_>,
    ) -> Result<Self, Vec<u8>> {
        let (request, handshake) = request.encode().expect("it is well formed");
        socket.write_all(&request).await.expect("it is read");
        let mut input = Vec::new();
        loop {
            let whole = match handshake.parse(&input).expect("an HTTP answer") {
                Some(bowline_ws::Response::Accepted { head_bytes, .. }) => {
                    input.drain(..head_bytes);
                    let limits = Limits {
                        message_bytes_max: 1 << 24,
                    };
                    return Ok(Self {
                        socket,
                        decoder: Decoder::new(Role::Client, limits),
                        input,
                    });
                }
                Some(bowline_ws::Response::Refused(refusal)) => {
                    let body = usize::try_from(refusal.content_length.unwrap_or(0)).expect("short");
                    Some(refusal.head_bytes + body)
                }
                None => None,
            };
            if whole.is_some_and(|whole| input.len() >= whole) {
                return Err(input);
            }
            read(&mut socket, &mut input).await;
        }
    }

    pub(crate) async fn send(&mut self, kind: MessageKind, payload: &[u8]) {
        let frame = encode_message(kind, payload, Some([1, 2, 3, 4]));
        self.write(&frame).await;
    }

    /// Writes bytes as they stand.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("it is taken");
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event<'static> {
        loop {
            let mut input = self.input.as_mut_slice();
            let event = self.decoder.decode(&mut input);
            let event = event.expect("the server is correct").map(Event::into_owned);
            let left = input.len();
            self.input.drain(..self.input.len() - left);
            match event {
                Some(event) => return event,
                None => read(&mut self.socket, &mut self.input).await,
            }
        }
    }
}

async fn read(socket: &mut TcpStream, input: &mut Vec<u8>) {
    let read = timeout(DEADLINE, socket.read_buf(input)).await;
    let read = read.expect("an answer in time").expect("bytes");
    assert!(read > 0, "the server hung up without a close frame");
}
