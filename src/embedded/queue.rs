//! One of the two queues of S3-FIFO: entries in the order in which they entered.
//!
//! ```text
//! newest ⇄ … ⇄ entry ⇄ … ⇄ oldest ──▶ looked at next when room is needed
//! ```
//! The links are in the entries, so queueing allocates nothing. Guarantees that `bytes` is the sum of what its entries
//! are charged. Leaves to [`super::store`] which entry goes and which gets another round.

use super::entry::{Entry, Link, Place};

/// A doubly linked list through the dense array.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) newest: Link,
    pub(super) oldest: Link,
    /// What its entries are charged; the store changes it when a value changes its size.
    pub(super) bytes: u64,
}

impl Queue {
    /// Puts an entry that stands in no queue at the newest end.
    pub(super) fn push(&mut self, entries: &mut [Entry], place: Place) {
        let entry = &mut entries[place.index()];
        entry.newer = None;
        entry.older = self.newest.replace(place);
        self.bytes += entry.charge();
        match entry.older {
            Some(older) => entries[older.index()].newer = Some(place),
            None => self.oldest = Some(place),
        }
    }

    /// Takes out an entry that stands in this queue.
    pub(super) fn remove(&mut self, entries: &mut [Entry], place: Place) {
        let entry = &mut entries[place.index()];
        let (newer, older) = (entry.newer.take(), entry.older.take());
        self.bytes -= entry.charge();
        *self.behind(entries, newer) = older;
        *self.before(entries, older) = newer;
    }

    /// Says `to` wherever the entry at `from` was meant; the entry itself has not moved yet.
    pub(super) fn relocate(&mut self, entries: &mut [Entry], from: Place, to: Place) {
        let (newer, older) = (entries[from.index()].newer, entries[from.index()].older);
        *self.behind(entries, newer) = Some(to);
        *self.before(entries, older) = Some(to);
    }

    /// The link that points away from `newer` towards the oldest end.
    fn behind<'a>(&'a mut self, entries: &'a mut [Entry], newer: Link) -> &'a mut Link {
        match newer {
            Some(place) => &mut entries[place.index()].older,
            None => &mut self.newest,
        }
    }

    /// The link that points away from `older` towards the newest end.
    fn before<'a>(&'a mut self, entries: &'a mut [Entry], older: Link) -> &'a mut Link {
        match older {
            Some(place) => &mut entries[place.index()].newer,
            None => &mut self.oldest,
        }
    }
}
