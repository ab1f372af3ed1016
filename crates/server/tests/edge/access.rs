//! An access control that gives no verdict: nobody is let in, and whoever asks may come again.

use std::{future::pending, time::Duration};

use bowline::{AccessControl, BoxFuture, Code, Config, Credentials, Identity, Operation, Server};
use serde_json::{Value, json};

use super::client::{Answer, HERE, World, hello};

/// Panics and hangs as the token, or else the channel, says; any other token is a user's name.
struct Moody;

async fn mood<T>(name: &str, verdict: T) -> T {
    match name {
        "panic" => panic!("as it was asked to"),
        "hang" => pending().await,
        _ => verdict,
    }
}

impl AccessControl for Moody {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        let name = credentials.token.unwrap_or("guest");
        Box::pin(mood(name, Ok(Identity::user(name))))
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Identity,
        _: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        Box::pin(mood(channel, true))
    }
}

async fn world() -> World {
    let config = Config {
        access_timeout: Duration::from_millis(100),
        personal_channels: false,
        ..Config::default()
    };
    World::with(Server::builder().config(config).access(Moody)).await
}

/// What each is told: the close code, the HTTP status, and the code.
const MOODS: [(&str, u16, u16, &str); 2] = [
    ("panic", 4500, 500, "internal"),
    ("hang", 4503, 503, "overloaded"),
];

fn assert_told(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.code(), (status, code.to_owned()));
    assert_eq!(answer.json()["retry"], true, "{answer:?}");
}

fn assert_refused(error: &Value, code: &str) {
    assert_eq!(
        (&error["code"], &error["retry"]),
        (&json!(code), &json!(true)),
        "{error}"
    );
}

#[tokio::test]
async fn who_asks_for_nobody_knows() {
    let world = world().await;
    for (mood, close, status, code) in MOODS {
        let mut greeting = hello("s", 1);
        greeting["token"] = mood.into();
        let refused = world.welcomed(HERE, greeting).await;
        assert_eq!(refused.err().expect("no welcome").code(), (close, code));

        let target = format!("/ws?token={mood}");
        let mut plain = world.plain(HERE, &target).await.expect("it is upgraded");
        assert_eq!(plain.closed().await.code(), (close, code));

        let mut client = world.dial(HERE).await.expect("it is upgraded");
        client.hello(hello("r", 1)).await.expect("it is welcomed");
        client
            .send(&json!({"type": "refresh", "id": 1, "token": mood}))
            .await;
        assert_eq!(client.closed().await.code(), (close, code));

        assert_told(&world.get(&target, &[]).await, status, code);
        let bearer = format!("Authorization: Bearer {mood}");
        let page = world.get("/api/channels/c/history", &[&bearer]).await;
        assert_told(&page, status, code);
    }
    assert_eq!(world.get("/ws/stats", &[]).await.status, 403, "it lives");
}

#[tokio::test]
async fn what_they_may_do_nobody_knows() {
    let world = world().await;
    for (mood, close, status, code) in MOODS {
        let mut client = world.dial(HERE).await.expect("it is upgraded");
        let mut greeting = hello(mood, 1);
        greeting["subscribe"] = json!({mood: null, "other": null});
        let welcome = client.hello(greeting).await.expect("it is welcomed");
        assert_refused(&welcome["subscriptions"][mood]["error"], code);
        assert_eq!(welcome["subscriptions"]["other"]["recovered"], true);
        for kind in ["subscribe", "history", "presence", "publish"] {
            let request = json!({"type": kind, "id": kind, "channel": mood, "data": 1});
            client.send(&request).await;
            let error = client.next().await.expect("it lives");
            assert_eq!(
                (&error["type"], &error["id"]),
                (&json!("error"), &json!(kind))
            );
            assert_refused(&error, code);
        }

        let target = format!("/ws?channels={mood}");
        let mut plain = world.plain(HERE, &target).await.expect("it is upgraded");
        assert_eq!(plain.closed().await.code(), (close, code));

        let page = format!("/api/channels/{mood}/history");
        assert_told(&world.get(&page, &[]).await, status, code);
        let head = format!(
            "POST /api/publish?channel={mood} HTTP/1.1\r\nHost: {}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: 1",
            world.address
        );
        assert_told(&world.raw(HERE, &head, b"x").await, status, code);
    }
}
