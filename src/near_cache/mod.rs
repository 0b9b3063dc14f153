//! The near cache: values lately read under the tracked prefixes, kept inside the process so that the next read costs
//! no round trip, and coherent with the upstream.
//!
//! The upstream itself says what has changed (RESP3 `CLIENT TRACKING ON BCAST PREFIX …`, see
//! <https://redis.io/docs/latest/develop/reference/client-side-caching/>), over one connection, the *link*. Guarantees:
//!
//! - a value is kept only where nothing said that its key has changed since its read began (`shard.rs`);
//! - nothing is served unless a PING over the link that was sent less than `near_cache.link_timeout` ago was answered, so
//!   that whoever's write is seen at the latest that long after it, whatever stalls, and within a push where nothing does;
//! - once a write of a client of ours is acknowledged, nothing older is served: it is told to [`NearCache::written`] first.
//!   Where its keys are not known, nothing is served until the link has answered two PINGs sent after it (the *fence*);
//! - reads never go backwards: what the upstream answers to any read of ours takes the place of what is kept;
//! - nothing outlives its key in the upstream, or `near_cache.ttl_max`;
//! - it is of one server, the link's ([`Follows`]): whoever reads from another one is to leave it alone.
//!
//! One store for all workers, in parts of a lock each, held for one look or one change: with a store for each worker a
//! client with two connections could read backwards, and the bytes would hold as many copies of the same values.
//! Time is an argument; the link's socket is its task's.

mod link;
mod shard;
#[cfg(test)]
mod tests;

pub use link::{LINK_NAME, Link, LinkError, LinkEvent, PUSH_BYTES_MAX};
pub use shard::{Answer, Kept, KeyHash, Life, Stamp};

use crate::resp::payload;
use shard::{Found, Shard};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How a near cache is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCacheOptions {
    /// Bytes of all entries, their overhead counted.
    pub bytes_max: u64,
    /// Bytes of one value.
    pub value_bytes_max: usize,
    /// How long an entry is served at most.
    pub ttl_max: Duration,
    /// The same where nobody says what has changed.
    pub ttl_max_without_tracking: Duration,
    /// What the keys begin with that are tracked; at least one, the empty one for all keys.
    pub prefixes: Vec<Vec<u8>>,
    /// How many threads use it.
    pub workers: usize,
}

/// What is in a near cache, and what happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearCacheStats {
    /// Whether it may answer.
    pub is_open: bool,
    /// Whether nobody says what has changed, so that entries end by their time alone.
    pub is_untracked: bool,
    /// Entries.
    pub entries: u64,
    /// Bytes that they take, overhead counted.
    pub bytes: u64,
    /// Entries dropped to make room, since the start.
    pub evictions: u64,
}

/// What a write may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// Nothing that is tracked.
    #[default]
    Nothing,
    /// This key.
    One(KeyHash),
    /// These two.
    Two(KeyHash, KeyHash),
    /// These keys.
    Many(Box<[KeyHash]>),
    /// Any key.
    Unknown,
    /// Every key.
    All,
}

impl Written {
    /// What several writes may have changed.
    pub fn any(all: impl IntoIterator<Item = Self>) -> Self {
        let (mut keys, mut unknown) = (Vec::new(), false);
        for written in all {
            match written {
                Self::Nothing => {}
                Self::One(key) => keys.push(key),
                Self::Two(first, second) => keys.extend([first, second]),
                Self::Many(many) => keys.extend(many),
                Self::Unknown => unknown = true,
                Self::All => return Self::All,
            }
            unknown |= keys.len() > WRITTEN_KEYS_MAX;
            if unknown {
                keys.clear();
            }
        }
        if unknown {
            return Self::Unknown;
        }
        match *keys {
            [] => Self::Nothing,
            [key] => Self::One(key),
            [first, second] => Self::Two(first, second),
            _ => Self::Many(keys.into_boxed_slice()),
        }
    }
}

/// Which server the link tells of, to somebody who reads from one. Behind one address there may be two: while it moves
/// from one to the other and the first lives on, or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// That one.
    It,
    /// Not that one.
    Another,
    /// Either server has not said who it is.
    Unknown,
}

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// The value; its frame was appended.
    Hit,
    /// Nothing: the upstream is to be asked. The stamp is for its answer; none where that is not to be kept.
    Miss(Option<Stamp>),
}

/// Keys of one write that are remembered one by one; past it any key may have changed.
const WRITTEN_KEYS_MAX: usize = 1024;

/// Parts for each thread: few threads then ever want the same one.
const SHARDS_PER_WORKER: usize = 8;

/// The most parts, and how many of the largest values each has room for at least.
const SHARDS_MAX: usize = 256;
const VALUES_PER_SHARD_MIN: u64 = 8;

/// What `until` says where there is no end.
const ENDLESS: u64 = u64::MAX;

/// A near cache, shared by all workers and the link's task.
pub struct NearCache {
    options: NearCacheOptions,
    seed: RandomSeed,
    /// When its clock began.
    began: Instant,
    shards: Box<[Lock]>,
    /// Until when it may answer, in microseconds of its clock; 0 while it may not.
    until: AtomicU64,
    is_untracked: AtomicBool,
    /// The server that the link tells of; 0 where that is not known. Changes only while nothing may be answered, and
    /// everything is dropped in between: a stamp is of one server.
    server: AtomicU64,
    /// How often a write asked for a fence, and which of these the link has come to.
    fences_wanted: AtomicU64,
    fences_reached: AtomicU64,
    distrusted: AtomicU64,
    /// How often a lane was connected to a server that the link does not tell of.
    missed: AtomicU64,
    notifier: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

type RandomSeed = foldhash::fast::FixedState;

#[expect(
    clippy::disallowed_types,
    reason = "a named exception: one store for all workers, held for one look or change"
)]
type Lock = std::sync::Mutex<Shard>;

impl NearCache {
    /// An empty one, which does not answer yet. `now` is when its clock begins.
    pub fn new(options: NearCacheOptions, now: Instant) -> Self {
        let shards = shard_count(&options);
        let bytes_max = options.bytes_max / shards as u64;
        Self {
            seed: RandomSeed::with_seed(RandomState::new().hash_one(now)),
            began: now,
            shards: (0..shards).map(|_| Lock::new(Shard::new(bytes_max))).collect(),
            until: AtomicU64::new(0),
            is_untracked: AtomicBool::new(false),
            server: AtomicU64::new(0),
            fences_wanted: AtomicU64::new(0),
            fences_reached: AtomicU64::new(0),
            distrusted: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            notifier: OnceLock::new(),
            options,
        }
    }

    /// How it was made.
    pub fn options(&self) -> &NearCacheOptions {
        &self.options
    }

    /// Whether this key's changes are heard of.
    #[inline]
    pub fn tracks(&self, key: &[u8]) -> bool {
        self.options.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// What a key is known by.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.seed.hash_one(key))
    }

    /// Whether it may answer.
    #[inline]
    pub fn is_open(&self, now: Instant) -> bool {
        self.may_answer(self.micros(now))
    }

    #[inline]
    fn may_answer(&self, now: u64) -> bool {
        // Behind an acknowledged write, whoever reads next has to see that a fence was asked for.
        self.until.load(Ordering::Acquire) > now && self.fences_reached.load(Ordering::Acquire) >= self.fence_wanted()
    }

    /// Looks a key up; a value's frame is appended to `out`.
    #[inline]
    pub fn look_up(&self, hash: KeyHash, key: &[u8], now: Instant, out: &mut Vec<u8>) -> LookUp {
        self.find(hash, key, now, out, |_| None)
    }

    /// Looks an entry up by its key; where its value is known to stand under another one, it is that.
    #[inline]
    pub fn look_up_entry(&self, hash: KeyHash, key: &[u8], now: Instant, out: &mut Vec<u8>) -> LookUp {
        self.find(hash, key, now, out, |other| Some(other.to_vec()))
    }

    #[inline]
    fn find(
        &self,
        hash: KeyHash,
        key: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        follow: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> LookUp {
        let now = self.micros(now);
        if !self.may_answer(now) {
            return LookUp::Miss(self.stamp_at(hash, now));
        }
        let shard = self.shard(hash);
        match shard.look_up(hash, key, now) {
            Found::Value(frame) => {
                out.extend_from_slice(frame);
                LookUp::Hit
            }
            Found::Nothing(stamp) => LookUp::Miss(Some(stamp)),
            Found::Elsewhere(other) => {
                let (other, stamp) = (follow(other), shard.stamp(hash, now));
                // One lock at a time.
                drop(shard);
                other.and_then(|other| self.follow(&other, now, out)).unwrap_or(LookUp::Miss(Some(stamp)))
            }
        }
    }

    /// The value that stands under another key than the one asked for.
    fn follow(&self, key: &[u8], now: u64, out: &mut Vec<u8>) -> Option<LookUp> {
        let hash = self.hash(key);
        let shard = self.shard(hash);
        let Found::Value(frame) = shard.look_up(hash, key, now) else { return None };
        out.extend_from_slice(frame);
        Some(LookUp::Hit)
    }

    /// A read of this key is being sent; none where its answer is not to be kept.
    pub fn stamp(&self, hash: KeyHash, now: Instant) -> Option<Stamp> {
        self.stamp_at(hash, self.micros(now))
    }

    fn stamp_at(&self, hash: KeyHash, now: u64) -> Option<Stamp> {
        (self.until.load(Ordering::Acquire) > now).then(|| self.shard(hash).stamp(hash, now))
    }

    /// The upstream answered a read of a tracked key, whether or not the answer was to be kept (`stamp`). To be called
    /// before anybody is given the answer.
    pub fn answered(&self, hash: KeyHash, key: &[u8], stamp: Option<Stamp>, answer: &Answer<'_>) -> Kept {
        // Nearly every frame is short enough with its header: only a long one is looked into.
        let exceeds = |frame: &[u8]| {
            let bytes_max = self.options.value_bytes_max;
            frame.len() > bytes_max && payload(frame).is_none_or(|value| value.len() > bytes_max)
        };
        let too_large = matches!(answer, Answer::Value(frame, _) if exceeds(frame));
        let stamp = stamp.filter(|_| !too_large);
        let life_max = match self.is_untracked.load(Ordering::Relaxed) {
            false => self.options.ttl_max,
            true => self.options.ttl_max_without_tracking.min(self.options.ttl_max),
        };
        self.shard(hash).answered(hash, key, stamp, answer, micros(life_max))
    }

    /// A write of a client of ours is answered. To be called before the client hears of it.
    pub fn written(&self, written: &Written) {
        match written {
            Written::Nothing => {}
            Written::One(hash) => self.shard(*hash).changed(*hash),
            Written::Two(first, second) => [first, second].iter().for_each(|hash| self.shard(**hash).changed(**hash)),
            Written::Many(hashes) => hashes.iter().for_each(|hash| self.shard(*hash).changed(*hash)),
            Written::All => self.invalidate_all(),
            Written::Unknown => {
                let number = self.fences_wanted.fetch_add(1, Ordering::SeqCst) + 1;
                // Looked at behind that: whoever opens it without tracking says so before it takes what was wanted for
                // reached. The other way round a fence could be left that nobody comes to.
                if self.is_untracked.load(Ordering::SeqCst) {
                    self.invalidate_all();
                    self.fence_reached(number);
                } else {
                    self.notify();
                }
            }
        }
    }

    /// Somebody is about to be shown this value of a key, or nothing, by another command than a read of it.
    pub fn shown(&self, hash: KeyHash, frame: &[u8]) {
        self.shard(hash).shown(hash, frame);
    }

    /// What a command with these arguments may change: whatever of them looks like a tracked key is taken for one.
    pub fn written_by<'a>(&self, arguments: impl Iterator<Item = &'a [u8]>) -> Written {
        let mut tracked = arguments.filter(|argument| self.tracks(argument)).map(|key| Written::One(self.hash(key)));
        match (tracked.next(), tracked.next()) {
            (None, _) => Written::Nothing,
            (Some(only), None) => only,
            (Some(first), Some(second)) => Written::any([first, second].into_iter().chain(tracked)),
        }
    }

    /// Tracking runs, on a link to this server: it answers until then, and begins empty.
    pub fn open(&self, until: Instant, server: Option<NonZeroU64>) {
        self.close();
        self.server.store(server.map_or(0, NonZeroU64::get), Ordering::SeqCst);
        self.open_until(self.micros(until));
    }

    /// Nobody says what has changed, and entries are to end by their time alone; begins empty.
    pub fn open_untracked(&self) {
        self.close();
        self.is_untracked.store(true, Ordering::SeqCst);
        self.open_until(ENDLESS);
    }

    fn open_until(&self, until: u64) {
        // What was written before is read from now on.
        self.fence_reached(self.fence_wanted());
        self.until.store(until, Ordering::Release);
    }

    /// The link has answered: it goes on until then, unless it was closed.
    pub fn extend(&self, until: Instant) {
        let until = self.micros(until);
        let _ = self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| (old != 0).then_some(until));
    }

    /// A connection over which reads came has ended, and another was made: the server may be another one, of whose keys
    /// the link hears nothing. Nothing is served until there is a new link.
    pub fn distrust(&self) {
        self.distrusted.fetch_add(1, Ordering::SeqCst);
        // Without tracking there is no end, nor a link to be made anew. What else is open or not is the link's task's to say:
        // it may be saying so now.
        let _ = self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| (until != ENDLESS).then_some(0));
        self.invalidate_all();
        self.notify();
    }

    /// Whether the link tells of this server. Where it is known not to, nothing that is kept is of that server, and nothing
    /// that it says is to be kept.
    #[inline]
    pub fn follows(&self, server: Option<NonZeroU64>) -> Follows {
        match (NonZeroU64::new(self.server.load(Ordering::Acquire)), server) {
            (None, _) | (_, None) => Follows::Unknown,
            (Some(own), Some(other)) if own == other => Follows::It,
            (Some(_), Some(_)) => Follows::Another,
        }
    }

    /// A lane has connected to a server that the link does not tell of. Nothing that is served becomes wrong by that; the
    /// address may have moved.
    pub fn miss(&self) {
        self.missed.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    /// How often that was so.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::SeqCst)
    }

    /// How often the link was distrusted: one that began before the last time is to end.
    pub fn distrusted(&self) -> u64 {
        self.distrusted.load(Ordering::SeqCst)
    }

    fn notify(&self) {
        if let Some(notify) = self.notifier.get() {
            notify();
        }
    }

    /// The link is lost, or silent: nothing is served, and nothing is kept.
    pub fn close(&self) {
        self.until.store(0, Ordering::SeqCst);
        self.is_untracked.store(false, Ordering::SeqCst);
        self.server.store(0, Ordering::SeqCst);
        self.invalidate_all();
    }

    /// The upstream says that this key has changed.
    pub fn invalidate(&self, key: &[u8]) {
        let hash = self.hash(key);
        self.shard(hash).changed(hash);
    }

    /// The upstream says that everything has changed (FLUSHALL, say).
    pub fn invalidate_all(&self) {
        for shard in &self.shards {
            lock(shard).all_changed();
        }
    }

    /// The number of the fence that was wanted last.
    pub fn fence_wanted(&self) -> u64 {
        self.fences_wanted.load(Ordering::SeqCst)
    }

    /// The link has answered a PING that was sent when this was the number of the fence wanted last.
    pub fn fence_reached(&self, number: u64) {
        self.fences_reached.fetch_max(number, Ordering::SeqCst);
    }

    /// Who is told that a fence is wanted, that the link is distrusted, or that it misses a lane. The first one given stays.
    pub fn set_notifier(&self, notifier: Box<dyn Fn() + Send + Sync>) {
        let _ = self.notifier.set(notifier);
    }

    /// What is in it at `now`.
    pub fn stats(&self, now: Instant) -> NearCacheStats {
        let mut stats = NearCacheStats {
            is_open: self.until.load(Ordering::Acquire) > self.micros(now),
            is_untracked: self.is_untracked.load(Ordering::Acquire),
            ..NearCacheStats::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            stats.entries += shard.entries();
            stats.bytes += shard.bytes();
            stats.evictions += shard.evictions();
        }
        stats
    }

    #[inline]
    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        // The slots of epochs and quick_cache take the lower and the highest bits.
        lock(&self.shards[(hash.number() >> 40) as usize % self.shards.len()])
    }

    #[inline]
    fn micros(&self, now: Instant) -> u64 {
        // From 1 on: 0 is never.
        micros(now.saturating_duration_since(self.began)) + 1
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

#[inline]
fn lock(shard: &Lock) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(|poisoned| {
        // A change was broken off in the middle: nothing of it is believed.
        shard.clear_poison();
        let mut shard = PoisonError::into_inner(poisoned);
        shard.all_changed();
        shard
    })
}

fn shard_count(options: &NearCacheOptions) -> usize {
    let largest = options.value_bytes_max as u64 * VALUES_PER_SHARD_MIN;
    let room = usize::try_from(options.bytes_max / largest.max(1)).unwrap_or(SHARDS_MAX);
    let wanted = (options.workers * SHARDS_PER_WORKER).next_power_of_two().min(SHARDS_MAX);
    wanted.min(room).max(1)
}
