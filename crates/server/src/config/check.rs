//! What makes a configuration unusable, all of it at once.
//!
//! Owns the bounds of every setting and the relations between them. Must not know where the values
//! came from.

use std::time::Duration;

use bowline_proto::{CHANNEL_BYTES_LIMIT, codec::FRAME_OVERHEAD_BYTES};

use super::{AllowedOrigins, Config, ConfigProblem};

/// No wait is longer than a year: more is a mistake in the unit, and far below what timers hold.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The shortest wait that a timer on a busy machine can tell from none.
const SPAN_MIN: Duration = Duration::from_millis(1);
/// No size or count is above 2^30: frames and places of that size are a mistake in the unit.
const SIZE_MAX: usize = 1 << 30;
/// Each attempt within the window is remembered by its time.
const ATTEMPTS_MAX: u32 = 10_000;
/// Below it the map of addresses would forget at once.
const ADDRESSES_MIN: usize = 16;

impl Config {
    /// Everything that is wrong with it, each with the name of the field.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems(Vec::new());
        self.check_spans(&mut problems);
        self.check_sizes(&mut problems);
        self.check_limits(&mut problems);
        self.check_relations(&mut problems);
        if problems.0.is_empty() {
            Ok(())
        } else {
            Err(problems.0)
        }
    }

    fn check_spans(&self, problems: &mut Problems) {
        for (key, span) in [
            ("ping_interval", self.ping_interval),
            ("pong_timeout", self.pong_timeout),
            ("connection_timeout", self.connection_timeout),
            ("rate_limit_window", self.rate_limit_window),
            ("send_timeout", self.send_timeout),
            ("publish_timeout", self.publish_timeout),
            ("handler_timeout", self.handler_timeout),
            ("access_timeout", self.access_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
            ("session_ttl", self.session_ttl),
        ] {
            let fits = (SPAN_MIN..=SPAN_MAX).contains(&span);
            problems.demand(fits, key, "must be between 1 ms and 365 days");
        }
    }

    fn check_sizes(&self, problems: &mut Problems) {
        for (key, size) in [
            ("message_bytes_max", self.message_bytes_max),
            ("connections_max", self.connections_max),
            ("handshakes_max", self.handshakes_max),
            ("hello_bytes_max", self.hello_bytes_max),
            ("large_hellos_max", self.large_hellos_max),
            ("http_connections_max", self.http_connections_max),
            ("headers_max", self.headers_max),
            ("header_bytes_max", self.header_bytes_max),
            (
                "subscriptions_per_connection_max",
                self.subscriptions_per_connection_max,
            ),
            ("socket_send_buffer_bytes", self.socket_send_buffer_bytes),
            ("compression_bytes_min", self.compression_bytes_min),
            ("inflight_max", self.inflight_max),
            ("channel_bytes_max", self.channel_bytes_max),
            ("catchup_slots", self.catchup_slots),
            ("page_bytes_max", self.page_bytes_max),
            ("tail_channel_bytes_max", self.tail_channel_bytes_max),
            ("http_body_bytes_max", self.http_body_bytes_max),
            ("batch_messages_max", self.batch_messages_max),
            ("http_requests_max", self.http_requests_max),
            ("history_bytes_max", self.history_bytes_max),
        ] {
            let fits = (1..=SIZE_MAX).contains(&size);
            problems.demand(fits, key, "must be between 1 and 2^30");
        }
        for (key, count) in [
            ("max_reconnect_attempts", self.max_reconnect_attempts),
            ("connections_per_ip_max", self.connections_per_ip_max),
            ("connections_per_user_max", self.connections_per_user_max),
            ("handshakes_per_second", self.handshakes_per_second),
            ("messages_per_second", self.messages_per_second),
        ] {
            problems.demand(count > 0, key, "must be at least 1");
        }
    }

    fn check_limits(&self, problems: &mut Problems) {
        problems.demand(
            (1..=ATTEMPTS_MAX).contains(&self.rate_limit_attempts_max),
            "rate_limit_attempts_max",
            "must be between 1 and 10,000",
        );
        problems.demand(
            self.verified_connections_per_ip_max >= self.connections_per_ip_max,
            "verified_connections_per_ip_max",
            "must be at least the bound without a verified user",
        );
        problems.demand(
            (ADDRESSES_MIN..=SIZE_MAX).contains(&self.addresses_max),
            "addresses_max",
            "must be between 16 and 2^30",
        );
        problems.demand(
            self.refusals_max <= SIZE_MAX,
            "refusals_max",
            "must be at most 2^30",
        );
        problems.demand(
            !self.proxy_protocol || !self.trusted_proxies.is_empty(),
            "proxy_protocol",
            "needs trusted_proxies: only their word is taken",
        );
    }

    fn check_relations(&self, problems: &mut Problems) {
        problems.demand(
            self.channel_bytes_max <= CHANNEL_BYTES_LIMIT,
            "channel_bytes_max",
            "must be at most 1024",
        );
        let frame = self.message_bytes_max.saturating_add(FRAME_OVERHEAD_BYTES);
        problems.demand(
            (frame..=SIZE_MAX).contains(&self.send_queue_bytes_max),
            "send_queue_bytes_max",
            "must hold the largest message and 4,096 bytes more, and be at most 2^30",
        );
        // Base64 makes four characters of three bytes.
        let encoded = self.message_bytes_max.saturating_mul(4).div_ceil(3);
        problems.demand(
            self.http_body_bytes_max >= encoded.saturating_add(FRAME_OVERHEAD_BYTES),
            "http_body_bytes_max",
            "must hold the largest message in base64 and 4,096 bytes more",
        );
        problems.demand(
            self.messages_burst_max as usize >= self.inflight_max,
            "messages_burst_max",
            "must be at least inflight_max, or a resent outbox would be refused",
        );
        problems.demand(
            self.tail_bytes_max >= self.tail_channel_bytes_max,
            "tail_bytes_max",
            "must be at least tail_channel_bytes_max",
        );
        problems.demand(
            self.access_timeout <= self.connection_timeout,
            "access_timeout",
            "must not exceed connection_timeout, which cuts the handshake",
        );
        if let AllowedOrigins::List(origins) = &self.allowed_origins {
            for (index, origin) in origins.iter().enumerate() {
                let (scheme, host) = origin.split_once("://").unwrap_or_default();
                let is_origin =
                    !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*', ' ']);
                problems.demand(
                    is_origin || origin == AllowedOrigins::SAME_HOST,
                    &format!("allowed_origins[{index}]"),
                    "must be scheme://host or scheme://host:port, without a path or wildcard, or same-host",
                );
            }
        }
    }
}

struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn demand(&mut self, holds: bool, key: &str, problem: &str) {
        if !holds {
            self.0.push(ConfigProblem {
                key: key.to_owned(),
                problem: problem.to_owned(),
            });
        }
    }
}
