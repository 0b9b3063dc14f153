//! The commands that the proxy answers itself, so that every client library can connect and stay connected: PING, ECHO,
//! HELLO, SELECT, CLIENT, QUIT, RESET.
//!
//! Guarantees Redis's replies (`networking.c`, `acl.c` and `db.c` of Redis 7.0) with or without an upstream; SELECT asks
//! the upstream, once for each database, whether it has it. Leaves INFO and COMMAND to `introspect.rs`, AUTH and what
//! HELLO has of it to `login.rs`.

use super::call::{Call, Handled};
use super::connection::{answer, check_name};
use super::exclusive::is_its_own;
use super::login::hello_reply;
use super::step::{Reply, Task, To, Turn, Waiter, is_outage};
use super::{Client, Route, clients, exclusive, introspect, lane_key, login, tracking, transaction};
use crate::clock;
use crate::command::Local;
use crate::metrics::Outcome;
use crate::resp::{Arguments, Protocol, ReplyError, encode, strict_number};
use crate::session::{Ending, Mode, Modes, Session};
use crate::upstream::{Failure, Lane, LaneKey};
use std::rc::Rc;

/// Carries out a command that needs no upstream, or little of it.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    which: Local,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    if which == Local::Client {
        clients::note(session, arguments);
    }
    match which {
        Local::Client if let Some(handled) = clients::handle(call, session, request, arguments) => handled,
        Local::Client if let Some(handled) = tracking::handle(call, session, request, arguments) => handled,
        Local::Ping | Local::Echo | Local::Client => match answer(call.client, session, which, arguments, call.now) {
            Ok(frame) => call.say(session, Outcome::Ok, |out| out.extend_from_slice(&frame)),
            Err(error) => call.reject(session, &error),
        },
        Local::Hello => hello(call, session, request, arguments),
        Local::Auth => login::auth(call, session, request, arguments),
        Local::Select => select(call, session, arguments),
        Local::Info => introspect::info(call, session, request, arguments),
        Local::Command => introspect::command(call, session, arguments),
        Local::Quit => {
            session.ending = Ending::AfterReplies;
            call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"))
        }
        Local::Reset => reset(call, session, arguments),
    }
}

/// What HELLO asks for.
struct Hello<'a> {
    protocol: Option<Protocol>,
    credentials: Option<&'a [&'a [u8]]>,
    name: Option<&'a [u8]>,
}

fn parse_hello<'a>(arguments: &'a [&'a [u8]]) -> Result<Hello<'a>, ReplyError> {
    let mut hello = Hello { protocol: None, credentials: None, name: None };
    let Some(version) = arguments.get(1) else { return Ok(hello) };
    let version = strict_number(version)
        .ok_or_else(|| ReplyError::new("ERR Protocol version is not an integer or out of range"))?;
    hello.protocol = match version {
        2 => Some(Protocol::Resp2),
        3 => Some(Protocol::Resp3),
        _ => return Err(ReplyError::new("NOPROTO unsupported protocol version")),
    };
    let mut rest = &arguments[2..];
    while let [option, behind @ ..] = rest {
        rest = match behind {
            [_, _, behind @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                hello.credentials = Some(&rest[1..3]);
                behind
            }
            [name, behind @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                hello.name = Some(name);
                behind
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(ReplyError::new(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        };
    }
    Ok(hello)
}

fn hello(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, arguments: &[&[u8]]) -> Handled {
    let hello = match parse_hello(arguments) {
        Ok(hello) => hello,
        Err(error) => return call.reject(session, &error),
    };
    if let Some(Err(error)) = hello.name.map(check_name) {
        return call.reject(session, &error);
    }
    let protocol = hello.protocol.unwrap_or(session.protocol);
    if protocol != session.protocol
        && let Route::Lane(lane, node) = call.route
        && lane.is_ready()
        && protocol == Protocol::Resp3
        && !node.facts().speaks_resp3
    {
        return call.reject(session, &ReplyError::new("NOPROTO unsupported protocol version"));
    }
    let greeting = login::Greeting { protocol, name: hello.name.map(<[u8]>::to_vec) };
    if let Some(handled) = login::hello(call, session, request, hello.credentials, greeting) {
        return handled;
    }
    if protocol != session.protocol {
        // Its replies come from another lane afterwards, so nothing may be in flight.
        if session.replies.in_flight() > 0 {
            return Handled::WaitUntilAnswered;
        }
        session.protocol = protocol;
    }
    if let Some(name) = hello.name {
        session.identity_mut().name = name.to_vec();
    }
    if protocol != call.protocol && tell_watching_lane(call, session, protocol) {
        return Handled::Done;
    }
    let reply = hello_reply(call.route, session);
    call.say(session, Outcome::Ok, |out| out.extend_from_slice(&reply))
}

/// The connection that watches keys for the session changes its protocol with it, and can't go back to the pool. The
/// client is answered once that is done. False when there is none.
fn tell_watching_lane(call: &Call<'_>, session: &mut Session, protocol: Protocol) -> bool {
    let Route::Lane(lane, _) = call.route else {
        exclusive::end(call.client, session);
        return false;
    };
    if !is_its_own(lane) {
        return false;
    }
    lane.taint();
    let slot = session.open_gated();
    let version: &[u8] = if protocol == Protocol::Resp3 { b"3" } else { b"2" };
    lane.push_with(call.deadline, call.waiter(To::Slot(slot), Greet), &[], |out| {
        encode::command(out, &[b"HELLO", version]);
    });
    true
}

/// The session's own connection changes its protocol.
struct Greet;

impl Task for Greet {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, _: Reply<'_>) {
        let reply = hello_reply(&turn.client.route.borrow(), turn.session);
        turn.finish(&reply, Outcome::Ok);
    }

    /// It could not: it is gone, or will be.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        let reply = hello_reply(&turn.client.route.borrow(), turn.session);
        turn.finish(&reply, Outcome::Ok);
    }
}

fn select(call: &Call<'_>, session: &mut Session, arguments: &[&[u8]]) -> Handled {
    let [_, database] = arguments else { return call.reject(session, &ReplyError::wrong_arity("select")) };
    let Some(database) = strict_number(database) else {
        return call.reject(session, &ReplyError::new("ERR value is not an integer or out of range"));
    };
    let out_of_range = || ReplyError::new("ERR DB index is out of range");
    let Ok(database) = u32::try_from(database) else { return call.reject(session, &out_of_range()) };
    if call.client.exclusive.borrow().is_some() && session.replies.in_flight() > 0 {
        // A transaction that is on its way may select a database as well.
        return Handled::WaitUntilAnswered;
    }
    match call.route {
        Route::Embedded(_) if database >= call.settings.embedded_databases => call.reject(session, &out_of_range()),
        Route::Unreachable => {
            // Nobody could be asked in time; a database that is not there is told when it is used.
            exclusive::end(call.client, session);
            session.database = database;
            call.say(session, Outcome::Unreachable, |out| encode::simple(out, "OK"))
        }
        Route::Embedded(_) | Route::Disabled => {
            session.database = database;
            call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"))
        }
        Route::Lane(lane, _) if is_its_own(lane) => {
            // The session's own connection changes its database, and can't go back to the pool.
            lane.taint();
            ask_for_database(call, session, lane, database)
        }
        Route::Lane(..) if database != session.database && session.replies.in_flight() > 0 => {
            Handled::WaitUntilAnswered
        }
        Route::Lane(_, node) => {
            let lane = node.shared_lane(LaneKey { database, ..lane_key(session) });
            // A user may lack the permission even for a database that it is in.
            let anybody_may = session.login.is_none() && !login::is_wanted(session, node);
            if (lane.is_ready() && anybody_may) || lane.accepts().is_err() {
                // Known to be accepted, or nobody there to ask.
                session.database = database;
                call.say(session, Outcome::Ok, |out| encode::simple(out, "OK"))
            } else {
                // It is in that database already: this asks without changing anything.
                ask_for_database(call, session, &lane, database)
            }
        }
    }
}

/// Selects a database on a lane; what comes behind waits for the answer.
fn ask_for_database(call: &Call<'_>, session: &mut Session, lane: &Lane<Waiter>, database: u32) -> Handled {
    let slot = session.open_gated();
    lane.push_with(call.deadline, call.waiter(To::Slot(slot), Select(database)), &[], |out| {
        encode::command(out, &[b"SELECT", database.to_string().as_bytes()]);
    });
    Handled::Done
}

/// Whether the upstream has this database.
struct Select(u32);

impl Task for Select {
    /// The lane of the database is there.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        if reply.frame[0] == b'-' && !is_outage(reply.frame) {
            return turn.finish(reply.frame, Outcome::Error);
        }
        turn.session.database = self.0;
        turn.finish(b"+OK\r\n", Outcome::Ok);
    }

    /// The lane could not be had: because the upstream has no such database, or because it is gone.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        let Some(turn) = turn.unless_refused(failure) else { return };
        turn.session.database = self.0;
        turn.finish(b"+OK\r\n", Outcome::Unreachable);
    }
}

/// RESET: everything the session asked for is forgotten (<https://redis.io/docs/latest/commands/reset/>).
fn reset(call: &Call<'_>, session: &mut Session, arguments: &[&[u8]]) -> Handled {
    if arguments.len() != 1 {
        return call.reject(session, &ReplyError::wrong_arity("reset"));
    }
    transaction::abandon(call.client, session, call.now);
    if session.replies.in_flight() > 0 {
        return Handled::WaitUntilAnswered;
    }
    if session.modes.need_connection() {
        exclusive::taint(call.client);
    }
    if session.modes.has(Mode::ReplyOff) {
        // One that is skipped (CLIENT REPLY SKIP) stays so.
        session.replies.mute(false);
    }
    session.modes = Modes::default();
    exclusive::settle(call.client, session);
    session.protocol = Protocol::Resp2;
    session.forget_identity();
    session.login = None;
    session.database = match &*call.client.route.borrow() {
        Route::Lane(_, node) => node.database(),
        _ => 0,
    };
    call.say(session, Outcome::Ok, |out| encode::simple(out, "RESET"))
}

/// The session is over: whatever it holds upstream is given back clean.
pub fn abandon(client: &Rc<Client>) {
    client.broken.set(true);
    client.work.take();
    if let Some(receiving) = client.receiving.take() {
        // The rest is thrown away, on a connection that others shared; one of its own is not worth that.
        exclusive::taint(client);
        receiving.resume();
    }
    let session = &mut *client.session.borrow_mut();
    transaction::abandon(client, session, clock::now());
    // A command is on its way that waits there, or begins a mode.
    if session.is_gated() || session.modes.need_connection() {
        exclusive::taint(client);
    }
    (session.modes, session.replies) = Default::default();
    exclusive::settle(client, session);
    if let Route::Lane(lane, node) = client.route.replace(Route::Disabled) {
        let key = lane.key.clone();
        drop(lane);
        node.left(&key);
    }
}
