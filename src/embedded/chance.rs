//! Chance for the store: a hash nobody can guess and a cheap sequence of random numbers.
//!
//! Both come from the seed alone, so that a test can be repeated. A seed that is secret keeps others from choosing keys
//! that share a bucket.

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::hash::Hasher;

/// Gives each key its position.
pub(super) struct KeyHash {
    seed: u64,
    shared: SharedSeed,
}

impl KeyHash {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// The upper half of the key's hash.
    #[inline]
    pub(super) fn position(&self, key: &[u8]) -> u32 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        (hasher.finish() >> u32::BITS) as u32
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for `RANDOMKEY`.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> u32::BITS) as u32
    }

    /// A number below `bound`, or 0 when that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // Scaling by multiplication; the bias is below one in a thousand for any store that fits into memory.
        let scaled = (u128::from(self.bits()) * bound as u128) >> u32::BITS;
        scaled as usize
    }
}
