//! What becomes of messages: stored, refused, given up, and what they are answered.

use bowline_client::{Client, Data, Fate, From, PublishError, ReplyError, json};
use bowline_proto::message::ClientMessage;

use super::peer::{Peer, listen, open, replied, stored};

#[tokio::test]
async fn what_a_lost_session_had_written_is_sent_again_where_the_application_takes_the_risk() {
    for resends in [false, true] {
        let (listener, builder) = listen().await;
        let client = builder.resend_unknown(resends).connect();
        let client = client.expect("a valid URL");
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(0, "").await;
        let data = json("1").expect("JSON");
        let mut ack = client.publish("room", data).await.expect("open");
        assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(1)));
        drop(peer);

        let mut peer = Peer::accept(&listener).await;
        peer.welcome_because(Some("session_lost"), 0, "").await;
        if resends {
            assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(1)));
            peer.say(r#"{"type":"acked","seq":1}"#).await;
            assert_eq!(stored(&mut ack).await, Ok(()));
        } else {
            let error = stored(&mut ack).await.expect_err("not sent again");
            assert_eq!(
                (error.fate, &*error.reason),
                (Fate::Unknown, "session_lost")
            );
        }
    }
}

#[tokio::test]
async fn what_became_of_a_message_is_told_as_often_as_it_is_asked() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    let send = async || {
        let data = json("1").expect("JSON");
        client.send(None, data).await.expect("open")
    };
    let mut answered = send().await;
    assert!(matches!(peer.hear().await, ClientMessage::Send(s) if s.seq == Some(1)));
    peer.say(r#"{"type":"acked","seq":1}"#).await;
    peer.say(r#"{"type":"reply","seq":1,"data":"hi"}"#).await;
    for _ in 0..2 {
        assert_eq!(stored(&mut answered).await, Ok(()));
        let reply = replied(&mut answered).await;
        assert_eq!(reply, Ok(json("\"hi\"").expect("JSON")));
    }

    let mut refused = send().await;
    assert!(matches!(peer.hear().await, ClientMessage::Send(s) if s.seq == Some(2)));
    peer.say(r#"{"type":"error","seq":2,"code":"rejected","message":"no","retry":false}"#)
        .await;
    let error = PublishError {
        fate: Fate::Refused,
        reason: "rejected".to_owned(),
    };
    for _ in 0..2 {
        let reply = replied(&mut refused).await;
        assert_eq!(reply, Err(ReplyError::Dropped(error.clone())));
        assert_eq!(stored(&mut refused).await, Err(error.clone()));
    }
    assert_eq!(peer.hear().await, ClientMessage::Skip { seq: 2 });

    // Stored, and the link ends before the reply.
    let mut lost = send().await;
    assert!(matches!(peer.hear().await, ClientMessage::Send(s) if s.seq == Some(3)));
    peer.say(r#"{"type":"acked","seq":3}"#).await;
    assert_eq!(stored(&mut lost).await, Ok(()));
    drop(peer);
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(3, "").await;
    for _ in 0..2 {
        assert_eq!(replied(&mut lost).await, Err(ReplyError::Lost));
        assert_eq!(stored(&mut lost).await, Ok(()));
    }

    let data = json("1").expect("JSON");
    let mut published = client.publish("room", data).await.expect("open");
    assert_eq!(replied(&mut published).await, Err(ReplyError::NoReply));
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(4)));
    peer.say(r#"{"type":"acked","seq":4}"#).await;
    assert_eq!(stored(&mut published).await, Ok(()));
    assert_eq!(replied(&mut published).await, Err(ReplyError::NoReply));
}

#[tokio::test]
async fn data_that_is_no_json_is_refused_and_what_follows_goes_on() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    open(&client).await;
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut given: Vec<(Vec<u8>, _)> = [
        "",
        "hello",
        "1 2",
        r#"{"a":1"#,
        "\"a\nb\"",
        r#"1}{"type":"bye"}"#,
        "1,\"channel\":\"other\"",
    ]
    .map(|text| (text.into(), "unsupported_data"))
    .into();
    given.push((b"\"\xff\"".to_vec(), "unsupported_data"));
    given.push((nested(128).into(), "too_deep"));
    for (text, code) in given {
        let data = Data::Json(text.into());
        let error = PublishError {
            fate: Fate::Refused,
            reason: code.to_owned(),
        };
        let mut published = client.publish("room", data.clone()).await.expect("open");
        assert_eq!(stored(&mut published).await, Err(error.clone()), "{data:?}");
        let mut sent = client.send(None, data.clone()).await.expect("open");
        assert_eq!(stored(&mut sent).await, Err(error.clone()), "{data:?}");
        assert_eq!(replied(&mut sent).await, Err(ReplyError::Dropped(error)));
        let volatile = client.publish_volatile("room", data.clone()).await;
        assert_eq!(volatile.expect_err("refused").0.code, code, "{data:?}");
    }
    // One value, and what the server reads: a line break between its tokens is as good as a space.
    for (seq, (text, read)) in (1..).zip([
        (nested(127), nested(127)),
        ("{\n\"a\":\r\n1}".into(), "{ \"a\":  1}".into()),
    ]) {
        let data = Data::Json(text.into());
        let mut ack = client.publish("room", data).await.expect("open");
        let ClientMessage::Publish(publish) = peer.hear().await else {
            panic!("publish")
        };
        assert_eq!(
            (publish.seq, publish.data),
            (Some(seq), Data::Json(read.into()))
        );
        peer.say(&format!(r#"{{"type":"acked","seq":{seq}}}"#))
            .await;
        assert_eq!(stored(&mut ack).await, Ok(()));
    }
}

#[tokio::test]
async fn what_is_cleared_is_dropped_with_its_fate_and_skipped_where_it_is_refused() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let publish = async |text| {
        let data = json(text).expect("JSON");
        client.publish("room", data).await.expect("open")
    };
    let cleared = |fate| {
        let reason = "cleared".to_owned();
        Err(PublishError { fate, reason })
    };
    // The server has not answered the upgrade: this one is never written.
    let mut unwritten = publish("1").await;
    client.clear_outbox().await.expect("open");
    assert_eq!(stored(&mut unwritten).await, cleared(Fate::Refused));

    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    let mut written = publish("2").await;
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(1)));
    client.clear_outbox().await.expect("open");
    assert_eq!(stored(&mut written).await, cleared(Fate::Unknown));

    let mut later = publish("3").await;
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(2)));
    let refusal = r#"{"type":"error","seq":1,"code":"forbidden","message":"m","retry":false}"#;
    peer.say(refusal).await;
    assert_eq!(peer.hear().await, ClientMessage::Skip { seq: 1 });
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(2)));
    peer.say(r#"{"type":"acked","seq":2}"#).await;
    assert_eq!(stored(&mut later).await, Ok(()));

    // The peer hangs up once it has heard.
    let farewell = async move { assert_eq!(peer.hear().await, ClientMessage::Bye) };
    tokio::join!(client.close(true), farewell);
    assert!(client.clear_outbox().await.is_err());
}

#[tokio::test]
async fn what_is_published_beside_or_behind_the_end_was_never_written() {
    let refused = || {
        let reason = "closed".to_owned();
        let fate = Fate::Refused;
        Err(PublishError { fate, reason })
    };
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    open(&client).await;
    // Its link waits for the peer's close frame, and the client for its link.
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close(true).await }
    });
    assert_eq!(peer.hear().await, ClientMessage::Bye);
    let data = || json("1").expect("JSON");
    let mut ack = client.publish("room", data()).await.expect("taken");
    assert_eq!(stored(&mut ack).await, refused());
    drop(peer);
    closing.await.expect("no panic");
    assert!(client.publish("room", data()).await.is_err());

    // On one thread the owner finds them all in its queue when it comes to the first.
    let client = Client::builder("ws://127.0.0.1:9/ws").connect();
    let client = client.expect("a valid URL");
    let ((), ack, answer, stream) = tokio::join!(
        client.close(true),
        client.publish("room", data()),
        client.presence("room", None),
        client.subscribe("room", From::Now),
    );
    assert_eq!(stored(&mut ack.expect("taken")).await, refused());
    assert_eq!(answer.expect_err("the end").0.code, "closed");
    assert!(stream.is_err());
}
