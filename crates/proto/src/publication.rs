//! What a channel carries: a publication and its payload.
//!
//! Owns the data as it travels between log, hub and codec. Must not know frames or sockets.

use std::sync::Arc;

use bytes::Bytes;

use crate::position::Position;

/// The payload of a publication, of a `send` or of a `reply`: JSON text that passes through
/// unparsed, or raw bytes. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// One JSON value, without LF or CR outside or inside it (the codec sees to that on intake).
    Json(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Data {
    /// Its length in bytes, as the message limit counts it.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether it has no bytes; JSON never is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The bytes, whichever kind they are.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// One message of a channel, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// From 1, rising by 1 within an epoch; 0 on a channel without history.
    pub offset: u64,
    /// The opening of the log under which it was written.
    pub term: u32,
    /// What the publisher sent.
    pub data: Data,
    /// The user who published it, where it came from a client with a verified user.
    pub user: Option<Arc<str>>,
    /// The publisher's own mark, echoed in `message`.
    pub tag: Option<Arc<str>>,
}

impl Publication {
    /// Its place in the channel record with this epoch; none on a channel without history.
    pub fn position(&self, epoch: u64) -> Option<Position> {
        (self.offset > 0).then_some(Position {
            epoch,
            offset: self.offset,
            term: self.term,
        })
    }

    /// The place just before it, where a subscription stands after a gap: the term of a publication
    /// vouches for that place as well. None on a channel without history.
    pub fn position_before(&self, epoch: u64) -> Option<Position> {
        let at = self.position(epoch)?;
        Some(Position {
            offset: at.offset - 1,
            ..at
        })
    }
}
