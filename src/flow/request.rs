//! One request of a session: what kind it is, and who carries it out.
//!
//! Guarantees that a request is either carried out, or left where it is until the session's earlier ones are answered;
//! nothing in between. Looks at a command's name only; the rest of a forwarded request is bytes.

use super::step::{Step, To, Waiter};
use super::{Client, Link, Settings, fca, forward, lane_key, local, stream, transaction};
use crate::command::{self, Command, Flags, Kind};
use crate::metrics::{Family, Outcome};
use crate::resp::{Arguments, Protocol, ReplyError};
use crate::session::{Ending, Session};
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
    pub(super) link: &'a Link,
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
    pub(super) fn waiter(&self, to: To, step: Step) -> Waiter {
        Waiter { client: Rc::clone(self.client), to, step, family: self.family }
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

/// Carries out one request that arrived at `arrived`, from when its budget counts.
#[inline]
pub fn handle(
    client: &Rc<Client>,
    session: &mut Session,
    request: Arguments<'_>,
    arrived: Instant,
    now: Instant,
) -> Handled {
    let handled = carry_out(client, session, request, arrived, now);
    if client.relink_later.take() {
        relink(client, session);
    }
    handled
}

#[inline]
fn carry_out(
    client: &Rc<Client>,
    session: &mut Session,
    request: Arguments<'_>,
    arrived: Instant,
    now: Instant,
) -> Handled {
    let settings = Rc::clone(&client.core.settings.borrow());
    move_on(client, session);
    let shared = client.link.borrow();
    mind_exclusive(client, session);
    let exclusive = exclusive_link(client, &shared);
    let deadline = arrived + settings.timeout;
    let link = match exclusive.as_ref().unwrap_or(&shared) {
        // It has waited for earlier requests until its time was up.
        Link::Lane(..) if deadline <= now => &Link::Unreachable,
        link => link,
    };
    let command = command::find(&request[0]);
    let family = command.map_or(Family::Other, |command| command.family);
    let call = Call { client, settings: &settings, link, protocol: session.protocol, now, deadline, family };
    if !session.transaction.is_queueing() {
        match command {
            Some(command) if command.has_subcommands && is_hazard(&request) => {}
            Some(Command { kind: Kind::Forward, name, flags, .. }) => {
                session.last_command = name;
                if looks_up(session) && !flags.contains(Flags::READONLY) {
                    return Handled::WaitUntilAnswered;
                }
                if session.reads_apart > 0 {
                    return stream::forward_apart(&call, session, request, *flags);
                }
                return forward::forward(&call, session, request);
            }
            None if is_http(&request[0]) => {
                session.ending = Ending::AfterReplies;
                return Handled::Done;
            }
            None if !looks_up(session) => return forward::forward(&call, session, request),
            None => return Handled::WaitUntilAnswered,
            Some(_) => {}
        }
    }
    handle_special(&call, session, command, request)
}

/// Whether an earlier request may still ask for a second spelling.
pub(super) fn looks_up(session: &Session) -> bool {
    !session.lookups.is_empty() && session.replies.in_flight() > 0
}

/// A shared lane that was retired is left at the first request with nothing in flight there.
#[inline]
pub(super) fn move_on(client: &Client, session: &Session) {
    let is_over = match &*client.link.borrow() {
        Link::Lane(lane, _) => lane.is_retired() && (session.replies.in_flight() == 0 || lane.is_dead()),
        Link::Embedded(_) | Link::Disabled | Link::Unreachable => false,
    };
    if is_over {
        relink(client, session);
    }
}

/// A connection of the session's own that is gone takes with it what it watched or queued; one that is no longer needed
/// is given back before anything else goes there.
pub(super) fn mind_exclusive(client: &Client, session: &mut Session) {
    let is_dead = match &*client.exclusive.borrow() {
        None => return,
        Some(lane) => lane.is_dead(),
    };
    if is_dead {
        session.transaction.lose();
    }
    if session.replies.in_flight() == 0 {
        client.settle(session);
    }
}

/// The connection that a session has for itself: while it has one, everything goes there, so that nothing overtakes.
fn exclusive_link(client: &Client, shared: &Link) -> Option<Link> {
    let exclusive = client.exclusive.borrow();
    match (&*exclusive, shared) {
        (Some(lane), Link::Lane(_, node)) if !lane.is_dead() => Some(Link::Lane(Rc::clone(lane), Rc::clone(node))),
        _ => None,
    }
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
    if let Some(command) = command {
        session.last_command = command.name;
    }
    if session.transaction.is_queueing() {
        return transaction::queue(call, session, command, request, arguments);
    }
    let Some(command) = command else { return forward::forward(call, session, request) };
    match command.kind {
        Kind::Fca(which) => fca::handle(call, session, which, arguments),
        Kind::Local(which) => local::handle(call, session, which, request, arguments),
        Kind::Transaction(which) => transaction::handle(call, session, which, request, arguments),
        Kind::Forward if command.has_subcommands && is_hazard(&request) => not_yet(call, session, command, request),
        Kind::Forward => forward::forward(call, session, request),
        Kind::Blocking if !command::blocks(command, arguments) => forward::forward(call, session, request),
        Kind::Blocking | Kind::PubSub | Kind::Monitor | Kind::Refused => not_yet(call, session, command, request),
    }
}

/// A request of HTTP, line by line: Redis ends the connection without a word (`securityWarningCommand` in `server.c`),
/// which must not happen to one that others share.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"HOST:")
}

/// A subcommand that changes what the connection is for, so that no other session could use it afterwards.
pub(super) fn is_hazard(request: &Arguments<'_>) -> bool {
    request[0].eq_ignore_ascii_case(b"SCRIPT") && request.at(1).is_some_and(|word| word.eq_ignore_ascii_case(b"DEBUG"))
}

/// What needs a connection of its own that this version does not give.
fn not_yet(call: &Call<'_>, session: &mut Session, command: &Command, request: Arguments<'_>) -> Handled {
    match call.link {
        // The embedded store has Redis's own words for what it does not know.
        Link::Embedded(_) => forward::forward(call, session, request),
        Link::Disabled | Link::Unreachable | Link::Lane(..) => {
            let text = format!("ERR {} is not supported by fca-proxy yet", command.name);
            call.reject(session, &ReplyError::new(text))
        }
    }
}

/// Points a session at the lane of its protocol and database.
pub(super) fn relink(client: &Client, session: &Session) {
    let link = &mut *client.link.borrow_mut();
    if let Link::Lane(lane, node) = link {
        *lane = node.shared_lane(lane_key(session));
    }
}
