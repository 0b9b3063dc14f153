//! One key with its value, and where it hangs.
//!
//! Entries live in one dense array; whatever points at an entry says its [`Place`] there. Key and value share one
//! allocation of exactly their size, because the allocator's own cost per piece is what small entries mostly are.
//! Leaves to others: the links are written by [`super::table`] and [`super::queue`] only.

use std::num::NonZeroU32;

/// What an entry is charged above its key and value, in bytes.
///
/// 56 for [`Entry`] with an eighth of spare room in its array, at most 12 for the table's heads, and the allocator's
/// header and rounding for one piece of memory (some 16). Measured with glibc, small entries made the process grow by
/// 0.83 to 1.01 times what they were charged.
pub(super) const ENTRY_OVERHEAD_BYTES: u64 = 96;

/// The most that [`Entry::uses`] counts to: S3-FIFO's two bits.
const USES_MAX: u8 = 3;

/// Where an entry stands in the dense array; stored plus one, so that a [`Link`] takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) NonZeroU32);

/// A pointer that may point nowhere.
pub(super) type Link = Option<Place>;

impl Place {
    /// The place with this index, `None` past the last that 32 bits can say.
    pub(super) fn new(index: usize) -> Link {
        u32::try_from(index).ok()?.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    /// The index in the dense array.
    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// When an entry ends, in Unix milliseconds. As in Redis it is still there in that very millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline(u64);

impl Deadline {
    /// No end: `PERSIST`.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// The end at this time. Redis's times are signed, so the largest never means [`Self::NEVER`].
    pub(super) fn at(unix_ms: i64) -> Self {
        Self(u64::try_from(unix_ms).unwrap_or(0))
    }

    /// Whether it lies before `unix_ms`.
    pub(super) fn passed(self, unix_ms: u64) -> bool {
        self.0 < unix_ms
    }

    /// The time it names, `None` for [`Self::NEVER`].
    pub(super) fn unix_ms(self) -> Option<u64> {
        (self != Self::NEVER).then_some(self.0)
    }
}

/// Which of S3-FIFO's two queues an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueName {
    /// New entries, on probation.
    Small,
    /// Entries that were used while on probation, or came back soon after it.
    Main,
}

/// A key, its value, and its links.
pub(super) struct Entry {
    /// The key, then the value.
    bytes: Box<[u8]>,
    /// When it ends; changed by the commands.
    pub(super) deadline: Deadline,
    /// How many of `bytes` are the key.
    key_bytes: u32,
    /// Which database it belongs to.
    pub(super) database: u32,
    /// The key's hash: the order of `SCAN`.
    pub(super) position: u32,
    /// The next entry of the same bucket; the table's.
    pub(super) chained: Link,
    /// The entry that entered its queue next; the queue's.
    pub(super) newer: Link,
    /// The entry that entered its queue before; the queue's.
    pub(super) older: Link,
    /// The queue it stands in.
    pub(super) queue: QueueName,
    /// Uses since it entered its queue, at most [`USES_MAX`].
    pub(super) uses: u8,
}

impl Entry {
    /// An entry that hangs nowhere yet; `None` for a key whose length 32 bits can't say.
    pub(super) fn new(database: u32, position: u32, key: &[u8], value: &[u8], deadline: Deadline) -> Option<Self> {
        Some(Self {
            bytes: joined(key, value),
            deadline,
            key_bytes: u32::try_from(key.len()).ok()?,
            database,
            position,
            chained: None,
            newer: None,
            older: None,
            queue: QueueName::Small,
            uses: 0,
        })
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[self.key_bytes as usize..]
    }

    /// What it is charged, in bytes.
    pub(super) fn charge(&self) -> u64 {
        ENTRY_OVERHEAD_BYTES + self.bytes.len() as u64
    }

    /// Puts `value` in the place of the one it has.
    pub(super) fn set_value(&mut self, value: &[u8]) {
        let key_bytes = self.key_bytes as usize;
        if self.value().len() == value.len() {
            self.bytes[key_bytes..].copy_from_slice(value);
        } else {
            self.bytes = joined(self.key(), value);
        }
    }

    /// Adds `tail` to the value.
    pub(super) fn append(&mut self, tail: &[u8]) {
        let mut bytes = Vec::from(std::mem::take(&mut self.bytes));
        bytes.reserve_exact(tail.len());
        bytes.extend_from_slice(tail);
        self.bytes = bytes.into_boxed_slice();
    }

    /// Notes a use, which the eviction will think of.
    pub(super) fn touch(&mut self) {
        self.uses = USES_MAX.min(self.uses + 1);
    }
}

/// What an entry of this size would be charged, in bytes.
pub(super) fn charge(key: &[u8], value_bytes: u64) -> u64 {
    (ENTRY_OVERHEAD_BYTES + key.len() as u64).saturating_add(value_bytes)
}

fn joined(key: &[u8], value: &[u8]) -> Box<[u8]> {
    [key, value].concat().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_no_more_than_its_overhead_says() {
        assert_eq!(size_of::<Entry>(), 56);
        assert_eq!(size_of::<Link>(), 4);
    }

    #[test]
    fn an_entry_is_there_in_the_millisecond_of_its_deadline() {
        let deadline = Deadline::at(1000);
        assert!(!deadline.passed(1000));
        assert!(deadline.passed(1001));
        assert!(!Deadline::NEVER.passed(u64::MAX));
        assert_eq!(Deadline::at(i64::MAX).unix_ms(), Some(i64::MAX as u64));
    }
}
