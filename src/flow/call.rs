//! One request that is being carried out, with what that takes to know of its surroundings.

use super::step::{Step, To, Waiter};
use super::{Client, Route, Settings};
use crate::metrics::{Family, Outcome};
use crate::resp::{Protocol, ReplyError};
use crate::session::Session;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is carried out; its reply is given, or will be.
    Done,
    /// It was not begun: offer it again once everything before it is answered.
    WaitUntilAnswered,
}

/// What carrying out one request needs to know of its surroundings.
pub(super) struct Call<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) settings: &'a Settings,
    pub(super) route: &'a Route,
    pub(super) protocol: Protocol,
    pub(super) now: Instant,
    /// When the request's budget ends.
    pub(super) deadline: Instant,
    /// How the request is counted.
    pub(super) family: Family,
}

impl Call<'_> {
    /// Someone who waits for an upstream reply on behalf of this request.
    #[inline]
    pub(super) fn waiter(&self, to: To, step: impl Into<Step>) -> Waiter {
        Waiter { client: Rc::clone(self.client), to, step: step.into(), family: self.family }
    }

    /// Answers at once.
    #[inline]
    pub(super) fn say(&self, session: &mut Session, outcome: Outcome, write: impl FnOnce(&mut Vec<u8>)) -> Handled {
        self.client.core.recorder.request(self.family, outcome, Duration::ZERO);
        self.client.say(session, write);
        Handled::Done
    }

    /// Answers at once with an error; a transaction that is being queued can't be executed any more.
    pub(super) fn reject(&self, session: &mut Session, error: &ReplyError) -> Handled {
        session.transaction.abort();
        self.say(session, Outcome::Rejected, |out| error.append_to(out))
    }
}
