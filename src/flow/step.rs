//! What the reply to a command that was sent is for, and what happens when it comes or does not.
//!
//! Guarantees: [`on_reply`] or [`on_failure`] is called once for each waiter, and each call either fills the place that
//! the waiter stands for or sends the next command with a waiter for the same place. Leaves what a reply means to the
//! file that sent the command, which says so by its [`Task`].

use super::Client;
use super::gather::Gather;
use crate::config::OnUnreachable;
use crate::metrics::{Family, Outcome, Took};
use crate::resp::{Protocol, encode};
use crate::session::{Session, Slot, Subscription};
use crate::upstream::{Failure, Lane, Popped};
use std::rc::Rc;
use std::time::Instant;

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
pub(super) enum Step {
    /// It is the client's reply, as it is.
    Forward,
    /// It is for the task of the command behind it, which hears of it before its own.
    Foretell,
    /// It means nothing.
    Swallow,
    /// More than that.
    Task(Box<dyn Task>),
}

impl<T: Task + 'static> From<T> for Step {
    fn from(task: T) -> Self {
        Self::Task(Box::new(task))
    }
}

/// What becomes of the reply to one upstream command. One of the first two is called, once.
pub(super) trait Task {
    /// The upstream answered.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>);

    /// The upstream did not answer, or not to the end.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure);

    /// The upstream answered the command before, which was sent for this one ([`Step::Foretell`]).
    fn foretold(&mut self, _frame: &[u8]) {}

    /// Whether a reply of so many bytes is the client's as it is and nothing else, so that it may be handed over in pieces.
    fn takes_parts(&self, _client: &Client, _bytes: usize) -> bool {
        false
    }

    /// The first piece is about to be handed over.
    fn on_first_part(&self, _client: &Client) {}

    /// The last piece has come; neither [`Self::on_reply`] nor [`Self::on_failure`] will be called.
    fn on_last_part(&self, _session: &mut Session) {}

    /// Whether it waits for confirmations of subscriptions.
    fn subscribes(&self) -> bool {
        false
    }

    /// The server has confirmed a subscription, or the end of one, of which there were so many `before`; true for the last
    /// that it waits for, which is its reply.
    fn is_last_confirmation(&mut self, _kind: Subscription, _subscribes: bool, _before: u64) -> bool {
        false
    }
}

/// A reply, and what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Reply<'a> {
    /// The reply itself.
    pub(super) frame: &'a [u8],
    /// What was left with the command when it was sent.
    pub(super) note: &'a [u8],
    /// The lane that it came on.
    pub(super) lane: &'a Rc<Lane<Waiter>>,
}

/// Everything that a step needs besides the reply it answers.
pub(super) struct Turn<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) session: &'a mut Session,
    pub(super) to: To,
    pub(super) family: Family,
    pub(super) deadline: Instant,
    /// How long the request has taken until now.
    pub(super) took: Took,
    pub(super) now: Instant,
}

impl Turn<'_> {
    /// Who waits for the next step of the same request.
    pub(super) fn into_waiter(self, step: impl Into<Step>) -> Waiter {
        Waiter { client: Rc::clone(self.client), to: self.to, step: step.into(), family: self.family }
    }

    /// Who waits for what is said of the next step.
    pub(super) fn foreteller(&self) -> Waiter {
        Waiter { client: Rc::clone(self.client), to: To::Nowhere, step: Step::Foretell, family: self.family }
    }

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

    /// Finishes as a forwarded command does that has no reply.
    pub(super) fn finish_failed(self, failure: &Failure) {
        if let Some(turn) = self.unless_refused(failure) {
            turn.finish_unreachable();
        }
    }

    /// Where the server refuses a whole connection (its login, its database) the client is told why, and nothing else is
    /// to be done.
    pub(super) fn unless_refused(self, failure: &Failure) -> Option<Self> {
        if let Failure::LaneRefused(words) = failure {
            self.finish_error(words);
            return None;
        }
        Some(self)
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

/// What a forwarded command is answered while the upstream is gone.
pub(super) fn unreachable_frame(client: &Client, protocol: Protocol) -> &'static [u8] {
    match client.core.settings.borrow().on_unreachable {
        OnUnreachable::Nil => encode::nil_frame(protocol),
        OnUnreachable::Error => b"-ERR upstream unreachable\r\n",
    }
}

/// Whether a reply says that the upstream serves nobody at present
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
    if matches!(step, Step::Foretell) {
        return foretell(lane, frame);
    }
    let session = &mut *client.session.borrow_mut();
    session.timed_out = false;
    let took = client.took(deadline, now);
    client.core.recorder.upstream_round_trip(took);
    // Most replies: without the moves that a turn takes.
    if let (Step::Forward, &To::Slot(slot)) = (&step, &to)
        && frame[0] != b'-'
    {
        client.core.recorder.request(family, Outcome::Ok, took);
        return client.fill(session, slot, frame);
    }
    let turn = Turn { client: &client, session, to, family, deadline, took, now };
    match step {
        Step::Forward => turn.finish_forwarded(frame),
        Step::Task(task) => task.on_reply(turn, Reply { frame, note, lane }),
        Step::Foretell | Step::Swallow => {}
    }
}

fn foretell(lane: &Lane<Waiter>, frame: &[u8]) {
    lane.with_oldest(|waiter| {
        if let Some(Waiter { step: Step::Task(task), .. }) = waiter {
            task.foretold(frame);
        }
    });
}

/// The upstream did not answer.
pub(super) fn on_failure(waiter: Waiter, deadline: Instant, failure: &Failure, now: Instant) {
    let Waiter { client, to, step, family } = waiter;
    if client.broken.get() {
        return;
    }
    let session = &mut *client.session.borrow_mut();
    session.timed_out = *failure == Failure::TimedOut;
    let took = client.took(deadline, now);
    let turn = Turn { client: &client, session, to, family, deadline, took, now };
    match step {
        Step::Forward => turn.finish_failed(failure),
        Step::Task(task) => task.on_failure(turn, failure),
        Step::Foretell | Step::Swallow => {}
    }
}
