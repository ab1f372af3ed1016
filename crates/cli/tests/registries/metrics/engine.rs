//! Every metric of the engine moves, in a process that is given reasons for it.
//!
//! Owns what it takes: a crowd, a disk that is full or in the way, a kill, a torn and a damaged log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    pin::pin,
};

use serde_json::json;
use tokio::join;

use crate::{
    client::{Client, Reach, until},
    registries::{
        load::{PATIENT, SLOW_COMMITS, crowd, evict, read_history, scatter},
        process::{EMBEDDED, KEY, Process},
        settings::disk::SHORT_SEGMENTS,
    },
};

/// Shorter than a commit.
const PUBLISH_TIMEOUT: (&str, &str) = ("server.publish_timeout", "\"1ms\"");

/// Whether a family is the engine's.
pub(super) fn is_engines(name: &str) -> bool {
    name.starts_with("bowline_engine_") || name.starts_with("bowline_log_")
}

#[tokio::test]
async fn every_metric_of_the_engine_moves() {
    let settings = [
        EMBEDDED,
        SHORT_SEGMENTS,
        SLOW_COMMITS,
        ("engine.max_keys", "1"),
        ("engine.read_threads", "1"),
        ("engine.open_check_bytes", "1"),
        PUBLISH_TIMEOUT,
    ];
    let mut process = Process::start(&settings, None).await;
    let mut watch = Watch::begin(&process.reach).await;
    send_again(&process.reach).await;
    watch.look(&process.reach).await;
    process.set(PATIENT.0, PATIENT.1);
    // In order, it would end with all that was not waited for.
    process.kill();
    process.start_again().await.expect("it starts again");
    repeat(&process.reach).await;
    gather(&process.reach, &mut watch).await;
    fill_the_disk(&process).await;
    stand_in_the_way(&process, &mut watch).await;
    read_from_the_disk(&process, &mut watch).await;
    tear(&mut process).await;
    watch.look(&process.reach).await;
    read_damage(&process).await;
    watch.look(&process.reach).await;
    assert!(watch.still.is_empty(), "{:?}", watch.still);
}

/// The families that have not moved.
struct Watch {
    first: BTreeMap<String, f64>,
    still: BTreeSet<String>,
}

impl Watch {
    async fn begin(reach: &Reach) -> Self {
        let mut first = reach.metrics().await;
        first.retain(|name, _| is_engines(name));
        assert!(first.len() > 25, "{first:?}");
        let still = first.keys().cloned().collect();
        Self { first, still }
    }

    async fn look(&mut self, reach: &Reach) {
        let now = reach.metrics().await;
        let first = &self.first;
        self.still
            .retain(|name| now.get(name).is_none_or(|value| *value == first[name]));
    }

    /// Looks again and again until the load is over.
    async fn during(&mut self, reach: &Reach, load: impl Future<Output = ()>) {
        let mut load = pin!(load);
        loop {
            tokio::select! {
                biased;
                () = &mut load => return,
                () = self.look(reach) => {}
            }
        }
    }

    fn has_moved(&self, name: &str) -> bool {
        !self.still.contains(name)
    }
}

/// A number that comes again because nobody could say what became of it.
async fn send_again(reach: &Reach) {
    let mut client = reach.client("unsure", json!({})).await;
    let mut seq = 1;
    until("the engine sees one twice", async || {
        // It waits behind these.
        let many = reach.batch(&["a"; 30], 1);
        join!(many, async {
            seq += u64::from(is_acked(&mut client, seq).await)
        });
        reach.metrics().await["bowline_engine_session_duplicates_total"] > 0.0
    })
    .await;
}

/// Whether this number is acked, and not refused.
async fn is_acked(client: &mut Client, seq: u64) -> bool {
    client
        .send(&json!({"type": "publish", "seq": seq, "channel": "a", "data": 1}))
        .await;
    loop {
        let answer = client.next().await.expect("the connection lives");
        match answer["type"].as_str() {
            Some("acked") if answer["seq"] == seq => return true,
            Some("error") => return false,
            _ => {}
        }
    }
}

/// Keys that come twice, and more of them than there is room for.
async fn repeat(reach: &Reach) {
    for (key, is_repeated) in [("one", false), ("one", true), ("two", false)] {
        let body = json!({"channel": "a", "data": 1, "key": key}).to_string();
        let stored = reach.send("/api/publish", &body).await.json();
        assert_eq!(stored["duplicate"], is_repeated);
    }
}

/// Requests that wait for a commit, and publications that nobody is told of before it ends.
async fn gather(reach: &Reach, watch: &mut Watch) {
    let mut batch = 50;
    until("they wait", async || {
        watch.during(reach, crowd(reach, batch)).await;
        batch = (batch * 2).min(500);
        watch.has_moved("bowline_log_requests_queued")
            && watch.has_moved("bowline_log_hints_pending")
    })
    .await;
}

/// A publication for which there is no room on the disk.
async fn fill_the_disk(process: &Process) {
    process.limit_files(1);
    let body = json!({"channel": "a", "data": 1}).to_string();
    let refused = process.reach.send("/api/publish", &body).await;
    assert_eq!(refused.code(), (503, "storage_full".to_owned()));
    process.limit_files(1 << 30);
    until("it takes messages again", async || {
        process.reach.get("/health/ready", &[]).await.status == 200
    })
    .await;
}

/// Segments that can't be rewritten at first, since folders have the names of the new files.
async fn stand_in_the_way(process: &Process, watch: &mut Watch) {
    let reach = &process.reach;
    let folders: Vec<PathBuf> = (1..=8)
        .map(|number| process.data(&format!("{number:016x}.tmp")))
        .collect();
    for folder in &folders {
        fs::create_dir(folder).expect("nothing is there");
    }
    reach.fill("last", 40, 60_000).await;
    let moved = async |watch: &mut Watch, name| {
        until(name, async || {
            watch.look(reach).await;
            watch.has_moved(name)
        })
        .await;
    };
    moved(watch, "bowline_log_compaction_failures_total").await;
    for folder in &folders {
        fs::remove_dir(folder).expect("it is there");
    }
    moved(watch, "bowline_log_compactions_total").await;
    reach.fill("a", 50, 60_000).await;
    moved(watch, "bowline_log_hint_files_total").await;
}

/// More readers at once than there are threads, of what the system does not have in memory.
async fn read_from_the_disk(process: &Process, watch: &mut Watch) {
    scatter(&process.reach).await;
    until("they wait for each other", async || {
        evict(process);
        let load = read_history(&process.reach);
        watch.during(&process.reach, load).await;
        watch.has_moved("bowline_log_reads_queued")
    })
    .await;
}

/// A kill in the middle of a write, and a start that checks little and slowly.
async fn tear(process: &mut Process) {
    until("there are hints", async || hints(process) >= 2).await;
    process.kill();
    let newest = fs::File::options()
        .write(true)
        .open(newest_segment(process))
        .expect("it is there");
    let length = newest.metadata().expect("a length").len();
    newest.set_len(length - 3).expect("it is cut");
    process.set("engine.compact_bytes_per_second", "4_096");
    process.start_again().await.expect("a torn end is usual");
}

/// A publication that is not as it was written.
async fn read_damage(process: &Process) {
    const PLANTED: &str = "planted";
    let reach = &process.reach;
    let body = json!({"channel": "damaged", "data": PLANTED}).to_string();
    assert_eq!(reach.send("/api/publish", &body).await.status, 200);
    let segment = newest_segment(process);
    let bytes = fs::read(&segment).expect("it is there");
    let mut windows = bytes.windows(PLANTED.len());
    let at = windows.position(|window| window == PLANTED.as_bytes());
    let file = fs::File::options().write(true).open(&segment);
    file.expect("it is there")
        .write_all_at(b"P", at.expect("it was committed") as u64)
        .expect("it is written");
    let page = reach.get("/api/channels/damaged/history", &[KEY]).await;
    assert_eq!(page.code(), (503, "storage_unavailable".to_owned()));
}

fn newest_segment(process: &Process) -> PathBuf {
    files(process, "log").max().expect("there is one")
}

fn hints(process: &Process) -> usize {
    files(process, "hint").count()
}

fn files(process: &Process, end: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(process.data("")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(move |path| path.extension().is_some_and(|found| found == end))
}
