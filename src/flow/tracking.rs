//! CLIENT TRACKING and CLIENT REPLY: the subcommands of CLIENT that change what the connection hears.
//!
//! Guarantees: a session that tracks reads over a connection of its own, so the server's invalidations are about what
//! it read, and reach it (<https://redis.io/docs/latest/develop/reference/client-side-caching/>). CLIENT REPLY needs no
//! upstream: requests are carried out, and their replies are dropped here.

use super::clients::{self, Question, Redirect, Target};
use super::exclusive::{self, Taken};
use super::forward;
use super::pubsub;
use super::request::{Call, Handled};
use super::step::{Step, To, Turn, Waiter};
use super::{Client, Route};
use crate::metrics::Outcome;
use crate::resp::{Arguments, ReplyError, encode};
use crate::session::{Ending, Mode, Session};
use crate::upstream::Failure;
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
    let Some(switch) = rest.first() else {
        return call.reject(session, &ReplyError::wrong_arity("client|tracking"));
    };
    if let Route::Embedded(_) = call.route {
        return call.reject(session, &ReplyError::new("ERR CLIENT TRACKING is not supported by the embedded store"));
    }
    if session.replies.in_flight() > 0 {
        return Handled::WaitUntilAnswered;
    }
    let (on, off) = (switch.eq_ignore_ascii_case(b"ON"), switch.eq_ignore_ascii_case(b"OFF"));
    if off && rest.len() == 1 && !session.modes.has(Mode::Tracking) {
        session.modes.set(Mode::Untracked, false);
        return call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"));
    }
    let lane = match (call.route, exclusive::take(call, session)) {
        (Route::Lane(..), Taken::Lane(lane)) => lane,
        (Route::Lane(..), Taken::WaitUntilAnswered) => return Handled::WaitUntilAnswered,
        _ if on => {
            session.modes.set(Mode::Untracked, true);
            return call.say(session, Outcome::Unreachable, |out| encode::simple(out, "OK"));
        }
        _ => return forward::unreachable(call, session),
    };
    pubsub::listen(call.client, &lane);
    // Also to be turned off: the server looks for the client in either case.
    if let Some((id, place)) = target(&request) {
        let redirect = Redirect { on, id, words: request.iter().map(<[u8]>::to_vec).collect(), place };
        return clients::ask(call, session, Question::Redirect(redirect));
    }
    let slot = session.open_gated();
    lane.push(call.deadline, call.waiter(To::Slot(slot), Step::Tracking { on, redirect: None }), request.bytes());
    Handled::Done
}

/// The client that the invalidations are to go to, and which word names it, where the request names one.
fn target(request: &Arguments<'_>) -> Option<(u64, usize)> {
    let place = 1 + request.iter().position(|word| word.eq_ignore_ascii_case(b"REDIRECT"))?;
    let id = std::str::from_utf8(request.at(place)?).ok()?.parse().ok()?;
    Some((id, place))
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

/// It is known which connection the invalidations are to go to, or that there is none.
pub(super) fn on_target(turn: Turn<'_>, redirect: &Redirect, target: Option<Target>) {
    let exclusive = turn.client.exclusive.borrow().clone();
    match (target, exclusive.filter(|lane| lane.accepts().is_ok())) {
        (None, _) => turn.finish(b"-ERR The client ID you want redirect to does not exist\r\n", Outcome::Error),
        (Some(Target::Is(number)), Some(lane)) => {
            let number = number.to_string();
            let words = redirect.words.iter().enumerate();
            let words: Vec<&[u8]> =
                words.map(|(place, word)| if place == redirect.place { number.as_bytes() } else { word }).collect();
            let step = Step::Tracking { on: redirect.on, redirect: Some(redirect.id) };
            let waiter = Waiter { client: Rc::clone(turn.client), to: turn.to, step, family: turn.family };
            lane.push_with(turn.deadline, waiter, &[], |out| encode::command(out, &words));
        }
        _ => pubsub::on_failure(turn, &Failure::Unsent),
    }
}

/// The server answered CLIENT TRACKING.
pub(super) fn on_tracking(turn: Turn<'_>, on: bool, redirect: Option<u64>, frame: &[u8]) {
    if frame[0] == b'+' {
        turn.session.modes.set(Mode::Tracking, on);
        turn.session.modes.set(Mode::Untracked, false);
        turn.session.modes.redirect = redirect.filter(|_| on);
        // Whatever the server still remembers for it must not concern the next session.
        exclusive::taint(turn.client);
        return turn.finish(frame, Outcome::Ok);
    }
    turn.finish(frame, Outcome::Error);
}

/// The server did not answer CLIENT TRACKING.
pub(super) fn on_failure(turn: Turn<'_>, on: bool, failure: &Failure) {
    if !on || turn.session.modes.has(Mode::Tracking) || matches!(failure, Failure::LaneRefused(_)) {
        return pubsub::on_failure(turn, failure);
    }
    exclusive::end(turn.client, turn.session);
    turn.session.modes.set(Mode::Untracked, true);
    turn.finish(b"+OK\r\n", Outcome::Unreachable);
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
    match exclusive::take(call, session) {
        Taken::WaitUntilAnswered => Handled::WaitUntilAnswered,
        Taken::Unreachable => forward::unreachable(call, session),
        Taken::Lane(lane) => {
            let slot = session.open_gated();
            lane.push(call.deadline, call.waiter(To::Slot(slot), Step::NoTouch(on)), request.bytes());
            Handled::Done
        }
    }
}

/// The server answered CLIENT NO-TOUCH.
pub(super) fn on_no_touch(turn: Turn<'_>, on: bool, frame: &[u8]) {
    if frame[0] == b'+' {
        turn.session.modes.set(Mode::NoTouch, on);
        exclusive::taint(turn.client);
    }
    let outcome = if frame[0] == b'+' { Outcome::Ok } else { Outcome::Error };
    turn.finish(frame, outcome);
}
