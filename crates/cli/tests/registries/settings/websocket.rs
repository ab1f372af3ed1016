//! `[websocket]`: what a connection may do, and what it is told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::Case;
use crate::{
    client::{Client, HERE, Reach, hello, until},
    registries::process::{happens, token},
};

pub(super) fn case(name: &str) -> Option<Case> {
    const PATIENT: (&str, &str) = ("websocket.send_timeout", "60");
    const TINY_SOCKET: (&str, &str) = ("websocket.socket_send_buffer_bytes", "4_096");
    let (base, value, expected): (&[_], _, _) = match name {
        "websocket.ping_interval" => (&[], "1", json!(1_000)),
        "websocket.pong_timeout" => (&[], "7", json!(7_000)),
        "websocket.max_reconnect_attempts" => (&[], "3", json!(3)),
        "websocket.max_message_size" => (&[], "1_000", json!("message_too_big")),
        "websocket.max_inflight" => (&[], "3", json!(3)),
        "websocket.session_ttl" => (&[], "3_600", json!(3_600_000)),
        "websocket.send_timeout" => (&[TINY_SOCKET, PATIENT], "\"200ms\"", json!(1)),
        "websocket.max_subscriptions" => (&[], "1", json!("too_many_subscriptions")),
        "websocket.max_channel_bytes" => (&[], "3", json!("bad_channel")),
        "websocket.messages_per_second" => (&[], "1", json!(true)),
        "websocket.messages_burst" => (&[], "64", json!("rate_limited")),
        "websocket.send_queue_bytes" => (&[TINY_SOCKET, PATIENT], "70_000", json!(false)),
        "websocket.socket_send_buffer_bytes" => (&[PATIENT], "4_096", json!(false)),
        "websocket.compression" => (&[], "false", json!([false, false])),
        "websocket.compression_min_bytes" => (&[], "1", json!([true, true])),
        "websocket.page_bytes" => (&[], "4_096", json!(true)),
        "websocket.personal_channels" => (&[], "false", json!({})),
        "websocket.allowed_origins" => (&[], "\"*\"", json!(200)),
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, reach: &Reach) -> Value {
    match name {
        "websocket.send_timeout" => {
            let _unread = unread(reach).await;
            let counted = async || reach.stat("/errors/send_timeout").await;
            let waited = timeout(Duration::from_secs(3), async {
                until("it is given up", async || counted().await == 1).await;
            });
            let _ = waited.await;
            counted().await
        }
        "websocket.send_queue_bytes" => {
            let _unread = unread(reach).await;
            let queue = async || reach.detailed().await[0]["queue_bytes"].as_u64();
            json!(happens(reach, 2, async || queue().await > Some(70_000)).await)
        }
        "websocket.socket_send_buffer_bytes" => {
            let _unread = unread(reach).await;
            let out = async || reach.detailed().await[0]["bytes_out"].as_u64();
            json!(happens(reach, 2, async || out().await > Some(100_000)).await)
        }
        "websocket.compression" | "websocket.compression_min_bytes" => compressed(reach).await,
        "websocket.page_bytes" => {
            reach.fill("a", 20, 3_000).await;
            let mut asked = hello("s", 1);
            asked["subscribe"] = json!({"a": "first"});
            let mut client = reach.welcomed(HERE, asked).await.expect("there is room");
            for _ in 0..20 {
                assert_eq!(client.next().await.expect("a message")["type"], "message");
            }
            json!(reach.stat("/pages_read").await.as_u64() >= Some(10))
        }
        "websocket.allowed_origins" => {
            json!(
                reach
                    .get("/ws", &["Origin: https://a.example"])
                    .await
                    .status
            )
        }
        _ => requested(name, reach).await,
    }
}

async fn requested(name: &str, reach: &Reach) -> Value {
    let mut client = reach.dial(HERE).await.expect("101");
    let mut asked = hello("s", 1);
    asked["token"] = json!(token("ana", &json!({})));
    let welcome = client.hello(asked).await.expect("there is room");
    match name {
        "websocket.ping_interval" => welcome["ping_interval_ms"].clone(),
        "websocket.pong_timeout" => welcome["pong_timeout_ms"].clone(),
        "websocket.max_reconnect_attempts" => welcome["max_reconnect_attempts"].clone(),
        "websocket.max_inflight" => welcome["inflight_max"].clone(),
        "websocket.session_ttl" => welcome["session_ttl_ms"].clone(),
        "websocket.personal_channels" => welcome["subscriptions"].clone(),
        "websocket.messages_per_second" => {
            let error = answer(&mut client, &vec![r#"{"type":"ping"}"#; 300].join("\n")).await;
            json!(error["retry_after_ms"].as_u64() > Some(100))
        }
        "websocket.messages_burst" => {
            let text = vec![r#"{"type":"ping"}"#; 80].join("\n");
            let pong_or_error = answer(&mut client, &text).await;
            pong_or_error["code"].clone()
        }
        "websocket.max_message_size" => {
            let data = "x".repeat(2_000);
            let text = format!(r#"{{"type":"publish","id":1,"channel":"a","data":"{data}"}}"#);
            answer(&mut client, &text).await["code"].clone()
        }
        // The user's own channel is one.
        _ => answer(
            &mut client,
            r#"{"type":"subscribe","id":1,"channel":"news"}"#,
        )
        .await["code"]
            .clone(),
    }
}

/// The first error among the answers to this, or the last answer, which is that to a last ping.
async fn answer(client: &mut Client, text: &str) -> Value {
    client
        .send_text(&format!(
            "{text}\n{{\"type\":\"presence\",\"id\":9,\"channel\":\"z\"}}"
        ))
        .await;
    loop {
        let message = client.next().await.expect("the connection lives");
        if message["type"] == "error" || message["id"] == 9 {
            return message;
        }
    }
}

/// A client whose socket takes little and is never read, and to which much is published.
async fn unread(reach: &Reach) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("it may be small");
    let mut socket = socket.connect(reach.address).await.expect("it listens");
    socket
        .write_all(upgrade(reach, "/ws?channels=c", "").as_bytes())
        .await
        .expect("taken");
    head(&mut socket).await;
    until("it is subscribed", async || {
        reach.stat("/channels").await == 1
    })
    .await;
    reach.fill("c", 10, 60_000).await;
    socket
}

/// Whether compression is agreed on, and whether a short message is compressed.
async fn compressed(reach: &Reach) -> Value {
    let mut socket = reach.socket(HERE).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let target = "/ws?channels=c";
    socket
        .write_all(upgrade(reach, target, offer).as_bytes())
        .await
        .expect("taken");
    let agreed = head(&mut socket).await.contains("permessage-deflate");
    until("it is subscribed", async || {
        reach.stat("/channels").await == 1
    })
    .await;
    reach.fill("c", 1, 200).await;
    let first = socket.read_u8().await.expect("a message");
    // RFC 7692, 6: the first reserved bit.
    json!([agreed, first & 0x40 != 0])
}

fn upgrade(reach: &Reach, target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n",
        reach.address
    )
}

/// Reads the head of the answer, and nothing behind it.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).expect("it is text")
}
