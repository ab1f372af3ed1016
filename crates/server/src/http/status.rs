//! `/health/live`, `/health/ready` and `/ws/stats`: what the server says of itself.
//!
//! Owns who may see it and its outer shape. Must not know what is counted.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bowline_engine::{EngineHealth, EngineStats};
use bowline_proto::Code;
use serde_json::{Map, Value};

use super::{
    HttpApi,
    error::{ApiError, json_response},
};

/// The process runs and answers: a restart would not help.
pub(super) async fn live() -> Response {
    json_response(StatusCode::OK, r#"{"status":"live"}"#)
}

/// New work may come here.
pub(super) async fn ready(State(api): State<HttpApi>) -> Result<Response, ApiError> {
    api.vitals.readiness()?;
    match api.engine.health() {
        EngineHealth::Ready => Ok(json_response(StatusCode::OK, r#"{"status":"ready"}"#)),
        EngineHealth::Refusing(reason) => Err(ApiError::new(
            Code::StorageUnavailable,
            format!("The engine takes no messages: {reason}."),
        )),
    }
}

/// The server's own counts with the engine's under `engine`; for backends only, since channels and
/// traffic are the application's business.
pub(super) async fn stats(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    if !api.identify(&parts).await?.role.is_backend() {
        return Err(Code::Forbidden.into());
    }
    let mut stats = api.vitals.stats();
    stats.insert(
        "engine".to_owned(),
        engine_stats(&api.engine.stats()).into(),
    );
    Ok(json_response(
        StatusCode::OK,
        Value::from(stats).to_string(),
    ))
}

fn engine_stats(stats: &EngineStats) -> Map<String, Value> {
    let counts = [
        ("channels", stats.channels),
        ("messages", stats.messages),
        ("bytes", stats.bytes),
        ("sessions", stats.sessions),
        ("keys", stats.keys),
        ("appended", stats.appended),
        ("session_duplicates", stats.session_duplicates),
        ("key_duplicates", stats.key_duplicates),
        ("failed", stats.failed),
        ("keys_evicted", stats.keys_evicted),
    ];
    counts
        .iter()
        .chain(&stats.details)
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect()
}
