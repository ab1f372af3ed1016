//! Logs of this and of earlier versions are opened as what they were.

use std::{fs, path::PathBuf, time::Duration};

use bowline_proto::{Data, recovery::ChannelState};

use super::*;
use crate::{
    ChannelPolicy, Inline, LogConfig, RealDisk, Retention,
    conformance::{ManualClock, block_on},
    contract::{
        Append, AppendError, Effect, Engine, IdempotencyKey, PageLimit, Producer, SessionKey,
    },
    embedded::tests::Folder,
    format::record::Record,
};

/// Where the committed log of version 1 is.
fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/log-v1")
}

fn open_at(path: &std::path::Path, clock: &ManualClock) -> Inline {
    let keeping = |messages| {
        Some(Retention {
            messages,
            ..Retention::default()
        })
    };
    let brief = Some(Retention {
        age: Duration::from_secs(1),
        ..Retention::default()
    });
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    let config = EngineConfig {
        policies: vec![
            policy("live:*", None),
            policy("few:*", keeping(3)),
            policy("brief:*", brief),
        ],
        channel_forget_after: Duration::from_secs(2 * 86_400),
        ..EngineConfig::default()
    };
    let log = LogConfig {
        segment_bytes: 4_096,
        trim_grace: Duration::ZERO,
        ..LogConfig::default()
    };
    let disk = Arc::new(RealDisk::open(path).expect("a folder"));
    let draw = Box::new(|| getrandom::u64().ok());
    Inline::open(disk, config, log, Arc::new(clock.clone()), draw).expect("it opens")
}

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

fn keyed(mut entry: Append, number: u8) -> Append {
    if let Effect::Publish { key, .. } = &mut entry.effect {
        *key = Some(IdempotencyKey([number; 16]));
    }
    entry
}

fn numbered(mut entry: Append, number: u8, seq: u64) -> Append {
    let session = SessionKey([number; 16]);
    entry.producer = Some(Producer { session, seq });
    entry
}

/// Writes a log with every kind of record.
fn write(path: &std::path::Path) {
    let day = Duration::from_secs(86_400);
    let clock = ManualClock::default();
    let engine = open_at(path, &clock);
    let put = |entry| {
        block_on(engine.append(vec![entry]))[0].expect("there is room");
    };
    put(publish("old", "\"forgotten\""));
    put(publish("expired", "\"expired\""));
    clock.advance(day + day / 2);
    put(publish("brief:a", "\"forgotten in a later segment\""));
    clock.advance(day + day / 2 - Duration::from_secs(3_600));
    put(publish("expired", "\"expired too\""));
    clock.advance(Duration::from_secs(7_200));
    engine.tick();
    for number in 0..200 {
        put(publish("few:a", &number.to_string()));
        clock.advance(Duration::from_millis(10));
    }
    engine.compact(8);
    let mut marked = publish("all", "{\"n\":1}");
    if let Effect::Publish { user, tag, .. } = &mut marked.effect {
        (*user, *tag) = (Some("ann".into()), Some("t\u{fc}r".into()));
    }
    put(marked);
    let mut binary = publish("all", "");
    if let Effect::Publish { data, .. } = &mut binary.effect {
        *data = Data::Binary(vec![0, 255, 10].into());
    }
    put(binary);
    put(numbered(keyed(publish("all", "3"), 1), 1, 5));
    put(keyed(publish("live:a", "4"), 2));
    put(numbered(publish("live:a", "5"), 2, 7));
    put(numbered(publish("all", "6"), 3, 9));
    block_on(engine.end_session(SessionKey([3; 16]))).expect("there is room");
    clock.advance(day / 2);
    put(publish("expired", "\"not expired\""));
    clock.advance(day / 2 + Duration::from_secs(60));
    engine.tick();
    put(numbered(keyed(publish("all", "7"), 3), 1, 6));
    engine.close();
}

fn copied() -> Folder {
    let folder = Folder::new();
    for entry in fs::read_dir(fixture()).expect("the fixture") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, folder.0.join(name)).expect("a copy");
    }
    folder
}

/// The log of version 1 that stands in the repository opens for ever, as what it was. Written once
/// by `BLESS=1`, and never again while version 1 is the newest.
#[test]
fn the_log_of_version_1_opens() {
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(fixture()).expect("a folder");
        write(&fixture());
        fs::remove_file(fixture().join("LOCK")).expect("a file");
    }
    let folder = copied();
    let clock = ManualClock::default();
    clock.advance(Duration::from_secs(4 * 86_400 + 3_600));
    let engine = open_at(&folder.0, &clock);
    let limit = PageLimit {
        count: 100,
        bytes: 1 << 20,
    };
    let texts = |channel: &str| -> Option<(u64, Vec<String>)> {
        let page = block_on(engine.read(channel, 0, limit)).expect("it answers")?;
        let text = |data: &Data| String::from_utf8_lossy(data.bytes()).into_owned();
        let found = page.publications.iter().map(|one| text(&one.data));
        Some((page.floor, found.collect()))
    };
    let state = block_on(engine.channel("old")).expect("it answers");
    assert_eq!(state, ChannelState::Absent);
    assert_eq!(texts("all"), Some((5, vec!["7".to_owned()])));
    let expired = Some((3, vec!["\"not expired\"".to_owned()]));
    assert_eq!(texts("expired"), expired);
    let few = texts("few:a");
    assert_eq!(few, Some((201, Vec::new())));
    let session = |number| block_on(engine.session(SessionKey([number; 16])));
    assert_eq!(session(1), Ok(Some(6)));
    assert_eq!((session(2), session(3)), (Ok(None), Ok(None)));
    let next = block_on(engine.append(vec![publish("few:a", "200")]));
    let next = next[0].expect("there is room").position.expect("history");
    assert_eq!(next.offset, 201);
}

/// At the time when it was written, its keys are within their window.
#[test]
fn the_keys_of_version_1_are_known() {
    let folder = copied();
    let clock = ManualClock::default();
    let engine = open_at(&folder.0, &clock);
    let again = block_on(engine.append(vec![keyed(publish("all", "7"), 3)]));
    let again = again[0].expect("it was stored");
    assert!(again.duplicate && again.position.is_some_and(|first| first.offset == 5));
    let clash = block_on(engine.append(vec![keyed(publish("all", "8"), 3)]));
    assert_eq!(clash, [Err(AppendError::KeyReused)]);
}

/// Every kind of record stands in the fixture, so that none can change its bytes unseen.
#[test]
fn the_fixture_has_every_kind_of_record() {
    let log = crate::offline::OfflineLog::open(&fixture()).expect("a folder");
    let mut kinds = std::collections::BTreeSet::new();
    let report = log.dump(|_, records| {
        kinds.extend(records.iter().map(|record| record.kind));
        ControlFlow::Continue(())
    });
    assert!(report.expect("it is read").is_sound());
    let expected = [
        "advance",
        "close",
        "create",
        "end",
        "end_session",
        "floor",
        "forget",
        "gone",
        "key",
        "publish",
        "publish_binary",
        "term",
        "time",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    // The compiler tells of a kind that is added.
    let known = |record: &Record<'_>| match record {
        Record::Create { .. }
        | Record::Publish(_)
        | Record::Advance { .. }
        | Record::EndSession { .. }
        | Record::Floor { .. }
        | Record::Forget { .. }
        | Record::Gone { .. }
        | Record::Key { .. }
        | Record::Time { .. }
        | Record::Term { .. }
        | Record::Close
        | Record::End => true,
    };
    assert!(known(&Record::Close));
}

/// Frames of a rewritten segment are numbered from 1, wherever it stands in the log.
#[test]
fn a_rewritten_segment_opens_behind_one_that_was_not() {
    let folder = Folder::new();
    let clock = ManualClock::default();
    let engine = open_at(&folder.0, &clock);
    let texts: Vec<String> = (0..30).map(|number| format!("{number:0200}")).collect();
    for text in &texts {
        block_on(engine.append(vec![publish("kept", text)]))[0].expect("there is room");
    }
    for number in 0..200 {
        block_on(engine.append(vec![publish("few:a", &number.to_string())]))[0]
            .expect("there is room");
    }
    engine.compact(8);
    let compactions = engine.stats().details;
    let compactions = compactions.iter().find(|(name, _)| *name == "compactions");
    assert!(compactions.is_some_and(|(_, count)| *count > 0));
    engine.close();
    drop(engine);
    let first = fs::read(folder.0.join(names::segment(1))).expect("a segment");
    let first = SegmentHeader::decode(&first).expect("a header");
    assert!(!first.is_rewritten(), "it has nothing to give back");
    let engine = open_at(&folder.0, &clock);
    let limit = PageLimit {
        count: 100,
        bytes: 1 << 20,
    };
    let page = block_on(engine.read("kept", 0, limit)).expect("it answers");
    let found: Vec<_> = page.expect("a record").publications;
    let found: Vec<_> = found
        .iter()
        .map(|one| String::from_utf8_lossy(one.data.bytes()).into_owned())
        .collect();
    assert_eq!(found, texts);
}

/// A clock that was set ahead while the log was closed makes nobody's repetition a second message.
#[test]
fn a_key_outlives_a_clock_that_is_set_ahead_while_the_log_is_closed() {
    let folder = Folder::new();
    let clock = ManualClock::default();
    let open = || {
        let log = LogConfig {
            trim_grace: Duration::from_secs(600),
            ..LogConfig::default()
        };
        let disk = Arc::new(RealDisk::open(&folder.0).expect("the folder"));
        let entropy = Box::new(|| getrandom::u64().ok());
        let config = EngineConfig::default();
        Inline::open(disk, config, log, Arc::new(clock.clone()), entropy).expect("it opens")
    };
    let put = |engine: &Inline, key| {
        block_on(engine.append(vec![keyed(publish("a", "1"), key)]))[0].expect("there is room")
    };
    let engine = open();
    let first = put(&engine, 1);
    drop(engine);
    clock.advance(Duration::from_secs(5 * 3_600));
    let engine = open();
    let again = put(&engine, 1);
    assert!(again.duplicate);
    assert_eq!(again.position, first.position);
    // The grace ends, and with it all windows that have.
    clock.advance(Duration::from_secs(601));
    assert!(!put(&engine, 1).duplicate);
}

/// The time of a log never goes back, so a commit by a clock that is ahead is what makes it count.
#[test]
fn a_clock_that_is_ahead_at_a_start_costs_nothing_until_something_is_committed() {
    let folder = Folder::new();
    let clock = ManualClock::default();
    let ahead = Duration::from_secs(30 * 3_600);
    let open = || {
        let disk = Arc::new(RealDisk::open(&folder.0).expect("the folder"));
        let entropy = Box::new(|| getrandom::u64().ok());
        let clock = Arc::new(clock.clone());
        Inline::open(
            disk,
            EngineConfig::default(),
            LogConfig::default(),
            clock,
            entropy,
        )
        .expect("it opens")
    };
    let count = |engine: &Inline| {
        let limit = PageLimit {
            count: 10,
            bytes: 1 << 20,
        };
        let page = block_on(engine.read("a", 0, limit)).expect("it answers");
        page.expect("a record").publications.len()
    };
    let put = |engine: &Inline| {
        block_on(engine.append(vec![publish("a", "1")]))[0].expect("there is room");
    };
    let engine = open();
    put(&engine);
    drop(engine);
    clock.advance(ahead);
    let engine = open();
    engine.tick();
    assert_eq!(count(&engine), 0, "it has expired by this clock");
    drop(engine);
    clock.set_back(ahead);
    let engine = open();
    assert_eq!(count(&engine), 1);
    drop(engine);
    clock.advance(ahead);
    let engine = open();
    put(&engine);
    let seen_s = engine.clock().now_s;
    drop(engine);
    clock.set_back(ahead);
    let engine = open();
    assert!(engine.clock().now_s >= seen_s);
    assert_eq!(count(&engine), 1, "only what was stored since");
}
