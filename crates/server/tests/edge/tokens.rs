//! Tokens while a connection lives: they end, are renewed, lose grants, and prove nothing where
//! nobody looks at them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline::{
    AccessControl, BoxFuture, Code, Config, Credentials, Data, Identity, Operation, Server,
};
use jsonwebtoken::get_current_timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    auth::{self, token},
    client::{Client, HERE, World, strict},
};

async fn start() -> World {
    auth::start(strict(), &[Operation::Subscribe]).await
}

fn hello(token: &str, subscribe: Value) -> Value {
    json!({"type": "hello", "id": 1, "token": token, "subscribe": subscribe})
}

fn lasting(seconds: f64, claims: Value) -> String {
    let mut claims = claims;
    claims["exp"] = json!(exact_now() + seconds);
    token(claims)
}

/// `exp` may have a fraction.
fn exact_now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

async fn refresh(client: &mut Client, token: &str) {
    client
        .send(&json!({"type": "refresh", "id": "r", "token": token}))
        .await;
}

#[tokio::test]
async fn a_client_is_told_before_its_token_ends_and_is_closed_when_it_has() {
    let world = start().await;
    let begun = Instant::now();
    let ana = lasting(2.0, json!({"sub": "ana"}));
    let mut client = world.dial(HERE).await.expect("101");
    client.hello(hello(&ana, json!({}))).await.expect("welcome");
    let told = client.next().await.expect("it lives");
    assert_eq!(told["type"], "expiring", "{told}");
    let in_ms = told["in_ms"].as_u64().expect("a time");
    assert!((500..=1_001).contains(&in_ms), "{told}");
    let mut plain = world
        .plain(HERE, &format!("/ws?token={ana}"))
        .await
        .expect("101");
    assert_eq!(client.closed().await.code(), (4401, "token_expired"));
    let took = begun.elapsed();
    assert!((1_900..3_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(plain.closed().await.code(), (4401, "token_expired"));
}

#[tokio::test]
async fn a_refresh_moves_the_end_both_ways() {
    let world = start().await;
    let begun = Instant::now();
    let short = lasting(1.5, json!({"sub": "ana"}));
    let mut client = world.dial(HERE).await.expect("101");
    client
        .hello(hello(&short, json!({})))
        .await
        .expect("welcome");
    refresh(&mut client, &lasting(100.0, json!({"sub": "ana"}))).await;
    let mut answer = client.next().await.expect("it lives");
    if answer["type"] == "expiring" {
        answer = client.next().await.expect("it lives");
    }
    assert_eq!(answer, json!({"type": "reply", "id": "r", "data": {}}));
    // Beyond the first token's end it lives.
    let rest = Duration::from_millis(2_000).saturating_sub(begun.elapsed());
    let silent = tokio::time::timeout(rest, client.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    // A shorter one ends it sooner.
    refresh(&mut client, &lasting(0.5, json!({"sub": "ana"}))).await;
    let begun = Instant::now();
    assert_eq!(client.closed().await.code(), (4401, "token_expired"));
    assert!(begun.elapsed() < Duration::from_millis(1_600));
}

#[tokio::test]
async fn a_refresh_is_refused_for_another_user_and_for_a_bad_token() {
    let world = start().await;
    let ana = token(json!({"sub": "ana"}));
    let guest = json!({"type": "hello", "id": 1, "subscribe": {}});
    let past = token(json!({"sub": "ana", "exp": get_current_timestamp() - 1}));
    let bob = token(json!({"sub": "bob"}));
    for (first, second, expected) in [
        (hello(&ana, json!({})), bob.clone(), (4403, "forbidden")),
        (guest.clone(), bob, (4403, "forbidden")),
        (
            hello(&ana, json!({})),
            auth::KEY.into(),
            (4403, "forbidden"),
        ),
        (hello(&ana, json!({})), past, (4401, "token_expired")),
        (
            hello(&ana, json!({})),
            ana.clone() + "x",
            (4401, "unauthorized"),
        ),
        (guest, "nonsense".into(), (4401, "unauthorized")),
    ] {
        let mut client = world.dial(HERE).await.expect("101");
        client.hello(first).await.expect("welcome");
        refresh(&mut client, &second).await;
        assert_eq!(client.closed().await.code(), expected, "{second}");
    }
}

#[tokio::test]
async fn under_open_access_no_token_is_a_good_one() {
    let world = World::start(strict()).await;
    let mut client = world.dial(HERE).await.expect("101");
    client
        .hello(hello("nonsense", json!({"a": null})))
        .await
        .expect("nobody looks");
    refresh(&mut client, "nonsense").await;
    let answer = client.next().await.expect("it lives");
    assert_eq!(answer["type"], "error", "{answer}");
    assert_eq!(answer["id"], "r");
    assert_eq!(answer["code"], "not_supported");
    // It is as it was.
    client
        .send(&json!({"type": "publish", "id": 2, "channel": "a", "data": 1}))
        .await;
    assert_eq!(client.next().await.expect("it lives")["type"], "message");
}

#[tokio::test]
async fn a_refresh_that_grants_less_ends_subscriptions() {
    let world = start().await;
    let all = json!({"sub": "ana", "channels": {"*": ["subscribe", "history", "presence"]}});
    let subscribe = json!({"a": null, "b": null, "public:x": null});
    let mut client = world.dial(HERE).await.expect("101");
    client
        .hello(hello(&token(all), subscribe))
        .await
        .expect("welcome");
    refresh(
        &mut client,
        &token(json!({"sub": "ana", "channels": {"a": ["subscribe"]}})),
    )
    .await;
    let told = client.next().await.expect("it lives");
    assert_eq!(
        told,
        json!({"type": "unsubscribed", "channel": "b", "code": "forbidden"})
    );
    assert_eq!(client.next().await.expect("it lives")["type"], "reply");
    // What else the old token granted is gone with it.
    for request in ["history", "presence"] {
        client
            .send(&json!({"type": request, "id": request, "channel": "a"}))
            .await;
        let refused = client.next().await.expect("it lives");
        assert_eq!(refused["code"], "forbidden", "{refused}");
    }
    for channel in ["b", "a", "public:x", "user:ana"] {
        let data = Data::Json("1".into());
        world.server.publish(channel, data).await.expect("stored");
    }
    for expected in ["a", "public:x", "user:ana"] {
        let message = client.next().await.expect("it lives");
        assert_eq!(message["channel"], expected, "{message}");
    }
}

#[tokio::test]
async fn a_session_of_somebody_else_is_simply_a_new_one() {
    let world = start().await;
    let publish = json!({"type": "publish", "seq": 1, "channel": "public:x", "data": 1});
    let ana = token(json!({"sub": "ana", "channels": {"public:x": ["publish"]}}));
    let with = |token: &str, link: u64| {
        json!({"type": "hello", "id": 1, "token": token, "session": "of-ana", "link": link,
               "subscribe": {}})
    };
    let mut first = world.dial(HERE).await.expect("101");
    first.hello(with(&ana, 1)).await.expect("welcome");
    first.send(&publish).await;
    assert_eq!(first.next().await.expect("it lives")["seq"], 1);
    let bob = token(json!({"sub": "bob"}));
    let mut thief = world.dial(HERE).await.expect("101");
    let welcome = thief.hello(with(&bob, 9)).await.expect("welcome");
    assert_eq!(
        (&welcome["resumed"], &welcome["acked"]),
        (&json!(false), &json!(0))
    );
    // She still has it.
    let mut again = world.dial(HERE).await.expect("101");
    let welcome = again.hello(with(&ana, 2)).await.expect("welcome");
    assert_eq!(
        (&welcome["resumed"], &welcome["acked"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(first.closed().await.code(), (4409, "replaced"));
}

/// Everybody may subscribe until a moment of the test's choice.
struct Fickle(Arc<AtomicBool>);

impl AccessControl for Fickle {
    fn authenticate<'a>(&'a self, _: Credentials<'a>) -> BoxFuture<'a, Result<Identity, Code>> {
        Box::pin(std::future::ready(Ok(Identity::user("ana"))))
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Identity,
        _: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        let open = channel != "secret" || self.0.load(Ordering::SeqCst);
        Box::pin(std::future::ready(open))
    }
}

#[tokio::test]
async fn a_grant_that_is_withdrawn_ends_a_subscription_at_its_next_page() {
    let open = Arc::new(AtomicBool::new(true));
    let config = Config {
        page_bytes_max: 100_000,
        send_queue_bytes_max: 80_000,
        socket_send_buffer_bytes: 4_096,
        ..strict()
    };
    let builder = Server::builder().config(config);
    let world = World::with(builder.access(Fickle(open.clone()))).await;
    for n in 0..60 {
        let data = json!({"n": n, "pad": "x".repeat(50_000)});
        let data = Data::Json(data.to_string().into());
        world.server.publish("secret", data).await.expect("stored");
    }
    let mut client = world.dial(HERE).await.expect("101");
    let subscribe = json!({"secret": "first", "other": null});
    let welcome = client.hello(hello("t", subscribe)).await;
    welcome.expect("welcome");
    open.store(false, Ordering::SeqCst);
    let mut messages = 0;
    let told = loop {
        let message = client.next().await.expect("it lives");
        if message["type"] != "message" {
            break message;
        }
        messages += 1;
    };
    assert_eq!(told["type"], "unsubscribed", "{told}");
    assert_eq!(
        (&told["channel"], &told["code"]),
        (&json!("secret"), &json!("forbidden"))
    );
    assert!(messages < 60, "{messages}");
    // The rest of the connection is untouched.
    let data = Data::Json("1".into());
    world.server.publish("other", data).await.expect("stored");
    let message = client.next().await.expect("it lives");
    assert_eq!(message["channel"], "other", "{message}");
}

#[tokio::test]
async fn in_plain_mode_a_withdrawn_grant_closes() {
    let open = Arc::new(AtomicBool::new(true));
    let config = Config {
        send_queue_bytes_max: 80_000,
        socket_send_buffer_bytes: 4_096,
        ..strict()
    };
    let builder = Server::builder().config(config);
    let world = World::with(builder.access(Fickle(open.clone()))).await;
    let mut client = world.plain(HERE, "/ws?channels=secret").await.expect("101");
    let publish = async |data: Value| {
        let data = Data::Json(data.to_string().into());
        world.server.publish("secret", data).await.expect("stored");
    };
    // The subscription begins a moment after the connection.
    let begun = async {
        loop {
            publish(json!(0)).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        first = client.text() => assert_eq!(first.expect("it lives"), "0"),
        () = begun => {}
    }
    // It does not read, so it falls behind.
    for _ in 0..60 {
        publish(json!("y".repeat(60_000))).await;
    }
    open.store(false, Ordering::SeqCst);
    assert_eq!(client.closed().await.code(), (4403, "forbidden"));
}
