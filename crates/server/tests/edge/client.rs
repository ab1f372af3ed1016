//! A server on a loopback port, and clients without any logic, from an address of choice.

#[path = "../support/peer.rs"]
mod peer;
#[path = "../support/soon.rs"]
#[expect(dead_code, reason = "here it is polled")]
mod soon;

use std::net::SocketAddr;

use bowline::{Config, Server, ServerBuilder};
use bowline_ws::{ClientRequest, Event, MessageKind};
use peer::{Peer, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

pub(crate) use peer::DEADLINE;
pub(crate) use soon::until;

/// What a client that is in a hurry to be someone else is called on loopback.
pub(crate) const HERE: &str = "127.0.0.1";

/// Limits hold on loopback, too.
pub(crate) fn strict() -> Config {
    Config {
        loopback_exempt: false,
        ..Config::default()
    }
}

/// A running server.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) reach: Reach,
}

/// How a server is reached, be it in this process or another.
pub(crate) struct Reach {
    pub(crate) address: SocketAddr,
}

impl std::ops::Deref for World {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        &self.reach
    }
}

impl World {
    pub(crate) async fn start(config: Config) -> Self {
        Self::with(Server::builder().config(config)).await
    }

    pub(crate) async fn with(builder: ServerBuilder) -> Self {
        let (server, address) = serve(builder).await;
        let reach = Reach { address };
        Self { server, reach }
    }
}

impl Reach {
    /// Opens a socket from this address of the loopback network.
    pub(crate) async fn socket(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = SocketAddr::new(from.parse().expect("an address"), 0);
        socket.bind(from).expect("loopback has it");
        let connected = timeout(DEADLINE, socket.connect(self.address)).await;
        connected.expect("it listens").expect("it listens")
    }

    /// Sends a request as it stands, and reads the answer to its end.
    pub(crate) async fn raw(&self, from: &str, head: &str, body: &[u8]) -> Answer {
        let mut socket = self.socket(from).await;
        let head = format!("{head}\r\nConnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("it is read");
        socket.write_all(body).await.expect("it is read");
        let mut bytes = Vec::new();
        let read = timeout(DEADLINE, socket.read_to_end(&mut bytes)).await;
        read.expect("an answer in time").expect("an answer");
        Answer::parse(&bytes)
    }

    pub(crate) async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.get_from(HERE, path, headers).await
    }

    pub(crate) async fn get_from(&self, from: &str, path: &str, headers: &[&str]) -> Answer {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}", self.address);
        for header in headers {
            head += &format!("\r\n{header}");
        }
        self.raw(from, &head, b"").await
    }

    /// A connection in `bowline.v1` that has not said hello.
    pub(crate) async fn dial(&self, from: &str) -> Result<Client, Answer> {
        self.dial_with(from, "/ws", &["bowline.v1"], &[]).await
    }

    pub(crate) async fn plain(&self, from: &str, target: &str) -> Result<Client, Answer> {
        self.dial_with(from, target, &[], &[]).await
    }

    pub(crate) async fn dial_with(
        &self,
        from: &str,
        target: &str,
        protocols: &[&str],
        headers: &[(&str, &str)],
    ) -> Result<Client, Answer> {
        let socket = self.socket(from).await;
        let host = self.address.to_string();
        Client::upgrade(socket, &host, target, protocols, headers).await
    }

    /// A welcomed connection.
    pub(crate) async fn welcomed(&self, from: &str, hello: Value) -> Result<Client, Closed> {
        let mut client = self.dial(from).await.expect("it is upgraded");
        client.hello(hello).await?;
        Ok(client)
    }
}

/// What came back over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no whole head: {text:?}"));
        Self {
            status: head[9..12].parse().expect("a status"),
            head: head.to_ascii_lowercase(),
            text: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The status and the code of a refusal, whose shape is checked.
    pub(crate) fn code(&self) -> (u16, String) {
        let body = self.json();
        assert!(
            body["message"].is_string() && body["retry"].is_boolean(),
            "{self:?}"
        );
        let after = body["retry_after_ms"].as_u64();
        assert_eq!(
            self.header("retry-after"),
            after.map(|ms| ms.div_ceil(1_000).to_string()),
            "{self:?}"
        );
        (
            self.status,
            body["code"].as_str().expect("a code").to_owned(),
        )
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }
}

/// How the server closed: the code, and the reason as JSON.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed {
    pub(crate) close: u16,
    pub(crate) reason: Value,
}

impl Closed {
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.close, self.reason["code"].as_str().expect("a code"))
    }

    pub(crate) fn retry_after_ms(&self) -> u64 {
        self.reason["retry_after_ms"]
            .as_u64()
            .expect("a time to wait")
    }
}

/// A client without any logic.
pub(crate) struct Client(Peer);

impl Client {
    pub(crate) async fn upgrade(
        socket: TcpStream,
        host: &str,
        target: &str,
        protocols: &[&str],
        headers: &[(&str, &str)],
    ) -> Result<Self, Answer> {
        let request = ClientRequest {
            host,
            target,
            key: [7; 16],
            protocols,
            headers,
        };
        let upgraded = Peer::upgrade(socket, request).await;
        upgraded.map(Self).map_err(|answer| Answer::parse(&answer))
    }

    /// Says hello; `Err` is how the server closed instead of a welcome.
    pub(crate) async fn hello(&mut self, hello: Value) -> Result<Value, Closed> {
        self.send(&hello).await;
        let welcome = self.next().await?;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        Ok(welcome)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(MessageKind::Text, text.as_bytes()).await;
    }

    /// Sends the beginning of a text of `whole` bytes, more than 65,535, as one frame's.
    pub(crate) async fn send_part(&mut self, part: &str, whole: usize) {
        let mut frame = vec![0x81, 0xff];
        frame.extend((whole as u64).to_be_bytes());
        // A mask of zero, which RFC 6455 allows, leaves the text as it is.
        frame.extend([0; 4]);
        frame.extend(part.as_bytes());
        self.0.write(&frame).await;
    }

    /// Sends what follows.
    pub(crate) async fn continue_part(&mut self, rest: &str) {
        self.0.write(rest.as_bytes()).await;
    }

    /// The next message; pings are passed over.
    pub(crate) async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            let text = self.text().await?;
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["type"] != "ping" {
                return Ok(message);
            }
        }
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> Result<String, Closed> {
        timeout(DEADLINE, self.event())
            .await
            .expect("an answer in time")
    }

    /// How the server closes, whatever it says before.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.text().await {
                return closed;
            }
        }
    }

    async fn event(&mut self) -> Result<String, Closed> {
        loop {
            match self.0.event().await.expect("no end without a close frame") {
                Event::Text(text) => return Ok(text.into_owned()),
                Event::Close(frame) => {
                    let frame = frame.expect("the server says why");
                    assert!(frame.reason().len() <= 123);
                    let reason = serde_json::from_str(frame.reason());
                    return Err(Closed {
                        close: frame.code().as_u16(),
                        reason: reason.unwrap_or(Value::Null),
                    });
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn hello(session: &str, link: u64) -> Value {
    json!({"type": "hello", "id": 1, "session": session, "link": link, "subscribe": {}})
}
