//! Who is refused, what is too much, and how a failing engine shows.

use std::{sync::Arc, time::Duration};

use bowline_engine::AppendError;

use super::world::{Faulty, KEY, World, engine};
use crate::{Config, OpenAccess};

#[tokio::test]
async fn without_a_key_nothing_is_told() {
    let world = World::start().await;
    for (method, path) in [
        ("POST", "/api/publish"),
        ("GET", "/api/channels/a/history"),
        ("GET", "/ws/stats"),
    ] {
        for header in [
            "X-No-Key: 1",
            "X-API-Key: wrong",
            "Authorization: Basic eDp5",
            "Authorization: Bearer a-key-for-tests-only\r\nX-API-Key: another-one",
        ] {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}");
            let answer = world.raw(&head, b"").await;
            assert_eq!(answer.code(), (401, "unauthorized"), "{path} {header}");
            assert!(answer.head.contains("www-authenticate: bearer"));
        }
    }
}

#[tokio::test]
async fn unknown_paths_methods_and_media_have_the_same_shape() {
    let world = World::start().await;
    assert_eq!(world.get("/nowhere").await.code(), (404, "not_found"));
    let wrong = world.get("/api/publish").await;
    assert_eq!(wrong.code(), (405, "method_not_allowed"));
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    let media = world.post("/api/publish", "text/plain", "", b"x").await;
    assert_eq!(media.code(), (415, "unsupported_media_type"));
    let channel = world.get("/api/channels/a%FF/history").await;
    assert_eq!(channel.code(), (400, "bad_channel"));
    let control = world.get("/api/channels/a%0Ab/history").await;
    assert_eq!(control.code(), (400, "bad_channel"));
}

#[tokio::test]
async fn bodies_data_and_batches_are_bounded() {
    let config = Config {
        message_bytes_max: 1_000,
        http_body_bytes_max: 8_000,
        batch_messages_max: 3,
        ..Config::default()
    };
    let world = World::with(config, engine()).await;
    let data = |length: usize| format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(length - 2));
    assert_eq!(world.publish(&data(1_000)).await.status, 200);
    assert_eq!(
        world.publish(&data(1_001)).await.code(),
        (413, "message_too_big")
    );
    let announced = world.publish(&data(9_000)).await;
    assert_eq!(announced.code(), (413, "message_too_big"));
    let four = r#"{"channels":["a","b","c","d"],"data":1}"#;
    assert_eq!(world.publish(four).await.code(), (413, "message_too_big"));
    let config = Config {
        message_bytes_max: 1_000,
        http_body_bytes_max: 6_000,
        ..Config::default()
    };
    let wide = World::with(config, engine()).await;
    let everywhere = |channels: usize| {
        let channels: Vec<_> = (0..channels)
            .map(|channel| format!("\"{channel}\""))
            .collect();
        let (channels, data) = (channels.join(","), "x".repeat(998));
        format!(r#"{{"messages":[{{"channels":[{channels}],"data":"{data}"}}]}}"#)
    };
    // Sixteen times the body's bound is 96,000 bytes.
    assert_eq!(wide.publish(&everywhere(96)).await.status, 200);
    let refused = wide.publish(&everywhere(97)).await;
    assert_eq!(refused.code(), (413, "message_too_big"));
    let chunked = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked"
    );
    let body = format!("2328\r\n{}\r\n0\r\n\r\n", " ".repeat(0x2328));
    let answer = world.raw(&chunked, body.as_bytes()).await;
    assert_eq!(answer.code(), (413, "message_too_big"));
}

#[tokio::test]
async fn a_body_may_come_in_pieces_of_any_size() {
    let world = World::start().await;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked"
    );
    let body = r#"{"channel":"a","data":"in pieces"}"#;
    let mut pieces: String = body.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
    pieces.push_str("0\r\nX-Trailer: 1\r\n\r\n");
    assert_eq!(world.raw(&head, pieces.as_bytes()).await.status, 200);
    let page = world.get("/api/channels/a/history").await;
    assert_eq!(page.body["publications"][0]["data"], "in pieces");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut() {
    let config = Config {
        connection_timeout: Duration::from_millis(50),
        access_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let world = World::with(config, engine()).await;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 100"
    );
    assert_eq!(world.raw(&head, b"{").await.code(), (408, "hello_timeout"));
}

#[tokio::test]
async fn a_failing_engine_is_told_with_its_fate() {
    for (error, expected) in [
        (Some(AppendError::StorageFull), (503, "storage_full")),
        (
            Some(AppendError::StorageUnavailable),
            (503, "storage_unavailable"),
        ),
        (
            Some(AppendError::TooManyChannels),
            (503, "too_many_channels"),
        ),
        (Some(AppendError::FateUnknown), (504, "fate_unknown")),
        (None, (504, "fate_unknown")),
    ] {
        let config = Config {
            publish_timeout: Duration::from_millis(20),
            ..Config::default()
        };
        let faulty = Faulty {
            inner: engine(),
            error,
        };
        let world = World::with(config, Arc::new(faulty)).await;
        let answer = world.publish(r#"{"channel":"a","data":1}"#).await;
        assert_eq!(answer.code(), expected);
        assert_eq!(answer.body["retry"], true);
        // Whose fate is not known is repeated at once.
        let waits = expected.0 == 503;
        assert_eq!(answer.body["retry_after_ms"] == 1_000, waits, "{answer:?}");
        assert_eq!(answer.head.contains("retry-after: 1"), waits, "{answer:?}");
        let ready = world.get("/health/ready").await;
        assert_eq!(ready.code(), (503, "storage_unavailable"));
        assert_eq!(world.get("/health/live").await.status, 200);
    }
}

#[tokio::test]
async fn places_for_bodies_are_bounded() {
    let config = Config {
        http_requests_max: 1,
        publish_timeout: Duration::from_secs(30),
        ..Config::default()
    };
    let faulty = Faulty {
        inner: engine(),
        error: None,
    };
    let world = Arc::new(World::with(config, Arc::new(faulty)).await);
    // Of two at once one waits for the engine, and the other one is turned away.
    let publish = || {
        let world = world.clone();
        tokio::spawn(async move { world.publish(r#"{"channel":"a","data":1}"#).await })
    };
    let (first, second) = (publish(), publish());
    let answer = tokio::select! {
        answer = first => answer,
        answer = second => answer,
    };
    let answer = answer.unwrap();
    assert_eq!(answer.code(), (503, "overloaded"));
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
}

#[tokio::test]
async fn development_mode_needs_no_key_and_answers_only_this_machine() {
    let config = Config {
        dev: true,
        ..Config::default()
    };
    let world = World::with_access(config, engine(), OpenAccess).await;
    for (headers, status) in [
        ("Host: localhost:8000", 200),
        ("Host: 127.0.0.1\r\nOrigin: http://localhost:3000", 200),
        ("Host: evil.example", 403),
        ("Host: localhost\r\nOrigin: https://evil.example", 403),
    ] {
        for path in ["/ws/stats", "/health/live"] {
            let head = format!("GET {path} HTTP/1.1\r\n{headers}");
            let answer = world.raw(&head, b"").await;
            assert_eq!(answer.status, status, "{headers}");
        }
        let head = format!("GET /nowhere HTTP/1.1\r\n{headers}");
        let expected = if status == 200 { 404 } else { 403 };
        assert_eq!(world.raw(&head, b"").await.status, expected, "{headers}");
    }
}
