//! `GET /api/channels/{channel}/presence?limit=`: who follows a channel on this node.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use bowline_proto::Code;

use super::{
    HttpApi,
    error::{ApiError, json_response},
    query::{Question, segment},
};
use crate::{Operation, presence::Presence};

/// Who follows the channel on this node.
#[utoipa::path(
    get, path = "/api/channels/{channel}/presence", tag = "channels",
    params(
        ("channel" = String, Path, description = "The channel's name, percent-encoded."),
        ("limit" = Option<u64>, Query,
            description = "The most users by name (default and at most 1,000)."),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "Who is there.", body = Presence)),
)]
pub(super) async fn presence(
    State(api): State<HttpApi>,
    channel: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let identity = api.identify(&parts).await?;
    let channel = segment(channel, &parts.uri)?;
    api.check_channel(&channel)?;
    api.may(&identity, Operation::Presence, &channel).await?;
    let limit = Question::of(&parts.uri)?.number("limit", 0)?;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let presence = Presence::of(&api.node, &channel, limit).await;
    let body = serde_json::to_vec(&presence).map_err(|_| ApiError::from(Code::Internal))?;
    Ok(json_response(StatusCode::OK, body))
}
