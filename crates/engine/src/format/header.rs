//! The first bytes of a segment: which one it is, of which log, and by whom it was written.

use super::{FORMAT_VERSION, varint::Cursor};

/// Begins every segment.
pub(crate) const MAGIC: [u8; 8] = *b"BOWLLOG\0";
/// So many bytes; frames follow.
pub(crate) const HEADER_BYTES: usize = 80;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Its number, which is also its file's name.
    pub(crate) number: u64,
    /// The last number that it stands for: its own, or that of the last neighbour merged into it.
    pub(crate) last_number: u64,
    /// The log's epoch, in all its segments the same.
    pub(crate) epoch: u64,
    /// The sequence number of its first frame, or of the first frame that it was rewritten from.
    pub(crate) first_seq: u64,
    /// 0 where frames stand as they were committed. Else it was rewritten, from frames up to this.
    pub(crate) last_seq: u64,
    /// The last frame that was committed when it was rewritten, else 0.
    pub(crate) rewritten_at_seq: u64,
    /// The opening that wrote it.
    pub(crate) term: u32,
    /// Random; part of every frame's checksum, so that frames of other files are none here.
    pub(crate) salt: u32,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Damaged, or never wholly written.
    Bad,
    /// Of a version that this program does not know.
    Version(u32),
}

impl SegmentHeader {
    /// Whether it was rewritten since it was committed.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.last_seq != 0
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        for number in [
            self.number,
            self.last_number,
            self.epoch,
            self.first_seq,
            self.last_seq,
            self.rewritten_at_seq,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.term.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.try_into().expect("the fields above take 80 bytes")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut cursor = Cursor(bytes);
        let magic: [u8; 8] = cursor.array().ok_or(HeaderError::Bad)?;
        let version = cursor.u32().ok_or(HeaderError::Bad)?;
        if magic != MAGIC {
            return Err(HeaderError::Bad);
        }
        // A newer version may have other fields behind this one, so its checksum says nothing here;
        // but a version that is far off is damage.
        if version > FORMAT_VERSION && version < FORMAT_VERSION + 1_000 {
            return Err(HeaderError::Version(version));
        }
        let (Some(covered), Some(_)) = (bytes.get(..HEADER_BYTES - 4), bytes.get(..HEADER_BYTES))
        else {
            return Err(HeaderError::Bad);
        };
        let crc = u32::from_le_bytes(
            bytes[HEADER_BYTES - 4..HEADER_BYTES]
                .try_into()
                .expect("four bytes"),
        );
        if crc32c::crc32c(covered) != crc || version != FORMAT_VERSION {
            return Err(HeaderError::Bad);
        }
        Self::fields(cursor).ok_or(HeaderError::Bad)
    }

    fn fields(mut cursor: Cursor<'_>) -> Option<Self> {
        cursor.u32()?;
        let header = Self {
            number: cursor.u64()?,
            last_number: cursor.u64()?,
            epoch: cursor.u64()?,
            first_seq: cursor.u64()?,
            last_seq: cursor.u64()?,
            rewritten_at_seq: cursor.u64()?,
            term: cursor.u32()?,
            salt: cursor.u32()?,
        };
        (header.number <= header.last_number).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        number: 3,
        last_number: 4,
        epoch: 5,
        first_seq: 6,
        last_seq: 7,
        rewritten_at_seq: 8,
        term: 9,
        salt: 10,
    };

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(SegmentHeader::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(2)));
    }
}
