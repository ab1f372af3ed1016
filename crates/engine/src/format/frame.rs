//! Frames: what one commit wrote, all or nothing.
//!
//! Owns the frame's header and checksum, and the search for frames behind a bad one.

use super::varint::Cursor;

/// So many bytes before a frame's records.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of records.
    pub(crate) body_bytes: u32,
    /// One more than that of the frame before it.
    pub(crate) seq: u64,
    /// When it was committed, in milliseconds since 1970; the time of its records.
    pub(crate) time_ms: u64,
    /// The opening that committed it; the term of its publications.
    pub(crate) term: u32,
    /// How many records.
    pub(crate) records: u32,
}

/// A frame whose checksum holds.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
}

/// Completes a frame whose records stand behind room for its header.
pub(crate) fn seal(frame: &mut [u8], salt: u32, seq: u64, time_ms: u64, term: u32, records: u32) {
    let body = u32::try_from(frame.len() - FRAME_HEADER_BYTES).expect("a commit is bounded");
    frame[0..4].copy_from_slice(&body.to_le_bytes());
    frame[8..16].copy_from_slice(&seq.to_le_bytes());
    frame[16..24].copy_from_slice(&time_ms.to_le_bytes());
    frame[24..28].copy_from_slice(&term.to_le_bytes());
    frame[28..32].copy_from_slice(&records.to_le_bytes());
    let crc = checksum(frame, salt);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The file ends before the frame does.
    Short,
    /// The checksum does not hold.
    Checksum,
}

/// The frame at the beginning of these bytes.
pub(crate) fn decode(bytes: &[u8], salt: u32) -> Result<Frame<'_>, FrameError> {
    let (header, stored) = fields(bytes).ok_or(FrameError::Short)?;
    let end = FRAME_HEADER_BYTES + header.body_bytes as usize;
    let frame = bytes.get(..end).ok_or(FrameError::Short)?;
    if checksum(frame, salt) != stored {
        return Err(FrameError::Checksum);
    }
    Ok(Frame {
        header,
        body: &frame[FRAME_HEADER_BYTES..],
    })
}

/// Where, in these bytes, a frame with a number of at least `seq` begins, if any does: behind a bad
/// frame it proves that the bad one was damaged and not torn, for a frame is begun only when the one
/// before it is durable.
pub(crate) fn find(bytes: &[u8], salt: u32, seq: u64) -> Option<usize> {
    /// No log skips so many numbers within a segment.
    const SEQ_SPAN: u64 = 1 << 32;
    (0..bytes.len().saturating_sub(FRAME_HEADER_BYTES - 1)).find(|&at| {
        let candidate = &bytes[at..];
        // The cheap test first: this looks at every byte.
        fields(candidate)
            .is_some_and(|(header, _)| (seq..seq.saturating_add(SEQ_SPAN)).contains(&header.seq))
            && decode(candidate, salt).is_ok()
    })
}

fn fields(bytes: &[u8]) -> Option<(FrameHeader, u32)> {
    let mut cursor = Cursor(bytes);
    let body_bytes = cursor.u32()?;
    let crc = cursor.u32()?;
    let header = FrameHeader {
        body_bytes,
        seq: cursor.u64()?,
        time_ms: cursor.u64()?,
        term: cursor.u32()?,
        records: cursor.u32()?,
    };
    Some((header, crc))
}

/// Over everything but itself, begun with the file's salt.
fn checksum(frame: &[u8], salt: u32) -> u32 {
    let crc = crc32c::crc32c_append(salt, &frame[..4]);
    crc32c::crc32c_append(crc, &frame[8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8], seq: u64) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(body);
        seal(&mut bytes, 77, seq, 1_000, 5, 1);
        bytes
    }

    #[test]
    fn a_frame_comes_back_and_every_flipped_bit_is_seen() {
        let bytes = frame(b"hello", 9);
        let found = decode(&bytes, 77).unwrap();
        assert_eq!((found.header.seq, found.body), (9, &b"hello"[..]));
        assert_eq!(decode(&bytes, 78).err(), Some(FrameError::Checksum));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, 77).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], 77).err(), Some(FrameError::Short));
        }
    }

    #[test]
    fn a_frame_behind_a_bad_one_is_found() {
        let mut bytes = frame(b"hello", 9);
        bytes[36] ^= 1;
        let bad = bytes.len();
        assert_eq!(find(&bytes, 77, 9), None);
        bytes.extend(frame(b"world", 10));
        assert_eq!(find(&bytes, 77, 9), Some(bad));
        assert_eq!(find(&bytes, 78, 9), None, "a frame of another file");
    }
}
