//! Hints: lossy, but true and in order.

use std::sync::Arc;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::{ChannelPolicy, EngineConfig},
    conformance::{
        Case, Subject,
        driver::{Driver, key, publish, session},
        recorder::{Recorder, Seen},
    },
};

pub(super) const CASES: &[Case] = &[
    case!(hints_tell_what_was_committed_in_order),
    case!(hints_come_for_channels_without_history),
    case!(duplicates_and_refusals_give_no_hints),
    case!(every_listener_is_told),
];

fn listening<'a>(subject: &'a Subject, config: EngineConfig) -> (Driver<'a>, Arc<Recorder>) {
    let driver = Driver::open(subject, config);
    let recorder = Arc::new(Recorder::default());
    driver.engine.listen(recorder.clone());
    (driver, recorder)
}

fn is_last(seen: &[Seen], text: &str) -> bool {
    seen.iter()
        .any(|hint| hint.publication.data.bytes() == text.as_bytes())
}

fn hints_tell_what_was_committed_in_order(subject: &Subject) -> Check {
    let (driver, recorder) = listening(subject, EngineConfig::default());
    for round in 0..8 {
        let batch = (0..8).map(|number| {
            // Two after each other, so that neighbours of one channel and of two can be swapped.
            let channel = ["a", "a", "b", "b"][number as usize % 4];
            publish(channel, round * 8 + number).marked("ann", "t")
        });
        driver.append(batch.collect());
    }
    // Some of the hints may be lost, even the last; that all are is not to be expected.
    let seen = recorder.wait_until(|seen| is_last(seen, "61") && is_last(seen, "63"));
    ensure!(!seen.is_empty(), "no hint came at all");
    for channel in ["a", "b"] {
        let record = driver.record(channel)?;
        let history = driver.history(channel)?;
        let mut last = 0;
        for hint in seen.iter().filter(|hint| &*hint.channel == channel) {
            let offset = hint.publication.offset;
            ensure!(offset > last, "in {channel}, {offset} came after {last}");
            last = offset;
            ensure_eq!(hint.epoch, record.epoch, "the epoch of {channel}");
            let stored = history.get(offset as usize - 1);
            ensure_eq!(Some(&hint.publication), stored, "a hint of {channel}");
        }
    }
    Ok(())
}

fn hints_come_for_channels_without_history(subject: &Subject) -> Check {
    let config = EngineConfig {
        policies: vec![ChannelPolicy {
            pattern: "live:*".to_owned(),
            history: None,
        }],
        ..EngineConfig::default()
    };
    let (driver, recorder) = listening(subject, config);
    for number in 1..=50 {
        let outcome = driver.append_one(publish("live:a", number).marked("ann", "t"));
        ensure!(outcome.is_ok(), "a publish was answered {outcome:?}");
    }
    let seen = recorder.wait_until(|seen| is_last(seen, "50"));
    ensure!(!seen.is_empty(), "no hint came at all");
    let mut last = 0;
    for hint in &seen {
        let found = (&*hint.channel, hint.epoch, hint.publication.offset);
        ensure_eq!(found, ("live:a", 0, 0), "channel, epoch and offset");
        let text = String::from_utf8_lossy(hint.publication.data.bytes());
        let number: u64 = text.parse().map_err(|_| format!("{text} was not sent"))?;
        ensure!(number > last, "{number} came after {last}");
        last = number;
        let marks = (
            hint.publication.user.as_deref(),
            hint.publication.tag.as_deref(),
        );
        ensure_eq!(marks, (Some("ann"), Some("t")), "user and tag");
    }
    Ok(())
}

fn duplicates_and_refusals_give_no_hints(subject: &Subject) -> Check {
    let (driver, recorder) = listening(subject, EngineConfig::default());
    let numbered = publish("a", 1).by(session(1), 1);
    let keyed = publish("a", 2).keyed(key(1));
    driver.append(vec![numbered.clone(), keyed.clone()]);
    for _ in 0..5 {
        driver.append_again(vec![numbered.clone(), keyed.clone()]);
        driver.append(vec![publish("a", "\"clash\"").keyed(key(1))]);
    }
    driver.publish("a", 3)?;
    let seen = recorder.wait_until(|seen| is_last(seen, "3"));
    let offsets: Vec<u64> = seen.iter().map(|hint| hint.publication.offset).collect();
    let fallen = offsets.windows(2).find(|pair| pair[0] >= pair[1]);
    ensure_eq!(
        fallen,
        None,
        "an offset that is not above the one before it"
    );
    ensure!(!is_last(&seen, "\"clash\""), "a hint of what was refused");
    Ok(())
}

fn every_listener_is_told(subject: &Subject) -> Check {
    let (driver, first) = listening(subject, EngineConfig::default());
    let second = Arc::new(Recorder::default());
    driver.engine.listen(second.clone());
    driver.publish_numbers("a", 50)?;
    for recorder in [first, second] {
        let seen = recorder.wait_until(|seen| is_last(seen, "50"));
        ensure!(!seen.is_empty(), "no hint came at all");
    }
    Ok(())
}
