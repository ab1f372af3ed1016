//! Retention moves between the look at the channel and the reading of the page.

use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_engine::{
    Append, BoxFuture, ChannelPolicy, Effect, EngineConfig, Memory, Page, Retention,
};
use serde_json::{Value, json};

use super::*;
use crate::delegate::delegate;

/// An engine that is published to between the two looks, this many times.
struct Moving {
    log: Memory,
    moves: AtomicUsize,
}

impl Moving {
    async fn new(moves: usize) -> Self {
        let retention = Retention {
            messages: 3,
            ..Retention::default()
        };
        let config = EngineConfig {
            policies: vec![ChannelPolicy {
                pattern: "*".to_owned(),
                history: Some(retention),
            }],
            ..EngineConfig::default()
        };
        let log = Memory::open(config).expect("it opens");
        let moves = AtomicUsize::new(moves);
        let this = Self { log, moves };
        this.publish(3).await;
        this
    }

    async fn publish(&self, count: usize) {
        let entry = || Append {
            producer: None,
            effect: Effect::Publish {
                channel: "c".into(),
                data: Data::Json("1".into()),
                user: None,
                tag: None,
                key: None,
            },
        };
        self.log.append((0..count).map(|_| entry()).collect()).await;
    }

    async fn ask(&self, after: Position) -> Value {
        let limit = PageLimit {
            count: 10,
            bytes: 1_000,
        };
        let data = read_history(self, "c", From::After(after), limit).await;
        serde_json::from_slice(data.expect("it is read").bytes()).expect("JSON")
    }

    async fn first(&self) -> Position {
        let page = self
            .log
            .read("c", 0, PageLimit { count: 1, bytes: 1 })
            .await;
        let page = page.expect("it is read").expect("it exists");
        page.publications[0]
            .position(page.epoch)
            .expect("it has one")
    }
}

impl Engine for Moving {
    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            let left = self.moves.load(Ordering::Relaxed);
            if left > 0 {
                self.moves.store(left - 1, Ordering::Relaxed);
                self.publish(3).await;
            }
            self.log.read(&channel, after, limit).await
        })
    }

    delegate!(log: append channel session end_session listen clock stats health);
}

#[tokio::test]
async fn a_floor_that_moves_under_the_reader_is_told() {
    for moves in [1, READS_MAX] {
        let engine = Moving::new(moves).await;
        let first = engine.first().await;
        let answer = engine.ask(first).await;
        // Offsets 2 and 3 were there at the first look, and are gone at the second.
        assert_eq!(answer["recovered"], false, "{answer}");
        assert_eq!(answer["reason"], "expired", "{answer}");
        assert_eq!(answer["publications"].as_array().map(Vec::len), Some(3));
    }
}

#[tokio::test]
async fn of_the_newest_as_many_are_answered_as_their_bytes_allow() {
    let log = Memory::open(EngineConfig::default()).expect("it opens");
    // Each of 30 is larger than the one before.
    for bytes in 31..=60 {
        let effect = Effect::Publish {
            channel: "c".into(),
            data: Data::Binary(vec![0; bytes].into()),
            user: None,
            tag: None,
            key: None,
        };
        let entry = Append {
            producer: None,
            effect,
        };
        assert!(log.append(vec![entry]).await[0].is_ok());
    }
    for (count, bytes, first) in [
        (30, 1_365, 1),
        (30, 1_364, 2),
        (30, 174, 29),
        (30, 177, 28),
        (30, 1, 30),
        (1, 1_000, 30),
        (7, 1_000, 24),
        (7, 300, 26),
    ] {
        let limit = PageLimit { count, bytes };
        let data = read_history(&log, "c", From::Last(count as u64), limit).await;
        let answer: Value =
            serde_json::from_slice(data.expect("it is read").bytes()).expect("JSON");
        let offset = |found: &Value| {
            let position: Position = found["position"].as_str()?.parse().ok()?;
            Some(position.offset)
        };
        let publications = answer["publications"].as_array().expect("a list");
        let found: Vec<_> = publications.iter().filter_map(offset).collect();
        let newest: Vec<_> = (first..=30).collect();
        assert_eq!(found, newest, "{count}, {bytes} bytes");
        assert_eq!(offset(&answer), Some(30));
        assert_eq!(
            (&answer["more"], &answer["recovered"]),
            (&json!(false), &json!(true))
        );
    }
}

#[tokio::test]
async fn a_floor_that_rests_is_not() {
    let engine = Moving::new(0).await;
    let first = engine.first().await;
    let answer = engine.ask(first).await;
    assert_eq!(
        (&answer["recovered"], &answer["reason"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(answer["more"], false);
}
