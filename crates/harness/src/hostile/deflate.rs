//! Compressed payloads that grow beyond every bound.

use std::io::Write as _;

use flate2::{Compression, write::DeflateEncoder};

/// So many zeros, compressed as a message is (RFC 7692, 7.2.1): the empty block at the end left out.
pub(super) fn bomb(zeros: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let chunk = [b'0'; 4_096];
    let mut left = zeros;
    while left > 0 {
        let now = left.min(chunk.len());
        encoder.write_all(&chunk[..now]).expect("a Vec takes all");
        left -= now;
    }
    encoder.flush().expect("a Vec takes all");
    let mut bytes = encoder.get_ref().clone();
    assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]), "a flush ends so");
    bytes.truncate(bytes.len() - 4);
    bytes
}
