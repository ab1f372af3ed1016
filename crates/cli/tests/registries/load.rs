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

/// A busy machine takes its time.
pub(crate) const PATIENT: (&str, &str) = ("server.publish_timeout", "60");

/// How many come while a batch is committed.
const CROWD: usize = 8;

/// Channels whose publications take turns in the log.
pub(crate) const FAR: usize = 10;
/// Publications of each of them: about as many as a page of history has room for.
pub(crate) const FAR_MESSAGES: usize = 240;
/// Bytes of each. Between two of a channel lie more than are read only to save a call, so that each is
/// read for itself.
const FAR_BYTES: usize = 4_000;

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

/// Publishes a batch of so many, and more while it is being committed.
pub(crate) async fn crowd(reach: &Reach, batch: usize) {
    let commits = async || reach.metrics().await["bowline_log_commits_total"];
    let before = commits().await;
    let long = async { assert_eq!(reach.batch(&vec!["a"; batch], 1).await.status, 200) };
    let others = async {
        until("it is being committed", async || {
            commits().await > before + 1.0
        })
        .await;
        join_all((0..CROWD).map(|_| reach.fill("b", 1, 1))).await;
    };
    join!(long, others);
}

/// Publishes what is slow to read to the channels `far-0`, `far-1` and so on.
pub(crate) async fn scatter(reach: &Reach) {
    let data = "x".repeat(FAR_BYTES);
    let message = |n: usize| json!({"channel": format!("far-{n}"), "data": data});
    let messages: Vec<Value> = (0..FAR).cycle().take(200).map(message).collect();
    let body = json!({ "messages": messages }).to_string();
    for _ in 0..FAR * FAR_MESSAGES / messages.len() {
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

/// Reads the history of these channels, of all at once.
pub(crate) async fn read_history(reach: &Reach) {
    let page = async |n: usize| {
        let path = format!("/api/channels/far-{n}/history?limit={FAR_MESSAGES}");
        assert_eq!(reach.get(&path, &[KEY]).await.status, 200);
    };
    join_all((0..FAR).map(page)).await;
}
