//! The storm's questions: which version of a value each write makes, and which versions a read may find.
//!
//! Versions of a question rise in the order in which Redis carries the writes out: a writer holds the question from
//! drawing the version until the acknowledgement has come. A write whose fate is unknown retires its question: nobody
//! writes to it again, so that it matters to no floor when that write takes place, if ever. A question has two
//! spellings, hence two keys, each with a history of its own; a value says whose it is.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many proxies there are.
pub(super) const PROXIES: usize = 2;

/// A spelling of a question: 0 without a question mark, 1 with it.
pub(super) type Side = usize;

/// One question and all that is known of its two keys.
pub(super) struct Question {
    number: u64,
    texts: [String; 2],
    keys: [String; 2],
    retired: AtomicBool,
    /// The last version drawn.
    drawn: AtomicU64,
    /// The last version whose write is over.
    ended: AtomicU64,
    sides: [History; 2],
    /// Held by whoever writes.
    pub(super) writing: Mutex<()>,
}

/// What is known of one key.
#[derive(Default)]
struct History {
    /// The highest version acknowledged through each proxy.
    acknowledged: [AtomicU64; PROXIES],
    /// The highest version that may have removed the key.
    removed: AtomicU64,
    /// When each version was acknowledged to whoever wrote it, in their order.
    known: Mutex<Vec<(u64, Instant)>>,
}

/// What a write does to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Sets,
    Removes,
}

/// What a read must not fall behind, taken before it is sent.
pub(super) struct Floor {
    sides: [u64; 2],
    ended: u64,
    asked: Instant,
}

/// What one client has seen, by question and side.
#[derive(Default)]
pub(super) struct Seen(HashMap<(u64, Side), (u64, &'static str)>);

/// What is wrong with an answer: in few words, and in full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String, pub(super) String);

/// How a read that was right compares with what was written meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Staleness {
    /// How long before the read was sent a newer version had been acknowledged to somebody elsewhere.
    pub(super) by: Duration,
    /// When that was.
    pub(super) since: Instant,
}

impl Question {
    pub(super) fn new(number: u64, keys: [String; 2], texts: [String; 2]) -> Self {
        Self {
            number,
            texts,
            keys,
            retired: AtomicBool::new(false),
            drawn: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            sides: Default::default(),
            writing: Mutex::default(),
        }
    }

    pub(super) fn text(&self, side: Side) -> &str {
        &self.texts[side]
    }

    pub(super) fn key(&self, side: Side) -> &str {
        &self.keys[side]
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Draws the version of a write that is about to begin. The question is held.
    pub(super) fn draw(&self, effects: [Effect; 2]) -> u64 {
        let version = self.drawn.fetch_add(1, Ordering::SeqCst) + 1;
        for (side, effect) in self.sides.iter().zip(effects) {
            if effect == Effect::Removes {
                side.removed.store(version, Ordering::SeqCst);
            }
        }
        version
    }

    /// The write of this version was acknowledged: through this proxy, or directly.
    pub(super) fn acknowledge(&self, version: u64, effects: [Effect; 2], through: Option<usize>) {
        let now = Instant::now();
        for (side, effect) in self.sides.iter().zip(effects) {
            if effect == Effect::None {
                continue;
            }
            side.known.lock().expect("no test panics here").push((version, now));
            if let Some(proxy) = through {
                side.acknowledged[proxy].fetch_max(version, Ordering::SeqCst);
            }
        }
        self.ended.store(version, Ordering::SeqCst);
    }

    /// Nobody knows whether the last write takes place.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// The value of this version.
    pub(super) fn value(&self, side: Side, version: u64) -> String {
        format!(";{}:{side}:{version}", self.number)
    }

    /// Whose value this is: the side and the version, or what is wrong with it.
    fn parse(&self, value: &[u8]) -> Result<(Side, u64), Fault> {
        let text = String::from_utf8_lossy(value);
        // What APPEND adds comes last.
        let last = text.rsplit(';').next().unwrap_or_default();
        let numbers: Vec<u64> = last.split(':').map_while(|number| number.parse().ok()).collect();
        match numbers[..] {
            [question, side @ (0 | 1), version] if question == self.number => Ok((side as Side, version)),
            _ => Err(Fault("another question's".into(), format!("{text:?} to question {}", self.number))),
        }
    }

    /// What a read through this proxy by this client must not fall behind.
    pub(super) fn floor(&self, seen: &Seen, proxy: usize) -> Floor {
        let side = |side: Side| {
            let acknowledged = self.sides[side].acknowledged[proxy].load(Ordering::SeqCst);
            acknowledged.max(seen.0.get(&(self.number, side)).map_or(0, |(version, _)| *version))
        };
        let ended = self.ended.load(Ordering::SeqCst);
        Floor { sides: [side(0), side(1)], ended, asked: Instant::now() }
    }

    /// A reply that comes behind others must not fall behind these either, although all were asked for at once.
    pub(super) fn raise(&self, floor: &mut Floor, seen: &Seen) {
        for (side, floor) in floor.sides.iter_mut().enumerate() {
            let before = seen.0.get(&(self.number, side));
            *floor = (*floor).max(before.map_or(0, |(version, _)| *version));
        }
    }

    /// Judges the answer to a read of this key alone.
    pub(super) fn judge_key(
        &self,
        side: Side,
        value: Option<&[u8]>,
        floor: &Floor,
        seen: &mut Seen,
        how: &'static str,
    ) -> Result<Option<Staleness>, Fault> {
        match value {
            None => self.judge_absence(side, floor, how),
            Some(value) => match self.parse(value)? {
                (of, version) if of == side => self.judge_version(side, version, floor, seen, how),
                (of, version) => {
                    let text = format!("{}: version {version} of key {of}", self.show(side, floor));
                    Err(Fault(format!("{how} gets the other key's value"), text))
                }
            },
        }
    }

    /// Judges the answer to a question in this spelling: the other one's value is right where this one's is absent.
    pub(super) fn judge_question(
        &self,
        asked: Side,
        value: Option<&[u8]>,
        floor: &Floor,
        seen: &mut Seen,
        how: &'static str,
    ) -> Result<Option<Staleness>, Fault> {
        let Some(value) = value else {
            // Each of the two was absent when it was asked for; a write between the two is no fault of theirs.
            self.judge_absence(asked, floor, how)?;
            return self.judge_absence(1 - asked, floor, how);
        };
        let (side, version) = self.parse(value)?;
        if side != asked {
            self.judge_absence(asked, floor, how).map_err(|Fault(_, text)| {
                let why = self.why(asked, floor, seen);
                Fault(format!("{how} finds the other spelling behind {why}"), text)
            })?;
        }
        self.judge_version(side, version, floor, seen, how)
    }

    fn judge_version(
        &self,
        side: Side,
        version: u64,
        floor: &Floor,
        seen: &mut Seen,
        how: &'static str,
    ) -> Result<Option<Staleness>, Fault> {
        let at_least = floor.sides[side];
        if version < at_least {
            let why = self.why(side, floor, seen);
            let kind = format!("{how} behind {why}");
            return Err(Fault(kind, format!("{}: version {version}, not {at_least}", self.show(side, floor))));
        }
        let newest = seen.0.entry((self.number, side)).or_default();
        if version > newest.0 {
            *newest = (version, how);
        }
        let known = self.sides[side].known.lock().expect("no test panics here");
        let newer = known.get(known.partition_point(|(known, _)| *known <= version));
        Ok(newer
            .filter(|(_, since)| *since < floor.asked)
            .map(|(_, since)| Staleness { by: floor.asked - *since, since: *since }))
    }

    /// What the floor rests on.
    fn why(&self, side: Side, floor: &Floor, seen: &Seen) -> &'static str {
        match seen.0.get(&(self.number, side)) {
            Some((version, how)) if *version == floor.sides[side] => how,
            _ => "an acknowledgement",
        }
    }

    fn judge_absence(&self, side: Side, floor: &Floor, how: &str) -> Result<Option<Staleness>, Fault> {
        let removed = self.sides[side].removed.load(Ordering::SeqCst);
        let overlapped = self.drawn.load(Ordering::SeqCst) != floor.ended;
        if floor.sides[side] == 0 || removed >= floor.sides[side] || overlapped {
            return Ok(None);
        }
        let text = format!("{}: nothing removed it since version {removed}", self.show(side, floor));
        Err(Fault(format!("{how} finds nothing"), text))
    }

    fn show(&self, side: Side, floor: &Floor) -> String {
        format!("question {} key {side} ({}), floors {:?}", self.number, self.keys[side], floor.sides)
    }
}

impl Floor {
    /// When the read was about to be sent.
    pub(super) fn asked(&self) -> Instant {
        self.asked
    }
}

impl Seen {
    /// What a client's own write in front of the read makes the least.
    pub(super) fn wrote(&mut self, question: &Question, effects: [Effect; 2], version: u64) {
        for (side, effect) in effects.into_iter().enumerate() {
            if effect != Effect::None {
                self.0.insert((question.number, side), (version, "written by this client"));
            }
        }
    }

    /// What was seen of questions before this one is forgotten.
    pub(super) fn forget_before(&mut self, oldest: u64) {
        self.0.retain(|(number, _), _| *number >= oldest);
    }
}

mod tests {
    use super::{Effect, Question, Seen};

    fn question() -> Question {
        Question::new(7, ["a".into(), "b".into()], ["q".into(), "q?".into()])
    }

    #[test]
    fn a_judge_that_could_not_condemn_would_show_nothing() {
        let question = question();
        let (mut seen, sets) = (Seen::default(), [Effect::Sets, Effect::Removes]);
        for expected in 1..=3 {
            let version = question.draw(sets);
            assert_eq!(version, expected);
            question.acknowledge(version, sets, (version == 2).then_some(1));
        }
        let value = |version| question.value(0, version).into_bytes();
        let floor = question.floor(&seen, 0);
        let old = question.judge_key(0, Some(&value(2)), &floor, &mut seen, "seen");
        assert!(old.is_ok_and(|stale| stale.is_some()), "not seen yet, written directly: stale, but no fault");
        let floor = question.floor(&seen, 0);
        assert!(question.judge_key(0, Some(&value(1)), &floor, &mut seen, "seen").is_err(), "older than what was seen");
        let mut fresh = Seen::default();
        let floor = question.floor(&fresh, 1);
        assert!(
            question.judge_key(0, Some(&value(1)), &floor, &mut fresh, "seen").is_err(),
            "older than acknowledged here"
        );
        assert_eq!(question.judge_key(0, Some(&value(3)), &floor, &mut fresh, "seen"), Ok(None));
        let floor = question.floor(&fresh, 1);
        assert!(question.judge_key(0, None, &floor, &mut fresh, "seen").is_err(), "nothing removed it");
        assert_eq!(question.judge_key(1, None, &floor, &mut fresh, "seen"), Ok(None), "each write removed it");
        assert!(
            question.judge_question(1, Some(&value(3)), &floor, &mut fresh, "seen").is_ok(),
            "the other spelling's"
        );
        assert!(question.judge_key(1, Some(&value(3)), &floor, &mut fresh, "seen").is_err(), "the other key's");
        assert!(question.judge_key(0, Some(b"x"), &floor, &mut fresh, "seen").is_err(), "nobody's");
    }
}
