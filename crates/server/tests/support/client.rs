//! A server on a loopback port, and clients without any logic.

use std::time::Duration;

use bowline::{Server, ServerBuilder};
use bowline_proto::{
    codec::{self, decode_server},
    message::ServerMessage,
};
use bowline_ws::{
    ClientRequest, Decoder, Event, Limits, MessageKind, Role, encode_message, encode_pong,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// Far above what anything here takes: a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Serves what is built.
pub(crate) async fn start(builder: ServerBuilder) -> (Server, String) {
    let server = builder.build().expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    (server, address)
}

pub(crate) fn hello(session: &str, link: u64, subscribe: Value) -> Value {
    json!({"type": "hello", "id": 1, "session": session, "link": link, "subscribe": subscribe})
}

/// A client without any logic.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    decoder: Decoder,
    pub(crate) input: Vec<u8>,
    /// Whether it answers RFC 6455 pings.
    pub(crate) pongs: bool,
}

impl Client {
    pub(crate) async fn dial(address: &str, target: &str, protocols: &[&str]) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Who does not read is soon felt by the server: else the kernel takes megabytes for it.
        socket.set_recv_buffer_size(64 << 10).expect("it is set");
        let to = address.parse().expect("an address");
        let mut socket = socket.connect(to).await.expect("it listens");
        let request = ClientRequest {
            host: address,
            target,
            key: [7; 16],
            protocols,
            headers: &[],
        };
        let (request, handshake) = request.encode().expect("it is well formed");
        socket.write_all(&request).await.expect("it is read");
        let mut input = Vec::new();
        loop {
            match handshake.parse(&input).expect("an HTTP answer") {
                Some(bowline_ws::Response::Accepted { head_bytes, .. }) => {
                    input.drain(..head_bytes);
                    let limits = Limits {
                        message_bytes_max: 1 << 24,
                    };
                    return Self {
                        socket,
                        decoder: Decoder::new(Role::Client, limits),
                        input,
                        pongs: false,
                    };
                }
                Some(bowline_ws::Response::Refused(refusal)) => panic!("{refusal:?}"),
                None => {
                    let read = socket.read_buf(&mut input).await.expect("an answer");
                    assert!(read > 0, "the server hung up");
                }
            }
        }
    }

    pub(crate) async fn bowline(address: &str, hello: Value) -> (Self, Value) {
        let mut client = Self::dial(address, "/ws", &["bowline.v1"]).await;
        client.send(&hello).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_raw(MessageKind::Text, message.to_string().as_bytes())
            .await;
    }

    pub(crate) async fn send_raw(&mut self, kind: MessageKind, payload: &[u8]) {
        let frame = encode_message(kind, payload, Some([1, 2, 3, 4]));
        self.socket.write_all(&frame).await.expect("it is taken");
    }

    pub(crate) async fn frame(&mut self) -> Result<String, (u16, String)> {
        timeout(DEADLINE, async {
            loop {
                let mut input = self.input.as_mut_slice();
                let event = self
                    .decoder
                    .decode(&mut input)
                    .expect("the server is correct");
                let event = event.map(Event::into_owned);
                let left = input.len();
                self.input.drain(..self.input.len() - left);
                match event {
                    Some(Event::Text(text)) => return Ok(text.into_owned()),
                    Some(Event::Binary(bytes)) => return Ok(format!("{bytes:?}")),
                    Some(Event::Close(frame)) => {
                        let frame = frame.expect("the server says why");
                        return Err((frame.code().as_u16(), frame.reason().to_owned()));
                    }
                    Some(Event::Ping(payload)) if self.pongs => {
                        let pong = encode_pong(&payload, Some([1; 4]));
                        self.socket.write_all(&pong).await.expect("it is taken");
                    }
                    Some(_) => {}
                    None => {
                        let read = self.socket.read_buf(&mut self.input).await.expect("bytes");
                        assert!(read > 0, "the server hung up without a close frame");
                    }
                }
            }
        })
        .await
        .expect("an answer in time")
    }

    /// The next message; pings are answered.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let text = self.frame().await.expect("the connection lives");
            let message: Value = serde_json::from_str(&text).expect("JSON");
            let known: Vec<_> = decode_server(codec::Incoming::Text(&text)).collect();
            assert!(known.iter().all(Result::is_ok), "{known:?}");
            if !matches!(known[0], Ok(ServerMessage::Ping { .. })) {
                return message;
            }
            self.send(&json!({"type": "pong", "ts": message["ts"]}))
                .await;
        }
    }

    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(closed) = self.frame().await {
                return closed;
            }
        }
    }
}
