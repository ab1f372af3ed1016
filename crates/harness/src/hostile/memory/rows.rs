//! The rows of the memory table: an attack, its size, and the bound that follows from the settings.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{super::deflate, super::wire, Arena, attacker};
use crate::process::Server;
use wire::{Wire, masked, masked_raw};

/// The least that the kernel grants is about this.
pub(super) const RECEIVE_BYTES: u32 = 4_096;
/// What a slow handshake may cost, its socket's buffers included.
pub(super) const HANDSHAKE_BYTES: u64 = 8 << 10;
/// The shipped `max_message_size` and what a frame may have beyond it.
const FRAME_BYTES: u64 = 65_536 + 4_096;
/// What the read buffer, the inflater and their like take once for each of a few threads, and what the
/// allocator keeps of it.
const THREADS_BYTES: u64 = 6 << 20;
/// A publish of 64 KB on its way: in both ends of its socket, as the kernel rounds it up, read, and parsed.
const PUBLISH_BYTES: u64 = 1 << 20;
/// A frame that is served in parts, 256 of its messages with what they hold, the rest of a read, and as
/// much of it in the socket.
const DENSE_BYTES: u64 = FRAME_BYTES + 256 * 512 + 2 * (16 << 10) + HANDSHAKE_BYTES;
/// For how long attackers hold what they have.
const HOLD: Duration = Duration::from_secs(2);
/// Far above what a step takes.
const DEADLINE: Duration = Duration::from_secs(60);
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A row.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What `count` counts.
    pub(super) counts: &'static str,
    pub(super) count: usize,
    /// Of a short run.
    pub(super) short_count: usize,
    /// The server's settings beside the defaults that are shipped.
    pub(super) config: &'static str,
    /// What each may cost.
    pub(super) bytes_each: u64,
    /// What all may cost beside that.
    pub(super) bytes_in_all: u64,
    /// Where the bound comes from.
    pub(super) reason: &'static str,
    pub(super) attack: for<'a> fn(&'a mut Arena) -> BoxFuture<'a, Result<(), String>>,
}

const PATIENT: &str =
    "[server]\nhttp_connections = 20000\n[websocket]\nconnection_timeout = \"60s\"
max_handshakes = 20000\nhandshakes_per_second = 100000\n";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "slow heads",
        counts: "sockets with half a request",
        count: 10_000,
        short_count: 1_000,
        config: PATIENT,
        bytes_each: HANDSHAKE_BYTES,
        bytes_in_all: 0,
        reason: "8 KB each",
        attack: |arena| Box::pin(slow_heads(arena)),
    },
    Row {
        name: "no hello",
        counts: "upgraded connections without hello",
        count: 10_000,
        short_count: 1_000,
        config: PATIENT,
        bytes_each: HANDSHAKE_BYTES,
        bytes_in_all: 0,
        reason: "8 KB each",
        attack: |arena| Box::pin(no_hello(arena)),
    },
    Row {
        name: "length of 2^63",
        counts: "frames",
        count: 500,
        short_count: 100,
        config: "",
        bytes_each: HANDSHAKE_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "8 KB each while they are closed",
        attack: |arena| {
            Box::pin(refused_frames(
                arena,
                masked_raw(BINARY, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
                1002,
            ))
        },
    },
    Row {
        name: "length of 2^62",
        counts: "frames",
        count: 500,
        short_count: 100,
        config: "",
        bytes_each: HANDSHAKE_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "8 KB each while they are closed",
        attack: |arena| {
            Box::pin(refused_frames(
                arena,
                masked_raw(BINARY, &[127, 0x40, 0, 0, 0, 0, 0, 0, 0], b""),
                1009,
            ))
        },
    },
    Row {
        name: "deflate bombs",
        counts: "messages of 64 MB once inflated",
        count: 200,
        short_count: 50,
        config: "",
        bytes_each: 2 * FRAME_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "max_message_size + 4 KB each, and as much on its way",
        attack: |arena| Box::pin(bombs(arena)),
    },
    Row {
        name: "dense frames",
        counts: "connections with a read of frames that are 35,000 messages each once inflated",
        count: 100,
        short_count: 20,
        config: "",
        bytes_each: DENSE_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "max_message_size + 4 KB, 256 messages and a read each, and as much on its way",
        attack: |arena| Box::pin(dense_frames(arena)),
    },
    Row {
        name: "dense frames, answers not read",
        counts: "connections with a read of them behind hello that read no answer",
        count: 50,
        short_count: 20,
        config: "",
        bytes_each: DENSE_BYTES + 262_144 + 262_144,
        bytes_in_all: THREADS_BYTES,
        reason: "the same, send_queue_bytes and socket_send_buffer_bytes each",
        attack: |arena| Box::pin(dense_frames_not_read(arena)),
    },
    Row {
        name: "empty fragments",
        counts: "connections with 4,000 of them",
        count: 300,
        short_count: 50,
        config: "",
        bytes_each: 2 * HANDSHAKE_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "8 KB and a read of 8 KB each",
        attack: |arena| Box::pin(fragments(arena)),
    },
    Row {
        name: "incomplete messages",
        counts: "connections with a message of 64 KB without its last byte",
        count: 300,
        short_count: 50,
        config: "",
        bytes_each: 2 * FRAME_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "max_message_size + 4 KB each, and as much on its way",
        attack: |arena| Box::pin(incomplete(arena)),
    },
    Row {
        name: "bodies in pieces",
        counts: "publishes of 200 KB over HTTP in chunks of a byte, without the last",
        count: 20,
        short_count: 5,
        config: "",
        bytes_each: 2 << 20,
        bytes_in_all: THREADS_BYTES,
        reason: "200 KB each, twice while it grows, and the 1,200 KB that they take on their way",
        attack: |arena| Box::pin(pieces(arena)),
    },
    Row {
        name: "deep JSON",
        counts: "messages of 60,000 levels",
        count: 500,
        short_count: 100,
        config: "",
        bytes_each: FRAME_BYTES,
        bytes_in_all: THREADS_BYTES,
        reason: "max_message_size + 4 KB each",
        attack: |arena| Box::pin(deep(arena)),
    },
    Row {
        name: "subscriptions",
        counts: "subscriptions to channels of their own, by ten connections",
        count: 10_000,
        short_count: 1_000,
        config: "",
        bytes_each: 2 << 10,
        bytes_in_all: THREADS_BYTES,
        reason: "a channel and its place in a connection, 2 KB each",
        attack: |arena| Box::pin(subscriptions(arena)),
    },
    Row {
        name: "a reader that reads nothing",
        counts: "messages of 64 KB published to it",
        count: 16_384,
        short_count: 1_024,
        config: "[websocket]\nsend_timeout = \"1h\"\n[engine]\nkind = \"memory\"\n",
        bytes_each: 0,
        // history_bytes 4 MiB with its records, tail_channel_bytes, send_queue_bytes, one page,
        // twice socket_send_buffer_bytes, and what HTTP holds of a publish.
        bytes_in_all: (8 << 20)
            + 262_144
            + 262_144
            + 65_536
            + 262_144
            + PUBLISH_BYTES
            + THREADS_BYTES,
        reason: "history_bytes, tail_channel_bytes, send_queue_bytes, page_bytes, socket_send_buffer_bytes, a publish",
        attack: |arena| Box::pin(never_reads(arena)),
    },
];

/// So many attackers have an address of their own.
const PER_ADDRESS: usize = 250;

fn address(number: usize) -> String {
    format!("127.99.{}.1", number / PER_ADDRESS)
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

pub(super) async fn upgrade(wire: &mut Wire, server: &Server, lines: &str) -> Result<(), String> {
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{lines}\r\n",
        server.address()
    );
    wire.write(head.as_bytes()).await.map_err(told)?;
    let answer = timeout(DEADLINE, wire.answer()).await;
    let answer = answer
        .map_err(|_| "no answer to an upgrade")?
        .map_err(told)?;
    if answer.status == 101 {
        return Ok(());
    }
    Err(format!("{} {}", answer.status, answer.body))
}

/// Reads until a message of this type has come.
pub(super) async fn message(wire: &mut Wire, kind: &str) -> Result<(), String> {
    let reading = async {
        loop {
            let frame = wire.frame().await.map_err(told)?;
            let message: Value = serde_json::from_str(&frame.text()).unwrap_or_default();
            if message["type"] == kind {
                return Ok(());
            }
            if frame.is_close() {
                return Err(format!("closed with {:?}", frame.close()));
            }
        }
    };
    let read = timeout(DEADLINE, reading).await;
    read.unwrap_or_else(|_| Err(format!("no {kind} in time")))
}

async fn closed(wire: &mut Wire, code: u16) -> Result<(), String> {
    let reading = async {
        loop {
            let frame = wire.frame().await.map_err(told)?;
            if frame.is_close() {
                return Ok(frame.close().0);
            }
        }
    };
    let read: Result<u16, String> = timeout(DEADLINE, reading)
        .await
        .unwrap_or_else(|_| Err("no close in time".to_owned()));
    match read? {
        seen if seen == code => Ok(()),
        seen => Err(format!("closed with {seen} instead of {code}")),
    }
}

async fn plain(arena: &Arena, number: usize, lines: &str) -> Result<Wire, String> {
    let mut wire = attacker(&arena.server, &address(number)).await?;
    upgrade(&mut wire, &arena.server, lines).await?;
    Ok(wire)
}

async fn welcomed(arena: &Arena, number: usize, hello: &Value) -> Result<Wire, String> {
    let lines = "Sec-WebSocket-Protocol: bowline.v1\r\n";
    let mut wire = plain(arena, number, lines).await?;
    let hello = masked(TEXT, hello.to_string().as_bytes());
    wire.write(&hello).await.map_err(told)?;
    message(&mut wire, "welcome").await?;
    Ok(wire)
}

fn all_held(held: &mut [Wire]) -> Result<(), String> {
    match held
        .iter_mut()
        .map(Wire::has_ended)
        .filter(|ended| *ended)
        .count()
    {
        0 => Ok(()),
        ended => Err(format!("{ended} were not held, so nothing was measured")),
    }
}

async fn slow_heads(arena: &mut Arena) -> Result<(), String> {
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = attacker(&arena.server, &address(number)).await?;
        let half = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
        wire.write(half).await.map_err(told)?;
        held.push(wire);
    }
    sleep(HOLD).await;
    all_held(&mut held)
}

async fn no_hello(arena: &mut Arena) -> Result<(), String> {
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let lines = "Sec-WebSocket-Protocol: bowline.v1\r\n";
        held.push(plain(arena, number, lines).await?);
    }
    sleep(HOLD).await;
    all_held(&mut held)
}

async fn refused_frames(arena: &mut Arena, frame: Vec<u8>, code: u16) -> Result<(), String> {
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = plain(arena, number, "").await?;
        wire.write(&frame).await.map_err(told)?;
        held.push(wire);
    }
    for wire in &mut held {
        closed(wire, code).await?;
    }
    Ok(())
}

async fn bombs(arena: &mut Arena) -> Result<(), String> {
    let bomb = masked(TEXT | 0x40, &deflate::bomb(b"0", 64 << 20));
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        held.push(plain(arena, number, offer).await?);
    }
    for wire in &mut held {
        // The server may have closed before it has taken all.
        let _ = wire.write(&bomb).await;
    }
    for wire in &mut held {
        closed(wire, 1009).await?;
    }
    Ok(())
}

/// As many frames as fit into a read of the server, each as long once inflated as one may be.
fn dense() -> Vec<u8> {
    const READ_BYTES: usize = 16 << 10;
    let object = b"{}";
    let times = usize::try_from(FRAME_BYTES).expect("it is small") / object.len();
    let frame = masked(TEXT | 0x40, &deflate::bomb(object, times));
    frame.repeat(READ_BYTES / frame.len())
}

const COMPRESSED: &str = "Sec-WebSocket-Protocol: bowline.v1\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n";

async fn dense_frames(arena: &mut Arena) -> Result<(), String> {
    let flood = dense();
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        held.push(plain(arena, number, COMPRESSED).await?);
    }
    for wire in &mut held {
        wire.write(&flood).await.map_err(told)?;
    }
    for wire in &mut held {
        closed(wire, 4400).await?;
    }
    Ok(())
}

async fn dense_frames_not_read(arena: &mut Arena) -> Result<(), String> {
    let flood = dense();
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = plain(arena, number, COMPRESSED).await?;
        wire.write(&masked(TEXT, br#"{"type":"hello"}"#))
            .await
            .map_err(told)?;
        message(&mut wire, "welcome").await?;
        held.push(wire);
    }
    for wire in &mut held {
        wire.write(&flood).await.map_err(told)?;
    }
    sleep(HOLD).await;
    all_held(&mut held)
}

async fn fragments(arena: &mut Arena) -> Result<(), String> {
    let mut flood = masked(0x02, b"a");
    flood.extend(masked(0x00, b"").repeat(4_000));
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = plain(arena, number, "").await?;
        let _ = wire.write(&flood).await;
        held.push(wire);
    }
    for wire in &mut held {
        closed(wire, 1008).await?;
    }
    Ok(())
}

async fn incomplete(arena: &mut Arena) -> Result<(), String> {
    let mut message = masked(TEXT, &[b'x'; 65_536]);
    message.pop();
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = plain(arena, number, "").await?;
        wire.write(&message).await.map_err(told)?;
        held.push(wire);
    }
    sleep(HOLD).await;
    all_held(&mut held)
}

async fn pieces(arena: &mut Arena) -> Result<(), String> {
    const PIECES: usize = 200_000;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        arena.server.address()
    );
    let pieces = b"1\r\n \r\n".repeat(PIECES);
    let mut held = Vec::with_capacity(arena.count);
    for _ in 0..arena.count {
        // A development server takes publishes of its own machine only.
        let mut wire = attacker(&arena.server, "127.0.0.1").await?;
        wire.write(head.as_bytes()).await.map_err(told)?;
        wire.write(&pieces).await.map_err(told)?;
        held.push(wire);
    }
    sleep(HOLD).await;
    all_held(&mut held)
}

async fn deep(arena: &mut Arena) -> Result<(), String> {
    let text = format!(
        r#"{{"type":"publish","id":1,"channel":"c","data":{}"#,
        "[".repeat(60_000)
    );
    let frame = masked(TEXT, text.as_bytes());
    let mut held = Vec::with_capacity(arena.count);
    for number in 0..arena.count {
        let mut wire = welcomed(arena, number, &json!({"type": "hello"})).await?;
        wire.write(&frame).await.map_err(told)?;
        message(&mut wire, "error").await?;
        held.push(wire);
    }
    Ok(())
}

async fn subscriptions(arena: &mut Arena) -> Result<(), String> {
    const CONNECTIONS: usize = 10;
    let mut held = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let each = arena.count / CONNECTIONS;
        let channels = (0..each).map(|channel| (format!("c-{number}-{channel}"), Value::Null));
        let subscribe: serde_json::Map<String, Value> = channels.collect();
        let hello = json!({"type": "hello", "subscribe": subscribe});
        held.push(welcomed(arena, number, &hello).await?);
    }
    sleep(HOLD).await;
    Ok(())
}

async fn never_reads(arena: &mut Arena) -> Result<(), String> {
    let hello = json!({"type": "hello", "subscribe": {"c": null}});
    let _deaf = welcomed(arena, 0, &hello).await?;
    let body = json!({"channel": "c", "data": "x".repeat(65_500)}).to_string();
    let mut http = arena.server.http();
    let begun = Instant::now();
    for _ in 0..arena.count {
        let answer = http.post("/api/publish", body.clone()).await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {body:?}"));
        }
    }
    let bytes = arena.count * body.len();
    println!("  {} MB published in {:?}", bytes >> 20, begun.elapsed());
    Ok(())
}
