//! Compressed payloads that grow beyond every bound.

use std::io::Write as _;

use flate2::{Compression, write::DeflateEncoder};

/// So many times this, compressed as a message is (RFC 7692, 7.2.1): the empty block at the end left out.
pub(super) fn bomb(unit: &[u8], times: usize) -> Vec<u8> {
    const CHUNK: usize = 2_048;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let chunk = unit.repeat(CHUNK);
    let mut left = times;
    while left > 0 {
        let now = left.min(CHUNK);
        let bytes = &chunk[..now * unit.len()];
        encoder.write_all(bytes).expect("a Vec takes all");
        left -= now;
    }
    encoder.flush().expect("a Vec takes all");
    let mut bytes = encoder.get_ref().clone();
    assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]), "a flush ends so");
    bytes.truncate(bytes.len() - 4);
    bytes
}
