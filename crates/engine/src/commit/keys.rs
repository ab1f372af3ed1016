//! The digests by which idempotency keys and bodies are known, in memory and on disk.

use bowline_proto::Data;
use sha2::{Digest, Sha256};

use crate::{contract::IdempotencyKey, format::record::KeyId};

/// A key of one channel.
pub(super) fn identity(channel: &str, key: IdempotencyKey) -> KeyId {
    let digest = Sha256::new()
        .chain_update(key.0)
        .chain_update(channel)
        .finalize();
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

/// What a key stands for: kind, data, user and tag.
pub(super) fn body(data: &Data, user: Option<&str>, tag: Option<&str>) -> u64 {
    let mut hash = Sha256::new().chain_update([u8::from(matches!(data, Data::Binary(_)))]);
    for text in [user, tag] {
        // Lengths keep the parts apart; one that is absent differs from one that is empty.
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hash = hash
            .chain_update(length.to_le_bytes())
            .chain_update(text.unwrap_or(""));
    }
    let digest = hash.chain_update(data.bytes()).finalize();
    u64::from_le_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        let json = |text: &'static str| Data::Json(text.into());
        let mut seen = std::collections::BTreeSet::new();
        for (data, user, tag) in [
            (json("1"), None, None),
            (json("1"), Some(""), None),
            (json("1"), None, Some("")),
            (json("1"), Some("a"), Some("b")),
            (json("1"), Some("ab"), Some("")),
            (json("1"), None, Some("ab")),
            (Data::Binary("1".into()), None, None),
        ] {
            assert!(
                seen.insert(body(&data, user, tag)),
                "{data:?} {user:?} {tag:?}"
            );
        }
        let key = IdempotencyKey([1; 16]);
        assert_ne!(identity("a", key), identity("b", key));
    }
}
