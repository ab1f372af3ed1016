//! Every metric moves: those of the server in a world whose parts fail, those of the engine in a process.

mod engine;

use std::collections::{BTreeMap, BTreeSet};

use bowline::Config;
use serde_json::json;

use super::world::builder;
use crate::client::{DEADLINE, HERE, World, hello, until};

/// How often the slow reader is published to: more than its queue and its socket hold.
const BACKLOG: u64 = 150;

#[tokio::test]
async fn every_metric_of_the_server_moves() {
    let config = Config {
        send_queue_bytes_max: 80_000,
        socket_send_buffer_bytes: 4_096,
        send_timeout: DEADLINE,
        ..Config::default()
    };
    let world = World::with(builder(config)).await;
    let families = world.metrics().await;
    let mut still: BTreeSet<String> = families
        .iter()
        .filter(|(name, value)| **value == 0.0 && !engine::is_engines(name))
        .map(|(name, _)| name.clone())
        .collect();
    assert!(still.len() > 20, "they begin at nothing: {still:?}");

    resume(&world).await;
    refuse(&world).await;
    fall_behind(&world, &mut still).await;
    until("the rest has moved", async || {
        moved(&world.metrics().await, &mut still);
        still.is_empty()
    })
    .await;
}

fn moved(families: &BTreeMap<String, f64>, still: &mut BTreeSet<String>) {
    still.retain(|name| families.get(name).is_none_or(|value| *value == 0.0));
}

/// Users, takeovers, and positions that hold and that do not.
async fn resume(world: &World) {
    let stored = world.publish("a", json!(1)).await.json();
    let position = stored["position"].as_str().expect("a position");
    let foreign = "00000000000000ff.4.00000001";
    let subscribe = json!({"a": position, "b": foreign});
    let more = json!({"token": "ana", "subscribe": subscribe});
    let mut first = world.client("resumed", more).await;
    let mut second = hello("resumed", 2);
    second["token"] = json!("ana");
    let mut newer = world.welcomed(HERE, second).await.expect("it takes over");
    assert_eq!(first.closed().await.code(), (4409, "replaced"));
    newer
        .send(&json!({"type": "send", "id": 1, "data": "x"}))
        .await;
    assert_eq!(newer.next().await.expect("an answer")["type"], "reply");
}

/// Repeated and refused numbers, and a panic.
async fn refuse(world: &World) {
    let mut client = world.client("numbered", json!({})).await;
    let publish = |seq: u64, channel: &str| json!({"type": "publish", "seq": seq, "channel": channel, "data": 1});
    for _ in 0..2 {
        client.send(&publish(1, "a")).await;
        assert_eq!(client.next().await.expect("an ack")["type"], "acked");
    }
    client.send(&publish(2, "forbidden")).await;
    let mut answer = client.next().await.expect("an answer");
    while answer["type"] == "acked" {
        answer = client.next().await.expect("an answer");
    }
    assert_eq!(answer["code"], "forbidden");
    let mut broken = world.dial(HERE).await.expect("101");
    let mut asked = hello("panic", 1);
    asked["subscribe"] = json!({"panic": null});
    broken.send(&asked).await;
    until("the panic is counted", async || {
        world.metrics().await["bowline_connection_panics_total"] == 1.0
    })
    .await;
}

/// A subscription that goes back to the log and comes up again, while users are there.
async fn fall_behind(world: &World, still: &mut BTreeSet<String>) {
    let more = json!({"token": "ana", "subscribe": {"c": null}});
    let mut slow = world.client("slow", more).await;
    for n in 0..BACKLOG {
        let stored = world.publish("c", json!([n, "x".repeat(60_000)])).await;
        assert_eq!(stored.status, 200);
    }
    moved(&world.metrics().await, still);
    // History holds less than that: there is a gap before the last one.
    while slow.next().await.expect("a message")["data"][0] != BACKLOG - 1 {}
    moved(&world.metrics().await, still);
}
