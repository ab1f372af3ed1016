//! Many callers at once, and callers that go away.

use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Waker},
    thread,
};

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::EngineConfig,
    conformance::{
        Case, Subject,
        driver::{Driver, Outcome, advance, key, publish, session},
        recorder::Recorder,
    },
};

pub(super) const CASES: &[Case] = &[
    case!(concurrent_appends_are_whole_and_contiguous),
    case!(concurrent_repeats_take_effect_once),
    case!(hints_stay_in_order_under_concurrency),
    case!(a_dropped_append_is_whole_or_nothing),
];

const THREADS: u8 = 8;
const ROUNDS: u64 = 60;
const BATCH: u64 = 3;

/// Runs the same on several threads, numbered from 0.
fn on_threads<T: Send>(work: impl Fn(u8) -> T + Sync) -> Result<Vec<T>, String> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned()))
            .collect()
    })
}

/// Each thread is one session and publishes its numbers, alternating between two channels.
fn publish_from_all(driver: &Driver<'_>) -> Check {
    let answers = on_threads(|thread| {
        for round in 0..ROUNDS {
            let batch = (1..=BATCH).map(|index| {
                let seq = round * BATCH + index;
                let channel = if seq.is_multiple_of(2) { "even" } else { "odd" };
                let text = format!("[{thread},{seq}]");
                publish(channel, text).by(session(thread), seq)
            });
            let outcomes = driver.append(batch.collect());
            let fresh = |outcome: &Outcome| outcome.is_ok_and(|stored| !stored.duplicate);
            ensure!(outcomes.iter().all(fresh), "thread {thread}: {outcomes:?}");
        }
        Ok(())
    })?;
    answers.into_iter().collect()
}

fn concurrent_appends_are_whole_and_contiguous(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    publish_from_all(&driver)?;
    for (channel, first) in [("odd", 1), ("even", 2)] {
        let texts = driver.texts(channel)?;
        for thread in 0..THREADS {
            let start = format!("[{thread},");
            let found: Vec<&String> = texts
                .iter()
                .filter(|text| text.starts_with(&start))
                .collect();
            let expected: Vec<String> = (first..=ROUNDS * BATCH)
                .step_by(2)
                .map(|seq| format!("[{thread},{seq}]"))
                .collect();
            ensure_eq!(
                found,
                expected.iter().collect::<Vec<_>>(),
                "{channel}, {thread}"
            );
        }
    }
    Ok(())
}

fn concurrent_repeats_take_effect_once(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    for number in 1..=20 {
        let seq = u64::from(number);
        let answers = on_threads(|_| {
            driver.append_again(vec![
                publish("keyed", number).keyed(key(number)),
                publish("numbered", number).by(session(1), seq),
            ])
        })?;
        let mut positions = BTreeSet::new();
        for outcomes in &answers {
            ensure!(outcomes.iter().all(Result::is_ok), "found {outcomes:?}");
            let position = outcomes[0].ok().and_then(|stored| stored.position);
            positions.insert(position.map(|position| position.to_string()));
        }
        ensure_eq!(positions.len(), 1, "different positions of key {number}");
        if !subject.retries {
            for index in 0..2 {
                let is_first = |outcomes: &&Vec<Outcome>| {
                    outcomes[index].is_ok_and(|stored| !stored.duplicate)
                };
                let count = answers.iter().filter(is_first).count();
                ensure_eq!(count, 1, "firsts of entry {index}, number {number}");
            }
        }
    }
    let expected: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    ensure_eq!(driver.texts("keyed")?, expected, "what was stored by key");
    ensure_eq!(
        driver.texts("numbered")?,
        expected,
        "what was stored by number"
    );
    Ok(())
}

fn hints_stay_in_order_under_concurrency(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    let recorder = Arc::new(Recorder::default());
    driver.engine.listen(recorder.clone());
    publish_from_all(&driver)?;
    let heads = [driver.record("odd")?.head, driver.record("even")?.head];
    let seen = recorder.wait_until(|seen| seen.len() as u64 >= heads.iter().sum());
    ensure!(!seen.is_empty(), "no hint came at all");
    for channel in ["odd", "even"] {
        let offsets: Vec<u64> = seen
            .iter()
            .filter(|hint| &*hint.channel == channel)
            .map(|hint| hint.publication.offset)
            .collect();
        let fallen = offsets.windows(2).find(|pair| pair[0] >= pair[1]);
        ensure_eq!(
            fallen,
            None,
            "an offset of {channel} that is not above the one before"
        );
    }
    Ok(())
}

fn a_dropped_append_is_whole_or_nothing(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    for seq in 1..=30 {
        let batch = vec![publish("a", seq).by(session(1), seq)];
        let mut future = driver.engine.append(batch.clone());
        if seq.is_multiple_of(2) {
            let _ = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        drop(future);
        let repeated = driver.append_again(batch);
        ensure!(repeated[0].is_ok(), "found {repeated:?}");
        ensure_eq!(driver.highest(session(1))?, Some(seq), "R");
    }
    let expected: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    ensure_eq!(driver.texts("a")?, expected, "what was stored");
    let next = driver.append_one(advance(session(1), 31));
    ensure!(next.is_ok_and(|stored| !stored.duplicate), "found {next:?}");
    Ok(())
}
