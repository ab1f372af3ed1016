//! Catching up from the log: a herd reads a page once, and a gap always says where it leaves, also
//! where the channel was created anew.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline::{Config, Server};
use bowline_engine::{
    Append, ChannelPolicy, Clock, Effect, Engine, EngineConfig, Memory, Retention,
};
use bowline_proto::Data;
use serde_json::{Value, json};

use super::{
    client::{Client, HERE, World, hello},
    gated::Gated,
};

const AGE: Duration = Duration::from_secs(60);

/// A clock that stands still until it is moved.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An engine whose pages wait until they are let through, and its clock.
fn gate() -> (Arc<Gated>, Arc<Hand>) {
    let clock = Arc::new(Hand(AtomicU64::new(1_800_000_000_000)));
    let retention = Retention {
        age: AGE,
        ..Retention::default()
    };
    let config = EngineConfig {
        policies: vec![ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(retention),
        }],
        ..EngineConfig::default()
    };
    let log = Memory::open_with_clock(config, clock.clone()).expect("it opens");
    let gate = Gated::over(log);
    gate.open.send_replace(false);
    (gate, clock)
}

async fn publish(gate: &Gated, count: usize) {
    let entry = |n: usize| Append {
        producer: None,
        effect: Effect::Publish {
            channel: "c".into(),
            data: Data::Json(n.to_string().into()),
            user: None,
            tag: None,
            key: None,
        },
    };
    let stored = gate.append((1..=count).map(entry).collect()).await;
    assert!(stored.iter().all(Result::is_ok));
}

async fn follower(world: &World, session: &str, from: Value) -> Client {
    let mut client = world.dial(HERE).await.expect("it is let in");
    let mut hello = hello(session, 1);
    hello["subscribe"] = json!({"c": from});
    client.hello(hello).await.expect("it is welcomed");
    client
}

#[tokio::test]
async fn a_herd_from_one_position_reads_the_log_once() {
    const HERD: usize = 100;
    const PUBLICATIONS: usize = 50;
    let (gate, _) = gate();
    let builder = Server::builder()
        .config(Config::default())
        .engine(gate.clone());
    let world = World::with(builder).await;
    publish(&gate, PUBLICATIONS).await;
    let mut herd = Vec::new();
    for n in 0..HERD {
        herd.push(follower(&world, &format!("s-{n}"), json!("first")).await);
    }
    gate.reads_reach(1).await;
    gate.open.send_replace(true);
    for client in &mut herd {
        for n in 1..=PUBLICATIONS {
            assert_eq!(client.next().await.expect("a message")["data"], n);
        }
    }
    // Those who had not begun to read when the gate was opened may read for themselves.
    let reads = *gate.reads.borrow();
    assert!(reads <= HERD / 10, "{reads} readings for a herd of {HERD}");
}

#[tokio::test]
async fn a_gap_behind_which_nothing_is_left_says_where_it_leaves() {
    let (gate, clock) = gate();
    let world = World::with(Server::builder().engine(gate.clone())).await;
    publish(&gate, 3).await;
    let mut client = follower(&world, "s", json!("first")).await;
    gate.reads_reach(1).await;
    let later = (AGE * 2).as_millis() as u64;
    clock.0.fetch_add(later, Ordering::Relaxed);
    gate.open.send_replace(true);
    let gap = client.next().await.expect("a gap");
    assert_eq!(
        (&gap["type"], &gap["reason"], &gap["missed"]),
        (&json!("gap"), &json!("expired"), &json!(3)),
        "{gap}"
    );
    let position = gap["position"]
        .as_str()
        .expect("where it leaves")
        .to_owned();
    // It holds, and what follows is delivered.
    let mut other = follower(&world, "t", json!(position)).await;
    publish(&gate, 1).await;
    for client in [&mut client, &mut other] {
        let message = client.next().await.expect("what follows");
        assert_eq!(
            (&message["type"], &message["data"]),
            (&json!("message"), &json!(1))
        );
    }
}

#[tokio::test]
async fn a_channel_created_anew_is_delivered_whole() {
    // More than the old record had, as many, and fewer.
    for count in [10, 4, 1] {
        let (gate, clock) = gate();
        gate.open.send_replace(true);
        let world = World::with(Server::builder().engine(gate.clone())).await;
        let mut live = follower(&world, "s", json!(null)).await;
        let mut plain = world.plain(HERE, "/ws?channels=c").await.expect("let in");
        publish(&gate, 4).await;
        let mut position = json!(null);
        for n in 1..=4 {
            let message = live.next().await.expect("a message");
            assert_eq!(message["data"], n);
            position = message["position"].clone();
            assert_eq!(plain.next().await.expect("its data"), n);
        }
        let later = (AGE + EngineConfig::default().channel_forget_after).as_millis() as u64;
        clock.0.fetch_add(later, Ordering::Relaxed);
        publish(&gate, count).await;
        let gap = live.next().await.expect("a gap");
        assert_eq!(
            (&gap["type"], &gap["reason"]),
            (&json!("gap"), &json!("unknown_epoch")),
            "{gap}"
        );
        let before = gap["position"].as_str().expect("where it leaves");
        assert_eq!(before.split('.').nth(1), Some("0"), "{gap}");
        // It holds; and the position of the old record leads to the same place.
        let mut again = follower(&world, "t", json!(before)).await;
        let mut returned = follower(&world, "u", position).await;
        for n in 1..=count {
            for client in [&mut live, &mut again, &mut returned] {
                let message = client.next().await.expect("a message");
                assert_eq!(
                    (&message["type"], &message["data"]),
                    (&json!("message"), &json!(n))
                );
            }
            assert_eq!(plain.next().await.expect("its data"), n);
        }
    }
}
