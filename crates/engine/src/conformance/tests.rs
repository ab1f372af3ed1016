//! The suite over the engines of this crate, and over broken ones that it must find out.

mod planted;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    Disk, Embedded, LogConfig, RealDisk, SimDisk, SimPlan, embedded::tests::Folder, memory::Memory,
};

fn memory(clock: &ManualClock, config: EngineConfig) -> Arc<dyn Engine> {
    let memory = Memory::open_with_clock(config, Arc::new(clock.clone()));
    Arc::new(memory.expect("the suite's settings are sound"))
}

/// Each engine passes through `wrap`, on a clock that the suite moves.
fn subject(
    wrap: impl Fn(&dyn Fn(EngineConfig) -> Arc<dyn Engine>, EngineConfig) -> Arc<dyn Engine>
    + Send
    + Sync
    + 'static,
) -> Subject {
    let clock = ManualClock::default();
    Subject::new({
        let clock = clock.clone();
        move |config| wrap(&|config| memory(&clock, config), config)
    })
    .with_clock(move |span| clock.advance(span))
}

#[test]
fn memory_conforms() {
    let report = run(&subject(|open, config| open(config)));
    report.assert_passed();
    assert!(
        report
            .verdicts
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::Passed),
        "{report}"
    );
}

/// An engine `embedded` for each case, each on the disk that `disk` gives it.
fn embedded(disk: impl Fn() -> Arc<dyn Disk> + Send + Sync + 'static) -> Subject {
    let clock = ManualClock::default();
    Subject::new({
        let clock = clock.clone();
        move |config| {
            // Small segments and short rounds, so that the cases cross ends and rewritings.
            let log = LogConfig {
                segment_bytes: 4_096,
                maintenance_interval: Duration::from_millis(5),
                ..LogConfig::default()
            };
            let entropy = Box::new(|| getrandom::u64().ok());
            let opened = Embedded::open_on(disk(), config, log, Arc::new(clock.clone()), entropy);
            Arc::new(opened.expect("the suite's settings are sound"))
        }
    })
    .with_clock(move |span| clock.advance(span))
}

fn assert_all_passed(report: &Report) {
    let mut verdicts = report.verdicts.iter();
    assert!(
        verdicts.all(|(_, verdict)| *verdict == Verdict::Passed),
        "{report}"
    );
}

/// The same suite, unchanged, over files: every case begins with an empty folder.
#[test]
fn embedded_conforms() {
    let folders: Arc<Mutex<Vec<Folder>>> = Arc::default();
    let subject = embedded({
        let folders = folders.clone();
        move || {
            let folder = Folder::new();
            let disk = RealDisk::open(&folder.0).expect("a folder");
            folders.lock().expect("not poisoned").push(folder);
            Arc::new(disk)
        }
    });
    assert_all_passed(&run(&subject));
}

#[test]
fn embedded_on_a_simulated_disk_conforms() {
    let subject = embedded(|| {
        Arc::new(SimDisk::new(SimPlan {
            seed: 1,
            cold_read_permille: 300,
            ..SimPlan::default()
        }))
    });
    assert_all_passed(&run(&subject));
}

#[test]
fn memory_on_the_systems_clock_conforms_where_time_stands() {
    let subject = Subject::new(|config| {
        Arc::new(Memory::open(config).expect("the suite's settings are sound"))
    });
    let report = run(&subject);
    report.assert_passed();
    let not_run = |(_, verdict): &&(&str, Verdict)| matches!(verdict, Verdict::NotRun(_));
    let count = report.verdicts.iter().filter(not_run).count();
    let timed = cases().iter().filter(|case| case.needs_clock).count();
    assert_eq!(count, timed, "{report}");
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeMap::new();
    for case in cases() {
        *seen.entry(case.name()).or_insert(0) += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
}

/// The suite passes while appends are delayed and fail, and each fault has happened.
#[test]
fn memory_under_faults_conforms() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let handle = runtime.handle().clone();
    let timer: Timer = Arc::new(move |span| {
        let _entered = handle.enter();
        Box::pin(tokio::time::sleep(span))
    });
    for seed in 1..=4 {
        let opened: Arc<Mutex<Vec<Arc<Faulty>>>> = Arc::default();
        let faulty = subject({
            let (opened, timer) = (opened.clone(), timer.clone());
            move |open, config| {
                let mut opened = opened.lock().expect("not poisoned");
                let plan = FaultPlan {
                    seed: seed * 1_000 + opened.len() as u64,
                    delayed_permille: 40,
                    delay_max: Duration::from_millis(2),
                    refused_permille: 150,
                    torn_permille: 150,
                    unknown_permille: 200,
                };
                let engine = Arc::new(Faulty::new(open(config), plan, timer.clone()));
                opened.push(engine.clone());
                engine
            }
        })
        .with_retries();
        let report = run(&faulty);
        assert!(report.failed().is_empty(), "seed {seed}\n{report}");
        let counts: Vec<FaultCounts> = opened
            .lock()
            .expect("not poisoned")
            .iter()
            .map(|engine| engine.counts())
            .collect();
        for count in [
            |counts: &FaultCounts| counts.delayed,
            |counts: &FaultCounts| counts.refused,
            |counts: &FaultCounts| counts.torn,
            |counts: &FaultCounts| counts.unknown_stored,
            |counts: &FaultCounts| counts.unknown_lost,
        ] {
            let total: u64 = counts.iter().map(count).sum();
            assert!(total >= 50, "seed {seed}: a fault is rare: {counts:?}");
        }
    }
}

#[test]
fn a_healed_engine_fails_no_more() {
    let plan = FaultPlan {
        seed: 1,
        delayed_permille: 0,
        delay_max: Duration::ZERO,
        refused_permille: 1_000,
        torn_permille: 0,
        unknown_permille: 0,
    };
    let timer: Timer = Arc::new(|_| Box::pin(std::future::ready(())));
    let inner = memory(&ManualClock::default(), EngineConfig::default());
    let engine = Faulty::new(inner, plan, timer);
    let append = || block_on(engine.append(vec![driver::publish("a", 1)])).remove(0);
    assert!(append().is_err());
    engine.heal();
    assert!(append().is_ok());
    assert_eq!(engine.counts().refused, 1);
}
