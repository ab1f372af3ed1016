//! The clients' random numbers: mulberry32, 32 bits of state from a seed that the shell hands in.
//!
//! Owns jitter, nothing else; not for secrets. The generator is written out so that a client in any
//! language draws the same numbers from the same seed and replays the same traces. In JavaScript:
//!
//! ```js
//! a = (a + 0x6d2b79f5) | 0
//! let t = Math.imul(a ^ (a >>> 15), 1 | a)
//! t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
//! const u32 = (t ^ (t >>> 14)) >>> 0
//! const below = Math.floor((u32 / 4294967296) * bound)
//! ```

/// The greatest bound of [`Rng::below`]: with 21 bits the product stays below 2^53, so that a
/// reader with only doubles computes the same number.
pub const BOUND_MAX: u64 = 1 << 21;

/// A small seeded generator (mulberry32).
#[derive(Clone, Debug)]
pub struct Rng(u32);

impl Rng {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// The next 32 bits.
    pub const fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let a = self.0;
        let mut t = (a ^ (a >> 15)).wrapping_mul(1 | a);
        t = t.wrapping_add((t ^ (t >> 7)).wrapping_mul(61 | t)) ^ t;
        t ^ (t >> 14)
    }

    /// A number below `bound`, which is cut to [`BOUND_MAX`]; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        (u64::from(self.next_u32()) * bound.min(BOUND_MAX)) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_reference() {
        // Drawn with the JavaScript text above, seeds 0 and 1.
        let mut zero = Rng::new(0);
        assert_eq!(zero.next_u32(), 1_144_304_738);
        assert_eq!(zero.next_u32(), 1_416_247);
        assert_eq!(Rng::new(1).next_u32(), 2_693_262_067);
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut rng = Rng::new(7);
        let drawn: Vec<u64> = (0..200).map(|_| rng.below(4)).collect();
        assert!(drawn.iter().all(|n| *n < 4));
        assert!(drawn.contains(&0) && drawn.contains(&3));
        assert_eq!(rng.below(0), 0);
    }
}
