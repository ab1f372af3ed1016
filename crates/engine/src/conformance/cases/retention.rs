//! Retention: what goes by count, bytes and age, and what never restarts.

use std::time::Duration;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    conformance::{
        Case, Subject,
        driver::{Driver, publish},
    },
};

pub(super) const CASES: &[Case] = &[
    case!(history_is_bounded_by_count),
    case!(history_is_bounded_by_bytes),
    case!(the_newest_publication_is_kept_whatever_its_size),
    case!(a_read_below_the_floor_begins_at_the_floor),
    case!(expired_publications_are_never_served, clock),
    case!(offsets_go_on_after_everything_expired, clock),
    case!(each_pattern_has_its_own_age, clock),
];

const HOUR: Duration = Duration::from_secs(3_600);

fn keeping(retention: Retention) -> EngineConfig {
    EngineConfig {
        policies: vec![ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(retention),
        }],
        ..EngineConfig::default()
    }
}

fn history_is_bounded_by_count(subject: &Subject) -> Check {
    let driver = Driver::open(
        subject,
        keeping(Retention {
            messages: 10,
            ..Retention::default()
        }),
    );
    driver.publish_numbers("a", 10)?;
    let record = driver.record("a")?;
    ensure_eq!(
        (record.floor, record.head),
        (1, 10),
        "floor and head when full"
    );
    driver.publish_numbers("a", 15)?;
    let record = driver.record("a")?;
    ensure_eq!((record.floor, record.head), (16, 25), "floor and head");
    let expected: Vec<String> = (6..=15).map(|number| number.to_string()).collect();
    ensure_eq!(driver.texts("a")?, expected, "the history");
    ensure_eq!(driver.engine.stats().messages, 10, "messages");
    Ok(())
}

fn history_is_bounded_by_bytes(subject: &Subject) -> Check {
    let driver = Driver::open(
        subject,
        keeping(Retention {
            bytes: 20,
            ..Retention::default()
        }),
    );
    for number in 100..110 {
        let outcome = driver.append_one(publish("a", number).marked("u", "t"));
        ensure!(outcome.is_ok(), "a publish was answered {outcome:?}");
    }
    ensure_eq!(
        driver.texts("a")?,
        ["106", "107", "108", "109"],
        "20 bytes at 5 each"
    );
    let outcome = driver.append_one(publish("a", "\"0123456789\""));
    ensure!(outcome.is_ok(), "a publish was answered {outcome:?}");
    let expected = ["109", "\"0123456789\""];
    ensure_eq!(
        driver.texts("a")?,
        expected,
        "20 bytes, 12 of them the last"
    );
    ensure_eq!(driver.engine.stats().bytes, 17, "bytes");
    Ok(())
}

fn the_newest_publication_is_kept_whatever_its_size(subject: &Subject) -> Check {
    let driver = Driver::open(
        subject,
        keeping(Retention {
            bytes: 4,
            ..Retention::default()
        }),
    );
    driver.publish_numbers("a", 3)?;
    driver.publish("a", 123_456_789)?;
    ensure_eq!(driver.texts("a")?, ["123456789"], "the history");
    driver.publish("a", 4)?;
    ensure_eq!(driver.texts("a")?, ["4"], "the history after it");
    Ok(())
}

fn a_read_below_the_floor_begins_at_the_floor(subject: &Subject) -> Check {
    let driver = Driver::open(
        subject,
        keeping(Retention {
            messages: 4,
            ..Retention::default()
        }),
    );
    driver.publish_numbers("a", 10)?;
    for after in [0, 3, 6] {
        let page = driver
            .page("a", after, 2, 1_000)?
            .ok_or("the channel has no page")?;
        let offsets: Vec<u64> = page.publications.iter().map(|found| found.offset).collect();
        ensure_eq!(offsets, [7, 8], "the offsets after {after}");
        ensure_eq!(page.floor, 7, "the floor");
    }
    Ok(())
}

fn expired_publications_are_never_served(subject: &Subject) -> Check {
    let driver = Driver::open(
        subject,
        keeping(Retention {
            age: 3 * HOUR,
            ..Retention::default()
        }),
    );
    // More than any engine trims at one step.
    for hour in 0..3 {
        let batch = (0..100).map(|number| publish("a", hour * 100 + number));
        let outcomes = driver.append(batch.collect());
        ensure!(outcomes.iter().all(Result::is_ok), "a publish failed");
        driver.wait(HOUR);
    }
    for hour in 1..=3_u64 {
        let record = driver.record("a")?;
        let ends = (record.floor, record.head);
        ensure_eq!(ends, (hour * 100 + 1, 300), "floor and head at hour {hour}");
        let page = driver
            .page("a", 0, 1_000, 10_000)?
            .ok_or("the channel has no page")?;
        let expected = (hour * 100 + 1..=300).collect::<Vec<_>>();
        let offsets: Vec<u64> = page.publications.iter().map(|found| found.offset).collect();
        ensure_eq!(offsets, expected, "the offsets at hour {hour}");
        driver.wait(HOUR);
    }
    Ok(())
}

fn offsets_go_on_after_everything_expired(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    driver.publish_numbers("a", 5)?;
    let before = driver.record("a")?;
    driver.wait(25 * HOUR);
    let record = driver.record("a")?;
    ensure_eq!(
        (record.floor, record.head),
        (6, 5),
        "floor and head when empty"
    );
    ensure_eq!(driver.texts("a")?.len(), 0, "publications when empty");
    let position = driver.publish("a", 6)?;
    ensure_eq!(position.offset, 6, "the next offset");
    ensure_eq!(position.epoch, before.epoch, "its epoch");
    ensure_eq!(driver.texts("a")?, ["6"], "the history");
    Ok(())
}

fn each_pattern_has_its_own_age(subject: &Subject) -> Check {
    let mut config = keeping(Retention::default());
    let short = ChannelPolicy {
        pattern: "short:*".to_owned(),
        history: Some(Retention {
            age: HOUR,
            ..Retention::default()
        }),
    };
    config.policies.insert(0, short);
    let driver = Driver::open(subject, config);
    for channel in ["long", "short:a"] {
        driver.publish(channel, 1)?;
    }
    driver.wait(2 * HOUR);
    ensure_eq!(driver.texts("long")?, ["1"], "the long history");
    ensure_eq!(
        driver.texts("short:a")?.len(),
        0,
        "publications of the short history"
    );
    Ok(())
}
