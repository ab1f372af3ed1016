//! Requests of welcomed clients, and of the program itself, that are refused, and how.

use std::sync::Arc;

use bowline::{
    Config, Data, EngineConfig, Incoming, Memory, Payload, PublishError, Rejection, Reply, Server,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Client, HERE, World, hello};

#[tokio::test]
async fn volatile_messages_beyond_the_queue_are_told_when_to_come_again() {
    let open = watch::Sender::new(false);
    let gate = open.clone();
    let handler = move |_: Incoming| {
        let mut gate = gate.subscribe();
        async move {
            gate.wait_for(|open| *open).await.expect("the test lives");
            Ok::<_, Rejection>(Reply::Empty)
        }
    };
    let config = Config::default();
    let (inflight, burst) = (config.inflight_max, config.messages_burst_max as usize);
    assert!(burst > inflight + 2, "else the rate would refuse first");
    let world = World::with(Server::builder().config(config).on_message(handler)).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    // One is handled, so many wait, and the next is refused.
    for n in 0..inflight + 2 {
        client
            .send(&json!({"type": "send", "id": n, "data": n}))
            .await;
    }
    let refused = client.next().await.expect("an answer");
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["code"]),
        (
            &json!("error"),
            &json!(inflight + 1),
            &json!("rate_limited")
        )
    );
    assert_eq!(
        (&refused["retry"], &refused["retry_after_ms"]),
        (&json!(true), &json!(100))
    );
    open.send_replace(true);
    for n in 0..=inflight {
        let reply = client.next().await.expect("an answer");
        assert_eq!((&reply["type"], &reply["id"]), (&json!("reply"), &json!(n)));
    }
}

#[tokio::test]
async fn what_is_too_deep_is_refused_by_its_number_and_the_rest_goes_on() {
    let nested = |levels: usize| format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
    let publish = |name: &str, number: u32, data: &str| {
        format!(r#"{{"type":"publish","{name}":{number},"channel":"c","data":{data}}}"#)
    };
    let world = World::start(Config::default()).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    client.send_text(&publish("seq", 1, &nested(128))).await;
    assert_eq!(client.next().await.expect("an answer")["type"], "acked");
    let refused = client.next().await.expect("an answer");
    assert_eq!(
        (&refused["type"], &refused["seq"], &refused["code"]),
        (&json!("error"), &json!(1), &json!("too_deep"))
    );
    client.send(&json!({"type": "skip", "seq": 1})).await;
    assert_eq!(client.next().await.expect("an answer")["seq"], 1);
    // Its neighbours in a frame are taken, and the next number, the deepest that there is.
    let frame = [
        publish("id", 7, "1"),
        publish("id", 8, &nested(128)),
        publish("seq", 2, &nested(127)),
    ];
    client.send_text(&frame.join("\n")).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = client.next().await.expect("an answer");
        let about = [&answer["id"], &answer["seq"]].map(ToString::to_string);
        seen.push((answer["type"].to_string(), about.concat()));
    }
    seen.sort();
    let expected = [
        ("\"acked\"", "null2"),
        ("\"error\"", "8null"),
        ("\"reply\"", "7null"),
    ];
    let expected = expected.map(|(kind, about)| (kind.to_owned(), about.to_owned()));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn no_entrance_takes_data_that_no_message_could_carry() {
    let world = World::start(Config::default()).await;
    for (levels, status) in [(127, 200), (128, 400)] {
        let data = format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
        let body = format!(r#"{{"channel":"c","data":{data}}}"#);
        let head = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            world.address,
            body.len()
        );
        let answer = world.raw(HERE, &head, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{levels}: {}", answer.text);
    }
}

/// The next message that is no `acked`.
async fn told(client: &mut Client) -> Value {
    loop {
        let message = client.next().await.expect("an answer");
        if message["type"] != "acked" {
            return message;
        }
    }
}

/// Answers with data of the kind and size that the message asks for, `"<kind> <size>"`.
async fn talker(incoming: Incoming) -> Result<Reply, Rejection> {
    let asked = match incoming.payload {
        Payload::Data(data) => String::from_utf8_lossy(data.bytes()).into_owned(),
        Payload::Text(text) => text,
        Payload::Bytes(_) => return Ok(Reply::Empty),
    };
    let (kind, size) = asked.trim_matches('"').split_once(' ').expect("two words");
    let size: usize = size.parse().expect("a number");
    let text = match kind {
        "long" => format!("\"{}\"", "x".repeat(size - 2)),
        "deep" => "[".repeat(size) + &"]".repeat(size),
        "raw" => return Ok(Reply::Data(Data::Binary(vec![0xff; size].into()))),
        _ => "x".repeat(size),
    };
    Ok(Reply::Data(Data::Json(text.into())))
}

#[tokio::test]
async fn a_reply_that_can_not_be_told_is_lost_and_its_message_stands() {
    let world = World::with(Server::builder().on_message(talker)).await;
    let max = Config::default().message_bytes_max;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    let mut seq = 0;
    let good = [format!("long {max}"), "deep 126".to_owned()];
    let bad = [
        format!("long {}", max + 1),
        format!("raw {}", max + 1),
        "deep 128".to_owned(),
        "invalid 3".to_owned(),
    ];
    for (good, bad) in good.iter().cycle().zip(&bad) {
        seq += 2;
        for (n, data) in [(seq - 1, good), (seq, bad)] {
            client
                .send(&json!({"type": "send", "id": n, "data": data}))
                .await;
        }
        let reply = client.next().await.expect("an answer");
        assert_eq!(
            (&reply["type"], &reply["id"]),
            (&json!("reply"), &json!(seq - 1))
        );
        let error = client.next().await.expect("an answer");
        assert_lost(&error, "id", seq, bad);

        for (n, data) in [(seq - 1, good), (seq, bad)] {
            client
                .send(&json!({"type": "send", "seq": n, "data": data}))
                .await;
        }
        let reply = told(&mut client).await;
        assert_eq!(
            (&reply["type"], &reply["seq"]),
            (&json!("reply"), &json!(seq - 1))
        );
        // Its ack comes first, so that the error is not taken for a refusal.
        while client.next().await.expect("an answer") != json!({"type": "acked", "seq": seq}) {}
        let error = client.next().await.expect("an answer");
        assert_lost(&error, "seq", seq, bad);
        // A repetition is a duplicate like any other.
        client
            .send(&json!({"type": "send", "seq": seq, "data": bad}))
            .await;
        let acked = client.next().await.expect("an answer");
        assert_eq!(acked, json!({"type": "acked", "seq": seq}));
    }

    let mut plain = world.plain(HERE, "/ws").await.expect("it is let in");
    for data in [&bad[0], &bad[1], "raw 3", &good[0]] {
        plain.send_text(data).await;
    }
    assert_eq!(plain.text().await.expect("the last answer").len(), max);
}

/// The application has handled it: sent again it would be handled again, and to the same end.
fn assert_lost(error: &Value, key: &str, number: u64, asked: &str) {
    assert_eq!(
        (&error["type"], &error[key]),
        (&json!("error"), &json!(number)),
        "{asked}: {error}"
    );
    assert_eq!(
        (&error["code"], &error["retry"]),
        (&json!("internal"), &json!(false)),
        "{asked}: {error}"
    );
}

#[tokio::test]
async fn a_plain_message_above_the_limit_ends_the_connection() {
    let (tell, mut hears) = watch::channel(0);
    let handler = move |incoming: Incoming| {
        if let Payload::Text(text) = incoming.payload {
            tell.send_replace(text.len());
        }
        async { Ok::<_, Rejection>(Reply::Empty) }
    };
    let world = World::with(Server::builder().on_message(handler)).await;
    let max = Config::default().message_bytes_max;
    let mut plain = world.plain(HERE, "/ws").await.expect("it is let in");
    plain.send_text(&"x".repeat(max)).await;
    hears.changed().await.expect("the server lives");
    plain.send_text(&"x".repeat(max + 1)).await;
    assert_eq!(plain.closed().await.code(), (4413, "message_too_big"));
    assert_eq!(*hears.borrow(), max);
}

#[tokio::test]
async fn a_publication_of_the_program_keeps_the_bounds_of_all_others() {
    let world = World::start(Config::default()).await;
    let (server, max) = (&world.server, Config::default().message_bytes_max);
    let json = |text: String| Data::Json(text.into());
    let nested = |depth| json("[".repeat(depth) + &"]".repeat(depth));
    let long = "c".repeat(Config::default().channel_bytes_max + 1);
    for (channel, data, expected) in [
        ("", json("1".into()), PublishError::BadChannel),
        (&long, json("1".into()), PublishError::BadChannel),
        ("a\nb", json("1".into()), PublishError::BadChannel),
        (
            "news",
            Data::Binary(vec![0; max + 1].into()),
            PublishError::MessageTooBig,
        ),
        (
            "news",
            json(" ".repeat(max) + "1"),
            PublishError::MessageTooBig,
        ),
        ("news", nested(129), PublishError::TooDeep),
        ("news", json("no JSON".into()), PublishError::Malformed),
    ] {
        assert_eq!(server.publish(channel, data.clone()).await, Err(expected));
        let handle = server.try_publish(channel, data).expect("there is room");
        assert_eq!(handle.await.expect("it ends"), Err(expected));
    }
    let mut stored = 0;
    for data in [
        nested(127),
        Data::Binary(vec![0; max].into()),
        json("1".into()),
    ] {
        let appended = server.publish("news", data).await.expect("it is stored");
        stored += 1;
        assert_eq!(appended.position.expect("it is kept").offset, stored);
    }
}

#[tokio::test]
async fn the_program_may_publish_from_any_thread() {
    let world = World::start(Config::default()).await;
    let server = world.server.clone();
    let data = || Data::Json("1".into());
    let outside = std::thread::spawn(move || server.try_publish("news", data()));
    let handle = outside.join().expect("no panic").expect("there is room");
    let first = handle.await.expect("it ends").expect("it is stored");
    assert_eq!(first.position.expect("it is kept").offset, 1);
}

#[tokio::test]
async fn a_session_beyond_the_engines_bound_is_told_that_there_is_no_room() {
    let engine = Memory::open(EngineConfig {
        sessions_max: 1,
        ..EngineConfig::default()
    });
    let engine = Arc::new(engine.expect("it opens"));
    let world = World::with(Server::builder().engine(engine)).await;
    let publish = json!({"type": "publish", "seq": 1, "channel": "news", "data": 1});
    let mut first = world.dial(HERE).await.expect("it is let in");
    first.hello(hello("a", 1)).await.expect("it is welcomed");
    first.send(&publish).await;
    let acked = first.next().await.expect("an answer");
    assert_eq!(
        (&acked["type"], &acked["seq"]),
        (&json!("acked"), &json!(1))
    );
    let mut second = world.dial(HERE).await.expect("it is let in");
    second.hello(hello("b", 1)).await.expect("it is welcomed");
    second.send(&publish).await;
    let error = told(&mut second).await;
    assert_eq!(
        (&error["code"], &error["seq"]),
        (&json!("overloaded"), &json!(1))
    );
    assert_eq!(
        (&error["retry"], &error["retry_after_ms"]),
        (&json!(true), &json!(1_000))
    );
}

#[tokio::test]
async fn a_page_of_nothing_can_not_be_asked_for() {
    let world = World::start(Config::default()).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    let asked = json!({"type": "history", "id": 1, "channel": "news", "limit": 0});
    client.send(&asked).await;
    let error = client.next().await.expect("an answer");
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!(1)));
    assert_eq!(error["code"], "malformed", "{error}");
    let http = world.get("/api/channels/news/history?limit=0", &[]).await;
    assert_eq!(http.code().1, error["code"].as_str().expect("a code"));
}

/// Else a client that gives up many channels at once would stay subscribed to most without knowing it.
#[tokio::test]
async fn giving_up_many_channels_at_once_is_never_refused_for_its_rate() {
    const CHANNELS: usize = 20;
    let config = Config {
        messages_per_second: 1,
        messages_burst_max: 2,
        inflight_max: 2,
        ..Config::default()
    };
    let world = World::with(Server::builder().config(config)).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    let name = |n: usize| format!("c{n}");
    let mut hello = hello("s", 1);
    hello["subscribe"] = (0..CHANNELS).map(|n| (name(n), json!(null))).collect();
    client.hello(hello).await.expect("it is welcomed");
    for n in 0..CHANNELS {
        let message = json!({"type": "unsubscribe", "id": n, "channel": name(n)});
        client.send(&message).await;
    }
    for n in 0..CHANNELS {
        let answer = client.next().await.expect("an answer");
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&json!("unsubscribed"), &json!(n))
        );
    }
    // They have used up what others have.
    client
        .send(&json!({"type": "subscribe", "id": "next", "channel": "c0"}))
        .await;
    let refused = client.next().await.expect("an answer");
    assert_eq!(refused["code"], "rate_limited", "{refused}");
}
