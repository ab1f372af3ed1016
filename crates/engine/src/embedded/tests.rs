//! The engine over real files and threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bowline_proto::Data;

use super::*;
use crate::{conformance::block_on, contract::Effect};

/// Copies of an open engine's folder that are thrown away before a test gives up.
const COPIES_MAX: u32 = 1_000;

/// A folder of its own, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let random = getrandom::u64().expect("there is entropy");
        let path = std::env::temp_dir().join(format!("bowline-engine-{random:016x}"));
        std::fs::create_dir(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open_in(folder: &Folder) -> Embedded {
    Embedded::open(&folder.0, EngineConfig::default(), LogConfig::default()).expect("it opens")
}

fn publish(channel: &str, text: &str) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Json(text.to_owned().into()),
            user: Some("ann".into()),
            tag: None,
            key: None,
        },
    }
}

fn texts(engine: &Embedded, channel: &str) -> Vec<String> {
    let limit = PageLimit {
        count: 1_000,
        bytes: 1 << 20,
    };
    let page = block_on(engine.read(channel, 0, limit)).expect("it answers");
    let text = |data: &Data| String::from_utf8_lossy(data.bytes()).into_owned();
    page.map_or(Vec::new(), |page| {
        page.publications
            .iter()
            .map(|found| text(&found.data))
            .collect()
    })
}

#[test]
fn the_smallest_commit_takes_one_entry() {
    let folder = Folder::new();
    let log = LogConfig {
        commit_bytes_max: 1,
        ..LogConfig::default()
    };
    let engine = Embedded::open(&folder.0, EngineConfig::default(), log).expect("it opens");
    let (answers, answered) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let batch = ["1", "2", "3"].map(|text| publish("a", text)).to_vec();
        let outcomes = block_on(engine.append(batch));
        let _ = answers.send((outcomes, texts(&engine, "a"), engine.stats()));
    });
    let deadline = Duration::from_secs(20);
    let (outcomes, texts, stats) = answered.recv_timeout(deadline).expect("it gets on");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(texts, ["1", "2", "3"]);
    // The opening's, and one for each.
    assert!(stats.details.contains(&("commits", 4)), "{stats:?}");
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "log")
}

fn files(folder: &Folder) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(&folder.0).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path())
}

/// The segments of a folder, with what tells one state of them from another; none while one goes.
fn segments(folder: &Folder) -> Option<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let found = files(folder).filter(|path| is_segment(path));
    let with_state = found.map(|path| {
        let about = std::fs::metadata(&path).ok()?;
        Some((path, (about.len(), about.modified().ok()?)))
    });
    with_state.collect()
}

/// The files of an open engine as a killed process would leave them.
///
/// Its threads live on and may merge segments in the middle of a copy, which then has one of them
/// from before and another from after: such a copy is thrown away.
fn as_killed(folder: &Folder) -> Folder {
    for _ in 0..COPIES_MAX {
        let before = segments(folder);
        let copy = Folder::new();
        let is_copied = files(folder).all(|path| {
            let to = copy.0.join(path.file_name().expect("a name"));
            // Only segments must be there: a hint is written under another name first.
            std::fs::copy(&path, to).is_ok() || !is_segment(&path)
        });
        if is_copied && before.is_some() && segments(folder) == before {
            return copy;
        }
    }
    panic!("the segments do not come to rest");
}

#[test]
fn what_was_acknowledged_is_there_after_closing_and_after_a_crash() {
    let folder = Folder::new();
    let mut expected = Vec::new();
    let mut terms = BTreeSet::new();
    let mut epoch = None;
    for round in 0..6 {
        let engine = open_in(&folder);
        assert_eq!(texts(&engine, "a"), expected);
        let number = (round * 10).to_string();
        let outcomes = block_on(engine.append(vec![publish("a", &number)]));
        let position = outcomes[0]
            .expect("there is room")
            .position
            .expect("history");
        assert_eq!(position.offset, round + 1);
        assert_eq!(*epoch.get_or_insert(position.epoch), position.epoch);
        terms.insert(position.term);
        expected.push(number);
        if round % 2 == 0 {
            drop(engine);
        } else {
            let copy = as_killed(&folder);
            let other = open_in(&copy);
            assert_eq!(texts(&other, "a"), expected);
            drop(engine);
        }
    }
    assert_eq!(terms.len(), 6);
}

#[test]
fn a_second_process_is_refused_with_a_sentence() {
    let folder = Folder::new();
    let first = open_in(&folder);
    let second = Embedded::open(&folder.0, EngineConfig::default(), LogConfig::default());
    let refused = second.err().expect("the folder is locked").to_string();
    assert!(
        refused.starts_with("another process uses the data in "),
        "{refused}"
    );
    drop(first);
    open_in(&folder);
}

#[test]
fn after_closing_appends_are_refused_and_reads_go_on() {
    let folder = Folder::new();
    let engine = open_in(&folder);
    block_on(engine.append(vec![publish("a", "1")]))[0].expect("there is room");
    engine.close();
    let refused = block_on(engine.append(vec![publish("a", "2")]));
    assert_eq!(refused, [Err(AppendError::StorageUnavailable)]);
    assert_eq!(texts(&engine, "a"), ["1"]);
}

#[expect(
    clippy::disallowed_methods,
    reason = "real threads on real files are waited for in real time"
)]
mod faults;
#[expect(
    clippy::disallowed_methods,
    reason = "real threads on real files are waited for in real time"
)]
mod hints;

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that it may take")]
fn a_log_that_is_nearly_full_gives_space_back_as_fast_as_it_can() {
    const BYTES: usize = 40_000;
    let folder = Folder::new();
    let config = EngineConfig {
        policies: vec![crate::ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(crate::Retention {
                messages: 1,
                ..crate::Retention::default()
            }),
        }],
        ..EngineConfig::default()
    };
    let log = LogConfig {
        segment_bytes: 64 << 10,
        log_bytes_max: 2 << 20,
        compact_bytes_per_second: 4_096,
        maintenance_interval: Duration::from_millis(10),
        ..LogConfig::default()
    };
    let engine = Embedded::open(&folder.0, config, log).expect("it opens");
    let text = format!("\"{}\"", "x".repeat(BYTES));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    // Ten times what the log may hold, of which one publication counts.
    for number in 0..10 * (2 << 20) / BYTES {
        while block_on(engine.append(vec![publish("c", &text)])) == [Err(AppendError::StorageFull)]
        {
            assert!(std::time::Instant::now() < deadline, "no room for {number}");
            thread::yield_now();
        }
    }
}
