//! One message that is put together from parts: its buffer, its UTF-8 check and the price of its
//! fragments. It must not know frames beyond their lengths.

use std::borrow::Cow;
use std::str;

use crate::decode::{Event, FRAGMENT_CREDIT_MAX, FRAGMENT_OVERHEAD};
use crate::error::ProtocolError;
use crate::frame::MessageKind;

/// A message of which parts arrived.
#[derive(Debug)]
pub(super) struct Message {
    body: Body,
    credit: u32,
}

#[derive(Debug)]
enum Body {
    Text(Text),
    Binary(Vec<u8>),
}

impl Message {
    pub(super) const fn new(kind: MessageKind) -> Self {
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

    /// Appends a part. The buffer grows by factors, but never above `bytes_max`.
    pub(super) fn extend(&mut self, part: &[u8], bytes_max: usize) -> Result<(), ProtocolError> {
        let (len, capacity) = match &self.body {
            Body::Text(text) => (text.valid.len(), text.valid.capacity()),
            Body::Binary(bytes) => (bytes.len(), bytes.capacity()),
        };
        let needed = self.len() + part.len();
        if needed > capacity {
            let additional = needed.max(capacity.saturating_mul(2)).min(bytes_max) - len;
            match &mut self.body {
                Body::Text(text) => text.valid.reserve_exact(additional),
                Body::Binary(bytes) => bytes.reserve_exact(additional),
            }
        }
        match &mut self.body {
            Body::Text(text) => text.extend(part),
            Body::Binary(bytes) => {
                bytes.extend_from_slice(part);
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

    /// The payload bytes that arrived.
    pub(super) const fn len(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.valid.len() + text.cut_len,
            Body::Binary(bytes) => bytes.len(),
        }
    }

    /// The heap bytes behind the message.
    pub(super) const fn buffered_bytes(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.valid.capacity(),
            Body::Binary(bytes) => bytes.capacity(),
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
