//! Every code of the table is provoked.

use std::sync::atomic::Ordering;

use bowline::{Code, Config};
use bowline_engine::EngineConfig;
use serde_json::json;

use super::world::{Doors, Fragile, SHORT, builder};
use crate::client::{Answer, Client, HERE, Reach, World, hello, strict, until};

#[tokio::test]
async fn every_code_of_the_table_is_provoked() {
    for code in Code::ALL {
        let found = provoke(*code).await;
        assert_eq!(found, code.as_str());
    }
}

/// Does what the code is told for, and answers which one was told.
async fn provoke(code: Code) -> String {
    match code {
        Code::Malformed
        | Code::HelloExpected
        | Code::UnknownType
        | Code::TooDeep
        | Code::BadChannel
        | Code::BadPosition
        | Code::OutOfOrder => by_message(code).await,
        Code::Unauthorized | Code::TokenExpired | Code::Forbidden | Code::OriginNotAllowed => {
            by_identity(code).await
        }
        Code::HelloTimeout | Code::Stale | Code::SendTimeout => by_silence(code).await,
        Code::RateLimited
        | Code::TooManyConnections
        | Code::TooManyAttempts
        | Code::TooManySubscriptions
        | Code::TooManyChannels
        | Code::TooManyInflight
        | Code::MessageTooBig
        | Code::Overloaded => by_excess(code).await,
        Code::NotSubscribed | Code::AlreadySubscribed | Code::NotSupported | Code::Replaced => {
            by_request(code).await
        }
        Code::NoHandler | Code::HandlerFailed | Code::HandlerTimeout | Code::Rejected => {
            by_application(code).await
        }
        Code::KeyReused
        | Code::StorageFull
        | Code::StorageUnavailable
        | Code::FateUnknown
        | Code::Internal => by_engine(code).await,
        Code::Draining | Code::Disconnected => by_operator(code).await,
        Code::NotFound
        | Code::MethodNotAllowed
        | Code::UnsupportedMediaType
        | Code::UpgradeRequired
        | Code::HeadersTooLarge => by_http(code).await,
        code => panic!("{code} has no case"),
    }
}

async fn world(config: Config) -> World {
    World::with(builder(config)).await
}

/// The code of the next refusal.
async fn refusal(client: &mut Client) -> String {
    loop {
        let message = client.next().await.expect("the connection lives");
        if message["type"] == "error" {
            return message["code"].as_str().expect("a code").to_owned();
        }
    }
}

async fn closed(client: &mut Client) -> String {
    client.closed().await.code().1.to_owned()
}

fn told(answer: &Answer) -> String {
    answer.code().1
}

async fn by_message(code: Code) -> String {
    let world = world(Config::default()).await;
    if code == Code::HelloExpected {
        let mut client = world.dial(HERE).await.expect("101");
        client.send(&json!({"type": "ping"})).await;
        return closed(&mut client).await;
    }
    let mut client = world.client("s", json!({})).await;
    let deep = format!(
        r#"{{"type":"publish","id":1,"channel":"a","data":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let text = match code {
        Code::Malformed => "{",
        Code::UnknownType => r#"{"type":"nonsense"}"#,
        Code::TooDeep => &deep,
        Code::BadChannel => r#"{"type":"subscribe","id":1,"channel":""}"#,
        Code::BadPosition => r#"{"type":"subscribe","id":1,"channel":"a","position":7}"#,
        _ => r#"{"type":"publish","seq":5,"channel":"a","data":1}"#,
    };
    client.send_text(text).await;
    refusal(&mut client).await
}

async fn by_identity(code: Code) -> String {
    let world = world(Config::default()).await;
    match code {
        Code::Forbidden => {
            let answer = world.publish("forbidden", json!(1)).await;
            told(&answer)
        }
        Code::OriginNotAllowed => {
            let answer = world.get("/ws", &["Origin: https://evil.example"]).await;
            told(&answer)
        }
        _ => {
            let mut hello = hello("s", 1);
            hello["token"] = json!(code.as_str());
            let refused = world.welcomed(HERE, hello).await.err().expect("no welcome");
            refused.code().1.to_owned()
        }
    }
}

async fn by_silence(code: Code) -> String {
    let config = match code {
        Code::HelloTimeout => Config {
            connection_timeout: SHORT,
            access_timeout: SHORT,
            ..Config::default()
        },
        Code::Stale => Config {
            ping_interval: SHORT,
            pong_timeout: SHORT,
            ..Config::default()
        },
        _ => Config {
            send_timeout: SHORT,
            socket_send_buffer_bytes: 4_096,
            messages_per_second: 100_000,
            messages_burst_max: 100_000,
            ..Config::default()
        },
    };
    let world = world(config).await;
    if code == Code::HelloTimeout {
        return closed(&mut world.dial(HERE).await.expect("101")).await;
    }
    let mut client = world.client("s", json!({"subscribe": {"a": null}})).await;
    if code == Code::Stale {
        return closed(&mut client).await;
    }
    // It never reads: more is published than both sides' buffers hold, and the reason, which can't
    // reach it either, stands in the statistics.
    for _ in 0..150 {
        let stored = world.publish("a", json!("x".repeat(60_000))).await;
        assert_eq!(stored.status, 200);
    }
    until("the connection is given up", async || {
        let stats = world
            .get("/ws/stats", &["Authorization: Bearer admin"])
            .await;
        stats.json()["errors"][code.as_str()] == 1
    })
    .await;
    code.as_str().to_owned()
}

async fn by_excess(code: Code) -> String {
    let config = Config {
        messages_per_second: 1,
        messages_burst_max: 64,
        message_bytes_max: 1_000,
        subscriptions_per_connection_max: 1,
        inflight_max: 2,
        personal_channels: false,
        ..strict()
    };
    let config = match code {
        Code::TooManyConnections => Config {
            connections_per_ip_max: 1,
            ..config
        },
        Code::TooManyAttempts => Config {
            rate_limit_attempts_max: 1,
            ..config
        },
        Code::Overloaded => Config {
            connections_max: 1,
            ..config
        },
        _ => config,
    };
    let engine = Fragile::new(EngineConfig {
        channels_max: 1,
        ..EngineConfig::default()
    });
    let world = World::with(builder(config).engine(engine)).await;
    let mut client = world.client("s", json!({"subscribe": {"a": null}})).await;
    let two = |kind: &str| format!(r#"{{"type":"{kind}","id":1,"channel":"b","data":1}}"#);
    let text = match code {
        Code::TooManyConnections | Code::TooManyAttempts | Code::Overloaded => {
            let refused = world.welcomed(HERE, hello("t", 1)).await;
            return refused.err().expect("no welcome").code().1.to_owned();
        }
        Code::RateLimited => vec![r#"{"type":"ping"}"#.to_owned(); 70].join("\n"),
        Code::TooManySubscriptions => two("subscribe"),
        Code::TooManyChannels => {
            let stored = world.publish("a", json!(1)).await;
            assert_eq!(stored.status, 200);
            two("publish")
        }
        Code::TooManyInflight => (1..=3)
            .map(|seq| format!(r#"{{"type":"send","seq":{seq},"data":"x"}}"#))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => {
            let data = "x".repeat(2_000);
            format!(r#"{{"type":"publish","id":1,"channel":"a","data":"{data}"}}"#)
        }
    };
    client.send_text(&text).await;
    refusal(&mut client).await
}

async fn by_request(code: Code) -> String {
    let world = world(Config::default()).await;
    let mut client = world.client("s", json!({"subscribe": {"a": null}})).await;
    let request = match code {
        Code::Replaced => {
            let mut second = hello("s", 2);
            second["id"] = json!(2);
            let _second = world.welcomed(HERE, second).await.expect("it takes over");
            return closed(&mut client).await;
        }
        Code::NotSubscribed => json!({"type": "unsubscribe", "id": 1, "channel": "b"}),
        Code::AlreadySubscribed => json!({"type": "subscribe", "id": 1, "channel": "a"}),
        // A guest has nothing to refresh.
        _ => json!({"type": "refresh", "id": 1, "token": "nobody"}),
    };
    client.send(&request).await;
    refusal(&mut client).await
}

async fn by_application(code: Code) -> String {
    let config = Config {
        handler_timeout: SHORT,
        ..Config::default()
    };
    let world = if code == Code::NoHandler {
        World::with(bowline::Server::builder().access(Doors)).await
    } else {
        world(config).await
    };
    let data = match code {
        Code::HandlerFailed => "panic",
        Code::HandlerTimeout => "wait",
        _ => "reject",
    };
    let mut client = world.client("s", json!({})).await;
    client
        .send(&json!({"type": "send", "id": 1, "data": data}))
        .await;
    refusal(&mut client).await
}

async fn by_engine(code: Code) -> String {
    let engine = Fragile::new(EngineConfig {
        messages_max: 1,
        ..EngineConfig::default()
    });
    let config = Config {
        publish_timeout: SHORT,
        ..Config::default()
    };
    let world = World::with(builder(config).engine(engine.clone())).await;
    let keyed = async |data: u64| {
        let body = json!({"channel": "a", "data": data, "key": "k"}).to_string();
        world
            .post("/api/publish", "application/json", body.as_bytes())
            .await
    };
    match code {
        Code::KeyReused => {
            assert_eq!(keyed(1).await.status, 200);
            told(&keyed(2).await)
        }
        Code::StorageFull => {
            assert_eq!(world.publish("a", json!(1)).await.status, 200);
            told(&world.publish("b", json!(1)).await)
        }
        Code::StorageUnavailable => told(&world.publish("away", json!(1)).await),
        Code::FateUnknown => told(&world.publish("mute", json!(1)).await),
        _ => {
            engine.loses_sessions.store(true, Ordering::Relaxed);
            let refused = world.welcomed(HERE, hello("s", 1)).await;
            refused.err().expect("no welcome").code().1.to_owned()
        }
    }
}

async fn by_operator(code: Code) -> String {
    let server = builder(Config::default()).build().expect("it is built");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
    let world = World {
        server,
        reach: Reach { address },
    };
    let mut client = world.client("s", json!({})).await;
    if code == Code::Draining {
        drop(stop);
        return closed(&mut client).await;
    }
    let body = json!({"connection": "1"}).to_string();
    let ended = world.post("/api/disconnect", "application/json", body.as_bytes());
    let (told, ended) = tokio::join!(closed(&mut client), ended);
    assert_eq!(ended.json(), json!({"disconnected": 1}));
    told
}

async fn by_http(code: Code) -> String {
    let world = world(Config::default()).await;
    let answer = match code {
        Code::NotFound => world.get("/nowhere", &[]).await,
        Code::MethodNotAllowed => world.get("/api/publish", &[]).await,
        Code::UnsupportedMediaType => world.post("/api/publish", "text/plain", b"x").await,
        Code::UpgradeRequired => {
            let headers = [
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 12",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ];
            world.get("/ws", &headers).await
        }
        _ => {
            let long = format!("X-Long: {}", "x".repeat(9_000));
            world.get("/health/live", &[&long]).await
        }
    };
    told(&answer)
}
