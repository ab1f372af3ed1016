//! Appends: offsets, order, content, batches.

use bowline_proto::Data;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::EngineConfig,
    conformance::{
        Case, Subject,
        driver::{Driver, key, publish, session},
    },
    contract::{AppendError, Effect, EngineHealth},
};

pub(super) const CASES: &[Case] = &[
    case!(offsets_rise_by_one_from_one),
    case!(what_was_appended_is_read_in_order),
    case!(a_publication_keeps_its_kind_user_and_tag),
    case!(a_batch_is_applied_in_order_over_channels),
    case!(an_empty_batch_has_no_outcomes),
    case!(a_failure_aborts_the_rest_of_its_session_only),
    case!(aborted_entries_can_be_sent_again),
    case!(stats_agree_with_what_is_stored),
];

fn offsets_rise_by_one_from_one(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let mut positions = Vec::new();
    for number in 1..=20_u64 {
        let position = driver.publish("a", number)?;
        ensure_eq!(
            position.offset,
            number,
            "the offset of publication {number}"
        );
        positions.push(position);
    }
    let record = driver.record("a")?;
    ensure_eq!((record.floor, record.head), (1, 20), "floor and head");
    for position in positions {
        ensure_eq!(position, record.position_at(position.offset), "a position");
    }
    ensure_eq!(
        driver.publish("b", 1)?.offset,
        1,
        "another channel's offset"
    );
    Ok(())
}

fn what_was_appended_is_read_in_order(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let expected: Vec<String> = (1..=50).map(|number| number.to_string()).collect();
    driver.publish_numbers("a", 50)?;
    ensure_eq!(driver.texts("a")?, expected, "the history");
    Ok(())
}

fn a_publication_keeps_its_kind_user_and_tag(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let kinds = [
        Data::Json("{\"a\":1}".into()),
        Data::Binary(vec![0, 10, 13, 255].into()),
        Data::Binary(Vec::new().into()),
    ];
    for kind in &kinds {
        let mut entry = publish("a", 0).marked("ann", "t1");
        if let Effect::Publish { data, .. } = &mut entry.effect {
            *data = kind.clone();
        }
        ensure!(driver.append_one(entry).is_ok(), "{kind:?} was refused");
    }
    driver.publish("a", 0)?;
    let history = driver.history("a")?;
    let found: Vec<&Data> = history.iter().take(3).map(|stored| &stored.data).collect();
    ensure_eq!(found, kinds.iter().collect::<Vec<_>>(), "the payloads");
    for stored in &history[..3] {
        let marks = (stored.user.as_deref(), stored.tag.as_deref());
        ensure_eq!(marks, (Some("ann"), Some("t1")), "user and tag");
    }
    let marks = (&history[3].user, &history[3].tag);
    ensure_eq!(marks, (&None, &None), "no user and no tag");
    Ok(())
}

fn a_batch_is_applied_in_order_over_channels(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let batch = (0..30_u64)
        .map(|number| publish(["a", "b", "c"][number as usize % 3], number))
        .collect();
    for (index, outcome) in driver.append(batch).into_iter().enumerate() {
        let position = outcome.ok().and_then(|appended| appended.position);
        let offset = position.map(|position| position.offset);
        ensure_eq!(
            offset,
            Some(index as u64 / 3 + 1),
            "the offset of entry {index}"
        );
    }
    for (first, channel) in ["a", "b", "c"].into_iter().enumerate() {
        let expected: Vec<String> = (first..30).step_by(3).map(|n| n.to_string()).collect();
        ensure_eq!(driver.texts(channel)?, expected, "the history of {channel}");
    }
    Ok(())
}

fn an_empty_batch_has_no_outcomes(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    ensure_eq!(driver.append(Vec::new()), [], "the outcomes");
    Ok(())
}

fn a_failure_aborts_the_rest_of_its_session_only(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let (one, other) = (session(1), session(2));
    driver
        .append_one(publish("a", 0).keyed(key(1)))
        .map_err(|error| format!("the first publish: {error}"))?;
    let outcomes = driver.append(vec![
        publish("a", 1).by(one, 1),
        publish("a", 2).by(other, 1),
        publish("a", "\"clash\"").keyed(key(1)).by(one, 2),
        publish("a", "\"aborted\"").by(one, 3),
        publish("a", 3).by(other, 2),
        publish("b", "\"aborted\"").by(one, 4),
        publish("a", 4),
    ]);
    let errors: Vec<Option<AppendError>> = outcomes.iter().map(|outcome| outcome.err()).collect();
    let (clash, aborted) = (Some(AppendError::KeyReused), Some(AppendError::Aborted));
    let expected = [None, None, clash, aborted, None, aborted, None];
    ensure_eq!(errors, expected, "the errors");
    ensure_eq!(
        driver.texts("a")?,
        ["0", "1", "2", "3", "4"],
        "what was stored"
    );
    ensure_eq!(driver.highest(one)?, Some(1), "the failed session's number");
    ensure_eq!(
        driver.highest(other)?,
        Some(2),
        "the other session's number"
    );
    Ok(())
}

fn aborted_entries_can_be_sent_again(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let one = session(1);
    driver
        .append_one(publish("a", 0).keyed(key(1)))
        .map_err(|error| format!("the first publish: {error}"))?;
    let failed = driver.append(vec![
        publish("a", "\"clash\"").keyed(key(1)).by(one, 1),
        publish("a", 2).by(one, 2),
    ]);
    ensure!(failed.iter().all(Result::is_err), "found {failed:?}");
    ensure_eq!(driver.highest(one)?, None, "the session's number");
    let again = driver.append(vec![
        publish("a", 1).keyed(key(2)).by(one, 1),
        publish("a", 2).by(one, 2),
    ]);
    let fresh = again
        .iter()
        .all(|outcome| outcome.is_ok_and(|appended| !appended.duplicate));
    ensure!(fresh, "found {again:?}");
    ensure_eq!(driver.texts("a")?, ["0", "1", "2"], "what was stored");
    Ok(())
}

fn stats_agree_with_what_is_stored(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    ensure_eq!(driver.engine.stats().messages, 0, "messages before");
    driver.publish_numbers("a", 9)?;
    let batch = vec![
        publish("b", 1).marked("ann", "t1").by(session(1), 1),
        publish("b", 2).keyed(key(1)),
    ];
    driver.append(batch.clone());
    driver.append_again(batch);
    let stats = driver.engine.stats();
    ensure_eq!(
        (stats.channels, stats.messages),
        (2, 11),
        "channels and messages"
    );
    ensure_eq!(stats.bytes, 16, "bytes of data, users and tags");
    ensure_eq!(
        (stats.sessions, stats.appended),
        (1, 11),
        "sessions and entries stored"
    );
    ensure!(stats.keys >= 1, "no key is counted");
    let duplicates = (stats.session_duplicates, stats.key_duplicates);
    ensure!(duplicates >= (1, 1), "duplicates counted: {duplicates:?}");
    ensure_eq!(driver.engine.health(), EngineHealth::Ready, "health");
    Ok(())
}
