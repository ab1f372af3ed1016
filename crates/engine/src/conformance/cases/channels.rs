//! Channels: absent and present, their epochs, patterns, channels without history, forgetting.

use std::{collections::BTreeSet, time::Duration};

use bowline_proto::recovery::{ChannelState, From, RecoveryReason, recover};

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    conformance::{
        Case, Subject,
        driver::{Driver, key, publish, session},
    },
    contract::Appended,
};

pub(super) const CASES: &[Case] = &[
    case!(asking_never_creates_a_channel),
    case!(each_channel_has_its_epoch_and_all_share_a_term),
    case!(each_opening_has_its_own_epochs),
    case!(a_position_recovers_while_history_reaches_back),
    case!(a_channel_without_history_stores_nothing),
    case!(a_channel_without_history_still_refuses_duplicates),
    case!(the_first_pattern_that_matches_decides),
    case!(an_empty_channel_is_remembered_then_forgotten, clock),
    case!(a_position_of_an_absent_channel_outlives_no_channel, clock),
];

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn policy(pattern: &str, history: Option<Retention>) -> ChannelPolicy {
    ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    }
}

fn asking_never_creates_a_channel(subject: &Subject) -> Check {
    let config = EngineConfig {
        channels_max: 1,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for channel in ["a", "b", "c"] {
        ensure_eq!(driver.state(channel)?, ChannelState::Absent, "the state");
        ensure_eq!(driver.page(channel, 0, 1, 1)?, None, "the page");
    }
    ensure_eq!(driver.engine.stats().channels, 0, "channels");
    driver.publish("d", 1)?;
    Ok(())
}

fn each_channel_has_its_epoch_and_all_share_a_term(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let mut epochs = BTreeSet::from([driver.engine.clock().epoch]);
    let mut terms = BTreeSet::new();
    for number in 0..8 {
        let position = driver.publish(&format!("c{number}"), 1)?;
        epochs.insert(position.epoch);
        terms.insert(position.term);
    }
    ensure_eq!(
        epochs.len(),
        9,
        "different epochs, the engine's own included"
    );
    ensure_eq!(terms.len(), 1, "different terms");
    ensure!(!terms.contains(&0), "the term is 0");
    Ok(())
}

fn each_opening_has_its_own_epochs(subject: &Subject) -> Check {
    let mut epochs = BTreeSet::new();
    let mut terms = BTreeSet::new();
    for _ in 0..2 {
        let driver = Driver::open(subject, EngineConfig::default());
        let position = driver.publish("a", 1)?;
        epochs.extend([driver.engine.clock().epoch, position.epoch]);
        terms.insert(position.term);
    }
    ensure_eq!(
        (epochs.len(), terms.len()),
        (4, 2),
        "different epochs and terms"
    );
    Ok(())
}

fn a_position_recovers_while_history_reaches_back(subject: &Subject) -> Check {
    let kept = Retention {
        messages: 5,
        ..Retention::default()
    };
    let config = EngineConfig {
        policies: vec![policy("*", Some(kept))],
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let absent = recover(From::Now, &driver.state("a")?, driver.engine.clock());
    let absent = absent.position.ok_or("an absent channel has a position")?;
    let first = driver.publish("a", 1)?;
    let resume = |position| -> Result<Option<RecoveryReason>, String> {
        let outcome = recover(
            From::After(position),
            &driver.state("a")?,
            driver.engine.clock(),
        );
        Ok(outcome.reason)
    };
    ensure_eq!(resume(absent)?, None, "from the absent channel");
    for number in 2..=6 {
        driver.publish("a", number)?;
    }
    ensure_eq!(resume(first)?, None, "from floor - 1");
    let expired = Some(RecoveryReason::Expired);
    ensure_eq!(resume(absent)?, expired, "from the absent channel, trimmed");
    driver.publish("a", 7)?;
    ensure_eq!(resume(first)?, expired, "from below floor - 1");
    let mut foreign = first;
    foreign.epoch ^= 1;
    let unknown = Some(RecoveryReason::UnknownEpoch);
    ensure_eq!(resume(foreign)?, unknown, "with a foreign epoch");
    Ok(())
}

fn a_channel_without_history_stores_nothing(subject: &Subject) -> Check {
    let config = EngineConfig {
        channels_max: 1,
        messages_max: 1,
        policies: vec![policy("live:*", None)],
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for number in 0..5 {
        let outcome = driver.append_one(publish(&format!("live:{number}"), number));
        let expected = Appended {
            position: None,
            duplicate: false,
        };
        ensure_eq!(outcome, Ok(expected), "a publish without history");
    }
    ensure_eq!(
        driver.state("live:0")?,
        ChannelState::NoHistory,
        "the state"
    );
    ensure_eq!(
        driver.state("live:x")?,
        ChannelState::NoHistory,
        "the state unused"
    );
    ensure_eq!(driver.page("live:0", 0, 10, 10)?, None, "the page");
    let stats = driver.engine.stats();
    ensure_eq!(
        (stats.channels, stats.messages),
        (0, 0),
        "channels and messages"
    );
    driver.publish("a", 1)?;
    Ok(())
}

fn a_channel_without_history_still_refuses_duplicates(subject: &Subject) -> Check {
    let config = EngineConfig {
        policies: vec![policy("live:*", None)],
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for entry in [
        publish("live:a", 1).by(session(1), 1),
        publish("live:a", 2).keyed(key(1)),
    ] {
        for (again, expected) in [(false, false), (true, true)] {
            let outcome = if again {
                driver.append_one_again(entry.clone())
            } else {
                driver.append_one(entry.clone())
            };
            let expected = Appended {
                position: None,
                duplicate: expected,
            };
            ensure_eq!(outcome, Ok(expected), "the outcome");
        }
    }
    ensure_eq!(driver.highest(session(1))?, Some(1), "the session's number");
    Ok(())
}

fn the_first_pattern_that_matches_decides(subject: &Subject) -> Check {
    let keeping = |messages| {
        Some(Retention {
            messages,
            ..Retention::default()
        })
    };
    let config = EngineConfig {
        policies: vec![
            policy("chat:main", keeping(2)),
            policy("chat:*", keeping(3)),
            policy("chat:x", keeping(4)),
            policy("*", keeping(5)),
        ],
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for (channel, kept) in [
        ("chat:main", 2),
        ("chat:main2", 3),
        ("chat:x", 3),
        ("chat:", 3),
        ("chat", 5),
        ("other", 5),
    ] {
        driver.publish_numbers(channel, 9)?;
        ensure_eq!(driver.history(channel)?.len(), kept, "what {channel} keeps");
    }
    Ok(())
}

fn an_empty_channel_is_remembered_then_forgotten(subject: &Subject) -> Check {
    let config = EngineConfig {
        channels_max: 1,
        channel_forget_after: 2 * DAY,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let first = driver.publish("a", 1)?;
    driver.wait(3 * DAY - HOUR);
    let record = driver.record("a")?;
    ensure_eq!(
        (record.floor, record.head),
        (2, 1),
        "floor and head of an empty channel"
    );
    ensure_eq!(record.epoch, first.epoch, "its epoch");
    driver.wait(2 * HOUR);
    ensure_eq!(
        driver.state("a")?,
        ChannelState::Absent,
        "the state after the span"
    );
    ensure_eq!(driver.page("a", 0, 1, 1)?, None, "the page after the span");
    let again = driver.publish("a", 2)?;
    ensure_eq!(again.offset, 1, "the first offset of the new record");
    ensure!(again.epoch != first.epoch, "the epoch is the old one's");
    driver.wait(4 * DAY);
    driver.publish("b", 1)?;
    ensure_eq!(
        driver.state("a")?,
        ChannelState::Absent,
        "the state of what made room"
    );
    Ok(())
}

fn a_position_of_an_absent_channel_outlives_no_channel(subject: &Subject) -> Check {
    let config = EngineConfig {
        channel_forget_after: 2 * DAY,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let clock = driver.engine.clock();
    ensure_eq!(clock.forget_after_s, 2 * 86_400, "forget_after_s");
    let absent = recover(From::Now, &driver.state("a")?, clock).position;
    let absent = absent.ok_or("an absent channel has a position")?;
    driver.publish("a", 1)?;
    for _ in 0..5 {
        driver.wait(20 * HOUR);
        let clock = driver.engine.clock();
        let outcome = recover(From::After(absent), &driver.state("a")?, clock);
        let expired = clock.now_s - absent.term >= 86_400;
        ensure_eq!(
            outcome.recovered,
            !expired,
            "after {} s",
            clock.now_s - absent.term
        );
    }
    Ok(())
}
