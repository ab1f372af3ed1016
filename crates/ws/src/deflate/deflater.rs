//! Messages to compressed frames. It owns the zlib state that makes them; it must not know who is
//! sent them, nor which messages are worth it.

use std::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use crate::deflate::TAIL;
use crate::extensions::Extensions;
use crate::frame::{Header, MessageKind, Opcode, Role, frame_header};
use crate::mask::{MaskKey, apply_mask};

/// zlib's second fastest. The fastest takes less time and makes JSON longer, but zlib-rs 0.6.8 panics
/// there where the output's room runs out on what can't be compressed. `cargo run --release -p
/// bowline-ws --example deflate_cost` prints what this one costs and gains.
const LEVEL: Compression = Compression::new(2);

/// What DEFLATE may add to a payload beyond an eighth of it: headers of blocks, and the tail.
const SLACK_BYTES: usize = 256;

/// Compresses messages, one after the other and for any number of connections, at the largest
/// window and without context takeover: what it makes may be shared by all connections with
/// [`Extensions::may_send_compressed`].
///
/// It holds nothing until the first message, then about 380 KB for good: keep one for each thread.
#[derive(Default)]
pub struct Deflater {
    zlib: Option<Compress>,
}

impl Deflater {
    /// One that holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { zlib: None }
    }

    /// Encodes an unfragmented message as one compressed frame; `None` where that would not be
    /// shorter, so that the message is to be sent as it is.
    #[must_use]
    pub fn encode_message(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        mask: Option<MaskKey>,
    ) -> Option<Bytes> {
        let mut frame = Vec::new();
        self.append_message(&mut frame, kind, payload, mask)
            .then(|| Bytes::from(frame))
    }

    /// Appends an unfragmented message as one compressed frame to bytes that are to be written;
    /// false, and nothing is appended, where that would not be shorter.
    #[must_use]
    pub fn append_message(
        &mut self,
        out: &mut Vec<u8>,
        kind: MessageKind,
        payload: &[u8],
        mask: Option<MaskKey>,
    ) -> bool {
        let Some(compressed) = self.deflate(payload) else {
            return false;
        };
        let header = frame_header(kind.opcode(), true, compressed.len(), mask).compressed();
        if out.is_empty() {
            out.reserve_exact(header.len() + compressed.len());
        }
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(&compressed);
        if let Some(key) = mask {
            apply_mask(&mut out[start..], key);
        }
        true
    }

    /// The compressed form of a frame that [`encode_message`](crate::encode_message) made for a
    /// client; `None` where it would not be shorter, and for every other frame.
    #[must_use]
    pub fn compress_frame(&mut self, frame: &[u8]) -> Option<Bytes> {
        let parsed = Header::parse(frame, Role::Client, Extensions::NONE).ok()?;
        let (header, header_bytes) = parsed?;
        let kind = match header.opcode {
            Opcode::Text => MessageKind::Text,
            Opcode::Binary => MessageKind::Binary,
            _ => return None,
        };
        let payload = &frame[header_bytes..];
        let is_whole = header.fin && header.payload_bytes == payload.len() as u64;
        if !is_whole {
            return None;
        }
        self.encode_message(kind, payload, None)
    }

    /// The compressed payload, without its tail (RFC 7692 section 7.2.1), if it is shorter.
    fn deflate(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let zlib = self.zlib.get_or_insert_with(|| Compress::new(LEVEL, false));
        zlib.reset();
        // Room for the worst, nine bits for a byte, so that zlib never has to stop for want of it.
        let room_bytes = payload.len() + payload.len() / 8 + SLACK_BYTES;
        let mut out = Vec::with_capacity(room_bytes);
        zlib.compress_vec(payload, &mut out, FlushCompress::Sync)
            .ok()?;
        let is_whole = zlib.total_in() == payload.len() as u64 && out.len() < out.capacity();
        let body = out.strip_suffix(&TAIL).filter(|_| is_whole)?.len();
        out.truncate(body);
        (body < payload.len()).then_some(out)
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("in_use", &self.zlib.is_some())
            .finish()
    }
}
