//! The bounds over all channels, and that what is refused has no effect.

use std::time::Duration;

use bowline_proto::recovery::ChannelState;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    conformance::{
        Case, Subject,
        driver::{Driver, key, publish, session},
    },
    contract::AppendError,
};

pub(super) const CASES: &[Case] = &[
    case!(channels_are_bounded_and_existing_ones_go_on),
    case!(messages_are_bounded),
    case!(bytes_are_bounded),
    case!(a_refused_entry_has_no_effect),
    case!(a_channel_at_its_own_bound_goes_on_when_all_are_full),
    case!(expiry_makes_room, clock),
];

fn channels_are_bounded_and_existing_ones_go_on(subject: &Subject) -> Check {
    let config = EngineConfig {
        channels_max: 3,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for channel in ["a", "b", "c"] {
        driver.publish(channel, 1)?;
    }
    for _ in 0..2 {
        let refused = driver.append_one(publish("d", 1));
        ensure_eq!(
            refused,
            Err(AppendError::TooManyChannels),
            "a channel too many"
        );
    }
    ensure_eq!(driver.state("d")?, ChannelState::Absent, "its state");
    for channel in ["a", "b", "c"] {
        ensure_eq!(driver.publish(channel, 2)?.offset, 2, "the next offset");
    }
    Ok(())
}

fn messages_are_bounded(subject: &Subject) -> Check {
    let config = EngineConfig {
        messages_max: 5,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    driver.publish_numbers("a", 3)?;
    driver.publish_numbers("b", 2)?;
    for channel in ["a", "b", "c"] {
        let refused = driver.append_one(publish(channel, 9));
        ensure_eq!(
            refused,
            Err(AppendError::StorageFull),
            "a publish in {channel}"
        );
    }
    ensure_eq!(driver.texts("a")?, ["1", "2", "3"], "a is still read");
    ensure_eq!(driver.texts("b")?, ["1", "2"], "b is still read");
    ensure_eq!(driver.state("c")?, ChannelState::Absent, "the state of c");
    Ok(())
}

fn bytes_are_bounded(subject: &Subject) -> Check {
    let config = EngineConfig {
        bytes_max: 12,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    driver.publish("a", 12_345)?;
    let refused = driver.append_one(publish("a", 123_456).marked("u", "t"));
    ensure_eq!(
        refused,
        Err(AppendError::StorageFull),
        "8 bytes where 7 are left"
    );
    driver.publish("a", 1_234_567)?;
    ensure_eq!(driver.engine.stats().bytes, 12, "bytes");
    Ok(())
}

fn a_refused_entry_has_no_effect(subject: &Subject) -> Check {
    let config = EngineConfig {
        messages_max: 1,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let one = session(1);
    driver.publish("a", 1)?;
    let outcomes = driver.append(vec![
        publish("a", 2).by(one, 1).keyed(key(1)),
        publish("a", 3).by(one, 2),
    ]);
    let expected = [Err(AppendError::StorageFull), Err(AppendError::Aborted)];
    ensure!(
        outcomes == expected || outcomes == [expected[0]; 2],
        "the outcomes are {outcomes:?}"
    );
    ensure_eq!(driver.highest(one)?, None, "R");
    let record = driver.record("a")?;
    ensure_eq!((record.floor, record.head), (1, 1), "floor and head");
    // The refused key stands for nothing: with another body it is refused for room again.
    let other = driver.append_one(publish("a", 4).keyed(key(1)));
    ensure_eq!(
        other,
        Err(AppendError::StorageFull),
        "the key with another body"
    );
    Ok(())
}

fn a_channel_at_its_own_bound_goes_on_when_all_are_full(subject: &Subject) -> Check {
    let config = EngineConfig {
        messages_max: 6,
        policies: vec![ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(Retention {
                messages: 4,
                ..Retention::default()
            }),
        }],
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    driver.publish_numbers("a", 4)?;
    driver.publish_numbers("b", 2)?;
    let refused = driver.append_one(publish("b", 3));
    ensure_eq!(
        refused,
        Err(AppendError::StorageFull),
        "a channel that would grow"
    );
    ensure_eq!(
        driver.publish("a", 5)?.offset,
        5,
        "a channel that trims itself"
    );
    ensure_eq!(driver.texts("a")?, ["2", "3", "4", "5"], "its history");
    Ok(())
}

fn expiry_makes_room(subject: &Subject) -> Check {
    let config = EngineConfig {
        messages_max: 50,
        bytes_max: 150,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for number in 100..150 {
        driver.publish(&format!("c{}", number % 7), number)?;
    }
    let refused = driver.append_one(publish("d", 1));
    ensure_eq!(refused, Err(AppendError::StorageFull), "a publish too many");
    driver.wait(Duration::from_secs(25 * 3_600));
    for number in 100..150 {
        driver.publish("d", number)?;
    }
    ensure_eq!(
        driver.history("d")?.len(),
        50,
        "publications of the new channel"
    );
    Ok(())
}
