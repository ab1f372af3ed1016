//! Sessions: only rising numbers are stored, each once.

use std::time::Duration;

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::EngineConfig,
    conformance::{
        Case, Subject,
        driver::{Driver, advance, publish, session},
    },
    contract::{AppendError, Appended, SessionKey},
};

pub(super) const CASES: &[Case] = &[
    case!(a_number_is_stored_once),
    case!(a_number_is_stored_once_within_a_batch),
    case!(lower_numbers_have_no_effect_and_gaps_are_taken),
    case!(a_session_spans_channels_and_is_alone),
    case!(advance_moves_the_number_without_a_message),
    case!(an_unknown_session_has_no_number),
    case!(an_ended_session_begins_anew),
    case!(an_unused_session_expires, clock),
    case!(sessions_are_bounded, clock),
    case!(sessions_of_one_user_are_bounded, clock),
];

const STORED: Appended = Appended {
    position: None,
    duplicate: false,
};
const DUPLICATE: Appended = Appended {
    position: None,
    duplicate: true,
};

fn a_number_is_stored_once(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let one = session(1);
    for number in 1..=5 {
        let outcome = driver.append_one(publish("a", number).by(one, number));
        ensure!(
            outcome.is_ok_and(|stored| !stored.duplicate),
            "found {outcome:?}"
        );
        ensure_eq!(driver.highest(one)?, Some(number), "R");
        let again = driver.append_one_again(publish("a", number).by(one, number));
        ensure_eq!(again, Ok(DUPLICATE), "the second time");
    }
    ensure_eq!(
        driver.texts("a")?,
        ["1", "2", "3", "4", "5"],
        "what was stored"
    );
    Ok(())
}

fn a_number_is_stored_once_within_a_batch(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let entry = |seq| publish("a", seq).by(session(1), seq);
    let outcomes = driver.append(vec![entry(1), entry(1), entry(2), entry(1), entry(2)]);
    let duplicates: Vec<Option<bool>> = outcomes
        .iter()
        .map(|outcome| outcome.ok().map(|stored| stored.duplicate))
        .collect();
    let expected = [false, true, false, true, true].map(Some);
    ensure_eq!(duplicates, expected, "which are duplicates");
    ensure_eq!(driver.texts("a")?, ["1", "2"], "what was stored");
    Ok(())
}

fn lower_numbers_have_no_effect_and_gaps_are_taken(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let one = session(1);
    for (seq, expected) in [(3, Some(3)), (9, Some(9))] {
        let outcome = driver.append_one(publish("a", seq).by(one, seq));
        ensure!(
            outcome.is_ok_and(|stored| !stored.duplicate),
            "found {outcome:?}"
        );
        ensure_eq!(driver.highest(one)?, expected, "R");
    }
    for seq in [0, 1, 2, 8] {
        let outcome = driver.append_one_again(publish("a", seq).by(one, seq));
        ensure_eq!(outcome, Ok(DUPLICATE), "a lower number");
    }
    ensure_eq!(driver.texts("a")?, ["3", "9"], "what was stored");
    ensure_eq!(driver.highest(one)?, Some(9), "R");
    Ok(())
}

fn a_session_spans_channels_and_is_alone(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let (one, other) = (session(1), session(2));
    driver.append(vec![publish("a", 1).by(one, 1), publish("b", 2).by(one, 2)]);
    let late = driver.append_one_again(publish("c", 1).by(one, 1));
    ensure_eq!(late, Ok(DUPLICATE), "an old number on another channel");
    let foreign = driver.append_one(publish("a", 3).by(other, 1));
    ensure!(
        foreign.is_ok_and(|stored| !stored.duplicate),
        "found {foreign:?}"
    );
    let numbers = (driver.highest(one)?, driver.highest(other)?);
    ensure_eq!(numbers, (Some(2), Some(1)), "the sessions' numbers");
    Ok(())
}

fn advance_moves_the_number_without_a_message(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let one = session(1);
    ensure_eq!(
        driver.append_one(advance(one, 4)),
        Ok(STORED),
        "the outcome"
    );
    ensure_eq!(driver.highest(one)?, Some(4), "R");
    ensure_eq!(
        driver.append_one_again(advance(one, 4)),
        Ok(DUPLICATE),
        "repeated"
    );
    let skipped = driver.append_one_again(publish("a", 3).by(one, 3));
    ensure_eq!(skipped, Ok(DUPLICATE), "a number that was skipped");
    ensure_eq!(driver.engine.stats().messages, 0, "messages");
    let next = driver.append_one(publish("a", 5).by(one, 5));
    ensure!(next.is_ok_and(|stored| !stored.duplicate), "found {next:?}");
    Ok(())
}

fn an_unknown_session_has_no_number(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    ensure_eq!(driver.highest(session(1))?, None, "R");
    driver.end_session(session(1))?;
    ensure_eq!(driver.engine.stats().sessions, 0, "sessions");
    Ok(())
}

fn an_ended_session_begins_anew(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let (one, other) = (session(1), session(2));
    driver.append(vec![
        publish("a", 1).by(one, 1),
        publish("a", 2).by(other, 1),
    ]);
    driver.end_session(one)?;
    ensure_eq!(driver.highest(one)?, None, "the ended session's number");
    ensure_eq!(
        driver.highest(other)?,
        Some(1),
        "the other session's number"
    );
    ensure_eq!(driver.engine.stats().sessions, 1, "sessions");
    let again = driver.append_one(publish("a", 3).by(one, 1));
    ensure!(
        again.is_ok_and(|stored| !stored.duplicate),
        "found {again:?}"
    );
    ensure_eq!(driver.texts("a")?, ["1", "2", "3"], "what was stored");
    Ok(())
}

fn an_unused_session_expires(subject: &Subject) -> Check {
    let hour = Duration::from_secs(3_600);
    let config = EngineConfig {
        session_ttl: 2 * hour,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let (used, unused) = (session(1), session(2));
    driver.append(vec![advance(used, 1), advance(unused, 1)]);
    driver.wait(hour + hour / 2);
    ensure_eq!(driver.highest(unused)?, Some(1), "R before the end");
    ensure_eq!(
        driver.append_one(advance(used, 2)),
        Ok(STORED),
        "a later number"
    );
    driver.wait(hour);
    ensure_eq!(driver.highest(used)?, Some(2), "R of the used session");
    ensure_eq!(driver.highest(unused)?, None, "R of the unused session");
    ensure_eq!(
        driver.append_one(advance(unused, 1)),
        Ok(STORED),
        "its number anew"
    );
    Ok(())
}

fn sessions_are_bounded(subject: &Subject) -> Check {
    let hour = Duration::from_secs(3_600);
    let config = EngineConfig {
        sessions_max: 2,
        session_ttl: hour,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    driver.append(vec![advance(session(1), 1), advance(session(2), 1)]);
    let refused = driver.append_one(publish("a", 1).by(session(3), 1));
    ensure_eq!(
        refused,
        Err(AppendError::TooManySessions),
        "a session too many"
    );
    ensure_eq!(driver.engine.stats().messages, 0, "messages");
    ensure_eq!(
        driver.append_one(advance(session(1), 2)),
        Ok(STORED),
        "a known session"
    );
    driver.end_session(session(2))?;
    ensure_eq!(
        driver.append_one(advance(session(3), 1)),
        Ok(STORED),
        "in a freed place"
    );
    driver.wait(hour);
    ensure_eq!(
        driver.append_one(advance(session(4), 1)),
        Ok(STORED),
        "after expiry"
    );
    Ok(())
}

fn sessions_of_one_user_are_bounded(subject: &Subject) -> Check {
    let hour = Duration::from_secs(3_600);
    let config = EngineConfig {
        sessions_per_user_max: 2,
        session_ttl: hour,
        ..EngineConfig::default()
    };
    let driver = Driver::open(subject, config);
    let of = |user: u8, number: u8| {
        let mut key = [number; 16];
        key[..8].fill(0x80 | user);
        SessionKey(key)
    };
    let refused = Err(AppendError::TooManySessions);
    // In one batch, the third being one too many.
    let outcomes = driver.append(vec![
        advance(of(1, 1), 1),
        advance(of(1, 2), 1),
        advance(of(1, 3), 1),
        advance(of(2, 1), 1),
        advance(session(3), 1),
        advance(session(4), 1),
        advance(session(5), 1),
    ]);
    let expected = [
        Ok(STORED),
        Ok(STORED),
        refused,
        Ok(STORED),
        Ok(STORED),
        Ok(STORED),
        Ok(STORED),
    ];
    ensure_eq!(outcomes, expected, "a batch of many users");
    ensure_eq!(
        driver.append_one(advance(of(1, 3), 1)),
        refused,
        "a session too many"
    );
    ensure_eq!(
        driver.append_one(advance(of(1, 1), 2)),
        Ok(STORED),
        "a known session"
    );
    driver.end_session(of(1, 2))?;
    ensure_eq!(
        driver.append_one(advance(of(1, 3), 1)),
        Ok(STORED),
        "in a freed place"
    );
    driver.wait(hour);
    ensure_eq!(
        driver.append_one(advance(of(1, 4), 1)),
        Ok(STORED),
        "after expiry"
    );
    Ok(())
}
