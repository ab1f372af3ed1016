//! How each system is told a message and says that it has it.
//!
//! Owns the bytes of the four dialects. Must not know how they are paced.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::PAYLOAD_BYTES;
use crate::http::message_length;

/// The same number of logs in each system.
const CHANNELS: usize = 16;
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// A system and its way to be published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    WebSocket,
    Http,
    Redis,
    JetStream,
}

/// A publisher's connection.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    number: usize,
    seq: u64,
    pub(super) heard: Vec<u8>,
}

impl Dialect {
    pub(super) const ALL: [Self; 4] = [Self::WebSocket, Self::Http, Self::Redis, Self::JetStream];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "bowline, WebSocket",
            Self::Http => "bowline, POST /api/publish",
            Self::Redis => "redis XADD, appendfsync always",
            Self::JetStream => "JetStream (acks before fsync)",
        }
    }

    /// The next message of a publisher.
    pub(super) fn message(self, link: &mut Link) -> Vec<u8> {
        link.seq += 1;
        let (channel, payload) = (link.number % CHANNELS, "x".repeat(PAYLOAD_BYTES - 2));
        match self {
            Self::WebSocket => frame(&format!(
                r#"{{"type":"publish","seq":{},"channel":"bench:{channel}","data":"{payload}"}}"#,
                link.seq
            )),
            Self::Http => {
                let body = format!(r#"{{"channel":"bench:{channel}","data":"{payload}"}}"#);
                format!(
                    "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
            Self::Redis => format!("XADD bench:{channel} * d {payload}xx\r\n").into_bytes(),
            Self::JetStream => format!(
                "PUB bench.{channel} inbox.{} {PAYLOAD_BYTES}\r\n{payload}xx\r\n",
                link.number
            )
            .into_bytes(),
        }
    }

    /// Takes what is whole of what was heard; whether the message was acknowledged, and what is to be
    /// said to that.
    pub(super) fn hear(self, link: &mut Link) -> io::Result<(bool, &'static [u8])> {
        let refused = |heard: &[u8]| {
            let text = String::from_utf8_lossy(&heard[..heard.len().min(200)]).into_owned();
            Err(io::Error::other(text))
        };
        let mut is_acked = false;
        let mut answer: &'static [u8] = b"";
        while let Some(length) = self.length(&link.heard) {
            let whole: Vec<u8> = link.heard.drain(..length).collect();
            let has = |part: &[u8]| whole.windows(part.len()).any(|window| window == part);
            match self {
                Self::WebSocket if has(b"\"acked\"") => is_acked = true,
                Self::WebSocket if has(b"\"error\"") => return refused(&whole),
                Self::Http if whole.starts_with(b"HTTP/1.1 200") => is_acked = true,
                Self::Redis if whole.starts_with(b"$") => is_acked = true,
                Self::JetStream if whole.starts_with(b"MSG") => is_acked = true,
                Self::JetStream if whole.starts_with(b"PING") => answer = b"PONG\r\n",
                Self::WebSocket | Self::JetStream => {}
                Self::Http | Self::Redis => return refused(&whole),
            }
        }
        match link.heard.len() > ANSWER_BYTES_MAX {
            true => refused(&link.heard),
            false => Ok((is_acked, answer)),
        }
    }

    /// How long the first answer is, once it is whole.
    fn length(self, heard: &[u8]) -> Option<usize> {
        let line = |from: usize| {
            let rest = heard.get(from..)?;
            Some(from + rest.windows(2).position(|pair| pair == b"\r\n")? + 2)
        };
        let length = match self {
            Self::WebSocket => match *heard.get(1)? {
                126 => 4 + usize::from(u16::from_be_bytes([*heard.get(2)?, *heard.get(3)?])),
                short => 2 + usize::from(short),
            },
            Self::Http => message_length(heard)?,
            Self::Redis => match heard.first()? {
                b'$' => line(line(0)?)?,
                _ => line(0)?,
            },
            Self::JetStream => match heard.starts_with(b"MSG") {
                true => line(line(0)?)?,
                false => line(0)?,
            },
        };
        (length <= heard.len()).then_some(length)
    }
}

/// Connections that are ready to publish.
pub(super) fn open(dialect: Dialect, address: SocketAddr, count: usize) -> io::Result<Vec<Link>> {
    (0..count)
        .map(|number| {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
            match dialect {
                Dialect::WebSocket => greet(&mut stream, address, number)?,
                Dialect::JetStream => enter(&mut stream, number)?,
                Dialect::Http | Dialect::Redis => {}
            }
            stream.set_nonblocking(true)?;
            Ok(Link {
                stream,
                number,
                seq: 0,
                heard: Vec::new(),
            })
        })
        .collect()
}

/// The server's statistics, as text.
pub(super) fn stats(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
    write!(
        stream,
        "GET /ws/stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

fn greet(stream: &mut TcpStream, address: SocketAddr, number: usize) -> io::Result<()> {
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: bowline.v1\r\n\r\n"
    )?;
    listen(stream, "\r\n\r\n")?;
    let hello = format!(
        r#"{{"type":"hello","id":1,"session":"bench-session-0123456789-{number}","link":1,"first":1,"next":1,"subscribe":{{}}}}"#
    );
    stream.write_all(&frame(&hello))?;
    // The welcome ends with its subscriptions.
    listen(stream, "}}")
}

fn enter(stream: &mut TcpStream, number: usize) -> io::Result<()> {
    listen(stream, "\r\n")?;
    let stream_of = r#"{"name":"BENCH","subjects":["bench.>"],"storage":"file"}"#;
    write!(
        stream,
        "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB inbox.{number} 1\r\n\
         PUB $JS.API.STREAM.CREATE.BENCH inbox.{number} {}\r\n{stream_of}\r\n",
        stream_of.len()
    )?;
    listen(stream, "}\r\n")
}

/// Reads until what came ends like this.
fn listen(stream: &mut TcpStream, end: &str) -> io::Result<()> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4_096];
    while !heard.ends_with(end.as_bytes()) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => heard.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}

/// A masked text frame; the key of all zeros masks nothing.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    let length = u16::try_from(text.len()).expect("messages of the benchmark are small");
    match length {
        ..126 => frame.push(0x80 | length as u8),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}
