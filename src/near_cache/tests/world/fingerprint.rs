//! Which worlds are alike, and how one is copied with the cache in it.

use super::*;
use crate::near_cache::shard::Found;
use std::hash::Hasher;

impl World {
    /// A number that is the same for worlds in which the same may happen: in place of the numbers of a stamp stands
    /// whether it is current, as one that is not never becomes so again.
    pub(in crate::near_cache::tests) fn fingerprint(&self) -> u64 {
        let mut to = foldhash::quality::FixedState::default().build_hasher();
        let Setup { reads, reads_through, writes, fenced_writes, others, flushes, pings, losses, ticks, .. } =
            self.left;
        [reads, reads_through, writes, fenced_writes, others, flushes, pings, losses, ticks].hash(&mut to);
        (self.now, &self.keys, self.floors).hash(&mut to);
        let reached = self.cache.fences_reached.load(Ordering::SeqCst);
        let wanted = self.cache.fence_wanted();
        (wanted, reached, self.cache.until.load(Ordering::SeqCst)).hash(&mut to);
        for (key, name) in KEYS.iter().enumerate().take(self.keys.len()) {
            for tick in self.now..=self.now + TTL_MAX.min(u64::from(ticks)) {
                let (hash, micros) = (self.hash(key), self.cache.micros(self.instant(tick)));
                match self.cache.shard(hash).look_up(hash, name, micros) {
                    Found::Value(frame) => (1, frame).hash(&mut to),
                    Found::Elsewhere(_) => 2.hash(&mut to),
                    Found::Nothing(_) => 0.hash(&mut to),
                }
            }
        }
        // Lanes are alike but for what is on them.
        let mut lanes: Vec<u64> = self.lanes.iter().map(|lane| self.fingerprint_of(lane)).collect();
        lanes.sort_unstable();
        lanes.hash(&mut to);
        let link = &self.link;
        (link.is_connected, link.is_served, link.is_tracking, link.has_asked, link.until).hash(&mut to);
        (&link.to_redis, &link.unsent, &link.from_redis).hash(&mut to);
        to.finish()
    }

    fn fingerprint_of(&self, lane: &Lane) -> u64 {
        let mut to = foldhash::quality::FixedState::default().build_hasher();
        lane.to_redis.len().hash(&mut to);
        for request in &lane.to_redis {
            match request {
                Request::Read { read, life } => {
                    self.hash_read(read, &mut to);
                    life.map(life_number).hash(&mut to);
                }
                Request::Write { key, change, is_fenced } => (3, key, change, is_fenced).hash(&mut to),
            }
        }
        for replies in [&lane.unsent, &lane.from_redis] {
            replies.len().hash(&mut to);
            for reply in replies {
                match reply {
                    Reply::Read { read, value, life, exact } => {
                        self.hash_read(read, &mut to);
                        (value, exact, life_number(*life)).hash(&mut to);
                    }
                    Reply::Written { key, version, is_fenced } => (4, key, version, is_fenced).hash(&mut to),
                }
            }
        }
        to.finish()
    }

    fn hash_read(&self, read: &Read, to: &mut impl Hasher) {
        let is_current = |key, stamp: Option<Stamp>, sent: u64| {
            let (hash, sent) = (self.hash(key), self.cache.micros(self.instant(sent)));
            stamp.is_some_and(|stamp| stamp == self.cache.shard(hash).stamp(hash, sent))
        };
        (5, read.key, read.sent, read.floors, is_current(read.key, read.stamp, read.sent)).hash(to);
        match read.asks {
            Asks::Plainly => 6.hash(to),
            Asks::Otherwise => 7.hash(to),
            Asks::ForEntry(stamp, sent) => (8, sent, is_current(0, stamp, sent)).hash(to),
        }
    }
}

fn life_number(life: Life) -> u64 {
    match life {
        Life::Unknown => u64::MAX,
        Life::Endless => u64::MAX - 1,
        Life::Milliseconds(milliseconds) => milliseconds,
    }
}

impl Clone for NearCache {
    fn clone(&self) -> Self {
        let copy = |number: &AtomicU64| AtomicU64::new(number.load(Ordering::SeqCst));
        Self {
            options: self.options.clone(),
            seed: self.seed.clone(),
            began: self.began,
            shards: self.shards.iter().map(|shard| Lock::new(lock(shard).clone())).collect(),
            until: copy(&self.until),
            is_untracked: AtomicBool::new(self.is_untracked.load(Ordering::SeqCst)),
            server: copy(&self.server),
            fences_wanted: copy(&self.fences_wanted),
            fences_reached: copy(&self.fences_reached),
            distrusted: AtomicU64::new(self.distrusted()),
            missed: AtomicU64::new(self.missed()),
            notifier: OnceLock::new(),
        }
    }
}
