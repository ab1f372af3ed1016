//! Hashing with a seed that the shell draws.
//!
//! Owns the tables' resistance to names chosen to collide. `std`'s own hasher state would draw
//! entropy by itself, which the log must not.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// SipHash over a secret prefix.
#[derive(Clone, Copy)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
