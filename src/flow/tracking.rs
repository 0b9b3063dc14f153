//! CLIENT TRACKING and CLIENT REPLY: the subcommands of CLIENT that change what the connection hears.
//!
//! Guarantees: a session that tracks reads over a connection of its own, so the server's invalidations are about what
//! it read, and reach it (<https://redis.io/docs/latest/develop/reference/client-side-caching/>). CLIENT REPLY needs no
//! upstream: requests are carried out, and their replies are dropped here.

use super::call::{Call, Handled};
use super::exclusive::{self, Taken};
use super::forward;
use super::pubsub;
use super::step::{Reply, Task, To, Turn, Waiter};
use super::{Client, Route};
use crate::metrics::Outcome;
use crate::resp::{Arguments, ReplyError, encode};
use crate::session::{Ending, Mode, Session};
use crate::upstream::{Failure, Lane};
use std::rc::Rc;

/// Carries out a subcommand that is about a mode of the connection; `None` for any other.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Option<Handled> {
    let [_, subcommand, rest @ ..] = arguments else { return None };
    let is = |name: &str| subcommand.eq_ignore_ascii_case(name.as_bytes());
    if is("REPLY") {
        Some(reply(call, session, rest))
    } else if is("TRACKING") {
        Some(tracking(call, session, request, rest))
    } else if is("CACHING") {
        Some(caching(call, session, request, rest))
    } else if is("TRACKINGINFO") && session.modes.has(Mode::Tracking) {
        Some(forward::forward(call, session, request))
    } else if is("NO-TOUCH") {
        Some(no_touch(call, session, request, rest))
    } else {
        None
    }
}

/// CLIENT REPLY: ON is answered, OFF and SKIP are not (`clientCommand` in `networking.c`).
fn reply(call: &Call<'_>, session: &mut Session, rest: &[&[u8]]) -> Handled {
    let [mode] = rest else { return call.reject(session, &ReplyError::wrong_arity("client|reply")) };
    let modes = &mut session.modes;
    if mode.eq_ignore_ascii_case(b"ON") {
        modes.set(Mode::ReplyOff, false);
        modes.set(Mode::ReplySkip, false);
        session.replies.mute(false);
        return call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"));
    }
    if mode.eq_ignore_ascii_case(b"OFF") {
        modes.set(Mode::ReplyOff, true);
        // At once: a large request is begun without a look at the modes.
        session.replies.mute(true);
        return Handled::Done;
    }
    if mode.eq_ignore_ascii_case(b"SKIP") {
        modes.set(Mode::ReplySkip, !modes.has(Mode::ReplyOff));
        return Handled::Done;
    }
    call.reject(session, &ReplyError::syntax())
}

fn tracking(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    match begin(call, session, rest) {
        Ok(lane) => {
            let on = rest.first().is_some_and(|switch| switch.eq_ignore_ascii_case(b"ON"));
            let slot = session.open_gated();
            let task = Tracking { on, redirect: None };
            lane.push(call.deadline, call.waiter(To::Slot(slot), task), request.bytes());
            Handled::Done
        }
        Err(handled) => handled,
    }
}

/// The connection on which the session tracks, and hears from now on what is pushed to it; or what became of the request
/// where there is nothing to ask the server.
pub(super) fn begin(call: &Call<'_>, session: &mut Session, rest: &[&[u8]]) -> Result<Rc<Lane<Waiter>>, Handled> {
    let Some(switch) = rest.first() else {
        return Err(call.reject(session, &ReplyError::wrong_arity("client|tracking")));
    };
    if let Route::Embedded(_) = call.route {
        return Err(
            call.reject(session, &ReplyError::new("ERR CLIENT TRACKING is not supported by the embedded store"))
        );
    }
    if session.replies.in_flight() > 0 {
        return Err(Handled::WaitUntilAnswered);
    }
    let (on, off) = (switch.eq_ignore_ascii_case(b"ON"), switch.eq_ignore_ascii_case(b"OFF"));
    if off && rest.len() == 1 && !session.modes.has(Mode::Tracking) {
        session.modes.set(Mode::Untracked, false);
        return Err(call.say(session, Outcome::Ok, |out| encode::simple(out, "OK")));
    }
    let lane = match (call.route, exclusive::take(call.client, session, call.route)) {
        (Route::Lane(..), Taken::Lane(lane)) => lane,
        (Route::Lane(..), Taken::WaitUntilAnswered) => return Err(Handled::WaitUntilAnswered),
        _ if on => {
            session.modes.set(Mode::Untracked, true);
            return Err(call.say(session, Outcome::Unreachable, |out| encode::simple(out, "OK")));
        }
        _ => return Err(forward::unreachable(call, session)),
    };
    pubsub::listen(call.client, &lane);
    Ok(lane)
}

/// This session is to hear another's invalidations, on a connection that the server knows by a number.
pub(super) fn become_target(client: &Rc<Client>, session: &mut Session) -> Target {
    let has_one = client.exclusive.borrow().as_ref().is_some_and(|lane| !lane.is_dead());
    if !has_one && session.replies.in_flight() > 0 {
        return Target::Awaited;
    }
    let Some(lane) = exclusive::own(client, session, &client.route.borrow()) else { return Target::Awaited };
    session.modes.set(Mode::RedirectTarget, true);
    // The server may push to it as long as it lives.
    lane.taint();
    pubsub::listen(client, &lane);
    lane.server_id().map_or(Target::Awaited, Target::Is)
}

/// The connection of a client that invalidations are to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It is being made.
    Awaited,
    /// The server's number of it.
    Is(u64),
}

/// CLIENT TRACKING, whose answer is on its way.
pub(super) struct Tracking {
    /// Whether that was to turn it on.
    pub(super) on: bool,
    /// The session that the invalidations are to go to.
    pub(super) redirect: Option<u64>,
}

impl Task for Tracking {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        if reply.frame[0] != b'+' {
            return turn.finish(reply.frame, Outcome::Error);
        }
        turn.session.modes.set(Mode::Tracking, self.on);
        turn.session.modes.set(Mode::Untracked, false);
        turn.session.modes.redirect = self.redirect.filter(|_| self.on);
        // Whatever the server still remembers for it must not concern the next session.
        exclusive::taint(turn.client);
        turn.finish(reply.frame, Outcome::Ok);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        let Some(turn) = turn.unless_refused(failure) else { return };
        if !self.on || turn.session.modes.has(Mode::Tracking) {
            return pubsub::fail(turn, failure);
        }
        exclusive::end(turn.client, turn.session);
        turn.session.modes.set(Mode::Untracked, true);
        turn.finish(b"+OK\r\n", Outcome::Unreachable);
    }
}

/// A client that was told that it tracks, so that its library could connect, while there was nobody to track for it:
/// once there is, its connection ends, as it would have when Redis went, and it connects anew.
pub(super) fn ends(call: &Call<'_>, session: &mut Session) -> bool {
    let is_back = matches!(call.route, Route::Lane(lane, _) if lane.is_ready());
    if is_back && session.modes.has(Mode::Untracked) {
        tracing::debug!(client = session.id, "client closed: it asked for tracking while the upstream was gone");
        session.ending = Ending::AfterReplies;
        return true;
    }
    false
}

fn caching(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    if session.modes.has(Mode::Tracking) {
        return forward::forward(call, session, request);
    }
    match rest {
        // Redis looks at the mode first, then at the word.
        [_] => {
            if session.modes.has(Mode::Untracked) {
                return call.say(session, Outcome::Unreachable, |out| encode::simple(out, "OK"));
            }
            let text = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                        mode enabled";
            call.reject(session, &ReplyError::new(text))
        }
        _ => call.reject(session, &ReplyError::wrong_arity("client|caching")),
    }
}

/// CLIENT NO-TOUCH, which a server before 7.2 does not know: it says so itself.
fn no_touch(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    let on = rest.first().is_some_and(|switch| switch.eq_ignore_ascii_case(b"ON"));
    match exclusive::take(call.client, session, call.route) {
        Taken::WaitUntilAnswered => Handled::WaitUntilAnswered,
        Taken::Unreachable => forward::unreachable(call, session),
        Taken::Lane(lane) => {
            let slot = session.open_gated();
            lane.push(call.deadline, call.waiter(To::Slot(slot), NoTouch { on }), request.bytes());
            Handled::Done
        }
    }
}

/// CLIENT NO-TOUCH, which was to turn it on or off, and whose answer is on its way.
struct NoTouch {
    on: bool,
}

impl Task for NoTouch {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let accepted = reply.frame[0] == b'+';
        if accepted {
            turn.session.modes.set(Mode::NoTouch, self.on);
            exclusive::taint(turn.client);
        }
        turn.finish(reply.frame, if accepted { Outcome::Ok } else { Outcome::Error });
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        let Some(turn) = turn.unless_refused(failure) else { return };
        exclusive::taint(turn.client);
        turn.finish_unreachable();
    }
}
