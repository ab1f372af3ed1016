//! Records: what changed, one after the other in a frame.
//!
//! Owns their bytes. Names and texts are left as bytes: whoever serves them checks them.

use super::varint::{self, Cursor};
use crate::contract::SessionKey;

const CREATE: u8 = 1;
const PUBLISH: u8 = 2;
const ADVANCE: u8 = 3;
const END_SESSION: u8 = 4;
const FLOOR: u8 = 5;
const FORGET: u8 = 6;
const GONE: u8 = 7;
const KEY: u8 = 8;
const TIME: u8 = 9;
const TERM: u8 = 10;
const CLOSE: u8 = 11;
const END: u8 = 12;

const IS_BINARY: u8 = 1;
const HAS_USER: u8 = 2;
const HAS_TAG: u8 = 4;
const HAS_SESSION: u8 = 8;
const HAS_KEY: u8 = 16;
const HAS_FLOOR: u8 = 32;
const FLAGS: u8 = 63;

/// Ends each publish record, so that it can be checked without the rest of its frame.
const CHECKSUM_BYTES: usize = 4;

/// A channel record's place in tables, and which of those that had the place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The first 16 bytes of SHA-256 over a channel's name and an idempotency key.
pub(crate) type KeyId = [u8; 16];

/// The position of a key's publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPosition {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) term: u32,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A channel record begins, in place of any other with its name or slot.
    Create {
        id: ChannelId,
        epoch: u64,
        name: &'a [u8],
    },
    /// A publication, with its session's number and its key.
    Publish(Publish<'a>),
    /// A session's number, without a message.
    Advance { session: SessionKey, seq: u64 },
    /// A session is forgotten.
    EndSession { session: SessionKey },
    /// What is below is no longer history.
    Floor { id: ChannelId, floor: u64 },
    /// The channel record ends.
    Forget { id: ChannelId },
    /// Publications up to `last` were here and are no longer history; that one had this term.
    Gone { id: ChannelId, last: u64, term: u32 },
    /// A key whose publication is not beside it.
    Key {
        key: KeyId,
        body: u64,
        position: Option<KeyPosition>,
    },
    /// The time of the records that follow in this frame.
    Time { time_ms: u64 },
    /// The term of the publications that follow in this frame.
    Term { term: u32 },
    /// The log was closed in order: nothing follows in this file.
    Close,
    /// The end of a rewritten segment.
    End,
}

/// A publication as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) id: ChannelId,
    pub(crate) offset: u64,
    /// The channel's floor from here on, where this publication moved it.
    pub(crate) floor: Option<u64>,
    pub(crate) is_binary: bool,
    pub(crate) data: &'a [u8],
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) tag: Option<&'a [u8]>,
    pub(crate) session: Option<(SessionKey, u64)>,
    /// The key and the digest of the publication's body.
    pub(crate) key: Option<(KeyId, u64)>,
}

impl Publish<'_> {
    /// As every bound counts it.
    pub(crate) fn size(&self) -> u64 {
        let text = |text: Option<&[u8]>| text.map_or(0, <[u8]>::len);
        (self.data.len() + text(self.user) + text(self.tag)) as u64
    }

    fn flags(&self) -> u8 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.is_binary, IS_BINARY)
            | flag(self.user.is_some(), HAS_USER)
            | flag(self.tag.is_some(), HAS_TAG)
            | flag(self.session.is_some(), HAS_SESSION)
            | flag(self.key.is_some(), HAS_KEY)
            | flag(self.floor.is_some(), HAS_FLOOR)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[PUBLISH, self.flags()]);
        put_id(out, self.id);
        varint::put(out, self.offset);
        if let Some(floor) = self.floor {
            // Close to the offset, so as a distance it is short.
            varint::put(out, self.offset - floor);
        }
        if let Some((session, seq)) = self.session {
            out.extend_from_slice(&session.0);
            varint::put(out, seq);
        }
        if let Some((key, body)) = self.key {
            out.extend_from_slice(&key);
            out.extend_from_slice(&body.to_le_bytes());
        }
        varint::put(out, self.data.len() as u64);
        let texts = [self.user, self.tag];
        for text in texts.into_iter().flatten() {
            varint::put(out, text.len() as u64);
        }
        out.extend_from_slice(self.data);
        for text in texts.into_iter().flatten() {
            out.extend_from_slice(text);
        }
        let crc = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

impl<'a> Publish<'a> {
    /// The record that fills these bytes, if its own checksum holds.
    pub(crate) fn decode_alone(bytes: &'a [u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut cursor = Cursor(bytes);
        match Record::decode(&mut cursor)? {
            Record::Publish(publish) if cursor.0.is_empty() => Some(publish),
            _ => None,
        }
    }

    fn decode(cursor: &mut Cursor<'a>) -> Option<Self> {
        let flags = cursor.byte().filter(|flags| flags & !FLAGS == 0)?;
        let has = |flag| flags & flag != 0;
        let id = take_id(cursor)?;
        let offset = cursor.number()?;
        let floor = if has(HAS_FLOOR) {
            Some(offset.checked_sub(cursor.number()?)?)
        } else {
            None
        };
        let session = if has(HAS_SESSION) {
            Some((SessionKey(cursor.array()?), cursor.number()?))
        } else {
            None
        };
        let key = if has(HAS_KEY) {
            Some((cursor.array()?, cursor.u64()?))
        } else {
            None
        };
        let length =
            |cursor: &mut Cursor<'a>| cursor.number().and_then(|n| usize::try_from(n).ok());
        let data = length(cursor)?;
        let user = if has(HAS_USER) {
            Some(length(cursor)?)
        } else {
            None
        };
        let tag = if has(HAS_TAG) {
            Some(length(cursor)?)
        } else {
            None
        };
        let mut text = |length: Option<usize>| match length {
            Some(length) => cursor.take(length).map(Some),
            None => Some(None),
        };
        let publish = Self {
            id,
            offset,
            floor,
            is_binary: has(IS_BINARY),
            data: text(Some(data))??,
            user: text(user)?,
            tag: text(tag)?,
            session,
            key,
        };
        // Covered by the frame's checksum as well; by itself it is checked when it is read alone.
        cursor.take(CHECKSUM_BYTES)?;
        Some(publish)
    }
}

impl<'a> Record<'a> {
    /// Appends the record's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Create { id, epoch, name } => {
                out.push(CREATE);
                put_id(out, id);
                out.extend_from_slice(&epoch.to_le_bytes());
                varint::put(out, name.len() as u64);
                out.extend_from_slice(name);
            }
            Self::Publish(publish) => publish.encode(out),
            Self::Advance { session, seq } => {
                out.push(ADVANCE);
                out.extend_from_slice(&session.0);
                varint::put(out, seq);
            }
            Self::EndSession { session } => {
                out.push(END_SESSION);
                out.extend_from_slice(&session.0);
            }
            Self::Floor { id, floor } => {
                out.push(FLOOR);
                put_id(out, id);
                varint::put(out, floor);
            }
            Self::Forget { id } => {
                out.push(FORGET);
                put_id(out, id);
            }
            Self::Gone { id, last, term } => {
                out.push(GONE);
                put_id(out, id);
                varint::put(out, last);
                out.extend_from_slice(&term.to_le_bytes());
            }
            Self::Key {
                key,
                body,
                position,
            } => {
                out.push(KEY);
                out.extend_from_slice(&key);
                out.extend_from_slice(&body.to_le_bytes());
                out.push(u8::from(position.is_some()));
                if let Some(position) = position {
                    out.extend_from_slice(&position.epoch.to_le_bytes());
                    varint::put(out, position.offset);
                    out.extend_from_slice(&position.term.to_le_bytes());
                }
            }
            Self::Time { time_ms } => {
                out.push(TIME);
                out.extend_from_slice(&time_ms.to_le_bytes());
            }
            Self::Term { term } => {
                out.push(TERM);
                out.extend_from_slice(&term.to_le_bytes());
            }
            Self::Close => out.push(CLOSE),
            Self::End => out.push(END),
        }
    }

    /// Takes the next record, or none where the bytes are none.
    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> Option<Self> {
        Some(match cursor.byte()? {
            CREATE => {
                let id = take_id(cursor)?;
                let epoch = cursor.u64()?;
                let length = usize::try_from(cursor.number()?).ok()?;
                let name = cursor.take(length)?;
                Self::Create { id, epoch, name }
            }
            PUBLISH => Self::Publish(Publish::decode(cursor)?),
            ADVANCE => Self::Advance {
                session: SessionKey(cursor.array()?),
                seq: cursor.number()?,
            },
            END_SESSION => Self::EndSession {
                session: SessionKey(cursor.array()?),
            },
            FLOOR => Self::Floor {
                id: take_id(cursor)?,
                floor: cursor.number()?,
            },
            FORGET => Self::Forget {
                id: take_id(cursor)?,
            },
            GONE => Self::Gone {
                id: take_id(cursor)?,
                last: cursor.number()?,
                term: cursor.u32()?,
            },
            KEY => Self::Key {
                key: cursor.array()?,
                body: cursor.u64()?,
                position: match cursor.byte()? {
                    0 => None,
                    1 => Some(KeyPosition {
                        epoch: cursor.u64()?,
                        offset: cursor.number()?,
                        term: cursor.u32()?,
                    }),
                    _ => return None,
                },
            },
            TIME => Self::Time {
                time_ms: cursor.u64()?,
            },
            TERM => Self::Term {
                term: cursor.u32()?,
            },
            CLOSE => Self::Close,
            END => Self::End,
            _ => return None,
        })
    }
}

pub(super) fn put_id(out: &mut Vec<u8>, id: ChannelId) {
    varint::put(out, id.slot.into());
    varint::put(out, id.generation.into());
}

pub(super) fn take_id(cursor: &mut Cursor<'_>) -> Option<ChannelId> {
    Some(ChannelId {
        slot: u32::try_from(cursor.number()?).ok()?,
        generation: u32::try_from(cursor.number()?).ok()?,
    })
}

#[cfg(test)]
mod tests;
