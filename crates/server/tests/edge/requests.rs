//! Requests of a welcomed client that are refused with advice.

use bowline::{Config, Incoming, Rejection, Reply, Server};
use serde_json::json;
use tokio::sync::watch;

use super::client::{HERE, World, hello};

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
