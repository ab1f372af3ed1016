//! What a handshake agreed on beyond RFC 6455. It owns the meaning of the RSV bits; it must not
//! know how a payload is transformed.

/// The extensions that both sides agreed on in the opening handshake.
///
/// Today this is always [`Extensions::NONE`]: the server declines every offer by leaving
/// `Sec-WebSocket-Extensions` out of its answer, the client offers none and refuses an answer that
/// names one. permessage-deflate (RFC 7692) takes its place here as a field with the negotiated
/// parameters; the handshakes fill it, and the decoder asks it which RSV bits a frame may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extensions {}

impl Extensions {
    /// No extension: plain RFC 6455.
    pub const NONE: Self = Self {};

    /// The RSV bits, as they lie in a frame's first byte, that have a meaning on the first frame
    /// of a message. All others are a violation (RFC 6455 section 5.2). permessage-deflate owns
    /// 0x40 (RSV1).
    pub(crate) const fn rsv_bits(self) -> u8 {
        0
    }
}
