//! A small `bowline.v1` client: one link, text frames, no resume of its own.
//!
//! Owns just enough of RFC 6455 to talk to a server that is right. Must not know any other crate of
//! the workspace: what it checks it sees from outside.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The server answers within a commit; the rest is a loaded machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
const FRAME_BYTES_MAX: u64 = 1 << 20;
const HEAD_LINES_MAX: usize = 64;

/// A link after its `welcome`.
pub(super) struct Socket {
    stream: BufReader<TcpStream>,
}

impl Socket {
    /// Dials, says hello, and answers the link with its `welcome`.
    pub(super) async fn open(address: SocketAddr, hello: Value) -> io::Result<(Self, Value)> {
        let opening = async {
            let mut socket = Self::dial(address).await?;
            socket.send(&hello).await?;
            loop {
                let message = socket.next().await?;
                if message["type"] == "welcome" {
                    return Ok((socket, message));
                }
                if message["type"] == "error" {
                    return Err(io::Error::other(message.to_string()));
                }
            }
        };
        timeout(ANSWER_DEADLINE, opening).await?
    }

    /// Publishes a numbered message and waits until it is acked or refused.
    pub(super) async fn publish(
        &mut self,
        seq: u64,
        channel: &str,
        data: &Value,
    ) -> io::Result<Result<(), String>> {
        let message = json!({"type":"publish","seq":seq,"channel":channel,"data":data});
        self.send(&message).await?;
        let answer = async {
            loop {
                let message = self.next().await?;
                if message["type"] == "acked" && message["seq"].as_u64() >= Some(seq) {
                    return Ok(Ok(()));
                }
                if message["type"] == "error" && message["seq"] == seq {
                    let code = message["code"].as_str().unwrap_or_default();
                    return Ok(Err(code.to_owned()));
                }
            }
        };
        timeout(ANSWER_DEADLINE, answer).await?
    }

    /// Sends a ping and waits for its pong.
    pub(super) async fn ping(&mut self) -> io::Result<()> {
        self.send(&json!({"type":"ping","ts":1})).await?;
        let pong = async {
            while self.next().await?["type"] != "pong" {}
            Ok(())
        };
        timeout(ANSWER_DEADLINE, pong).await?
    }

    /// The next message, with the server's pings answered.
    pub(super) async fn next(&mut self) -> io::Result<Value> {
        loop {
            let payload = self.frame().await?;
            let message: Value = serde_json::from_slice(&payload)?;
            if message["type"] == "ping" {
                self.send(&json!({"type":"pong","ts":message["ts"]}))
                    .await?;
            } else {
                return Ok(message);
            }
        }
    }

    async fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: bowline.v1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        for _ in 0..HEAD_LINES_MAX {
            let before = head.len();
            if stream.read_line(&mut head).await? == 0 || &head[before..] == "\r\n" {
                break;
            }
        }
        match head.starts_with("HTTP/1.1 101 ") {
            true => Ok(Self { stream }),
            false => Err(io::Error::other(head)),
        }
    }

    /// The key of all zeros masks nothing, which is allowed and enough here.
    async fn send(&mut self, message: &Value) -> io::Result<()> {
        let text = message.to_string();
        let mut frame = vec![0x81];
        match u16::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => return Err(io::Error::other("messages of the harness are small")),
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.stream.write_all(&frame).await
    }

    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => self.stream.read_u16().await?.into(),
            127 => self.stream.read_u64().await?,
            length => length.into(),
        };
        if length > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await?;
        match first {
            0x81 => Ok(payload),
            _ => Err(io::Error::other(format!(
                "the server ended the link: {}",
                String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
            ))),
        }
    }
}
