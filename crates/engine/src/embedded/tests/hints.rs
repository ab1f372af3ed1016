//! Opening by hint files, over real files: what they save, and what becomes of damage.

use std::time::{Duration, Instant};

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 4_096,
        open_check_bytes: 0,
        maintenance_interval: Duration::from_millis(5),
        ..LogConfig::default()
    }
}

fn open(folder: &Folder, log: LogConfig) -> Result<Embedded, OpenError> {
    Embedded::open(&folder.0, EngineConfig::default(), log)
}

fn detail(engine: &Embedded, name: &str) -> u64 {
    let details = engine.stats().details;
    let found = details.iter().find(|(found, _)| *found == name);
    found.map(|(_, count)| *count).expect("it is counted")
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// A log of several segments, all of them but the last with hints, and its texts.
fn written() -> (Folder, Vec<String>) {
    let folder = Folder::new();
    let engine = open(&folder, small()).expect("it opens");
    // Long enough that the frames' headers are no reason to rewrite a segment.
    let texts: Vec<String> = (0..80).map(|number| format!("{number:0200}")).collect();
    for text in &texts {
        let outcome = block_on(engine.append(vec![publish("a", text)]))[0];
        assert!(outcome.is_ok(), "{outcome:?}: {:?}", engine.health());
    }
    let sealed = detail(&engine, "segments") - 1;
    assert!(sealed >= 3, "{sealed}");
    wait("hint files", || {
        detail(&engine, "hint_files_written") >= sealed
    });
    (folder, texts)
}

fn first_segment(folder: &Folder) -> PathBuf {
    folder.0.join(crate::names::segment(1))
}

#[test]
fn sealed_segments_are_opened_by_their_hints_and_checked_afterwards() {
    let (folder, expected) = written();
    let engine = open(&folder, small()).expect("it opens");
    assert!(detail(&engine, "segments_hinted_at_opening") >= 3);
    assert_eq!(texts(&engine, "a"), expected);
    wait("the check", || detail(&engine, "unchecked_bytes") == 0);
    assert_eq!(engine.health(), EngineHealth::Ready);
    drop(engine);
    let engine = open(&folder, LogConfig::default()).expect("it opens");
    assert_eq!(detail(&engine, "segments_hinted_at_opening"), 0);
    assert_eq!(texts(&engine, "a"), expected);
}

#[test]
fn a_hint_that_is_damaged_or_of_another_segment_is_not_used_and_written_anew() {
    let (folder, expected) = written();
    let hint = |number| folder.0.join(crate::names::hint(number));
    let mut bytes = std::fs::read(hint(1)).expect("a hint");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(hint(1), bytes).expect("a file");
    std::fs::copy(hint(3), hint(2)).expect("a copy");
    let engine = open(&folder, small()).expect("it opens");
    assert_eq!(texts(&engine, "a"), expected);
    wait("new hints", || detail(&engine, "hint_files_written") >= 2);
    drop(engine);
    let report = crate::offline::OfflineLog::open(&folder.0).expect("a folder");
    let report = report.verify().expect("it is read");
    assert_eq!(report.bad_hints, [""; 0]);
    assert!(report.segments[..2].iter().all(|segment| segment.has_hint));
}

/// Behind a hint, damage is found by the check that follows; it ends the acknowledging.
#[test]
fn damage_behind_a_hint_ends_the_acknowledging() {
    let (folder, _) = written();
    let path = first_segment(&folder);
    let mut bytes = std::fs::read(&path).expect("a segment");
    bytes[crate::format::header::HEADER_BYTES + 16] ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let engine = open(&folder, small()).expect("it opens by its hints");
    wait(
        "the check",
        || matches!(engine.health(), EngineHealth::Refusing(reason) if reason.contains("damaged")),
    );
    let refused = block_on(engine.append(vec![publish("a", "1")]));
    assert_eq!(refused, [Err(AppendError::StorageUnavailable)]);
    drop(engine);
    // Among the bytes that are checked first, it is refused.
    let refused = open(&folder, LogConfig::default()).err();
    assert!(matches!(refused, Some(OpenError::Damaged { .. })));
}

#[test]
fn a_segment_that_lost_its_end_is_not_opened_by_its_hint() {
    let (folder, _) = written();
    let path = first_segment(&folder);
    let bytes = std::fs::read(&path).expect("a segment");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("a file");
    let refused = open(&folder, small()).err();
    assert!(matches!(refused, Some(OpenError::Damaged { .. })));
}
