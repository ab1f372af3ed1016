//! The bytes of the log, version 1, as docs/log-format.md describes them.
//!
//! Owns file headers, frames and records, both ways. Must not know files, channels' state or time.
//! Reading never panics and never allocates by a length that it has not checked.

pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod hint;
pub(crate) mod record;
pub(crate) mod varint;

/// Written into every file; a reader refuses what is newer.
pub const FORMAT_VERSION: u32 = 1;
