//! `/health/live` and `/health/ready`: whether a restart would help, and whether work may come.

use axum::{extract::State, http::StatusCode, response::Response};
use bowline_engine::EngineHealth;
use bowline_proto::Code;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    HttpApi,
    error::{ApiError, json_response},
};

/// How the server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// `live` or `ready`.
    status: &'static str,
}

/// The process runs and answers: a restart would not help.
#[utoipa::path(
    get, path = "/health/live", tag = "health", security(()),
    responses((status = 200, description = "The process answers.", body = Status)),
)]
pub(super) async fn live() -> Response {
    json_response(StatusCode::OK, r#"{"status":"live"}"#)
}

/// New work may come here.
#[utoipa::path(
    get, path = "/health/ready", tag = "health", security(()),
    responses((status = 200, description = "New work may come.", body = Status)),
)]
pub(super) async fn ready(State(api): State<HttpApi>) -> Result<Response, ApiError> {
    if api.node.is_draining() {
        return Err(Code::Draining.into());
    }
    match api.engine.health() {
        EngineHealth::Ready => Ok(json_response(StatusCode::OK, r#"{"status":"ready"}"#)),
        EngineHealth::Refusing(reason) => Err(ApiError::new(
            Code::StorageUnavailable,
            format!("The engine takes no messages: {reason}."),
        )),
    }
}
