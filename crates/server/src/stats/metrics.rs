//! `/metrics`: the Prometheus text format, version 0.0.4.
//!
//! Owns the one table of metrics: name, kind, help, and where the value stands. Nothing is shown
//! that is not in it, and every total of the server and the engine is.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use super::{
    Counters, Stats,
    histogram::{BOUNDS_US, Histogram},
};
use crate::node::Node;

/// A family of samples.
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Where the value stands.
enum Value {
    /// A field of the statistics.
    Field(fn(&Stats) -> u64),
    /// A total of the server by its name.
    Total(&'static str),
    /// A detail of the engine by its name, and by what it is divided.
    Detail(&'static str, f64),
    /// A total for each value of a label.
    Labelled(&'static str, fn(&Counters) -> Vec<(String, u64)>),
    /// Durations.
    Durations(fn(&Counters) -> &Histogram),
    /// 1, with the version as a label.
    Build,
}

/// Engines count durations in microseconds, Prometheus in seconds.
const MICROSECONDS: f64 = 1e6;

macro_rules! metrics {
    ($($name:literal $kind:ident $value:expr, $help:literal;)*) => {
        const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            value: { use Value::*; $value },
        },)*];
    };
}

metrics! {
    "bowline_build_info" Gauge Build, "1, with the version of the server.";
    "bowline_uptime_seconds" Gauge Field(|s| s.uptime_s), "Time since the start.";
    "bowline_connections" Gauge Field(|s| s.connections), "Open WebSocket connections.";
    "bowline_users" Gauge Field(|s| s.users), "Verified users with an open connection.";
    "bowline_sessions" Gauge Field(|s| s.sessions), "Sessions held by an open connection.";
    "bowline_channels" Gauge Field(|s| s.channels), "Channels with subscribers.";
    "bowline_connections_opened_total" Counter Total("connections_opened"),
        "WebSocket connections that were opened.";
    "bowline_connection_panics_total" Counter Total("connections_panicked"),
        "Connections that ended by a panic of their task.";
    "bowline_disconnects_total" Counter Labelled("close", |c| c.disconnects.totals()),
        "Connections that ended, by close code; 1006 without a close frame.";
    "bowline_errors_total" Counter Labelled("code", |c| {
        c.errors.totals().map(|(code, total)| (code.to_owned(), total)).collect()
    }), "Refusals told over WebSocket or HTTP, by code.";
    "bowline_messages_received_total" Counter Field(|s| s.messages_in), "Messages from clients.";
    "bowline_messages_sent_total" Counter Field(|s| s.messages_out), "Messages to clients.";
    "bowline_received_bytes_total" Counter Field(|s| s.bytes_in), "Bytes from clients.";
    "bowline_sent_bytes_total" Counter Field(|s| s.bytes_out), "Bytes to clients.";
    "bowline_pages_read_total" Counter Total("pages_read"),
        "Pages read from the log for subscriptions that were behind.";
    "bowline_catchups_started_total" Counter Total("catchups_started"),
        "Live subscriptions that fell back to the log.";
    "bowline_catchups_finished_total" Counter Total("catchups_finished"),
        "Subscriptions that went live again after they fell back.";
    "bowline_recovered_total" Counter Total("recovered"),
        "Subscriptions that went on without a gap.";
    "bowline_not_recovered_total" Counter Total("not_recovered"),
        "Subscriptions that could not go on where they stood.";
    "bowline_takeovers_total" Counter Total("takeovers"), "Sessions taken over by a newer link.";
    "bowline_upstream_duplicates_total" Counter Total("upstream_duplicates"),
        "Numbered messages that were stored already.";
    "bowline_upstream_refused_total" Counter Total("upstream_refused"),
        "Numbered messages that were refused.";
    "bowline_handshake_seconds" Histogram Durations(|c| &c.handshakes),
        "From the upgrade to the welcome.";
    "bowline_append_seconds" Histogram Durations(|c| &c.appends),
        "From handing messages to the engine to its answer.";
    "bowline_handler_seconds" Histogram Durations(|c| &c.handler_calls),
        "Calls of the application's handler.";
    "bowline_http_request_seconds" Histogram Durations(|c| &c.http_requests),
        "Requests over HTTP, without upgrades.";
    "bowline_engine_channels" Gauge Field(|s| s.engine.channels), "Channel records.";
    "bowline_engine_messages" Gauge Field(|s| s.engine.messages), "Publications held.";
    "bowline_engine_message_bytes" Gauge Field(|s| s.engine.bytes),
        "Bytes of data, users and tags of the publications held.";
    "bowline_engine_sessions" Gauge Field(|s| s.engine.sessions), "Session records.";
    "bowline_engine_keys" Gauge Field(|s| s.engine.keys), "Idempotency keys remembered.";
    "bowline_engine_appended_total" Counter Field(|s| s.engine.appended),
        "Entries that took effect.";
    "bowline_engine_session_duplicates_total" Counter Field(|s| s.engine.session_duplicates),
        "Entries that their session's number showed to be repeated.";
    "bowline_engine_key_duplicates_total" Counter Field(|s| s.engine.key_duplicates),
        "Entries that their idempotency key showed to be repeated.";
    "bowline_engine_failed_total" Counter Field(|s| s.engine.failed), "Entries that failed.";
    "bowline_engine_keys_evicted_total" Counter Field(|s| s.engine.keys_evicted),
        "Keys forgotten before their window ended.";
    "bowline_log_segments" Gauge Detail("segments", 1.0), "Files of the log.";
    "bowline_log_bytes" Gauge Detail("log_bytes", 1.0), "Bytes of the log.";
    "bowline_log_compaction_debt_bytes" Gauge Detail("compaction_debt_bytes", 1.0),
        "Bytes of the log that nothing needs any more.";
    "bowline_log_commits_total" Counter Detail("commits", 1.0), "Commits.";
    "bowline_log_commit_entries_total" Counter Detail("commit_entries", 1.0),
        "Entries in all commits; divided by commits it is the size of a batch.";
    "bowline_log_commit_seconds_total" Counter Detail("commit_micros", MICROSECONDS),
        "Time in all commits; divided by commits it is their latency.";
    "bowline_log_commit_seconds_max" Gauge Detail("commit_micros_max", MICROSECONDS),
        "The longest commit.";
    "bowline_log_commits_refused_total" Counter Detail("commits_refused", 1.0),
        "Commits that the storage refused.";
    "bowline_log_fsyncs_total" Counter Detail("fsyncs", 1.0), "Waits for the disk.";
    "bowline_log_written_bytes_total" Counter Detail("written_bytes", 1.0),
        "Bytes handed to write calls.";
    "bowline_log_torn_bytes" Gauge Detail("torn_bytes_at_opening", 1.0),
        "Bytes of an unfinished commit that were cut off when the log was opened.";
    "bowline_log_failed_reads_total" Counter Detail("failed_reads", 1.0),
        "Reads that failed.";
    "bowline_log_damaged_reads_total" Counter Detail("damaged_reads", 1.0),
        "Reads that found damage.";
    "bowline_log_hints_pending" Gauge Detail("hints_pending", 1.0),
        "Publications that subscribers are not told of yet.";
    "bowline_log_compactions_total" Counter Detail("compactions", 1.0),
        "Runs of segments that were rewritten.";
    "bowline_log_compaction_written_bytes_total" Counter Detail("compaction_written_bytes", 1.0),
        "Bytes written by rewriting.";
    "bowline_log_compaction_failures_total" Counter Detail("compaction_failures", 1.0),
        "Rewritings that failed.";
    "bowline_log_segments_hinted" Gauge Detail("segments_hinted_at_opening", 1.0),
        "Segments whose hint files spared reading them when the log was opened.";
    "bowline_log_unchecked_bytes" Gauge Detail("unchecked_bytes", 1.0),
        "Bytes of the log that were not read since it was opened.";
    "bowline_log_hint_files_total" Counter Detail("hint_files_written", 1.0),
        "Hint files written.";
    "bowline_log_hint_written_bytes_total" Counter Detail("hint_written_bytes", 1.0),
        "Bytes written to hint files.";
    "bowline_log_requests_queued" Gauge Detail("requests_queued", 1.0),
        "Requests that wait for a commit.";
    "bowline_log_reads_queued" Gauge Detail("reads_queued", 1.0), "Reads that wait for a thread.";
}

/// All metrics as text.
pub(crate) async fn exposition(node: &Arc<Node>) -> String {
    let stats = Stats::of(node).await;
    let mut text = String::with_capacity(16 << 10);
    for metric in METRICS {
        metric.write(&stats, &node.counters, &mut text);
    }
    text
}

impl Metric {
    fn write(&self, stats: &Stats, counters: &Counters, text: &mut String) {
        let Self { name, help, .. } = self;
        let samples = match self.value {
            Value::Field(field) => Samples::One(field(stats) as f64),
            Value::Total(total) => Samples::One(total_of(&stats.totals, total)),
            Value::Detail(detail, divisor) => match stats.engine.details.get(detail) {
                Some(value) => Samples::One(*value as f64 / divisor),
                // Another kind of engine.
                None => return,
            },
            Value::Labelled(label, read) => Samples::Labelled(label, read(counters)),
            Value::Durations(read) => Samples::Durations(read(counters)),
            Value::Build => Samples::Labelled("version", vec![(stats.version.to_owned(), 1)]),
        };
        let kind = self.kind.as_str();
        let headed = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        headed
            .and_then(|()| samples.write(name, text))
            .expect("writing to a String never fails");
    }
}

fn total_of(totals: &BTreeMap<&str, u64>, name: &str) -> f64 {
    totals.get(name).copied().unwrap_or_default() as f64
}

enum Samples<'a> {
    One(f64),
    Labelled(&'static str, Vec<(String, u64)>),
    Durations(&'a Histogram),
}

impl Samples<'_> {
    fn write(&self, name: &str, text: &mut String) -> std::fmt::Result {
        match self {
            Self::One(value) => writeln!(text, "{name} {value}"),
            // Codes and numbers have nothing that must be escaped.
            Self::Labelled(label, totals) => totals
                .iter()
                .try_for_each(|(of, total)| writeln!(text, "{name}{{{label}=\"{of}\"}} {total}")),
            Self::Durations(histogram) => {
                let cumulative = histogram.cumulative();
                for (bound_us, count) in BOUNDS_US.iter().zip(&cumulative) {
                    let bound = *bound_us as f64 / MICROSECONDS;
                    writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}")?;
                }
                let count = cumulative[BOUNDS_US.len()];
                let sum = histogram.sum().as_secs_f64();
                writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
                writeln!(text, "{name}_sum {sum}\n{name}_count {count}")
            }
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_engine::{Engine, EngineConfig, Memory};

    use super::*;

    fn totals() -> impl Iterator<Item = &'static str> {
        METRICS.iter().filter_map(|metric| match metric.value {
            Value::Total(name) => Some(name),
            _ => None,
        })
    }

    #[test]
    fn every_plain_total_has_a_metric_and_no_metric_lacks_one() {
        // Four of them are fields of the statistics.
        let fields = ["messages_in", "messages_out", "bytes_in", "bytes_out"];
        let mut shown: Vec<_> = totals().chain(fields).collect();
        shown.sort_unstable();
        let counted: Vec<_> = Counters::default().totals().into_keys().collect();
        assert_eq!(shown, counted);
    }

    #[test]
    fn every_detail_of_the_engine_has_a_metric() {
        let engine = Memory::open(EngineConfig::default()).expect("the defaults are sound");
        for (detail, _) in engine.stats().details {
            let is_shown = METRICS
                .iter()
                .any(|metric| matches!(metric.value, Value::Detail(name, _) if name == detail));
            assert!(is_shown, "{detail}");
        }
    }

    #[test]
    fn names_say_their_kind_and_unit_and_are_there_once() {
        for (index, metric) in METRICS.iter().enumerate() {
            let name = metric.name;
            assert!(name.starts_with("bowline_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert!(
                metric.kind != Kind::Histogram || name.ends_with("_seconds"),
                "{name}"
            );
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(
                METRICS[..index].iter().all(|other| other.name != name),
                "{name}"
            );
        }
    }
}
