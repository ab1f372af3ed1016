//! The names of all settings.
//!
//! Owns the one list from which file keys, environment variables, flags and `config print` come.
//! Must not know defaults or bounds: those are the library's.

use super::{Settings, slot::Slot};

/// A setting: `name` in the TOML table `section`.
pub(super) struct Setting {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// The library's field, in whose name it reports problems; the engine's begin with `engine/`.
    pub(super) field: &'static str,
    pub(super) slot: fn(&mut Settings) -> Slot<'_>,
}

/// Variables with our prefixes that are no settings: those of commands and of the build.
pub(super) const OTHER_VARIABLES: &[&str] = &[
    "BOWLINE_API_KEY",
    "BOWLINE_COMMIT",
    "BOWLINE_CONFIG",
    "BOWLINE_TOKEN",
    "BOWLINE_URL",
    "BOWLINE_WS_URL",
];

/// What stands in a file as a list of tables.
pub(super) const LISTS: [&str; 2] = ["channels", "access.anonymous"];

macro_rules! settings {
    ($($section:literal $name:literal $field:literal $slot:ident $first:ident $(. $rest:ident)*;)*) => {
        pub(super) static SETTINGS: &[Setting] = &[$(Setting {
            section: $section,
            name: $name,
            field: $field,
            slot: |settings| Slot::$slot(&mut settings.$first $(. $rest)*),
        },)*];
    };
}

settings! {
    "server" "listen" "listen" Address listen;
    "server" "dev" "dev" Flag server.dev;
    "server" "shutdown_timeout" "shutdown_timeout" Span server.shutdown_timeout;
    "server" "publish_timeout" "publish_timeout" Span server.publish_timeout;
    "server" "http_body_bytes" "http_body_bytes_max" Size server.http_body_bytes_max;
    "server" "http_requests" "http_requests_max" Places server.http_requests_max;
    "server" "batch_messages" "batch_messages_max" Places server.batch_messages_max;
    "server" "history_bytes" "history_bytes_max" Size server.history_bytes_max;
    "server" "http_connections" "http_connections_max" Places server.http_connections_max;
    "server" "max_headers" "headers_max" Places server.headers_max;
    "server" "header_bytes" "header_bytes_max" Size server.header_bytes_max;
    "server" "trusted_proxies" "trusted_proxies" Networks server.trusted_proxies;
    "server" "proxy_protocol" "proxy_protocol" Flag server.proxy_protocol;
    "server" "metrics_public" "metrics_public" Flag server.metrics_public;
    "server" "tls_certificate_file" "tls/certificate_file" File tls.certificate_file;
    "server" "tls_key_file" "tls/key_file" File tls.key_file;
    "log" "level" "log_level" Level log_level;
    "log" "format" "log_format" Format log_format;
    "access" "api_keys" "api_keys" Keys api_keys;
    "access" "admin_token" "admin_token" Key admin_token;
    "access" "jwt_algorithm" "jwt/algorithm" Algorithm tokens.algorithm;
    "access" "jwt_secret" "jwt/secret" Secret tokens.secret;
    "access" "jwt_public_key_file" "jwt/public_key_file" File tokens.public_key_file;
    "access" "jwks_file" "jwt/jwks_file" File tokens.jwks_file;
    "access" "jwks_url" "jwt/jwks_url" Text tokens.jwks_url;
    "access" "jwks_ca_file" "jwt/jwks_ca_file" File tokens.jwks_ca_file;
    "access" "jwks_max_age" "jwt/jwks_max_age" Span tokens.jwks_max_age;
    "access" "jwks_refetch_interval" "jwt/jwks_refetch_interval" Span tokens.jwks_refetch_interval;
    "access" "jwt_issuer" "jwt/issuer" Text tokens.issuer;
    "access" "jwt_audience" "jwt/audience" Text tokens.audience;
    "access" "jwt_leeway" "jwt/leeway" Span tokens.leeway;
    "websocket" "ping_interval" "ping_interval" Span server.ping_interval;
    "websocket" "pong_timeout" "pong_timeout" Span server.pong_timeout;
    "websocket" "connection_timeout" "connection_timeout" Span server.connection_timeout;
    "websocket" "max_reconnect_attempts" "max_reconnect_attempts" Count server.max_reconnect_attempts;
    "websocket" "max_message_size" "message_bytes_max" Size server.message_bytes_max;
    "websocket" "max_connections_per_ip" "connections_per_ip_max" Count server.connections_per_ip_max;
    "websocket" "max_verified_connections_per_ip" "verified_connections_per_ip_max"
        Count server.verified_connections_per_ip_max;
    "websocket" "max_connections_per_user" "connections_per_user_max"
        Count server.connections_per_user_max;
    "websocket" "max_addresses" "addresses_max" Places server.addresses_max;
    "websocket" "rate_limit_window" "rate_limit_window" Span server.rate_limit_window;
    "websocket" "rate_limit_attempts" "rate_limit_attempts_max" Count server.rate_limit_attempts_max;
    "websocket" "loopback_exempt" "loopback_exempt" Flag server.loopback_exempt;
    "websocket" "send_timeout" "send_timeout" Span server.send_timeout;
    "websocket" "max_connections" "connections_max" Places server.connections_max;
    "websocket" "max_handshakes" "handshakes_max" Places server.handshakes_max;
    "websocket" "handshakes_per_second" "handshakes_per_second" Count server.handshakes_per_second;
    "websocket" "max_refusals" "refusals_max" Places server.refusals_max;
    "websocket" "max_hello_size" "hello_bytes_max" Size server.hello_bytes_max;
    "websocket" "max_large_hellos" "large_hellos_max" Places server.large_hellos_max;
    "websocket" "max_subscriptions" "subscriptions_per_connection_max"
        Places server.subscriptions_per_connection_max;
    "websocket" "send_queue_bytes" "send_queue_bytes_max" Size server.send_queue_bytes_max;
    "websocket" "socket_send_buffer_bytes" "socket_send_buffer_bytes"
        Size server.socket_send_buffer_bytes;
    "websocket" "compression" "compression" Flag server.compression;
    "websocket" "compression_min_bytes" "compression_bytes_min" Size server.compression_bytes_min;
    "websocket" "max_inflight" "inflight_max" Places server.inflight_max;
    "websocket" "max_channel_bytes" "channel_bytes_max" Size server.channel_bytes_max;
    "websocket" "messages_per_second" "messages_per_second" Count server.messages_per_second;
    "websocket" "messages_burst" "messages_burst_max" Count server.messages_burst_max;
    "websocket" "handler_timeout" "handler_timeout" Span server.handler_timeout;
    "websocket" "access_timeout" "access_timeout" Span server.access_timeout;
    "websocket" "session_ttl" "session_ttl" Span server.session_ttl;
    "websocket" "catchup_slots" "catchup_slots" Places server.catchup_slots;
    "websocket" "page_bytes" "page_bytes_max" Size server.page_bytes_max;
    "websocket" "tail_channel_bytes" "tail_channel_bytes_max" Size server.tail_channel_bytes_max;
    "websocket" "tail_bytes" "tail_bytes_max" Size server.tail_bytes_max;
    "websocket" "personal_channels" "personal_channels" Flag server.personal_channels;
    "websocket" "allowed_origins" "allowed_origins" Origins server.allowed_origins;
    "engine" "kind" "engine/kind" Kind engine;
    "engine" "data_dir" "engine/data_dir" Path data_dir;
    "engine" "max_channels" "engine/channels_max" Places bounds.channels_max;
    "engine" "max_messages" "engine/messages_max" Amount bounds.messages_max;
    "engine" "max_bytes" "engine/bytes_max" Total bounds.bytes_max;
    "engine" "max_sessions" "engine/sessions_max" Places bounds.sessions_max;
    "engine" "max_sessions_per_user" "engine/sessions_per_user_max" Places bounds.sessions_per_user_max;
    "engine" "max_keys" "engine/keys_max" Places bounds.keys_max;
    "engine" "key_window" "engine/key_window" Span bounds.key_window;
    "engine" "channel_forget_after" "engine/channel_forget_after" Span bounds.channel_forget_after;
    "engine" "segment_bytes" "engine/segment_bytes" Total log.segment_bytes;
    "engine" "max_log_bytes" "engine/log_bytes_max" Total log.log_bytes_max;
    "engine" "open_check_bytes" "engine/open_check_bytes" Total log.open_check_bytes;
    "engine" "max_commit_bytes" "engine/commit_bytes_max" Size log.commit_bytes_max;
    "engine" "max_queued_requests" "engine/queue_requests_max" Places log.queue_requests_max;
    "engine" "max_queued_bytes" "engine/queue_bytes_max" Size log.queue_bytes_max;
    "engine" "read_threads" "engine/read_threads" Places log.read_threads;
    "engine" "max_queued_reads" "engine/queue_reads_max" Places log.queue_reads_max;
    "engine" "trim_grace" "engine/trim_grace" Span log.trim_grace;
    "engine" "probe_interval" "engine/probe_interval" Span log.probe_interval;
    "engine" "maintenance_interval" "engine/maintenance_interval" Span log.maintenance_interval;
    "engine" "compact_dead_percent" "engine/compact_dead_percent" Count log.compact_dead_percent;
    "engine" "compact_bytes_per_second" "engine/compact_bytes_per_second"
        Total log.compact_bytes_per_second;
}

impl Setting {
    /// Its name in files and in `--set`.
    pub(super) fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Its environment variable.
    pub(super) fn variable(&self) -> String {
        let name = self.name.to_ascii_uppercase();
        match self.section {
            "websocket" => format!("WEBSOCKET_{name}"),
            "server" => format!("BOWLINE_{name}"),
            section => format!("BOWLINE_{}_{name}", section.to_ascii_uppercase()),
        }
    }
}
