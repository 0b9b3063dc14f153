//! The near cache on the way of a request: what is answered from it, and what is read for it.
//!
//! Guarantees: a session is answered from it only where the upstream's answer could be no newer than what the session
//! has been or will be given: not while a write of its own is unanswered, nor while it reads the same entry upstream,
//! nor in a mode, transaction, database or login that makes its connection differ; nor where its lane is known to be
//! connected to another server than the one that the near cache follows, of which nothing is kept either. Leaves what is
//! kept, and for how long, to `near_cache`; what it is told of to `tell.rs`.

use super::call::{Call, Handled};
use super::entry::write_read;
use super::forward;
use super::step::{Reply, Step, Task, To, Turn, Waiter};
use super::tell::{self, Tell};
use super::{Client, Core, Route};
use crate::command::Effect;
use crate::metrics::{Counter, Outcome};
use crate::near_cache::{Answer, Follows, Kept, KeyHash, Life, LookUp, NearCache, Stamp, Written};
use crate::resp::Arguments;
use crate::session::{Read, Session};
use crate::upstream::{Failure, Lane, Made, Node, RunId};
use std::time::{Duration, Instant};

/// A read of a tracked key that is on its way.
pub(super) struct Reading {
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
    (lane, node): (&Lane<Waiter>, &Node<Core>),
    key: &[u8],
    held_up: impl FnOnce(KeyHash) -> bool,
) -> Option<Plan<'a>> {
    let near = call.client.core.near_cache.as_deref()?;
    if session.database != node.database() || !near.tracks(key) {
        return None;
    }
    let key = near.hash(key);
    // What others may read is not another user's to be given; what he reads may be newer all the same.
    let is_shared = session.login.is_none() && is_shared(call, session) && !is_of_another(near, lane);
    let serves = is_shared && session.untold == 0 && !held_up(key);
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
            let waiter = call.waiter(To::Nowhere, Step::Foretell);
            lane.push_with(call.deadline, waiter, &[], |out| write_read(out, b"PTTL", key));
        }
        Reading { read, key: self.key, stamp: self.stamp, life: Life::Unknown, exact: None }
    }
}

/// Whether a lane's sessions read from another server than the one whose changes the near cache hears of.
#[inline]
fn is_of_another(near: &NearCache, lane: &Lane<Waiter>) -> bool {
    near.follows(lane.run_id().map(RunId::number)) == Follows::Another
}

/// A shared lane has a connection. The link has to hear of it where they may be to different servers.
pub(super) fn connected(core: &Core, lane: &Lane<Waiter>, made: Made) {
    let Some(near) = &core.near_cache else { return };
    match (near.follows(lane.run_id().map(RunId::number)), made) {
        (Follows::It, _) | (Follows::Unknown, Made::First) => {}
        (Follows::Another, _) => near.miss(),
        (Follows::Unknown, Made::Anew) => near.distrust(),
    }
}

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
        if session.looks_up() && (effect == Effect::AnyKeys || request.iter().skip(1).any(|key| near.tracks(key))) {
            return Handled::WaitUntilAnswered;
        }
        match effect {
            Effect::Get if request.len() == 2 => return get(call, session, lane, node, request),
            Effect::Get | Effect::None => {}
            Effect::Life => {
                if let Some(key) = request.at(1).filter(|key| near.tracks(key)) {
                    return tell::send(call, session, lane, request, Tell::Life(near.hash(key)));
                }
            }
            Effect::Mget => {
                if let Some(shown) = tell::shown_by(near, request) {
                    return tell::send(call, session, lane, request, shown);
                }
            }
            Effect::Keys => match near.written_by(request.iter().skip(1)) {
                Written::Nothing => {}
                written => return tell::send(call, session, lane, request, Tell::Change(written)),
            },
            Effect::AnyKeys => return tell::send(call, session, lane, request, Tell::Change(Written::Unknown)),
            Effect::AllKeys => return tell::send(call, session, lane, request, Tell::Change(Written::All)),
        }
    }
    forward::forward(call, session, request)
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
    let held_up = |hash| session.reads.hold_up(of_key(hash));
    let Some(mut plan) = plan(call, session, (lane, node), key, held_up) else {
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
    let waiter = call.waiter(To::Slot(slot), reading);
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

impl Task for Reading {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        turn.session.reads.end(self.read);
        if let Some(answer) = answer(reply.frame, self.life) {
            answered(&turn.client.core, reply.lane, self.key, reply.note, self.stamp, &answer);
        }
        turn.finish_forwarded(reply.frame);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        turn.session.reads.end(self.read);
        turn.finish_failed(failure);
    }

    fn foretold(&mut self, frame: &[u8]) {
        self.life = Life::from_reply(frame);
    }

    fn takes_parts(&self, client: &Client, bytes: usize) -> bool {
        !may_keep(&client.core, self, bytes)
    }

    fn on_first_part(&self, client: &Client) {
        // It is too large to be kept, and its client has what it says from now on.
        tell::written(client, &Written::One(self.key));
    }

    fn on_last_part(&self, session: &mut Session) {
        session.reads.end(self.read);
    }
}

/// What the frame of a value that is kept has besides: a dollar sign, up to seven digits, two line ends.
const FRAME_BYTES: usize = 12;

/// Whether the near cache may keep the value whose frame is so long, which is then not to be handed over in pieces.
fn may_keep(core: &Core, reading: &Reading, frame_bytes: usize) -> bool {
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

/// Tells the near cache what the upstream answered on this lane, before anybody else hears of it.
pub(super) fn answered(
    core: &Core,
    lane: &Lane<Waiter>,
    hash: KeyHash,
    key: &[u8],
    stamp: Option<Stamp>,
    answer: &Answer<'_>,
) {
    let Some(near) = &core.near_cache else { return };
    // The lane may have been without a connection when the read was sent.
    let kept_at = stamp.filter(|_| !is_of_another(near, lane));
    match near.answered(hash, key, kept_at, answer) {
        Kept::Kept => core.recorder.add(Counter::NearFills, 1),
        Kept::Refused if stamp.is_some() => core.recorder.add(Counter::NearFillsRefused, 1),
        Kept::Refused | Kept::AsBefore | Kept::Nothing => {}
    }
}
