//! `hello` has a bound of its own, and so have many large ones together.

use bowline::Config;
use serde_json::{Map, Value, json};

use super::client::{HERE, World, hello};

/// A hello that asks for this many channels with names of this length.
fn asking(session: &str, channels: usize, name_bytes: usize) -> Value {
    let name = |n: usize| format!("{n:0>name_bytes$}");
    let subscribe: Map<String, Value> = (0..channels).map(|n| (name(n), Value::Null)).collect();
    let mut hello = hello(session, 1);
    hello["subscribe"] = subscribe.into();
    hello
}

#[tokio::test]
async fn a_thousand_subscriptions_with_long_names_fit() {
    let world = World::start(Config::default()).await;
    let hello = asking("s", 1_000, 255);
    assert!(hello.to_string().len() > 250_000);
    let mut client = world.dial(HERE).await.expect("it is let in");
    let welcome = client.hello(hello).await.expect("it is welcomed");
    let subscriptions = welcome["subscriptions"].as_object().expect("an object");
    assert_eq!(subscriptions.len(), 1_000);
    assert!(subscriptions.values().all(|one| one["recovered"] == true));
}

#[tokio::test]
async fn ten_thousand_are_answered_one_by_one_and_the_connection_lives() {
    let world = World::start(Config::default()).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    let welcome = client.hello(asking("s", 10_000, 8)).await;
    let welcome = welcome.expect("it is welcomed");
    let subscriptions = welcome["subscriptions"].as_object().expect("an object");
    let refused = subscriptions
        .values()
        .filter(|one| one["error"]["code"] == "too_many_subscriptions");
    assert_eq!((subscriptions.len(), refused.count()), (10_000, 9_000));
    client.send(&json!({"type": "ping", "ts": 1})).await;
    assert_eq!(client.next().await.expect("it lives")["type"], "pong");
}

#[tokio::test]
async fn no_other_message_may_be_so_long() {
    let world = World::start(Config::default()).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    client.send(&asking("s", 1_000, 255)).await;
    assert_eq!(client.closed().await.close, 1009);

    // Nor one that comes in the same packet as hello.
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.send(&hello("t", 1)).await;
    client.send(&asking("t", 1_000, 255)).await;
    assert_eq!(client.closed().await.close, 1009);

    let mut client = world.dial(HERE).await.expect("it is let in");
    client.send(&asking("u", 3_000, 255)).await;
    assert_eq!(client.closed().await.close, 1009);
}

#[tokio::test]
async fn no_more_large_ones_than_there_are_places() {
    let world = World::start(Config {
        large_hellos_max: 1,
        ..Config::default()
    })
    .await;
    let text = asking("s", 1_000, 255).to_string();
    let mut first = world.dial(HERE).await.expect("it is let in");
    let (most, rest) = text.split_at(200_000);
    first.send_part(most, text.len()).await;
    let mut told = None;
    // The first one's part may not have been read yet: whoever comes too early is welcomed.
    super::client::until("the place is taken", async || {
        let mut other = world.dial(HERE).await.expect("it is let in");
        told = other.hello(asking("t", 1_000, 255)).await.err();
        told.is_some()
    })
    .await;
    let told = told.expect("it was refused");
    assert_eq!(told.code(), (4503, "overloaded"));
    assert_eq!(told.retry_after_ms(), 1_000);
    first.continue_part(rest).await;
    assert_eq!(first.next().await.expect("welcome")["type"], "welcome");
    let mut next = world.dial(HERE).await.expect("it is let in");
    next.hello(asking("u", 1_000, 255))
        .await
        .expect("the place is free again");
}
