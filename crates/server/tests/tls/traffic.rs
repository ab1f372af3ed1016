//! What goes over TLS: whole, in order, from many threads, and bounded where a peer does not read.

use std::time::Duration;

use bowline::{Config, Data};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{
    client::{Client, DEADLINE, World, hello},
    clock::{Still, pass},
};

/// Longer than a record, so that one publication spans several.
const LARGE: usize = 40_000;

async fn message(client: &mut Client) -> Value {
    loop {
        let message = client.next().await;
        if message["type"] == "message" {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_arrives_once_and_in_order_at_every_subscriber() {
    let world = World::start(Config::default()).await;
    let mut readers = Vec::new();
    for n in 0..20 {
        let subscribe = json!({"a": null, "b": null});
        let (mut client, _) = world.dial(hello(&format!("s{n}"), subscribe)).await;
        readers.push(tokio::spawn(async move {
            let mut next = [0, 0];
            while next != [100, 100] {
                let message = message(&mut client).await;
                let channel = usize::from(message["channel"] == "b");
                assert_eq!(message["data"]["n"], next[channel], "{n}");
                next[channel] += 1;
            }
        }));
    }
    let publish = async |channel: &str| {
        for n in 0..100 {
            let size = if n % 10 == 0 { LARGE } else { 10 };
            let data = json!({"n": n, "pad": "x".repeat(size)});
            let data = Data::Json(data.to_string().into());
            world.server.publish(channel, data).await.expect("stored");
        }
    };
    tokio::join!(publish("a"), publish("b"));
    for reader in readers {
        timeout(DEADLINE, reader)
            .await
            .expect("in time")
            .expect("in order");
    }
}

#[tokio::test]
async fn numbered_messages_and_large_ones_from_the_client_are_taken() {
    let world = World::start(Config::default()).await;
    let (mut client, _) = world.dial(hello("s", json!({"a": null}))).await;
    let text = "y".repeat(60_000);
    for seq in 1..=20 {
        client
            .send(&json!({"type": "publish", "seq": seq, "channel": "a", "data": text}))
            .await;
    }
    let (mut acked, mut seen) = (0, 0);
    while acked < 20 || seen < 20 {
        let message = client.next().await;
        match message["type"].as_str() {
            Some("acked") => acked = message["seq"].as_u64().expect("a number"),
            Some("message") => {
                assert_eq!(message["data"], text.as_str());
                seen += 1;
            }
            _ => panic!("{message}"),
        }
    }
    // The closing handshake, and an end of TLS that is no truncation.
    client.send(&json!({"type": "bye"})).await;
    assert_eq!(client.text().await, Err(Some(1_000)));
}

#[tokio::test]
async fn a_slow_reader_that_makes_progress_lives_and_misses_nothing() {
    // It reads from the log, or its queue is never empty.
    for send_queue_bytes_max in [70_000, 100 * LARGE] {
        let world = World::start(Config {
            send_timeout: Duration::from_secs(3),
            send_queue_bytes_max,
            ..Config::default()
        })
        .await;
        let (mut slow, _) = world.dial_narrow(hello("slow", json!({"a": null}))).await;
        // Nothing is read meanwhile.
        let still = Still::begin();
        for n in 0..60 {
            let data = json!({"n": n, "pad": "x".repeat(LARGE)});
            let data = Data::Json(data.to_string().into());
            world.server.publish("a", data).await.expect("stored");
        }
        drop(still);
        let begun = Instant::now();
        for n in 0..60 {
            assert_eq!(message(&mut slow).await["data"]["n"], n);
            // Longer in all than send_timeout, never so long without a byte.
            pass(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() > Duration::from_secs(4));
        assert_eq!(world.server.connections(), 1);
    }
}
