//! Look-ups: FCA.GET, FCA.MGET, FCA.TTL, FCA.PTTL.
//!
//! Guarantees: a hit in the exact spelling costs one command upstream, or none; the other spelling is asked for only
//! where that one is absent, and then both at one moment, so that no entry is missed that somebody is writing anew. What
//! the upstream said of either spelling the near cache hears before the client does.

use super::super::entry::{Entry, key_of_note, twin_key, write_read};
use super::super::gather::Gather;
use super::super::namespace::Namespace;
use super::super::near::{self, Plan, Reading};
use super::super::step::{Reply, Step, Task, To, Turn, Waiter, is_outage};
use super::super::{Core, Route, tell};
use super::ask::{Ask, count_get};
use super::{Call, Handled, embedded};
use crate::fca::{Form, Query};
use crate::key::Digest;
use crate::metrics::{Counter, GetResult, Outcome};
use crate::near_cache::{Answer, Life};
use crate::resp::{ReplyError, elements, encode};
use crate::session::{Read, Session};
use crate::upstream::{Failure, Lane, Node};
use std::rc::Rc;
use std::time::Duration;

/// A GET, TTL or PTTL of one spelling of an entry.
pub(super) struct Lookup {
    namespace: Rc<Namespace>,
    /// How much of a key is its prefix. The note has the exact spelling's key and its text, then both keys; of a TTL's only
    /// the one that is asked for.
    prefix_bytes: u32,
    spelling: Spelling,
    ask: Ask,
    /// What it is to the near cache, where there is one.
    reading: Option<Reading>,
}

/// Which spelling of an entry is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it was asked, and there is another.
    Exact,
    /// The only one left.
    Last,
}

impl Lookup {
    /// What the upstream said of the life of the key that is read.
    fn life(&self) -> Life {
        self.reading.as_ref().map_or(Life::Unknown, |reading| reading.life)
    }
}

/// FCA.GET, FCA.TTL, FCA.PTTL.
pub(super) fn look_up(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    query: Query<'_>,
    ask: Ask,
) -> Result<Handled, ReplyError> {
    let entry = Entry::derive(call, name, query, call.client.core.text.take())?;
    if !entry.namespace.enabled {
        count_get(call, ask, entry.namespace.label, GetResult::Disabled);
        return Ok(say_nothing_there(call, session, ask));
    }
    match call.route {
        Route::Embedded(store) => embedded::look_up(call, session, store, &entry, ask),
        Route::Lane(lane, node) if lane.accepts().is_ok() => {
            let mut plan = plan(call, session, (lane, node), &entry, ask);
            let hit = plan
                .as_mut()
                .is_some_and(|plan| plan.serves() && call.client.say_if(session, |out| find(plan, call, &entry, out)));
            if hit {
                count_get(call, ask, entry.namespace.label, GetResult::NearHit);
                near::count_hit(call);
            } else {
                let slot = session.replies.open();
                send(call, session, lane, To::Slot(slot), &entry, ask, plan);
            }
        }
        Route::Lane(..) | Route::Disabled | Route::Unreachable => {
            let disabled = matches!(call.route, Route::Disabled);
            let result = if disabled { GetResult::Disabled } else { GetResult::Unreachable };
            count_get(call, ask, entry.namespace.label, result);
            call.client.core.recorder.request(call.family, Outcome::Unreachable, Duration::ZERO);
            call.client.say(session, |out| out.extend_from_slice(encode::nil_frame(call.protocol)));
        }
    }
    call.client.core.text.replace(entry.into_text());
    Ok(Handled::Done)
}

fn say_nothing_there(call: &Call<'_>, session: &mut Session, ask: Ask) -> Handled {
    match ask {
        Ask::Value => call.say(session, Outcome::Ok, |out| encode::nil(out, call.protocol)),
        Ask::Ttl | Ask::Pttl => call.say(session, Outcome::Ok, |out| encode::integer(out, -2)),
    }
}

/// What the near cache is to this question.
#[inline]
fn plan<'a>(
    call: &'a Call<'_>,
    session: &Session,
    to: (&Lane<Waiter>, &Node<Core>),
    entry: &Entry,
    ask: Ask,
) -> Option<Plan<'a>> {
    if ask != Ask::Value {
        return None;
    }
    let held_up = |_| !session.reads.is_empty() && session.reads.hold_up(Read::of_entry(entry.identity()));
    near::plan(call, session, to, entry.key(), held_up)
}

/// Appends the frame of an entry's value, if the near cache has it. An entry of one spelling has no other, whatever the near
/// cache remembers from before a reload.
#[inline]
fn find(plan: &mut Plan<'_>, call: &Call<'_>, entry: &Entry, out: &mut Vec<u8>) -> bool {
    if entry.has_twin {
        plan.look_up_entry(entry.key(), call.now, out)
    } else {
        plan.look_up(entry.key(), call.now, out)
    }
}

/// Asks for the exact spelling; the note lets the reply's turn derive the other.
fn send(
    call: &Call<'_>,
    session: &mut Session,
    lane: &Lane<Waiter>,
    to: To,
    entry: &Entry,
    ask: Ask,
    plan: Option<Plan<'_>>,
) {
    let spelling = if entry.has_twin { Spelling::Exact } else { Spelling::Last };
    let note: &[u8] = if entry.has_twin || plan.is_some() || ask != Ask::Value { entry.note() } else { &[] };
    if entry.has_twin {
        session.lookups.push_back(entry.identity());
    }
    if ask != Ask::Value {
        // It may be told that the entry is gone, and no read behind it is to find it.
        session.untold += 1;
    }
    let reading = plan.map(|plan| {
        let read = Read::of_entry(entry.identity());
        plan.send(call, session, lane, read, entry.key())
    });
    let prefix_bytes = entry.prefix_bytes() as u32;
    let lookup = Lookup { namespace: Rc::clone(&entry.namespace), prefix_bytes, spelling, ask, reading };
    lane.push_with(call.deadline, call.waiter(to, lookup), note, |out| {
        write_read(out, ask.command(), entry.key());
    });
}

impl Task for Lookup {
    /// The upstream said whether an entry is there.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let Reply { frame, note, lane } = reply;
        let key_bytes = self.prefix_bytes as usize + size_of::<Digest>();
        let (exact, other) = note.split_at(note.len().min(key_bytes));
        if self.ask != Ask::Value && self.ask.is_absent(frame) {
            tell::gone(turn.client, exact);
        }
        if self.spelling == Spelling::Exact {
            if let (Some(reading), Some(answer)) = (&self.reading, near::answer(frame, self.life())) {
                near::answered(&turn.client.core, lane, reading.key, exact, reading.stamp, &answer);
            }
            let absent = self.ask.is_absent(frame);
            if (absent || is_overtaken(&turn, &self)) && lane.accepts().is_ok() {
                return ask_for_twin(turn, self, reply);
            }
            // Replies come in the order of the questions, so the oldest look-up is this one.
            turn.session.lookups.pop_front();
            return finish(turn, &self, frame, absent);
        }
        let both = if frame[0] == b'*' { elements(frame).unwrap_or_default() } else { Vec::new() };
        if let Some(reading) = &self.reading {
            tell_last(&turn, &self, reading, (exact, other), &both, reply);
        }
        let frame =
            both.iter().find(|value| !self.ask.is_absent(value)).or_else(|| both.first()).copied().unwrap_or(frame);
        let absent = self.ask.is_absent(frame);
        finish(turn, &self, frame, absent);
    }

    /// The upstream did not say.
    fn on_failure(self: Box<Self>, mut turn: Turn<'_>, _: &Failure) {
        if self.spelling == Spelling::Exact {
            turn.session.lookups.pop_front();
        }
        end(&mut turn, &self, GetResult::Unreachable);
        turn.finish_nil(Outcome::Unreachable);
    }

    fn foretold(&mut self, frame: &[u8]) {
        if let Some(reading) = &mut self.reading {
            reading.foretold(frame);
        }
    }
}

/// Whether the same entry was asked for before in the same pipeline and is being asked for again, in its other spelling: the
/// answer to that will be newer than this one, and comes first. Both are asked for again then, behind it.
fn is_overtaken(turn: &Turn<'_>, lookup: &Lookup) -> bool {
    let is_first = matches!(turn.to, To::Slot(slot) if turn.session.replies.is_first(slot));
    !is_first && lookup.reading.as_ref().is_some_and(|reading| turn.session.reads.has_several(reading.read))
}

/// Tells the near cache what the upstream said of the last spelling, and of the exact one where that was asked again.
fn tell_last(
    turn: &Turn<'_>,
    lookup: &Lookup,
    reading: &Reading,
    (exact, other): (&[u8], &[u8]),
    both: &[&[u8]],
    Reply { frame, lane, .. }: Reply<'_>,
) {
    let core = &turn.client.core;
    let Some((exact_hash, exact_stamp)) = reading.exact else {
        if let Some(answer) = near::answer(frame, lookup.life()) {
            near::answered(core, lane, reading.key, exact, reading.stamp, &answer);
        }
        return;
    };
    let [exact_value, value] = both else { return };
    let answer = near::answer(value, lookup.life());
    if let Some(answer) = &answer {
        near::answered(core, lane, reading.key, other, reading.stamp, answer);
    }
    let exact_answer = match (near::answer(exact_value, Life::Unknown), answer) {
        (Some(Answer::Absent), Some(Answer::Value(..))) => Some(Answer::Elsewhere(other)),
        (exact_answer, _) => exact_answer,
    };
    if let Some(exact_answer) = exact_answer {
        near::answered(core, lane, exact_hash, exact, exact_stamp, &exact_answer);
    }
}

/// Asks for both spellings, where there are two; `frame` is what the upstream has said of the exact one.
fn ask_for_twin(turn: Turn<'_>, mut lookup: Box<Lookup>, reply: Reply<'_>) {
    let Reply { frame, note, lane } = reply;
    let prefix_bytes = lookup.prefix_bytes as usize;
    // The command is sent now: what the session writes from here on comes behind it.
    turn.session.lookups.pop_front();
    let Some(twin) = twin_key(&lookup.namespace, note, prefix_bytes) else {
        let absent = lookup.ask.is_absent(frame);
        return finish(turn, &lookup, frame, absent);
    };
    let (ask, exact) = (lookup.ask, key_of_note(note, prefix_bytes));
    if let (Some(reading), Some(cache)) = (&mut lookup.reading, &turn.client.core.near_cache) {
        let keeps = reading.stamp.is_some();
        let stamp = |key| if keeps { cache.stamp(key, turn.now) } else { None };
        let key = cache.hash(&twin);
        reading.exact = Some((reading.key, stamp(reading.key)));
        (reading.key, reading.stamp, reading.life) = (key, stamp(key), Life::Unknown);
        if reading.stamp.is_some() {
            lane.push_with(turn.deadline, turn.foreteller(), &[], |out| write_read(out, b"PTTL", &twin));
        }
    }
    let note = match (&lookup.reading, ask) {
        (Some(_), _) => [exact, &twin].concat(),
        (None, Ask::Value) => Vec::new(),
        (None, Ask::Ttl | Ask::Pttl) => twin.clone(),
    };
    lookup.spelling = Spelling::Last;
    let deadline = turn.deadline;
    lane.push_with(deadline, turn.into_waiter(Step::Task(lookup)), &note, |out| match ask {
        // Both in one command: in between, somebody may have stored the exact spelling and removed the other.
        Ask::Value => encode::command(out, &[b"MGET", exact, &twin]),
        Ask::Ttl | Ask::Pttl => write_read(out, ask.command(), &twin),
    });
}

fn finish(mut turn: Turn<'_>, lookup: &Lookup, frame: &[u8], absent: bool) {
    let (result, outcome) = match frame[0] {
        b'-' if is_outage(frame) => (GetResult::Unreachable, Outcome::Unreachable),
        b'-' => (GetResult::Error, Outcome::Error),
        _ if absent => (GetResult::Miss, Outcome::Ok),
        _ => (GetResult::Hit, Outcome::Ok),
    };
    end(&mut turn, lookup, result);
    if frame[0] == b'-' { turn.finish_nil(outcome) } else { turn.finish(frame, outcome) }
}

/// The look-up is over.
fn end(turn: &mut Turn<'_>, lookup: &Lookup, result: GetResult) {
    if let Some(reading) = &lookup.reading {
        turn.session.reads.end(reading.read);
    }
    match lookup.ask {
        Ask::Value => turn.client.core.recorder.fca_get(lookup.namespace.label, result),
        Ask::Ttl | Ask::Pttl => turn.session.told(),
    }
}

/// FCA.MGET.
pub(super) fn look_up_all(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    queries: &[&[u8]],
) -> Result<Handled, ReplyError> {
    let recorder = &call.client.core.recorder;
    let entries = Entry::derive_all(call, name, queries, Form::Text)?;
    let enabled = entries.first().is_some_and(|entry| entry.namespace.enabled);
    match call.route {
        Route::Embedded(store) if enabled => embedded::look_up_all(call, session, store, &entries),
        Route::Lane(lane, node) if enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = Gather::array(slot, call.family, call.deadline, entries.len() as u32);
            for (index, entry) in entries.iter().enumerate() {
                let mut plan = plan(call, session, (lane, node), entry, Ask::Value);
                let mut frame = Vec::new();
                if plan.as_mut().is_some_and(|plan| find(plan, call, entry, &mut frame)) {
                    count_get(call, Ask::Value, entry.namespace.label, GetResult::NearHit);
                    recorder.add(Counter::NearHits, 1);
                    gather.put(call.client, session, index as u32, &frame, Outcome::Ok, call.now);
                } else {
                    let to = To::Part(Rc::clone(&gather), index as u32);
                    send(call, session, lane, to, entry, Ask::Value, plan);
                }
            }
        }
        _ => {
            let disabled = !enabled || matches!(call.route, Route::Disabled);
            let result = if disabled { GetResult::Disabled } else { GetResult::Unreachable };
            entries.iter().for_each(|entry| count_get(call, Ask::Value, entry.namespace.label, result));
            let outcome = if enabled { Outcome::Unreachable } else { Outcome::Ok };
            call.say(session, outcome, |out| {
                encode::header(out, b'*', entries.len() as u64);
                entries.iter().for_each(|_| encode::nil(out, call.protocol));
            });
        }
    }
    Ok(Handled::Done)
}
