//! The entries of all databases under one bound of bytes.
//!
//! One dense array holds the entries; the last one takes the place of one that leaves, so memory follows the number of
//! entries down as well as up. Each database has its [`Table`] over the array, and all share the two queues of S3-FIFO
//! ("FIFO queues are all you need for cache eviction", SOSP 2023), which lets a scan of keys that are asked for once
//! pass through a tenth of the store.
//!
//! ```text
//! new key ──▶ small ──used again──▶ main ──used again──▶ main, once more
//!               │ not used            │ not used
//!               ▼                     ▼
//!             ghosts ──comes back──▶ main        gone
//! ```
//! Guarantees: the charges of all entries together stay at or below `bytes_max`; an entry past its deadline is never
//! handed out; an eviction is bounded in work. Leaves to others: what a command means.

use super::chance::{KeyHash, Random};
use super::entry::{self, Deadline, Entry, Link, Place, QueueName};
use super::ghosts::Ghosts;
use super::queue::Queue;
use super::refusal::Refusal;
use super::table::Table;

/// The bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// What all entries together may be charged: key, value and 96 bytes each (`embedded.memory`).
    pub bytes_max: u64,
    /// How many databases there are; commands on others are refused. An unused one takes no memory.
    pub databases: u32,
    /// For the hash and every random choice. Secret, so that nobody can choose keys that collide.
    pub seed: u64,
}

/// Counts since the store was made, and what is in it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries in all databases, those included that are past their deadline and not swept yet.
    pub entries: u64,
    /// What they are charged, at most [`StoreOptions::bytes_max`].
    pub bytes: u64,
    /// Live entries removed to make room.
    pub evictions: u64,
    /// Entries removed because their deadline had passed.
    pub expired: u64,
    /// Reads of a key that was there, as Redis's `keyspace_hits`.
    pub hits: u64,
    /// Reads of a key that was not, as Redis's `keyspace_misses`.
    pub misses: u64,
}

/// A bounded map from keys to strings with deadlines, in numbered databases, which speaks RESP.
pub struct Store {
    bytes_max: u64,
    pub(super) databases: u32,
    key_hash: KeyHash,
    random: Random,
    pub(super) entries: Vec<Entry>,
    /// One for each database up to the highest that was written to.
    tables: Vec<Table>,
    /// By [`QueueName`]; their bytes together are the store's.
    queues: [Queue; 2],
    ghosts: Ghosts,
    /// The index behind the next entry to sweep; the sweep goes downwards, since entries move downwards.
    sweep_at: usize,
    evictions: u64,
    expired: u64,
    hits: u64,
    misses: u64,
}

/// What becomes of the deadline when a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It stays: `KEEPTTL`, `APPEND`, `INCR`.
    Keep,
    /// It is this one.
    At(Deadline),
}

/// Whether a look-up is a use of the entry, which keeps it from eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is: `GET`.
    Use,
    /// It is not: `TTL`, `EXISTS`, `TYPE` (Redis's `LOOKUP_NOTOUCH`).
    Peek,
}

/// The small queue's share of the store is one tenth, as in the paper.
const SMALL_SHARE: u64 = 10;

/// An eviction gives at most so many entries another round before it takes whichever is oldest. A store of which every
/// entry is wanted loses one in a thousand of them so, and no write waits for long (44 µs at the 99th percentile, with
/// eight million such entries).
const REPRIEVES_MAX: u32 = 1000;

/// So many random places are tried for a key of the wanted database before its buckets are walked.
const RANDOM_TRIES_MAX: u32 = 32;

/// The array has room for an eighth more entries than it needs, and for at least so many.
const SPARE_ENTRIES_MIN: usize = 64;

impl Store {
    /// An empty store.
    pub fn new(options: StoreOptions) -> Self {
        Self {
            bytes_max: options.bytes_max,
            databases: options.databases,
            key_hash: KeyHash::new(options.seed),
            random: Random::new(options.seed),
            entries: Vec::new(),
            tables: Vec::new(),
            queues: [Queue::default(), Queue::default()],
            ghosts: Ghosts::new(options.bytes_max),
            sweep_at: 0,
            evictions: 0,
            expired: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// The value of a key that is there at `unix_ms` (the wall clock in milliseconds): `GET` without its reply.
    #[inline]
    pub fn value(&mut self, unix_ms: u64, database: u32, key: &[u8]) -> Option<&[u8]> {
        let place = self.read(unix_ms, database, key, Look::Use)?;
        Some(self.entries[place.index()].value())
    }

    /// What is in the store, and what happened to it.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            entries: self.entries.len() as u64,
            bytes: self.bytes(),
            evictions: self.evictions,
            expired: self.expired,
            hits: self.hits,
            misses: self.misses,
        }
    }

    /// Looks at the next `budget` entries, whatever their database, removes those past their deadline, and says how
    /// many those were. Calls one after the other go round: what was past its deadline when a round began is gone when
    /// it ends. A caller that is told of many, compared with the budget, does well to call again soon.
    pub fn sweep(&mut self, unix_ms: u64, budget: usize) -> usize {
        let mut removed = 0;
        for _ in 0..budget.min(self.entries.len()) {
            if self.sweep_at == 0 {
                self.sweep_at = self.entries.len();
            }
            self.sweep_at = self.sweep_at.min(self.entries.len()).saturating_sub(1);
            let Some(entry) = self.entries.get(self.sweep_at) else { break };
            if entry.deadline.passed(unix_ms)
                && let Some(place) = Place::new(self.sweep_at)
            {
                self.expire(place);
                removed += 1;
            }
        }
        removed
    }

    /// A read that is counted as a hit or a miss.
    #[inline]
    pub(super) fn read(&mut self, unix_ms: u64, database: u32, key: &[u8], look: Look) -> Link {
        let found = self.find(unix_ms, database, key);
        match found {
            Some(place) => {
                self.hits += 1;
                if look == Look::Use {
                    self.entries[place.index()].touch();
                }
            }
            None => self.misses += 1,
        }
        found
    }

    /// The entry with this key, if it is there at `unix_ms`. One past its deadline is removed.
    #[inline]
    pub(super) fn find(&mut self, unix_ms: u64, database: u32, key: &[u8]) -> Link {
        let position = self.key_hash.position(key);
        let place = self.table(database)?.find(&self.entries, position, key)?;
        if self.entries[place.index()].deadline.passed(unix_ms) {
            self.expire(place);
            return None;
        }
        Some(place)
    }

    /// Whether an entry of this size may be written at all.
    pub(super) fn admits(&self, key: &[u8], value_bytes: u64) -> Result<(), Refusal> {
        if entry::charge(key, value_bytes) > self.bytes_max { Err(Refusal::OUT_OF_MEMORY) } else { Ok(()) }
    }

    /// Writes a value, and removes others until there is room for it.
    pub(super) fn write(
        &mut self,
        unix_ms: u64,
        database: u32,
        key: &[u8],
        value: &[u8],
        expiry: Expiry,
    ) -> Result<(), Refusal> {
        self.admits(key, value.len() as u64)?;
        let Some(place) = self.find(unix_ms, database, key) else {
            let deadline = if let Expiry::At(deadline) = expiry { deadline } else { Deadline::NEVER };
            return self.insert(unix_ms, database, key, value, deadline);
        };
        let growth = value.len().saturating_sub(self.entries[place.index()].value().len());
        let place = self.make_room_beside(unix_ms, growth as u64, place);
        self.change(place, |entry| {
            entry.set_value(value);
            if let Expiry::At(deadline) = expiry {
                entry.deadline = deadline;
            }
        });
        Ok(())
    }

    /// Adds to the value at `place`.
    pub(super) fn append(&mut self, unix_ms: u64, place: Place, tail: &[u8]) -> Result<(), Refusal> {
        let entry = &self.entries[place.index()];
        self.admits(entry.key(), entry.value().len() as u64 + tail.len() as u64)?;
        let place = self.make_room_beside(unix_ms, tail.len() as u64, place);
        self.change(place, |entry| entry.append(tail));
        Ok(())
    }

    /// Removes an entry. Another may move to its place, so every other [`Place`] at hand is void.
    pub(super) fn remove(&mut self, place: Place) {
        let Self { entries, tables, queues, .. } = self;
        let entry = &entries[place.index()];
        let (database, queue) = (entry.database as usize, entry.queue as usize);
        tables[database].remove(entries, place);
        queues[queue].remove(entries, place);
        if let Some(last) = Place::new(entries.len() - 1)
            && last != place
        {
            let moving = &entries[last.index()];
            let (database, queue) = (moving.database as usize, moving.queue as usize);
            tables[database].relocate(entries, last, place);
            queues[queue].relocate(entries, last, place);
        }
        entries.swap_remove(place.index());
        if entries.capacity() / 2 > entries.len() + SPARE_ENTRIES_MIN {
            entries.shrink_to(entries.len() + spare_entries(entries.len()));
        }
    }

    /// Removes everything and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.entries = Vec::new();
        self.tables = Vec::new();
        self.queues = [Queue::default(), Queue::default()];
        self.ghosts.clear();
        self.sweep_at = 0;
    }

    /// Removes everything from one database.
    pub(super) fn clear_database(&mut self, database: u32) {
        if self.len(database) == self.entries.len() {
            return self.clear();
        }
        let mut cursor = Some(0);
        while let Some(position) = cursor
            && let Some(table) = self.table(database)
        {
            match table.bucket(position) {
                (Some(place), _) => self.remove(place),
                (None, next) => cursor = next,
            }
        }
    }

    /// How many entries a database has, those not yet swept included, as Redis's `DBSIZE` counts.
    pub(super) fn len(&self, database: u32) -> usize {
        self.table(database).map_or(0, Table::len)
    }

    /// The table of a database, `None` when nothing was ever written to it.
    pub(super) fn table(&self, database: u32) -> Option<&Table> {
        self.tables.get(database as usize)
    }

    /// Some entry of this database; those past their deadline are removed on the way.
    pub(super) fn random(&mut self, unix_ms: u64, database: u32) -> Link {
        while self.len(database) > 0 {
            let place = self.random_place(database)?;
            if !self.entries[place.index()].deadline.passed(unix_ms) {
                return Some(place);
            }
            self.expire(place);
        }
        None
    }

    fn random_place(&mut self, database: u32) -> Link {
        for _ in 0..RANDOM_TRIES_MAX {
            let index = self.random.below(self.entries.len());
            if self.entries[index].database == database {
                return Place::new(index);
            }
        }
        let start = self.random.bits();
        let table = self.table(database)?;
        let mut cursor = start;
        for _ in 0..=table.buckets() {
            let (head, next) = table.bucket(cursor);
            if head.is_some() {
                return head;
            }
            cursor = next.unwrap_or(0);
        }
        None
    }

    fn bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.bytes).sum()
    }

    fn insert(
        &mut self,
        unix_ms: u64,
        database: u32,
        key: &[u8],
        value: &[u8],
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        self.make_room(unix_ms, entry::charge(key, value.len() as u64), &mut None);
        let position = self.key_hash.position(key);
        let entry = Entry::new(database, position, key, value, deadline).ok_or(Refusal::OUT_OF_MEMORY)?;
        let place = Place::new(self.entries.len()).ok_or(Refusal::OUT_OF_MEMORY)?;
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(spare_entries(self.entries.len()));
        }
        self.entries.push(entry);
        while self.tables.len() <= database as usize {
            self.tables.push(Table::new());
        }
        self.tables[database as usize].insert(&mut self.entries, place);
        let queue = if self.ghosts.recall(position) { QueueName::Main } else { QueueName::Small };
        self.enqueue(place, queue);
        Ok(())
    }

    /// Changes an entry, and what it is charged.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Entry)) {
        let entry = &mut self.entries[place.index()];
        let queue = &mut self.queues[entry.queue as usize];
        queue.bytes -= entry.charge();
        change(entry);
        entry.touch();
        queue.bytes += entry.charge();
    }

    fn enqueue(&mut self, place: Place, queue: QueueName) {
        self.entries[place.index()].queue = queue;
        self.queues[queue as usize].push(&mut self.entries, place);
    }

    /// Removes an entry whose deadline has passed. If it was wanted, its next value will not have to prove that again.
    fn expire(&mut self, place: Place) {
        let entry = &self.entries[place.index()];
        if entry.queue == QueueName::Main || entry.uses > 0 {
            self.ghosts.remember(entry.position);
        }
        self.remove(place);
        self.expired += 1;
    }

    /// Makes room for an entry that grows, and says where it stands afterwards.
    fn make_room_beside(&mut self, unix_ms: u64, growth: u64, place: Place) -> Place {
        let mut spared = Some(place);
        self.make_room(unix_ms, growth, &mut spared);
        spared.unwrap_or(place)
    }

    /// Evicts until so many more bytes fit. The spared entry stays, and is followed when it moves.
    fn make_room(&mut self, unix_ms: u64, bytes: u64, spared: &mut Link) {
        while self.bytes().saturating_add(bytes) > self.bytes_max {
            let Some(victim) = self.victim(unix_ms, *spared) else { return };
            if *spared == Place::new(self.entries.len() - 1) {
                *spared = Some(victim);
            }
            self.evict(unix_ms, victim);
        }
    }

    fn evict(&mut self, unix_ms: u64, victim: Place) {
        let entry = &self.entries[victim.index()];
        if entry.deadline.passed(unix_ms) {
            return self.expire(victim);
        }
        if entry.queue == QueueName::Small {
            self.ghosts.remember(entry.position);
        }
        self.remove(victim);
        self.evictions += 1;
    }

    /// The entry that goes next; those that are wanted, or spared, get another round.
    fn victim(&mut self, unix_ms: u64, spared: Link) -> Link {
        for _ in 0..REPRIEVES_MAX {
            let oldest = self.oldest()?;
            let entry = &mut self.entries[oldest.index()];
            // One use is enough to leave probation; asking for two, as the paper does, lost hits on a skewed load.
            let wanted = entry.uses > 0 && !entry.deadline.passed(unix_ms);
            if !wanted && spared != Some(oldest) {
                return Some(oldest);
            }
            let queue = entry.queue;
            // Promotion forgets the uses on probation; a further round in main costs one of them.
            entry.uses = if queue == QueueName::Small { 0 } else { entry.uses.saturating_sub(1) };
            self.queues[queue as usize].remove(&mut self.entries, oldest);
            self.enqueue(oldest, QueueName::Main);
        }
        let oldest = self.oldest()?;
        if spared != Some(oldest) {
            return Some(oldest);
        }
        let other = self.entries[oldest.index()].newer;
        other.or_else(|| self.queues.iter().filter_map(|queue| queue.oldest).find(|&place| place != oldest))
    }

    /// The entry whose turn it is: of the small queue while that has more than its share.
    fn oldest(&self) -> Link {
        let [small, main] = &self.queues;
        if small.bytes > self.bytes_max / SMALL_SHARE { small.oldest } else { main.oldest.or(small.oldest) }
    }
}

/// How much room for further entries the array is given.
fn spare_entries(entries: usize) -> usize {
    (entries / 8).max(SPARE_ENTRIES_MIN)
}

#[cfg(test)]
impl Store {
    /// Checks every structure against every other.
    pub(super) fn audit(&self) {
        let everyone: Vec<usize> = (0..self.entries.len()).collect();
        let mut hung = Vec::new();
        for (database, table) in self.tables.iter().enumerate() {
            let before = hung.len();
            let mut cursor = Some(0);
            while let Some(position) = cursor {
                let (mut link, next) = table.bucket(position);
                while let Some(place) = link {
                    let entry = &self.entries[place.index()];
                    assert_eq!(entry.database as usize, database);
                    assert_eq!(entry.position, self.key_hash.position(entry.key()));
                    assert!(entry.position >= position && next.is_none_or(|next| entry.position < next));
                    hung.push(place.index());
                    link = entry.chained;
                }
                cursor = next;
            }
            assert_eq!(hung.len() - before, table.len());
            assert!(table.buckets() <= 16.max(table.len() * 4));
        }
        hung.sort_unstable();
        assert_eq!(hung, everyone, "each entry hangs in one bucket");

        let mut queued = Vec::new();
        for (name, queue) in self.queues.iter().enumerate() {
            let (mut link, mut newer, mut bytes) = (queue.newest, None, 0);
            while let Some(place) = link {
                let entry = &self.entries[place.index()];
                assert_eq!((entry.newer, entry.queue as usize), (newer, name));
                bytes += entry.charge();
                queued.push(place.index());
                (link, newer) = (entry.older, link);
            }
            assert_eq!((queue.oldest, queue.bytes), (newer, bytes));
        }
        queued.sort_unstable();
        assert_eq!(queued, everyone, "each entry stands in one queue");

        assert!(self.bytes() <= self.bytes_max);
        assert!(self.entries.capacity() / 2 <= self.entries.len() + SPARE_ENTRIES_MIN);
    }
}
