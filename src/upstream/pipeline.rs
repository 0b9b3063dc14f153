//! The FIFO of one connection: the k-th reply belongs to the k-th request.
//!
//! Guarantees: every waiter is handed back exactly once, by [`Pipeline::pop`], [`Pipeline::expire`] or one of the ways
//! to close; a request that ran out of time leaves a tombstone, so its late reply is swallowed and pairs with nothing
//! else; a request is known as unsent only when not one byte of it left. Leaves sockets and clocks to `running.rs`.
//!
//! ```text
//!   push ─▶ [ W | W | † | W | † | W ] ─▶ pop       W a waiter, † a tombstone (expired, reply still to come)
//! ```

use std::collections::VecDeque;
use std::time::Instant;

/// The requests of one connection that were not answered yet.
#[derive(Debug)]
pub struct Pipeline<W> {
    entries: VecDeque<Entry<W>>,
    /// The notes of all entries, one behind the other, in the order of the entries, from `notes_start` on.
    notes: Vec<u8>,
    notes_start: usize,
    /// No live entry expires before this; exact after [`Self::expire`], else possibly too early.
    next_deadline: Option<Instant>,
    /// Bytes of all requests pushed since the connection began.
    pushed_bytes: u64,
}

/// How many bytes of room for notes are kept while there is none.
const NOTES_KEPT_BYTES: usize = 256 * 1024;

/// How many requests there is room kept for while none is in flight.
const ENTRIES_KEPT: usize = 4096;

/// How many bytes of old notes may lie before the ones in use until they are moved together.
const NOTES_WASTE_MAX: usize = 16 * 1024;

#[derive(Debug)]
struct Entry<W> {
    deadline: Instant,
    /// Offset of the request's first byte in the connection's output.
    begin: u64,
    /// Bytes of its note.
    note: u32,
    /// `None` once expired: a tombstone.
    waiter: Option<W>,
}

/// A waiter whose reply came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped<W> {
    /// What was pushed.
    pub waiter: W,
    /// Until when it was to be answered.
    pub deadline: Instant,
}

impl<W> Default for Pipeline<W> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), notes: Vec::new(), notes_start: 0, next_deadline: None, pushed_bytes: 0 }
    }
}

impl<W> Pipeline<W> {
    /// Adds a request of `bytes` bytes. `note` comes back with the reply; it must be below 4 GiB.
    #[inline]
    pub fn push(&mut self, deadline: Instant, waiter: W, note: &[u8], bytes: usize) {
        if !note.is_empty() {
            self.notes.extend_from_slice(note);
        }
        if self.next_deadline.is_none_or(|next| deadline < next) {
            self.next_deadline = Some(deadline);
        }
        let begin = self.pushed_bytes;
        self.pushed_bytes += bytes as u64;
        self.entries.push_back(Entry { deadline, begin, note: note.len() as u32, waiter: Some(waiter) });
    }

    /// Takes the request that the next reply belongs to: `None` when no reply is expected, `Some(None)` for a
    /// tombstone. Its note replaces what is in `note`.
    #[inline]
    pub fn pop(&mut self, note: &mut Vec<u8>) -> Option<Option<Popped<W>>> {
        let entry = self.entries.pop_front()?;
        note.clear();
        if entry.note > 0 {
            let end = self.notes_start + entry.note as usize;
            note.extend_from_slice(&self.notes[self.notes_start..end]);
            self.forget_note(entry.note);
        }
        Some(entry.waiter.map(|waiter| Popped { waiter, deadline: entry.deadline }))
    }

    /// The oldest note, of so many bytes, is no longer needed.
    fn forget_note(&mut self, bytes: u32) {
        self.notes_start += bytes as usize;
        if self.notes_start == self.notes.len() {
            self.notes.clear();
            self.notes.shrink_to(NOTES_KEPT_BYTES);
            self.notes_start = 0;
        } else if self.notes_start > self.notes.len() / 2 && self.notes_start > NOTES_WASTE_MAX {
            self.notes.drain(..self.notes_start);
            self.notes_start = 0;
        }
    }

    /// Turns every request whose deadline has come into a tombstone and hands over its waiter. One that is `excused`
    /// has until the time that this says instead.
    pub fn expire(
        &mut self,
        now: Instant,
        excused: impl Fn(&W) -> Option<Instant>,
        mut expired: impl FnMut(Popped<W>),
    ) {
        if self.next_deadline.is_none_or(|next| now < next) {
            return;
        }
        let mut next = None;
        for entry in &mut self.entries {
            if entry.deadline <= now
                && let Some(waiter) = &entry.waiter
            {
                match excused(waiter) {
                    Some(until) => entry.deadline = until,
                    None => entry.waiter.take().into_iter().for_each(|waiter| {
                        expired(Popped { waiter, deadline: entry.deadline });
                    }),
                }
            }
            if entry.waiter.is_some() {
                next = Some(next.map_or(entry.deadline, |next: Instant| next.min(entry.deadline)));
            }
        }
        self.next_deadline = next;
    }

    /// The waiter of the oldest request; none when there is no request, or it has expired.
    pub fn front_mut(&mut self) -> Option<&mut W> {
        self.entries.front_mut()?.waiter.as_mut()
    }

    /// The oldest request's reply is on its way and large: it may take until `deadline`, unless it has expired.
    pub fn extend_first(&mut self, deadline: Instant) {
        if let Some(first) = self.entries.front_mut() {
            first.deadline = first.deadline.max(deadline);
        }
    }

    /// The youngest request is large and on its way: it may take until `deadline`, unless it has expired.
    pub fn extend_last(&mut self, deadline: Instant) {
        if let Some(last) = self.entries.back_mut() {
            last.deadline = last.deadline.max(deadline);
        }
    }

    /// So many more bytes of the youngest request were pushed.
    pub fn grow_last(&mut self, bytes: usize) {
        self.pushed_bytes += bytes as u64;
    }

    /// Takes the oldest request's waiter before its reply is whole, and leaves a tombstone in its place: whoever takes
    /// it has to hand it back. `None` when no reply is expected, or for a tombstone.
    pub fn take_first(&mut self) -> Option<Popped<W>> {
        let first = self.entries.front_mut()?;
        Some(Popped { waiter: first.waiter.take()?, deadline: first.deadline })
    }

    /// The reply whose waiter was taken is whole: its tombstone goes.
    #[cold]
    pub fn forget_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.forget_note(entry.note);
        }
    }

    /// Puts back what [`Self::take_first`] took a moment ago.
    pub fn put_back_first(&mut self, taken: Popped<W>) {
        if let Some(first) = self.entries.front_mut() {
            first.waiter = Some(taken.waiter);
        }
    }

    /// Gives memory back that a long pipeline took, once nothing is in flight.
    pub fn shrink(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > ENTRIES_KEPT {
            self.entries = VecDeque::new();
        }
    }

    /// Until when the oldest request was to be answered, whether or not it has expired.
    pub fn oldest_deadline(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.deadline)
    }

    /// When [`Self::expire`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// The connection broke after `sent` bytes: hands over every request of which a byte was sent. What is left was
    /// not sent at all and counts from 0 again; returned is the offset at which it began.
    pub fn close(&mut self, sent: u64, mut broken: impl FnMut(Popped<W>)) -> u64 {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.begin < sent) {
            self.forget_note(entry.note);
            if let Some(waiter) = entry.waiter {
                broken(Popped { waiter, deadline: entry.deadline });
            }
        }
        let kept = self.entries.front().map_or(self.pushed_bytes, |first| first.begin);
        for entry in &mut self.entries {
            entry.begin -= kept;
        }
        self.pushed_bytes -= kept;
        kept
    }

    /// Hands over every request and forgets them all.
    pub fn drain(&mut self, mut dropped: impl FnMut(Popped<W>)) {
        for entry in std::mem::take(&mut self.entries) {
            if let Some(waiter) = entry.waiter {
                dropped(Popped { waiter, deadline: entry.deadline });
            }
        }
        *self = Self::default();
    }

    /// How many replies are to come, those of tombstones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no reply is to come.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
