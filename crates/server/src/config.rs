//! The server's settings: every bound and every wait, typed and checked at once.
//!
//! Owns the type [`Config`] with each setting's default, reason and cost. Must not know files,
//! flags or environment: whoever embeds the server, or its command line, resolves those into this.

mod check;
mod origin;

use std::time::Duration;

use bowline_proto::{Code, Data, codec::json_data, is_channel};

use crate::limits::Network;
pub use bowline_engine::ConfigProblem;
pub use origin::{AllowedOrigins, is_loopback_host};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All settings of a server. What is told to clients stands in `welcome`.
///
/// ```
/// use std::time::Duration;
/// use bowline::Config;
///
/// let config = Config { ping_interval: Duration::from_secs(25), ..Config::default() };
/// assert_eq!(config.check(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server pings when it has received nothing, or sent nothing, for so long (default 30 s,
    /// below the idle timeout of common proxies, 60 s). A shorter one finds dead links sooner and
    /// costs a small frame each way per connection and interval.
    pub ping_interval: Duration,
    /// A connection from which nothing came for so long after a ping is stale and closed 4408
    /// (default 10 s: slow mobile links answer in under 5 s).
    pub pong_timeout: Duration,
    /// From accepting a connection to its `welcome`, absolute (default 10 s). Slow handshakes are
    /// cut then, so that they can't hold places; request bodies must arrive within it too.
    pub connection_timeout: Duration,
    /// Told to clients as the default bound of their attempts in a row (default 10).
    pub max_reconnect_attempts: u32,
    /// The largest `data` of a message in either direction, from any source (default 65,536).
    /// A connection holds at most one incomplete message of this size.
    pub message_bytes_max: usize,
    /// Connections of one address without a verified user at once (default 10); IPv6 by /64. Where
    /// verified users or sessions of the address are there, up to twice as many may be on their way
    /// at once to prove that they are one of those.
    pub connections_per_ip_max: u32,
    /// Connections of one address at once, verified ones included (default 1,000: a large office),
    /// and as many sockets that speak HTTP.
    pub verified_connections_per_ip_max: u32,
    /// Connections of one verified user at once (default 100: tabs and devices).
    pub connections_per_user_max: u32,
    /// The sliding window in which attempts of one address are counted (default 60 s).
    pub rate_limit_window: Duration,
    /// Unverified or failed attempts of one address within the window (default 60).
    pub rate_limit_attempts_max: u32,
    /// Addresses whose attempts are remembered at once (default 32,768), up to about 600 bytes each
    /// with the default of 60 attempts. Beyond it those that have nothing open are forgotten early.
    pub addresses_max: usize,
    /// Whether the limits by address leave loopback out (default true: behind it is a local proxy
    /// or a developer, for whom one address stands for everybody).
    pub loopback_exempt: bool,
    /// A connection whose peer takes no byte for so long is dead (default 5 s). Its messages are
    /// still in the log; until then its queue stays in memory.
    pub send_timeout: Duration,
    /// Connections at once (default 100,000). Idle ones cost about 2 KB each (10 KB over TLS) and one file
    /// descriptor; further ones are refused with `overloaded`.
    pub connections_max: usize,
    /// Connections between upgrade and `welcome` at once (default 1,024). Further ones are told to
    /// come back (`overloaded` with `retry_after_ms`), which spreads a reconnect storm.
    pub handshakes_max: usize,
    /// Upgrades per second on average, and as many at once after a silence (default 5,000: each
    /// costs about 0.1 ms of a core until `welcome`). Further ones are told when to come back.
    pub handshakes_per_second: u32,
    /// Refused connections that are accepted, told why by a close frame, and closed, at once
    /// (default 256), about 4 KB each for a second or two. Beyond it a refusal is plain HTTP, which
    /// browsers can't see.
    pub refusals_max: usize,
    /// Sockets that speak HTTP at once, those included that have not sent a request yet (default
    /// 4,096); up to `header_bytes_max` and a few KB each. Further ones are answered 503,
    /// or closed where an answer would take a TLS handshake.
    pub http_connections_max: usize,
    /// Headers of a request (default 128); more are answered 431.
    pub headers_max: usize,
    /// Bytes of a request's head (default 16,384, of which a line may have 8,192); more are answered
    /// 431.
    pub header_bytes_max: usize,
    /// Proxies whose word on the client's address is taken (default: none): the rightmost address in
    /// `X-Forwarded-For` that is not one of these is the client.
    pub trusted_proxies: Vec<Network>,
    /// Whether trusted proxies begin each connection with a PROXY header of version 2 (default
    /// false); without it their connections are then dropped.
    pub proxy_protocol: bool,
    /// The longest `hello` in bytes (default 524,288), where it is more than other messages may have:
    /// a thousand subscriptions with long names and their positions fit.
    pub hello_bytes_max: usize,
    /// Connections at once whose `hello` is larger than other messages may be, or asks for more
    /// channels than one connection may have (default 16), until their `welcome` has left; further
    /// ones are told `overloaded`. Each costs a few times `hello_bytes_max`.
    pub large_hellos_max: usize,
    /// Subscriptions of one connection (default 1,000), about 100 bytes each.
    pub subscriptions_per_connection_max: usize,
    /// Bytes that wait for one slow connection before it falls back to reading the log (default
    /// 262,144). Only connections that don't keep up use any; they cost up to this and the socket's
    /// own buffer.
    pub send_queue_bytes_max: usize,
    /// The least that a kernel's send buffer is told to hold per socket (default 131,072): unbounded
    /// it would grow to megabytes per slow connection. The kernel doubles it for its own records.
    pub socket_send_buffer_bytes: usize,
    /// Whether permessage-deflate is agreed on with clients that offer it (default true): never with
    /// context takeover, so an idle connection holds nothing for it. It costs about 440 KB for each
    /// thread that uses it, and the time to compress a publication once for all who take it so.
    /// Turn it off where messages mix secrets with what others may choose (lengths then tell), or
    /// where processor time is scarcer than the network.
    pub compression: bool,
    /// Frames shorter than this many bytes are sent as they are (default 1,024): shorter ones gain
    /// little on the wire and cost nearly as much time. `cargo run --release -p bowline-ws --example
    /// deflate_cost` measures both by length.
    pub compression_bytes_min: usize,
    /// Unacknowledged numbered messages of one connection (default 64): up to so many times
    /// `message_bytes_max` wait for the engine. Of those without a number as many, beside them; more are
    /// `rate_limited`.
    pub inflight_max: usize,
    /// The longest name of a channel, in bytes (default 255).
    pub channel_bytes_max: usize,
    /// Messages per second that one connection may send on average (default 100), as a token bucket.
    pub messages_per_second: u32,
    /// What the bucket holds (default 200): so many at once, after a silence. It must hold at least
    /// `inflight_max`, or a resent outbox would be refused.
    pub messages_burst_max: u32,
    /// How long a publish waits for the engine before its fate counts as unknown (default 10 s). Behind
    /// it nothing of the same connection is stored, and its session is not taken over, before the engine
    /// has answered.
    pub publish_timeout: Duration,
    /// How long `on_message` may take (default 10 s) before it counts as failed.
    pub handler_timeout: Duration,
    /// How long the access control may take for one question (default 5 s). Afterwards nobody is let in,
    /// and whoever asked is told `overloaded` and may come again: it is no verdict.
    pub access_timeout: Duration,
    /// From the signal to the exit (default 30 s): clients are told to reconnect within it.
    pub shutdown_timeout: Duration,
    /// How long a session is remembered after its last number (default 24 h), told to clients. It
    /// must exceed the age at which they give up resending; the engine's own must not be shorter.
    pub session_ttl: Duration,
    /// Pages being read from the engine for slow or returning subscribers at once (default 16).
    /// Each costs up to `page_bytes_max`; fewer slow recovery down, more starve live traffic.
    pub catchup_slots: usize,
    /// Bytes of data in one page read from the engine (default 65,536); one message always fits.
    pub page_bytes_max: usize,
    /// Recent publications that a channel with subscribers keeps encoded in memory, in bytes
    /// (default 262,144), so that those who catch up can join the live ones without a read. Their
    /// frames in `bowline.v1` count; while a channel has subscribers in plain mode, or with compression,
    /// their forms cost up to as much again each.
    pub tail_channel_bytes_max: usize,
    /// The same over all channels (default 64 MiB).
    pub tail_bytes_max: usize,
    /// The largest body of an HTTP request (default 1 MiB). It must hold one message of
    /// `message_bytes_max` in base64.
    pub http_body_bytes_max: usize,
    /// Publications of one HTTP request: `messages` times `channels` (default 1,000).
    pub batch_messages_max: usize,
    /// HTTP requests with a body in memory at once (default 128), up to `http_body_bytes_max` each,
    /// and as many pages of history on their way, up to `history_bytes_max` of data each; further ones
    /// are answered `overloaded`.
    pub http_requests_max: usize,
    /// Bytes of data in one answer to an HTTP history request (default 1 MiB); `more` says that the
    /// page was cut.
    pub history_bytes_max: usize,
    /// Whether `/metrics` asks for no key (default true: it has totals only, no name of a user,
    /// channel or address). Turn it off where even these are nobody's business.
    pub metrics_public: bool,
    /// Whether all connections of a user follow the channel `user:{name}` without asking (default
    /// true); see [`personal_channel`](crate::personal_channel).
    pub personal_channels: bool,
    /// Which web pages may connect (default: those of the same host). Programs that send no
    /// `Origin` are not browsers and are judged by their token alone.
    pub allowed_origins: AllowedOrigins,
    /// Development mode (default false): no tokens are needed, and requests whose `Origin` or
    /// `Host` is not loopback are refused, which keeps foreign web pages out.
    pub dev: bool,
}

impl Config {
    /// Whether a channel may be called so.
    pub(crate) fn allows_channel(&self, name: &str) -> bool {
        is_channel(name, self.channel_bytes_max)
    }

    /// The data of the program itself as it is sent, if it is any that a message can carry.
    ///
    /// # Errors
    /// [`Code::MessageTooBig`], [`Code::TooDeep`], or [`Code::Malformed`] where it should be JSON and is not
    /// one valid value.
    pub(crate) fn sendable(&self, data: Data) -> Result<Data, Code> {
        if data.len() > self.message_bytes_max {
            return Err(Code::MessageTooBig);
        }
        match data {
            Data::Json(text) => json_data(&text),
            Data::Binary(_) => Ok(data),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(10),
            max_reconnect_attempts: 10,
            message_bytes_max: 64 * KIB,
            connections_per_ip_max: 10,
            verified_connections_per_ip_max: 1_000,
            connections_per_user_max: 100,
            rate_limit_window: Duration::from_secs(60),
            rate_limit_attempts_max: 60,
            addresses_max: 32_768,
            loopback_exempt: true,
            send_timeout: Duration::from_secs(5),
            connections_max: 100_000,
            handshakes_max: 1_024,
            handshakes_per_second: 5_000,
            refusals_max: 256,
            http_connections_max: 4_096,
            headers_max: 128,
            header_bytes_max: 16 * KIB,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            hello_bytes_max: 512 * KIB,
            large_hellos_max: 16,
            subscriptions_per_connection_max: 1_000,
            send_queue_bytes_max: 256 * KIB,
            socket_send_buffer_bytes: 128 * KIB,
            compression: true,
            compression_bytes_min: KIB,
            inflight_max: 64,
            channel_bytes_max: 255,
            messages_per_second: 100,
            messages_burst_max: 200,
            publish_timeout: Duration::from_secs(10),
            handler_timeout: Duration::from_secs(10),
            access_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(30),
            session_ttl: Duration::from_secs(24 * 3_600),
            catchup_slots: 16,
            page_bytes_max: 64 * KIB,
            tail_channel_bytes_max: 256 * KIB,
            tail_bytes_max: 64 * MIB,
            http_body_bytes_max: MIB,
            batch_messages_max: 1_000,
            http_requests_max: 128,
            history_bytes_max: MIB,
            metrics_public: true,
            personal_channels: true,
            allowed_origins: AllowedOrigins::SameHost,
            dev: false,
        }
    }
}

#[cfg(test)]
mod tests;
