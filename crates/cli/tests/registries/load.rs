//! Load under which the parts of a server that are hard to see are seen: long commits, reads that
//! the system does not have in memory.

use futures_util::future::join_all;
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use tokio::join;

use super::process::{KEY, Process};
use crate::client::{Answer, Reach, until};

/// A commit is full with its first publication, since its header alone has 32 bytes: a batch of them
/// takes its time.
pub(crate) const SLOW_COMMITS: (&str, &str) = ("engine.max_commit_bytes", "33");

/// Publications of a batch that is long in being committed.
const LONG: usize = 500;
/// How many come meanwhile.
const CROWD: usize = 8;

/// Publications that lie so far apart in the log that each of them is read for itself.
const SCATTERED: usize = 600;
/// Bytes between two of them: more than are read only to save a call.
const BETWEEN: usize = 9_000;

impl Reach {
    /// Publishes to all of these channels in one batch.
    pub(crate) async fn batch(&self, channels: &[&str], bytes: usize) -> Answer {
        let data = "x".repeat(bytes);
        let body = json!({"channels": channels, "data": data}).to_string();
        self.send("/api/publish", &body).await
    }
}

/// The highest value that this metric is seen to have until the load is over.
pub(crate) async fn peak(reach: &Reach, metric: &str, load: impl Future<Output = ()>) -> f64 {
    let mut load = std::pin::pin!(load);
    let mut most = 0.0_f64;
    loop {
        tokio::select! {
            biased;
            () = &mut load => return most,
            metrics = reach.metrics() => most = most.max(metrics[metric]),
        }
    }
}

/// Publishes a long batch, and more while it is being committed.
pub(crate) async fn crowd(reach: &Reach) {
    let commits = async || reach.metrics().await["bowline_log_commits_total"];
    let before = commits().await;
    let long = async { assert_eq!(reach.batch(&["a"; LONG], 1).await.status, 200) };
    let others = async {
        until("it is being committed", async || {
            commits().await > before + 2.0
        })
        .await;
        join_all((0..CROWD).map(|_| reach.fill("b", 1, 1))).await;
    };
    join!(long, others);
}

/// Publishes to the channel `a` what is slow to read: see [`SCATTERED`].
pub(crate) async fn scatter(reach: &Reach) {
    let filler = "x".repeat(BETWEEN);
    let pair = [
        json!({"channel": "a", "data": 1}),
        json!({"channel": "between", "data": filler}),
    ];
    let messages: Vec<&Value> = pair.iter().cycle().take(200).collect();
    let body = json!({ "messages": messages }).to_string();
    for _ in 0..SCATTERED / 100 {
        assert_eq!(reach.send("/api/publish", &body).await.status, 200);
    }
}

/// Lets the system forget what it has in memory of the log, as far as its file system can.
pub(crate) fn evict(process: &Process) {
    for entry in std::fs::read_dir(process.data("")).expect("a folder") {
        let file = std::fs::File::open(entry.expect("an entry").path()).expect("a file");
        fadvise(&file, 0, None, Advice::DontNeed).expect("it is taken");
    }
}

/// Reads the history of the channel `a` many times at once.
pub(crate) async fn read_history(reach: &Reach) {
    let page = async || {
        let page = reach
            .get("/api/channels/a/history?limit=1000", &[KEY])
            .await;
        assert_eq!(page.status, 200);
    };
    join_all((0..30).map(|_| page())).await;
}
