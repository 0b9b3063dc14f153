//! A part of the near cache: what is kept, and which values may be.
//!
//! Guarantees that a value whose read began before its key was said to have changed is not kept, whoever said so, and
//! that no read finds an older value than one which the upstream gave before the read began:
//!
//! ```text
//!   read sent ── stamp: the generation, and the epoch of the key's slot
//!   changed   ── the entry goes, the slot's epoch moves      a push, a write's acknowledgement, another value read
//!   link lost ── all entries go, the generation moves
//!   answered  ── kept only if generation and epoch are the stamp's
//! ```
//!
//! A stamp stands in place of a list of reads under way: there is nothing to remove for a read that is never answered.
//! Keys share slots, so a change of one may keep another from being kept, once. Time is an argument. Never holds more
//! than its bytes, an entry's overhead counted; who goes first is quick_cache's to say (S3-FIFO: what was asked for once
//! goes before what was asked for twice, <https://s3fifo.com>).

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, Weighter};
use std::hash::{BuildHasherDefault, Hasher};

/// A key, as a hash with a seed of this process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub(super) u64);

impl KeyHash {
    /// The same as a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// When a read was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    generation: u32,
    epoch: u32,
    /// In microseconds of the cache's clock.
    sent: u64,
}

/// How long a key has still to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// That is not known: the value is not kept.
    #[default]
    Unknown,
    /// For ever.
    Endless,
    /// For so many milliseconds from when the upstream was asked.
    Milliseconds(u64),
}

impl Life {
    /// What a reply to PTTL says.
    pub fn from_reply(frame: &[u8]) -> Self {
        let digits = frame.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
        match digits {
            Some(b"-1") => Self::Endless,
            Some(digits) => {
                let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                number.map_or(Self::Unknown, Self::Milliseconds)
            }
            None => Self::Unknown,
        }
    }
}

/// What the upstream answered to a read of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A value: its whole frame.
    Value(&'a [u8], Life),
    /// Nothing.
    Absent,
    /// Nothing; the value stands under another key, which was read at the same moment.
    Elsewhere(&'a [u8]),
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept.
    Kept,
    /// It was there already.
    AsBefore,
    /// It may be stale, is too large or too short-lived.
    Refused,
    /// There is nothing to keep.
    Nothing,
}

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Value(&'a [u8]),
    Elsewhere(&'a [u8]),
    Nothing(Stamp),
}

/// Bytes that an entry takes besides its key and value: its places in quick_cache's table and lists, twice over while
/// those grow, and the head of its allocation.
const ENTRY_OVERHEAD_BYTES: u64 = 112;

/// How many of its largest entries a part has room for: one that took more would drop most of the others, and above
/// 97 % of the room quick_cache takes it and drops it at once.
const ENTRIES_PER_PART_MIN: u64 = 2;

/// Slots of epochs. Two keys that share one only keep each other's reads from being kept.
const SLOTS_COUNT: usize = 4096;

/// How many entries a part is made for, before it grows.
const ENTRIES_EXPECTED: usize = 64;

#[derive(Clone)]
pub(super) struct Shard {
    entries: Cache<KeyHash, Entry, Charge, BuildHasherDefault<AsItIs>, CountEvictions>,
    generation: u32,
    epochs: Box<[u32]>,
    evictions: u64,
}

#[derive(Clone)]
struct Entry {
    /// The key, and behind it the value's frame, or the other key.
    bytes: Box<[u8]>,
    key_bytes: u32,
    is_elsewhere: bool,
    /// Until when it may be given, in microseconds of the cache's clock.
    until: u64,
}

impl Entry {
    fn new(key: &[u8], rest: &[u8], is_elsewhere: bool, until: u64) -> Option<Self> {
        let key_bytes = u32::try_from(key.len()).ok()?;
        Some(Self { bytes: [key, rest].concat().into_boxed_slice(), key_bytes, is_elsewhere, until })
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.key_bytes as usize..]
    }

    fn says(&self, answer: &Answer<'_>) -> bool {
        match answer {
            Answer::Value(frame, _) => !self.is_elsewhere && self.rest() == *frame,
            Answer::Elsewhere(other) => self.is_elsewhere && self.rest() == *other,
            Answer::Absent => false,
        }
    }
}

impl Shard {
    pub(super) fn new(bytes_max: u64) -> Self {
        let entries = Cache::with(ENTRIES_EXPECTED, bytes_max, Charge, BuildHasherDefault::default(), CountEvictions);
        Self { entries, generation: 0, epochs: vec![0; SLOTS_COUNT].into(), evictions: 0 }
    }

    /// What is kept of this key at `now`; the stamp for a read of it where nothing is.
    #[inline]
    pub(super) fn look_up(&self, hash: KeyHash, key: &[u8], now: u64) -> Found<'_> {
        match self.entries.get(&hash) {
            Some(entry) if entry.until > now && entry.key() == key => {
                if entry.is_elsewhere {
                    Found::Elsewhere(entry.rest())
                } else {
                    Found::Value(entry.rest())
                }
            }
            _ => Found::Nothing(self.stamp(hash, now)),
        }
    }

    /// A read of this key is being sent.
    pub(super) fn stamp(&self, hash: KeyHash, now: u64) -> Stamp {
        Stamp { generation: self.generation, epoch: self.epochs[slot(hash)], sent: now }
    }

    /// The upstream answered a read, sent at `stamp` if it was then to be kept. What is kept lives for `life_max`
    /// microseconds at most.
    pub(super) fn answered(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        stamp: Option<Stamp>,
        answer: &Answer<'_>,
        life_max: u64,
    ) -> Kept {
        let stamp = stamp.filter(|stamp| self.is_current(hash, stamp));
        let until = stamp.and_then(|stamp| Some(stamp.sent + life(answer).filter(|&life| life > 0)?.min(life_max)));
        if let Some(mut entry) = self.entries.get_mut(&hash)
            && entry.key() == key
            && entry.says(answer)
        {
            if let Some(until) = until {
                entry.until = until;
            }
            return Kept::AsBefore;
        }
        // Whoever is given this must not be given an older one later: neither what is kept nor what is on its way is known
        // to be newer.
        self.changed(hash);
        let entry = match (answer, until) {
            (Answer::Absent, _) => return Kept::Nothing,
            (Answer::Value(frame, _), Some(until)) => Entry::new(key, frame, false, until),
            (Answer::Elsewhere(other), Some(until)) => Entry::new(key, other, true, until),
            (_, None) => None,
        };
        let charge_max = self.entries.capacity() / ENTRIES_PER_PART_MIN;
        let Some(entry) = entry.filter(|entry| charge(entry) <= charge_max) else { return Kept::Refused };
        let mut evicted = Evicted::default();
        self.entries.insert_with_lifecycle(hash, entry, &mut evicted);
        self.evictions += evicted.0;
        Kept::Kept
    }

    fn is_current(&self, hash: KeyHash, stamp: &Stamp) -> bool {
        (stamp.generation, stamp.epoch) == (self.generation, self.epochs[slot(hash)])
    }

    /// The key has changed, or may have.
    pub(super) fn changed(&mut self, hash: KeyHash) {
        let epoch = &mut self.epochs[slot(hash)];
        *epoch = epoch.wrapping_add(1);
        self.entries.remove(&hash);
    }

    /// Somebody is about to be shown this value of a key: unless it is what is kept, it may be newer.
    pub(super) fn shown(&mut self, hash: KeyHash, frame: &[u8]) {
        let is_kept = self.entries.peek(&hash).is_some_and(|entry| !entry.is_elsewhere && entry.rest() == frame);
        if !is_kept {
            self.changed(hash);
        }
    }

    /// Everything may have changed.
    pub(super) fn all_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.entries.clear();
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }
}

/// How long what an answer says may be given, in microseconds; none where it is not to be kept.
fn life(answer: &Answer<'_>) -> Option<u64> {
    match answer {
        Answer::Value(_, Life::Endless) | Answer::Elsewhere(_) => Some(u64::MAX),
        Answer::Value(_, Life::Milliseconds(milliseconds)) => Some(milliseconds.saturating_mul(1000)),
        Answer::Value(_, Life::Unknown) | Answer::Absent => None,
    }
}

fn slot(hash: KeyHash) -> usize {
    hash.0 as usize % SLOTS_COUNT
}

/// What an entry is charged.
fn charge(entry: &Entry) -> u64 {
    allocated(entry.bytes.len()) as u64 + ENTRY_OVERHEAD_BYTES
}

/// What an allocation of so many bytes takes: jemalloc has four sizes to each doubling
/// (<https://jemalloc.net/jemalloc.3.html>, "size classes"), and steps of 16 below.
fn allocated(bytes: usize) -> usize {
    let step = match bytes {
        0..=128 => 16,
        _ => 1_usize << (usize::BITS - (bytes - 1).leading_zeros() - 3),
    };
    bytes.next_multiple_of(step)
}

#[derive(Clone)]
struct Charge;

impl Weighter<KeyHash, Entry> for Charge {
    fn weight(&self, _: &KeyHash, entry: &Entry) -> u64 {
        charge(entry)
    }
}

#[derive(Clone)]
struct CountEvictions;

#[derive(Default)]
struct Evicted(u64);

impl Lifecycle<KeyHash, Entry> for CountEvictions {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, _: KeyHash, _: Entry) {
        evicted.0 += 1;
    }
}

/// The hash of a key's hash is that itself.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never called: a `KeyHash` hashes as one number.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
