//! A page of a channel's history, for WebSocket and HTTP alike.
//!
//! Owns the reading of one consistent page: the channel is looked at and then read, and what
//! retention does between the two looks is told. Must not know who asks, nor how positions are
//! judged (that is `proto`).

use std::sync::Arc;

use bowline_engine::{Engine, PageLimit, ReadError};
use bowline_proto::{
    Data, Position, Publication,
    codec::history_data,
    recovery::{ChannelState, From, recover},
};

/// The publications in an answer where nobody says how many (PROTOCOL.md, "history").
pub(crate) const HISTORY_DEFAULT: usize = 100;

/// The most publications in an answer; a greater `limit` is taken for this one.
pub(crate) const HISTORY_MAX: usize = 1_000;

/// How often a page is read again because retention overtook it; then it is a gap.
const READS_MAX: usize = 3;

/// The data of the answer to `history`.
///
/// # Errors
/// The log can't be read now.
pub(crate) async fn read_history(
    engine: &dyn Engine,
    channel: &str,
    from: From,
    limit: PageLimit,
) -> Result<Data, ReadError> {
    let mut reads = 0;
    loop {
        reads += 1;
        let state = engine.channel(channel).await?;
        let recovery = recover(from, &state, engine.clock());
        let (ChannelState::Present(record), Some(start)) = (state, recovery.position) else {
            let none: [Arc<Publication>; 0] = [];
            return Ok(history_data(channel, 0, &none, &recovery, false));
        };
        let page = engine.read(channel, start.offset, limit).await?;
        // Forgotten, recreated or trimmed between the two looks: look again.
        let page = page.filter(|page| page.epoch == record.epoch);
        let trimmed = page
            .as_ref()
            .is_none_or(|page| page.floor > start.offset + 1);
        if trimmed && reads < READS_MAX {
            continue;
        }
        let page = page.ok_or(ReadError::StorageUnavailable)?;
        let mut recovery = if trimmed {
            recovery.overtaken()
        } else {
            recovery
        };
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

#[cfg(test)]
mod tests;
