//! Settings that nobody set, next to one that somebody did set.
//!
//! Owns which defaults give way, so that each setting can be changed alone. Must not touch what was
//! set: two settings that contradict each other are a problem, and told as one.

use super::{Loading, Source};

/// What a frame may have beside `data`.
const FRAME_OVERHEAD_BYTES: usize = 4096;
/// In base64 and with that, it is the largest `server.http_body_bytes`: 2^30.
const MESSAGE_BYTES_MAX: usize = ((1 << 30) - FRAME_OVERHEAD_BYTES) / 4 * 3;
const MESSAGE: &str = "websocket.max_message_size";

impl Loading {
    /// Moves the defaults that would contradict a setting just as far as it needs.
    pub(super) fn follow(&mut self) {
        let server = self.settings.server.clone();
        let frame = server
            .message_bytes_max
            .saturating_add(FRAME_OVERHEAD_BYTES);
        // Base64 makes four characters of three bytes.
        let encoded = server.message_bytes_max.saturating_mul(4).div_ceil(3);
        let body = encoded.saturating_add(FRAME_OVERHEAD_BYTES);
        if server.access_timeout > server.connection_timeout
            && self.gives_way("websocket.access_timeout", "websocket.connection_timeout")
        {
            self.settings.server.access_timeout = server.connection_timeout;
        }
        if server.send_queue_bytes_max < frame
            && self.gives_way("websocket.send_queue_bytes", MESSAGE)
        {
            self.settings.server.send_queue_bytes_max = frame;
        }
        if server.http_body_bytes_max < body && self.gives_way("server.http_body_bytes", MESSAGE) {
            self.settings.server.http_body_bytes_max = body;
        }
        if server.verified_connections_per_ip_max < server.connections_per_ip_max
            && self.gives_way(
                "websocket.max_verified_connections_per_ip",
                "websocket.max_connections_per_ip",
            )
        {
            self.settings.server.verified_connections_per_ip_max = server.connections_per_ip_max;
        }
        let burst = server.messages_burst_max;
        if (burst as usize) < server.inflight_max {
            if self.gives_way("websocket.max_inflight", "websocket.messages_burst") {
                self.settings.server.inflight_max = burst as usize;
            } else if self.gives_way("websocket.messages_burst", "websocket.max_inflight") {
                let inflight = u32::try_from(server.inflight_max).unwrap_or(u32::MAX);
                self.settings.server.messages_burst_max = inflight;
            }
        }
    }

    /// Tells what is wrong with `key`: where it only follows another setting, under the name of that one,
    /// once.
    pub(super) fn problem_or_leaders(&mut self, key: &str, shown: &str, problem: &str) {
        let source = self.source(key);
        let Source::Follows(leader) = source else {
            return self.problem(shown, &source, &as_bounded(key, problem));
        };
        if self.problems.iter().all(|told| told.key != leader) {
            let source = self.source(leader);
            let followed = format!("{shown}, which follows it, {problem}");
            self.problem(leader, &source, &as_bounded(leader, &followed));
        }
    }

    /// Whether `key` is nobody's choice while `leader` is somebody's; it is noted then.
    fn gives_way(&mut self, key: &str, leader: &'static str) -> bool {
        let gives_way = !self.origins.contains_key(key) && self.origins.contains_key(leader);
        if gives_way {
            self.origins.insert(key.to_owned(), Source::Follows(leader));
        }
        gives_way
    }
}

/// The library bounds a message, a frame and a body each for itself; the least of these bounds is told.
fn as_bounded(key: &str, problem: &str) -> String {
    match key {
        MESSAGE => format!(
            "must be between 1 and {MESSAGE_BYTES_MAX}, which in base64 fill the largest server.http_body_bytes"
        ),
        _ => problem.to_owned(),
    }
}
