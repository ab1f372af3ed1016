//! What a hostile or unlucky client, engine or neighbour must not be able to do: one behaviour a test.

use std::{future::ready, sync::Arc, time::Duration};

use bowline::{
    AccessControl, Code, Config, Credentials, Data, Identity, Incoming, Operation, Payload,
    Rejection, Reply, Role, Server,
};
use bowline_engine::{Append, BoxFuture, Effect, Engine, EngineConfig, Memory, ReadError};
use bowline_proto::recovery::ChannelState;
use bowline_ws::{MessageKind, encode_message};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, watch},
    time::timeout,
};

use client::{Client, hello, start};
use gated::{Gated, delegate::delegate};
use soon::soon;

#[path = "support/client.rs"]
mod client;
#[path = "support/gated.rs"]
mod gated;
#[path = "support/soon.rs"]
#[expect(dead_code, reason = "nothing here is polled")]
mod soon;

fn gated() -> Arc<Gated> {
    Gated::over(Memory::open(EngineConfig::default()).expect("it opens"))
}

/// Whoever says `none` may do nothing; anybody else everything.
struct ByToken;

impl AccessControl for ByToken {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        let mut identity = Identity::user("ana");
        if credentials.token == Some("none") {
            identity.role = Role::Backend;
        }
        Box::pin(ready(Ok(identity)))
    }

    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        _: Operation,
        _: &'a str,
    ) -> BoxFuture<'a, bool> {
        Box::pin(ready(identity.role == Role::Client))
    }
}

fn entry(channel: &str, data: String) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Json(data.into()),
            user: None,
            tag: None,
            key: None,
        },
    }
}

#[tokio::test]
async fn a_burst_beyond_the_hub_s_queue_reaches_live_subscribers() {
    const COUNT: usize = 2_000;
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone())).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    engine.append(vec![entry("c", "\"live\"".into())]).await;
    assert_eq!(client.next().await["data"], "live");
    let burst = (0..COUNT).map(|n| entry("c", n.to_string())).collect();
    engine.append(burst).await;
    for n in 0..COUNT {
        let message = soon(&format!("publication {n} of the burst"), client.next()).await;
        assert_eq!(message["data"], n);
    }
}

#[tokio::test]
async fn a_page_for_an_ended_subscription_is_not_the_new_one_s() {
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone())).await;
    let log = (1..=5).map(|n| entry("c", n.to_string())).collect();
    engine.append(log).await;
    // Somebody else keeps the channel in the hub.
    let (mut keeper, _) = Client::bowline(&address, hello("k", 1, json!({"c": {"last": 1}}))).await;
    assert_eq!(keeper.next().await["data"], 5);
    let reads = *engine.reads.borrow();
    engine.open.send_replace(false);
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": {"last": 1}}))).await;
    engine.reads_reach(reads + 1).await;
    client
        .send(&json!({"type": "unsubscribe", "id": 1, "channel": "c"}))
        .await;
    client
        .send(&json!({"type": "subscribe", "id": 2, "channel": "c", "position": "first"}))
        .await;
    assert_eq!(client.next().await["type"], "unsubscribed");
    assert_eq!(client.next().await["type"], "subscribed");
    engine.append(vec![entry("c", "6".into())]).await;
    engine.open.send_replace(true);
    for n in 1..=6 {
        let message = soon("the whole history", client.next()).await;
        assert_eq!(message["data"], n, "{message}");
    }
}

#[tokio::test]
async fn nothing_follows_a_close_frame() {
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone())).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    engine.append(vec![entry("c", "1".into())]).await;
    assert_eq!(client.next().await["data"], 1);
    client.send(&json!({"type": "bye"})).await;
    assert_eq!(client.closed().await.0, 1000);
    engine.append(vec![entry("c", "2".into())]).await;
    let mut rest = client.input.clone();
    soon("the end", client.socket.read_to_end(&mut rest))
        .await
        .expect("a clean end");
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn answers_to_a_client_that_reads_nothing_are_bounded() {
    let config = Config {
        send_timeout: Duration::from_millis(300),
        ..Config::default()
    };
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone()).config(config)).await;
    let padding = format!("\"{}\"", "x".repeat(60_000));
    engine
        .append((0..3).map(|_| entry("c", padding.clone())).collect())
        .await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    let request = json!({"type": "history", "id": 1, "channel": "c"}).to_string();
    let frame = vec![request; 190].join("\n");
    client.send_raw(MessageKind::Text, frame.as_bytes()).await;
    engine.reads_reach(1).await;
    let mut reads = engine.reads.subscribe();
    // Unbounded, all are served at once; bounded, the link is cut at `send_timeout`.
    let all = timeout(
        Duration::from_secs(1),
        reads.wait_for(|reads| *reads >= 100),
    )
    .await;
    assert!(
        all.is_err(),
        "100 answers of 120 KB each are queued for a bound of 256 KB"
    );
}

#[tokio::test]
async fn a_plain_client_that_answers_pings_is_alive_while_the_application_works() {
    let config = Config {
        ping_interval: Duration::from_millis(100),
        pong_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let slow = |incoming: Incoming| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        match incoming.payload {
            Payload::Text(text) => Ok(Reply::Text(text)),
            _ => Err(Rejection::new("text only")),
        }
    };
    let (_server, address) = start(Server::builder().config(config).on_message(slow)).await;
    let mut client = Client::dial(&address, "/ws", &[]).await;
    let mut all = Vec::new();
    for n in 0..6 {
        all.extend(encode_message(
            MessageKind::Text,
            n.to_string().as_bytes(),
            Some([1; 4]),
        ));
    }
    client.socket.write_all(&all).await.expect("it is taken");
    client.pongs = true;
    for n in 0..6 {
        assert_eq!(soon("an answer", client.frame()).await, Ok(n.to_string()));
    }
}

#[tokio::test]
async fn pings_before_hello_make_no_queue_without_bound() {
    const FAR_TOO_MANY: usize = 64 << 20;
    let config = Config {
        connection_timeout: Duration::from_secs(2),
        access_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let (_server, address) = start(Server::builder().config(config)).await;
    let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    // As many as are answered of one read, each read: small segments.
    let ping = [0x89, 0xfd, 1, 2, 3, 4];
    let mut pings = Vec::new();
    for _ in 0..16 {
        pings.extend_from_slice(&ping);
        pings.extend_from_slice(&[0; 125]);
    }
    let mut written = 0;
    // Nothing is read: it ends as the handshake's time does.
    while written < FAR_TOO_MANY {
        match client.socket.write(&pings[..]).await {
            Ok(count) if count == pings.len() => written += count,
            Ok(_) | Err(_) => break,
        }
    }
    assert!(
        written < FAR_TOO_MANY,
        "{written} bytes of pings were taken"
    );
}

#[tokio::test]
async fn a_channel_that_the_log_has_forgotten_is_not_remembered_by_those_who_still_follow_it() {
    let engine = gated();
    let (server, address) = start(Server::builder().engine(engine.clone())).await;
    let (mut first, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    for n in 1..4 {
        let stored = server.publish("c", Data::Json(n.to_string().into())).await;
        stored.expect("it is stored");
        assert_eq!(soon("a message", first.next()).await["data"], n);
    }
    engine
        .forgetful
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut second, _) = Client::bowline(&address, hello("t", 1, json!({"c": null}))).await;
    for ts in 0..20 {
        second.send(&json!({"type": "ping", "ts": ts})).await;
        let pong = soon("a pong", second.next()).await;
        assert_eq!(pong["type"], "pong", "{pong}");
    }
}

/// An engine that says that it was asked for the channel `slow`, and answers once it is let.
struct Slow {
    log: Memory,
    asked: watch::Sender<bool>,
    answers: Semaphore,
}

impl Engine for Slow {
    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            if channel == "slow" {
                self.asked.send_replace(true);
                let _permit = self.answers.acquire().await;
            }
            self.log.channel(&channel).await
        })
    }

    delegate!(log: append read session end_session listen clock stats health);
}

#[tokio::test]
async fn what_is_published_while_a_subscription_begins_follows_at_once_without_history_too() {
    let engine = EngineConfig {
        policies: vec![bowline_engine::ChannelPolicy {
            pattern: "live".to_owned(),
            history: None,
        }],
        ..EngineConfig::default()
    };
    let slow = Arc::new(Slow {
        log: Memory::open(engine).expect("it opens"),
        asked: watch::Sender::new(false),
        answers: Semaphore::new(0),
    });
    let (server, address) = start(Server::builder().engine(slow.clone())).await;
    let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    let greeting = hello("s", 1, json!({"live": null, "slow": null}));
    client.send(&greeting).await;
    let mut asked = slow.asked.subscribe();
    soon("the second channel", asked.wait_for(|asked| *asked))
        .await
        .expect("it is asked");
    let data = Data::Json("1".into());
    server.publish("live", data).await.expect("it is stored");
    slow.answers.add_permits(1);
    assert_eq!(soon("welcome", client.next()).await["type"], "welcome");
    let message = soon("the message", client.next()).await;
    assert_eq!(
        (&message["type"], &message["data"]),
        (&json!("message"), &json!(1))
    );
}

#[tokio::test]
async fn plain_mode_has_the_bound_of_subscriptions_too() {
    let config = Config {
        subscriptions_per_connection_max: 2,
        ..Config::default()
    };
    let (_server, address) = start(Server::builder().config(config)).await;
    let mut client = Client::dial(&address, "/ws?channels=a,b,c", &[]).await;
    let closed = soon("a refusal", client.closed()).await;
    assert_eq!(
        closed,
        (1008, "{\"code\":\"too_many_subscriptions\"}".to_owned())
    );
}

#[tokio::test]
async fn a_channel_named_twice_in_plain_mode_is_one_subscription() {
    let (_server, address) = start(Server::builder().access(ByToken)).await;
    let mut client = Client::dial(&address, "/ws?channels=a,a,user:ana", &[]).await;
    client
        .send_raw(MessageKind::Text, b"{\"type\":\"ping\",\"timestamp\":1}")
        .await;
    let pong = "{\"type\":\"pong\",\"timestamp\":1}".to_owned();
    assert_eq!(soon("a pong", client.frame()).await, Ok(pong));
}

#[tokio::test]
async fn a_refresh_ends_what_is_no_longer_granted() {
    let engine = gated();
    let (_server, address) = start(Server::builder().access(ByToken).engine(engine.clone())).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    client
        .send(&json!({"type": "refresh", "id": 1, "token": "none"}))
        .await;
    let mut told = vec![];
    while !told.contains(&json!("reply")) {
        told.push(soon("the answer", client.next()).await["type"].clone());
    }
    engine.append(vec![entry("c", "\"secret\"".into())]).await;
    client.send(&json!({"type": "ping"})).await;
    loop {
        let message = soon("pong", client.next()).await;
        assert_ne!(message["data"], "secret", "delivered without a grant");
        if message["type"] == "pong" {
            break;
        }
    }
}

#[tokio::test]
async fn a_takeover_fences_a_link_that_waits_for_a_page() {
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone())).await;
    engine.append(vec![entry("c", "1".into())]).await;
    engine.open.send_replace(false);
    let (mut old, _) = Client::bowline(&address, hello("s", 1, json!({"c": "first"}))).await;
    engine.reads_reach(1).await;
    let (_new, _) = Client::bowline(&address, hello("s", 2, json!({}))).await;
    old.send(&json!({"type": "publish", "seq": 1, "channel": "d", "data": 0}))
        .await;
    assert_eq!(soon("4409 on the old link", old.closed()).await.0, 4409);
    let appended = engine.stats().appended;
    assert_eq!(
        appended, 1,
        "the old link still publishes after the new one's welcome"
    );
}

#[tokio::test]
async fn a_page_for_a_connection_that_ends_holds_nobody_up() {
    let engine = gated();
    let gate = Arc::new(Semaphore::new(0));
    let (called, mut seen) = watch::channel(false);
    let held = gate.clone();
    let handler = move |_: Incoming| {
        let gate = held.clone();
        called.send_replace(true);
        async move {
            let _permit = gate.acquire().await;
            Ok(Reply::Empty)
        }
    };
    let config = Config {
        catchup_slots: 1,
        connections_per_user_max: 1,
        ..Config::default()
    };
    let builder = Server::builder().config(config).engine(engine.clone());
    let builder = builder.access(ByToken).on_message(handler);
    let (_server, address) = start(builder).await;
    let log = ["c", "d"].map(|channel| entry(channel, "1".into()));
    engine.append(log.into()).await;
    engine.open.send_replace(false);
    let subscribe = json!({"c": {"last": 1}});
    let (mut gone, _) = Client::bowline(&address, hello("s", 1, subscribe)).await;
    engine.reads_reach(1).await;
    // It breaks while the application has something of it.
    let send = json!({"type": "send", "seq": 1, "data": 1});
    gone.send(&send).await;
    let call = soon("the call", seen.wait_for(|called| *called)).await;
    call.expect("it says so");
    gone.socket.set_zero_linger().expect("it is set");
    drop(gone);
    // The user's only place is free once its end is noticed.
    let next = async {
        loop {
            let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
            client.send(&hello("t", 1, json!({}))).await;
            if client.frame().await.is_ok() {
                return client;
            }
        }
    };
    let mut client = soon("a place", next).await;
    engine.open.send_replace(true);
    // The first of the pages has no part in the one that was read, the other shares its reading.
    for channel in ["d", "c"] {
        let subscribe = json!({"type": "subscribe", "channel": channel, "position": "first"});
        client.send(&subscribe).await;
        let page = async { while client.next().await["type"] != "message" {} };
        soon("its page", page).await;
    }
}

#[tokio::test]
async fn a_silent_link_that_waits_for_a_page_is_stale() {
    let config = Config {
        ping_interval: Duration::from_millis(100),
        pong_timeout: Duration::from_millis(100),
        ..Config::default()
    };
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone()).config(config)).await;
    engine.append(vec![entry("c", "1".into())]).await;
    engine.open.send_replace(false);
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": "first"}))).await;
    assert_eq!(soon("4408", client.closed()).await.0, 4408);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broadcast_is_lost_while_others_come_and_go() {
    let config = Config {
        messages_per_second: 1_000_000,
        messages_burst_max: 1_000_000,
        ..Config::default()
    };
    let engine = gated();
    let (_server, address) = start(Server::builder().engine(engine.clone()).config(config)).await;
    engine.append(vec![entry("c", "0".into())]).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    for churner in 0..3 {
        let name = format!("churner-{churner}");
        let (mut other, _) = Client::bowline(&address, hello(&name, 1, json!({}))).await;
        tokio::spawn(async move {
            loop {
                other
                    .send(&json!({"type": "subscribe", "id": 1, "channel": "c"}))
                    .await;
                while other.next().await["type"] != "subscribed" {}
                other
                    .send(&json!({"type": "unsubscribe", "id": 1, "channel": "c"}))
                    .await;
                while other.next().await["type"] != "unsubscribed" {}
            }
        });
    }
    for round in 0..3_000 {
        let (first, second) = (engine.clone(), engine.clone());
        let one = tokio::spawn(async move { first.append(vec![entry("c", "1".into())]).await });
        second.append(vec![entry("c", "2".into())]).await;
        one.await.expect("it is stored");
        soon(&format!("the first of round {round}"), client.next()).await;
        soon(&format!("the second of round {round}"), client.next()).await;
    }
}
