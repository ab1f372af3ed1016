//! Names of channels: PROTOCOL.md, section 6.

/// The longest name that any server may allow, in bytes: it stands in every message, so it must stay
/// far below one.
pub const CHANNEL_BYTES_LIMIT: usize = 1_024;

/// Whether a channel may be called so where names have at most so many bytes.
pub fn is_channel(name: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&name.len()) && !name.chars().any(char::is_control)
}
