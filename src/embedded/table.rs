//! Finds the entries of one database by key, and walks them in the order of their hashes.
//!
//! A bucket holds the entries whose positions (32 bits of hash) start with the same bits, so that bucket after bucket
//! is ascending order, and one bucket splits into two neighbours:
//!
//! ```text
//! coarse, b bits      |   0   |   1   |   2   |   3   |        positions left of `split` are in fine,
//! fine, b + 1 bits    | 0 | 1 | 2 | 3 |   :   :   :   :        the others in coarse
//!                                     ^ split
//! ```
//! Guarantees: an insertion splits at most one bucket and a removal joins at most [`JOINS_PER_REMOVAL`], so no command
//! waits for the table to be built anew; a walk by position meets every entry that is there throughout exactly once,
//! however often the table grows and shrinks meanwhile (Redis's `dictScan` promises "at least once").
//! Leaves to others: the entries themselves, and that no key enters twice.

use super::entry::{Entry, Link, Place};
use std::mem;
use std::num::NonZeroU32;

/// The smallest table has 2⁴ buckets.
const BITS_MIN: u32 = 4;

/// Past 2²⁹ buckets the chains grow instead; `fine` then still fits 32 bits of position.
const BITS_MAX: u32 = 29;

/// Bits of a position.
const POSITION_BITS: u32 = u32::BITS;

/// A table is shrunk when its buckets are more than this many times its entries.
const BUCKETS_PER_ENTRY_MAX: usize = 4;

/// As many as one removal makes superfluous.
const JOINS_PER_REMOVAL: usize = BUCKETS_PER_ENTRY_MAX;

/// The first entry of a chain: a [`Link`] as its bare number, of which the standard library knows that `None` is zero, so
/// that a large table comes from the allocator as untouched pages and not from a loop over them.
type Head = Option<NonZeroU32>;

/// The buckets of one database; see the picture above.
pub(super) struct Table {
    /// Heads of `2^bits` chains; those left of `split` are empty.
    coarse: Vec<Head>,
    /// Heads of `2^(bits + 1)` chains, or nothing while `split` is 0.
    fine: Vec<Head>,
    /// How many buckets of `coarse` have been split; below `2^bits`.
    split: usize,
    bits: u32,
    len: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { coarse: vec![None; 1 << BITS_MIN], fine: Vec::new(), split: 0, bits: BITS_MIN, len: 0 }
    }

    /// How many entries hang here.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> usize {
        (1 << self.bits) + self.split
    }

    /// The entry with this key.
    #[inline]
    pub(super) fn find(&self, entries: &[Entry], position: u32, key: &[u8]) -> Link {
        let mut link = self.head(position);
        while let Some(place) = link {
            let entry = &entries[place.index()];
            if entry.position == position && entry.key() == key {
                return link;
            }
            link = entry.chained;
        }
        None
    }

    /// The first entry of the bucket that `position` lies in, and where the next bucket starts; `None` after the last.
    /// The bucket may hold entries before `position`.
    pub(super) fn bucket(&self, position: u32) -> (Link, Option<u32>) {
        let bits = if index(position, self.bits) < self.split { self.bits + 1 } else { self.bits };
        let width = 1 << (POSITION_BITS - bits);
        (self.head(position), (position & !(width - 1)).checked_add(width))
    }

    /// Hangs in an entry whose `position` is set.
    pub(super) fn insert(&mut self, entries: &mut [Entry], place: Place) {
        let entry = &mut entries[place.index()];
        entry.chained = self.head_mut(entry.position).replace(place.0).map(Place);
        self.len += 1;
        if self.len > self.buckets() && self.bits < BITS_MAX {
            self.split_one(entries);
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, entries: &mut [Entry], place: Place) {
        let after = entries[place.index()].chained.take();
        self.redirect(entries, place, after);
        self.len -= 1;
        for _ in 0..JOINS_PER_REMOVAL {
            let smallest = self.bits == BITS_MIN && self.split == 0;
            if smallest || self.buckets() <= self.len.saturating_mul(BUCKETS_PER_ENTRY_MAX) {
                break;
            }
            self.join_one(entries);
        }
    }

    /// Says `to` wherever the entry at `from` was meant; the entry itself has not moved yet.
    pub(super) fn relocate(&mut self, entries: &mut [Entry], from: Place, to: Place) {
        self.redirect(entries, from, Some(to));
    }

    /// Makes what points at the entry at `place` point at `target`.
    fn redirect(&mut self, entries: &mut [Entry], place: Place, target: Link) {
        let head = self.head_mut(entries[place.index()].position);
        if *head == Some(place.0) {
            *head = target.map(|target| target.0);
            return;
        }
        let mut link = head.map(Place);
        while let Some(before) = link {
            let entry = &mut entries[before.index()];
            if entry.chained == Some(place) {
                entry.chained = target;
                return;
            }
            link = entry.chained;
        }
        debug_assert!(false, "every entry hangs in its bucket");
    }

    fn head(&self, position: u32) -> Link {
        let at = index(position, self.bits);
        let head = if at < self.split { self.fine[index(position, self.bits + 1)] } else { self.coarse[at] };
        head.map(Place)
    }

    fn head_mut(&mut self, position: u32) -> &mut Head {
        let at = index(position, self.bits);
        if at < self.split { &mut self.fine[index(position, self.bits + 1)] } else { &mut self.coarse[at] }
    }

    /// Moves `split` right by one bucket.
    fn split_one(&mut self, entries: &mut [Entry]) {
        if self.split == 0 {
            self.fine = vec![None; 2 << self.bits];
        }
        let mut link = self.coarse[self.split].take().map(Place);
        while let Some(place) = link {
            let entry = &mut entries[place.index()];
            let next = entry.chained;
            entry.chained = self.fine[index(entry.position, self.bits + 1)].replace(place.0).map(Place);
            link = next;
        }
        self.split += 1;
        if self.split == 1 << self.bits {
            self.coarse = mem::take(&mut self.fine);
            self.bits += 1;
            self.split = 0;
        }
    }

    /// Moves `split` left by one bucket.
    fn join_one(&mut self, entries: &mut [Entry]) {
        if self.split == 0 {
            self.bits -= 1;
            self.fine = mem::replace(&mut self.coarse, vec![None; 1 << self.bits]);
            self.split = 1 << self.bits;
        }
        self.split -= 1;
        let left = self.fine[2 * self.split].take();
        let right = self.fine[2 * self.split + 1].take();
        self.coarse[self.split] = left.or(right);
        let mut link = left.map(Place);
        while let Some(place) = link {
            let entry = &mut entries[place.index()];
            link = entry.chained;
            if link.is_none() {
                entry.chained = right.map(Place);
            }
        }
        if self.split == 0 {
            self.fine = Vec::new();
        }
    }
}

/// The bucket of a position where buckets are told by so many bits.
fn index(position: u32, bits: u32) -> usize {
    (position >> (POSITION_BITS - bits)) as usize
}

#[cfg(test)]
mod tests {
    use super::super::entry::Deadline;
    use super::*;
    use std::collections::BTreeSet;

    /// A table over an array in which every index is taken once and never moves.
    struct Bench {
        table: Table,
        entries: Vec<Entry>,
        hung: BTreeSet<u32>,
    }

    impl Bench {
        fn new(keys: u32) -> Self {
            let entry = |i: u32| {
                let position = i.wrapping_mul(0x9E37_79B9);
                Entry::new(0, position, &i.to_le_bytes(), b"", Deadline::NEVER).unwrap()
            };
            Self { table: Table::new(), entries: (0..keys).map(entry).collect(), hung: BTreeSet::new() }
        }

        fn toggle(&mut self, i: u32) {
            let place = Place::new(i as usize).unwrap();
            if self.hung.remove(&i) {
                self.table.remove(&mut self.entries, place);
            } else {
                self.table.insert(&mut self.entries, place);
                self.hung.insert(i);
            }
        }

        fn check(&self) {
            assert_eq!(self.table.len(), self.hung.len());
            for (i, entry) in self.entries.iter().enumerate() {
                let found = self.table.find(&self.entries, entry.position, entry.key());
                assert_eq!(found.map(Place::index), self.hung.contains(&(i as u32)).then_some(i));
            }
        }

        /// One step of a walk from `position`: what it meets, and where it goes on.
        fn step(&self, position: u32) -> (Vec<u32>, Option<u32>) {
            let (mut link, next) = self.table.bucket(position);
            let mut met = Vec::new();
            while let Some(place) = link {
                let entry = &self.entries[place.index()];
                if entry.position >= position {
                    met.push(place.index() as u32);
                }
                link = entry.chained;
            }
            (met, next)
        }
    }

    #[test]
    fn what_hangs_is_found_while_the_table_grows_and_shrinks() {
        let mut bench = Bench::new(500);
        for i in 0..500 {
            bench.toggle(i);
            bench.check();
        }
        assert_eq!(bench.table.buckets(), 500, "one bucket an entry");
        for i in (0..500).rev() {
            bench.toggle(i * 7 % 500);
            bench.check();
            let most = (bench.hung.len() * BUCKETS_PER_ENTRY_MAX).max(1 << BITS_MIN);
            assert!(bench.table.buckets() <= most, "{} for {}", bench.table.buckets(), bench.hung.len());
        }
        assert_eq!(bench.table.buckets(), 1 << BITS_MIN);
        assert_eq!((bench.table.fine.capacity(), bench.table.coarse.len()), (0, 1 << BITS_MIN));
    }

    #[test]
    fn a_walk_meets_what_stays_once_whatever_comes_and_goes() {
        let mut walks = 0;
        for churn in [0, 1, 3, 40, 400] {
            for start in [0, 100, 3000] {
                let mut bench = Bench::new(4000);
                // The first 200 stay; the others come and go while the walk is under way, so the table is resized.
                for i in 0..200 + start {
                    bench.toggle(i);
                }
                let mut met = Vec::new();
                let mut cursor = Some(0);
                let mut moving = 200;
                while let Some(position) = cursor {
                    let (found, next) = bench.step(position);
                    met.extend(found.into_iter().filter(|&i| i < 200));
                    for _ in 0..churn {
                        bench.toggle(moving);
                        moving = if moving == 3999 { 200 } else { moving + 1 };
                    }
                    cursor = next;
                }
                met.sort_unstable();
                assert_eq!(met, (0..200).collect::<Vec<_>>());
                walks += 1;
            }
        }
        assert_eq!(walks, 15);
    }
}
