//! `GET /api/channels/{channel}/history?after=&limit=`: pages of a channel's log.
//!
//! Owns the reading of one consistent page. Must not know how positions are judged (that is
//! `proto`), nor how the log is kept.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use bowline_engine::PageLimit;
use bowline_proto::{
    Code, Data, Position, Publication,
    codec::history_data,
    recovery::{ChannelState, From, Recovery, RecoveryReason, recover},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    HttpApi,
    error::{ApiError, json_response},
    query::Question,
};
use crate::Operation;

/// How often a page is read again because retention overtook it; then it is a gap.
const READS_MAX: usize = 3;

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
            description = "The position that the page follows; without it the newest are answered."),
        ("limit" = Option<u64>, Query,
            description = "The most publications (default 100; more than 1,000 are 1,000).",
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
    let Path(channel) = channel.map_err(|_| ApiError::from(Code::BadChannel))?;
    api.check_channel(&channel)?;
    api.may(&identity, Operation::History, &channel).await?;
    let asked = Question::of(&parts)?;
    let limit = asked.limit()?;
    let from = match asked.text("after")?.map(str::parse) {
        None => From::Last(limit as u64),
        Some(Ok(position)) => From::After(position),
        Some(Err(_)) => return Err(Code::BadPosition.into()),
    };
    let data = api.page(&channel, from, limit).await?;
    Ok(json_response(StatusCode::OK, data.bytes().clone()))
}

impl HttpApi {
    async fn page(&self, channel: &str, from: From, count: usize) -> Result<Data, ApiError> {
        let limit = PageLimit {
            count,
            bytes: self.config.history_bytes_max,
        };
        let mut reads = 0;
        loop {
            reads += 1;
            let state = self.engine.channel(channel).await?;
            let mut recovery = recover(from, &state, self.engine.clock());
            let (ChannelState::Present(record), Some(start)) = (state, recovery.position) else {
                let none: [Arc<Publication>; 0] = [];
                return Ok(history_data(channel, 0, &none, &recovery, false));
            };
            let page = self.engine.read(channel, start.offset, limit).await?;
            // Forgotten, recreated or trimmed between the two looks: look again.
            let page = page.filter(|page| page.epoch == record.epoch);
            let trimmed = page
                .as_ref()
                .is_none_or(|page| page.floor > start.offset + 1);
            if trimmed && reads < READS_MAX {
                continue;
            }
            let Some(page) = page else {
                return Err(ApiError::from(Code::StorageUnavailable));
            };
            if trimmed {
                mark_gap(&mut recovery);
            }
            let reached = page
                .publications
                .last()
                .and_then(|publication| publication.position(page.epoch));
            let offset = reached.map_or(start.offset, |position: Position| position.offset);
            recovery.position = reached.or(recovery.position);
            let more = offset < page.head;
            let publications = &page.publications;
            return Ok(history_data(
                channel,
                page.epoch,
                publications,
                &recovery,
                more,
            ));
        }
    }
}

/// Who asked for a position is told that history no longer reaches back; who asked for the newest
/// has them.
fn mark_gap(recovery: &mut Recovery) {
    if recovery.reason != Some(RecoveryReason::New) {
        recovery.recovered = false;
        recovery.reason.get_or_insert(RecoveryReason::Expired);
    }
}
