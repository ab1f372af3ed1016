//! What a session keeps when its links replace each other, leave, or wait for a late engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline::{Config, Incoming, MessageHandler, Reply, Server};
use bowline_engine::{
    Append, AppendError, Appended, BoxFuture, Engine, EngineConfig, Memory, SessionKey,
};
use bowline_ws::{MessageKind, encode_message};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    sync::{Semaphore, watch},
};

use client::{Client, hello, start};
use delegate::delegate;
use soon::soon;

#[path = "support/client.rs"]
mod client;
#[path = "support/delegate.rs"]
mod delegate;
#[path = "support/soon.rs"]
#[expect(dead_code, reason = "nothing here is polled")]
mod soon;

/// An application that counts its calls, and answers each once the gate lets it.
fn held(calls: &Arc<watch::Sender<u32>>, gate: &Arc<Semaphore>) -> impl MessageHandler {
    let (calls, gate) = (calls.clone(), gate.clone());
    move |_: Incoming| {
        calls.send_modify(|calls| *calls += 1);
        let gate = gate.clone();
        async move {
            let _permit = gate.acquire().await;
            Ok(Reply::Empty)
        }
    }
}

/// The first link of session `s`, whose message the application works on.
async fn busy(address: &str, calls: &watch::Sender<u32>, send: &serde_json::Value) -> Client {
    let (mut client, _) = Client::bowline(address, hello("s", 1, json!({}))).await;
    client.send(send).await;
    let mut seen = calls.subscribe();
    soon("the first call", seen.wait_for(|calls| *calls == 1))
        .await
        .expect("it counts");
    client
}

#[tokio::test]
async fn a_send_is_handed_over_once_although_its_link_is_replaced() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (_server, address) = start(Server::builder().on_message(held(&calls, &gate))).await;
    let send = json!({"type": "send", "seq": 1, "data": 1});
    let mut old = busy(&address, &calls, &send).await;
    let mut new = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    let mut greeting = hello("s", 2, json!({}));
    (greeting["first"], greeting["next"]) = (json!(1), json!(2));
    new.send(&greeting).await;
    assert_eq!(soon("4409", old.closed()).await.0, 4409);
    gate.add_permits(10);
    let welcome = soon("welcome", new.next()).await;
    if welcome["acked"] == 0 {
        new.send(&send).await;
        while soon("acked", new.next()).await["type"] != "acked" {}
    }
    assert_eq!(
        *calls.borrow(),
        1,
        "the application saw the same send again without a crash"
    );
}

#[tokio::test]
async fn a_send_is_handed_over_once_although_its_link_is_replaced_again_and_again() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (server, address) = start(Server::builder().on_message(held(&calls, &gate))).await;
    let send = json!({"type": "send", "seq": 1, "data": 1});
    let mut first = busy(&address, &calls, &send).await;
    let mut later = Vec::new();
    for link in 2..20 {
        let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
        let mut greeting = hello("s", link, json!({}));
        (greeting["first"], greeting["next"]) = (json!(1), json!(2));
        client.send(&greeting).await;
        let replaced = later.last_mut().unwrap_or(&mut first);
        assert_eq!(soon("4409", replaced.closed()).await.0, 4409);
        later.push(client);
    }
    // Another session comes and goes in the time that the last link has to be welcomed too early.
    drop(Client::bowline(&address, hello("t", 1, json!({}))).await);
    gate.add_permits(10);
    let mut last = later.pop().expect("some");
    let welcome = soon("welcome", last.next()).await;
    assert_eq!(welcome["acked"], 1, "the number is final: {welcome}");
    assert_eq!(*calls.borrow(), 1);
    drop((first, later, last));
    soon("all are gone", async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The first link of session `s`, which has said `bye` while the application still works.
async fn leaving(address: &str, calls: &watch::Sender<u32>) -> Client {
    let mut client = busy(
        address,
        calls,
        &json!({"type": "send", "seq": 1, "data": 1}),
    )
    .await;
    let both = format!(
        "{}\n{}",
        json!({"type": "ping", "ts": 1}),
        json!({"type": "bye"})
    );
    let frame = encode_message(MessageKind::Text, both.as_bytes(), Some([0; 4]));
    client
        .socket
        .write_all(&frame)
        .await
        .expect("it is written");
    assert_eq!(soon("pong", client.next()).await["type"], "pong");
    client
}

#[tokio::test]
async fn a_session_whose_link_said_bye_amid_work_can_be_taken_over() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (_server, address) = start(Server::builder().on_message(held(&calls, &gate))).await;
    let mut old = leaving(&address, &calls).await;
    let mut new = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    new.send(&hello("s", 2, json!({}))).await;
    assert_eq!(soon("4409", old.closed()).await.0, 4409);
    gate.add_permits(1);
    let welcome = soon("welcome", new.next()).await;
    assert_eq!(welcome["acked"], 1, "{welcome}");
}

#[tokio::test]
async fn a_server_stops_although_a_link_said_bye_amid_work() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (server, address) = start(Server::builder().on_message(held(&calls, &gate))).await;
    let mut client = leaving(&address, &calls).await;
    let stopping = tokio::spawn(async move { server.drain().await });
    soon("the close", client.closed()).await;
    gate.add_permits(1);
    soon("its end", stopping).await.expect("it stops");
}

/// Writes these in one frame with a `bye` behind them, and answers what came until the server closed.
async fn bye_behind(client: &mut Client, messages: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let mut lines: Vec<_> = messages.iter().map(ToString::to_string).collect();
    lines.push(json!({"type": "bye"}).to_string());
    let text = lines.join("\n");
    client.send_raw(MessageKind::Text, text.as_bytes()).await;
    let mut answers = Vec::new();
    loop {
        match client.frame().await {
            Ok(text) => answers.push(serde_json::from_str(&text).expect("JSON")),
            Err(closed) => {
                assert_eq!(closed, (1000, String::new()));
                return answers;
            }
        }
    }
}

/// Everything that the channel has, as another session reads it.
async fn stored(address: &str, channel: &str) -> Vec<serde_json::Value> {
    let (mut reader, _) = Client::bowline(address, hello("reader", 1, json!({}))).await;
    reader
        .send(&json!({"type": "history", "id": 1, "channel": channel}))
        .await;
    let mut reply = soon("history", reader.next()).await;
    let publications = reply["data"]["publications"].take();
    let publications = publications.as_array().expect("a list").iter();
    publications.map(|found| found["data"].clone()).collect()
}

#[tokio::test]
async fn what_stands_before_a_bye_is_taken_and_answered() {
    let (_server, address) = start(Server::builder()).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    let mut messages = Vec::new();
    for n in 1..=30 {
        messages.push(json!({"type": "publish", "seq": n, "channel": "c", "data": n}));
        messages.push(json!({"type": "publish", "id": n, "channel": "v", "data": n}));
    }
    let answers = bye_behind(&mut client, &messages).await;
    let last = |kind: &str| answers.iter().rfind(|answer| answer["type"] == kind);
    assert_eq!(last("acked").expect("one")["seq"], 30);
    let replies = answers.iter().filter(|answer| answer["type"] == "reply");
    assert_eq!(replies.count(), 30, "{answers:?}");
    let all: Vec<_> = (1..=30).map(|n| json!(n)).collect();
    assert_eq!(stored(&address, "c").await, all);
    assert_eq!(stored(&address, "v").await, all);
}

#[tokio::test]
async fn a_refusal_before_a_bye_stops_what_is_behind_it() {
    let (_server, address) = start(Server::builder()).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    let publish = |seq, channel: &str| json!({"type": "publish", "seq": seq, "channel": channel, "data": seq});
    let messages = [publish(1, "c"), publish(2, ""), publish(3, "c")];
    let answers = bye_behind(&mut client, &messages).await;
    let last_two = answers.last_chunk().expect("acked and error");
    let [acked, error] = last_two;
    assert_eq!(
        (&acked["type"], &acked["seq"]),
        (&json!("acked"), &json!(1))
    );
    assert_eq!(
        (&error["code"], &error["seq"]),
        (&json!("bad_channel"), &json!(2))
    );
    assert_eq!(stored(&address, "c").await, [json!(1)]);
}

#[tokio::test]
async fn a_session_that_said_bye_is_no_more_although_its_socket_is_open() {
    let (_server, address) = start(Server::builder()).await;
    let (mut old, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    // It does not answer the close frame.
    bye_behind(&mut old, &[published()]).await;
    let mut greeting = hello("s", 1, json!({}));
    (greeting["first"], greeting["next"]) = (json!(1), json!(2));
    let (_new, welcome) = Client::bowline(&address, greeting).await;
    assert_eq!(
        (&welcome["resumed"], &welcome["acked"], &welcome["session"]),
        (&json!(false), &json!(0), &json!("s")),
    );
}

/// An engine that forgets a session only once it may.
struct Reluctant {
    log: Memory,
    open: watch::Sender<bool>,
    asked: watch::Sender<bool>,
}

impl Engine for Reluctant {
    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            self.asked.send_replace(true);
            let _ = self.open.subscribe().wait_for(|open| *open).await;
            self.log.end_session(session).await
        })
    }

    delegate!(log: append channel read session listen clock stats health);
}

#[tokio::test]
async fn a_session_is_taken_over_once_a_bye_amid_its_end_has_ended_it() {
    let engine = Arc::new(Reluctant {
        log: Memory::open(EngineConfig::default()).expect("it opens"),
        open: watch::Sender::new(false),
        asked: watch::Sender::new(false),
    });
    let (_server, address) = start(Server::builder().engine(engine.clone())).await;
    let (mut old, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    old.send(&published()).await;
    old.send(&json!({"type": "bye"})).await;
    let mut asked = engine.asked.subscribe();
    let asked = asked.wait_for(|asked| *asked);
    soon("the end", asked).await.expect("it lives");
    let mut new = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    new.send(&hello("s", 2, json!({}))).await;
    assert_eq!(soon("4409", old.closed()).await.0, 4409);
    // Another session comes and goes in the time that this one has to be welcomed too early.
    drop(Client::bowline(&address, hello("t", 1, json!({}))).await);
    engine.open.send_replace(true);
    let welcome = soon("welcome", new.next()).await;
    assert_eq!(welcome["acked"], 0, "a record that goes: {welcome}");
}

/// An engine that stores only once it may, although nobody waits for it any more.
struct Late {
    log: Arc<Memory>,
    open: watch::Sender<bool>,
    appends: watch::Sender<usize>,
}

impl Engine for Late {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        let (log, mut open) = (self.log.clone(), self.open.subscribe());
        let count = batch.len();
        self.appends.send_modify(|appends| *appends += 1);
        let appending = tokio::spawn(async move {
            let _ = open.wait_for(|open| *open).await;
            log.append(batch).await
        });
        Box::pin(async move {
            let lost = |_| vec![Err(AppendError::FateUnknown); count];
            appending.await.unwrap_or_else(lost)
        })
    }

    delegate!(log: channel read session end_session listen clock stats health);
}

/// A server over such an engine, and the first link of session `s`, whose first message has taken too
/// long.
async fn late() -> (Arc<Late>, Server, String, Client) {
    let config = Config {
        publish_timeout: Duration::from_millis(20),
        ..Config::default()
    };
    let engine = Arc::new(Late {
        log: Arc::new(Memory::open(EngineConfig::default()).expect("it opens")),
        open: watch::Sender::new(false),
        appends: watch::Sender::new(0),
    });
    let builder = Server::builder().config(config).engine(engine.clone());
    let (server, address) = start(builder).await;
    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    client.send(&published()).await;
    while soon("an error", client.next()).await["code"] != "fate_unknown" {}
    (engine, server, address, client)
}

fn published() -> serde_json::Value {
    json!({"type": "publish", "seq": 1, "channel": "c", "data": 1})
}

#[tokio::test]
async fn a_session_is_taken_over_once_what_took_too_long_is_stored() {
    let (engine, _server, address, old) = late().await;
    drop(old);
    // Another process, which does not know the number that it has used.
    let mut new = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    let mut greeting = hello("s", 2, json!({}));
    (greeting["first"], greeting["next"]) = (json!(1), json!(1));
    new.send(&greeting).await;
    // Another session comes and goes in the time that this one has to be welcomed too early.
    drop(Client::bowline(&address, hello("t", 1, json!({}))).await);
    engine.open.send_replace(true);
    let welcome = soon("welcome", new.next()).await;
    assert_eq!(welcome["reason"], "client_rewound", "{welcome}");
}

#[tokio::test]
async fn what_comes_behind_what_takes_too_long_is_told_in_time_and_not_piled_up() {
    let (engine, _server, _, mut client) = late().await;
    for _ in 0..3 {
        client.send(&published()).await;
        while soon("an error", client.next()).await["code"] != "storage_unavailable" {}
    }
    assert_eq!(
        *engine.appends.borrow(),
        1,
        "the engine has more than the first"
    );
    engine.open.send_replace(true);
    client.send(&published()).await;
    while soon("acked", client.next()).await["seq"] != 1 {}
}

#[tokio::test]
async fn whoever_waits_for_a_late_engine_is_let_go_by_the_next() {
    let (engine, server, address, old) = late().await;
    let mut waiting = vec![old];
    for link in 2..20 {
        let mut client = Client::dial(&address, "/ws", &["bowline.v1"]).await;
        client.send(&hello("s", link, json!({}))).await;
        let replaced = waiting.last_mut().expect("one");
        assert_eq!(soon("4409", replaced.closed()).await.0, 4409);
        waiting.push(client);
    }
    drop(waiting.drain(..18));
    soon("the last waits alone", async {
        while server.connections() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    engine.open.send_replace(true);
    let welcome = soon("welcome", waiting[0].next()).await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
}

/// An engine that counts what it is given.
struct Counting {
    log: Memory,
    appended: AtomicUsize,
}

impl Engine for Counting {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        self.appended.fetch_add(batch.len(), Ordering::Relaxed);
        self.log.append(batch)
    }

    delegate!(log: read channel session end_session listen clock stats health);
}

#[tokio::test]
async fn any_number_of_skips_is_one_record() {
    const LAST: u64 = 5_000;
    let log = Memory::open(EngineConfig::default()).expect("it opens");
    let appended = AtomicUsize::new(0);
    let engine = Arc::new(Counting { log, appended });
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let builder = Server::builder().engine(engine.clone());
    let (_server, address) = start(builder.on_message(held(&calls, &gate))).await;
    let send = json!({"type": "send", "seq": 1, "data": 1});
    let mut client = busy(&address, &calls, &send).await;
    let skips: Vec<_> = (2..=LAST)
        .map(|seq| json!({"type": "skip", "seq": seq}).to_string())
        .collect();
    for part in skips.chunks(1_000) {
        let frame = part.join("\n");
        client.send_raw(MessageKind::Text, frame.as_bytes()).await;
    }
    client
        .send(&json!({"type": "presence", "id": 1, "channel": "c"}))
        .await;
    while soon("an answer", client.next()).await["id"] != 1 {}
    gate.add_permits(1);
    let acked = async { while client.next().await["seq"] != LAST {} };
    soon("acked", acked).await;
    // That of the application's message, and that of all skips.
    assert_eq!(engine.appended.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_was_handled_is_not_handed_over_again_because_the_log_could_not_note_it() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(1));
    let config = EngineConfig {
        sessions_max: 1,
        ..EngineConfig::default()
    };
    let log = Memory::open(config).expect("it opens");
    let builder = Server::builder().engine(Arc::new(log));
    let (_server, address) = start(builder.on_message(held(&calls, &gate))).await;
    let (mut other, _) = Client::bowline(&address, hello("other", 1, json!({}))).await;
    other
        .send(&json!({"type": "publish", "seq": 1, "channel": "c", "data": 1}))
        .await;
    assert_eq!(other.next().await["type"], "acked");

    let (mut client, _) = Client::bowline(&address, hello("s", 1, json!({}))).await;
    let send = json!({"type": "send", "seq": 1, "data": 1});
    for _ in 0..2 {
        client.send(&send).await;
        assert_eq!(client.next().await, json!({"type": "acked", "seq": 0}));
        let error = client.next().await;
        // Its fate is open: a refusal would say that it had no effect.
        assert_eq!(
            (&error["seq"], &error["code"]),
            (&json!(1), &json!("fate_unknown"))
        );
        assert_eq!(error["retry"], json!(true));
        assert_eq!(*calls.borrow(), 1);
    }
    // There is room for its session now.
    other.send(&json!({"type": "bye"})).await;
    assert_eq!(other.closed().await.0, 1_000);
    client.send(&send).await;
    let answers = [client.next().await, client.next().await];
    assert!(
        answers.contains(&json!({"type": "acked", "seq": 1})),
        "{answers:?}"
    );
    assert!(
        answers.contains(&json!({"type": "reply", "seq": 1, "data": null})),
        "{answers:?}"
    );
    client
        .send(&json!({"type": "send", "seq": 2, "data": 2}))
        .await;
    assert_eq!(client.next().await["seq"], 2);
    assert_eq!(*calls.borrow(), 2);
}

#[tokio::test]
async fn a_handshake_that_ends_while_it_takes_a_session_over_gives_it_back() {
    let calls = Arc::new(watch::Sender::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let config = Config {
        // The first client has its own handshake to do in it.
        connection_timeout: Duration::from_millis(1_500),
        access_timeout: Duration::from_millis(1_500),
        ..Config::default()
    };
    let builder = Server::builder().config(config);
    let (_server, address) = start(builder.on_message(held(&calls, &gate))).await;
    let send = json!({"type": "send", "seq": 1, "data": 1});
    let first = busy(&address, &calls, &send).await;
    let mut late = Client::dial(&address, "/ws", &["bowline.v1"]).await;
    late.send(&hello("s", 9, json!({}))).await;
    assert_eq!(soon("4408", late.closed()).await.0, 4408);
    drop((first, late));
    gate.add_permits(10);
    // A lower number is refused only as long as somebody holds the session.
    soon("the session is free", async {
        loop {
            let mut next = Client::dial(&address, "/ws", &["bowline.v1"]).await;
            next.send(&hello("s", 2, json!({}))).await;
            if let Ok(welcome) = next.frame().await {
                assert!(welcome.contains(r#""acked":1"#), "{welcome}");
                return;
            }
        }
    })
    .await;
}
