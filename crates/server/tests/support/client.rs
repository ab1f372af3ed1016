//! A server on a loopback port, and clients without any logic.

#[path = "peer.rs"]
mod peer;

use std::ops::{Deref, DerefMut};

use bowline::{Server, ServerBuilder};
use bowline_proto::{
    codec::{self, decode_server},
    message::ServerMessage,
};
use bowline_ws::{ClientRequest, Event, MessageKind, encode_pong};
use peer::{Peer, serve};
use serde_json::{Value, json};
use tokio::{net::TcpSocket, time::timeout};

pub(crate) use peer::DEADLINE;

/// Serves what is built.
pub(crate) async fn start(builder: ServerBuilder) -> (Server, String) {
    let (server, address) = serve(builder).await;
    (server, address.to_string())
}

pub(crate) fn hello(session: &str, link: u64, subscribe: Value) -> Value {
    json!({"type": "hello", "id": 1, "session": session, "link": link, "subscribe": subscribe})
}

/// A client without any logic.
pub(crate) struct Client {
    peer: Peer,
    /// Whether it answers RFC 6455 pings.
    pub(crate) pongs: bool,
}

impl Deref for Client {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

impl Client {
    pub(crate) async fn dial(address: &str, target: &str, protocols: &[&str]) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Who does not read is soon felt by the server: else the kernel takes megabytes for it.
        socket.set_recv_buffer_size(64 << 10).expect("it is set");
        let to = address.parse().expect("an address");
        let socket = socket.connect(to).await.expect("it listens");
        let request = ClientRequest {
            host: address,
            target,
            key: [7; 16],
            protocols,
            headers: &[],
        };
        let refused = |answer: Vec<u8>| panic!("{}", String::from_utf8_lossy(&answer));
        Self {
            peer: Peer::upgrade(socket, request).await.unwrap_or_else(refused),
            pongs: false,
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
        self.peer.send(kind, payload).await;
    }

    pub(crate) async fn frame(&mut self) -> Result<String, (u16, String)> {
        timeout(DEADLINE, async {
            loop {
                match self
                    .peer
                    .event()
                    .await
                    .expect("no end without a close frame")
                {
                    Event::Text(text) => return Ok(text.into_owned()),
                    Event::Binary(bytes) => return Ok(format!("{bytes:?}")),
                    Event::Close(frame) => {
                        let frame = frame.expect("the server says why");
                        return Err((frame.code().as_u16(), frame.reason().to_owned()));
                    }
                    Event::Ping(payload) if self.pongs => {
                        let pong = encode_pong(&payload, Some([1; 4]));
                        self.peer.write(&pong).await;
                    }
                    _ => {}
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
