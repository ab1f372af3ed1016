//! Where the server's random bits come from.
//!
//! Owns the difference between the system's entropy and a simulation's seed. Must not know what the
//! bits are for.

/// A source of random bits.
#[derive(Debug, Default)]
pub(crate) enum Entropy {
    /// The operating system's.
    #[default]
    System,
    /// A simulation's, which a seed repeats: SplitMix64.
    #[cfg(feature = "simulation")]
    Seeded(crate::sync::Mutex<u64>),
}

impl Entropy {
    /// 128 random bits, or none where the system has none to give.
    pub(crate) fn draw(&self) -> Option<u128> {
        match self {
            Self::System => {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).ok()?;
                Some(u128::from_be_bytes(bytes))
            }
            #[cfg(feature = "simulation")]
            Self::Seeded(state) => {
                let mut state = crate::sync::lock(state);
                let mut half = || {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    u128::from(mixed ^ (mixed >> 31))
                };
                Some(half() << 64 | half())
            }
        }
    }
}
