//! Every route of `/openapi.json` is called, with and without a token.

use std::collections::BTreeSet;

use bowline::Config;
use serde_json::{Value, json};

use super::world::builder;
use crate::client::{Answer, HERE, World};

const TOKEN: &str = "Authorization: Bearer admin";

#[tokio::test]
async fn every_route_is_called() {
    let world = World::with(builder(Config::default())).await;
    let document = world.get("/openapi.json", &[]).await.json();
    let mut called = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("an object") {
        for (method, operation) in methods.as_object().expect("an object") {
            let route = format!("{} {path}", method.to_ascii_uppercase());
            let answer = call(&world, &route, "a", &[TOKEN]).await;
            let status = answer.status.to_string();
            assert!(answer.status < 300, "{route}: {answer:?}");
            let described = &operation["responses"][&status];
            assert!(described.is_object(), "{route}: {status} is not described");
            check_media(&route, &answer, described);
            check_doors(&world, &route, operation).await;
            called.insert(route);
        }
    }
    assert_eq!(called.len(), 18, "{called:?}");
}

fn check_media(route: &str, answer: &Answer, described: &Value) {
    let media = answer.header("content-type");
    let media = media.as_deref().and_then(|media| media.split(';').next());
    let described = described["content"].as_object();
    let described = described.and_then(|content| content.keys().next());
    assert_eq!(media, described.map(String::as_str), "{route}");
}

/// Where a token is asked for, nothing is told without one.
async fn check_doors(world: &World, route: &str, operation: &Value) {
    let security = operation["security"]
        .as_array()
        .expect("every route says so");
    let is_open = security.contains(&json!({}));
    // `Doors` takes guests for users, who may do anything but on this channel.
    let status = call(world, route, "forbidden", &[]).await.status;
    let expected = if is_open { 200..300 } else { 403..404 };
    assert!(expected.contains(&status), "{route}: {status}");
}

async fn call(world: &World, route: &str, channel: &str, headers: &[&str]) -> Answer {
    let publication = json!({"channel": channel, "data": 1}).to_string();
    let history = format!("/api/channels/{channel}/history?limit=1");
    let presence = format!("/api/channels/{channel}/presence?limit=1");
    let (path, body) = match route {
        "POST /api/publish" => ("/api/publish", &*publication),
        "POST /api/disconnect" => ("/api/disconnect", r#"{"user":"nobody"}"#),
        "POST /ws/cleanup" => ("/ws/cleanup", ""),
        "GET /api/channels/{channel}/history" => (&*history, ""),
        "GET /api/channels/{channel}/presence" => (&*presence, ""),
        "GET /ws/session/{id}" | "OPTIONS /ws/session/{id}" => ("/ws/session/7", ""),
        "GET /ws/stats/detailed" => ("/ws/stats/detailed?limit=1&channel=a&user=b&ip=::1", ""),
        "GET /ws/stats/rate-limit" => ("/ws/stats/rate-limit?limit=1&ip=::1", ""),
        "GET /ws" | "OPTIONS /ws" => ("/ws", ""),
        "GET /ws/general" | "OPTIONS /ws/general" => ("/ws/general", ""),
        "GET /ws/stats" => ("/ws/stats", ""),
        "GET /metrics" => ("/metrics", ""),
        "GET /health/live" => ("/health/live", ""),
        "GET /health/ready" => ("/health/ready", ""),
        "GET /openapi.json" => ("/openapi.json", ""),
        route => panic!("{route} has no case"),
    };
    let method = route.split(' ').next().expect("a method");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}", world.address);
    for header in headers {
        head += &format!("\r\n{header}");
    }
    if method == "POST" {
        head += &format!(
            "\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
    }
    world.raw(HERE, &head, body.as_bytes()).await
}
