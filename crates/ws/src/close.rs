//! Close codes and the body of a close frame (RFC 6455 sections 5.5.1 and 7.4). It must not know
//! when a close frame is sent; that is `closing`'s.

use std::borrow::Cow;
use std::fmt;

use crate::error::ProtocolError;
use crate::frame::CONTROL_PAYLOAD_MAX;

/// The longest reason in bytes: what a control frame holds beside the code.
const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// A close code that may stand on the wire: 1000–1003, 1007–1014 and 3000–4999.
///
/// 1005, 1006 and 1015 are excluded by construction; they exist only as
/// [`Outcome::code`](crate::Outcome::code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a violation of RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// 1007: data that contradicts its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy is violated.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);

    /// The code, if it may stand on the wire.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code's number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The body of a close frame: a code and a reason of at most 123 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    code: CloseCode,
    reason: Cow<'a, str>,
}

impl<'a> CloseFrame<'a> {
    /// A close body; a reason above 123 bytes is cut at the last character boundary that fits.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<Cow<'a, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > REASON_BYTES_MAX {
            let end = reason.floor_char_boundary(REASON_BYTES_MAX);
            match &mut reason {
                Cow::Borrowed(text) => *text = &text[..end],
                Cow::Owned(text) => text.truncate(end),
            }
        }
        Self { code, reason }
    }

    /// Reads the payload of a close frame; an empty one means that no code was given.
    pub(crate) fn parse(payload: Cow<'a, [u8]>) -> Result<Option<Self>, ProtocolError> {
        let code = match *payload {
            [] => return Ok(None),
            [_] => return Err(ProtocolError::TruncatedCloseCode),
            [high, low, ..] => u16::from_be_bytes([high, low]),
        };
        let code = CloseCode::new(code).ok_or(ProtocolError::InvalidCloseCode(code))?;
        let reason = match payload {
            Cow::Borrowed(bytes) => Cow::Borrowed(reason_text(bytes)?),
            Cow::Owned(bytes) => Cow::Owned(reason_text(&bytes)?.to_owned()),
        };
        Ok(Some(Self { code, reason }))
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason; text from the peer, to be escaped before it is shown or logged.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The same frame without borrows.
    #[must_use]
    pub fn into_owned(self) -> CloseFrame<'static> {
        CloseFrame {
            code: self.code,
            reason: Cow::Owned(self.reason.into_owned()),
        }
    }
}

/// The reason in a close payload, behind the code.
fn reason_text(payload: &[u8]) -> Result<&str, ProtocolError> {
    simdutf8::basic::from_utf8(&payload[2..]).map_err(|_| ProtocolError::InvalidCloseReason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_stand_on_the_wire() {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
        ] {
            assert_eq!(CloseCode::new(code).map(CloseCode::as_u16), Some(code));
        }
        for code in [3000, 3999, 4000, 4400, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::as_u16), Some(code));
        }
        for code in [
            0,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let exact = "a".repeat(123);
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, &*exact).reason(), exact);
        // 122 bytes and then a character of three bytes, which would end at byte 125.
        let long = format!("{}€€", "a".repeat(122));
        assert_eq!(
            CloseFrame::new(CloseCode::NORMAL, &*long).reason(),
            "a".repeat(122)
        );
        assert_eq!(
            CloseFrame::new(CloseCode::NORMAL, long).reason(),
            "a".repeat(122)
        );
    }
}
