//! Reading a segment from its beginning to its end.
//!
//! Owns the walk over frames and records, and what counts as torn and as damaged. Must not know what
//! records mean.

use std::{io, ops::ControlFlow};

use crate::{
    disk::DiskFile,
    format::{
        frame::{self, FRAME_HEADER_BYTES, Frame},
        header::{HEADER_BYTES, HeaderError, SegmentHeader},
        record::Record,
        varint::Cursor,
    },
};

/// A place where a file is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The first byte of what can't be trusted.
    pub offset: u64,
    /// What was found.
    pub problem: String,
}

/// A segment's bytes with its header.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Where the last good frame ends.
    pub(crate) bytes: u64,
    /// The number of the next frame.
    pub(crate) next_seq: u64,
    pub(crate) frames: u64,
    /// Its last record says that nothing follows.
    pub(crate) is_closed: bool,
    /// Something follows that is no frame, nor anything behind it.
    pub(crate) is_torn: bool,
    /// When its last frame was committed.
    pub(crate) time_ms: u64,
}

impl End {
    /// That of a segment without frames.
    fn before(header: &SegmentHeader) -> Self {
        Self {
            bytes: HEADER_BYTES as u64,
            // A rewritten segment counts its own frames.
            next_seq: if header.is_rewritten() {
                1
            } else {
                header.first_seq
            },
            frames: 0,
            is_closed: false,
            is_torn: false,
            time_ms: 0,
        }
    }
}

/// Why a segment can't be begun.
#[derive(Debug)]
pub(crate) enum BeginError {
    /// Nothing beyond a header was ever written, and not all of that.
    Unborn,
    Damaged(Damage),
    Newer(u32),
    Io(io::Error),
}

/// Reads a whole file and its header.
pub(crate) fn begin(file: &dyn DiskFile, name: &str, number: u64) -> Result<Segment, BeginError> {
    let size = file.size().map_err(BeginError::Io)?;
    let size =
        usize::try_from(size).map_err(|_| BeginError::Io(io::ErrorKind::FileTooLarge.into()))?;
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0).map_err(BeginError::Io)?;
    let damaged = |problem: &str| {
        BeginError::Damaged(Damage {
            file: name.to_owned(),
            offset: 0,
            problem: problem.to_owned(),
        })
    };
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.number == number => Ok(Segment { header, bytes }),
        Ok(_) => Err(damaged("the file has the name of another segment")),
        Err(HeaderError::Version(version)) => Err(BeginError::Newer(version)),
        Err(HeaderError::Bad) if size <= HEADER_BYTES => Err(BeginError::Unborn),
        Err(HeaderError::Bad) => Err(damaged("the segment's header is not as it was written")),
    }
}

/// Walks over the frames. `visit` takes each, with the place of its first record; it may say what is
/// wrong with it.
///
/// Only the last segment of a log may be torn.
pub(crate) fn walk(
    segment: &Segment,
    name: &str,
    is_last: bool,
    mut visit: impl FnMut(&Frame<'_>, u32) -> Result<(), String>,
) -> Result<End, Damage> {
    let header = &segment.header;
    let bytes = &segment.bytes;
    let mut end = End::before(header);
    let mut is_finished = false;
    while (end.bytes as usize) < bytes.len() {
        let at = end.bytes as usize;
        let damage = |problem: String| Damage {
            file: name.to_owned(),
            offset: at as u64,
            problem,
        };
        if end.is_closed || is_finished {
            return Err(damage(
                "something follows where the segment ends".to_owned(),
            ));
        }
        let frame = match frame::decode(&bytes[at..], header.salt) {
            Ok(frame) if frame.header.seq == end.next_seq => frame,
            Ok(frame) => {
                return Err(damage(format!(
                    "frame {} stands where frame {} belongs",
                    frame.header.seq, end.next_seq
                )));
            }
            Err(error) => {
                if !is_last || header.is_rewritten() {
                    return Err(damage(format!(
                        "a frame is not as it was written ({error:?})"
                    )));
                }
                if let Some(behind) = frame::find(&bytes[at + 1..], header.salt, end.next_seq) {
                    let behind = at + 1 + behind;
                    return Err(damage(format!(
                        "a frame is not as it was written, and a good one follows at byte {behind}"
                    )));
                }
                end.is_torn = true;
                return Ok(end);
            }
        };
        visit(&frame, (at + FRAME_HEADER_BYTES) as u32).map_err(damage)?;
        let last = last_byte_record(&frame);
        end.is_closed = last == Some(Record::Close);
        is_finished = last == Some(Record::End);
        end.bytes += (FRAME_HEADER_BYTES + frame.body.len()) as u64;
        end.next_seq += 1;
        end.frames += 1;
        end.time_ms = end.time_ms.max(frame.header.time_ms);
    }
    if header.is_rewritten() && !is_finished {
        return Err(Damage {
            file: name.to_owned(),
            offset: end.bytes,
            problem: "a rewritten segment has lost its end".to_owned(),
        });
    }
    if header.is_rewritten() {
        end.next_seq = header.last_seq + 1;
    }
    Ok(end)
}

/// Gives each record of a frame, with its place, to `visit` until that breaks off.
pub(crate) fn records<B>(
    frame: &Frame<'_>,
    body_pos: u32,
    mut visit: impl FnMut(&Record<'_>, (u32, u32)) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, String> {
    let mut cursor = Cursor(frame.body);
    for index in 0..frame.header.records {
        let before = frame.body.len() - cursor.0.len();
        let record = Record::decode(&mut cursor)
            .ok_or_else(|| format!("record {index} of the frame is of no known kind"))?;
        let after = frame.body.len() - cursor.0.len();
        let place = (body_pos + before as u32, (after - before) as u32);
        if let ControlFlow::Break(value) = visit(&record, place) {
            return Ok(ControlFlow::Break(value));
        }
    }
    if cursor.0.is_empty() {
        Ok(ControlFlow::Continue(()))
    } else {
        Err("the frame is longer than its records".to_owned())
    }
}

/// The frame's record if it has only that one, without fields.
fn last_byte_record(frame: &Frame<'_>) -> Option<Record<'static>> {
    match (frame.header.records, frame.body) {
        (1, [_]) => match Record::decode(&mut Cursor(frame.body)) {
            Some(Record::Close) => Some(Record::Close),
            Some(Record::End) => Some(Record::End),
            _ => None,
        },
        _ => None,
    }
}
