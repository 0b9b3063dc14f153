//! What the reply to a command that was sent is for, and what happens when it comes or does not.
//!
//! Guarantees: [`on_reply`] or [`on_failure`] is called once for each waiter, and each call either fills the place that
//! the waiter stands for or sends the next command with a waiter for the same place.

use super::blocking::{self, Nothing};
use super::clients::{self, Inquiry};
use super::fca::{Delete, Lookup, Store};
use super::flush::Flush;
use super::gather::Gather;
use super::introspect::{self, CommandMerge, Sections};
use super::login::{self, Login};
use super::near::{self, Reading};
use super::pubsub::{self, Subscribe};
use super::transaction::Exec;
use super::{Client, exclusive, fca, flush, learned, local, tracking, transaction};
use crate::config::OnUnreachable;
use crate::metrics::{Family, Outcome};
use crate::near_cache::{KeyHash, Written};
use crate::resp::{Protocol, encode};
use crate::session::{Session, Slot};
use crate::upstream::{Failure, Lane, Popped};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What an upstream command was sent for.
pub struct Waiter {
    /// Whose request it belongs to.
    pub(super) client: Rc<Client>,
    /// Where its outcome goes.
    pub(super) to: To,
    /// What its reply means.
    pub(super) step: Step,
    /// How the request is counted.
    pub(super) family: Family,
}

/// Where the outcome of a step goes.
#[derive(Clone)]
pub(super) enum To {
    /// Into the client's reply slot.
    Slot(Slot),
    /// Into one place of a reply that is put together from several.
    Part(Rc<Gather>, u32),
    /// Nowhere.
    Nowhere,
}

/// What the reply to an upstream command means.
pub enum Step {
    /// It is the client's reply, as it is.
    Forward,
    /// The same, of a command that may have changed what the near cache has.
    Write(Written),
    /// It is the value of a key that the near cache may have.
    Read(Box<Reading>),
    /// It is the values of these keys, as far as they are tracked.
    Mget(Box<[Option<KeyHash>]>),
    /// It says how long this key, which the near cache may have, has still to live, or that it is gone.
    Remains(KeyHash),
    /// It says how long the key has still to live that is read next.
    Life,
    /// It means nothing.
    Swallow,
    /// It says whether an entry is there: a GET, TTL or PTTL of one of its spellings.
    Lookup(Lookup),
    /// It says whether an entry was stored; the next says whether its other spelling was removed.
    StoreFirst,
    /// It says whether an entry was stored, or its other spelling removed.
    Store(Store),
    /// It says how many spellings of an entry were removed.
    Delete(Delete),
    /// It says whether the upstream answers now.
    Available,
    /// It says whether the upstream has this database.
    Select(u32),
    /// It says that a connection of the session's own has changed its protocol.
    Hello,
    /// It says whether the upstream takes a session for whom it says to be.
    Login(Box<Login>),
    /// It is a step of FCA.FLUSH.
    Flush(Box<Flush>),
    /// It is the upstream's INFO; the proxy adds a section of its own, and speaks for itself when none comes.
    Info(Sections),
    /// It is the upstream's answer to COMMAND, which is merged with the FCA family.
    Command(Box<CommandMerge>),
    /// It answers MULTI or WATCH: without an upstream, OK, and the next EXEC answers nil.
    Enter,
    /// It answers DISCARD or UNWATCH: without an upstream, OK.
    Leave,
    /// It says that a command was queued.
    Queued,
    /// It says whether the client may ask this about others.
    Permit(Box<Inquiry>),
    /// It says what this command is, which the table lacks.
    Learn(Box<[u8]>),
    /// It is EXEC's reply.
    Exec(Box<Exec>),
    /// It answers a command that waited in the server, and may have changed what the near cache has.
    Block(Nothing, Written),
    /// It is the last confirmation of a subscribing command.
    Subscribe(Subscribe),
    /// It answers MONITOR.
    Monitor,
    /// It answers CLIENT TRACKING.
    Tracking {
        /// Whether that was to switch it on.
        on: bool,
        /// The session that the invalidations are to go to.
        redirect: Option<u64>,
    },
    /// It answers CLIENT NO-TOUCH, which was to switch it on or off.
    NoTouch(bool),
}

impl Step {
    /// Whether the client is told as it is why the server refuses a whole connection (its login, its database), and
    /// nothing else is to be done.
    fn hears_refusals(&self) -> bool {
        matches!(
            self,
            Self::Forward
                | Self::Write(_)
                | Self::Read(_)
                | Self::Mget(_)
                | Self::Remains(_)
                | Self::Block(..)
                | Self::Subscribe(_)
                | Self::Monitor
                | Self::Tracking { .. }
                | Self::NoTouch(_)
        )
    }
}

/// Everything that a step needs of the reply it answers.
pub(super) struct Turn<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) session: &'a mut Session,
    pub(super) to: To,
    pub(super) family: Family,
    pub(super) deadline: Instant,
    /// How long the request has taken until now.
    pub(super) took: Duration,
    pub(super) now: Instant,
}

impl Turn<'_> {
    /// Puts the outcome into its place and counts the request.
    #[inline]
    pub(super) fn finish(self, frame: &[u8], outcome: Outcome) {
        match self.to {
            To::Slot(slot) => {
                self.client.core.recorder.request(self.family, outcome, self.took);
                self.client.fill(self.session, slot, frame);
            }
            To::Part(gather, index) => gather.put(self.client, self.session, index, frame, outcome, self.now),
            To::Nowhere => {}
        }
    }

    /// Finishes with the upstream's reply, as a forwarded command does.
    #[inline]
    pub(super) fn finish_forwarded(self, frame: &[u8]) {
        if frame[0] != b'-' {
            self.finish(frame, Outcome::Ok);
        } else if is_outage(frame) {
            self.finish_unreachable();
        } else {
            self.finish(frame, Outcome::Error);
        }
    }

    /// Finishes with an error in the server's words.
    pub(super) fn finish_error(self, words: &str) {
        let mut frame = Vec::new();
        encode::error(&mut frame, words);
        self.finish(&frame, Outcome::Error);
    }

    /// Finishes as a command does whose upstream can't be reached.
    pub(super) fn finish_unreachable(self) {
        let frame = unreachable_frame(self.client, self.session.protocol);
        self.finish(frame, Outcome::Unreachable);
    }

    /// Finishes with the nil of a single value.
    pub(super) fn finish_nil(self, outcome: Outcome) {
        let frame = encode::nil_frame(self.session.protocol);
        self.finish(frame, outcome);
    }
}

/// How long a request has taken whose budget ends at `deadline`.
#[inline]
pub(super) fn took(client: &Client, deadline: Instant, now: Instant) -> Duration {
    let began = deadline.checked_sub(client.core.settings.borrow().timeout);
    now.saturating_duration_since(began.unwrap_or(now))
}

/// What a forwarded command is answered while the upstream is gone.
pub(super) fn unreachable_frame(client: &Client, protocol: Protocol) -> &'static [u8] {
    match client.core.settings.borrow().on_unreachable {
        OnUnreachable::Nil => encode::nil_frame(protocol),
        OnUnreachable::Error => b"-ERR upstream unreachable\r\n",
    }
}

/// Whether an error says that the upstream serves nobody at present
/// (<https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>, `createSharedObjects` in `server.c`).
pub(super) fn is_outage(frame: &[u8]) -> bool {
    frame.starts_with(b"-LOADING ") || frame.starts_with(b"-MASTERDOWN ") || frame.starts_with(b"-CLUSTERDOWN ")
}

/// The upstream answered.
#[inline]
pub(super) fn on_reply(lane: &Rc<Lane<Waiter>>, answered: Popped<Waiter>, note: &[u8], frame: &[u8], now: Instant) {
    let Popped { waiter: Waiter { client, to, step, family }, deadline } = answered;
    if client.broken.get() {
        return;
    }
    if matches!(step, Step::Life) {
        return near::on_life(lane, frame);
    }
    let session = &mut *client.session.borrow_mut();
    session.timed_out = false;
    let took = took(&client, deadline, now);
    client.core.recorder.upstream_round_trip(took);
    let turn = Turn { client: &client, session, to, family, deadline, took, now };
    match step {
        Step::Forward => turn.finish_forwarded(frame),
        step => take_step(turn, step, lane, note, frame),
    }
}

/// What a reply means that is more than its client's.
fn take_step(turn: Turn<'_>, step: Step, lane: &Rc<Lane<Waiter>>, note: &[u8], frame: &[u8]) {
    match step {
        Step::Forward => turn.finish_forwarded(frame),
        Step::Write(written) => {
            near::on_written(turn.client, turn.session, &written);
            turn.finish_forwarded(frame);
        }
        Step::Read(reading) => near::on_read(turn, &reading, note, frame),
        Step::Mget(shown) => near::on_shown(turn, &shown, frame),
        Step::Remains(key) => near::on_remains(turn, key, frame),
        Step::Swallow | Step::Life => {}
        Step::StoreFirst => fca::on_stored_first(lane, frame),
        Step::Lookup(lookup) => fca::on_looked_up(turn, lookup, lane, note, frame),
        Step::Store(store) => fca::on_stored(turn, &store, frame),
        Step::Delete(delete) => fca::on_deleted(turn, &delete, frame),
        Step::Available => turn.finish(if is_outage(frame) { b":0\r\n" } else { b":1\r\n" }, Outcome::Ok),
        Step::Select(database) => local::on_selected(turn, database, frame),
        Step::Hello => local::on_hello(turn),
        Step::Login(login) => login::on_reply(turn, *login, frame),
        Step::Flush(flush) => flush::on_reply(turn, flush, lane, frame),
        Step::Learn(name) => learned::on_told(turn, &name, Some(frame)),
        Step::Permit(inquiry) => clients::on_judged(turn, *inquiry, frame),
        Step::Info(sections) => introspect::on_info(turn, sections, frame),
        Step::Command(merge) => introspect::on_command(turn, &merge, Some(frame)),
        Step::Enter | Step::Leave | Step::Queued | Step::Exec(_) => transaction::on_reply(turn, step, frame),
        Step::Block(nothing, written) => blocking::on_reply(turn, nothing, &written, frame),
        Step::Subscribe(_) => pubsub::on_subscribed(turn, frame),
        Step::Monitor => pubsub::on_monitor(turn, frame),
        Step::Tracking { on, redirect } => tracking::on_tracking(turn, on, redirect, frame),
        Step::NoTouch(on) => tracking::on_no_touch(turn, on, frame),
    }
}

/// The upstream did not answer.
pub(super) fn on_failure(waiter: Waiter, deadline: Instant, failure: &Failure, now: Instant) {
    let Waiter { client, to, step, family } = waiter;
    if client.broken.get() {
        return;
    }
    let session = &mut *client.session.borrow_mut();
    session.timed_out = *failure == Failure::TimedOut;
    let took = took(&client, deadline, now);
    let turn = Turn { client: &client, session, to, family, deadline, took, now };
    match &step {
        Step::Read(reading) => turn.session.reads.end(reading.read),
        // It may have been carried out, and is not acknowledged: the upstream says whether its keys have changed.
        Step::Write(_) | Step::Mget(_) | Step::Remains(_) | Step::Store(_) | Step::Delete(_) => {
            turn.session.writes = turn.session.writes.saturating_sub(1);
        }
        _ => {}
    }
    if let Failure::LaneRefused(words) = failure
        && step.hears_refusals()
    {
        return turn.finish_error(words);
    }
    match step {
        Step::Forward | Step::Write(_) | Step::Read(_) | Step::Mget(_) | Step::Remains(_) => turn.finish_unreachable(),
        Step::Swallow | Step::Life | Step::StoreFirst => {}
        Step::Lookup(lookup) => fca::on_lookup_failed(turn, &lookup),
        Step::Store(store) => fca::on_store_failed(turn, &store),
        Step::Delete(_) => turn.finish_nil(Outcome::Unreachable),
        Step::Available => turn.finish(b":0\r\n", Outcome::Ok),
        Step::Select(database) => local::on_select_failed(turn, database, failure),
        Step::Hello => local::on_hello(turn),
        Step::Login(login) => login::on_failure(turn, *login, failure),
        Step::Flush(_) => turn.finish_nil(Outcome::Unreachable),
        Step::Learn(name) => learned::on_told(turn, &name, None),
        Step::Permit(_) => clients::on_unjudged(turn, failure),
        Step::Info(_) => introspect::on_info_failed(turn, failure),
        Step::Command(merge) => introspect::on_command(turn, &merge, None),
        Step::Enter | Step::Leave | Step::Queued | Step::Exec(_) => transaction::on_failure(turn, &step, failure),
        Step::Block(nothing, _) => blocking::on_failure(turn, nothing, failure),
        Step::Subscribe(_) | Step::Monitor => pubsub::on_failure(turn, failure),
        Step::Tracking { on, .. } => tracking::on_failure(turn, on, failure),
        Step::NoTouch(_) => {
            exclusive::taint(turn.client);
            turn.finish_unreachable();
        }
    }
}
