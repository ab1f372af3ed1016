//! What the people and programs who run the server ask for: statistics, metrics, cleaning up,
//! disconnecting.
//!
//! Owns who may ask and the forms of questions. Must not know what is counted or removed.

use std::{fmt, net::IpAddr, time::Duration};

use axum::{
    extract::{Query, Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bowline_engine::SessionKey;
use bowline_proto::Code;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    HttpApi,
    error::{ApiError, json_response},
};
use crate::{
    cleanup::{Removed, Target},
    limits::{AddressKey, RateLimits},
    stats::{Connections, Filter, Stats, exposition},
};

/// Entries of a page where the question does not say.
const LIMIT_DEFAULT: usize = 100;
/// A greater `limit` is taken for this one.
const LIMIT_MAX: usize = 1_000;
/// The media type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which connections.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DetailedQuery {
    /// Only connections with a greater id: `next` of the page before.
    #[param(minimum = 0)]
    after: Option<u64>,
    /// The most connections of the page (default 100, at most 1,000).
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// Only those of this user.
    user: Option<String>,
    /// Only those from this address.
    #[param(value_type = Option<String>, format = "ip")]
    ip: Option<IpAddr>,
    /// Only those that follow this channel.
    channel: Option<String>,
}

/// Which addresses.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RateLimitQuery {
    /// Only addresses behind this one: `next` of the page before.
    #[param(value_type = Option<String>, format = "ip")]
    after: Option<IpAddr>,
    /// The most addresses of the page (default 100, at most 1,000).
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// Only the one to which this address belongs.
    #[param(value_type = Option<String>, format = "ip")]
    ip: Option<IpAddr>,
}

/// What counts as stale.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CleanupQuery {
    /// Connections from which nothing came for so many milliseconds (default: `ping_interval` and
    /// `pong_timeout` together).
    #[param(minimum = 0)]
    silent_ms: Option<u64>,
}

/// Whom to disconnect: exactly one of the three.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    /// All connections of this user.
    user: Option<String>,
    /// The connection that holds this session, as `/ws/stats/detailed` shows it.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    session: Option<String>,
    /// This connection.
    #[schema(pattern = "^[0-9]{1,19}$")]
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
    json(&Stats::of(&api.node))
}

/// Connections one by one, in the order of their ids.
#[utoipa::path(
    get, path = "/ws/stats/detailed", tag = "statistics",
    params(DetailedQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of connections.", body = Connections)),
)]
pub(super) async fn detailed(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked: DetailedQuery = query(&parts)?;
    let filter = Filter {
        after: asked.after.unwrap_or(0),
        limit: limit(asked.limit)?,
        user: asked.user,
        ip: asked.ip,
        channel: asked.channel,
    };
    json(&Connections::of(&api.node, &filter))
}

/// What the limits count for each address (IPv6: a /64).
#[utoipa::path(
    get, path = "/ws/stats/rate-limit", tag = "statistics",
    params(RateLimitQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of addresses.", body = RateLimits)),
)]
pub(super) async fn rate_limit(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked: RateLimitQuery = query(&parts)?;
    let [after, only] = [asked.after, asked.ip].map(|ip| ip.map(AddressKey::new));
    json(&api.node.limits.report(after, only, limit(asked.limit)?))
}

/// Ends stale connections and forgets expired sessions now.
#[utoipa::path(
    post, path = "/ws/cleanup", tag = "operation",
    params(CleanupQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "What was removed.", body = Removed)),
)]
pub(super) async fn cleanup(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    api.admin(&parts).await?;
    let asked: CleanupQuery = query(&parts)?;
    let config = &api.config;
    let silence = asked.silent_ms.map(Duration::from_millis);
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
    api.backend(&parts).await?;
    let (body, _place) = api.body(&parts.headers, body).await?;
    let asked: DisconnectRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::new(Code::Malformed, format!("The body can't be read: {error}."))
    })?;
    let target = asked.target()?;
    let disconnected = api.node.disconnect(&target).await;
    tracing::info!(?target, disconnected, "disconnected");
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
    Ok((headers, exposition(&api.node)).into_response())
}

impl DisconnectRequest {
    fn target(self) -> Result<Target, ApiError> {
        let malformed = |text: &'static str| ApiError::new(Code::Malformed, text);
        match (self.user, self.session, self.connection) {
            (Some(user), None, None) => Ok(Target::User(user)),
            (None, Some(text), None) => session(&text)
                .map(Target::Session)
                .ok_or_else(|| malformed("session must be 32 hexadecimal digits.")),
            (None, None, Some(text)) => text
                .parse()
                .map(Target::Connection)
                .map_err(|_| malformed("connection must be the id of one.")),
            _ => Err(malformed(
                "Exactly one of user, session and connection is needed.",
            )),
        }
    }
}

/// The digest in the form in which it is shown.
fn session(text: &str) -> Option<SessionKey> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(SessionKey(key.to_be_bytes()))
}

fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked {
        Some(0) => Err(ApiError::new(Code::Malformed, "limit must be at least 1.")),
        asked => Ok(asked.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX)),
    }
}

pub(super) fn query<Q: DeserializeOwned>(parts: &Parts) -> Result<Q, ApiError> {
    let told = |error: &dyn fmt::Display| {
        ApiError::new(
            Code::Malformed,
            format!("The query can't be read: {error}."),
        )
    };
    let read = Query::<Q>::try_from_uri(&parts.uri);
    read.map(|Query(asked)| asked).map_err(|error| told(&error))
}

fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|_| ApiError::from(Code::Internal))?;
    Ok(json_response(StatusCode::OK, body))
}
