//! Compressed payload to plain bytes, a chunk at a time. It owns the zlib state of one message in
//! progress; it must not know limits, which whoever takes the chunks holds.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::deflate::TAIL;
use crate::error::ProtocolError;

/// The most bytes that come out at once. Whoever takes them can refuse to take more, so this is by
/// how much a message can go past its limit before it is refused.
const CHUNK_BYTES: usize = 8 * 1024;

/// An empty final block. A payload that is whole DEFLATE data ends, with its tail put back, at a
/// block's end on a byte boundary; then exactly this block ends the stream, and after anything else
/// it does not.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Inflates compressed messages, one after the other and for any number of connections.
///
/// It holds nothing until the first compressed message, then about 56 KB for good: 47 KB of zlib's
/// and a chunk. Keep one for each thread, and give it to
/// [`Decoder::decode_with`](crate::Decoder::decode_with).
#[derive(Default)]
pub struct Inflater {
    state: Option<Box<State>>,
}

struct State {
    zlib: Decompress,
    chunk: [u8; CHUNK_BYTES],
    /// The last input ended exactly where a final block did.
    ended: bool,
}

impl Inflater {
    /// What an inflater holds once it has been used, at most, in bytes.
    pub(crate) const HELD_BYTES: usize = 48 * 1024 + CHUNK_BYTES;

    /// One that holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: None }
    }

    /// Begins a message; whatever was in progress, or went wrong, is forgotten.
    pub(crate) fn begin(&mut self) {
        match &mut self.state {
            Some(state) => {
                state.zlib.reset(false);
                state.ended = false;
            }
            None => {
                self.state = Some(Box::new(State {
                    zlib: Decompress::new(false),
                    chunk: [0; CHUNK_BYTES],
                    ended: false,
                }));
            }
        }
    }

    /// Takes a further part of the payload and hands out what it inflates to.
    ///
    /// # Errors
    /// The payload is no DEFLATE data, or `take` refuses.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let state = self.state.as_mut().expect("a message was begun");
        state.inflate(input, take)
    }

    /// Ends the message and hands out the rest of it.
    ///
    /// # Errors
    /// The payload was not whole, or `take` refuses.
    pub(crate) fn finish(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let state = self.state.as_mut().expect("a message was begun");
        state.inflate(&TAIL, take)?;
        state.inflate(&FINAL_BLOCK, take)?;
        if state.ended {
            Ok(())
        } else {
            Err(ProtocolError::InvalidDeflate)
        }
    }
}

impl State {
    fn inflate(
        &mut self,
        mut input: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        self.ended = false;
        // Each turn but the last consumes input or fills the chunk, which the taker bounds.
        loop {
            let (in_before, out_before) = (self.zlib.total_in(), self.zlib.total_out());
            let status = self
                .zlib
                .decompress(input, &mut self.chunk, FlushDecompress::None)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            let consumed = (self.zlib.total_in() - in_before) as usize;
            let produced = (self.zlib.total_out() - out_before) as usize;
            input = &input[consumed..];
            take(&self.chunk[..produced])?;
            if status == Status::StreamEnd {
                // A sender may close a block as final and go on with another (section 7.2.3.4).
                self.zlib.reset(false);
                if input.is_empty() {
                    self.ended = true;
                    return Ok(());
                }
                continue;
            }
            if input.is_empty() && produced < CHUNK_BYTES {
                return Ok(());
            }
            if consumed == 0 && produced == 0 {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("in_use", &self.state.is_some())
            .finish()
    }
}
