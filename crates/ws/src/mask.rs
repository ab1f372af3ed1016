//! Masking of frame payloads (RFC 6455 section 5.3). It owns the XOR and nothing else; where keys
//! come from is the caller's business, because this crate draws no entropy.

/// The four bytes that a client XORs over a frame's payload, as they stand on the wire.
///
/// RFC 6455 section 10.3 wants them unpredictable and fresh for each frame.
pub type MaskKey = [u8; 4];

/// Masks or unmasks `payload` in place; the operation is its own inverse.
///
/// `key` applies from the first byte of `payload`. For a payload that arrives in pieces, use the
/// key that this function returns for the next piece: it is rotated by the bytes done here.
pub fn apply_mask(payload: &mut [u8], key: MaskKey) -> MaskKey {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Whole words let the compiler vectorise the loop without any unsafe code.
    let (words, tail) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
    let mut next = key;
    next.rotate_left(payload.len() % key.len());
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_as_the_example_of_the_rfc() {
        // RFC 6455 section 5.7: a single-frame masked text message.
        let mut payload = *b"Hello";
        apply_mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn equals_the_byte_by_byte_definition_however_it_is_cut() {
        let key = [0xde, 0xad, 0xbe, 0xef];
        let plain: Vec<u8> = (0..100_u8).collect();
        let expected: Vec<u8> = plain
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
            .collect();
        for cut in 0..=plain.len() {
            let mut masked = plain.clone();
            let (head, tail) = masked.split_at_mut(cut);
            let next = apply_mask(head, key);
            apply_mask(tail, next);
            assert_eq!(masked, expected, "cut at {cut}");
        }
    }
}
