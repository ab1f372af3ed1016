//! What the engine does when its disk refuses, breaks, is slow to read, or is not what it was.

use std::{io, time::Instant};

use bowline_proto::recovery::{From, RecoveryReason, recover};

use super::*;
use crate::{
    Damage, Disk, DiskFile, DiskLock, SimDisk, SimPlan, conformance::ManualClock,
    contract::Producer,
};

/// Nothing here takes so long unless it never ends.
const DEADLINE: Duration = Duration::from_secs(20);

fn open_on(disk: impl Disk) -> Result<Embedded, OpenError> {
    open_probed(disk, LogConfig::default().probe_interval)
}

fn open_probed(disk: impl Disk, probe_interval: Duration) -> Result<Embedded, OpenError> {
    let log = LogConfig {
        segment_bytes: 4_096,
        maintenance_interval: Duration::from_millis(5),
        probe_interval,
        ..LogConfig::default()
    };
    let entropy: Entropy = Box::new(|| getrandom::u64().ok());
    let clock = Arc::new(ManualClock::default());
    Embedded::open_on(Arc::new(disk), EngineConfig::default(), log, clock, entropy)
}

fn numbered(text: &str, seq: u64) -> Append {
    Append {
        producer: Some(Producer {
            session: SessionKey([1; 16]),
            seq,
        }),
        ..publish("a", text)
    }
}

fn append(engine: &Embedded, entry: Append) -> Result<Appended, AppendError> {
    block_on(engine.append(vec![entry])).remove(0)
}

fn wait_until(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "it never came");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_is_nearly_full_is_not_said_to_be_well_between_its_refusals() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    for _ in 0..3 {
        disk.set_full(true);
        let refused = append(&engine, publish("a", "large"));
        assert_eq!(refused, Err(AppendError::StorageFull));
        // What is small finds room, as do the frames that probe.
        disk.set_full(false);
        let freed = Instant::now();
        append(&engine, publish("a", "small")).expect("there is room");
        let is_ready = engine.health() == EngineHealth::Ready;
        assert!(!is_ready || freed.elapsed() > Duration::from_secs(1));
    }
    wait_until(|| engine.health() == EngineHealth::Ready);
}

#[test]
fn a_log_that_is_seldom_probed_is_well_soon_after_a_write_was_taken() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_probed(disk.clone(), 100 * DEADLINE).expect("it opens");
    disk.set_full(true);
    let refused = append(&engine, publish("a", "1"));
    assert_eq!(refused, Err(AppendError::StorageFull));
    disk.set_full(false);
    append(&engine, publish("a", "2")).expect("there is room");
    wait_until(|| engine.health() == EngineHealth::Ready);
}

#[test]
fn a_full_disk_refuses_cleanly_and_is_well_again_by_itself() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    append(&engine, numbered("1", 1)).expect("there is room");
    disk.set_full(true);
    for _ in 0..3 {
        let batch = vec![numbered("2", 2), numbered("3", 3), publish("b", "4")];
        let refused = block_on(engine.append(batch));
        let full = Err(AppendError::StorageFull);
        assert_eq!(refused, [full, Err(AppendError::Aborted), full]);
    }
    assert!(
        matches!(engine.health(), EngineHealth::Refusing(why) if why.contains("can't be written"))
    );
    assert_eq!(texts(&engine, "a"), ["1"]);
    let repeated = append(&engine, numbered("1", 1)).expect("it needs no space");
    assert!(repeated.duplicate);
    assert_eq!(block_on(engine.session(SessionKey([1; 16]))), Ok(Some(1)));
    disk.set_full(false);
    wait_until(|| engine.health() == EngineHealth::Ready);
    append(&engine, numbered("2", 2)).expect("there is room");
    assert_eq!(texts(&engine, "a"), ["1", "2"]);
    drop(engine);
    let engine = open_on(disk.clone()).expect("it opens");
    assert_eq!(texts(&engine, "a"), ["1", "2"]);
}

#[test]
fn a_disk_that_is_now_and_then_full_loses_nothing_that_was_acknowledged() {
    for seed in 0..20 {
        let disk = SimDisk::new(SimPlan {
            seed,
            ..SimPlan::default()
        });
        let mut expected = Vec::new();
        let mut refused = 0;
        for _ in 0..3 {
            disk.set_plan(SimPlan::default());
            let engine = open_on(disk.clone()).expect("it opens");
            assert_eq!(texts(&engine, "a"), expected, "seed {seed}");
            disk.set_plan(SimPlan {
                full_permille: 300,
                ..SimPlan::default()
            });
            for _ in 0..60 {
                let text = (expected.len() + refused).to_string();
                match append(&engine, publish("a", &text)) {
                    Ok(_) => expected.push(text),
                    Err(AppendError::StorageFull) => refused += 1,
                    Err(other) => panic!("seed {seed}: {other}"),
                }
            }
            assert_eq!(texts(&engine, "a"), expected, "seed {seed}");
            drop(engine);
            disk.crash();
        }
        assert!(refused > 5, "seed {seed}");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    append(&engine, publish("a", "1")).expect("there is room");
    let syncs = disk.counts().syncs;
    disk.set_plan(SimPlan {
        broken_sync_permille: 1_000,
        ..SimPlan::default()
    });
    assert_eq!(
        append(&engine, publish("a", "2")),
        Err(AppendError::FateUnknown)
    );
    disk.set_plan(SimPlan::default());
    for _ in 0..3 {
        let refused = append(&engine, publish("a", "3"));
        assert_eq!(refused, Err(AppendError::StorageUnavailable));
    }
    assert_eq!(disk.counts().syncs, syncs + 1, "the sync was tried again");
    assert!(matches!(engine.health(), EngineHealth::Refusing(why) if why.contains("restart")));
    assert_eq!(texts(&engine, "a"), ["1"]);
    drop(engine);
    disk.crash();
    let engine = open_on(disk.clone()).expect("it opens");
    assert_eq!(texts(&engine, "a"), ["1"]);
    append(&engine, publish("a", "2")).expect("there is room");
}

/// What a failed sync, or one that was never finished, has left in the system's memory alone is read
/// by the next process, and power goes after that.
#[test]
fn what_an_opening_builds_on_survives_a_loss_of_power() {
    for seed in 0..64 {
        let plan = SimPlan {
            seed,
            ..SimPlan::default()
        };
        let disk = SimDisk::new(plan);
        let engine = open_on(disk.clone()).expect("it opens");
        append(&engine, publish("a", "1")).expect("there is room");
        disk.set_plan(SimPlan {
            broken_sync_permille: 1_000,
            ..plan
        });
        if seed % 2 == 0 {
            engine.close();
        } else {
            let unknown = append(&engine, publish("a", "2"));
            assert_eq!(unknown, Err(AppendError::FateUnknown));
        }
        drop(engine);
        disk.set_plan(plan);
        let engine = open_on(disk.clone()).expect("it opens");
        append(&engine, publish("a", "3")).expect("there is room");
        let before = texts(&engine, "a");
        drop(engine);
        disk.crash();
        let opened = open_on(disk.clone());
        let engine = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(texts(&engine, "a"), before, "seed {seed}");
    }
}

/// As above, but there is no room for a copy at the start.
#[test]
fn what_an_opening_on_a_full_disk_builds_on_survives_a_loss_of_power() {
    for seed in 0..64 {
        let plan = SimPlan {
            seed,
            ..SimPlan::default()
        };
        let disk = SimDisk::new(plan);
        let engine = open_on(disk.clone()).expect("it opens");
        append(&engine, numbered("1", 1)).expect("there is room");
        disk.set_plan(SimPlan {
            broken_sync_permille: 1_000,
            ..plan
        });
        let unknown = append(&engine, numbered("2", 2));
        assert_eq!(unknown, Err(AppendError::FateUnknown));
        drop(engine);
        disk.set_plan(plan);
        disk.set_full(true);
        let engine = open_on(disk.clone()).expect("it opens");
        assert_eq!(texts(&engine, "a"), ["1", "2"], "seed {seed}");
        let again = append(&engine, numbered("2", 2)).expect("it needs no space");
        assert!(again.duplicate, "seed {seed}");
        drop(engine);
        disk.crash();
        disk.set_full(false);
        let engine = open_on(disk.clone()).expect("it opens");
        assert_eq!(texts(&engine, "a"), ["1", "2"], "seed {seed}");
    }
}

#[test]
fn an_opening_that_can_make_nothing_durable_is_refused() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    append(&engine, publish("a", "1")).expect("there is room");
    drop(engine);
    disk.die_after(0);
    let refused = open_on(disk.clone()).err().expect("nothing can be written");
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains("free space"), "{told}");
    disk.crash();
    let engine = open_on(disk).expect("it opens");
    assert_eq!(texts(&engine, "a"), ["1"]);
}

/// A disk whose names can't be made durable.
struct Nameless(SimDisk);

impl Disk for Nameless {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(io::Error::other("the device failed"))
    }

    fn lock(&self) -> io::Result<DiskLock> {
        self.0.lock()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// Else what follows would be built on one file, and the name lead to another.
#[test]
fn an_opening_whose_copy_has_no_lasting_name_is_refused() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    append(&engine, publish("a", "1")).expect("there is room");
    drop(engine);
    let refused = open_on(Nameless(disk.clone())).map(drop);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    let engine = open_on(disk).expect("it opens");
    assert_eq!(texts(&engine, "a"), ["1"]);
}

#[test]
fn an_older_copy_put_back_is_rewound_and_never_recovered() {
    let disk = SimDisk::new(SimPlan::default());
    let engine = open_on(disk.clone()).expect("it opens");
    append(&engine, publish("a", "1")).expect("there is room");
    let copy = disk.copy(1);
    let position = append(&engine, publish("a", "2"))
        .expect("there is room")
        .position;
    let position = position.expect("it keeps history");
    drop(engine);
    let engine = open_on(copy.clone()).expect("it opens");
    for _ in 0..3 {
        let state = block_on(engine.channel("a")).expect("it answers");
        let outcome = recover(From::After(position), &state, engine.clock());
        let found = (outcome.recovered, outcome.reason);
        assert_eq!(found, (false, Some(RecoveryReason::Rewound)));
        append(&engine, publish("a", "other")).expect("there is room");
    }
}

#[test]
fn pages_that_must_be_waited_for_are_read_elsewhere() {
    let disk = SimDisk::new(SimPlan {
        cold_read_permille: 1_000,
        ..SimPlan::default()
    });
    let engine = open_on(disk.clone()).expect("it opens");
    let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    for text in &expected {
        append(&engine, publish("a", text)).expect("there is room");
    }
    assert_eq!(texts(&engine, "a"), expected);
}

/// Damage of every byte of a log with several segments, by flipped bits and by cutting off: it is
/// refused or harmless, and what is served is always what was written.
#[test]
fn damage_is_refused_or_harmless_and_never_served() {
    let folder = Folder::new();
    let log = LogConfig {
        segment_bytes: 4_096,
        ..LogConfig::default()
    };
    let open = |path: &Path| Embedded::open(path, EngineConfig::default(), log.clone());
    let engine = open(&folder.0).expect("it opens");
    let expected: Vec<String> = (0..60).map(|number| format!("\"{number:080}\"")).collect();
    for text in &expected {
        append(&engine, publish("a", text)).expect("there is room");
    }
    drop(engine);
    let mut files: Vec<_> = std::fs::read_dir(&folder.0)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    files.sort();
    assert!(files.len() > 1);
    let (mut refused, mut harmless) = (0, 0);
    for (index, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).expect("a file");
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            if at % 2 == 0 {
                damaged[at] ^= 1 << (at % 8);
            } else {
                damaged.truncate(at);
            }
            std::fs::write(path, damaged).expect("a file");
            let is_last = index + 1 == files.len();
            match open(&folder.0) {
                Err(OpenError::Damaged {
                    damage: Damage { file, .. },
                    ..
                }) => {
                    // What is missing is told by the file that does not follow.
                    assert!(file.ends_with(".log"));
                    refused += 1;
                }
                Err(OpenError::Newer { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
                Ok(engine) => {
                    assert!(is_last, "byte {at} of {path:?} was not missed");
                    let found = texts(&engine, "a");
                    assert_eq!(found, expected[..found.len()], "byte {at} of {path:?}");
                    harmless += 1;
                }
            }
            // An opening may have cut off a tail and begun a segment.
            for entry in std::fs::read_dir(&folder.0).expect("a folder") {
                let found = entry.expect("an entry").path();
                if found.extension().is_some_and(|end| end == "log") && !files.contains(&found) {
                    std::fs::remove_file(found).expect("a file");
                }
            }
            std::fs::write(path, &bytes).expect("a file");
        }
    }
    assert!(
        refused > 500 && harmless > 0,
        "{refused} refused, {harmless} harmless"
    );
}
