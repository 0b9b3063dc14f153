//! The commands that the proxy answers itself, so that every client library can connect and stay connected: PING, ECHO,
//! HELLO, SELECT, CLIENT, QUIT, RESET.
//!
//! Guarantees Redis's replies (`networking.c`, `acl.c` and `db.c` of Redis 7.0) with or without an upstream; SELECT asks
//! the upstream, once for each database, whether it has it. Leaves INFO and COMMAND to `introspect.rs`, AUTH and what
//! HELLO has of it to `login.rs`.

use super::request::{Call, Handled};
use super::step::{Step, To, Turn, Waiter};
use super::{Client, Route, clients, exclusive, introspect, lane_key, login, tracking, transaction};
use crate::command::Local;
use crate::metrics::Outcome;
use crate::resp::{Arguments, Protocol, ReplyError, encode};
use crate::session::{Ending, Mode, Modes, Session};
use crate::upstream::{Failure, Lane, LaneKey, Tenure};
use std::time::Instant;

/// What a server says of its version when the upstream has not told it.
const REDIS_VERSION: &str = "7.0.15";

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
        if let Some(handled) = tracking::handle(call, session, request, arguments) {
            return handled;
        }
    }
    match which {
        Local::Client if let Some(handled) = clients::handle(call, session, request, arguments) => handled,
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

/// The reply to PING, ECHO or CLIENT, which depends on nothing but the session.
pub(super) fn answer(
    asker: &Client,
    session: &mut Session,
    which: Local,
    arguments: &[&[u8]],
    now: Instant,
) -> Result<Vec<u8>, ReplyError> {
    let mut out = Vec::new();
    match (which, arguments) {
        (Local::Ping, [_] | [_, _]) if session.protocol == Protocol::Resp2 && session.modes.has(Mode::Subscribed) => {
            encode::header(&mut out, b'*', 2);
            encode::bulk(&mut out, b"pong");
            encode::bulk(&mut out, arguments.get(1).copied().unwrap_or_default());
        }
        (Local::Ping, [_]) => encode::simple(&mut out, "PONG"),
        (Local::Ping | Local::Echo, [_, message]) => encode::bulk(&mut out, message),
        (Local::Ping, _) => return Err(ReplyError::wrong_arity("ping")),
        (Local::Client, [_, subcommand, rest @ ..]) => client(asker, session, subcommand, rest, now, &mut out)?,
        (Local::Client, _) => return Err(ReplyError::wrong_arity("client")),
        _ => return Err(ReplyError::wrong_arity("echo")),
    }
    Ok(out)
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

/// The connection that watches keys for the session changes its protocol with it, and can't go back to the pool. The
/// client is answered once that is done. False when there is none.
fn tell_watching_lane(call: &Call<'_>, session: &mut Session, protocol: Protocol) -> bool {
    let Route::Lane(lane, _) = call.route else {
        part_from_exclusive(call.client, session);
        return false;
    };
    if !is_its_own(lane) {
        return false;
    }
    lane.taint();
    let slot = session.open_gated();
    let version: &[u8] = if protocol == Protocol::Resp3 { b"3" } else { b"2" };
    lane.push_with(call.deadline, call.waiter(To::Slot(slot), Step::Hello), &[], |out| {
        encode::command(out, &[b"HELLO", version]);
    });
    true
}

/// Whether a lane is the session's own connection, and can be told something. Where that one is lost, the session is on
/// one that others share, whose state is not its to change.
pub(super) fn is_its_own(lane: &Lane<Waiter>) -> bool {
    lane.tenure == Tenure::Exclusive && lane.accepts().is_ok()
}

/// A connection of the session's own that can't follow it to another protocol or database is given up, and with it what
/// it watched.
pub(super) fn part_from_exclusive(client: &Client, session: &mut Session) {
    exclusive::end(client, session);
}

/// The session's own connection has changed its protocol, or could not.
pub(super) fn on_hello(turn: Turn<'_>) {
    let reply = hello_reply(&turn.client.route.borrow(), turn.session);
    turn.finish(&reply, Outcome::Ok);
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
            part_from_exclusive(call.client, session);
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
    lane.push_with(call.deadline, call.waiter(To::Slot(slot), Step::Select(database)), &[], |out| {
        encode::command(out, &[b"SELECT", database.to_string().as_bytes()]);
    });
    Handled::Done
}

/// The lane of another database is there.
pub(super) fn on_selected(turn: Turn<'_>, database: u32, frame: &[u8]) {
    if frame[0] == b'-' && !super::step::is_outage(frame) {
        return turn.finish(frame, Outcome::Error);
    }
    turn.session.database = database;
    turn.finish(b"+OK\r\n", Outcome::Ok);
}

/// The lane of another database could not be had: because the upstream has no such database, or because it is gone.
pub(super) fn on_select_failed(turn: Turn<'_>, database: u32, failure: &Failure) {
    if let Failure::LaneRefused(words) = failure {
        return turn.finish_error(words);
    }
    turn.session.database = database;
    turn.finish(b"+OK\r\n", Outcome::Unreachable);
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

/// Whether this CLIENT can be carried out by what the proxy knows of the connection.
pub(super) fn is_about_the_connection(arguments: &[&[u8]]) -> bool {
    const SUBCOMMANDS: [(&str, usize); 7] =
        [("ID", 2), ("GETNAME", 2), ("SETNAME", 3), ("SETINFO", 4), ("INFO", 2), ("NO-EVICT", 3), ("GETREDIR", 2)];
    arguments.get(1).is_some_and(|subcommand| {
        SUBCOMMANDS
            .iter()
            .any(|(name, count)| subcommand.eq_ignore_ascii_case(name.as_bytes()) && arguments.len() == *count)
    })
}

/// CLIENT and its subcommands, as far as they are about this connection.
fn client(
    asker: &Client,
    session: &mut Session,
    as_written: &[u8],
    rest: &[&[u8]],
    now: Instant,
    out: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    let as_written = String::from_utf8_lossy(as_written);
    let subcommand = as_written.to_ascii_uppercase();
    match (subcommand.as_str(), rest) {
        ("ID", []) => encode::integer(out, i64::try_from(session.id).unwrap_or(i64::MAX)),
        ("GETNAME", []) if session.identity().name.is_empty() => encode::nil(out, session.protocol),
        ("GETNAME", []) => encode::bulk(out, &session.identity().name),
        ("SETNAME", [name]) => {
            check_name(name)?;
            session.identity_mut().name = name.to_vec();
            encode::simple(out, "OK");
        }
        ("SETINFO", [attribute, value]) => {
            set_info(session, attribute, value)?;
            encode::simple(out, "OK");
        }
        ("INFO", []) => {
            let line = clients::client_line(asker, session, now);
            match session.protocol {
                Protocol::Resp2 => encode::bulk(out, line.as_bytes()),
                Protocol::Resp3 => encode::verbatim(out, line.as_bytes()),
            }
        }
        ("NO-EVICT", [switch]) if is_switch(switch) => encode::simple(out, "OK"),
        ("NO-EVICT", [_]) => return Err(ReplyError::syntax()),
        ("GETREDIR", []) => encode::integer(out, clients::redirect(session)),
        ("TRACKINGINFO", []) => append_tracking_off(out, session.protocol),
        ("ID" | "GETNAME" | "SETNAME" | "SETINFO" | "INFO" | "NO-EVICT" | "TRACKINGINFO" | "GETREDIR", _) => {
            return Err(ReplyError::wrong_arity(&format!("client|{subcommand}")));
        }
        ("REPLY" | "TRACKING" | "CACHING", _) => {
            // Elsewhere they never come here.
            let text = format!("ERR CLIENT {subcommand} is not supported by fca-proxy inside MULTI");
            return Err(ReplyError::new(text));
        }
        _ => {
            return Err(ReplyError::new(format!("ERR unknown subcommand '{as_written}'. Try CLIENT HELP.")));
        }
    }
    Ok(())
}

/// CLIENT TRACKINGINFO of a connection that does not track.
fn append_tracking_off(out: &mut Vec<u8>, protocol: Protocol) {
    encode::map(out, protocol, 3);
    encode::bulk(out, b"flags");
    encode::header(out, if protocol == Protocol::Resp3 { b'~' } else { b'*' }, 1);
    encode::bulk(out, b"off");
    encode::bulk(out, b"redirect");
    encode::integer(out, -1);
    encode::bulk(out, b"prefixes");
    encode::header(out, b'*', 0);
}

/// A number in the one form that Redis takes: no plus sign, no leading zeros.
pub(super) fn strict_number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

fn is_switch(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off")
}

fn set_info(session: &mut Session, attribute: &[u8], value: &[u8]) -> Result<(), ReplyError> {
    let (place, name) = if attribute.eq_ignore_ascii_case(b"lib-name") {
        (&mut session.identity_mut().library, "lib-name")
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        (&mut session.identity_mut().library_version, "lib-ver")
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(ReplyError::new(format!("ERR Unrecognized option '{attribute}'")));
    };
    if !is_printable(value) {
        let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        return Err(ReplyError::new(text));
    }
    if value.len() > NAME_BYTES_MAX {
        return Err(ReplyError::new(format!("ERR {name} is too long")));
    }
    *place = value.to_vec();
    Ok(())
}

/// How long a client's name may be, in bytes; it is kept for as long as the client stays.
const NAME_BYTES_MAX: usize = 1024;

fn check_name(name: &[u8]) -> Result<(), ReplyError> {
    if !is_printable(name) {
        return Err(ReplyError::new("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(ReplyError::new("ERR Client name is too long"));
    }
    Ok(())
}

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}
