//! Hint files: what a sealed segment's records say, without their payloads.
//!
//! Owns their bytes, both ways, and what binds one to its segment. A hint is a copy: one that is
//! missing, of another segment or not as it was written is as good as none, and nothing is lost.

use super::{
    FORMAT_VERSION,
    header::{HEADER_BYTES, SegmentHeader},
    record::{Record, put_id, take_id},
    varint::{self, Cursor},
};
use crate::{contract::SessionKey, state::Stored};

/// Begins every hint file.
const MAGIC: [u8; 8] = *b"BOWLHNT\0";
/// So many bytes; the records follow.
pub(crate) const HINT_HEADER_BYTES: usize = 148;

/// A publication without its payload; the kinds of [`Record`] are below.
const STORED: u8 = 64;
const HAS_SESSION: u8 = 8;
const HAS_KEY: u8 = 16;
const HAS_FLOOR: u8 = 32;

/// What a hint says of its segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintHeader {
    pub(crate) segment: SegmentHeader,
    /// The segment's length, all of it frames.
    pub(crate) segment_bytes: u64,
    pub(crate) frames: u64,
    /// The number of the frame behind it.
    pub(crate) next_seq: u64,
    /// When its last frame was committed.
    pub(crate) time_ms: u64,
    /// Its last record says that the log was closed in order.
    pub(crate) is_closed: bool,
    body_bytes: u64,
    body_crc: u32,
}

/// A record of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Stored(Stored),
    Record(Record<'a>),
}

/// Collects a segment's records.
#[derive(Default)]
pub(crate) struct HintWriter {
    bytes: Vec<u8>,
    /// What holds for the next record.
    context: Option<(u64, u32)>,
    /// Where the last publication's record ended.
    end: u32,
}

/// Reads them back.
pub(crate) struct HintItems<'a> {
    cursor: Cursor<'a>,
    end: u32,
}

impl HintWriter {
    /// A frame begins: its time and its term hold for what follows.
    pub(crate) fn begin_frame(&mut self, time_ms: u64, term: u32) {
        if self.bytes.is_empty() {
            self.bytes.resize(HINT_HEADER_BYTES, 0);
        }
        if self.context.is_none_or(|(time, _)| time != time_ms) {
            Record::Time { time_ms }.encode(&mut self.bytes);
        }
        if self.context.is_none_or(|(_, before)| before != term) {
            Record::Term { term }.encode(&mut self.bytes);
        }
        self.context = Some((time_ms, term));
    }

    /// Adds a record that stands at a place.
    pub(crate) fn put(&mut self, record: &Record<'_>, place: (u32, u32)) {
        match record {
            Record::Publish(publish) => self.put_stored(&Stored::new(publish, place)),
            Record::Close | Record::End => {}
            _ => {
                let (time_ms, term) = self.context.unwrap_or_default();
                match *record {
                    Record::Time { time_ms } => self.context = Some((time_ms, term)),
                    Record::Term { term } => self.context = Some((time_ms, term)),
                    _ => {}
                }
                record.encode(&mut self.bytes);
            }
        }
    }

    /// The file.
    pub(crate) fn finish(
        mut self,
        segment: SegmentHeader,
        segment_bytes: u64,
        frames: u64,
        next_seq: u64,
        time_ms: u64,
        is_closed: bool,
    ) -> Vec<u8> {
        self.bytes
            .resize(self.bytes.len().max(HINT_HEADER_BYTES), 0);
        let body = &self.bytes[HINT_HEADER_BYTES..];
        let header = HintHeader {
            segment,
            segment_bytes,
            frames,
            next_seq,
            time_ms,
            is_closed,
            body_bytes: body.len() as u64,
            body_crc: crc32c::crc32c(body),
        };
        self.bytes[..HINT_HEADER_BYTES].copy_from_slice(&header.encode());
        self.bytes
    }

    fn put_stored(&mut self, stored: &Stored) {
        let out = &mut self.bytes;
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out.push(STORED);
        out.push(
            flag(stored.session.is_some(), HAS_SESSION)
                | flag(stored.key.is_some(), HAS_KEY)
                | flag(stored.floor.is_some(), HAS_FLOOR),
        );
        put_id(out, stored.id);
        varint::put(out, stored.offset);
        if let Some(floor) = stored.floor {
            varint::put(out, stored.offset - floor);
        }
        if let Some((session, seq)) = stored.session {
            out.extend_from_slice(&session.0);
            varint::put(out, seq);
        }
        if let Some((key, body)) = stored.key {
            out.extend_from_slice(&key);
            out.extend_from_slice(&body.to_le_bytes());
        }
        let (pos, len) = stored.place;
        varint::put(out, (pos - self.end).into());
        varint::put(out, len.into());
        varint::put(out, (len - stored.size).into());
        self.end = pos + len;
    }
}

impl HintHeader {
    /// The header at the beginning of a hint file, if it is as it was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.get(..HINT_HEADER_BYTES)?.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut cursor = Cursor(covered);
        let is_known = cursor.array::<8>()? == MAGIC && cursor.u32()? == FORMAT_VERSION;
        if !is_known || cursor.u32()? != HINT_HEADER_BYTES as u32 {
            return None;
        }
        Some(Self {
            segment: SegmentHeader::decode(cursor.take(HEADER_BYTES)?).ok()?,
            segment_bytes: cursor.u64()?,
            frames: cursor.u64()?,
            next_seq: cursor.u64()?,
            time_ms: cursor.u64()?,
            body_bytes: cursor.u64()?,
            is_closed: cursor.u32()? == 1,
            body_crc: cursor.u32()?,
        })
    }

    /// The records of the file, if they are as they were written.
    pub(crate) fn items<'a>(&self, bytes: &'a [u8]) -> Option<HintItems<'a>> {
        let body = bytes.get(HINT_HEADER_BYTES..)?;
        let is_whole = body.len() as u64 == self.body_bytes;
        (is_whole && crc32c::crc32c(body) == self.body_crc).then_some(HintItems {
            cursor: Cursor(body),
            end: 0,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HINT_HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(HINT_HEADER_BYTES as u32).to_le_bytes());
        bytes.extend_from_slice(&self.segment.encode());
        for number in [
            self.segment_bytes,
            self.frames,
            self.next_seq,
            self.time_ms,
            self.body_bytes,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&u32::from(self.is_closed).to_le_bytes());
        bytes.extend_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

impl<'a> HintItems<'a> {
    /// The next record; none at the end. An error says that the bytes are none, although their
    /// checksum holds.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, ()> {
        match self.cursor.0.first() {
            None => Ok(None),
            Some(&STORED) => Ok(Some(Item::Stored(self.stored().ok_or(())?))),
            Some(_) => match Record::decode(&mut self.cursor) {
                None | Some(Record::Publish(_)) => Err(()),
                Some(record) => Ok(Some(Item::Record(record))),
            },
        }
    }

    fn stored(&mut self) -> Option<Stored> {
        let cursor = &mut self.cursor;
        cursor.byte()?;
        let flags = cursor.byte()?;
        let has = |flag| flags & flag != 0;
        let id = take_id(cursor)?;
        let offset = cursor.number()?;
        let floor = match has(HAS_FLOOR) {
            true => Some(offset.checked_sub(cursor.number()?)?),
            false => None,
        };
        let session = match has(HAS_SESSION) {
            true => Some((SessionKey(cursor.array()?), cursor.number()?)),
            false => None,
        };
        let key = match has(HAS_KEY) {
            true => Some((cursor.array()?, cursor.u64()?)),
            false => None,
        };
        let mut number = || {
            cursor
                .number()
                .and_then(|number| u32::try_from(number).ok())
        };
        let (gap, len, rest) = (number()?, number()?, number()?);
        let pos = self.end.checked_add(gap)?;
        self.end = pos.checked_add(len)?;
        Some(Stored {
            id,
            offset,
            floor,
            size: len.checked_sub(rest)?,
            session,
            key,
            place: (pos, len),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{ChannelId, Publish};

    const SEGMENT: SegmentHeader = SegmentHeader {
        number: 3,
        last_number: 4,
        epoch: 5,
        first_seq: 6,
        last_seq: 0,
        rewritten_at_seq: 0,
        term: 9,
        salt: 10,
    };

    fn publish(offset: u64, floor: Option<u64>) -> Publish<'static> {
        Publish {
            id: ChannelId {
                slot: 7,
                generation: 1,
            },
            offset,
            floor,
            is_binary: true,
            data: b"0123456789",
            user: Some(b"u"),
            tag: None,
            session: floor.map(|_| (SessionKey([1; 16]), 8)),
            key: floor.map(|_| ([2; 16], 9)),
        }
    }

    fn written() -> Vec<u8> {
        let mut hint = HintWriter::default();
        hint.begin_frame(1_000, 5);
        hint.put(&Record::Publish(publish(1, None)), (112, 40));
        hint.put(&Record::Time { time_ms: 900 }, (152, 9));
        hint.put(&Record::Publish(publish(2, Some(1))), (161, 60));
        hint.begin_frame(900, 5);
        hint.begin_frame(1_001, 6);
        hint.put(&Record::Close, (300, 1));
        hint.finish(SEGMENT, 301, 3, 9, 1_001, true)
    }

    #[test]
    fn a_hint_comes_back_and_every_flipped_bit_is_seen() {
        let bytes = written();
        let header = HintHeader::decode(&bytes).unwrap();
        assert_eq!(header.segment, SEGMENT);
        assert_eq!((header.segment_bytes, header.next_seq), (301, 9));
        assert!(header.is_closed);
        let mut items = header.items(&bytes).unwrap();
        let mut found = Vec::new();
        while let Some(item) = items.next().unwrap() {
            found.push(item);
        }
        let time = |time_ms| Item::Record(Record::Time { time_ms });
        let term = |term| Item::Record(Record::Term { term });
        let stored =
            |offset, floor, place| Item::Stored(Stored::new(&publish(offset, floor), place));
        assert_eq!(
            found,
            [
                time(1_000),
                term(5),
                stored(1, None, (112, 40)),
                time(900),
                stored(2, Some(1), (161, 60)),
                time(1_001),
                term(6),
            ]
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let header = HintHeader::decode(&flipped);
            assert!(
                header.is_none_or(|header| header.items(&flipped).is_none()),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            let header = HintHeader::decode(&bytes[..length]);
            assert!(header.is_none_or(|header| header.items(&bytes[..length]).is_none()));
        }
    }
}
