//! The near cache on the way of a request: what is answered from it, what is read for it, and which writes it is told of.
//!
//! Guarantees: a session is answered from it only where the upstream's answer could be no newer than what the session
//! has been or will be given: not while a write of its own is unanswered, nor while it reads the same entry upstream,
//! nor in a mode, transaction, database or login that makes its connection differ; whoever's write is answered, the near
//! cache is told before the client is. Leaves what is kept, and for how long, to `near_cache`.

use super::entry::write_read;
use super::forward;
use super::request::{Call, Handled, looks_up};
use super::step::{Step, To, Turn, Waiter};
use super::{Client, Core, Route};
use crate::command::{Command, Effect, Flags, KeyPositions};
use crate::metrics::{Counter, Outcome};
use crate::near_cache::{Answer, Kept, KeyHash, Life, LookUp, NearCache, Stamp, Written};
use crate::resp::{Arguments, elements, payload};
use crate::session::{Read, Session};
use crate::upstream::{Lane, Node};
use std::time::{Duration, Instant};

/// A read of a tracked key that is on its way.
pub struct Reading {
    /// What it is to the session.
    pub(super) read: Read,
    pub(super) key: KeyHash,
    /// None where the answer is not to be kept.
    pub(super) stamp: Option<Stamp>,
    /// What the upstream said of the key's life, right before.
    pub(super) life: Life,
    /// The same read of an entry's exact spelling, where this one is of the other: it was found absent.
    pub(super) exact: Option<(KeyHash, Option<Stamp>)>,
}

/// A read of a tracked key, before it is known where its answer comes from.
pub(super) struct Plan<'a> {
    near: &'a NearCache,
    key: KeyHash,
    /// Whether it may be answered from the near cache.
    serves: bool,
    stamp: Option<Stamp>,
}

/// What the near cache is to a read of this key; nothing where it has none. A session that is `held_up` has asked for
/// the same before, and has no answer yet.
#[inline]
pub(super) fn plan<'a>(
    call: &'a Call<'_>,
    session: &Session,
    node: &Node<Core>,
    key: &[u8],
    held_up: impl FnOnce(KeyHash) -> bool,
) -> Option<Plan<'a>> {
    let near = call.client.core.near_cache.as_deref()?;
    if session.database != node.database() || !near.tracks(key) {
        return None;
    }
    let key = near.hash(key);
    // What others may read is not another user's to be given; what he reads may be newer all the same.
    let is_shared = session.login.is_none() && is_shared(call, session);
    let serves = is_shared && session.writes == 0 && !held_up(key);
    // Where it has to go behind what is in flight, the answer can be kept all the same.
    let stamp = if is_shared && !serves { near.stamp(key, call.now) } else { None };
    Some(Plan { near, key, serves, stamp })
}

impl Plan<'_> {
    /// Whether the read may be answered from the near cache.
    #[inline]
    pub(super) fn serves(&self) -> bool {
        self.serves
    }

    /// Appends the frame of the key's value, if the near cache has it.
    #[inline]
    pub(super) fn look_up(&mut self, key: &[u8], now: Instant, out: &mut Vec<u8>) -> bool {
        self.serves && self.is_hit(self.near.look_up(self.key, key, now, out))
    }

    /// Appends the frame of the value of the entry with this key, if the near cache has it, under whichever key.
    #[inline]
    pub(super) fn look_up_entry(&mut self, key: &[u8], now: Instant, out: &mut Vec<u8>) -> bool {
        self.serves && self.is_hit(self.near.look_up_entry(self.key, key, now, out))
    }

    fn is_hit(&mut self, look_up: LookUp) -> bool {
        match look_up {
            LookUp::Hit => true,
            LookUp::Miss(stamp) => {
                self.stamp = stamp;
                false
            }
        }
    }

    /// What the read is upstream. Before it goes the question how long the key has still to live.
    pub(super) fn send(
        self,
        call: &Call<'_>,
        session: &mut Session,
        lane: &Lane<Waiter>,
        read: Read,
        key: &[u8],
    ) -> Reading {
        session.reads.begin(read);
        if self.stamp.is_some() {
            let waiter = call.waiter(To::Nowhere, Step::Life);
            lane.push_with(call.deadline, waiter, &[], |out| write_read(out, b"PTTL", key));
        }
        Reading { read, key: self.key, stamp: self.stamp, life: Life::Unknown, exact: None }
    }
}

/// Within how many bytes a push of invalidations says that it is one.
const PUSH_HEAD_BYTES: usize = 64;

/// Whether its requests go over a connection that it shares with others, so that they say nothing of its own.
#[inline]
fn is_shared(call: &Call<'_>, session: &Session) -> bool {
    session.is_plain() && session.transaction.is_none() && call.client.exclusive.borrow().is_none()
}

/// Sends a command upstream, unless the near cache has its answer.
#[inline]
pub(super) fn forward(call: &Call<'_>, session: &mut Session, effect: Effect, request: Arguments<'_>) -> Handled {
    if effect != Effect::None
        && let Some(near) = &call.client.core.near_cache
        && let Route::Lane(lane, node) = call.route
    {
        // A question before it may yet be asked in its other spelling, and what is behind that must not be older.
        if looks_up(session) && (effect == Effect::AnyKeys || request.iter().skip(1).any(|key| near.tracks(key))) {
            return Handled::WaitUntilAnswered;
        }
        match effect {
            Effect::Get if request.len() == 2 => return get(call, session, lane, node, request),
            Effect::Get | Effect::None => {}
            Effect::Life => {
                if let Some(key) = request.at(1).filter(|key| near.tracks(key)) {
                    return touch(call, session, lane, request, Step::Remains(near.hash(key)));
                }
            }
            Effect::Mget => {
                if let Some(shown) = shown_by(near, request) {
                    return touch(call, session, lane, request, Step::Mget(shown));
                }
            }
            Effect::Keys => match near.written_by(request.iter().skip(1)) {
                Written::Nothing => {}
                written => return touch(call, session, lane, request, Step::Write(written)),
            },
            Effect::AnyKeys => return touch(call, session, lane, request, Step::Write(Written::Unknown)),
            Effect::AllKeys => return touch(call, session, lane, request, Step::Write(Written::All)),
        }
    }
    forward::forward(call, session, request)
}

/// What a command of this effect may change.
pub(super) fn written_by(client: &Client, effect: Effect, request: Arguments<'_>) -> Written {
    match (&client.core.near_cache, effect) {
        (Some(near), Effect::Keys | Effect::Get | Effect::Mget | Effect::Life) => {
            near.written_by(request.iter().skip(1))
        }
        (Some(_), Effect::AnyKeys) => Written::Unknown,
        (Some(_), Effect::AllKeys) => Written::All,
        _ => Written::Nothing,
    }
}

/// The same of a request of which `begun` is there: what else it names is not known, but where its only key has come.
pub(super) fn written_by_part(client: &Client, command: Option<&Command>, begun: Arguments<'_>) -> Written {
    let effect = command.map_or(Effect::AnyKeys, |command| command.effect);
    match (client.core.near_cache.is_some() && effect != Effect::None, command) {
        (false, _) => Written::Nothing,
        (true, Some(Command { keys: KeyPositions { first: 1, last: 1, .. }, flags, .. }))
            if begun.len() > 1 && !flags.contains(Flags::MOVABLE_KEYS) =>
        {
            written_by(client, effect, begun)
        }
        (true, _) => Written::Unknown,
    }
}

/// Sends a command whose reply the near cache has to hear of.
fn touch(call: &Call<'_>, session: &mut Session, lane: &Lane<Waiter>, request: Arguments<'_>, step: Step) -> Handled {
    if lane.accepts().is_ok() {
        session.writes += 1;
    }
    forward::send(call, session, lane, request, step)
}

/// The keys of an MGET, if any of them is tracked.
fn shown_by(near: &NearCache, request: Arguments<'_>) -> Option<Box<[Option<KeyHash>]>> {
    let mut keys = request.iter().skip(1);
    if !keys.any(|key| near.tracks(key)) {
        return None;
    }
    Some(request.iter().skip(1).map(|key| near.tracks(key).then(|| near.hash(key))).collect())
}

/// The upstream answered MGET.
pub(super) fn on_shown(turn: Turn<'_>, shown: &[Option<KeyHash>], frame: &[u8]) {
    turn.session.writes = turn.session.writes.saturating_sub(1);
    if let Some(near) = &turn.client.core.near_cache {
        let values = elements(frame).filter(|values| values.len() == shown.len()).unwrap_or_default();
        for (place, key) in shown.iter().enumerate() {
            if let Some(key) = key {
                near.shown(*key, values.get(place).copied().unwrap_or_default());
            }
        }
    }
    turn.finish_forwarded(frame);
}

/// What TTL and its kin say of a key that is not there.
const GONE: &[u8] = b":-2\r\n";

/// The upstream said how long a tracked key has still to live.
pub(super) fn on_remains(turn: Turn<'_>, key: KeyHash, frame: &[u8]) {
    turn.session.writes = turn.session.writes.saturating_sub(1);
    if frame == GONE {
        tell(turn.client, &Written::One(key));
    }
    turn.finish_forwarded(frame);
}

/// The upstream said that there is no such key.
pub(super) fn gone(core: &Core, key: &[u8]) {
    if let Some(near) = &core.near_cache {
        near.invalidate(key);
    }
}

/// A forwarded write was answered: what it says is the client's only once the near cache has heard of it.
pub(super) fn on_written(client: &Client, session: &mut Session, written: &Written) {
    session.writes = session.writes.saturating_sub(1);
    tell(client, written);
}

/// What writing an entry under this key, and removing its other spelling, changes.
pub(super) fn written_entry(client: &Client, key: &[u8], twin: Option<&[u8]>) -> Written {
    match (&client.core.near_cache, twin) {
        (None, _) => Written::Nothing,
        (Some(near), None) => Written::One(near.hash(key)),
        (Some(near), Some(twin)) => Written::Two(near.hash(key), near.hash(twin)),
    }
}

/// Tells the near cache, if there is one, what was written.
pub(super) fn tell(client: &Client, written: &Written) {
    if let Some(near) = &client.core.near_cache {
        near.written(written);
    }
}

/// GET, of a key that may be tracked.
#[inline]
fn get(
    call: &Call<'_>,
    session: &mut Session,
    lane: &Lane<Waiter>,
    node: &Node<Core>,
    request: Arguments<'_>,
) -> Handled {
    let key = &request[1];
    let of_key = |hash: KeyHash| Read::of_key(hash.number());
    let Some(mut plan) = plan(call, session, node, key, |hash| session.reads.hold_up(of_key(hash))) else {
        return forward::forward(call, session, request);
    };
    if plan.serves && call.client.say_if(session, |out| plan.look_up(key, call.now, out)) {
        count_hit(call);
        return Handled::Done;
    }
    if lane.accepts().is_err() {
        return forward::forward(call, session, request);
    }
    let slot = session.replies.open();
    let read = of_key(plan.key);
    let reading = plan.send(call, session, lane, read, key);
    let waiter = call.waiter(To::Slot(slot), Step::Read(Box::new(reading)));
    lane.push_with(call.deadline, waiter, key, |out| out.extend_from_slice(request.bytes()));
    Handled::Done
}

/// Counts a request that was answered from the near cache.
#[inline]
pub(super) fn count_hit(call: &Call<'_>) {
    let recorder = &call.client.core.recorder;
    recorder.add(Counter::NearHits, 1);
    recorder.request(call.family, Outcome::Ok, Duration::ZERO);
}

/// The upstream said how long the key has still to live that is read next.
pub(super) fn on_life(lane: &Lane<Waiter>, frame: &[u8]) {
    lane.with_oldest(|waiter| {
        if let Some(Waiter { step: Step::Read(reading), .. }) = waiter {
            reading.life = Life::from_reply(frame);
        } else if let Some(Waiter { step: Step::Lookup(lookup), .. }) = waiter
            && let Some(reading) = &mut lookup.reading
        {
            reading.life = Life::from_reply(frame);
        }
    });
}

/// The upstream answered GET of a tracked key.
pub(super) fn on_read(turn: Turn<'_>, reading: &Reading, key: &[u8], frame: &[u8]) {
    turn.session.reads.end(reading.read);
    if let Some(answer) = answer(frame, reading.life) {
        answered(&turn.client.core, reading.key, key, reading.stamp, &answer);
    }
    turn.finish_forwarded(frame);
}

/// What the frame of a value that is kept has besides: a dollar sign, up to seven digits, two line ends.
const FRAME_BYTES: usize = 12;

/// Whether the near cache may keep the value whose frame is so long, which is then not to be handed over in pieces.
pub(super) fn may_keep(core: &Core, reading: &Reading, frame_bytes: usize) -> bool {
    let bytes_max = core.near_cache.as_ref().map_or(0, |near| near.options().value_bytes_max);
    reading.stamp.is_some() && (1..=bytes_max + FRAME_BYTES).contains(&frame_bytes)
}

/// What a reply to GET says of its key.
pub(super) fn answer(frame: &[u8], life: Life) -> Option<Answer<'_>> {
    match frame {
        b"$-1\r\n" | b"_\r\n" => Some(Answer::Absent),
        [b'$', ..] => Some(Answer::Value(frame, life)),
        // The key has a value of another kind by now, so no string that is kept of it is true.
        _ if frame.starts_with(b"-WRONGTYPE ") => Some(Answer::Absent),
        _ => None,
    }
}

/// Tells the near cache what the upstream answered, before anybody else hears of it.
pub(super) fn answered(core: &Core, hash: KeyHash, key: &[u8], stamp: Option<Stamp>, answer: &Answer<'_>) {
    let Some(near) = &core.near_cache else { return };
    match near.answered(hash, key, stamp, answer) {
        Kept::Kept => core.recorder.add(Counter::NearFills, 1),
        Kept::Refused if stamp.is_some() => core.recorder.add(Counter::NearFillsRefused, 1),
        Kept::Refused | Kept::AsBefore | Kept::Nothing => {}
    }
}

/// A client that tracks keys itself is about to be told what the link may not have said yet: it would read the old value
/// over another connection, and keep that. In RESP2 it is told so by a message
/// (<https://redis.io/docs/latest/develop/reference/client-side-caching/>, "two connections mode").
pub(super) fn on_push(client: &Client, frame: &[u8]) {
    let Some(near) = &client.core.near_cache else { return };
    let head = &frame[..frame.len().min(PUSH_HEAD_BYTES)];
    if memchr::memmem::find(head, b"invalidate").is_none() {
        return;
    }
    let Some(what) = elements(frame).and_then(|parts| parts.last().copied()) else { return };
    if let Some(keys) = elements(what) {
        keys.into_iter().filter_map(payload).for_each(|key| near.invalidate(key));
    } else if matches!(what, b"_\r\n" | b"$-1\r\n" | b"*-1\r\n") {
        near.invalidate_all();
    }
}

/// A reply that is too large to be kept is about to be handed to its client in pieces.
pub(super) fn on_first_part(waiter: &Waiter) {
    match &waiter.step {
        Step::Read(reading) => tell(&waiter.client, &Written::One(reading.key)),
        Step::Write(written) => tell(&waiter.client, written),
        Step::Mget(shown) => tell(&waiter.client, &Written::any(shown.iter().flatten().map(|key| Written::One(*key)))),
        Step::Exec(exec) => tell(&waiter.client, &exec.written),
        _ => {}
    }
}

/// A request whose reply was handed over in pieces is over.
pub(super) fn on_last_part(session: &mut Session, step: &Step) {
    match step {
        Step::Read(reading) => session.reads.end(reading.read),
        Step::Write(_) | Step::Mget(_) => session.writes = session.writes.saturating_sub(1),
        _ => {}
    }
}
