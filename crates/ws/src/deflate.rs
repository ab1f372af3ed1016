//! permessage-deflate (RFC 7692): payloads compressed and inflated. It owns the two zlib states;
//! it must not know frames or who agreed on what.
//!
//! No context is taken over, so a state is only needed while one message is worked on: a thread
//! needs one of each for all of its connections, and an idle connection holds none.

mod deflater;
mod inflater;

pub use deflater::Deflater;
pub use inflater::Inflater;

/// What ends each flushed block sequence and is left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
