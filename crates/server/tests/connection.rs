//! The life of connections on real sockets: one behaviour a test.

use std::{future::ready, sync::Arc, time::Duration};

use bowline::{
    AccessControl, Code, Config, Credentials, Data, Identity, Incoming, Operation, Payload,
    Rejection, Reply, Server,
};
use bowline_engine::BoxFuture;
use bowline_ws::MessageKind;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    time::timeout,
};

use client::{Client, DEADLINE, hello};

#[path = "support/client.rs"]
mod client;

async fn start(config: Config) -> (Server, String) {
    client::start(Server::builder().config(config).on_message(application)).await
}

/// For clients that neither read nor answer while much is published, which may take long on a busy
/// machine.
fn patient() -> Config {
    Config {
        ping_interval: DEADLINE * 10,
        send_timeout: DEADLINE * 10,
        ..Config::default()
    }
}

/// Echoes; panics and refuses on demand.
async fn application(incoming: Incoming) -> Result<Reply, Rejection> {
    match incoming.payload {
        Payload::Data(Data::Json(json)) if json == "\"panic\"" => panic!("on demand"),
        Payload::Data(Data::Json(json)) if json == "\"refuse\"" => Err(Rejection::new("no")),
        Payload::Data(Data::Json(json)) if json == "\"explain\"" => {
            Err(Rejection::new("é".repeat(10_000)))
        }
        Payload::Data(data) => Ok(Reply::Data(data)),
        Payload::Text(text) => Ok(Reply::Text(text)),
        Payload::Bytes(bytes) => Ok(Reply::Data(Data::Binary(bytes))),
    }
}

async fn publish(server: &Server, channel: &str, data: String) {
    server
        .publish(channel, Data::Json(data.into()))
        .await
        .expect("it is stored");
}

#[tokio::test]
async fn a_publication_reaches_its_subscriber_and_its_publisher_is_acked() {
    let (_server, address) = start(Config::default()).await;
    let (mut client, welcome) =
        Client::bowline(&address, hello("s-1", 1, json!({"news": null}))).await;
    assert_eq!(welcome["subscriptions"]["news"]["recovered"], true);
    assert_eq!(
        (&welcome["resumed"], &welcome["acked"]),
        (&json!(false), &json!(0))
    );
    client
        .send(
            &json!({"type": "publish", "seq": 1, "channel": "news", "data": {"a": 1}, "tag": "t"}),
        )
        .await;
    let (first, second) = (client.next().await, client.next().await);
    let (acked, message) = if first["type"] == "acked" {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(acked, json!({"type": "acked", "seq": 1}));
    assert_eq!(
        (&message["data"], &message["tag"]),
        (&json!({"a": 1}), &json!("t"))
    );
}

#[tokio::test]
async fn a_resumed_link_gets_what_it_missed() {
    let (server, address) = start(Config::default()).await;
    publish(&server, "news", "1".into()).await;
    let (mut client, _) =
        Client::bowline(&address, hello("s-1", 1, json!({"news": "first"}))).await;
    let seen = client.next().await;
    drop(client);
    for data in 2..=5 {
        publish(&server, "news", data.to_string()).await;
    }
    let (mut client, welcome) =
        Client::bowline(&address, hello("s-1", 2, json!({"news": seen["position"]}))).await;
    assert_eq!(welcome["subscriptions"]["news"]["recovered"], true);
    for data in 2..=5 {
        assert_eq!(client.next().await["data"], data);
    }
    publish(&server, "news", "6".into()).await;
    assert_eq!(client.next().await["data"], 6);
}

#[tokio::test]
async fn a_higher_link_takes_over_and_a_lower_one_is_refused() {
    let (_server, address) = start(Config::default()).await;
    let (mut old, _) = Client::bowline(&address, hello("s-1", 2, json!({}))).await;
    old.send(&json!({"type": "publish", "seq": 1, "channel": "c", "data": 0}))
        .await;
    assert_eq!(old.next().await["seq"], 1);
    let (_new, welcome) = Client::bowline(&address, hello("s-1", 3, json!({}))).await;
    assert_eq!(
        (&welcome["resumed"], &welcome["acked"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        old.closed().await,
        (4409, "{\"code\":\"replaced\"}".to_owned())
    );
    let mut late = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    late.send(&hello("s-1", 3, json!({}))).await;
    assert_eq!(late.closed().await.0, 4409);
}

#[tokio::test]
async fn a_lost_session_begins_anew() {
    let (_server, address) = start(Config::default()).await;
    let mut asked = hello("s-1", 1, json!({}));
    asked["first"] = json!(5);
    asked["next"] = json!(9);
    let (mut client, welcome) = Client::bowline(&address, asked).await;
    assert_eq!(
        (&welcome["resumed"], &welcome["reason"]),
        (&json!(false), &json!("session_lost"))
    );
    assert_ne!(welcome["session"], "s-1");
    // Its next link takes the fresh session over, whether or not the server has missed the first.
    let fresh = welcome["session"].as_str().expect("a session").to_owned();
    let (_next, welcome) = Client::bowline(&address, hello(&fresh, 2, json!({}))).await;
    assert_eq!(
        (&welcome["resumed"], &welcome["session"]),
        (&json!(true), &json!(fresh))
    );
    assert_eq!(client.closed().await.0, 4409);
}

#[tokio::test]
async fn a_refused_number_blocks_until_it_is_skipped() {
    let config = Config {
        message_bytes_max: 1_000,
        ..Config::default()
    };
    let (_server, address) = start(config).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    let publish =
        |seq: u64, data: &str| json!({"type": "publish", "seq": seq, "channel": "c", "data": data});
    client.send(&publish(1, &"x".repeat(2_000))).await;
    client.send(&publish(2, "lost")).await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 0}));
    let error = client.next().await;
    assert_eq!(
        (&error["seq"], &error["code"]),
        (&json!(1), &json!("message_too_big"))
    );
    client.send(&json!({"type": "skip", "seq": 1})).await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 1}));
    client.send(&publish(2, "kept")).await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 2}));
    client.send(&publish(1, "again")).await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 2}));
}

#[tokio::test]
async fn the_application_answers_and_its_panic_is_a_refusal() {
    let (_server, address) = start(Config::default()).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    client
        .send(&json!({"type": "send", "seq": 1, "data": [1]}))
        .await;
    assert_eq!(
        client.next().await,
        json!({"type": "reply", "seq": 1, "data": [1]})
    );
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 1}));
    client
        .send(&json!({"type": "send", "seq": 2, "data": "panic"}))
        .await;
    assert_eq!(client.next().await["type"], "acked");
    assert_eq!(client.next().await["code"], "handler_failed");
    client
        .send(&json!({"type": "send", "id": "v", "data": "refuse"}))
        .await;
    let error = client.next().await;
    assert_eq!(
        (&error["id"], &error["code"]),
        (&json!("v"), &json!("rejected"))
    );
}

#[tokio::test]
async fn what_the_application_says_of_a_refusal_is_bounded() {
    let (_server, address) = start(Config::default()).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    client
        .send(&json!({"type": "send", "id": "v", "data": "explain"}))
        .await;
    let error = client.next().await;
    assert_eq!(
        error["message"],
        "é".repeat(Rejection::MESSAGE_BYTES_MAX / 2)
    );
}

#[tokio::test]
async fn bad_messages_are_answered_and_the_connection_lives() {
    let (_server, address) = start(Config::default()).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    for (text, code) in [
        ("{", "malformed"),
        ("{\"type\":\"dance\",\"id\":9}", "unknown_type"),
        (
            "{\"type\":\"subscribe\",\"id\":9,\"channel\":\"\"}",
            "bad_channel",
        ),
        (
            "{\"type\":\"subscribe\",\"id\":9,\"channel\":\"a\",\"position\":\"x\"}",
            "bad_position",
        ),
        (
            "{\"type\":\"unsubscribe\",\"id\":9,\"channel\":\"a\"}",
            "not_subscribed",
        ),
    ] {
        client.send_raw(MessageKind::Text, text.as_bytes()).await;
        assert_eq!(client.next().await["code"], code, "{text}");
    }
    client.send(&json!({"type": "ping", "ts": 5})).await;
    assert_eq!(client.next().await, json!({"type": "pong", "ts": 5}));
}

#[tokio::test]
async fn the_first_message_must_be_hello() {
    let (_server, address) = start(Config::default()).await;
    for (text, code) in [
        ("{\"type\":\"ping\"}", "hello_expected"),
        ("{", "malformed"),
    ] {
        let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
        client.send_raw(MessageKind::Text, text.as_bytes()).await;
        assert_eq!(
            client.closed().await,
            (4400, format!("{{\"code\":\"{code}\"}}"))
        );
    }
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        pong_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let (_server, address) = start(config.clone()).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    assert_eq!(
        client.closed().await,
        (4408, "{\"code\":\"stale\"}".to_owned())
    );
    let config = Config {
        connection_timeout: Duration::from_millis(50),
        access_timeout: Duration::from_millis(50),
        ..config
    };
    let (_server, address) = start(config).await;
    let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    assert_eq!(client.closed().await.0, 4408);
}

/// An access control that answers for channels by pairs.
struct Pairs(Barrier);

impl AccessControl for Pairs {
    fn authenticate<'a>(&'a self, _: Credentials<'a>) -> BoxFuture<'a, Result<Identity, Code>> {
        Box::pin(ready(Ok(Identity::anonymous())))
    }

    fn authorize<'a>(&'a self, _: &'a Identity, _: Operation, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async {
            self.0.wait().await;
            true
        })
    }
}

#[tokio::test]
async fn an_access_control_is_asked_for_several_channels_at_once() {
    let builder = Server::builder().access(Pairs(Barrier::new(2)));
    let (_server, address) = client::start(builder).await;
    let channels = json!({"a": null, "b": null, "c": null, "d": null});
    let (_client, welcome) = Client::bowline(&address, hello("s-1", 1, channels)).await;
    for channel in ["a", "b", "c", "d"] {
        assert_eq!(
            welcome["subscriptions"][channel]["recovered"], true,
            "{welcome}"
        );
    }
}

#[tokio::test]
async fn plain_mode_carries_data_as_it_is() {
    let (server, address) = start(Config::default()).await;
    let mut client = Client::dial(&address, "/ws?channels=a,b", &[]).await;
    client
        .send_raw(MessageKind::Text, b"{\"type\":\"ping\",\"timestamp\":17}")
        .await;
    assert_eq!(
        client.frame().await,
        Ok("{\"type\":\"pong\",\"timestamp\":17}".to_owned())
    );
    publish(&server, "b", "{\"x\":1}".into()).await;
    assert_eq!(client.frame().await, Ok("{\"x\":1}".to_owned()));
    for raw in ["raw", "[\"ping\",17]"] {
        client.send_raw(MessageKind::Text, raw.as_bytes()).await;
        assert_eq!(client.frame().await, Ok(raw.to_owned()));
    }
    client.send_raw(MessageKind::Binary, &[1, 2]).await;
    assert_eq!(client.frame().await, Ok("[1, 2]".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_falls_back_to_the_log_and_misses_nothing() {
    const COUNT: usize = 2_000;
    let (server, address) = start(patient()).await;
    let (mut slow, _) = Client::bowline(&address, hello("s", 1, json!({"fat": null}))).await;
    let (mut fast, _) = Client::bowline(&address, hello("f", 1, json!({"fat": null}))).await;
    let (reader, server) = (
        tokio::spawn(async move {
            for number in 0..COUNT {
                assert_eq!(fast.next().await["data"]["n"], number);
            }
        }),
        Arc::new(server),
    );
    let padding = "x".repeat(1_800);
    for number in 0..COUNT {
        publish(
            &server,
            "fat",
            json!({"n": number, "padding": padding}).to_string(),
        )
        .await;
    }
    reader.await.expect("the fast reader is not held up");
    for number in 0..COUNT {
        assert_eq!(slow.next().await["data"]["n"], number);
    }
    publish(&server, "fat", json!({"n": COUNT}).to_string()).await;
    assert_eq!(slow.next().await["data"]["n"], COUNT);
}

#[tokio::test]
async fn shutdown_tells_its_clients_and_ends() {
    let server = Server::builder().build().expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        server
            .serve(listener, async { stopped.await.unwrap_or(()) })
            .await
    });
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    stop.send(()).expect("it serves");
    let advice = client.next().await;
    assert_eq!(
        (&advice["type"], &advice["reason"]),
        (&json!("reconnect"), &json!("restart"))
    );
    assert_eq!(
        client.closed().await,
        (4503, "{\"code\":\"draining\"}".to_owned())
    );
    drop(client);
    let ended = timeout(DEADLINE, serving).await.expect("it ends in time");
    ended.expect("no panic").expect("no error");
}

#[tokio::test]
async fn it_can_be_merged_into_an_axum_program() {
    let server = Server::builder().build().expect("it is built");
    let app = axum::Router::new()
        .route("/own", axum::routing::get(|| async { "mine" }))
        .merge(server.router());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({"c": null}))).await;
    publish(&server, "c", "1".into()).await;
    assert_eq!(client.next().await["data"], 1);
}

#[tokio::test]
async fn a_flood_is_refused_by_number_and_goes_on() {
    let config = Config {
        // Slow enough that the fourth comes too early on a busy machine as well.
        messages_per_second: 1,
        messages_burst_max: 3,
        inflight_max: 3,
        ..Config::default()
    };
    let (_server, address) = start(config).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    for seq in 1..=4 {
        client
            .send(&json!({"type": "publish", "seq": seq, "channel": "c", "data": seq}))
            .await;
    }
    let refused = loop {
        let message = client.next().await;
        if message["type"] == "error" {
            break message;
        }
    };
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert!(
        refused["retry_after_ms"].as_u64().expect("it is told") <= 1_000,
        "{refused}"
    );
    let seq = refused["seq"].as_u64().expect("it is named");
    loop {
        client
            .send(&json!({"type": "publish", "seq": seq, "channel": "c", "data": 0}))
            .await;
        // Other answers to what came too early are acked{seq − 1}, then the refusal.
        let answer = client.next().await;
        if answer["type"] == "acked" && answer["seq"] == seq {
            break;
        }
    }
}

#[tokio::test]
async fn an_unreadable_number_is_refused_like_any_other() {
    let (_server, address) = start(Config::default()).await;
    let (mut client, _) = Client::bowline(&address, hello("s-1", 1, json!({}))).await;
    let unreadable = json!({"type": "publish", "seq": 1, "data": 1});
    let next = json!({"type": "publish", "seq": 2, "channel": "c", "data": 1});
    let frame = format!("{unreadable}\n{next}");
    client.send_raw(MessageKind::Text, frame.as_bytes()).await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 0}));
    let error = client.next().await;
    assert_eq!(
        (&error["seq"], &error["code"]),
        (&json!(1), &json!("malformed"))
    );
    client
        .send(&json!({"type": "publish", "seq": 1, "channel": "c", "data": 1}))
        .await;
    assert_eq!(client.next().await, json!({"type": "acked", "seq": 1}));
}

#[tokio::test]
async fn no_ping_precedes_welcome() {
    let interval = Duration::from_millis(20);
    let config = Config {
        ping_interval: interval,
        ..Config::default()
    };
    let (_server, address) = start(config).await;
    let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    let early = timeout(5 * interval, client.frame()).await;
    assert!(early.is_err(), "{early:?}");
    client.send(&hello("s-1", 1, json!({}))).await;
    let first = client.frame().await.expect("the connection lives");
    assert!(first.starts_with("{\"type\":\"welcome\""), "{first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_says_where_the_subscription_stands() {
    const COUNT: u64 = 11_000;
    let (server, address) = start(patient()).await;
    let (mut slow, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    // More than sockets and queue hold, and more than retention keeps behind them.
    let padding = "x".repeat(800);
    for number in 1..=COUNT {
        publish(&server, "c", json!([number, padding]).to_string()).await;
    }
    let mut last: u64 = 0;
    let offset = |position: &Value| -> u64 {
        let text = position.as_str().expect("a position");
        text.split('.')
            .nth(1)
            .expect("an offset")
            .parse()
            .expect("a number")
    };
    let mut gaps = 0;
    while last < COUNT {
        let message = slow.next().await;
        if message["type"] == "gap" {
            let missed = message["missed"].as_u64().expect("it is known");
            assert_eq!(offset(&message["position"]), last + missed, "{message}");
            last += missed;
            gaps += 1;
        } else {
            assert_eq!(offset(&message["position"]), last + 1);
            last += 1;
        }
    }
    assert!(gaps > 0, "nothing was overtaken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_too_full_for_one_message_is_waited_for() {
    const COUNT: u64 = 150;
    let config = Config {
        message_bytes_max: 32_768,
        send_queue_bytes_max: 40_960,
        page_bytes_max: 16_384,
        ..Config::default()
    };
    let (server, address) = start(config).await;
    let (mut slow, _) = Client::bowline(&address, hello("s", 1, json!({"c": null}))).await;
    let padding = "x".repeat(12_000);
    for number in 1..=COUNT {
        let longer = "y".repeat(usize::try_from(number % 2).expect("it is small") * 18_000);
        publish(&server, "c", json!([number, padding, longer]).to_string()).await;
    }
    for number in 1..=COUNT {
        assert_eq!(slow.next().await["data"][0], number);
    }
    let mut http = TcpStream::connect(&address).await.expect("it listens");
    let request = format!("GET /ws/stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    http.write_all(request.as_bytes())
        .await
        .expect("it is read");
    let mut answer = String::new();
    http.read_to_string(&mut answer).await.expect("an answer");
    let started = answer
        .split("\"catchups_started\":")
        .nth(1)
        .expect("it is counted");
    let digits: String = started.chars().take_while(char::is_ascii_digit).collect();
    let started: u64 = digits.parse().expect("a number");
    // A fall that brings nothing is followed by a wait: never more falls than publications.
    assert!((1..=2 * COUNT).contains(&started), "{started}");
}
