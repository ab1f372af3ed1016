//! What the people who run the server ask it: statistics, metrics, cleaning up, disconnecting.

use std::{collections::BTreeMap, time::Duration};

use bowline::{
    AccessControl, ApiKey, BoxFuture, Code, Config, Credentials, EngineConfig, Identity, Memory,
    OpenAccess, Operation, Server, StaticAccess,
};
use serde_json::{Value, json};

use super::{
    client::{Answer, Client, HERE, Reach, World, hello, strict, until},
    limits::Names,
};

const KEY: &str = "backend-key-0123456789";
const ADMIN: &str = "admin-token-0123456789";

/// `boss` runs the server, every other token is a user's name.
pub(crate) struct Staff;

impl AccessControl for Staff {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        match credentials.token {
            Some("boss") => Box::pin(std::future::ready(Ok(Identity::admin()))),
            _ => Names.authenticate(credentials),
        }
    }

    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        operation: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        Names.authorize(identity, operation, channel)
    }
}

async fn open(config: Config) -> World {
    World::with(Server::builder().config(config).access(OpenAccess)).await
}

impl Reach {
    async fn post(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        let body = body.to_string();
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            self.address,
            body.len()
        );
        for header in headers {
            head += &format!("\r\n{header}");
        }
        self.raw(HERE, &head, body.as_bytes()).await
    }

    async fn publish(&self, channel: &str, data: Value) {
        let body = json!({"channel": channel, "data": data});
        assert_eq!(self.post("/api/publish", &[], &body).await.status, 200);
    }

    async fn stats(&self) -> Value {
        self.get("/ws/stats", &[]).await.json()
    }

    async fn detailed(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/ws/stats/detailed?{query}"), &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        page["connections"].as_array().expect("a list").clone()
    }
}

async fn follower(world: &World, session: &str, channel: &str) -> Client {
    let mut hello = hello(session, 1);
    hello["subscribe"] = json!({channel: null});
    hello["client"] = json!({"name": "tests", "version": "1.2"});
    world.welcomed(HERE, hello).await.expect("there is room")
}

#[tokio::test]
async fn the_whole_server_is_told_in_numbers() {
    let world = open(Config::default()).await;
    let mut first = follower(&world, "one", "news").await;
    let _second = follower(&world, "two", "news").await;
    let _third = follower(&world, "three", "sports").await;
    world.publish("news", json!("hello")).await;
    assert_eq!(first.next().await.expect("a message")["data"], "hello");
    first.send(&json!({"type": "nonsense", "id": 2})).await;
    assert_eq!(
        first.next().await.expect("a refusal")["code"],
        "unknown_type"
    );
    let mut lost = world.dial(HERE).await.expect("it is upgraded");
    lost.send(&json!({"type": "ping"})).await;
    assert_eq!(lost.closed().await.code(), (4400, "hello_expected"));
    assert_eq!(world.get("/nowhere", &[]).await.status, 404);
    until("the fourth is gone", async || {
        world.stats().await["connections"] == 3
    })
    .await;
    let stats = world.stats().await;
    for (field, expected) in [
        ("users", 0),
        ("sessions", 3),
        ("channels", 2),
        ("connections_opened", 4),
        ("messages_in", 5),
    ] {
        assert_eq!(stats[field], expected, "{field}: {stats}");
    }
    // Four welcomes but one, two messages, one error.
    assert_eq!(stats["messages_out"], 3 + 2 + 1);
    for field in ["bytes_in", "bytes_out"] {
        assert!(stats[field].as_u64() > Some(100), "{field}: {stats}");
    }
    assert!(stats["uptime_s"].is_u64() && stats["node"].is_string());
    let errors = json!({"unknown_type": 1, "hello_expected": 1, "not_found": 1});
    assert_eq!(stats["errors"], errors);
    assert_eq!(stats["disconnects"], json!({"4400": 1}));
    let engine = &stats["engine"];
    for field in [
        "segments",
        "log_bytes",
        "commits",
        "commit_entries",
        "commit_micros",
        "fsyncs",
        "key_duplicates",
        "session_duplicates",
        "compaction_debt_bytes",
    ] {
        assert!(engine[field].is_u64(), "{field}: {engine}");
    }
    assert_eq!(engine["appended"], 1);
}

#[tokio::test]
async fn totals_never_fall_when_connections_end() {
    let world = open(Config::default()).await;
    let mut before = 0;
    for n in 0..20 {
        let client = follower(&world, &format!("s{n}"), "a").await;
        drop(client);
        let now = world.stats().await["bytes_out"].as_u64().expect("a number");
        assert!(now >= before, "{now} after {before}");
        before = now;
    }
}

#[tokio::test]
async fn a_connection_is_told_in_detail() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        ..Config::default()
    };
    let world = World::with(Server::builder().config(config).access(Staff)).await;
    let mut asked = hello("secret-session", 1);
    asked["token"] = json!("ana");
    asked["subscribe"] = json!({"news": null});
    asked["client"] = json!({"name": "tests", "version": "1.2"});
    let mut ana = world.welcomed(HERE, asked).await.expect("there is room");
    let ping: Value = serde_json::from_str(&ana.text().await.expect("a ping")).expect("JSON");
    ana.send(&json!({"type": "pong", "ts": ping["ts"]})).await;
    ana.send(&json!({"type": "unsubscribe", "id": 1, "channel": "other"}))
        .await;
    assert_eq!(
        ana.next().await.expect("a refusal")["code"],
        "not_subscribed"
    );
    let path = "/ws/stats/detailed";
    let refused = world.get(path, &["Authorization: Bearer ana"]).await;
    assert_eq!(
        refused.code(),
        (403, "forbidden".to_owned()),
        "a user is no admin"
    );
    let page = world
        .get(path, &["Authorization: Bearer boss"])
        .await
        .json();
    let [found] = &page["connections"].as_array().expect("a list")[..] else {
        panic!("one connection: {page}");
    };
    assert_eq!(found["user"], "ana");
    assert_eq!(found["ip"], HERE);
    assert_eq!(found["mode"], "bowline.v1");
    assert_eq!(found["client"], json!({"name": "tests", "version": "1.2"}));
    let session = found["session"].as_str().expect("a digest");
    assert!(session.len() == 32 && !session.contains("secret"));
    for field in ["connected_at", "last_seen"] {
        let text = found[field].as_str().expect("a time");
        assert!(text.starts_with("20") && text.ends_with('Z'), "{text}");
    }
    assert!(found["rtt_ms"].as_f64() > Some(0.0), "{found}");
    assert!(found["jitter_ms"].is_f64(), "{found}");
    for field in ["messages_in", "messages_out", "bytes_in", "bytes_out"] {
        assert!(found[field].as_u64() > Some(1), "{field}: {found}");
    }
    assert_eq!(found["queue_bytes"], 0);
    let followed: Vec<_> = found["subscriptions"].as_array().expect("a list").clone();
    let names: Vec<_> = followed.iter().map(|one| &one["channel"]).collect();
    assert_eq!(names, ["news", "user:ana"]);
    assert_eq!(followed[0]["lag"], 0);
    assert_eq!(found["health"], "excellent");
    assert_eq!(found["error_count"], 1);
    assert_eq!(found["errors"][0]["code"], "not_subscribed");
}

#[tokio::test]
async fn refused_upgrades_are_among_the_errors() {
    let world = open(Config::default()).await;
    // The first is judged before HTTP's machinery, the second by it.
    for target in ["/ws", "/ws/general"] {
        for (version, key, told) in [
            (8, "AAAAAAAAAAAAAAAAAAAAAA==", (426, "upgrade_required")),
            (13, "short", (400, "malformed")),
        ] {
            let head = format!(
                "GET {target} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\
                 Connection: upgrade",
                world.address
            );
            let answer = world.raw(HERE, &head, b"").await;
            assert_eq!(answer.code(), (told.0, told.1.to_owned()), "{target}");
            let versions = answer.header("sec-websocket-version");
            assert_eq!(versions.as_deref(), (told.0 == 426).then_some("13"));
        }
    }
    let errors = json!({"upgrade_required": 2, "malformed": 2});
    assert_eq!(world.stats().await["errors"], errors);
}

#[tokio::test]
async fn details_come_in_pages_and_by_filter() {
    let world = open(Config::default()).await;
    let mut clients = Vec::new();
    for n in 0..5 {
        let channel = if n % 2 == 0 { "even" } else { "odd" };
        clients.push(follower(&world, &format!("s{n}"), channel).await);
    }
    let page = world.get("/ws/stats/detailed?limit=2", &[]).await.json();
    assert_eq!(page["connections"].as_array().map(Vec::len), Some(2));
    let next = page["next"].as_str().expect("there is more");
    let rest = world
        .get(&format!("/ws/stats/detailed?after={next}"), &[])
        .await;
    let rest = rest.json();
    assert_eq!(rest["connections"].as_array().map(Vec::len), Some(3));
    assert!(rest["next"].is_null(), "{rest}");
    assert_eq!(world.detailed("channel=even").await.len(), 3);
    assert_eq!(world.detailed("channel=even&limit=3").await.len(), 3);
    assert_eq!(world.detailed("ip=127.0.0.1").await.len(), 5);
    assert_eq!(world.detailed("ip=127.0.0.2").await.len(), 0);
    assert_eq!(world.detailed("user=ana").await.len(), 0);
    for query in ["limit=0", "limit=x", "after=-1", "ip=here"] {
        let answer = world.get(&format!("/ws/stats/detailed?{query}"), &[]).await;
        assert_eq!(answer.code(), (400, "malformed".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_subscription_that_does_not_read_lags() {
    let config = Config {
        send_queue_bytes_max: 80_000,
        socket_send_buffer_bytes: 4_096,
        // It is looked at, and not cut meanwhile.
        send_timeout: Duration::from_secs(3_600),
        ..Config::default()
    };
    let world = open(config).await;
    let _slow = follower(&world, "slow", "c").await;
    for n in 0..100 {
        world.publish("c", json!([n, "x".repeat(60_000)])).await;
    }
    until("it lags", async || {
        let found = world.detailed("channel=c").await;
        let subscription = &found[0]["subscriptions"][0];
        subscription["lag"].as_u64() > Some(0)
            && subscription["live"] == false
            && found[0]["queue_bytes"].as_u64() > Some(0)
    })
    .await;
}

#[tokio::test]
async fn what_limits_count_is_told_by_address() {
    let world = World::with(
        Server::builder()
            .config(Config {
                connections_per_ip_max: 2,
                rate_limit_attempts_max: 3,
                ..strict()
            })
            .access(OpenAccess),
    )
    .await;
    let _one = world
        .welcomed("127.0.0.2", hello("a", 1))
        .await
        .expect("room");
    let _two = world
        .welcomed("127.0.0.2", hello("b", 1))
        .await
        .expect("room");
    let refused = world.welcomed("127.0.0.2", hello("c", 1)).await;
    assert_eq!(
        refused.err().expect("the third").code(),
        (4429, "too_many_connections")
    );
    for n in 0..3 {
        drop(
            world
                .welcomed("127.0.0.3", hello(&format!("d{n}"), 1))
                .await,
        );
    }
    let asked = async |query: &str| {
        let path = format!("/ws/stats/rate-limit{query}");
        world.get(&path, &[]).await.json()
    };
    until("the third attempt is counted", async || {
        let found = asked("?ip=127.0.0.3").await;
        found["addresses"][0]["blocked_until"].is_string()
    })
    .await;
    let found = asked("?ip=127.0.0.2").await;
    assert_eq!(
        (&found["window_s"], &found["attempts_max"]),
        (&json!(60.0), &json!(3))
    );
    let [address] = &found["addresses"].as_array().expect("a list")[..] else {
        panic!("one address: {found}");
    };
    assert_eq!(address["ip"], "127.0.0.2");
    assert_eq!(
        (&address["open"], &address["unverified"]),
        (&json!(2), &json!(2))
    );
    assert!(address["attempts"].as_u64() >= Some(2), "{address}");
    assert!(address["refused"].as_u64() >= Some(1), "{address}");
    let page = asked("?limit=1").await;
    assert_eq!(page["addresses"].as_array().map(Vec::len), Some(1));
    let next = page["next"].as_str().expect("there are more");
    let rest = asked(&format!("?after={next}")).await;
    assert_eq!(
        rest["addresses"].as_array().map(Vec::len),
        Some(2),
        "{rest}"
    );
}

#[tokio::test]
async fn cleaning_up_ends_the_silent_and_tells_what_it_removed() {
    let world = open(Config::default()).await;
    let mut client = follower(&world, "one", "a").await;
    let nothing = world.post("/ws/cleanup", &[], &json!(null)).await.json();
    assert_eq!(nothing["connections"], 0, "{nothing}");
    let removed = world
        .post("/ws/cleanup?silent_ms=0", &[], &json!(null))
        .await;
    let closed = client.closed();
    let removed = removed.json();
    assert_eq!(
        removed,
        json!({"connections": 1, "sessions": 0, "addresses": 0})
    );
    assert_eq!(closed.await.code(), (4408, "stale"));
    let stats = world.stats().await;
    assert_eq!(
        stats["connections"], 0,
        "it is gone once the answer is there"
    );
    assert_eq!(stats["disconnects"], json!({"4408": 1}));
    let refused = world
        .post("/ws/cleanup?silent_ms=-1", &[], &json!(null))
        .await;
    assert_eq!(refused.code(), (400, "malformed".to_owned()));
}

#[tokio::test]
async fn expired_sessions_are_forgotten_by_cleaning_up() {
    let engine = Memory::open(EngineConfig {
        session_ttl: Duration::from_millis(1),
        ..EngineConfig::default()
    });
    let engine = std::sync::Arc::new(engine.expect("it is sound"));
    let builder = Server::builder().engine(engine).access(OpenAccess);
    let world = World::with(builder).await;
    let mut client = follower(&world, "numbered", "a").await;
    client
        .send(&json!({"type": "publish", "seq": 1, "channel": "b", "data": 1}))
        .await;
    assert_eq!(client.next().await.expect("an ack")["type"], "acked");
    until("the record is over", async || {
        let answer = world.post("/ws/cleanup", &[], &json!(null)).await.json();
        answer["sessions"] == 1
    })
    .await;
    assert_eq!(world.stats().await["engine"]["sessions"], 0);
}

#[tokio::test]
async fn connections_are_ended_by_user_session_and_id() {
    let keys = vec![ApiKey::new(KEY).expect("long enough")];
    let grants = vec![bowline::Grant {
        pattern: "*".to_owned(),
        operations: Operation::ALL.to_vec(),
    }];
    let access = StaticAccess::new(keys, grants).with_admin(ApiKey::new(ADMIN).ok());
    let world = World::with(Server::builder().access(access)).await;
    let key = format!("X-API-Key: {KEY}");
    let admin = format!("Authorization: Bearer {ADMIN}");
    let mut one = follower(&world, "one", "a").await;
    let mut two = follower(&world, "two", "a").await;
    let mut three = follower(&world, "three", "b").await;
    let list = world.get("/ws/stats/detailed", &[&admin]).await.json();
    let end =
        async |header: &str, body: Value| world.post("/api/disconnect", &[header], &body).await;
    let id = &list["connections"][0]["id"];
    let ended = end(&key, json!({"connection": id})).await.json();
    assert_eq!(ended, json!({"disconnected": 1}));
    assert_eq!(one.closed().await.code(), (4403, "disconnected"));
    let session = &list["connections"][1]["session"];
    let ended = end(&admin, json!({"session": session})).await.json();
    assert_eq!(ended, json!({"disconnected": 1}));
    assert_eq!(two.closed().await.code(), (4403, "disconnected"));
    let nobody = end(&key, json!({"user": "nobody"})).await.json();
    assert_eq!(nobody, json!({"disconnected": 0}));
    three.send(&json!({"type": "ping", "ts": 1})).await;
    assert_eq!(three.next().await.expect("it lives")["type"], "pong");
    for body in [
        json!({}),
        json!({"user": "a", "connection": "1"}),
        json!({"session": "abc"}),
        json!({"connection": "x"}),
        json!({"user": 7}),
        json!({"who": "a"}),
    ] {
        let refused = end(&key, body.clone()).await;
        assert_eq!(refused.code(), (400, "malformed".to_owned()), "{body}");
    }
    for body in [json!({}), json!({"user": "a", "connection": "1"})] {
        let refused = end(&key, body.clone()).await.json();
        let message = refused["message"].as_str().expect("a sentence");
        let wanted = "exactly one of user, session and connection";
        assert!(message.contains(wanted), "{body}: {message}");
    }
    assert_eq!(end("X-No-Key: 1", json!({})).await.status, 401);
    for path in ["/ws/stats/detailed", "/ws/stats/rate-limit"] {
        assert_eq!(
            world.get(path, &[&key]).await.code(),
            (403, "forbidden".to_owned())
        );
        assert_eq!(world.get(path, &[&admin]).await.status, 200);
        assert_eq!(world.get(path, &[]).await.status, 401);
    }
    let refused = world.post("/ws/cleanup", &[&key], &json!(null)).await;
    assert_eq!(refused.code(), (403, "forbidden".to_owned()));
    assert_eq!(
        world
            .post("/ws/cleanup", &[&admin], &json!(null))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn users_are_disconnected_and_present_over_http() {
    let world = World::with(Server::builder().access(Names)).await;
    for (session, user) in [("a", "ana"), ("b", "ana"), ("c", "bo")] {
        let mut asked = hello(session, 1);
        asked["token"] = json!(user);
        asked["subscribe"] = json!({"room": null});
        let client = world.welcomed(HERE, asked).await.expect("there is room");
        // Kept open by the test's end.
        std::mem::forget(client);
    }
    let path = "/api/channels/room/presence";
    let token = &["Authorization: Bearer ana"];
    let all = world.get(path, token).await.json();
    let expected = json!({
        "channel": "room", "users": ["ana", "bo"], "user_count": 2, "connection_count": 3,
    });
    assert_eq!(all, expected);
    let one = world.get(&format!("{path}?limit=1"), token).await.json();
    assert_eq!(
        (&one["users"], &one["user_count"]),
        (&json!(["ana"]), &json!(2))
    );
    let refused = world.get(&format!("{path}?limit=x"), token).await;
    assert_eq!(refused.code(), (400, "malformed".to_owned()));
}

/// Every sample by its name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[tokio::test]
async fn metrics_have_a_head_each_and_move() {
    let world = open(Config::default()).await;
    let _client = follower(&world, "one", "news").await;
    world.publish("news", json!(1)).await;
    assert_eq!(world.get("/nowhere", &[]).await.status, 404);
    let answer = world.get("/metrics", &[]).await;
    let media = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(answer.header("content-type").as_deref(), Some(media));
    let found = samples(&answer.text);
    for (name, value) in [
        ("bowline_connections", 1.0),
        ("bowline_messages_received_total", 1.0),
        ("bowline_messages_sent_total", 2.0),
        ("bowline_errors_total{code=\"not_found\"}", 1.0),
        ("bowline_handshake_seconds_count", 1.0),
        ("bowline_append_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("bowline_engine_appended_total", 1.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}: {}", answer.text);
    }
    for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|name| answer.text.contains(&format!("# TYPE {name} histogram")))
            .unwrap_or(name);
        assert!(answer.text.contains(&format!("# TYPE {family} ")), "{line}");
    }
}

#[tokio::test]
async fn metrics_have_what_was_just_counted() {
    let world = open(Config::default()).await;
    let mut client = follower(&world, "one", "news").await;
    for n in 1..=20 {
        client.send(&json!({"type": "ping", "ts": n})).await;
        assert_eq!(client.next().await.expect("a pong")["type"], "pong");
        let found = samples(&world.get("/metrics", &[]).await.text);
        // The hello and the pings.
        let received = found["bowline_messages_received_total"];
        assert_eq!(received, f64::from(1 + n));
    }
}

#[tokio::test]
async fn metrics_may_ask_for_a_key() {
    let config = Config {
        metrics_public: false,
        ..Config::default()
    };
    let keys = vec![ApiKey::new(KEY).expect("long enough")];
    let access = StaticAccess::new(keys, Vec::new());
    let world = World::with(Server::builder().config(config).access(access)).await;
    assert_eq!(
        world.get("/metrics", &[]).await.code(),
        (401, "unauthorized".to_owned())
    );
    let key = format!("X-API-Key: {KEY}");
    assert_eq!(world.get("/metrics", &[&key]).await.status, 200);
}

#[tokio::test]
async fn the_routes_are_described() {
    let world = open(Config::default()).await;
    let document = world.get("/openapi.json", &[]).await.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    assert!(document["paths"]["/api/publish"]["post"]["responses"]["504"].is_object());
}
