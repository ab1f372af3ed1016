//! Links that break, readers, tokens, and what the application is told of them.

use std::{sync::Arc, time::Duration};

use bowline_client::{Class, Client, Delivery, From, State, TokenError, advice, json};
use bowline_proto::{message::ClientMessage, recovery::RecoveryReason};
use tokio::{sync::mpsc, time::timeout};

use super::peer::{PATIENCE, Peer, at, begins, listen, next, offset, open};

#[tokio::test]
async fn a_cut_link_is_resumed_at_the_cursor_and_the_outbox_sent_again() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut room = client.subscribe("room", From::Now).await.expect("open");
    let mut peer = Peer::accept(&listener).await;
    // The server has not answered the upgrade before, so hello knows of the subscription.
    let hello = peer.welcome(0, &begins("room", 4)).await;
    assert_eq!(
        (hello.link, hello.subscribe[0].1),
        (Some(1), Some(From::Now))
    );
    assert!(matches!(next(&mut room).await, Delivery::Subscribed(_)));
    peer.publication("room", 5).await;
    assert_eq!(offset(&next(&mut room).await), Some(5));
    let mut ack = client
        .publish("room", json("1").expect("JSON"))
        .await
        .expect("open");
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(1)));
    drop(peer);

    let mut peer = Peer::accept(&listener).await;
    let hello = peer.welcome(0, &begins("room", 5)).await;
    assert_eq!(
        (hello.link, hello.first, hello.next),
        (Some(2), Some(1), Some(2))
    );
    let position = at(5).parse().expect("a position");
    assert_eq!(hello.subscribe[0].1, Some(From::After(position)));
    assert!(matches!(peer.hear().await, ClientMessage::Publish(p) if p.seq == Some(1)));
    peer.say(r#"{"type":"acked","seq":1}"#).await;
    timeout(PATIENCE, ack.stored())
        .await
        .expect("in time")
        .expect("stored");
    assert!(matches!(next(&mut room).await, Delivery::Subscribed(_)));
    peer.publication("room", 5).await;
    peer.publication("room", 6).await;
    assert_eq!(offset(&next(&mut room).await), Some(6));

    let closing = tokio::spawn(async move { client.close(true).await });
    assert_eq!(peer.hear().await, ClientMessage::Bye);
    drop(peer);
    timeout(PATIENCE, closing)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(room.next().await.is_none());
}

#[tokio::test]
async fn a_break_is_told_where_no_history_makes_up_for_it() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut live = client.subscribe("live", From::Now).await.expect("open");
    for lost in [false, true, true] {
        let mut peer = Peer::accept(&listener).await;
        let hello = peer
            .welcome(0, r#""live":{"recovered":true,"reason":"new"}"#)
            .await;
        assert_eq!(hello.subscribe[0].1, Some(From::Now));
        let Delivery::Subscribed(told) = next(&mut live).await else {
            panic!("subscribed")
        };
        let reason = if lost {
            RecoveryReason::NoHistory
        } else {
            RecoveryReason::New
        };
        assert_eq!((told.recovered, told.reason), (!lost, Some(reason)));
    }
}

#[tokio::test]
async fn a_reader_that_does_not_poll_holds_its_bound_and_stalls_nobody() {
    let (listener, builder) = listen().await;
    let client = builder.queue_messages(4).connect().expect("a valid URL");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    let mut streams = Vec::new();
    for channel in ["slow", "fast"] {
        streams.push(client.subscribe(channel, From::Now).await.expect("open"));
        let ClientMessage::Subscribe(subscribe) = peer.hear().await else {
            panic!("subscribe")
        };
        let id = subscribe.id.expect("an id").as_json().to_owned();
        peer.say(&format!(
            r#"{{"type":"subscribed","id":{id},"channel":"{channel}","position":"{}","recovered":true,"reason":"new"}}"#,
            at(0)
        ))
        .await;
    }
    for offset in 1..=50 {
        peer.publication("slow", offset).await;
        peer.publication("fast", offset).await;
        let fast = &mut streams[1];
        if offset == 1 {
            assert!(matches!(next(fast).await, Delivery::Subscribed(_)));
        }
        assert_eq!(self::offset(&next(fast).await), Some(offset));
    }
    let ClientMessage::Unsubscribe { channel, .. } = peer.hear().await else {
        panic!("paused")
    };
    assert_eq!(&*channel, "slow");
    let slow = &mut streams[0];
    assert!(matches!(next(slow).await, Delivery::Subscribed(_)));
    // The notice of the subscription took one of the four places.
    for offset in 1..=3 {
        assert_eq!(self::offset(&next(slow).await), Some(offset));
    }
    let ClientMessage::Subscribe(subscribe) = peer.hear().await else {
        panic!("resumed")
    };
    assert_eq!(
        subscribe.from,
        From::After(at(3).parse().expect("a position"))
    );
}

#[tokio::test]
async fn the_state_can_be_watched() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let mut state = client.state();
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    timeout(PATIENCE, state.wait_for(|state| *state == State::Open))
        .await
        .expect("in time")
        .expect("the client lives");
    peer.say(r#"{"type":"ping","ts":7}"#).await;
    assert!(
        matches!(peer.hear().await, ClientMessage::Pong { ts: Some(ts), .. } if ts.as_json() == "7")
    );
    drop(peer);
    timeout(PATIENCE, state.wait_for(|state| *state != State::Open))
        .await
        .expect("in time")
        .expect("the client lives");
}

#[tokio::test]
async fn requests_are_answered_once_and_refused_without_a_connection() {
    let (listener, builder) = listen().await;
    let client = builder.connect().expect("a valid URL");
    let early = client.presence("room", None).await;
    assert_eq!(early.expect_err("no connection").0.code, "not_connected");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    open(&client).await;

    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.presence("room", Some(3)).await }
    });
    let ClientMessage::Presence { id, channel, limit } = peer.hear().await else {
        panic!("presence")
    };
    assert_eq!((&*channel, limit), ("room", Some(3)));
    let id = id.expect("an id").as_json().to_owned();
    let who = r#"{"channel":"room","users":["ana"],"user_count":1,"connection_count":1}"#;
    peer.say(&format!(r#"{{"type":"reply","id":{id},"data":{who}}}"#))
        .await;
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!(answer.bytes(), who.as_bytes());

    let asked = tokio::spawn({
        let client = client.clone();
        let data = json("1").expect("JSON");
        async move { client.publish_volatile("room", data).await }
    });
    let ClientMessage::Publish(publish) = peer.hear().await else {
        panic!("publish")
    };
    assert_eq!(publish.seq, None);
    let id = publish.id.expect("an id").as_json().to_owned();
    let data = format!(r#"{{"position":"{}"}}"#, at(9));
    peer.say(&format!(r#"{{"type":"reply","id":{id},"data":{data}}}"#))
        .await;
    let position = asked.await.expect("no panic").expect("an answer");
    assert_eq!(position.map(|position| position.offset), Some(9));

    // Lost with the link, and never sent again.
    let data = json("2").expect("JSON");
    let lost = tokio::spawn(async move { client.publish_volatile("room", data).await });
    assert!(matches!(peer.hear().await, ClientMessage::Publish(_)));
    drop(peer);
    let error = lost.await.expect("no panic").expect_err("lost");
    assert_eq!(error.0.code, "connection_lost");
}

#[tokio::test]
async fn a_refreshed_token_is_what_the_next_hello_brings() {
    let (listener, builder) = listen().await;
    let client = builder.token("t1").connect().expect("a valid URL");
    let mut peer = Peer::accept(&listener).await;
    assert_eq!(peer.welcome(0, "").await.token.as_deref(), Some("t1"));
    open(&client).await;
    let refreshing = tokio::spawn(async move { (client.refresh("t2").await, client) });
    let ClientMessage::Refresh { id, token } = peer.hear().await else {
        panic!("refresh")
    };
    assert_eq!(&*token, "t2");
    let id = id.expect("an id").as_json().to_owned();
    peer.say(&format!(r#"{{"type":"reply","id":{id},"data":{{}}}}"#))
        .await;
    let (answer, _client) = refreshing.await.expect("no panic");
    assert_eq!(answer, Ok(()));
    drop(peer);

    let mut peer = Peer::accept(&listener).await;
    assert_eq!(peer.welcome(0, "").await.token.as_deref(), Some("t2"));
}

#[tokio::test]
async fn a_pong_tells_how_far_the_reader_came_back_for_more() {
    let (listener, builder) = listen().await;
    let client = builder.receipts(true).connect().expect("a valid URL");
    let mut room = client.subscribe("room", From::Now).await.expect("open");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, &begins("room", 4)).await;
    assert!(matches!(next(&mut room).await, Delivery::Subscribed(_)));
    for number in [5, 6] {
        peer.publication("room", number).await;
        assert_eq!(offset(&next(&mut room).await), Some(number));
    }
    // 6 is in the reader's hands: only 5 is handled. Then nothing has changed, and nothing is told.
    for expected in [Some(5), None] {
        peer.say(r#"{"type":"ping","ts":7}"#).await;
        let ClientMessage::Pong { positions, .. } = peer.hear().await else {
            panic!("pong")
        };
        let told = positions.first().map(|(_, position)| position.offset);
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn advice_to_connect_elsewhere_is_followed_to_a_host_that_the_application_named() {
    for allowed in [false, true] {
        let (listener, mut builder) = listen().await;
        let (elsewhere, _) = listen().await;
        if allowed {
            builder = builder.allow_hosts(["localhost"]);
        }
        let client = builder.token("secret").connect().expect("a valid URL");
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(0, "").await;
        // The same machine by another name.
        let port = elsewhere.local_addr().expect("bound").port();
        peer.say(&format!(
            r#"{{"type":"reconnect","after_ms":0,"reason":"rebalance","url":"ws://localhost:{port}/ws"}}"#
        ))
        .await;
        let (link, led_away) = timeout(PATIENCE, async {
            tokio::select! {
                link = Peer::accept(&listener) => (link, false),
                link = Peer::accept(&elsewhere) => (link, true),
            }
        })
        .await
        .expect("the client dials again");
        assert_eq!(led_away, allowed);
        let mut peer = link;
        assert_eq!(peer.welcome(0, "").await.token.as_deref(), Some("secret"));
        drop(client);
    }
}

#[tokio::test]
async fn why_there_is_no_connection_is_told() {
    let (listener, builder) = listen().await;
    let answers = [
        Err(TokenError { retry: true }),
        Err(TokenError { retry: false }),
        Ok("t".into()),
    ];
    let answers = std::sync::Mutex::new(answers.into_iter());
    let source = move || {
        let answer = answers.lock().expect("no panic").next();
        std::future::ready(answer.expect("asked once for each answer"))
    };
    // Dormant after one failure, so that nothing goes on before the test says so.
    let client = builder.attempts_max(0).token_source(source).connect();
    let client = client.expect("a valid URL");
    let (mut state, verdict) = (client.state(), client.verdict());
    let mut reaches = async |wanted| {
        let reached = timeout(PATIENCE, state.wait_for(|state| *state == wanted)).await;
        reached.expect("in time").expect("the client lives");
        verdict.borrow().clone()
    };
    let later = reaches(State::Dormant).await.expect("a verdict");
    assert_eq!(later.class, Class::Network);

    client.reconnect().await.expect("the client lives");
    let refused = reaches(State::Blocked).await.expect("a verdict");
    assert_eq!(
        (refused.class, refused.advice()),
        (Class::Auth, advice(Class::Auth))
    );

    client.reconnect().await.expect("the client lives");
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(0, "").await;
    assert_eq!(reaches(State::Open).await, None);
    drop(peer);
    let lost = reaches(State::Dormant).await.expect("a verdict");
    assert_eq!(lost.class, Class::Network);
}

#[tokio::test(start_paused = true)]
async fn a_token_source_that_hangs_is_asked_once_at_a_time() {
    let alive = Arc::new(());
    let (asked, mut asks) = mpsc::channel(16);
    let guard = alive.clone();
    let client = Client::builder("ws://127.0.0.1:9/ws")
        .token_source(move || {
            let guard = guard.clone();
            // The test lives as long as the client.
            let _ = asked.try_send(());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        })
        .connect()
        .expect("a valid URL");
    for _ in 0..5 {
        asks.recv().await.expect("asked again");
    }
    // What is aborted ends when its task is looked at.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        Arc::strong_count(&alive),
        3,
        "this one, the source and one question"
    );
    // There is no link to wait for.
    let began = tokio::time::Instant::now();
    client.close(true).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(Arc::strong_count(&alive), 1);
}
