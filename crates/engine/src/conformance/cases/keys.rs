//! Idempotency keys: one effect per key, channel and window.

use std::time::Duration;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::EngineConfig,
    conformance::{
        Case, Subject,
        driver::{Driver, Outcome, key, publish, session},
    },
    contract::{AppendError, Appended},
};

pub(super) const CASES: &[Case] = &[
    case!(a_repeated_key_answers_the_first_position),
    case!(a_repeated_key_within_a_batch_is_a_duplicate),
    case!(a_key_with_another_body_is_refused),
    case!(a_key_belongs_to_its_channel),
    case!(a_repeated_key_still_moves_the_session),
    case!(a_key_is_forgotten_after_its_window, clock),
    case!(the_newest_keys_are_remembered),
];

fn first(driver: &Driver<'_>, outcome: Outcome) -> Result<Appended, String> {
    let stored = outcome.map_err(|error| format!("a keyed publish: {error}"))?;
    ensure!(!stored.duplicate, "a new key is a duplicate");
    let stats = driver.engine.stats();
    ensure!(stats.keys > 0, "no key is counted");
    Ok(Appended {
        duplicate: true,
        ..stored
    })
}

fn a_repeated_key_answers_the_first_position(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let entry = publish("a", 1).keyed(key(1));
    let expected = first(&driver, driver.append_one(entry.clone()))?;
    ensure_eq!(
        expected.position.map(|position| position.offset),
        Some(1),
        "the offset"
    );
    for number in 2..=4 {
        driver.publish("a", number)?;
        let again = driver.append_one_again(entry.clone());
        ensure_eq!(again, Ok(expected), "the repeated key");
    }
    ensure_eq!(driver.texts("a")?, ["1", "2", "3", "4"], "what was stored");
    Ok(())
}

fn a_repeated_key_within_a_batch_is_a_duplicate(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let entry = publish("a", 1).keyed(key(1));
    let outcomes = driver.append(vec![entry.clone(), entry.clone(), publish("a", 2), entry]);
    let expected = first(&driver, outcomes[0])?;
    ensure_eq!(outcomes[1], Ok(expected), "the second");
    ensure_eq!(outcomes[3], Ok(expected), "the third");
    ensure_eq!(driver.texts("a")?, ["1", "2"], "what was stored");
    Ok(())
}

fn a_key_with_another_body_is_refused(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let entry = publish("a", 1).keyed(key(1)).marked("ann", "t1");
    first(&driver, driver.append_one(entry.clone()))?;
    for other in [
        publish("a", 2).keyed(key(1)).marked("ann", "t1"),
        publish("a", 1).keyed(key(1)).marked("ann", "t2"),
        publish("a", 1).keyed(key(1)).marked("bob", "t1"),
        publish("a", 1).keyed(key(1)),
    ] {
        let outcome = driver.append_one(other);
        ensure_eq!(outcome, Err(AppendError::KeyReused), "another body");
    }
    let again = driver.append_one_again(entry);
    ensure!(
        again.is_ok_and(|stored| stored.duplicate),
        "found {again:?}"
    );
    ensure_eq!(driver.texts("a")?, ["1"], "what was stored");
    Ok(())
}

fn a_key_belongs_to_its_channel(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    for (channel, number) in [("a", 1), ("b", 2)] {
        let entry = publish(channel, number).keyed(key(1));
        first(&driver, driver.append_one(entry))?;
    }
    ensure_eq!(driver.texts("a")?, ["1"], "what a stores");
    ensure_eq!(driver.texts("b")?, ["2"], "what b stores");
    Ok(())
}

fn a_repeated_key_still_moves_the_session(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    first(&driver, driver.append_one(publish("a", 1).keyed(key(1))))?;
    let entry = publish("a", 1).keyed(key(1)).by(session(1), 7);
    let outcome = driver.append_one_again(entry);
    ensure!(
        outcome.is_ok_and(|stored| stored.duplicate),
        "found {outcome:?}"
    );
    ensure_eq!(driver.highest(session(1))?, Some(7), "R");
    ensure_eq!(driver.texts("a")?, ["1"], "what was stored");
    Ok(())
}

fn a_key_is_forgotten_after_its_window(subject: &Subject) -> Check {
    let config = EngineConfig {
        key_window: Duration::from_secs(60),
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let entry = publish("a", 1).keyed(key(1));
    first(&driver, driver.append_one(entry.clone()))?;
    for _ in 0..2 {
        driver.wait(Duration::from_secs(29));
        let again = driver.append_one_again(entry.clone());
        ensure!(
            again.is_ok_and(|stored| stored.duplicate),
            "found {again:?}"
        );
    }
    // The window is counted from the publication: the duplicates have not made it longer.
    driver.wait(Duration::from_secs(3));
    let anew = first(&driver, driver.append_one(entry.clone()))?;
    ensure_eq!(
        anew.position.map(|position| position.offset),
        Some(2),
        "its offset"
    );
    driver.wait(Duration::from_secs(59));
    ensure_eq!(
        driver.append_one_again(entry),
        Ok(anew),
        "within the second window"
    );
    ensure_eq!(driver.texts("a")?, ["1", "1"], "what was stored");
    Ok(())
}

fn the_newest_keys_are_remembered(subject: &Subject) -> Check {
    let config = EngineConfig {
        keys_max: 4,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    for number in 1..=20 {
        let entry = publish("a", number).keyed(key(number));
        first(&driver, driver.append_one(entry))?;
        ensure!(driver.engine.stats().keys <= 4, "keys are not bounded");
    }
    for number in 17..=20 {
        let again = driver.append_one_again(publish("a", number).keyed(key(number)));
        ensure!(
            again.is_ok_and(|stored| stored.duplicate),
            "key {number}: {again:?}"
        );
    }
    Ok(())
}
