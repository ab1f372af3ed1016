//! Tokens on real connections: who is let in, what they may do, and what nobody gets to see.

use bowline::{ApiKey, Config, Data, Grant, Issuer, KeySet, Operation, Server, StaticAccess};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::client::{HERE, World, strict, until};

pub(crate) const SECRET: &str = "a-secret-of-the-tests-with-32-bytes!";
pub(crate) const KEY: &str = "a-key-of-the-tests";
pub(crate) const ADMIN: &str = "the-admin-of-the-tests";

pub(crate) fn token(claims: Value) -> String {
    let mut whole = json!({"exp": get_current_timestamp() + 100});
    for (key, value) in claims.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &whole, &key).expect("it is signed")
}

pub(crate) fn access(public: &[Operation]) -> StaticAccess {
    let keys = vec![ApiKey::new(KEY).expect("long enough")];
    let grants = Grant {
        pattern: "public:*".to_owned(),
        operations: public.to_vec(),
    };
    let grants = if public.is_empty() {
        Vec::new()
    } else {
        vec![grants]
    };
    StaticAccess::new(keys, grants)
        .with_admin(ApiKey::new(ADMIN).ok())
        .with_issuers(vec![Issuer {
            name: None,
            audience: None,
            keys: KeySet::secret(SECRET.as_bytes()).expect("long enough"),
            leeway: std::time::Duration::ZERO,
        }])
}

pub(crate) async fn start(config: Config, public: &[Operation]) -> World {
    World::with(Server::builder().config(config).access(access(public))).await
}

fn hello(token: Option<&str>, subscribe: Value) -> Value {
    let mut hello = json!({"type": "hello", "id": 1, "subscribe": subscribe});
    if let Some(token) = token {
        hello["token"] = token.into();
    }
    hello
}

async fn welcome(world: &World, hello: Value) -> Result<Value, super::client::Closed> {
    let mut client = world.dial(HERE).await.expect("101");
    client.hello(hello).await
}

#[tokio::test]
async fn a_token_says_who_and_what() {
    let world = start(strict(), &[Operation::Subscribe]).await;
    let ana = token(json!({"sub": "ana@example.com", "channels": {
        "news:*": ["subscribe"], "*": ["history"], "user:bob": ["presence"]
    }}));
    let subscribe = json!({"news:a": null, "public:a": null, "other": null, "user:bob": null});
    let welcome = welcome(&world, hello(Some(&ana), subscribe))
        .await
        .expect("a welcome");
    assert_eq!(welcome["user"], "ana@example.com");
    let subscriptions = &welcome["subscriptions"];
    for (channel, granted) in [
        ("news:a", true),
        ("public:a", true),
        ("user:ana%40example.com", true),
        ("other", false),
        ("user:bob", false),
    ] {
        let error = &subscriptions[channel]["error"]["code"];
        assert_eq!(error.is_null(), granted, "{channel}: {subscriptions}");
        assert!(granted || error == "forbidden");
    }
}

#[tokio::test]
async fn the_personal_channel_reaches_its_user_and_can_be_switched_off() {
    for on in [true, false] {
        let config = Config {
            personal_channels: on,
            ..strict()
        };
        let world = start(config, &[]).await;
        let ana = token(json!({"sub": "ana", "channels": {"*": ["publish", "subscribe"]}}));
        let mut client = world.dial(HERE).await.expect("101");
        let welcome = client
            .hello(hello(Some(&ana), json!({})))
            .await
            .expect("a welcome");
        assert_eq!(!welcome["subscriptions"]["user:ana"].is_null(), on);
        // Neither the owner nor a wildcard publishes there.
        client
            .send(&json!({"type": "publish", "seq": 1, "channel": "user:ana", "data": 1}))
            .await;
        let mut refused = client.next().await.expect("it lives");
        while refused["type"] == "acked" {
            refused = client.next().await.expect("it lives");
        }
        assert_eq!(refused["code"], "forbidden", "{refused}");
        let mut plain = world
            .plain(HERE, &format!("/ws/general?token={ana}"))
            .await
            .expect("101");
        if on {
            until("the plain one is there", async || {
                world.server.connections() == 2
            })
            .await;
            let data = Data::Json("\"hi\"".into());
            // The subscription begins a moment after the connection: it is repeated until seen.
            let published = async {
                loop {
                    world
                        .server
                        .publish("user:ana", data.clone())
                        .await
                        .expect("stored");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                text = plain.text() => assert_eq!(text.expect("it lives"), "\"hi\""),
                () = published => {}
            }
            assert_eq!(
                client.next().await.expect("it lives")["channel"],
                "user:ana"
            );
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_without_a_token_unless_something_is_public() {
    let world = start(strict(), &[]).await;
    let refused = welcome(&world, hello(None, json!({}))).await;
    assert_eq!(
        refused.expect_err("no token").code(),
        (4401, "unauthorized")
    );
    let forged = token(json!({"sub": "ana"})) + "x";
    let refused = welcome(&world, hello(Some(&forged), json!({}))).await;
    assert_eq!(refused.expect_err("forged").code(), (4401, "unauthorized"));
    let expired = token(json!({"sub": "ana", "exp": get_current_timestamp() - 1}));
    let refused = welcome(&world, hello(Some(&expired), json!({}))).await;
    assert_eq!(
        refused.expect_err("expired").code(),
        (4401, "token_expired")
    );
    let mut plain = world
        .plain(HERE, &format!("/ws?token={expired}"))
        .await
        .expect("101");
    assert_eq!(plain.closed().await.code(), (4401, "token_expired"));
    let verdict = world.get(&format!("/ws?token={expired}"), &[]).await;
    assert_eq!(verdict.code(), (401, "token_expired".to_owned()));

    let world = start(strict(), &[Operation::Subscribe]).await;
    let welcome = welcome(
        &world,
        hello(None, json!({"public:a": null, "private": null})),
    )
    .await;
    let welcome = welcome.expect("guests are let in");
    assert!(welcome["user"].is_null());
    assert!(welcome["subscriptions"]["public:a"]["error"].is_null());
    assert_eq!(
        welcome["subscriptions"]["private"]["error"]["code"],
        "forbidden"
    );
}

#[tokio::test]
async fn http_takes_keys_and_tokens_and_answers_by_their_grants() {
    let world = start(strict(), &[]).await;
    let ana = token(json!({"sub": "ana", "channels": {"news": ["history"]}}));
    let bearer = format!("Authorization: Bearer {ana}");
    assert_eq!(
        world
            .get("/api/channels/news/history", &[&bearer])
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .get("/api/channels/other/history", &[&bearer])
            .await
            .status,
        403
    );
    assert_eq!(world.get("/ws/stats", &[&bearer]).await.status, 403);
    for key in [KEY, ADMIN] {
        let key = format!("X-API-Key: {key}");
        assert_eq!(world.get("/ws/stats", &[&key]).await.status, 200);
    }
    assert_eq!(world.get("/ws/stats", &[]).await.status, 401);
}
