//! `/ws/stats/detailed`: connections one by one, in pages.
//!
//! Owns the filter, the order (that of their ids) and what is shown of a connection. A session is
//! shown as its digest only.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bowline_proto::Level;
use serde::Serialize;
use utoipa::ToSchema;

use super::moment::rfc3339;
use crate::{
    frames::Mode,
    link::{Inspection, Link},
    node::Node,
    walk::STEP_MAX,
};

/// Subscriptions of one connection that are shown.
const SUBSCRIPTIONS_MAX: usize = 100;
/// A single error in few messages says little of a link: it counts as one of so many.
const ERROR_SAMPLE: u64 = 20;

/// Which connections are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only those above this id.
    pub(crate) after: u64,
    /// The most of them.
    pub(crate) limit: usize,
    pub(crate) user: Option<String>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) channel: Option<String>,
}

/// A page of connections, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connections {
    /// The connections.
    connections: Vec<Connection>,
    /// The next page is `after` this; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One connection.
#[derive(Debug, Serialize, ToSchema)]
struct Connection {
    /// Its id, as in `welcome.connection` and in logs.
    id: String,
    /// The digest of its session; none in plain mode.
    session: Option<String>,
    /// The verified user.
    #[schema(value_type = Option<String>)]
    user: Option<Arc<str>>,
    /// The client's address.
    #[schema(value_type = String)]
    ip: IpAddr,
    /// Whether it speaks the subprotocol (`bowline.v1`) or is in plain mode (`plain`).
    mode: &'static str,
    /// Which program it says that it is.
    client: Option<Client>,
    /// When it was opened.
    #[schema(format = DateTime)]
    connected_at: String,
    /// When bytes last came from it.
    #[schema(format = DateTime)]
    last_seen: String,
    /// The smoothed round trip; none before a pong came.
    rtt_ms: Option<f64>,
    /// How much round trips differ.
    jitter_ms: Option<f64>,
    /// Messages from it.
    messages_in: u64,
    /// Messages to it.
    messages_out: u64,
    /// Bytes from it.
    bytes_in: u64,
    /// Bytes to it.
    bytes_out: u64,
    /// Bytes that wait for its socket.
    queue_bytes: u64,
    /// The channels that it follows, at most 100 of them.
    subscriptions: Vec<Subscription>,
    /// How many it follows.
    subscription_count: u64,
    /// How well the link does.
    health: Health,
    /// What it was refused, in all.
    error_count: u64,
    /// The last of these, oldest first, at most 8.
    errors: Vec<RecentError>,
}

/// What a client says of its own program.
#[derive(Debug, Serialize, ToSchema)]
struct Client {
    name: String,
    version: Option<String>,
}

/// A channel that a connection follows.
#[derive(Debug, Serialize, ToSchema)]
struct Subscription {
    #[schema(value_type = String)]
    channel: Arc<str>,
    /// The offset of the last publication that was handed to it.
    offset: u64,
    /// How many publications it is behind the newest.
    lag: u64,
    /// Whether it takes part in live delivery, or reads from the log.
    live: bool,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
struct RecentError {
    #[schema(format = DateTime)]
    at: String,
    code: &'static str,
}

/// How well a link does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// As on a local network.
    Excellent,
    /// Nothing to complain of, or nothing is known yet.
    Good,
    /// Delays can be felt.
    Fair,
    /// Usable with patience, or a ping is unanswered for a second.
    Poor,
    /// No proof of life.
    Dead,
}

impl Connections {
    /// The page that is asked for.
    pub(crate) async fn of(node: &Node, filter: &Filter) -> Self {
        let mut connections = Vec::new();
        let mut after = filter.after;
        loop {
            let links = node.links_after(after, STEP_MAX);
            let Some(last) = links.last() else {
                return Self {
                    connections,
                    next: None,
                };
            };
            after = last.id;
            for link in links.iter().filter(|link| filter.takes(link)) {
                if connections.len() == filter.limit {
                    let next = connections.last().map(|last: &Connection| last.id.clone());
                    return Self { connections, next };
                }
                connections.push(Connection::of(node, link));
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Filter {
    fn takes(&self, link: &Link) -> bool {
        let user = self.user.as_deref();
        let channel = self.channel.as_deref();
        self.ip
            .is_none_or(|ip| ip.to_canonical() == link.peer.ip().to_canonical())
            && user.is_none_or(|user| link.user().as_deref() == Some(user))
            && channel.is_none_or(|channel| link.subscriptions(channel).0)
    }
}

impl Connection {
    fn of(node: &Node, link: &Link) -> Self {
        let now = node.clock.now();
        let Inspection {
            session,
            user,
            client,
            last_seen,
            late,
            latency,
            counts,
            queue_bytes,
            errors,
            subscriptions,
            subscription_count,
        } = link.inspect(now, SUBSCRIPTIONS_MAX);
        let (rtt, jitter) = latency.unzip();
        let error_count = errors.as_ref().map_or(0, |errors| errors.total());
        let health = Level::of(
            late.into(),
            rtt.map(micros),
            jitter.map_or(0, micros),
            permille(error_count, counts.messages_in),
        );
        Self {
            id: link.id.to_string(),
            session: session.map(|session| session.to_string()),
            user,
            ip: link.peer.ip().to_canonical(),
            mode: match link.mode {
                Mode::Bowline => bowline_proto::SUBPROTOCOL,
                Mode::Plain => "plain",
            },
            client: client.map(|client| Client {
                name: client.name.to_string(),
                version: client.version.as_deref().map(str::to_owned),
            }),
            connected_at: rfc3339(node.clock, link.opened),
            last_seen: rfc3339(node.clock, last_seen),
            rtt_ms: rtt.map(millis),
            jitter_ms: jitter.map(millis),
            messages_in: counts.messages_in,
            messages_out: counts.messages_out,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            queue_bytes: queue_bytes as u64,
            subscriptions: subscriptions
                .into_iter()
                .map(|(channel, cursor)| {
                    // Only here, where the link's lock is not held: channels' locks come first.
                    let head = channel.with_tail(|tail| tail.head());
                    Subscription {
                        channel: channel.name().clone(),
                        offset: cursor.last(),
                        lag: head.saturating_sub(cursor.last()),
                        live: !cursor.is_catching_up(),
                    }
                })
                .collect(),
            subscription_count: subscription_count as u64,
            health: health.into(),
            error_count,
            errors: errors
                .iter()
                .flat_map(|errors| errors.iter())
                .map(|(at, code)| RecentError {
                    at: rfc3339(node.clock, at),
                    code: code.as_str(),
                })
                .collect(),
        }
    }
}

impl From<Level> for Health {
    fn from(level: Level) -> Self {
        match level {
            Level::Dead => Self::Dead,
            Level::Poor => Self::Poor,
            Level::Fair => Self::Fair,
            Level::Good => Self::Good,
            Level::Excellent => Self::Excellent,
        }
    }
}

fn permille(errors: u64, messages: u64) -> u32 {
    let permille = errors.saturating_mul(1_000) / messages.max(ERROR_SAMPLE);
    u32::try_from(permille).unwrap_or(u32::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
