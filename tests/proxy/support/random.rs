//! Numbers that look random and are the same in every run.
//!
//! For tests over sockets, where a failure must come back when it is looked for; what needs shrinking is tested without
//! sockets, with proptest.

/// A stream of numbers (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        // Spread over all bits; never 0, where xorshift would stay.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
