//! Hint files on the disk: written for sealed segments, read when a log is opened.
//!
//! Owns when a hint is taken for a segment: its header, its length and both checksums must agree.
//! Must not know what the records mean, nor when there is time to write one.

use std::{io, ops::ControlFlow};

use crate::{
    disk::Disk,
    format::{
        header::SegmentHeader,
        hint::{HINT_HEADER_BYTES, HintHeader, HintItems, HintWriter},
    },
    names,
    scan::{self, Damage, End, Segment},
};

/// A hint that belongs to its segment.
pub(crate) struct Hint {
    header: HintHeader,
    bytes: Vec<u8>,
}

/// Checks all frames of a sealed segment, and answers its hint.
pub(crate) fn build(segment: &Segment, name: &str) -> Result<Vec<u8>, Damage> {
    let mut writer = HintWriter::default();
    let end = scan::walk(segment, name, false, |frame, body_pos| {
        writer.begin_frame(frame.header.time_ms, frame.header.term);
        let _ = scan::records(frame, body_pos, |record, place| {
            writer.put(record, place);
            ControlFlow::<()>::Continue(())
        })?;
        Ok(())
    })?;
    Ok(writer.finish(
        segment.header,
        end.bytes,
        end.frames,
        end.next_seq,
        end.time_ms,
        end.is_closed,
    ))
}

/// Writes a hint file, in place of another. It is not synced: what a crash makes of it is either
/// the hint or none.
pub(crate) fn write(disk: &dyn Disk, number: u64, bytes: &[u8]) -> io::Result<()> {
    let name = names::hint(number);
    remove(disk, number)?;
    let written = disk.create(&name).and_then(|file| file.write_at(bytes, 0));
    if written.is_err() {
        // A part of it is as good as none, but takes room.
        let _ = disk.remove(&name);
    }
    written
}

/// Removes a hint if there is one.
pub(crate) fn remove(disk: &dyn Disk, number: u64) -> io::Result<()> {
    match disk.remove(&names::hint(number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The hint of a segment of this length, if there is a good one.
pub(crate) fn load(disk: &dyn Disk, segment: &SegmentHeader, segment_bytes: u64) -> Option<Hint> {
    let file = disk.open(&names::hint(segment.number)).ok()?;
    let size = file.size().ok()?;
    // A record in a hint is shorter than it is in its segment.
    if size > segment_bytes.saturating_add(HINT_HEADER_BYTES as u64) {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_at(&mut bytes, 0).ok()?;
    let header = HintHeader::decode(&bytes)?;
    let is_its = header.segment == *segment && header.segment_bytes == segment_bytes;
    header.items(&bytes).filter(|_| is_its)?;
    Some(Hint { header, bytes })
}

/// Whether a segment seems to have a hint: its body is not looked at.
pub(crate) fn exists(disk: &dyn Disk, segment: &SegmentHeader, segment_bytes: u64) -> bool {
    let Ok(file) = disk.open(&names::hint(segment.number)) else {
        return false;
    };
    let mut bytes = [0; HINT_HEADER_BYTES];
    if file.read_at(&mut bytes, 0).is_err() {
        return false;
    }
    HintHeader::decode(&bytes)
        .is_some_and(|header| header.segment == *segment && header.segment_bytes == segment_bytes)
}

impl Hint {
    /// What the segment's records say.
    pub(crate) fn items(&self) -> HintItems<'_> {
        let items = self.header.items(&self.bytes);
        items.expect("the checksum was tested when it was loaded")
    }

    /// How the segment ends.
    pub(crate) fn end(&self) -> End {
        End {
            bytes: self.header.segment_bytes,
            next_seq: self.header.next_seq,
            frames: self.header.frames,
            is_closed: self.header.is_closed,
            is_torn: false,
            time_ms: self.header.time_ms,
        }
    }
}
