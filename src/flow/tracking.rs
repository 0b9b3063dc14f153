//! CLIENT TRACKING and CLIENT REPLY: the subcommands of CLIENT that change what the connection hears.
//!
//! Guarantees: a session that tracks reads over a connection of its own, so the server's invalidations are about what
//! it read, and reach it (<https://redis.io/docs/latest/develop/reference/client-side-caching/>). CLIENT REPLY needs no
//! upstream: requests are carried out, and their replies are dropped here.

use super::exclusive::{self, Taken};
use super::forward;
use super::pubsub;
use super::request::{Call, Handled};
use super::step::{Step, To, Turn};
use crate::metrics::Outcome;
use crate::resp::{Arguments, ReplyError, encode};
use crate::session::{Mode, Session};

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
        return Handled::Done;
    }
    if mode.eq_ignore_ascii_case(b"SKIP") {
        modes.set(Mode::ReplySkip, !modes.has(Mode::ReplyOff));
        return Handled::Done;
    }
    call.reject(session, &ReplyError::syntax())
}

fn tracking(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    let Some(switch) = rest.first() else {
        return call.reject(session, &ReplyError::wrong_arity("client|tracking"));
    };
    let on = switch.eq_ignore_ascii_case(b"ON");
    if session.replies.in_flight() > 0 {
        return Handled::WaitUntilAnswered;
    }
    if !session.modes.need_connection() && !on && rest.len() == 1 && switch.eq_ignore_ascii_case(b"OFF") {
        return call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"));
    }
    pubsub::enter(call, session, request, Step::Tracking { on, redirect: None })
}

/// The server answered CLIENT TRACKING.
pub(super) fn on_tracking(turn: Turn<'_>, on: bool, redirect: Option<u64>, frame: &[u8]) {
    if frame[0] == b'+' {
        turn.session.modes.set(Mode::Tracking, on);
        turn.session.modes.redirect = redirect.filter(|_| on);
        // Whatever the server still remembers for it must not concern the next session.
        turn.client.tainted.set(true);
        return turn.finish(frame, Outcome::Ok);
    }
    turn.finish(frame, Outcome::Error);
}

fn caching(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    if session.modes.has(Mode::Tracking) {
        return forward::forward(call, session, request);
    }
    match rest {
        [word] if word.eq_ignore_ascii_case(b"YES") || word.eq_ignore_ascii_case(b"NO") => {
            let text = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                        mode enabled";
            call.reject(session, &ReplyError::new(text))
        }
        [_] => call.reject(session, &ReplyError::syntax()),
        _ => call.reject(session, &ReplyError::wrong_arity("client|caching")),
    }
}

/// CLIENT NO-TOUCH, which a server before 7.2 does not know: it says so itself.
fn no_touch(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, rest: &[&[u8]]) -> Handled {
    let on = rest.first().is_some_and(|switch| switch.eq_ignore_ascii_case(b"ON"));
    match exclusive::take(call, session) {
        Taken::WaitUntilAnswered => Handled::WaitUntilAnswered,
        Taken::Unreachable => forward::unreachable(call, session),
        Taken::Lane(lane) => {
            let slot = session.replies.open();
            session.gate = Some(slot);
            lane.push(call.deadline, call.waiter(To::Slot(slot), Step::NoTouch(on)), request.bytes());
            Handled::Done
        }
    }
}

/// The server answered CLIENT NO-TOUCH.
pub(super) fn on_no_touch(turn: Turn<'_>, on: bool, frame: &[u8]) {
    if frame[0] == b'+' {
        turn.session.modes.set(Mode::NoTouch, on);
        turn.client.tainted.set(true);
    }
    let outcome = if frame[0] == b'+' { Outcome::Ok } else { Outcome::Error };
    turn.finish(frame, outcome);
}
