//! MULTI, EXEC, WATCH: a connection of one's own until the transaction is over.
//!
//! Guarantees: the session's commands stay in order when it changes connections (it changes only while nothing is in
//! flight); a connection goes back to the pool clean, whatever the client did; without an upstream a transaction can
//! be begun and queued, and EXEC answers nil, which says what is true: it was not executed.

use super::call::{Call, Handled};
use super::connection::answer;
use super::exclusive::{self, Taken};
use super::forward;
use super::step::{Reply, Step, Task, To, Turn, Waiter, is_outage};
use super::{Client, Route, tell};
use crate::command::{Local, Transaction as Which};
use crate::config::OnUnreachable;
use crate::metrics::{Family, Outcome};
use crate::near_cache::Written;
use crate::resp::{Arguments, Protocol, ReplyError, elements, encode};
use crate::session::{Queued, Session, Shape, Transaction};
use crate::upstream::{Failure, Lane};
use std::rc::Rc;
use std::time::Instant;

/// Commands of the FCA family that one transaction may queue; their shapes are kept until EXEC.
const SHAPED_MAX: usize = 65_536;

/// Bytes of answers given here (ECHO, say) that one transaction may keep until EXEC.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// MULTI, EXEC, DISCARD, WATCH or UNWATCH while no command is queued.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    which: Which,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    if let Route::Embedded(store) = call.route {
        return forward::execute(call, session, store, arguments);
    }
    match which {
        Which::Multi if request.len() > 1 => call.reject(session, &ReplyError::wrong_arity("multi")),
        Which::Watch if request.len() < 2 => call.reject(session, &ReplyError::wrong_arity("watch")),
        Which::Multi | Which::Watch => enter(call, session, which, request),
        Which::Exec if request.len() > 1 => exec_abort(call, session),
        Which::Exec => call.reject(session, &ReplyError::new("ERR EXEC without MULTI")),
        Which::Discard if request.len() > 1 => call.reject(session, &ReplyError::wrong_arity("discard")),
        Which::Unwatch if request.len() > 1 => call.reject(session, &ReplyError::wrong_arity("unwatch")),
        Which::Discard => call.reject(session, &ReplyError::new("ERR DISCARD without MULTI")),
        Which::Unwatch => unwatch(call, session, request),
    }
}

fn enter(call: &Call<'_>, session: &mut Session, which: Which, request: Arguments<'_>) -> Handled {
    let lane = if session.transaction.is_lost() {
        None
    } else {
        match exclusive::take(call.client, session, call.route) {
            Taken::Lane(lane) => Some(lane),
            Taken::WaitUntilAnswered => return Handled::WaitUntilAnswered,
            Taken::Unreachable => None,
        }
    };
    if lane.is_none() && call.settings.on_unreachable == OnUnreachable::Error {
        return forward::unreachable(call, session);
    }
    match which {
        Which::Multi => session.transaction.begin(),
        _ => session.transaction.watch(),
    }
    match lane {
        Some(lane) => forward::send(call, session, &lane, request, Member::Enter),
        None => {
            lose(call.client, session);
            call.say(session, Outcome::Unreachable, |out| encode::simple(out, "OK"))
        }
    }
}

/// The transaction can't run any more. Its connection, if it lives, may still watch or queue: it must not go back.
pub(super) fn lose(client: &Client, session: &mut Session) {
    session.transaction.lose();
    exclusive::taint(client);
}

fn unwatch(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    let lost = session.transaction.is_lost();
    session.transaction = Transaction::None;
    match call.client.exclusive.borrow().as_ref().filter(|lane| !lost && lane.accepts().is_ok()) {
        Some(lane) => forward::send(call, session, lane, request, Member::Leave),
        None => call.say(session, Outcome::Ok, |out| encode::simple(out, "OK")),
    }
}

/// Sends a command that the server refuses between MULTI and EXEC, in its own words.
pub(super) fn send_refused(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    with_lane(call, session, |call, session, lane| forward::send(call, session, lane, request, Member::Queued))
}

/// Queues a command as it is.
pub(super) fn queue_one(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    with_lane(call, session, |call, session, lane| {
        let handled = forward::send(call, session, lane, request, Member::Queued);
        session.transaction.queue(Shape::One);
        handled
    })
}

/// Queues a command of the client that takes the upstream commands which `write` appends: as many as its shape says.
pub(super) fn queue_shaped(
    call: &Call<'_>,
    session: &mut Session,
    shape: Shape,
    write: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Handled {
    if matches!(&session.transaction, Transaction::Queueing { queued, .. } if queued.shaped() >= SHAPED_MAX || queued.kept_bytes() >= KEPT_BYTES_MAX)
    {
        return call
            .reject(session, &ReplyError::new("ERR too many commands that fca-proxy answers in one transaction"));
    }
    with_lane(call, session, |call, session, lane| {
        let mut commands = Vec::new();
        write(&mut commands);
        session.transaction.queue(shape);
        match commands.split_last() {
            None => call.say(session, Outcome::Ok, |out| encode::simple(out, "QUEUED")),
            Some((last, others)) => {
                for command in others {
                    lane.push(call.deadline, call.waiter(To::Nowhere, Step::Swallow), command);
                }
                let slot = session.replies.open();
                lane.push(call.deadline, call.waiter(To::Slot(slot), Member::Queued), last);
                Handled::Done
            }
        }
    })
}

/// A transaction on its way.
struct Exec {
    /// What was queued.
    queued: Queued,
    /// What that may change.
    written: Written,
}

/// A command was queued that may change this.
pub(super) fn queue_write(client: &Client, written: Written) {
    if written != Written::Nothing {
        let queued = &mut *client.queued_writes.borrow_mut();
        let earlier = queued.take().map_or(Written::Nothing, |written| *written);
        *queued = Some(Box::new(Written::any([earlier, written])));
    }
}

/// Carries on with the transaction's connection, or says QUEUED where it is gone.
fn with_lane(
    call: &Call<'_>,
    session: &mut Session,
    carry_on: impl FnOnce(&Call<'_>, &mut Session, &Rc<Lane<Waiter>>) -> Handled,
) -> Handled {
    if !session.transaction.is_lost()
        && let Some(lane) = call.client.exclusive.borrow().as_ref().filter(|lane| lane.accepts().is_ok())
    {
        return carry_on(call, session, lane);
    }
    lose(call.client, session);
    call.say(session, Outcome::Unreachable, |out| encode::simple(out, "QUEUED"))
}

pub(super) fn exec(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    let Transaction::Queueing { lost, aborted, queued } = std::mem::take(&mut session.transaction) else {
        return call.reject(session, &ReplyError::new("ERR EXEC without MULTI"));
    };
    let written = call.client.queued_writes.take().map_or(Written::Nothing, |written| *written);
    let exclusive = call.client.exclusive.borrow();
    let lane = exclusive.as_ref().filter(|lane| !lost && lane.accepts().is_ok());
    match lane {
        _ if aborted => {
            if let Some(lane) = lane {
                lane.push(call.deadline, call.waiter(To::Nowhere, Step::Swallow), DISCARD);
            }
            let error = ReplyError::new("EXECABORT Transaction discarded because of previous errors.");
            call.say(session, Outcome::Rejected, |out| error.append_to(out))
        }
        Some(lane) => {
            // What it makes of the connection is to be known before the next request.
            let gates = !queued.is_plain() && queued.shapes().any(|shape| matches!(shape, Shape::Connection(_)));
            let slot = if gates { session.open_gated() } else { session.replies.open() };
            let waiter = call.waiter(To::Slot(slot), Exec { queued, written });
            lane.push(call.deadline, waiter, request.bytes());
            Handled::Done
        }
        None => {
            let frame = encode::nil_array_frame(call.protocol);
            call.say(session, Outcome::Unreachable, |out| out.extend_from_slice(frame))
        }
    }
}

/// EXEC with arguments ends the transaction, if there is one, and says so (`rejectCommand` in Redis's `server.c`).
pub(super) fn exec_abort(call: &Call<'_>, session: &mut Session) -> Handled {
    abandon(call.client, session, call.now);
    let words = "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    call.say(session, Outcome::Rejected, |out| encode::error(out, words))
}

pub(super) fn discard(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    let lost = session.transaction.is_lost();
    session.transaction = Transaction::None;
    call.client.queued_writes.take();
    match call.client.exclusive.borrow().as_ref().filter(|lane| !lost && lane.accepts().is_ok()) {
        Some(lane) => forward::send(call, session, lane, request, Member::Leave),
        None => call.say(session, Outcome::Ok, |out| encode::simple(out, "OK")),
    }
}

const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

/// The session leaves its transaction without a word (RESET, or it is gone): its connection is cleaned.
pub(super) fn abandon(client: &Rc<Client>, session: &mut Session, now: Instant) {
    client.queued_writes.take();
    let clean: &[u8] = match std::mem::take(&mut session.transaction) {
        Transaction::None => return,
        Transaction::Watching { .. } => UNWATCH,
        // Discarding also forgets what was watched.
        Transaction::Queueing { .. } => DISCARD,
    };
    if let Some(lane) = client.exclusive.borrow().as_ref().filter(|lane| lane.accepts().is_ok()) {
        let deadline = now + client.core.settings.borrow().timeout;
        let (client, to) = (Rc::clone(client), To::Nowhere);
        lane.push(deadline, Waiter { client, to, step: Step::Swallow, family: Family::Transaction }, clean);
    }
}

/// A command of a transaction whose answer is on its way.
pub(super) enum Member {
    /// MULTI or WATCH: without an upstream, OK, and the next EXEC answers nil.
    Enter,
    /// DISCARD or UNWATCH: without an upstream, OK.
    Leave,
    /// One that is to be queued.
    Queued,
}

impl Task for Member {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let frame = reply.frame;
        if is_outage(frame) {
            return self.on_failure(turn, &Failure::Unsent);
        }
        if matches!(*self, Self::Enter) && frame[0] == b'-' {
            on_refused(turn.client, turn.session, frame);
        }
        turn.finish(frame, if frame[0] == b'-' { Outcome::Error } else { Outcome::Ok });
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        if let Failure::LaneRefused(words) = failure {
            match *self {
                // Nothing was sent behind it, so that nothing has begun.
                Self::Enter if turn.session.replies.in_flight() == 1 => turn.session.transaction = Transaction::None,
                _ => lose(turn.client, turn.session),
            }
            return turn.finish_error(words);
        }
        let frame = match *self {
            Self::Leave => b"+OK\r\n".as_slice(),
            Self::Enter => {
                lose(turn.client, turn.session);
                b"+OK\r\n"
            }
            Self::Queued => {
                lose(turn.client, turn.session);
                b"+QUEUED\r\n"
            }
        };
        turn.finish(frame, Outcome::Unreachable);
    }
}

impl Task for Exec {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let frame = reply.frame;
        if is_outage(frame) {
            return self.on_failure(turn, &Failure::Unsent);
        }
        tell::written(turn.client, &self.written);
        on_executed(turn, &self.queued, frame, if frame[0] == b'-' { Outcome::Error } else { Outcome::Ok });
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        if let Failure::LaneRefused(words) = failure {
            lose(turn.client, turn.session);
            return turn.finish_error(words);
        }
        let frame = encode::nil_array_frame(turn.session.protocol);
        turn.finish(frame, Outcome::Unreachable);
    }

    fn takes_parts(&self, _: &Client, _: usize) -> bool {
        self.queued.is_plain()
    }

    fn on_first_part(&self, client: &Client) {
        tell::written(client, &self.written);
    }
}

/// The upstream answered EXEC.
fn on_executed(turn: Turn<'_>, queued: &Queued, frame: &[u8], outcome: Outcome) {
    if queued.is_plain() {
        return turn.finish(frame, outcome);
    }
    let protocol = turn.session.protocol;
    let merged = reshape(queued, frame, protocol, |arguments| {
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        answer(turn.client, turn.session, Local::Client, &arguments, turn.now).unwrap_or_else(|error| {
            let mut frame = Vec::new();
            error.append_to(&mut frame);
            frame
        })
    });
    match merged {
        Some(merged) => {
            take_selected(turn.session, queued, frame);
            turn.finish(&merged, outcome);
        }
        // Nil or an error: not executed, whatever was queued.
        None => turn.finish(frame, outcome),
    }
}

/// The server refuses MULTI or WATCH to this user, or to one that has not logged in. Where more was sent already that
/// may have been let in, the session goes on as it believes to be.
fn on_refused(client: &Client, session: &mut Session, frame: &[u8]) {
    if session.replies.in_flight() > 1 {
        return;
    }
    if frame.starts_with(b"-NOAUTH ") {
        session.transaction = Transaction::None;
    } else if session.transaction.is_queueing() {
        // Keys may be watched there from before.
        exclusive::taint(client);
        session.transaction = Transaction::None;
    }
}

/// A transaction that was executed may have selected another database.
fn take_selected(session: &mut Session, queued: &Queued, frame: &[u8]) {
    let replies = elements(frame).unwrap_or_default();
    let mut at = 0;
    for shape in queued.shapes() {
        if let Shape::Select(database) = shape
            && replies.get(at) == Some(&&b"+OK\r\n"[..])
        {
            session.database = *database;
        }
        at += shape.width();
    }
}

/// EXEC's reply with one element for each command of the client, those about the connection carried out now; `None` when
/// it is no array of as many elements as were queued.
fn reshape(
    queued: &Queued,
    frame: &[u8],
    protocol: Protocol,
    mut carry_out: impl FnMut(&[Vec<u8>]) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let replies = elements(frame).filter(|_| frame[0] == b'*')?;
    let mut rest = replies.as_slice();
    let mut merged = Vec::with_capacity(frame.len());
    let shapes: Vec<&Shape> = queued.shapes().collect();
    encode::header(&mut merged, b'*', shapes.len() as u64);
    for shape in shapes {
        let (own, behind) = rest.split_at_checked(shape.width())?;
        match shape {
            Shape::Connection(arguments) => merged.extend_from_slice(&carry_out(arguments)),
            shape => append_shape(&mut merged, shape, own, protocol),
        }
        rest = behind;
    }
    rest.is_empty().then_some(merged)
}

fn append_shape(out: &mut Vec<u8>, shape: &Shape, replies: &[&[u8]], protocol: Protocol) {
    let is_absent = |reply: &[u8]| matches!(reply, b"$-1\r\n" | b"_\r\n" | b":-2\r\n");
    match shape {
        Shape::Here(frame) => out.extend_from_slice(frame),
        // Never a part of another shape.
        Shape::Connection(_) => {}
        Shape::One | Shape::Select(_) => replies.iter().for_each(|reply| out.extend_from_slice(reply)),
        Shape::FirstOf2 => {
            let answer = replies.iter().find(|reply| !is_absent(reply)).or_else(|| replies.last());
            match answer {
                Some(reply) if reply[0] != b'-' => out.extend_from_slice(reply),
                _ => encode::nil(out, protocol),
            }
        }
        Shape::Stored { .. } => match replies.first() {
            Some(reply) if reply[0] != b'-' => out.extend_from_slice(b"+OK\r\n"),
            _ => encode::nil(out, protocol),
        },
        Shape::Each(parts) => {
            encode::header(out, b'*', parts.len() as u64);
            for (part, own) in split_widths(parts, replies) {
                append_shape(out, part, own, protocol);
            }
        }
        Shape::Count(parts) => {
            let done = split_widths(parts, replies).filter(|(_, own)| {
                own.first().is_some_and(|reply| reply[0] != b'-' && *reply != b":0\r\n" && !is_absent(reply))
            });
            encode::integer(out, done.count() as i64);
        }
    }
}

/// Each part with the replies that belong to it.
fn split_widths<'a>(parts: &'a [Shape], replies: &'a [&'a [u8]]) -> impl Iterator<Item = (&'a Shape, &'a [&'a [u8]])> {
    let mut at = 0;
    parts.iter().map(move |part| {
        let own = &replies[at.min(replies.len())..(at + part.width()).min(replies.len())];
        at += part.width();
        (part, own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_has_one_element_for_each_command_of_the_client() {
        let mut queued = Queued::default();
        queued.push(Shape::One);
        queued.push(Shape::FirstOf2);
        queued.push(Shape::Stored { twin: true });
        queued.push(Shape::Here(b"+PONG\r\n".to_vec()));
        queued.push(Shape::Connection(vec![b"CLIENT".to_vec()]));
        queued.push(Shape::Count(vec![Shape::One, Shape::One]));
        queued.push(Shape::Each(vec![Shape::FirstOf2, Shape::One]));
        let upstream = b"*10\r\n:7\r\n$-1\r\n$1\r\nx\r\n+OK\r\n:1\r\n:0\r\n:2\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n";
        let merged = reshape(&queued, upstream, Protocol::Resp2, |_| b"+mine\r\n".to_vec()).unwrap();
        assert_eq!(
            merged.escape_ascii().to_string(),
            b"*7\r\n:7\r\n$1\r\nx\r\n+OK\r\n+PONG\r\n+mine\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n"
                .escape_ascii()
                .to_string()
        );
        assert_eq!(reshape(&queued, b"*-1\r\n", Protocol::Resp2, |_| unreachable!()), None);
        assert_eq!(reshape(&queued, b"-EXECABORT no\r\n", Protocol::Resp2, |_| unreachable!()), None);
        assert_eq!(reshape(&queued, b"*1\r\n:7\r\n", Protocol::Resp2, |_| unreachable!()), None);
    }
}
