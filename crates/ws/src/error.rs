//! The violations of RFC 6455 and RFC 7692 that a peer can commit in its frames, and the close code that each
//! is owed. It must not know how they are found.

use thiserror::Error;

use crate::close::CloseCode;

/// Why a peer's frames are refused. The connection has failed (RFC 6455 section 7.1.7): send a
/// close frame with [`close_code`](Self::close_code), then drop the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// An RSV bit is set that no agreed extension gives a meaning to there (section 5.2): RSV1 marks
    /// the first frame of a compressed message and nothing else (RFC 7692 section 6).
    #[error("a reserved bit is set that no extension was agreed for")]
    ReservedBits,
    /// The opcode is one of 0x3–0x7 or 0xB–0xF (section 5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A control frame without FIN (section 5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame with a payload above 125 bytes (section 5.5).
    #[error("a control frame carries more than 125 bytes")]
    ControlTooLong,
    /// A client's frame without a mask (section 5.1).
    #[error("a frame from a client is not masked")]
    Unmasked,
    /// A server's frame with a mask (section 5.1).
    #[error("a frame from a server is masked")]
    Masked,
    /// A payload length that is not in its shortest form (section 5.2).
    #[error("a payload length is not encoded in its shortest form")]
    NonMinimalLength,
    /// A payload length with the most significant bit set (section 5.2).
    #[error("a payload length has its most significant bit set")]
    LengthOutOfRange,
    /// A continuation frame while no message is in progress (section 5.4).
    #[error("a continuation frame continues no message")]
    UnexpectedContinuation,
    /// A new text or binary frame inside a fragmented message (section 5.4).
    #[error("a new message begins inside a fragmented one")]
    ExpectedContinuation,
    /// A message above [`Limits::message_bytes_max`](crate::Limits::message_bytes_max), judged on
    /// the frame header, or while a compressed message inflates.
    #[error("a message of {announced_bytes} bytes or more is above the limit of {limit_bytes}")]
    MessageTooBig {
        /// What the message's frames announced, or what came out of it, up to now.
        announced_bytes: u64,
        /// The limit.
        limit_bytes: usize,
    },
    /// The fragments of a message cost more than they carry; see
    /// [`FRAGMENT_OVERHEAD`](crate::FRAGMENT_OVERHEAD).
    #[error("a message comes in too many too small fragments")]
    FragmentFlood,
    /// A text message that is not UTF-8 (section 8.1).
    #[error("a text message is not UTF-8")]
    InvalidUtf8,
    /// A compressed message that is not whole DEFLATE data, or that reaches back into an earlier
    /// message although no context is taken over (RFC 7692 section 7.2.2).
    #[error("a compressed message can't be inflated")]
    InvalidDeflate,
    /// A close frame with a body of one byte (section 5.5.1).
    #[error("a close frame has a body of one byte")]
    TruncatedCloseCode,
    /// A close code that must not stand on the wire (section 7.4).
    #[error("close code {0} must not stand on the wire")]
    InvalidCloseCode(u16),
    /// A close reason that is not UTF-8 (section 5.5.1).
    #[error("a close reason is not UTF-8")]
    InvalidCloseReason,
}

impl ProtocolError {
    /// The code that the close frame owes the peer.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate | Self::InvalidCloseReason => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::MessageTooBig { .. } => CloseCode::TOO_BIG,
            Self::FragmentFlood => CloseCode::POLICY,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::Unmasked
            | Self::Masked
            | Self::NonMinimalLength
            | Self::LengthOutOfRange
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::TruncatedCloseCode
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL,
        }
    }
}
