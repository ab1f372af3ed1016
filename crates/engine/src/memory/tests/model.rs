//! The log against a model that is slow and simple, on a disk that loses and tears what is not
//! synced: plain lists, changed only by what was acknowledged.
//!
//! Checks, after every opening: what was acknowledged is there once and in order, with its session's
//! number and its key; what was refused is not; floors and epochs stand; a position of a lost tail
//! is never recovered.

mod expected;
mod operations;
mod pair;

use std::{collections::BTreeMap, time::Duration};

use bowline_proto::{
    Position,
    recovery::{From, recover},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    ChannelPolicy, Retention, SimDisk, SimPlan,
    contract::{IdempotencyKey, Producer},
};

use super::*;
use expected::{Model, ModelChannel};
use operations::{Operation, Step, operations, to_append};
use pair::{Pair, Seen};

const CHANNELS: [&str; 5] = ["a", "b", "short:a", "short:b", "live:a"];
const FORGET_MS: u64 = 200_000;
const TTL_MS: u64 = 50_000;
const WINDOW_MS: u64 = 20_000;

fn config() -> EngineConfig {
    let retention = |messages, bytes, age_ms| {
        Some(Retention {
            messages,
            bytes,
            age: Duration::from_millis(age_ms),
        })
    };
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    EngineConfig {
        channels_max: 4,
        policies: vec![
            policy("live:*", None),
            policy("short:*", retention(3, 1_000, 10_000)),
            policy("*", retention(8, 400, 100_000)),
        ],
        messages_max: 18,
        bytes_max: 900,
        sessions_max: 2,
        sessions_per_user_max: 2,
        session_ttl: Duration::from_millis(TTL_MS),
        key_window: Duration::from_millis(WINDOW_MS),
        keys_max: 100,
        channel_forget_after: Duration::from_millis(FORGET_MS),
    }
}

/// Every other opening trusts hints as far as it may.
fn log(opens: u64) -> LogConfig {
    LogConfig {
        open_check_bytes: if opens.is_multiple_of(2) { 0 } else { u64::MAX },
        segment_bytes: 4_096,
        log_bytes_max: 1 << 20,
        trim_grace: Duration::ZERO,
        ..LogConfig::default()
    }
}

fn keep(channel: usize) -> (usize, usize, u64) {
    if CHANNELS[channel].starts_with("short:") {
        (3, 1_000, 10_000)
    } else {
        (8, 400, 100_000)
    }
}

fn session(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

fn run(seed: u64, lies: bool, steps: &[Operation]) -> Result<Seen, TestCaseError> {
    let plan = SimPlan {
        seed,
        lies_about_syncs: lies,
        ..SimPlan::default()
    };
    let mut pair = Pair::new(plan);
    for step in steps {
        pair.apply(step)?;
        pair.compare()?;
    }
    pair.engine().close();
    pair.reopen()?;
    pair.compare()?;
    pair.note();
    Ok(pair.seen)
}

/// Runs many cases; a failing one prints its seed and shrinks.
fn run_many(cases: u32, lies: bool) -> (Seen, Result<(), String>) {
    let seen = Mutex::new(Seen::default());
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: if lies { 0 } else { 4_096 },
        ..ProptestConfig::default()
    });
    let strategy = (
        any::<u64>(),
        proptest::collection::vec(operations(), 1..100),
    );
    let result = runner.run(&strategy, |(seed, steps)| {
        let one = run(seed, lies, &steps)?;
        let mut all = seen.lock().expect("not poisoned");
        all.crashes += one.crashes;
        all.torn_files += one.torn_files;
        all.lost_names += one.lost_names;
        all.lost_commits += one.lost_commits;
        all.kept_commits += one.kept_commits;
        all.compactions += one.compactions;
        all.broken_compactions += one.broken_compactions;
        all.torn_tails += one.torn_tails;
        all.put_back += one.put_back;
        all.hinted += one.hinted;
        all.amid += one.amid;
        Ok(())
    });
    let seen = *seen.lock().expect("not poisoned");
    (seen, result.map_err(|error| error.to_string()))
}

#[test]
fn the_log_does_as_the_model_through_crashes() {
    let (seen, result) = run_many(400, false);
    if let Err(problem) = result {
        panic!("{problem}");
    }
    println!("{seen:?}");
    for (what, count) in [
        ("crashes", seen.crashes),
        ("torn files", seen.torn_files),
        ("lost names", seen.lost_names),
        ("lost commits", seen.lost_commits),
        ("kept commits", seen.kept_commits),
        ("compactions", seen.compactions),
        ("broken compactions", seen.broken_compactions),
        ("torn tails", seen.torn_tails),
        ("copies put back", seen.put_back),
        ("segments opened by hints", seen.hinted),
        ("commits amid a rewriting", seen.amid),
    ] {
        assert!(count >= 50, "{what}: {seen:?}");
    }
}

/// A planted bug: with a disk that only says that it syncs, acknowledged messages are lost, and the
/// model must notice.
#[test]
fn the_model_finds_out_a_disk_that_lies() {
    let (_, result) = run_many(50, true);
    assert!(result.is_err());
}
