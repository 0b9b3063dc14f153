//! AUTH, and HELLO with AUTH: a session becomes one of the upstream's own users.
//!
//! Guarantees: the upstream judges every login anew, whoever else is logged in with the same words; until it has
//! accepted one the session stays who it was; nobody rides on a connection for which he has not given the password.
//! While the upstream can't be asked a login is answered OK, and the session gets a connection of its own on which the
//! server will see the password before any request. What a server's refusal says goes to the client, and nothing of a
//! refused login is kept.
//!
//! ```text
//!   AUTH ──▶ lane of these credentials ──┬── +OK ─────────▶ the session moves there
//!            (its handshake says AUTH    ├── -WRONGPASS ──▶ the session stays; a lane that nobody uses ends
//!            as well, where it is new)   └── no answer ───▶ the session moves to a lane of its own, until that is ready
//! ```

use super::call::{Call, Handled};
use super::exclusive::{self, is_its_own};
use super::step::{Reply, Task, To, Turn, is_outage};
use super::{Client, Node, Route, lane_key};
use crate::config::{Credentials, Secret};
use crate::metrics::Outcome;
use crate::resp::{Arguments, Protocol, ReplyError, encode};
use crate::session::Session;
use crate::upstream::Failure;
use std::rc::Rc;

/// What a server says of its version when the upstream has not told it.
const REDIS_VERSION: &str = "7.0.15";

/// How long a user's name and password may be together, in bytes: what Redis reads of a client that has not logged in
/// (`processMultibulkBuffer` in `networking.c`). They are kept for as long as the client stays.
const LOGIN_BYTES_MAX: usize = 16 * 1024;

/// What a session becomes once the upstream has accepted it.
struct Login {
    /// Who it says to be; none leaves it who it is.
    credentials: Option<Credentials>,
    /// What it said besides, where it said so with HELLO.
    greeting: Option<Greeting>,
}

/// What HELLO says besides who the client is.
pub(super) struct Greeting {
    pub(super) protocol: Protocol,
    pub(super) name: Option<Vec<u8>>,
}

/// AUTH.
pub(super) fn auth(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, arguments: &[&[u8]]) -> Handled {
    let credentials = match (&arguments[1..], call.route) {
        (credentials @ ([_] | [_, _]), Route::Lane(..) | Route::Unreachable) => credentials_of(credentials),
        (words, _) => {
            return match authenticate(words) {
                Ok(()) => call.say(session, Outcome::Ok, |out| encode::simple(out, "OK")),
                Err(error) => call.reject(session, &error),
            };
        }
    };
    match credentials {
        Ok(credentials) => ask(call, session, request, Login { credentials: Some(credentials), greeting: None }),
        Err(error) => call.reject(session, &error),
    }
}

/// HELLO, where the upstream has a say in it: it names a user, or comes from a client that has yet to log in.
pub(super) fn hello(
    call: &Call<'_>,
    session: &mut Session,
    request: Arguments<'_>,
    credentials: Option<&[&[u8]]>,
    greeting: Greeting,
) -> Option<Handled> {
    let credentials = match (credentials, call.route) {
        (None, Route::Lane(_, node)) if session.transaction.is_none() && is_wanted(session, node) => None,
        (None, _) => return None,
        (Some(words), Route::Embedded(_) | Route::Disabled) => match authenticate(words) {
            Ok(()) => return None,
            Err(error) => return Some(call.reject(session, &error)),
        },
        (Some(words), Route::Lane(..) | Route::Unreachable) => match credentials_of(words) {
            Ok(credentials) => Some(credentials),
            Err(error) => return Some(call.reject(session, &error)),
        },
    };
    Some(ask(call, session, request, Login { credentials, greeting: Some(greeting) }))
}

/// Whether the upstream serves only those who log in, and this session has not.
pub(super) fn is_wanted(session: &Session, node: &Node<super::Core>) -> bool {
    session.login.is_none() && node.facts().wants_login
}

/// AUTH where there is no upstream to judge it: Redis's answers for a default user without one.
fn authenticate(credentials: &[&[u8]]) -> Result<(), ReplyError> {
    match credentials {
        [_] => Err(ReplyError::new(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        [b"default", _] => Ok(()),
        [_, _] => Err(ReplyError::new("WRONGPASS invalid username-password pair or user is disabled.")),
        [] => Err(ReplyError::wrong_arity("auth")),
        _ => Err(ReplyError::syntax()),
    }
}

fn credentials_of(words: &[&[u8]]) -> Result<Credentials, ReplyError> {
    if words.iter().map(|word| word.len()).sum::<usize>() > LOGIN_BYTES_MAX {
        return Err(ReplyError::new(format!(
            "ERR a user and password above {LOGIN_BYTES_MAX} bytes are not supported"
        )));
    }
    let (username, password) = match words {
        [username, password, ..] => (Some(*username), *password),
        _ => (None, words.first().copied().unwrap_or_default()),
    };
    Ok(Credentials::new(username, Secret::new(password.to_vec())))
}

/// Asks the upstream on the connection that the session would be on, and holds back what comes behind.
fn ask(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, login: Login) -> Handled {
    if let Route::Lane(lane, _) = call.route
        && is_its_own(lane)
    {
        // The connection that watches keys becomes the user's itself, and can't go back to the pool.
        lane.taint();
        let slot = session.open_gated();
        lane.push(call.deadline, call.waiter(To::Slot(slot), login), request.bytes());
        return Handled::Done;
    }
    if session.replies.in_flight() > 0 {
        return Handled::WaitUntilAnswered;
    }
    exclusive::end(call.client, session);
    if let Route::Lane(_, node) = call.route {
        let mut key = lane_key(session);
        key.protocol = login.greeting.as_ref().map_or(key.protocol, |greeting| greeting.protocol);
        let mut command = Vec::new();
        match &login.credentials {
            Some(credentials) => {
                encode::command(&mut command, &credentials.auth());
                key.login = Some(Rc::new(credentials.clone()));
            }
            None => {
                encode::command(&mut command, &[b"HELLO", if key.protocol == Protocol::Resp3 { b"3" } else { b"2" }])
            }
        }
        let lane = node.shared_lane(key);
        if lane.accepts().is_ok() {
            let slot = session.open_gated();
            lane.push(call.deadline, call.waiter(To::Slot(slot), login), &command);
            return Handled::Done;
        }
    }
    let reply = become_unverified(call.client, session, login);
    call.say(session, Outcome::Unreachable, |out| out.extend_from_slice(&reply))
}

impl Task for Login {
    /// The upstream has judged.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        match reply.frame[0] {
            b'-' if is_outage(reply.frame) => self.on_failure(turn, &Failure::Unsent),
            b'-' => turn.finish(reply.frame, Outcome::Error),
            _ => {
                let reply = become_one(turn.client, turn.session, *self);
                turn.finish(&reply, Outcome::Ok);
            }
        }
    }

    /// The upstream could not be asked, or refuses already the connection.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        let Some(turn) = turn.unless_refused(failure) else { return };
        // Whose that connection is now is not known.
        exclusive::end(turn.client, turn.session);
        let reply = become_unverified(turn.client, turn.session, *self);
        turn.finish(&reply, Outcome::Unreachable);
    }
}

/// Makes a session what it asked for; returned is what it is told.
fn become_one(client: &Client, session: &mut Session, login: Login) -> Vec<u8> {
    if let Some(credentials) = login.credentials {
        session.login = Some(Rc::new(credentials));
    }
    let Some(Greeting { protocol, name }) = login.greeting else { return b"+OK\r\n".to_vec() };
    session.protocol = protocol;
    if let Some(name) = name {
        session.identity_mut().name = name;
    }
    hello_reply(&client.route.borrow(), session)
}

/// The same while the upstream can't be asked. Connections of the same credentials may be there from before, so the
/// session must not be on them: the password may be another by now.
fn become_unverified(client: &Client, session: &mut Session, mut login: Login) -> Vec<u8> {
    if let Some(credentials) = &mut login.credentials {
        credentials.unverified_of = Some(session.id);
    }
    become_one(client, session, login)
}

/// The server has seen the password of a session that logged in while it could not be asked: it joins the others.
pub(super) fn join_verified(client: &Client, session: &mut Session) {
    let Some(credentials) = session.login.as_ref().filter(|_| session.replies.in_flight() == 0) else { return };
    let verified = match &*client.route.borrow() {
        // Until its first request the session may still be on the connection that it had before.
        Route::Lane(lane, _) if lane.key.login != session.login || !lane.is_ready() => return,
        Route::Lane(..) if client.exclusive.borrow().is_none() => {
            Rc::new(Credentials { unverified_of: None, ..Credentials::clone(credentials) })
        }
        _ => return,
    };
    session.login = Some(verified);
}

/// What a session is told that said HELLO.
pub(super) fn hello_reply(route: &Route, session: &Session) -> Vec<u8> {
    let facts = match route {
        Route::Lane(_, node) => node.facts(),
        _ => Default::default(),
    };
    let mut reply = Vec::new();
    let version = facts.version.as_deref().unwrap_or(REDIS_VERSION);
    append_hello(&mut reply, session.protocol, session.id, version);
    reply
}

fn append_hello(out: &mut Vec<u8>, protocol: Protocol, id: u64, version: &str) {
    encode::map(out, protocol, 7);
    for (name, value) in [("server", "redis"), ("version", version)] {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"proto");
    encode::integer(out, if protocol == Protocol::Resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, i64::try_from(id).unwrap_or(i64::MAX));
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::header(out, b'*', 0);
}
