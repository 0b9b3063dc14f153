//! One request of a session: what kind it is, and who carries it out.
//!
//! Guarantees that a request is either carried out, or left where it is until the session's earlier ones are answered;
//! nothing in between. Looks at a command's name only; the rest of a forwarded request is bytes.

use super::call::{Call, Handled};
use super::{
    Client, Route, Settings, blocking, exclusive, fca, forward, gate, lane_key, learned, local, login, near, pubsub,
    queue, stream, tracking, transaction,
};
use crate::command::{self, Command, Effect, Fca, Flags, Kind, Local};
use crate::metrics::Family;
use crate::resp::{Arguments, Protocol, ReplyError};
use crate::session::{Ending, Mode, Session};
use crate::upstream::LaneKey;
use std::rc::Rc;
use std::time::Instant;

/// Carries out one request whose budget ends at `deadline`.
#[inline]
pub fn handle(
    client: &Rc<Client>,
    session: &mut Session,
    settings: &Settings,
    request: Arguments<'_>,
    deadline: Instant,
    now: Instant,
) -> Handled {
    if session.modes.is_plain() {
        carry_out(client, session, settings, request, deadline, now)
    } else {
        carry_out_muted(client, session, settings, request, deadline, now)
    }
}

/// Carries out a request whose reply the client may not want (CLIENT REPLY).
fn carry_out_muted(
    client: &Rc<Client>,
    session: &mut Session,
    settings: &Settings,
    request: Arguments<'_>,
    deadline: Instant,
    now: Instant,
) -> Handled {
    let skips = session.modes.has(Mode::ReplySkip);
    session.modes.set(Mode::ReplySkip, false);
    session.replies.mute(skips || session.modes.has(Mode::ReplyOff));
    let handled = carry_out(client, session, settings, request, deadline, now);
    session.replies.mute(session.modes.has(Mode::ReplyOff));
    if handled == Handled::WaitUntilAnswered {
        session.modes.set(Mode::ReplySkip, skips);
    }
    handled
}

#[inline]
fn carry_out(
    client: &Rc<Client>,
    session: &mut Session,
    settings: &Settings,
    request: Arguments<'_>,
    deadline: Instant,
    now: Instant,
) -> Handled {
    session.active_at = now;
    if session.login.as_ref().is_some_and(|login| login.unverified_of.is_some()) {
        login::join_verified(client, session);
    }
    let mut shared = client.route.borrow();
    if is_left(&shared, session) {
        drop(shared);
        reroute(client, session);
        shared = client.route.borrow();
    }
    exclusive::mind(client, session);
    let exclusive = exclusive::route(client, &shared);
    let route = match exclusive.as_ref().unwrap_or(&shared) {
        // It has waited for earlier requests until its time was up.
        Route::Lane(..) if deadline <= now => &Route::Unreachable,
        route => route,
    };
    let command = command::find(&request[0]);
    let family = command.map_or(Family::Other, |command| command.family);
    let apart;
    let mut call = Call { client, settings, route, protocol: session.protocol, now, deadline, family };
    if session.is_plain() {
        match command {
            Some(Command { kind: Kind::Forward, name, flags, effect, .. }) => {
                session.last_command = name;
                if session.looks_up() && !flags.contains(Flags::READONLY) {
                    return Handled::WaitUntilAnswered;
                }
                if session.reads_apart > 0
                    && flags.contains(Flags::READONLY)
                    && let Some(route) = stream::go_apart(&call, session)
                {
                    apart = route;
                    call.route = &apart;
                }
                return near::forward(&call, session, *effect, request);
            }
            Some(Command { kind: Kind::Fca(Fca::Get), name, .. }) if request.len() == 3 => {
                session.last_command = name;
                return fca::get(&call, session, &request[1], &request[2]);
            }
            None if command::is_http(&request[0]) => {
                session.ending = Ending::AfterReplies;
                return Handled::Done;
            }
            None => return unknown(&call, session, request),
            Some(_) => {}
        }
    }
    handle_special(&call, session, command, request)
}

/// Whether the session is to move to another lane: it has become what this one is not (whoever changes that sees to it
/// that nothing is in flight), or this one was retired and nothing of it is in flight there.
#[inline]
fn is_left(route: &Route, session: &Session) -> bool {
    let Route::Lane(lane, _) = route else { return false };
    let LaneKey { protocol, database, login } = &lane.key;
    (*protocol, *database) != (session.protocol, session.database)
        || *login != session.login
        || (lane.is_retired() && (session.replies.in_flight() == 0 || lane.is_dead()))
}

fn handle_special(
    call: &Call<'_>,
    session: &mut Session,
    command: Option<&'static Command>,
    request: Arguments<'_>,
) -> Handled {
    let many: Vec<&[u8]>;
    let mut few: [&[u8]; 8] = [b""; 8];
    let arguments = match few.get_mut(..request.len()) {
        Some(few) => {
            few.iter_mut().zip(request.iter()).for_each(|(few, argument)| *few = argument);
            &*few
        }
        None => {
            many = request.iter().collect();
            &many
        }
    };
    if tracking::ends(call, session) {
        return Handled::Done;
    }
    if let Some(command) = command {
        session.last_command = command.name;
    }
    if session.transaction.is_queueing() {
        return queue::queue(call, session, command, request, arguments);
    }
    let Some(command) = command else { return unknown(call, session, request) };
    if session.modes.has(Mode::Subscribed) && call.protocol == Protocol::Resp2 && !is_for_subscribers(command.kind) {
        return refuse_subscriber(call, session, command, request);
    }
    match command.kind {
        Kind::Fca(which) => fca::handle(call, session, which, arguments),
        Kind::Local(which) => local::handle(call, session, which, request, arguments),
        Kind::Transaction(which) => transaction::handle(call, session, which, request, arguments),
        Kind::Forward => near::forward(call, session, command.effect, request),
        Kind::Blocking if !command::blocks(command, arguments) => near::forward(call, session, command.effect, request),
        Kind::Blocking => blocking::handle(call, session, command, request, arguments),
        Kind::PubSub => pubsub::handle(call, session, command, request, arguments),
        Kind::Monitor => pubsub::monitor(call, session, request),
        Kind::Admin | Kind::Script | Kind::ClusterClient | Kind::Refused => {
            gate::handle(call, session, command, request)
        }
    }
}

/// A command that the table lacks, as far as the upstream says what it is.
fn unknown(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    match learned::flags(call, session, &request[0]) {
        None => Handled::WaitUntilAnswered,
        Some(flags) if flags.contains(Flags::BLOCKING) => {
            handle_special(call, session, Some(&command::UNKNOWN_BLOCKING), request)
        }
        Some(flags) if session.looks_up() && !flags.contains(Flags::READONLY) => Handled::WaitUntilAnswered,
        Some(flags) => {
            let effect = if flags.contains(Flags::READONLY) { Effect::Keys } else { Effect::AnyKeys };
            near::forward(call, session, effect, request)
        }
    }
}

/// What a subscribed connection of RESP2 may ask for (`processCommand` in Redis's `server.c`).
fn is_for_subscribers(kind: Kind) -> bool {
    matches!(kind, Kind::PubSub | Kind::Local(Local::Ping | Local::Quit | Local::Reset))
}

/// Redis says itself why not; its words for a command of ours are the same.
fn refuse_subscriber(call: &Call<'_>, session: &mut Session, command: &Command, request: Arguments<'_>) -> Handled {
    if !matches!(command.kind, Kind::Fca(_)) {
        return forward::forward(call, session, request);
    }
    let text = format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        command.name.to_ascii_lowercase()
    );
    call.reject(session, &ReplyError::new(text))
}

/// Points a session at the lane of its protocol, database and login.
fn reroute(client: &Client, session: &mut Session) {
    let route = &mut *client.route.borrow_mut();
    if let Route::Lane(lane, node) = route {
        let left = std::mem::replace(lane, node.shared_lane(lane_key(session)));
        // The same allocation, so that comparing the two with each request is not comparing passwords.
        session.login.clone_from(&lane.key.login);
        if left.key.login.is_some() {
            let key = left.key.clone();
            drop(left);
            node.left(&key);
        }
    }
}
