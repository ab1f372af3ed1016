//! `GET /api/channels/{channel}/history?after=&limit=`: pages of a channel's log.
//!
//! Owns the question and its bounds. Must not know how a page is read.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use bowline_engine::PageLimit;
use bowline_proto::{Code, recovery::From};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    HttpApi,
    error::{ApiError, json_response},
    intake::Place,
    query::{Question, segment},
};
use crate::{Operation, history::read_history};

/// A page of history.
#[derive(Serialize, ToSchema)]
struct HistoryPage {
    channel: String,
    publications: Vec<HistoryEntry>,
    /// Where this page leaves the reader: the next one is `after` this.
    position: Option<String>,
    /// Whether nothing is missing behind `after`.
    recovered: bool,
    /// Why something is, or `new`.
    reason: Option<String>,
    /// Whether there is more behind `position`.
    more: bool,
}

/// A publication.
#[derive(Serialize, ToSchema)]
struct HistoryEntry {
    position: String,
    /// JSON; else `data_b64` is there.
    data: Option<serde_json::Value>,
    /// Bytes in base64.
    data_b64: Option<String>,
    user: Option<String>,
    tag: Option<String>,
}

/// Pages of a channel's log.
#[utoipa::path(
    get, path = "/api/channels/{channel}/history", tag = "channels",
    params(
        ("channel" = String, Path, description = "The channel's name, percent-encoded."),
        ("after" = Option<String>, Query,
            description = "The position that the page follows; without it the newest are answered, \
                as many as the bytes of a page allow."),
        ("limit" = Option<u64>, Query,
            description = "The most publications (default 100; more than 1,000 are 1,000). Those that \
                have too many bytes for a page are left out: the newest with `after`, where `more` says \
                so, else the oldest.",
            minimum = 1),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses((status = 200, description = "A page.", body = HistoryPage)),
)]
pub(super) async fn history(
    State(api): State<HttpApi>,
    channel: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let identity = api.identify(&parts).await?;
    let channel = segment(channel, &parts.uri)?;
    api.check_channel(&channel)?;
    api.may(&identity, Operation::History, &channel).await?;
    let asked = Question::of(&parts.uri)?;
    let limit = asked.limit()?;
    let from = match asked.text("after")?.map(str::parse) {
        None => From::Last(limit as u64),
        Some(Ok(position)) => From::After(position),
        Some(Err(_)) => return Err(Code::BadPosition.into()),
    };
    let limit = PageLimit {
        count: limit,
        bytes: api.config.history_bytes_max,
    };
    let place = api.pages.take(identity.role)?;
    let data = read_history(&*api.engine, &channel, from, limit).await?;
    let page = Bytes::from_owner(Unwritten {
        page: data.bytes().clone(),
        _place: place,
    });
    Ok(json_response(StatusCode::OK, page))
}

/// A page, which holds its place until the socket has taken it.
struct Unwritten {
    page: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}
