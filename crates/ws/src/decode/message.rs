//! One message that is put together from parts: its buffer, its inflation, its UTF-8 check and the
//! price of its fragments. It must not know frames beyond their lengths.

use std::borrow::Cow;
use std::mem;
use std::str;

use crate::decode::{Event, FRAGMENT_CREDIT_MAX, FRAGMENT_OVERHEAD};
use crate::deflate::Inflater;
use crate::error::ProtocolError;
use crate::frame::MessageKind;

/// The compressed bytes of a message in parts that are kept as they came, until they are whole and
/// any inflater can take them at once. A message that is longer on the wire gets an inflater of its
/// own until it ends, which holds three times as much. So a peer that sends the beginnings of many
/// compressed messages costs what it sent, up to this, and beyond it never more than
/// 56 KB + `message_bytes_max` a connection.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A message of which parts arrived.
#[derive(Debug)]
pub(super) struct Message {
    body: Body,
    compressed: Option<Compressed>,
    /// The payload bytes that arrived, compressed or not.
    wire_bytes: usize,
    credit: u32,
}

/// The state of a compressed message.
#[derive(Debug)]
enum Compressed {
    /// Nothing is inflated yet.
    Kept(Vec<u8>),
    /// Everything that arrived is inflated, as far as it goes.
    Inflating(Inflater),
}

#[derive(Debug)]
enum Body {
    Text(Text),
    Binary(Vec<u8>),
}

impl Message {
    pub(super) fn new(kind: MessageKind, compressed: bool) -> Self {
        let body = match kind {
            MessageKind::Text => Body::Text(Text {
                valid: String::new(),
                cut: [0; 4],
                cut_len: 0,
            }),
            MessageKind::Binary => Body::Binary(Vec::new()),
        };
        Self {
            body,
            compressed: compressed.then(|| Compressed::Kept(Vec::new())),
            wire_bytes: 0,
            credit: FRAGMENT_CREDIT_MAX,
        }
    }

    /// Takes the price of a continuation frame from the message's credit.
    pub(super) fn charge_fragment(&mut self, payload_bytes: u64) -> Result<(), ProtocolError> {
        let earned = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        let credit = self.credit.saturating_add(earned).min(FRAGMENT_CREDIT_MAX);
        self.credit = credit
            .checked_sub(FRAGMENT_OVERHEAD)
            .ok_or(ProtocolError::FragmentFlood)?;
        Ok(())
    }

    /// Appends a part of an uncompressed message. The buffer grows by factors, but never above
    /// `bytes_max`.
    pub(super) fn extend(&mut self, part: &[u8], bytes_max: usize) -> Result<(), ProtocolError> {
        self.wire_bytes += part.len();
        self.body.extend(part, bytes_max)
    }

    /// Takes a part of a compressed message, and inflates what is there where it is the last or
    /// where enough has come. `inflater` is scratch memory unless the message borrows it for good.
    pub(super) fn inflate(
        &mut self,
        part: &[u8],
        is_last: bool,
        limit_bytes: usize,
        inflater: &mut Inflater,
    ) -> Result<(), ProtocolError> {
        self.wire_bytes += part.len();
        let body = &mut self.body;
        let mut take = |chunk: &[u8]| body.extend_within(chunk, limit_bytes);
        let state = self.compressed.as_mut().expect("the message is compressed");
        match state {
            Compressed::Kept(kept) if !is_last && kept.len() + part.len() <= KEPT_BYTES_MAX => {
                kept.extend_from_slice(part);
                Ok(())
            }
            Compressed::Kept(kept) => {
                inflater.begin();
                inflater.inflate(kept, &mut take)?;
                inflater.inflate(part, &mut take)?;
                if is_last {
                    return inflater.finish(&mut take);
                }
                *state = Compressed::Inflating(mem::take(inflater));
                Ok(())
            }
            Compressed::Inflating(own) => {
                own.inflate(part, &mut take)?;
                if is_last {
                    own.finish(&mut take)?;
                    *inflater = mem::take(own);
                }
                Ok(())
            }
        }
    }

    /// The whole message.
    pub(super) fn finish(self) -> Result<Event<'static>, ProtocolError> {
        match self.body {
            Body::Text(text) if text.cut_len > 0 => Err(ProtocolError::InvalidUtf8),
            Body::Text(text) => Ok(Event::Text(Cow::Owned(text.valid))),
            Body::Binary(bytes) => Ok(Event::Binary(Cow::Owned(bytes))),
        }
    }

    /// Whether its payload is compressed.
    pub(super) const fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// The payload bytes that arrived, as they were on the wire.
    pub(super) const fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// The heap bytes behind the message.
    pub(super) fn buffered_bytes(&self) -> usize {
        let compressed_bytes = match &self.compressed {
            None => 0,
            Some(Compressed::Kept(kept)) => kept.capacity(),
            Some(Compressed::Inflating(_)) => Inflater::HELD_BYTES,
        };
        compressed_bytes + self.body.capacity()
    }
}

impl Body {
    /// Appends what was inflated, unless the message is then above its limit.
    fn extend_within(&mut self, chunk: &[u8], limit_bytes: usize) -> Result<(), ProtocolError> {
        let inflated_bytes = self.len() + chunk.len();
        if inflated_bytes > limit_bytes {
            return Err(ProtocolError::MessageTooBig {
                announced_bytes: inflated_bytes as u64,
                limit_bytes,
            });
        }
        self.extend(chunk, limit_bytes)
    }

    /// Appends bytes. The buffer grows by factors, but never above `bytes_max` and what there is: the limit may
    /// have become lower meanwhile.
    fn extend(&mut self, part: &[u8], bytes_max: usize) -> Result<(), ProtocolError> {
        let (len, capacity) = match self {
            Self::Text(text) => (text.valid.len(), text.valid.capacity()),
            Self::Binary(bytes) => (bytes.len(), bytes.capacity()),
        };
        let needed = self.len() + part.len();
        if needed > capacity {
            let grown = capacity.saturating_mul(2).min(bytes_max);
            let additional = needed.max(grown) - len;
            match self {
                Self::Text(text) => text.valid.reserve_exact(additional),
                Self::Binary(bytes) => bytes.reserve_exact(additional),
            }
        }
        match self {
            Self::Text(text) => text.extend(part),
            Self::Binary(bytes) => {
                bytes.extend_from_slice(part);
                Ok(())
            }
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.valid.len() + text.cut_len,
            Self::Binary(bytes) => bytes.len(),
        }
    }

    const fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.valid.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
        }
    }
}

/// Text that is checked as it arrives, so that an invalid byte is refused at once. The checked
/// part is a `String`, so no byte is looked at again when the message is whole.
#[derive(Debug)]
struct Text {
    valid: String,
    /// The first bytes of a character that the last part cut.
    cut: [u8; 4],
    cut_len: usize,
}

impl Text {
    fn extend(&mut self, mut part: &[u8]) -> Result<(), ProtocolError> {
        // At most three turns: the fourth byte ends any character.
        while self.cut_len > 0
            && let Some((&byte, rest)) = part.split_first()
        {
            self.cut[self.cut_len] = byte;
            self.cut_len += 1;
            part = rest;
            match str::from_utf8(&self.cut[..self.cut_len]) {
                Ok(character) => {
                    self.valid.push_str(character);
                    self.cut_len = 0;
                }
                Err(error) if error.error_len().is_some() => {
                    return Err(ProtocolError::InvalidUtf8);
                }
                Err(_) => {}
            }
        }
        match simdutf8::compat::from_utf8(part) {
            Ok(text) => self.valid.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(ProtocolError::InvalidUtf8),
            Err(error) => {
                let (valid, cut) = part.split_at(error.valid_up_to());
                let valid = simdutf8::basic::from_utf8(valid)
                    .expect("the bytes before valid_up_to were just found valid");
                self.valid.push_str(valid);
                self.cut[..cut.len()].copy_from_slice(cut);
                self.cut_len = cut.len();
            }
        }
        Ok(())
    }
}
