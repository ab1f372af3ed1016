//! The client over real sockets, against a server that the test plays itself.

use std::{sync::Arc, time::Duration};

use bowline_client::{
    Ack, BackoffConfig, Builder, Class, Client, Data, Delivery, Fate, From, PublishError,
    ReplyError, State, TokenError, advice, json,
};
use bowline_proto::{
    codec::{Incoming, decode_client},
    message::{ClientMessage, Hello},
    recovery::RecoveryReason,
};
use bowline_ws::{
    Decoder, Event, Limits, MessageKind, Role, UpgradeRequest, accept, encode_message,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
};

/// The server's end of one link.
struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    heard: std::collections::VecDeque<ClientMessage>,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().await.expect("a client dials");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.expect("a request") > 0);
        }
        let text = String::from_utf8(head).expect("ASCII");
        let headers: Vec<(&str, &[u8])> = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name, value.as_bytes()))
            .collect();
        let request = UpgradeRequest {
            method: "GET",
            is_http_1_1: true,
            headers: headers.iter().copied(),
        };
        let accepted = accept(request, &["bowline.v1"]).expect("a valid upgrade");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: bowline.v1\r\n\r\n",
            String::from_utf8_lossy(&accepted.accept)
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
        let decoder = Decoder::new(Role::Server, LIMITS);
        Self {
            stream,
            decoder,
            heard: std::collections::VecDeque::new(),
        }
    }

    async fn hear(&mut self) -> ClientMessage {
        timeout(PATIENCE, async {
            loop {
                if let Some(message) = self.heard.pop_front() {
                    return message;
                }
                let mut bytes = vec![0; 4096];
                let count = self.stream.read(&mut bytes).await.expect("readable");
                assert!(count > 0, "the client hung up");
                let mut input = &mut bytes[..count];
                while let Some(event) = self.decoder.decode(&mut input).expect("valid frames") {
                    if let Event::Text(text) = event {
                        let messages = decode_client(Incoming::Text(&text));
                        self.heard
                            .extend(messages.map(|message| message.expect("valid")));
                    }
                }
            }
        })
        .await
        .expect("the client says something in time")
    }

    async fn say(&mut self, text: &str) {
        let frame = encode_message(MessageKind::Text, text.as_bytes(), None);
        self.stream.write_all(&frame).await.expect("written");
    }

    async fn welcome(&mut self, acked: u64, subscriptions: &str) -> Hello {
        self.welcome_because(None, acked, subscriptions).await
    }

    /// With a reason the session is a new one.
    async fn welcome_because(
        &mut self,
        reason: Option<&str>,
        acked: u64,
        subscriptions: &str,
    ) -> Hello {
        let ClientMessage::Hello(hello) = self.hear().await else {
            panic!("hello comes first")
        };
        let session = hello.session.clone().expect("the client chose one");
        let reason = reason.map_or(String::new(), |reason| format!(r#""reason":"{reason}","#));
        self.say(&format!(
            r#"{{"type":"welcome","connection":"k","session":"{session}","resumed":{},{reason}"node":"n","acked":{acked},"inflight_max":100,"session_ttl_ms":86400000,"ping_interval_ms":30000,"pong_timeout_ms":10000,"message_bytes_max":65536,"max_reconnect_attempts":10,"subscriptions":{{{subscriptions}}}}}"#,
            acked > 0
        ))
        .await;
        *hello
    }

    async fn publication(&mut self, channel: &str, offset: u64) {
        self.say(&format!(
            r#"{{"type":"message","channel":"{channel}","position":"{}","data":{offset}}}"#,
            at(offset)
        ))
        .await;
    }
}

fn at(offset: u64) -> String {
    format!("00000000000000aa.{offset}.00000001")
}

fn begins(channel: &str, offset: u64) -> String {
    format!(
        r#""{channel}":{{"position":"{}","recovered":true}}"#,
        at(offset)
    )
}

async fn listen() -> (TcpListener, Builder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let backoff = BackoffConfig {
        min_ms: 20,
        ..BackoffConfig::default()
    };
    let builder = Client::builder(&format!("ws://{address}/ws")).backoff(backoff);
    (listener, builder)
}

async fn open(client: &Client) {
    let mut state = client.state();
    timeout(PATIENCE, state.wait_for(|state| *state == State::Open))
        .await
        .expect("in time")
        .expect("the client lives");
}

async fn stored(ack: &mut Ack) -> Result<(), PublishError> {
    timeout(PATIENCE, ack.stored()).await.expect("in time")
}

async fn replied(ack: &mut Ack) -> Result<Data, ReplyError> {
    timeout(PATIENCE, ack.reply()).await.expect("in time")
}

async fn next(stream: &mut bowline_client::Subscription) -> Delivery {
    let delivery = timeout(PATIENCE, stream.next()).await.expect("in time");
    delivery.expect("the stream goes on")
}

fn offset(delivery: &Delivery) -> Option<u64> {
    match delivery {
        Delivery::Message(message) => message.position.map(|position| position.offset),
        _ => None,
    }
}

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
async fn what_is_cleared_is_dropped_with_its_fate_and_a_skip_takes_its_number() {
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
    assert_eq!(peer.hear().await, ClientMessage::Skip { seq: 1 });

    let mut later = publish("3").await;
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
