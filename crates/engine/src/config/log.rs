//! The settings of the log itself: sizes of files, queues and threads.
//!
//! Owns every such bound with its default, reason and cost. What the log keeps is in
//! [`EngineConfig`](super::EngineConfig).

use std::time::Duration;

use super::{ConfigProblem, MIB};

/// How the engine `embedded` treats its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment that has reached this size is sealed, and the next one begun (default 32 MiB, at
    /// most 1 GiB). Smaller ones give their space back sooner, larger ones are fewer open files.
    pub segment_bytes: u64,
    /// Bytes of all segments (default 8 GiB), those included that are not given back yet. Beyond it
    /// publications are answered `StorageFull`. Twice the bytes of the history kept is ample.
    pub log_bytes_max: u64,
    /// When a log is opened, so many bytes of its newest segments are read and checked before anything
    /// is served (default 64 MiB); damage in them is refused at once. What is older is opened by its
    /// hint files and checked afterwards at the pace of `compact_bytes_per_second`; damage there is
    /// never served, and ends the acknowledging when it is found. More makes opening slower by what
    /// the disk takes to read it.
    pub open_check_bytes: u64,
    /// A commit takes no further entries once its frame has this size (default 4 MiB): so long may
    /// one `write` and its `fdatasync` hold up those who come after.
    pub commit_bytes_max: usize,
    /// Calls that wait for the committer (default 65,536); further ones wait in their callers.
    pub queue_requests_max: usize,
    /// Bytes of payload that wait for the committer (default 64 MiB); further ones wait in their
    /// callers.
    pub queue_bytes_max: usize,
    /// Threads for reads that must wait for the device (default 2). What the system has in memory is
    /// read where it is asked for.
    pub read_threads: usize,
    /// Reads that wait for those threads (default 1,024); further ones wait in their callers.
    pub queue_reads_max: usize,
    /// After an opening nothing is trimmed by age for so long, unless room is needed (default
    /// 10 min), and no session or key is forgotten that was alive when the log ended: a clock that was
    /// set wrong can be set right before it costs history, as long as nothing was committed by it, and
    /// a publish that waits for its answer can be repeated. Expired publications are not served either
    /// way.
    pub trim_grace: Duration,
    /// While the disk refuses to be written, a write is tried this often (default 250 ms).
    pub probe_interval: Duration,
    /// What is due by age is trimmed, and sealed segments are looked at, this often when nothing
    /// else happens (default 1 s).
    pub maintenance_interval: Duration,
    /// A sealed segment is rewritten when at least this share of it no longer counts (default 50 %).
    pub compact_dead_percent: u32,
    /// Bytes that rewriting, checking and hint files read and write a second (default 32 MiB), so that
    /// they do not hold up commits; as many as they can while more than 7/8 of `log_bytes_max` are taken.
    pub compact_bytes_per_second: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 * MIB,
            log_bytes_max: 8 * 1_024 * MIB,
            open_check_bytes: 64 * MIB,
            commit_bytes_max: 4 << 20,
            queue_requests_max: 65_536,
            queue_bytes_max: 64 << 20,
            read_threads: 2,
            queue_reads_max: 1_024,
            trim_grace: Duration::from_secs(600),
            probe_interval: Duration::from_millis(250),
            maintenance_interval: Duration::from_secs(1),
            compact_dead_percent: 50,
            compact_bytes_per_second: 32 * MIB,
        }
    }
}

impl LogConfig {
    /// Everything that is wrong with it, at once.
    ///
    /// # Errors
    /// The problems, each with its field.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, key: &str, problem: &str| {
            if !holds {
                problems.push(ConfigProblem {
                    key: key.to_owned(),
                    problem: problem.to_owned(),
                });
            }
        };
        demand(
            (4_096..=1_024 * MIB).contains(&self.segment_bytes),
            "segment_bytes",
            "must be at least 4 KiB and at most 1 GiB",
        );
        demand(
            self.log_bytes_max >= self.segment_bytes.saturating_mul(2),
            "log_bytes_max",
            "must be at least two segments",
        );
        demand(
            (1..=256 << 20).contains(&self.commit_bytes_max),
            "commit_bytes_max",
            "must be at least 1 and at most 256 MiB",
        );
        for (key, count) in [
            ("queue_requests_max", self.queue_requests_max),
            ("queue_bytes_max", self.queue_bytes_max),
            ("queue_reads_max", self.queue_reads_max),
        ] {
            demand(count > 0, key, "must be at least 1");
        }
        demand(
            (1..=64).contains(&self.read_threads),
            "read_threads",
            "must be at least 1 and at most 64",
        );
        for (key, span) in [
            ("probe_interval", self.probe_interval),
            ("maintenance_interval", self.maintenance_interval),
        ] {
            demand(
                (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&span),
                key,
                "must be at least 1 ms and at most 1 h",
            );
        }
        demand(
            (1..=100).contains(&self.compact_dead_percent),
            "compact_dead_percent",
            "must be at least 1 and at most 100",
        );
        demand(
            self.compact_bytes_per_second >= 4_096,
            "compact_bytes_per_second",
            "must be at least 4 KiB",
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}
