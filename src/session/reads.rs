//! The reads of a session that are on their way upstream, as far as the near cache could overtake them.
//!
//! Guarantees that a session which reads an entry twice is never given an older value the second time: while the first
//! answer is due, the second is asked for behind it. Entries and keys are told apart, and one holds up the other, since an
//! entry stands under one of two keys.

use std::collections::VecDeque;

/// One read: of an entry or of a key, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read(u64);

/// The bit that tells the two kinds of reads apart.
const IS_OF_ENTRY: u64 = 1;

impl Read {
    /// A read of the entry with this hash.
    pub fn of_entry(hash: u64) -> Self {
        Self(hash | IS_OF_ENTRY)
    }

    /// A read of the key with this hash.
    pub fn of_key(hash: u64) -> Self {
        Self(hash & !IS_OF_ENTRY)
    }

    fn is_of_another_kind(self, other: Self) -> bool {
        (self.0 ^ other.0) & IS_OF_ENTRY != 0
    }
}

/// With how many reads under way a further one is compared; where there are more, it is taken for one of them.
const COMPARED_MAX: usize = 64;

/// Among how many reads under way one is counted: as many as a client has in flight by default, so that what is counted for
/// each does not grow with a longer pipeline.
const COUNTED_MAX: usize = 1024;

/// How many reads there is room kept for while none is on its way.
const READS_KEPT: usize = 16;

/// The reads of one session that are on their way.
#[derive(Debug, Default)]
pub struct Reads(VecDeque<Read>);

impl Reads {
    /// Whether none is on its way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a read has to go upstream behind those that are on their way.
    #[inline]
    pub fn hold_up(&self, read: Read) -> bool {
        !self.0.is_empty()
            && (self.0.len() > COMPARED_MAX
                || self.0.iter().any(|&other| other == read || other.is_of_another_kind(read)))
    }

    /// Whether this read is on its way more than once; taken to be where very many are.
    pub fn has_several(&self, read: Read) -> bool {
        self.0.len() > COUNTED_MAX || self.0.iter().filter(|&&other| other == read).count() > 1
    }

    /// A read was sent.
    pub fn begin(&mut self, read: Read) {
        self.0.push_back(read);
    }

    /// A read was answered, or won't be.
    pub fn end(&mut self, read: Read) {
        // Nearly always the oldest.
        if let Some(at) = self.0.iter().position(|&other| other == read) {
            self.0.remove(at);
        }
        if self.0.is_empty() && self.0.capacity() > READS_KEPT {
            self.0 = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_the_same_one_and_for_those_of_the_other_kind() {
        let mut reads = Reads::default();
        let (key, other) = (Read::of_key(8), Read::of_key(16));
        assert!(!reads.hold_up(key));
        reads.begin(key);
        reads.begin(key);
        assert!(reads.hold_up(key) && !reads.hold_up(other) && reads.hold_up(Read::of_entry(16)));
        assert!(reads.has_several(key));
        reads.end(key);
        assert!(!reads.has_several(key));
        assert!(reads.hold_up(key));
        reads.end(key);
        reads.end(key);
        assert!(!reads.hold_up(key));
        reads.begin(Read::of_entry(16));
        assert!(reads.hold_up(other) && !reads.hold_up(Read::of_entry(32)));
    }

    #[test]
    fn behind_very_many_nothing_is_compared() {
        let mut reads = Reads::default();
        (0..=COMPARED_MAX as u64).for_each(|number| reads.begin(Read::of_key(number * 2)));
        assert!(reads.hold_up(Read::of_key(1000)));
    }
}
