//! Remembers which keys left lately, without their bytes: the ghost queue of S3-FIFO.
//!
//! A key that comes back while it is remembered was wanted after all, and skips probation. What is kept is the key's
//! position, in small sets that forget their oldest first; a false memory (two keys with one position) costs nothing
//! but a promotion. Bounded at creation: 1/256 of the store's bytes, at most 4 MiB, not charged to the store.

/// Positions of one set: four FIFOs of 32 bits fill a quarter of a cache line.
const WAYS: usize = 4;

/// One position is remembered for so many bytes of the store: about as many as it has entries of a usual size.
const STORE_BYTES_PER_POSITION: u64 = 1024;

/// 2¹⁸ sets: a million positions.
const SETS_MAX: u64 = 1 << 18;

/// No position; the one key in four billion that hashes to it shares another's memory.
const NOTHING: u32 = 0;

/// The sets, each newest first.
pub(super) struct Ghosts {
    /// A power of two of them.
    sets: Vec<[u32; WAYS]>,
}

impl Ghosts {
    /// A memory that fits a store of so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let sets = (bytes_max / STORE_BYTES_PER_POSITION / WAYS as u64).clamp(1, SETS_MAX).next_power_of_two();
        Self { sets: vec![[NOTHING; WAYS]; usize::try_from(sets).unwrap_or(1)] }
    }

    /// Notes that this key left.
    pub(super) fn remember(&mut self, position: u32) {
        let set = self.set(position);
        set.rotate_right(1);
        set[0] = position.max(1);
    }

    /// Whether this key left lately; it is then forgotten.
    pub(super) fn recall(&mut self, position: u32) -> bool {
        let set = self.set(position);
        let Some(at) = set.iter().position(|&known| known == position.max(1)) else { return false };
        set[at] = NOTHING;
        set[at..].rotate_left(1);
        true
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.sets.fill([NOTHING; WAYS]);
    }

    fn set(&mut self, position: u32) -> &mut [u32; WAYS] {
        let mask = self.sets.len() - 1;
        &mut self.sets[position as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_recalled_once_and_the_oldest_of_a_set_is_forgotten_first() {
        let mut ghosts = Ghosts::new(0);
        for position in 1..=5 {
            ghosts.remember(position);
        }
        assert!(!ghosts.recall(1), "the fifth of a set pushes the first out");
        assert!(ghosts.recall(3));
        assert!(!ghosts.recall(3));
        assert!([2, 4, 5].map(|position| ghosts.recall(position)).iter().all(|&known| known));
    }

    #[test]
    fn the_memory_is_bounded_whatever_the_store_is() {
        assert_eq!(Ghosts::new(0).sets.len(), 1);
        assert_eq!(Ghosts::new(64 << 20).sets.len() * WAYS, 1 << 16);
        assert_eq!(Ghosts::new(u64::MAX).sets.len() as u64, SETS_MAX);
    }
}
