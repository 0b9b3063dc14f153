//! Writes: FCA.SET, FCA.MSET, FCA.DEL.
//!
//! Guarantees: an entry is written with its time to live in one command, and its other spelling removed by the next; the
//! client hears of it once both are done, and the near cache before the client.

use super::super::Route;
use super::super::entry::{Entry, write_read};
use super::super::gather::Gather;
use super::super::namespace::Namespace;
use super::super::step::{Reply, Step, Task, To, Turn, Waiter, is_outage};
use super::super::tell;
use super::ask::Answer;
use super::{Call, Handled, embedded};
use crate::fca::{Expiry, Form, Lifetime, Query, TtlBounds, Write};
use crate::metrics::{Limit, NamespaceLabel, Outcome, SetResult};
use crate::near_cache::Written;
use crate::resp::{ReplyError, encode};
use crate::session::Session;
use crate::upstream::{Failure, Lane};
use std::rc::Rc;

/// The writing of an entry.
struct Store {
    label: NamespaceLabel,
    written: Written,
    /// What the upstream has said so far, where this is the reply to the removal of the other spelling.
    said: Option<Said>,
}

/// What the upstream says to a SETEX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Stored,
    Refused,
    /// That it serves nobody at present.
    Nothing,
}

impl Said {
    fn of(frame: &[u8]) -> Self {
        match frame[0] {
            b'-' if is_outage(frame) => Self::Nothing,
            b'-' => Self::Refused,
            _ => Self::Stored,
        }
    }
}

/// The removal of an entry.
struct Delete {
    label: NamespaceLabel,
    written: Written,
}

/// FCA.SET, FCA.MSET.
pub(super) fn store(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    items: &[(Query<'_>, &[u8])],
    expiry: Option<Expiry>,
    answer: Answer,
) -> Result<Handled, ReplyError> {
    let entries = derive_all_to_store(call, name, items)?;
    if entries.iter().any(|entry| waits_for_lookup(session, entry)) {
        return Ok(Handled::WaitUntilAnswered);
    }
    let Some(first) = entries.first() else { return Err(ReplyError::syntax()) };
    let namespace = Rc::clone(&first.namespace);
    let recorder = &call.client.core.recorder;
    let write = write_within(call, &namespace, expiry, entries.len());
    match call.route {
        Route::Embedded(store) if namespace.enabled => {
            embedded::store(call, session, store, &entries, items, &write, answer);
        }
        Route::Lane(lane, _) if namespace.enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = (answer == Answer::Count)
                .then(|| Gather::count(slot, call.family, call.deadline, entries.len() as u32));
            for (index, (entry, (_, value))) in entries.iter().zip(items).enumerate() {
                let to = gather.as_ref().map_or(To::Slot(slot), |gather| To::Part(Rc::clone(gather), index as u32));
                send(call, session, lane, to, entry, value, &write);
            }
        }
        _ => {
            let disabled = !namespace.enabled || matches!(call.route, Route::Disabled);
            let result = if disabled { SetResult::Disabled } else { SetResult::Unreachable };
            entries.iter().for_each(|_| recorder.fca_set(namespace.label, result));
            let outcome = if namespace.enabled { Outcome::Unreachable } else { Outcome::Ok };
            call.say(session, outcome, |out| encode::nil(out, call.protocol));
        }
    }
    Ok(Handled::Done)
}

pub(super) fn derive_all_to_store(
    call: &Call<'_>,
    name: &[u8],
    items: &[(Query<'_>, &[u8])],
) -> Result<Vec<Entry>, ReplyError> {
    let value_bytes_max = call.settings.limits.value_bytes_max;
    items
        .iter()
        .map(|(query, value)| {
            if value.len() > value_bytes_max {
                call.client.core.recorder.limit(Limit::ValueBytes);
                let text = format!("ERR value exceeds limits.value_bytes_max ({value_bytes_max} bytes)");
                return Err(ReplyError::new(text));
            }
            Entry::derive(call, name, *query, Vec::new())
        })
        .collect()
}

pub(super) fn write_within(call: &Call<'_>, namespace: &Namespace, expiry: Option<Expiry>, entries: usize) -> Write {
    let bounds = TtlBounds { ttl: namespace.ttl, ttl_max: namespace.ttl_max };
    let lifetime = Lifetime::new(&bounds, expiry);
    if lifetime.capped {
        call.client.core.recorder.limit(Limit::TtlMax);
        (0..entries).for_each(|_| call.client.core.recorder.fca_ttl_capped(namespace.label));
    }
    lifetime.write
}

/// How many look-ups under way a write is compared with.
const LOOKUPS_COMPARED_MAX: usize = 64;

/// Whether a write to this entry has to wait for a look-up of it that may take a second step.
fn waits_for_lookup(session: &Session, entry: &Entry) -> bool {
    let lookups = &session.lookups;
    // Where there are many, waiting for them all is cheaper than looking for the one.
    session.replies.in_flight() > 0
        && (lookups.len() > LOOKUPS_COMPARED_MAX || (!lookups.is_empty() && lookups.contains(&entry.identity())))
}

/// Writes the exact spelling, then removes the other, so that at most one of the two is there. The client hears of it
/// once both are done.
fn send(
    call: &Call<'_>,
    session: &mut Session,
    lane: &Lane<Waiter>,
    to: To,
    entry: &Entry,
    value: &[u8],
    write: &Write,
) {
    let twin = entry.twin_key();
    let (label, written) = (entry.namespace.label, tell::written_entry(call.client, entry.key(), twin.as_deref()));
    // Not stored, as far as is known, until the first reply has come: the second may come over another connection.
    let said = twin.as_ref().map(|_| Said::Nothing);
    let task = Store { label, written, said };
    let write_first = |out: &mut Vec<u8>| write_store(out, entry.key(), value, write);
    session.untold += 1;
    let Some(twin) = twin else {
        return lane.push_with(call.deadline, call.waiter(to, task), &[], write_first);
    };
    lane.push_with(call.deadline, call.waiter(To::Nowhere, Step::Foretell), &[], write_first);
    lane.push_with(call.deadline, call.waiter(to, task), &[], |out| write_read(out, b"DEL", &twin));
}

pub(super) fn write_store(out: &mut Vec<u8>, key: &[u8], value: &[u8], write: &Write) {
    let (name, amount): (&[u8], u64) = match *write {
        Write::Setex(seconds) => (b"SETEX", seconds),
        Write::Psetex(milliseconds) => (b"PSETEX", milliseconds),
    };
    encode::header(out, b'*', 4);
    encode::bulk(out, name);
    encode::bulk(out, key);
    encode::bulk(out, itoa::Buffer::new().format(amount).as_bytes());
    encode::bulk(out, value);
}

impl Task for Store {
    /// The upstream said whether an entry was stored, or its other spelling removed.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        turn.session.told();
        tell::written(turn.client, &self.written);
        let recorder = &turn.client.core.recorder;
        match self.said.unwrap_or_else(|| Said::of(reply.frame)) {
            Said::Stored => {
                recorder.fca_set(self.label, SetResult::Stored);
                turn.finish(b"+OK\r\n", Outcome::Ok);
            }
            Said::Nothing => {
                recorder.fca_set(self.label, SetResult::Unreachable);
                turn.finish_nil(Outcome::Unreachable);
            }
            Said::Refused => {
                recorder.fca_set(self.label, SetResult::Refused);
                turn.finish_nil(Outcome::Error);
            }
        }
    }

    /// The upstream did not say: it may have been stored.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        turn.session.told();
        turn.client.core.recorder.fca_set(self.label, SetResult::Unreachable);
        turn.finish_nil(Outcome::Unreachable);
    }

    /// The upstream said whether it was stored; the removal of the other spelling is answered next.
    fn foretold(&mut self, frame: &[u8]) {
        self.said = Some(Said::of(frame));
    }
}

/// FCA.DEL.
pub(super) fn delete(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    queries: &[&[u8]],
    form: Form,
) -> Result<Handled, ReplyError> {
    let entries = Entry::derive_all(call, name, queries, form)?;
    if entries.iter().any(|entry| waits_for_lookup(session, entry)) {
        return Ok(Handled::WaitUntilAnswered);
    }
    let enabled = entries.first().is_some_and(|entry| entry.namespace.enabled);
    match call.route {
        Route::Embedded(store) if enabled => embedded::delete(call, session, store, &entries),
        Route::Lane(lane, _) if enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = Gather::count(slot, call.family, call.deadline, entries.len() as u32);
            for (index, entry) in entries.iter().enumerate() {
                let twin = entry.twin_key();
                let written = tell::written_entry(call.client, entry.key(), twin.as_deref());
                let task = Delete { label: entry.namespace.label, written };
                let waiter = call.waiter(To::Part(Rc::clone(&gather), index as u32), task);
                session.untold += 1;
                lane.push_with(call.deadline, waiter, &[], |out| write_delete(out, entry.key(), twin.as_deref()));
            }
        }
        _ if !enabled => {
            call.say(session, Outcome::Ok, |out| encode::integer(out, 0));
        }
        _ => {
            call.say(session, Outcome::Unreachable, |out| encode::nil(out, call.protocol));
        }
    }
    Ok(Handled::Done)
}

/// Removes both spellings with one command, whose reply says whether either was there.
pub(super) fn write_delete(out: &mut Vec<u8>, key: &[u8], twin: Option<&[u8]>) {
    match twin {
        Some(twin) => encode::command(out, &[b"DEL", key, twin]),
        None => write_read(out, b"DEL", key),
    }
}

impl Task for Delete {
    /// The upstream said how many spellings of an entry were removed.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        turn.session.told();
        tell::written(turn.client, &self.written);
        match reply.frame[0] {
            b':' => {
                turn.client.core.recorder.fca_deleted(self.label, u64::from(reply.frame != b":0\r\n"));
                turn.finish(reply.frame, Outcome::Ok);
            }
            _ if is_outage(reply.frame) => turn.finish_nil(Outcome::Unreachable),
            _ => turn.finish_nil(Outcome::Error),
        }
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        turn.session.told();
        turn.finish_nil(Outcome::Unreachable);
    }
}
