//! Positions: where a reader stands in a channel, as the text `<epoch>.<offset>.<term>`.
//!
//! Owns the type [`Position`] and its text form (PROTOCOL.md, "Positions"). Must not know how a log
//! stores offsets, nor whether a position still holds: that is decided in `recovery`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The greatest offset of a channel: 2^53 − 1, the greatest integer that JSON readers keep exact.
pub const OFFSET_MAX: u64 = (1 << 53) - 1;

/// A place in the history of one channel; opaque to applications.
///
/// `epoch` names the channel record, `offset` the last publication that the reader has, and `term`
/// the opening of the log under which that publication was written. The position of a channel that
/// does not exist carries the engine's own epoch, offset 0 and, in `term`, the time it was taken, in
/// seconds since 1970.
///
/// ```
/// use bowline_proto::Position;
///
/// let position = Position { epoch: 0xfeed, offset: 42, term: 7 };
/// assert_eq!(position.to_string(), "000000000000feed.42.00000007");
/// assert_eq!("000000000000feed.42.00000007".parse(), Ok(position));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// 64 random bits drawn when the channel was created.
    pub epoch: u64,
    /// The offset of the last publication taken; 0 before the first.
    pub offset: u64,
    /// 32 random bits drawn when the log was opened.
    pub term: u32,
}

/// The text is not a position of this protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position: expected <epoch>.<offset>.<term>")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split('.');
        let (Some(epoch), Some(offset), Some(term), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        let canonical_offset = offset == "0" || !offset.starts_with(['0', '+']);
        if !is_hex(epoch, 16) || !is_hex(term, 8) || !canonical_offset {
            return Err(PositionError);
        }
        let position = Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| PositionError)?,
            offset: offset.parse().map_err(|_| PositionError)?,
            term: u32::from_str_radix(term, 16).map_err(|_| PositionError)?,
        };
        if position.offset > OFFSET_MAX {
            Err(PositionError)
        } else {
            Ok(position)
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{:08x}", self.epoch, self.offset, self.term)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Position;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Position, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Lower-case only, so that one position has one text and clients may compare texts.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_position_is_refused() {
        for text in [
            "",
            "a.b.c",
            "000000000000feed.42",
            "000000000000feed.42.00000007.1",
            "000000000000FEED.42.00000007",
            "000000000000feed.042.00000007",
            "000000000000feed.+1.00000007",
            "000000000000feed.-1.00000007",
            "feed.1.7",
            "000000000000feed.9007199254740992.00000007",
            "000000000000feed..00000007",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text:?}");
        }
    }

    #[test]
    fn the_greatest_offset_is_a_position() {
        let text = "ffffffffffffffff.9007199254740991.ffffffff";
        let position: Position = text.parse().expect("a position at the bound");
        assert_eq!(
            (position.offset, position.to_string().as_str()),
            (OFFSET_MAX, text)
        );
    }
}
