//! A server that the test plays itself, and the client before it.

use bowline_client::{
    Ack, BackoffConfig, Builder, Client, Data, Delivery, PublishError, ReplyError, State,
};
use bowline_proto::{
    codec::{Incoming, decode_client},
    message::{ClientMessage, Hello},
};
use bowline_ws::{
    Decoder, Event, Limits, MessageKind, Role, UpgradeRequest, accept, encode_message,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::head::{dialled, head, headers};

pub(crate) use crate::head::PATIENCE;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
};

/// The server's end of one link.
pub(crate) struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    heard: std::collections::VecDeque<ClientMessage>,
}

impl Peer {
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let mut stream = dialled(listener).await;
        let text = head(&mut stream).await;
        let request = UpgradeRequest {
            method: "GET",
            is_http_1_1: true,
            headers: headers(&text),
        };
        let accepted = accept(request, &["bowline.v1"]).expect("a valid upgrade");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: bowline.v1\r\n\r\n",
            String::from_utf8_lossy(&accepted.accept)
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
        let decoder = Decoder::new(Role::Server, LIMITS);
        Self {
            stream,
            decoder,
            heard: std::collections::VecDeque::new(),
        }
    }

    pub(crate) async fn hear(&mut self) -> ClientMessage {
        timeout(PATIENCE, async {
            loop {
                if let Some(message) = self.heard.pop_front() {
                    return message;
                }
                let mut bytes = vec![0; 4096];
                let count = self.stream.read(&mut bytes).await.expect("readable");
                assert!(count > 0, "the client hung up");
                let mut input = &mut bytes[..count];
                while let Some(event) = self.decoder.decode(&mut input).expect("valid frames") {
                    if let Event::Text(text) = event {
                        let messages = decode_client(Incoming::Text(&text));
                        self.heard
                            .extend(messages.map(|message| message.expect("valid")));
                    }
                }
            }
        })
        .await
        .expect("the client says something in time")
    }

    pub(crate) async fn say(&mut self, text: &str) {
        let frame = encode_message(MessageKind::Text, text.as_bytes(), None);
        self.stream.write_all(&frame).await.expect("written");
    }

    pub(crate) async fn welcome(&mut self, acked: u64, subscriptions: &str) -> Hello {
        self.welcome_because(None, acked, subscriptions).await
    }

    /// With a reason the session is a new one.
    pub(crate) async fn welcome_because(
        &mut self,
        reason: Option<&str>,
        acked: u64,
        subscriptions: &str,
    ) -> Hello {
        let ClientMessage::Hello(hello) = self.hear().await else {
            panic!("hello comes first")
        };
        let session = hello.session.clone().expect("the client chose one");
        let reason = reason.map_or(String::new(), |reason| format!(r#""reason":"{reason}","#));
        self.say(&format!(
            r#"{{"type":"welcome","connection":"k","session":"{session}","resumed":{},{reason}"node":"n","acked":{acked},"inflight_max":100,"session_ttl_ms":86400000,"ping_interval_ms":30000,"pong_timeout_ms":10000,"message_bytes_max":65536,"max_reconnect_attempts":10,"subscriptions":{{{subscriptions}}}}}"#,
            acked > 0
        ))
        .await;
        *hello
    }

    pub(crate) async fn publication(&mut self, channel: &str, offset: u64) {
        self.say(&format!(
            r#"{{"type":"message","channel":"{channel}","position":"{}","data":{offset}}}"#,
            at(offset)
        ))
        .await;
    }
}

pub(crate) fn at(offset: u64) -> String {
    format!("00000000000000aa.{offset}.00000001")
}

pub(crate) fn begins(channel: &str, offset: u64) -> String {
    format!(
        r#""{channel}":{{"position":"{}","recovered":true}}"#,
        at(offset)
    )
}

pub(crate) async fn listen() -> (TcpListener, Builder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let backoff = BackoffConfig {
        min_ms: 20,
        ..BackoffConfig::default()
    };
    let builder = Client::builder(&format!("ws://{address}/ws")).backoff(backoff);
    (listener, builder)
}

pub(crate) async fn open(client: &Client) {
    let mut state = client.state();
    timeout(PATIENCE, state.wait_for(|state| *state == State::Open))
        .await
        .expect("in time")
        .expect("the client lives");
}

pub(crate) async fn stored(ack: &mut Ack) -> Result<(), PublishError> {
    timeout(PATIENCE, ack.stored()).await.expect("in time")
}

pub(crate) async fn replied(ack: &mut Ack) -> Result<Data, ReplyError> {
    timeout(PATIENCE, ack.reply()).await.expect("in time")
}

pub(crate) async fn next(stream: &mut bowline_client::Subscription) -> Delivery {
    let delivery = timeout(PATIENCE, stream.next()).await.expect("in time");
    delivery.expect("the stream goes on")
}

pub(crate) fn offset(delivery: &Delivery) -> Option<u64> {
    match delivery {
        Delivery::Message(message) => message.position.map(|position| position.offset),
        _ => None,
    }
}
