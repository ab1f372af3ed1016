//! What a handshake agreed on beyond RFC 6455. It owns the meaning of the RSV bits; it must not
//! know how a payload is transformed, nor how the agreement is written in headers.

use crate::frame::RSV1;

/// The largest window of permessage-deflate, log2 of its bytes: what everything sent here uses.
pub(crate) const WINDOW_BITS_MAX: u8 = 15;

/// The extensions that both sides agreed on in the opening handshake: none, or permessage-deflate
/// (RFC 7692), always without context takeover in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extensions {
    pub(crate) deflate: Option<Deflate>,
}

/// permessage-deflate as it was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflate {
    /// The window that the peer demanded of what this side sends, log2 of its bytes: 8–15. What the
    /// peer sends needs no demand, since it is always inflated with the largest window.
    pub(crate) send_window_bits: Option<u8>,
}

impl Extensions {
    /// No extension: plain RFC 6455.
    pub const NONE: Self = Self { deflate: None };

    /// Whether the peer may send compressed messages.
    #[must_use]
    pub const fn may_receive_compressed(self) -> bool {
        self.deflate.is_some()
    }

    /// Whether this side may send messages that a [`Deflater`](crate::Deflater) compressed. Not so
    /// if the peer demanded a window below 32 KB: compressed messages are made once, with the
    /// largest window, for all who take them, and whoever does not is sent them as they are.
    #[must_use]
    pub fn may_send_compressed(self) -> bool {
        self.deflate.is_some_and(|deflate| {
            deflate.send_window_bits.unwrap_or(WINDOW_BITS_MAX) == WINDOW_BITS_MAX
        })
    }

    /// The RSV bits, as they lie in a frame's first byte, that have a meaning on the first frame
    /// of a message. All others are a violation (RFC 6455 section 5.2).
    pub(crate) const fn rsv_bits(self) -> u8 {
        if self.may_receive_compressed() {
            RSV1
        } else {
            0
        }
    }
}
