//! `[websocket]`: who is let in.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::Case;
use crate::{
    client::{Client, HERE, Reach, hello},
    registries::process::{ADMIN, token},
};

/// What a second client is told, or `welcome`.
const REFUSED: &str = "too_many_connections";

pub(super) fn case(name: &str) -> Option<Case> {
    const STRICT: (&str, &str) = ("websocket.loopback_exempt", "false");
    const FEW: (&str, &str) = ("websocket.max_connections_per_ip", "1");
    let (base, value, expected): (&[_], _, _) = match name {
        "websocket.max_connections_per_ip" => (&[STRICT], "1", json!(REFUSED)),
        "websocket.max_verified_connections_per_ip" => (&[STRICT, FEW], "1", json!(REFUSED)),
        "websocket.max_connections_per_user" => (&[], "1", json!(REFUSED)),
        "websocket.loopback_exempt" => (&[FEW], "false", json!(REFUSED)),
        "websocket.max_connections" => (&[], "1", json!("overloaded")),
        "websocket.max_handshakes" => (&[], "1", json!("overloaded")),
        "websocket.handshakes_per_second" => (&[], "1", json!("overloaded")),
        "websocket.max_refusals" => (
            &[("websocket.max_connections", "1")],
            "0",
            json!("HTTP 503"),
        ),
        "websocket.max_addresses" => (&[STRICT], "16", json!(true)),
        "websocket.rate_limit_attempts" => (&[STRICT], "1", json!("too_many_attempts")),
        "websocket.rate_limit_window" => {
            let base = &[STRICT, ("websocket.rate_limit_attempts", "1")];
            (base, "2", json!(true))
        }
        // A hello has at least what every message has.
        "websocket.max_hello_size" => (
            &[("websocket.max_message_size", "1_000")],
            "1",
            json!(1_009),
        ),
        "websocket.max_large_hellos" => (&[], "1", json!("overloaded")),
        "websocket.connection_timeout" => (&[("websocket.access_timeout", "1")], "1", json!(4408)),
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, reach: &Reach) -> Value {
    match name {
        "websocket.max_verified_connections_per_ip" => second(reach, Some("ana"), Some("bo")).await,
        "websocket.max_connections_per_user" => second(reach, Some("ana"), Some("ana")).await,
        "websocket.max_handshakes" | "websocket.handshakes_per_second" => {
            // Of two there must be one within the same second.
            let mut silent = Vec::new();
            let mut outcome = Value::Null;
            while silent.len() < 10 && outcome != "overloaded" {
                silent.push(reach.dial(HERE).await);
                outcome = told(reach, None).await;
            }
            outcome
        }
        "websocket.max_addresses" => addresses(reach).await,
        "websocket.rate_limit_window" => {
            drop(
                reach
                    .welcomed(HERE, hello("a", 1))
                    .await
                    .expect("the first"),
            );
            let refused = reach.welcomed(HERE, hello("b", 1)).await;
            let refused = refused.err().expect("the second");
            json!(refused.retry_after_ms() <= 2_001)
        }
        "websocket.max_hello_size" => {
            let mut client = reach.dial(HERE).await.expect("101");
            let closed = client.hello(long("s", 100)).await.err();
            closed.map_or(Value::Null, |closed| json!(closed.close))
        }
        "websocket.max_large_hellos" => large(reach).await,
        "websocket.connection_timeout" => {
            let mut silent = reach.dial(HERE).await.expect("101");
            let closed = timeout(Duration::from_secs(5), silent.closed()).await;
            closed.map_or(Value::Null, |closed| json!(closed.close))
        }
        _ => second(reach, None, None).await,
    }
}

/// What the second of two clients is told, while the first one is there.
async fn second(reach: &Reach, first: Option<&str>, then: Option<&str>) -> Value {
    let first = reach.welcomed(HERE, asked("first", first)).await;
    let _first = first.expect("there is room for one");
    told(reach, then).await
}

async fn told(reach: &Reach, user: Option<&str>) -> Value {
    let mut client: Client = match reach.dial(HERE).await {
        Ok(client) => client,
        Err(answer) => return json!(format!("HTTP {}", answer.status)),
    };
    match client.hello(asked("second", user)).await {
        Ok(_) => json!("welcome"),
        Err(closed) => json!(closed.code().1),
    }
}

fn asked(session: &str, user: Option<&str>) -> Value {
    let mut hello = hello(session, 1);
    if let Some(user) = user {
        hello["token"] = json!(token(user, &json!({})));
    }
    hello
}

/// Whether at most sixteen addresses are remembered of twenty that came and went.
async fn addresses(reach: &Reach) -> Value {
    for n in 1..=20 {
        let from = format!("127.0.1.{n}");
        drop(reach.welcomed(&from, hello(&from, 1)).await.expect("room"));
    }
    let known = reach.get("/ws/stats/rate-limit", &[ADMIN]).await.json();
    json!(known["addresses"].as_array().map(Vec::len) <= Some(16))
}

/// A hello that asks for so many channels with names of 100 bytes.
fn long(session: &str, channels: usize) -> Value {
    let name = |n: usize| (format!("{n:0>100}"), Value::Null);
    let mut hello = hello(session, 1);
    hello["subscribe"] = json!((0..channels).map(name).collect::<Map<_, _>>());
    hello
}

/// How a hello is refused that is larger than other messages while another such one is on its way.
async fn large(reach: &Reach) -> Value {
    let text = long("first", 700).to_string();
    let mut first = reach.dial(HERE).await.expect("101");
    first.send_part(&text[..72_000], text.len()).await;
    // It may not have been read yet: who comes too early is welcomed.
    for _ in 0..20 {
        let mut other = reach.dial(HERE).await.expect("101");
        if let Err(closed) = other.hello(long("other", 700)).await {
            return json!(closed.code().1);
        }
    }
    json!("welcome")
}
