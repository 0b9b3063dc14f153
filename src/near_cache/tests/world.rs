//! A small world around a real near cache: a model of Redis, connections as queues, readers, writers, a clock.
//!
//! ```text
//!   readers, writers ──to_redis──▶ │       │ ──▶ from_redis ── answered, written ──▶ cache, then the client
//!            others ─────────────▶ │ Redis │
//!              link ──to_redis───▶ │       │ ──▶ from_redis ── open, invalidate, extend, fence_reached ──▶ cache
//! ```
//!
//! A step is one thing that happens in one place. Redis numbers what it held under a key, one version after another, and
//! tells the link of a change when its round ends, as `beforeSleep` does. Whoever is given something is compared with
//! what the guarantees of `near_cache` allow him; [`World::take`] says what is broken. Nothing here waits or is random.

mod fingerprint;
mod redis;

use crate::near_cache::*;
use std::collections::VecDeque;
use std::hash::Hash;

/// Keys of a world; where the second one is the first one's twin, the first one is an entry that is looked for in both.
const KEYS: [&[u8]; 2] = [b"fca:a", b"fca:b"];

/// What may happen in a world, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) keys: usize,
    pub(super) lanes: usize,
    pub(super) reads: u16,
    /// Reads of sessions that have something in flight, and so pass the cache by, and by other commands than GET.
    pub(super) reads_through: u16,
    /// Writes of our clients whose key is known.
    pub(super) writes: u16,
    /// Writes of our clients that might have changed anything.
    pub(super) fenced_writes: u16,
    /// Writes of others, on a path of their own.
    pub(super) others: u16,
    pub(super) flushes: u16,
    pub(super) pings: u16,
    /// How often the link is lost.
    pub(super) losses: u16,
    pub(super) ticks: u16,
    /// Writes may also delete.
    pub(super) has_deletes: bool,
    /// What is written lives for so many ticks.
    pub(super) life: Option<u64>,
    /// Other clients' commands may come between PTTL and GET.
    pub(super) has_pttl_apart: bool,
    /// Every other version of a key has the same bytes.
    pub(super) has_equal_bytes: bool,
    /// The second key is the first one's twin, which does not exist at the beginning.
    pub(super) has_twin: bool,
    /// Several commands may share a round of Redis's event loop; else each has its own.
    pub(super) has_rounds: bool,
    /// Nobody tells of changes.
    pub(super) is_untracked: bool,
}

impl Setup {
    /// One key, two lanes, and nothing that happens.
    pub(super) const STILL: Self = Self {
        keys: 1,
        lanes: 2,
        reads: 0,
        reads_through: 0,
        writes: 0,
        fenced_writes: 0,
        others: 0,
        flushes: 0,
        pings: 0,
        losses: 0,
        ticks: 0,
        has_deletes: false,
        life: None,
        has_pttl_apart: false,
        has_equal_bytes: false,
        has_twin: false,
        has_rounds: false,
        is_untracked: false,
    };
}

/// In ticks: the link's timeout, and how long entries live at most.
const LINK_TIMEOUT: u64 = 2;
const TTL_MAX: u64 = 6;
const TTL_MAX_WITHOUT_TRACKING: u64 = 2;

/// Requests under way on one lane, and requests and replies on the link.
const IN_FLIGHT_MAX: usize = 4;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A session with nothing in flight reads: from the cache, or it sends GET.
    Read { lane: usize, key: usize },
    /// A session with something in flight reads.
    ReadThrough { lane: usize, key: usize },
    /// A session with something in flight reads by another command than GET.
    ReadOtherwise { lane: usize, key: usize },
    /// A client of ours writes.
    Write { lane: usize, key: usize, change: Change },
    /// A client of ours writes, nobody sees what.
    FencedWrite { lane: usize, key: usize, change: Change },
    /// Redis carries out the lane's next request.
    Execute { lane: usize },
    /// The lane's next reply arrives.
    Reply { lane: usize },
    /// Somebody else writes.
    Other { key: usize, change: Change },
    /// Somebody else says FLUSHALL.
    Flush,
    /// Redis finds that a key's time is over.
    Expire { key: usize },
    /// Redis's round ends: it sends what it has to say.
    EndRound,
    /// The link connects, and asks for changes.
    LinkConnect,
    /// The link sends a PING.
    LinkPing,
    /// Redis carries out the link's next request.
    LinkExecute,
    /// What Redis said next on the link arrives.
    LinkHears,
    /// Redis closes the link, and nobody knows yet.
    LinkCut,
    /// The link hears that it is closed.
    LinkLost,
    /// Time passes.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Set,
    Delete,
}

/// A world at one moment.
#[derive(Clone)]
pub(super) struct World {
    setup: Setup,
    /// What may still happen.
    left: Setup,
    cache: NearCache,
    /// How often a reader was served by the cache.
    pub(super) hits: u32,
    now: u64,
    keys: Vec<Key>,
    lanes: Vec<Lane>,
    link: Link,
    /// For each key the latest version that a reader who begins now has to be given.
    floors: [usize; 2],
}

/// What Redis held under a key, the latest last; the number of a version is its place.
#[derive(Clone, Hash, Default)]
struct Key {
    versions: Vec<Version>,
    /// The last change was not told yet.
    is_untold: bool,
    /// Its time is over, and Redis has not noticed.
    is_overdue: bool,
}

#[derive(Clone, Copy, Hash)]
struct Version {
    value: Option<u8>,
    made: u64,
    ends: Option<u64>,
}

#[derive(Clone, Default)]
struct Lane {
    to_redis: VecDeque<Request>,
    /// Replies that Redis sends when its round ends.
    unsent: VecDeque<Reply>,
    from_redis: VecDeque<Reply>,
}

#[derive(Clone)]
enum Request {
    Read { read: Read, life: Option<Life> },
    Write { key: usize, change: Change, is_fenced: bool },
}

#[derive(Clone)]
enum Reply {
    /// Where it was for an entry's twin, with what the entry itself had at that moment.
    Read {
        read: Read,
        value: Option<u8>,
        life: Life,
        exact: Option<u8>,
    },
    Written {
        key: usize,
        version: usize,
        is_fenced: bool,
    },
}

/// A reader's question for one key.
#[derive(Clone)]
struct Read {
    key: usize,
    stamp: Option<Stamp>,
    sent: u64,
    /// What he has to be given at least: that was known when he began.
    floors: [usize; 2],
    asks: Asks,
}

/// How a reader asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Plainly,
    /// For the twin, as the entry is not there, and for the entry again. The entry's stamp, and when it was sent.
    ForEntry(Option<Stamp>, u64),
    /// By another command, whose answer is not kept.
    Otherwise,
}

#[derive(Clone, Default)]
struct Link {
    is_connected: bool,
    /// What Redis does with it.
    is_served: bool,
    is_tracking: bool,
    has_asked: bool,
    to_redis: VecDeque<Ask>,
    unsent: VecDeque<Told>,
    from_redis: VecDeque<Told>,
    /// Until when it allows that anything is served.
    until: u64,
}

#[derive(Clone, Copy, Hash)]
enum Ask {
    Tracking { sent: u64 },
    Ping { sent: u64, fence: u64 },
}

#[derive(Clone, Copy, Hash)]
enum Told {
    Tracking {
        sent: u64,
    },
    /// With the versions of which was told before.
    Pong {
        sent: u64,
        fence: u64,
        versions: [usize; 2],
    },
    Changed {
        key: usize,
        version: usize,
    },
    AllChanged {
        versions: [usize; 2],
    },
}

impl World {
    /// One whose link runs, with a value under each key but an entry that has a twin.
    pub(super) fn new(setup: Setup) -> Self {
        let options = NearCacheOptions {
            // One part, so that a copy is cheap.
            bytes_max: 1 << 13,
            value_bytes_max: 1 << 10,
            ttl_max: Duration::from_secs(TTL_MAX),
            ttl_max_without_tracking: Duration::from_secs(TTL_MAX_WITHOUT_TRACKING),
            prefixes: vec![b"fca:".to_vec()],
            workers: 1,
        };
        let mut cache = NearCache::new(options, crate::clock::now());
        // The same world each time.
        cache.seed = RandomSeed::with_seed(1);
        assert_eq!(cache.shards.len(), 1);
        let mut world = Self {
            setup,
            left: setup,
            cache,
            hits: 0,
            now: 0,
            keys: vec![Key::default(); setup.keys],
            lanes: vec![Lane::default(); setup.lanes],
            link: Link::default(),
            floors: [0; 2],
        };
        for key in 0..setup.keys {
            world.add_version(key, None);
            if !(setup.has_twin && key == 0) {
                world.add_version(key, Some(Change::Set));
            }
            world.keys[key].is_untold = false;
        }
        if setup.is_untracked {
            world.cache.open_untracked();
            world.link.until = u64::MAX;
        } else {
            world.link_connects();
            world.link_executes();
            world.round_ends();
            world.link_hears();
        }
        world
    }

    /// What can happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let left = &self.left;
        for lane in 0..self.lanes.len() {
            let Lane { to_redis, unsent, from_redis } = &self.lanes[lane];
            if to_redis.len() + unsent.len() + from_redis.len() < IN_FLIGHT_MAX {
                for key in 0..self.keys.len() {
                    self.step_if(&mut steps, left.reads > 0, Step::Read { lane, key });
                    self.step_if(&mut steps, left.reads_through > 0, Step::ReadThrough { lane, key });
                    self.step_if(&mut steps, left.reads_through > 0, Step::ReadOtherwise { lane, key });
                    for change in self.changes(key) {
                        self.step_if(&mut steps, left.writes > 0, Step::Write { lane, key, change });
                        self.step_if(&mut steps, left.fenced_writes > 0, Step::FencedWrite { lane, key, change });
                    }
                }
            }
            self.step_if(&mut steps, !to_redis.is_empty(), Step::Execute { lane });
            self.step_if(&mut steps, !from_redis.is_empty(), Step::Reply { lane });
        }
        for key in 0..self.keys.len() {
            for change in self.changes(key) {
                self.step_if(&mut steps, left.others > 0, Step::Other { key, change });
            }
            self.step_if(&mut steps, self.keys[key].is_overdue, Step::Expire { key });
        }
        self.step_if(&mut steps, left.flushes > 0, Step::Flush);
        self.step_if(&mut steps, left.ticks > 0, Step::Tick);
        let has_unsent = !self.link.unsent.is_empty()
            || self.keys.iter().any(|key| key.is_untold)
            || self.lanes.iter().any(|lane| !lane.unsent.is_empty());
        self.step_if(&mut steps, has_unsent, Step::EndRound);
        let link = &self.link;
        let can_ping = link.is_connected && !link.has_asked && link.to_redis.len() < IN_FLIGHT_MAX && left.pings > 0;
        self.step_if(&mut steps, !link.is_connected && !self.setup.is_untracked, Step::LinkConnect);
        self.step_if(&mut steps, can_ping, Step::LinkPing);
        self.step_if(&mut steps, link.is_served && !link.to_redis.is_empty(), Step::LinkExecute);
        self.step_if(&mut steps, !link.from_redis.is_empty(), Step::LinkHears);
        self.step_if(&mut steps, link.is_served && left.losses > 0, Step::LinkCut);
        self.step_if(&mut steps, link.is_connected && !link.is_served, Step::LinkLost);
        steps
    }

    fn step_if(&self, steps: &mut Vec<Step>, is_possible: bool, step: Step) {
        if is_possible {
            steps.push(step);
        }
    }

    fn changes(&self, key: usize) -> impl Iterator<Item = Change> {
        let can_delete = self.setup.has_deletes && self.current(key).value.is_some();
        [Some(Change::Set), can_delete.then_some(Change::Delete)].into_iter().flatten()
    }

    /// What happens; the guarantee that it breaks, if any.
    pub(super) fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Read { lane, key } => {
                self.left.reads -= 1;
                self.read(lane, key)?;
            }
            Step::ReadThrough { lane, key } => {
                self.left.reads_through -= 1;
                let stamp = self.cache.stamp(self.hash(key), self.instant(self.now));
                self.send_read(lane, key, stamp, Asks::Plainly);
            }
            Step::ReadOtherwise { lane, key } => {
                self.left.reads_through -= 1;
                self.send_read(lane, key, None, Asks::Otherwise);
            }
            Step::Write { lane, key, change } => {
                self.left.writes -= 1;
                self.lanes[lane].to_redis.push_back(Request::Write { key, change, is_fenced: false });
            }
            Step::FencedWrite { lane, key, change } => {
                self.left.fenced_writes -= 1;
                self.lanes[lane].to_redis.push_back(Request::Write { key, change, is_fenced: true });
            }
            Step::Execute { lane } => self.execute(lane),
            Step::Reply { lane } => self.reply(lane)?,
            Step::Other { key, change } => {
                self.left.others -= 1;
                self.add_version(key, Some(change));
            }
            Step::Flush => self.flush(),
            Step::Expire { key } => self.expire(key),
            Step::EndRound => self.round_ends(),
            Step::LinkConnect => self.link_connects(),
            Step::LinkPing => {
                self.left.pings -= 1;
                self.link.to_redis.push_back(Ask::Ping { sent: self.now, fence: self.cache.fence_wanted() });
            }
            Step::LinkExecute => self.link_executes(),
            Step::LinkHears => self.link_hears(),
            Step::LinkCut => {
                self.left.losses -= 1;
                self.link.is_served = false;
                self.link.to_redis.clear();
                self.link.unsent.clear();
            }
            Step::LinkLost => {
                self.link = Link::default();
                self.cache.close();
            }
            Step::Tick => self.tick(),
        }
        if !self.setup.has_rounds {
            self.round_ends();
        }
        Ok(())
    }

    fn read(&mut self, lane: usize, key: usize) -> Result<(), String> {
        let mut out = Vec::new();
        let (hash, now) = (self.hash(key), self.instant(self.now));
        let found = if self.is_entry(key) {
            self.cache.look_up_entry(hash, KEYS[key], now, &mut out)
        } else {
            self.cache.look_up(hash, KEYS[key], now, &mut out)
        };
        match found {
            LookUp::Hit => self.hit(key, &out),
            LookUp::Miss(stamp) => {
                self.send_read(lane, key, stamp, Asks::Plainly);
                Ok(())
            }
        }
    }

    /// Whether it is looked for under its twin too.
    fn is_entry(&self, key: usize) -> bool {
        self.setup.has_twin && key == 0
    }

    fn send_read(&mut self, lane: usize, key: usize, stamp: Option<Stamp>, asks: Asks) {
        let read = Read { key, stamp, sent: self.now, floors: self.floors, asks };
        self.lanes[lane].to_redis.push_back(Request::Read { read, life: None });
    }

    /// A reader is given this by the cache.
    fn hit(&mut self, key: usize, frame: &[u8]) -> Result<(), String> {
        self.hits += 1;
        if self.link.until <= self.now {
            return Err("served while the link is not up".into());
        }
        let bound = if self.setup.is_untracked { TTL_MAX_WITHOUT_TRACKING } else { LINK_TIMEOUT };
        let mut floors = self.floors;
        for (key, floor) in self.keys.iter().zip(&mut floors) {
            // Whatever was replaced that long ago.
            let seen = key.versions.iter().rposition(|version| version.made + bound <= self.now);
            *floor = (*floor).max(seen.unwrap_or(0));
        }
        let &[name, value] = frame else { return Err(format!("{frame:?} was never written")) };
        let from = usize::from(name);
        let now = self.now;
        let is_fresh = move |version: &Version| version.ends.is_none_or(|ends| ends > now);
        if from == key {
            return self.given(key, Some(value), floors[key], is_fresh);
        }
        if !(self.is_entry(key) && from == 1) {
            return Err(format!("key {key} was answered with the value of {from}"));
        }
        self.given(key, None, floors[key], |_| true)?;
        self.given(from, Some(value), floors[from], is_fresh)
    }

    /// A reader is given what must be that version of the key, or a later one. Where the bytes of several are equal, he
    /// can't know that it is not the oldest.
    fn given(
        &mut self,
        key: usize,
        value: Option<u8>,
        floor: usize,
        may_be: impl Fn(&Version) -> bool,
    ) -> Result<(), String> {
        let versions = &self.keys[key].versions;
        let place = versions[floor..].iter().position(|version| version.value == value && may_be(version));
        let Some(place) = place else {
            return Err(format!(
                "key {key}: {value:?} was given, and version {floor} of {} was known",
                versions.len() - 1
            ));
        };
        self.floors[key] = self.floors[key].max(floor + place);
        Ok(())
    }

    fn reply(&mut self, lane: usize) -> Result<(), String> {
        match self.lanes[lane].from_redis.pop_front() {
            None => Ok(()),
            Some(Reply::Written { key, version, is_fenced }) => {
                self.cache.written(&if is_fenced { Written::Unknown } else { Written::One(self.hash(key)) });
                self.floors[key] = self.floors[key].max(version);
                Ok(())
            }
            Some(Reply::Read { read, value, life, exact }) => self.reply_to_read(lane, read, value, life, exact),
        }
    }

    fn reply_to_read(
        &mut self,
        lane: usize,
        read: Read,
        value: Option<u8>,
        life: Life,
        exact: Option<u8>,
    ) -> Result<(), String> {
        let Read { key, stamp, floors, .. } = read;
        let (hash, frame) = (self.hash(key), value.map(|value| frame(key, value)));
        if read.asks == Asks::Otherwise {
            self.cache.shown(hash, frame.as_ref().map_or(b"$-1\r\n", |frame| &frame[..]));
            return self.given(key, value, floors[key], |_| true);
        }
        let answer = frame.as_ref().map_or(Answer::Absent, |frame| Answer::Value(frame, life));
        self.cache.answered(hash, KEYS[key], stamp, &answer);
        if value.is_none() && self.is_entry(key) {
            // The session looks under the other spelling, and under this one again. Nobody is told anything yet.
            let stamp = |key| self.cache.stamp(self.hash(key), self.instant(self.now));
            let asks = Asks::ForEntry(stamp(0), self.now);
            let read = Read { key: 1, stamp: stamp(1), sent: self.now, floors, asks };
            self.lanes[lane].to_redis.push_back(Request::Read { read, life: None });
            return Ok(());
        }
        if let Asks::ForEntry(stamp, _) = read.asks {
            self.reply_of_entry(stamp, exact, value.is_some());
            if value.is_none() && exact.is_some() {
                return self.given(0, exact, floors[0], |_| true);
            }
            self.given(0, None, floors[0], |_| true)?;
        }
        self.given(key, value, floors[key], |_| true)
    }

    /// Redis said what the entry had, at the moment at which its twin was read.
    fn reply_of_entry(&mut self, stamp: Option<Stamp>, exact: Option<u8>, has_twin: bool) {
        let frame = exact.map(|value| frame(0, value));
        let answer = match &frame {
            Some(frame) => Answer::Value(frame, Life::Unknown),
            None if has_twin => Answer::Elsewhere(KEYS[1]),
            None => Answer::Absent,
        };
        self.cache.answered(self.hash(0), KEYS[0], stamp, &answer);
    }

    fn link_connects(&mut self) {
        self.link = Link { is_connected: true, is_served: true, has_asked: true, ..Link::default() };
        self.link.to_redis.push_back(Ask::Tracking { sent: self.now });
    }

    fn link_hears(&mut self) {
        let Some(told) = self.link.from_redis.pop_front() else { return };
        match told {
            Told::Tracking { sent } => {
                self.link.has_asked = false;
                self.link.until = sent + LINK_TIMEOUT;
                self.cache.open(self.instant(sent + LINK_TIMEOUT), None);
            }
            Told::Pong { sent, fence, versions } => {
                self.link.until = sent + LINK_TIMEOUT;
                self.cache.extend(self.instant(sent + LINK_TIMEOUT));
                self.cache.fence_reached(fence);
                self.know(versions);
            }
            Told::Changed { key, version } => {
                self.cache.invalidate(KEYS[key]);
                self.floors[key] = self.floors[key].max(version);
            }
            Told::AllChanged { versions } => {
                self.cache.invalidate_all();
                self.know(versions);
            }
        }
    }

    fn know(&mut self, versions: [usize; 2]) {
        for (floor, version) in self.floors.iter_mut().zip(versions) {
            *floor = (*floor).max(version);
        }
    }

    fn hash(&self, key: usize) -> KeyHash {
        self.cache.hash(KEYS[key])
    }

    fn instant(&self, tick: u64) -> Instant {
        self.cache.began + Duration::from_secs(tick)
    }
}

/// What a reader gets: the key and the value.
fn frame(key: usize, value: u8) -> [u8; 2] {
    [u8::try_from(key).unwrap(), value]
}
