//! A page of a channel's history, for WebSocket and HTTP alike.
//!
//! Owns the reading of one consistent page: the channel is looked at and then read, and what
//! retention does between the two looks is told. Must not know who asks, nor how positions are
//! judged (that is `proto`).

use std::{ops::Range, sync::Arc};

use bowline_engine::{Engine, Page, PageLimit, ReadError};
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
        let (after, page) = match from {
            From::Last(_) => newest(engine, channel, start.offset..record.head, limit).await?,
            _ => (
                start.offset,
                engine.read(channel, start.offset, limit).await?,
            ),
        };
        // Forgotten, recreated or trimmed between the two looks: look again.
        let page = page.filter(|page| page.epoch == record.epoch);
        let trimmed = page.as_ref().is_none_or(|page| page.floor > after + 1);
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
        let offset = reached.map_or(after, |position: Position| position.offset);
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

/// The longest page within the limit that goes on to the head, which is the end of the range, with
/// what it follows, which is in the range.
///
/// The engine reads forwards. So where the bytes do not suffice for all, the place is searched by
/// halves: among [`HISTORY_MAX`] that is ten pages more, and mostly none.
async fn newest(
    engine: &dyn Engine,
    channel: &str,
    range: Range<u64>,
    limit: PageLimit,
) -> Result<(u64, Option<Page>), ReadError> {
    let Range {
        start: mut after,
        end: head,
    } = range;
    let is_cut = |page: &Option<Page>| {
        let last = page.as_ref().and_then(|page| page.publications.last());
        last.is_some_and(|last| last.offset < head)
    };
    let mut page = engine.read(channel, after, limit).await?;
    if is_cut(&page) {
        // One publication always fits.
        let mut enough = head - 1;
        after += 1;
        while after < enough {
            let middle = after.midpoint(enough);
            if is_cut(&engine.read(channel, middle, limit).await?) {
                after = middle + 1;
            } else {
                enough = middle;
            }
        }
        page = engine.read(channel, after, limit).await?;
    }
    Ok((after, page))
}

#[cfg(test)]
mod tests;
