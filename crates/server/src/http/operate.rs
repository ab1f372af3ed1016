//! What the people and programs who run the server ask for: statistics, metrics, cleaning up,
//! disconnecting.
//!
//! Owns who may ask and the forms of questions. Must not know what is counted or removed.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bowline_engine::SessionKey;
use bowline_proto::Code;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    HttpApi,
    error::{ApiError, json_response},
    query::Question,
};
use crate::{
    cleanup::{Removed, Target},
    limits::{AddressKey, RateLimits},
    stats::{Connections, Filter, Stats, exposition},
};

/// What an address has to be.
const ADDRESS: &str = "must be an IP address";
/// What the body of a `POST /api/disconnect` has to be; serde's own words for `{}` say nothing of it.
const ONE_OF_THREE: &str =
    "The body must be a JSON object with exactly one of user, session and connection, a string.";
/// The media type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whom to disconnect: exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DisconnectRequest {
    /// All connections of this user.
    user: Option<String>,
    /// The connection that holds this session, as `/ws/stats/detailed` shows it.
    session: Option<String>,
    /// This connection.
    connection: Option<String>,
}

/// How many connections were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Disconnected {
    disconnected: u64,
}

/// The server's own counts with the engine's under `engine`; for backends only, since channels and
/// traffic are the application's business.
#[utoipa::path(
    get, path = "/ws/stats", tag = "statistics",
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "The server as a whole.", body = Stats)),
)]
pub(super) async fn stats(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.backend(&parts).await?;
    json(&Stats::of(&api.node).await)
}

/// Connections one by one, in the order of their ids.
#[utoipa::path(
    get, path = "/ws/stats/detailed", tag = "statistics",
    params(
        ("after" = Option<u64>, Query,
            description = "Only connections with a greater id: `next` of the page before."),
        ("limit" = Option<u64>, Query,
            description = "The most connections of the page (default 100, at most 1,000).",
            minimum = 1),
        ("user" = Option<String>, Query, description = "Only those of this user."),
        ("ip" = Option<String>, Query, description = "Only those from this address."),
        ("channel" = Option<String>, Query,
            description = "Only those that follow this channel."),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "A page of connections.", body = Connections)),
)]
pub(super) async fn detailed(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked = Question::of(&parts.uri)?;
    let channel = asked.text("channel")?;
    channel.map_or(Ok(()), |channel| api.check_channel(channel))?;
    let filter = Filter {
        after: asked.number("after", 0)?.unwrap_or(0),
        limit: asked.limit()?,
        user: asked.text("user")?.map(str::to_owned),
        ip: asked.parsed("ip", ADDRESS)?,
        channel: channel.map(str::to_owned),
    };
    json(&Connections::of(&api.node, &filter).await)
}

/// What the limits count for each address (IPv6: a /64).
#[utoipa::path(
    get, path = "/ws/stats/rate-limit", tag = "statistics",
    params(
        ("after" = Option<String>, Query,
            description = "Only addresses behind this one: `next` of the page before."),
        ("limit" = Option<u64>, Query,
            description = "The most addresses of the page (default 100, at most 1,000).",
            minimum = 1),
        ("ip" = Option<String>, Query,
            description = "Only the one to which this address belongs."),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "A page of addresses.", body = RateLimits)),
)]
pub(super) async fn rate_limit(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked = Question::of(&parts.uri)?;
    let key = |name| {
        let ip = asked.parsed(name, ADDRESS)?;
        Ok::<_, ApiError>(ip.map(AddressKey::new))
    };
    let (after, only) = (key("after")?, key("ip")?);
    json(&api.node.limits.report(after, only, asked.limit()?))
}

/// Ends stale connections and forgets expired sessions now.
#[utoipa::path(
    post, path = "/ws/cleanup", tag = "operation",
    params(
        ("silent_ms" = Option<u64>, Query,
            description = "Connections from which nothing came for so long are stale (default: \
                ping_interval and pong_timeout together)."),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "What was removed.", body = Removed)),
)]
pub(super) async fn cleanup(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked = Question::of(&parts.uri)?;
    let config = &api.config;
    let silence = asked.number("silent_ms", 0)?.map(Duration::from_millis);
    let silence = silence.unwrap_or(config.ping_interval + config.pong_timeout);
    let removed = api.node.clean_up(silence).await?;
    tracing::info!(?removed, "cleaned up");
    json(&removed)
}

/// Ends connections; their clients are told `disconnected` and do not come back by themselves.
#[utoipa::path(
    post, path = "/api/disconnect", tag = "operation",
    request_body = DisconnectRequest,
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "How many there were.", body = Disconnected)),
)]
pub(super) async fn disconnect(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let role = api.backend(&parts).await?;
    let (body, _place) = api.body(role, &parts.headers, body).await?;
    // serde would take an array for a struct, its elements for the fields in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let asked = is_object.then(|| serde_json::from_slice::<DisconnectRequest>(&body).ok());
    let asked = asked.flatten();
    let target = asked.map_or(Err(malformed(ONE_OF_THREE)), DisconnectRequest::target)?;
    let disconnected = api.node.disconnect(&target).await;
    // Under a name of their own each: `target` is the log's own, which says where a line comes from.
    match &target {
        Target::User(user) => tracing::info!(user, disconnected, "disconnected"),
        Target::Session(session) => tracing::info!(%session, disconnected, "disconnected"),
        Target::Connection(connection) => tracing::info!(connection, disconnected, "disconnected"),
    }
    json(&Disconnected { disconnected })
}

/// All metrics in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "statistics",
    security((), ("api_key" = []), ("bearer" = [])),
    responses((
        status = 200, description = "Prometheus' text format, version 0.0.4.",
        body = String, content_type = "text/plain",
    )),
)]
pub(super) async fn metrics(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    if !api.config.metrics_public {
        api.backend(&parts).await?;
    }
    let headers = [
        (header::CONTENT_TYPE, EXPOSITION),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, exposition(&api.node).await).into_response())
}

impl DisconnectRequest {
    fn target(self) -> Result<Target, ApiError> {
        match (self.user, self.session, self.connection) {
            (Some(user), None, None) => Ok(Target::User(user)),
            (None, Some(text), None) => session(&text)
                .map(Target::Session)
                .ok_or_else(|| malformed("session must be 32 hexadecimal digits.")),
            (None, None, Some(text)) => text
                .parse()
                .map(Target::Connection)
                .map_err(|_| malformed("connection must be the id of one.")),
            _ => Err(malformed(ONE_OF_THREE)),
        }
    }
}

fn malformed(text: &'static str) -> ApiError {
    ApiError::new(Code::Malformed, text)
}

/// The digest in the form in which it is shown.
fn session(text: &str) -> Option<SessionKey> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(SessionKey(key.to_be_bytes()))
}

fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::from(Code::Internal))?;
    Ok(json_response(StatusCode::OK, body))
}
