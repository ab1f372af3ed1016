//! The log with time and random bits of the test's choosing.

mod model;

use std::time::Duration;

use bowline_proto::{Data, recovery::ChannelState};

use super::*;
use crate::contract::IdempotencyKey;

const SEED: Seed = Seed { hash: 1, term: 7 };
const DAY_MS: u64 = 86_400_000;

fn publish(channel: &str, text: &str) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Json(text.to_owned().into()),
            user: None,
            tag: None,
            key: None,
        },
    }
}

fn append(log: &mut Log, now_ms: u64, entry: Append) -> Result<Appended, AppendError> {
    log.append(now_ms, vec![entry], &mut || Some(5), &mut Vec::new())
        .remove(0)
}

#[test]
fn without_entropy_no_channel_is_created_and_existing_ones_go_on() {
    let mut log = Log::open(&EngineConfig::default(), SEED);
    append(&mut log, 0, publish("a", "1")).expect("there is entropy");
    let mut numbered = publish("b", "1");
    let session = SessionKey([1; 16]);
    numbered.producer = Some(Producer { session, seq: 1 });
    let batch = vec![numbered, publish("a", "2")];
    let outcomes = log.append(0, batch, &mut || None, &mut Vec::new());
    assert_eq!(outcomes[0], Err(AppendError::StorageUnavailable));
    assert!(outcomes[1].is_ok());
    assert_eq!(log.channel(0, "b"), ChannelState::Absent);
    assert_eq!(log.session(0, session), None);
}

#[test]
fn a_backlog_of_expiry_is_worked_off_in_bounded_steps() {
    let mut log = Log::open(&EngineConfig::default(), SEED);
    for number in 0..500 {
        for _ in 0..20 {
            append(&mut log, 0, publish(&format!("c{number}"), "1")).expect("there is room");
        }
    }
    let mut held = log.stats().messages;
    assert_eq!(held, 10_000);
    let mut calls = 0;
    while held > 0 {
        assert_eq!(log.session(DAY_MS, SessionKey([0; 16])), None);
        let left = log.stats().messages;
        let freed = held - left;
        assert!((1..=64).contains(&freed), "one call freed {freed}");
        held = left;
        calls += 1;
    }
    assert!(calls <= 500, "{calls} calls for 10,000 publications");
    assert_eq!(log.stats().bytes, 0);
    assert_eq!(log.stats().channels, 500);
}

#[test]
fn expired_publications_of_a_backlog_are_not_served() {
    let mut log = Log::open(&EngineConfig::default(), SEED);
    for number in 0..2_000 {
        append(&mut log, 0, publish("a", &number.to_string())).expect("there is room");
    }
    let limit = PageLimit {
        count: 10,
        bytes: 1_000,
    };
    let page = log.read(DAY_MS, "a", 0, limit).expect("a record");
    assert!(log.stats().messages > 1_000, "the backlog is still held");
    assert!(page.publications.is_empty());
    assert_eq!((page.floor, page.head), (2_001, 2_000));
}

#[test]
fn a_key_stored_anew_outlives_its_older_entry() {
    let mut log = Log::open(&EngineConfig::default(), SEED);
    let keyed = |number: u8| {
        let mut entry = publish("a", "1");
        if let Effect::Publish { key, .. } = &mut entry.effect {
            *key = Some(IdempotencyKey([number; 16]));
        }
        entry
    };
    for number in 0..100 {
        append(&mut log, 0, keyed(number)).expect("there is room");
    }
    let later_ms = 300_000;
    let anew = append(&mut log, later_ms, keyed(99)).expect("there is room");
    assert!(!anew.duplicate, "the window is over");
    assert!(log.stats().keys > 50, "the backlog is still held");
    for _ in 0..50 {
        log.session(later_ms, SessionKey([0; 16]));
    }
    assert_eq!(log.stats().keys, 1);
    let again = append(&mut log, later_ms, keyed(99)).expect("there is room");
    assert_eq!((again.position, again.duplicate), (anew.position, true));
}

#[test]
fn a_forgotten_channel_whose_expiry_is_overdue_is_created_anew() {
    let config = EngineConfig {
        channel_forget_after: Duration::from_millis(DAY_MS),
        ..EngineConfig::default()
    };
    let mut log = Log::open(&config, SEED);
    for number in 0..2_000 {
        append(&mut log, 0, publish("a", &number.to_string())).expect("there is room");
    }
    let batch = vec![publish("a", "1")];
    let outcomes = log.append(3 * DAY_MS, batch, &mut || Some(6), &mut Vec::new());
    let position = outcomes[0].expect("there is room").position;
    let position = position.expect("it keeps history");
    assert_eq!((position.epoch, position.offset), (6, 1));
    assert_eq!((log.stats().messages, log.stats().bytes), (1, 1));
}

#[test]
fn what_comes_and_goes_does_not_grow() {
    let config = EngineConfig {
        channel_forget_after: Duration::from_millis(DAY_MS),
        keys_max: 100,
        ..EngineConfig::default()
    };
    let mut log = Log::open(&config, SEED);
    for round in 0..5_000_u64 {
        let mut entry = publish(&format!("c{round}"), "1");
        let session = SessionKey((round as u128).to_be_bytes());
        entry.producer = Some(Producer { session, seq: 1 });
        if let Effect::Publish { key, .. } = &mut entry.effect {
            *key = Some(IdempotencyKey((round as u128).to_be_bytes()));
        }
        append(&mut log, round * DAY_MS / 10, entry).expect("there is room");
        log.end_session(session);
    }
    let stats = log.stats();
    assert_eq!(stats.sessions, 0);
    assert!(stats.channels <= 21, "{} channels", stats.channels);
    assert!(stats.messages <= 10, "{} messages", stats.messages);
    assert!(stats.keys <= 100, "{} keys", stats.keys);
    // Each channel takes a slot and stands in one of two queues.
    assert!(
        log.channels.places() <= 42,
        "{} places",
        log.channels.places()
    );
    assert!(
        log.sessions.places() <= 1,
        "{} places",
        log.sessions.places()
    );
}

#[test]
fn a_channel_that_empties_and_fills_does_not_grow() {
    let mut log = Log::open(&EngineConfig::default(), SEED);
    for round in 1..=1_000 {
        let now_ms = round * (DAY_MS + 1);
        let appended = append(&mut log, now_ms, publish("a", "1")).expect("there is room");
        assert_eq!(
            appended.position.map(|position| position.offset),
            Some(round)
        );
    }
    assert!(
        log.channels.places() <= 3,
        "{} places",
        log.channels.places()
    );
}

#[test]
fn the_seed_decides_the_places_in_tables() {
    let hash = |seed| Seeded::new(seed).hash_one("channel");
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
